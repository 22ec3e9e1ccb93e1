//! CREATE, MKDIR, SYMLINK and MKNOD.

use std::ops::ControlFlow;

use super::steps::{directory, entries_changed, entry};
use super::{Edge, Outcome, Tables};
use crate::metadata::decide::{self, New, Stored};
use crate::metadata::{CreateHow, Created, Refusal, SetAttributes};
use crate::types::{Attributes, Context, DeviceNumbers, FileType, Name, ObjectId, SymlinkTarget};

pub(in crate::metadata) fn create<T: Tables>(
    tables: &mut T,
    cx: &Context,
    directory: ObjectId,
    name: &Name,
    how: &CreateHow,
) -> Outcome<Created, T> {
    make(tables, cx, directory, name, New::File(how))
}

pub(in crate::metadata) fn mkdir<T: Tables>(
    tables: &mut T,
    cx: &Context,
    directory: ObjectId,
    name: &Name,
    set: &SetAttributes,
) -> Outcome<Created, T> {
    make(tables, cx, directory, name, New::Directory(set))
}

pub(in crate::metadata) fn symlink<T: Tables>(
    tables: &mut T,
    cx: &Context,
    directory: ObjectId,
    name: &Name,
    target: &SymlinkTarget,
    set: &SetAttributes,
) -> Outcome<Created, T> {
    make(tables, cx, directory, name, New::Symlink(target, set))
}

pub(in crate::metadata) fn mknod<T: Tables>(
    tables: &mut T,
    cx: &Context,
    directory: ObjectId,
    (kind, rdev): (FileType, DeviceNumbers),
    name: &Name,
    set: &SetAttributes,
) -> Outcome<Created, T> {
    make(tables, cx, directory, name, New::Node(kind, rdev, set))
}

fn make<T: Tables>(
    tables: &mut T,
    cx: &Context,
    parent: ObjectId,
    name: &Name,
    new: New<'_>,
) -> Outcome<Created, T> {
    let parent = directory(tables, cx, parent)?;
    let found = match entry(tables, parent.id, name)? {
        Some((_, object)) => {
            Some(Stored { verifier: tables.verifier(object.id)?, attributes: object })
        }
        None => None,
    };
    let object = match decide::create(cx, &parent, found, new)? {
        ControlFlow::Break(answer) => return Ok(answer),
        ControlFlow::Continue(object) => object,
    };
    tables.room().map_err(|error| Refusal::of(error, &parent))?;
    let object = Attributes { fileid: tables.next_fileid()?, ..object };
    let edge = Edge { child: object.id, cookie: tables.next_cookie()? };
    let subdirs = i32::from(object.file_type.is_directory());
    let directory = entries_changed(&parent, cx.now, subdirs);
    tables.insert(&object, new.target(), new.verifier())?;
    tables.put_edge(parent.id, name, edge)?;
    tables.put(&directory.after)?;
    Ok(Created { directory, object, made: true })
}
