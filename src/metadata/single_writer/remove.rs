//! REMOVE and RMDIR.

use super::steps::{directory, entries_changed, entry, lose_name};
use super::{Outcome, Tables};
use crate::metadata::decide::{self, RemoveKind};
use crate::metadata::{Error, Refusal, Removed};
use crate::types::{Context, Name, ObjectId};

pub(in crate::metadata) fn remove<T: Tables>(
    tables: &mut T,
    cx: &Context,
    directory: ObjectId,
    name: &Name,
) -> Outcome<Removed, T> {
    take(tables, cx, directory, name, RemoveKind::Other)
}

pub(in crate::metadata) fn rmdir<T: Tables>(
    tables: &mut T,
    cx: &Context,
    directory: ObjectId,
    name: &Name,
) -> Outcome<Removed, T> {
    take(tables, cx, directory, name, RemoveKind::Directory)
}

fn take<T: Tables>(
    tables: &mut T,
    cx: &Context,
    parent: ObjectId,
    name: &Name,
    kind: RemoveKind,
) -> Outcome<Removed, T> {
    let parent = directory(tables, cx, parent)?;
    let (cookie, found) = entry(tables, parent.id, name)?.unzip();
    let object = decide::remove(cx, &parent, found, kind)?;
    let is_directory = object.file_type.is_directory();
    if is_directory && !tables.is_empty(object.id)? {
        return Err(Refusal::of(Error::NotEmpty, &parent).into());
    }
    let cookie = cookie.ok_or_else(|| Refusal::of(Error::NotFound, &parent))?;
    let directory = entries_changed(&parent, cx.now, -i32::from(is_directory));
    tables.remove_edge(parent.id, name, cookie)?;
    tables.put(&directory.after)?;
    Ok(Removed { directory, object: lose_name(tables, object, cx.now)? })
}
