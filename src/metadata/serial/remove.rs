//! REMOVE and RMDIR.

use super::steps::{child, entries_changed, lose_name, searchable};
use super::{Outcome, Tables};
use crate::metadata::{Error, Refusal, Removed, rules};
use crate::types::{Attributes, Context, Name, ObjectId};

pub(in crate::metadata) fn remove<T: Tables>(
    tables: &mut T,
    cx: &Context,
    directory: ObjectId,
    name: &Name,
) -> Outcome<Removed, T> {
    let (parent, object) = removable(tables, cx, directory, name)?;
    if object.file_type.is_directory() {
        return Err(Refusal::of(Error::IsDirectory, &parent).into());
    }
    take(tables, cx, &parent, name, object, 0)
}

pub(in crate::metadata) fn rmdir<T: Tables>(
    tables: &mut T,
    cx: &Context,
    directory: ObjectId,
    name: &Name,
) -> Outcome<Removed, T> {
    let (parent, object) = removable(tables, cx, directory, name)?;
    if !object.file_type.is_directory() {
        return Err(Refusal::of(Error::NotDirectory, &parent).into());
    }
    if !tables.is_empty(object.id)? {
        return Err(Refusal::of(Error::NotEmpty, &parent).into());
    }
    take(tables, cx, &parent, name, object, -1)
}

/// A directory and the entry that the caller may remove from it.
fn removable<T: Tables>(
    tables: &mut T,
    cx: &Context,
    directory: ObjectId,
    name: &Name,
) -> Outcome<(Attributes, Attributes), T> {
    let parent = searchable(tables, cx, directory)?;
    let Some(object) = child(tables, directory, name)? else {
        return Err(Refusal::of(Error::NotFound, &parent).into());
    };
    rules::may_remove(&cx.credentials, &parent, &object)
        .map_err(|error| Refusal::of(error, &parent))?;
    Ok((parent, object))
}

fn take<T: Tables>(
    tables: &mut T,
    cx: &Context,
    parent: &Attributes,
    name: &Name,
    object: Attributes,
    subdirs: i32,
) -> Outcome<Removed, T> {
    let change = entries_changed(parent, cx.now, subdirs);
    tables.remove_edge(parent.id, name)?;
    tables.put(&change.after)?;
    Ok(Removed { directory: change, object: lose_name(tables, object, cx.now)? })
}
