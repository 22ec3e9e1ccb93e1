//! The steps that operations are made of.

use super::{Edge, Outcome, Tables};
use crate::metadata::{Capabilities, Change, Error, Replaced, decide};
use crate::types::{Attributes, Context, Cookie, FileType, Fsid, Name, ObjectId, Timestamp};

/// What must be known of the share that a call is about.
pub(super) fn share<T: Tables>(tables: &T, cx: &Context) -> Outcome<(Fsid, Capabilities), T> {
    Ok(tables.share(cx.share).ok_or(Error::Stale)?)
}

/// An object of the call's share, where it is there; another share's is as good as gone.
pub(super) fn known<T: Tables>(
    tables: &mut T,
    cx: &Context,
    id: ObjectId,
) -> Outcome<Option<Attributes>, T> {
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
    Ok(decide::directory(known(tables, cx, id)?)?)
}

/// The two objects that a call names.
pub(super) fn pair<T: Tables>(
    tables: &mut T,
    cx: &Context,
    first: ObjectId,
    second: ObjectId,
) -> Outcome<(Attributes, Attributes), T> {
    Ok(decide::pair(known(tables, cx, first)?, known(tables, cx, second)?)?)
}

/// The object that a directory has under a name, and its place there.
pub(super) fn entry<T: Tables>(
    tables: &mut T,
    directory: ObjectId,
    name: &Name,
) -> Outcome<Option<(Cookie, Attributes)>, T> {
    let Some(Edge { child, cookie }) = tables.edge(directory, name)? else { return Ok(None) };
    Ok(tables.object(child)?.map(|object| (cookie, object)))
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
    } else {
        tables.discard(object.id)?;
    }
    Ok(Replaced::of(object))
}

/// A directory before and after its entries change: mtime and ctime move together, and `subdirs`
/// directories more or fewer are in it.
pub(super) fn entries_changed(directory: &Attributes, now: Timestamp, subdirs: i32) -> Change {
    let mut after = directory.clone();
    after.ctime = now.after(directory.ctime);
    after.mtime = after.ctime;
    after.nlink = directory.nlink.saturating_add_signed(subdirs);
    Change { before: Some(directory.clone()), after }
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
