//! Decisions: whether an operation is allowed, which of several errors is the answer, and how a new object
//! looks (RFC 1813 sections 3.3.2 and 3.3.8 to 3.3.15). No function here does I/O: `single_writer` calls them
//! with values of its tables, the PostgreSQL store with rows that it has read and compares again when it
//! writes.
//!
//! Two checks need more than a few objects and are left to the store: a removed or replaced directory is
//! empty, and a directory does not move below itself. Both come last, except that [`Move::changes_parent`]
//! says otherwise.

use std::ops::ControlFlow;

use super::{
    Answer, Capabilities, Change, CreateHow, Created, Error, Refusal, Renamed, SetAttributes, rules,
};
use crate::types::{
    Attributes, ContentId, ContentRef, ContentVersion, Context, DeviceNumbers, FileType, Fileid,
    ObjectId, SymlinkTarget,
};

/// An object as a store holds it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) attributes: Attributes,
    /// The verifier of the exclusive create that made it, if nothing has touched it since.
    pub(super) verifier: Option<u64>,
}

/// The directory that a call names.
pub(super) fn directory(found: Option<Attributes>) -> Answer<Attributes> {
    let object = found.ok_or(Error::Stale)?;
    if object.file_type.is_directory() {
        Ok(object)
    } else {
        Err(Refusal::of(Error::NotDirectory, &object))
    }
}

/// The two objects that a call names.
pub(super) fn pair(
    first: Option<Attributes>,
    second: Option<Attributes>,
) -> Answer<(Attributes, Attributes)> {
    match (first, second) {
        (Some(first), Some(second)) => Ok((first, second)),
        (first, second) => Err(Refusal {
            error: Error::Stale,
            first: first.map(Box::new),
            second: second.map(Box::new),
        }),
    }
}

/// An object to be made.
#[derive(Clone, Copy, Debug)]
pub(super) enum New<'a> {
    /// CREATE.
    File(&'a CreateHow),
    /// MKDIR.
    Directory(&'a SetAttributes),
    Symlink(&'a SymlinkTarget, &'a SetAttributes),
    /// MKNOD.
    Node(FileType, DeviceNumbers, &'a SetAttributes),
}

impl New<'_> {
    /// The target of a symbolic link.
    pub(super) fn target(&self) -> Option<&SymlinkTarget> {
        match self {
            Self::Symlink(target, _) => Some(target),
            Self::File(_) | Self::Directory(_) | Self::Node(..) => None,
        }
    }

    /// The verifier of an exclusive create.
    pub(super) fn verifier(&self) -> Option<u64> {
        match self {
            Self::File(CreateHow::Exclusive(verifier)) => Some(*verifier),
            Self::File(CreateHow::Unchecked(_) | CreateHow::Guarded(_))
            | Self::Directory(_)
            | Self::Symlink(..)
            | Self::Node(..) => None,
        }
    }

    /// Whether the object that has the name is the answer.
    fn is_answered_by(&self, cx: &Context, found: &Stored) -> bool {
        let Self::File(how) = self else { return false };
        found.attributes.file_type == FileType::Regular
            && match how {
                CreateHow::Unchecked(_) => true,
                CreateHow::Guarded(_) => false,
                CreateHow::Exclusive(verifier) => {
                    found.verifier == Some(*verifier) && found.attributes.uid == cx.credentials.uid
                }
            }
    }

    /// The object in `parent`. Its file number is 0 until the store gives it one.
    fn object(&self, cx: &Context, parent: &Attributes) -> Attributes {
        let (ordinary, none) = (SetAttributes::default(), DeviceNumbers::default());
        let (file_type, size, rdev, set) = match *self {
            Self::File(CreateHow::Exclusive(_)) => (FileType::Regular, 0, none, &ordinary),
            Self::File(CreateHow::Unchecked(set) | CreateHow::Guarded(set)) => {
                (FileType::Regular, 0, none, set)
            }
            Self::Directory(set) => (FileType::Directory, rules::DIRECTORY_SIZE, none, set),
            Self::Symlink(to, set) => (FileType::Symlink, to.as_bytes().len() as u64, none, set),
            Self::Node(kind, rdev, set) => {
                (kind, 0, if kind.is_device() { rdev } else { none }, set)
            }
        };
        let rules::NewObject { mode, uid, gid, atime, mtime, ctime } =
            rules::new_object(&cx.credentials, parent, file_type, set, cx.now);
        let is_directory = file_type.is_directory();
        Attributes {
            id: ObjectId::generate(),
            fileid: Fileid(0),
            fsid: parent.fsid,
            file_type,
            mode,
            nlink: if is_directory { 2 } else { 1 },
            uid,
            gid,
            size,
            used: size,
            atime,
            mtime,
            ctime,
            rdev,
            content: (file_type == FileType::Regular)
                .then(|| ContentRef { id: ContentId::generate(), version: ContentVersion(0) }),
            mtime_version: 0,
            parent: is_directory.then_some(parent.id),
        }
    }
}

/// CREATE, MKDIR, SYMLINK and MKNOD under a name of `parent` that `found` has: breaks with the answer where
/// that is `found`, else goes on with the object to be made.
pub(super) fn create(
    cx: &Context,
    parent: &Attributes,
    found: Option<Stored>,
    new: New<'_>,
) -> Answer<ControlFlow<Created, Attributes>> {
    let refuse = |error| Refusal::of(error, parent);
    if let New::Node(kind, ..) = new {
        rules::may_mknod(&cx.credentials, kind).map_err(refuse)?;
    }
    rules::may_search(&cx.credentials, parent).map_err(refuse)?;
    match found {
        Some(found) if new.is_answered_by(cx, &found) => {
            let directory = Change::none(parent.clone());
            Ok(ControlFlow::Break(Created { directory, object: found.attributes, made: false }))
        }
        Some(_) => Err(refuse(Error::Exists)),
        None => {
            rules::may_change_entries(&cx.credentials, parent).map_err(refuse)?;
            Ok(ControlFlow::Continue(new.object(cx, parent)))
        }
    }
}

/// What an operation removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RemoveKind {
    /// RMDIR.
    Directory,
    /// REMOVE.
    Other,
}

