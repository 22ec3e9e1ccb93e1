//! The steps that operations are made of.

use super::{Outcome, Tables};
use crate::metadata::{Capabilities, Change, Error, Refusal, Replaced, rules};
use crate::types::{Attributes, Context, FileType, Fsid, Name, ObjectId, Timestamp};

/// What must be known of the share that a call is about.
pub(super) fn share<T: Tables>(tables: &T, cx: &Context) -> Outcome<(Fsid, Capabilities), T> {
    Ok(tables.share(cx.share).ok_or(Error::Stale)?)
}

/// An object of the call's share, where it is there; another share's is as good as gone.
fn known<T: Tables>(tables: &mut T, cx: &Context, id: ObjectId) -> Outcome<Option<Attributes>, T> {
    let (fsid, _) = share(tables, cx)?;
    Ok(tables.object(id)?.filter(|object| object.fsid == fsid))
}

/// An object of the call's share.
pub(super) fn object<T: Tables>(
    tables: &mut T,
    cx: &Context,
    id: ObjectId,
) -> Outcome<Attributes, T> {
    Ok(known(tables, cx, id)?.ok_or(Error::Stale)?)
}

/// A directory of the call's share.
pub(super) fn directory<T: Tables>(
    tables: &mut T,
    cx: &Context,
    id: ObjectId,
) -> Outcome<Attributes, T> {
    let object = object(tables, cx, id)?;
    if !object.file_type.is_directory() {
        return Err(Refusal::of(Error::NotDirectory, &object).into());
    }
    Ok(object)
}

/// A directory in which the caller may ask for names.
pub(super) fn searchable<T: Tables>(
    tables: &mut T,
    cx: &Context,
    id: ObjectId,
) -> Outcome<Attributes, T> {
    let directory = directory(tables, cx, id)?;
    rules::may_search(&cx.credentials, &directory)
        .map_err(|error| Refusal::of(error, &directory))?;
    Ok(directory)
}

/// The two objects that a call names.
pub(super) fn pair<T: Tables>(
    tables: &mut T,
    cx: &Context,
    first: ObjectId,
    second: ObjectId,
) -> Outcome<(Attributes, Attributes), T> {
    match (known(tables, cx, first)?, known(tables, cx, second)?) {
        (Some(first), Some(second)) => Ok((first, second)),
        (first, second) => Err(Refusal {
            error: Error::Stale,
            first: first.map(Box::new),
            second: second.map(Box::new),
        }
        .into()),
    }
}

/// What a directory has under a name.
pub(super) fn child<T: Tables>(
    tables: &mut T,
    directory: ObjectId,
    name: &Name,
) -> Outcome<Option<Attributes>, T> {
    match tables.edge(directory, name)? {
        Some(edge) => tables.object(edge.child),
        None => Ok(None),
    }
}

/// Takes a name from an object, which goes with its last one. The entry is the caller's.
pub(super) fn lose_name<T: Tables>(
    tables: &mut T,
    mut object: Attributes,
    now: Timestamp,
) -> Outcome<Replaced, T> {
    object.ctime = now.after(object.ctime);
    object.nlink = match object.file_type {
        FileType::Directory => 0,
        FileType::Regular
        | FileType::BlockDevice
        | FileType::CharacterDevice
        | FileType::Symlink
        | FileType::Socket
        | FileType::Fifo => object.nlink.saturating_sub(1),
    };
    if object.nlink > 0 {
        tables.put(&object)?;
        return Ok(Replaced { attributes: object, freed: None });
    }
    tables.discard(object.id)?;
    let freed = object.content.map(|content| content.id);
    Ok(Replaced { attributes: object, freed })
}

/// A directory before and after its entries change: mtime and ctime move together, and `subdirs`
/// directories more or fewer are in it.
pub(super) fn entries_changed(directory: &Attributes, now: Timestamp, subdirs: i32) -> Change {
    let mut after = directory.clone();
    after.ctime = now.after(directory.ctime);
    after.mtime = after.ctime;
    after.nlink = directory.nlink.saturating_add_signed(subdirs);
    Change { before: directory.clone(), after }
}

/// What an object adds to [`crate::metadata::Usage::bytes`].
pub(in crate::metadata) fn counted_bytes(object: &Attributes) -> u128 {
    match object.file_type {
        FileType::Regular | FileType::Symlink => object.used.into(),
        FileType::Directory
        | FileType::BlockDevice
        | FileType::CharacterDevice
        | FileType::Socket
        | FileType::Fifo => 0,
    }
}