/// REMOVE and RMDIR of the name of `parent` that `found` has.
pub(super) fn remove(
    cx: &Context,
    parent: &Attributes,
    found: Option<Attributes>,
    kind: RemoveKind,
) -> Answer<Attributes> {
    let refuse = |error| Refusal::of(error, parent);
    rules::may_search(&cx.credentials, parent).map_err(refuse)?;
    let object = found.ok_or_else(|| refuse(Error::NotFound))?;
    rules::may_remove(&cx.credentials, parent, &object).map_err(refuse)?;
    match (kind, object.file_type.is_directory()) {
        (RemoveKind::Directory, true) | (RemoveKind::Other, false) => Ok(object),
        (RemoveKind::Directory, false) => Err(refuse(Error::NotDirectory)),
        (RemoveKind::Other, true) => Err(refuse(Error::IsDirectory)),
    }
}

/// LINK of `object` under a name of `parent`.
pub(super) fn link(
    cx: &Context,
    object: &Attributes,
    parent: &Attributes,
    is_taken: bool,
    capabilities: &Capabilities,
) -> Answer<()> {
    rules::may_search(&cx.credentials, parent)
        .and_then(|()| if is_taken { Err(Error::Exists) } else { Ok(()) })
        .and_then(|()| rules::may_link(&cx.credentials, object, parent, capabilities.max_links))
        .map_err(|error| Refusal::of_both(error, object, parent))
}

/// A RENAME that changes something.
#[derive(Debug)]
pub(super) struct Move {
    /// The directory that loses the name.
    pub(super) from: Attributes,
    /// The directory that gets the name.
    pub(super) to: Attributes,
    pub(super) object: Attributes,
    /// The object that loses its name to this one.
    pub(super) replaced: Option<Attributes>,
}

/// RENAME of `object` in `from` to the name of `to` that `found` has: breaks with the answer where both names
/// lead to one object, else goes on with the move, which is to be [`Move::permitted`] yet.
pub(super) fn rename(
    cx: &Context,
    (from, to): (Attributes, Attributes),
    object: Option<Attributes>,
    found: Option<Attributes>,
) -> Answer<ControlFlow<Renamed, Move>> {
    let refuse = |error| Refusal::of_both(error, &from, &to);
    rules::may_search(&cx.credentials, &from).map_err(refuse)?;
    rules::may_search(&cx.credentials, &to).map_err(refuse)?;
    let object = object.ok_or_else(|| refuse(Error::NotFound))?;
    if found.as_ref().is_some_and(|found| found.id == object.id) {
        let (from, to) = (Change::none(from), Change::none(to));
        return Ok(ControlFlow::Break(Renamed { from, to, object, replaced: None }));
    }
    Ok(ControlFlow::Continue(Move { from, to, object, replaced: found }))
}

impl Move {
    /// Whether a directory gets another parent. A directory that would come to lie below itself is refused
    /// with [`Error::Invalid`], even if the move is not permitted either.
    pub(super) fn changes_parent(&self) -> bool {
        self.object.file_type.is_directory() && self.from.id != self.to.id
    }

    /// Permission, and the kinds of the two objects.
    pub(super) fn permitted(&self, cx: &Context) -> Answer<()> {
        let Self { from, to, object, replaced } = self;
        rules::may_rename(&cx.credentials, from, object, to, replaced.as_ref())
            .and_then(|()| replaced.as_ref().map_or(Ok(()), |it| rules::may_replace(object, it)))
            .map_err(|error| self.refuse(error))
    }

    pub(super) fn refuse(&self, error: Error) -> Refusal {
        Refusal::of_both(error, &self.from, &self.to)
    }
}

/// SETATTR of the object `found`.
pub(super) fn setattr(
    cx: &Context,
    found: Option<Attributes>,
    set: &SetAttributes,
    capabilities: &Capabilities,
) -> Answer<Change> {
    let before = found.ok_or(Error::Stale)?;
    let (max_size, fresh) = (capabilities.max_file_size, ContentId::generate());
    let after = rules::set_attributes(&cx.credentials, &before, set, max_size, fresh, cx.now)
        .map_err(|error| Refusal::of(error, &before))?;
    Ok(Change { before: Some(before), after })
}
