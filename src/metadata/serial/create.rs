//! CREATE, MKDIR, SYMLINK and MKNOD.

use super::steps::{child, directory, entries_changed, searchable};
use super::{Edge, Outcome, Tables};
use crate::metadata::{Change, CreateHow, Created, Error, Refusal, SetAttributes, rules};
use crate::types::{
    Attributes, ContentId, ContentRef, ContentVersion, Context, DeviceNumbers, FileType, Name,
    ObjectId, SymlinkTarget,
};

/// What is particular to a new object.
struct New<'a> {
    kind: FileType,
    rdev: DeviceNumbers,
    target: Option<&'a SymlinkTarget>,
    verifier: Option<u64>,
    set: &'a SetAttributes,
}

impl<'a> New<'a> {
    fn of(kind: FileType, set: &'a SetAttributes) -> Self {
        Self { kind, rdev: DeviceNumbers::default(), target: None, verifier: None, set }
    }
}

pub(in crate::metadata) fn create<T: Tables>(
    tables: &mut T,
    cx: &Context,
    directory: ObjectId,
    name: &Name,
    how: &CreateHow,
) -> Outcome<Created, T> {
    let parent = searchable(tables, cx, directory)?;
    if let Some(object) = child(tables, directory, name)? {
        let is_the_answer = object.file_type == FileType::Regular
            && match how {
                CreateHow::Unchecked(_) => true,
                CreateHow::Guarded(_) => false,
                CreateHow::Exclusive(verifier) => {
                    object.uid == cx.credentials.uid
                        && tables.verifier(object.id)? == Some(*verifier)
                }
            };
        if !is_the_answer {
            return Err(Refusal::of(Error::Exists, &parent).into());
        }
        return Ok(Created { directory: Change::none(parent), object, made: false });
    }
    let ordinary = SetAttributes::default();
    let (set, verifier) = match how {
        CreateHow::Unchecked(set) | CreateHow::Guarded(set) => (set, None),
        CreateHow::Exclusive(verifier) => (&ordinary, Some(*verifier)),
    };
    make(tables, cx, &parent, name, &New { verifier, ..New::of(FileType::Regular, set) })
}

pub(in crate::metadata) fn mkdir<T: Tables>(
    tables: &mut T,
    cx: &Context,
    directory: ObjectId,
    name: &Name,
    set: &SetAttributes,
) -> Outcome<Created, T> {
    make_under_free_name(tables, cx, directory, name, &New::of(FileType::Directory, set))
}

pub(in crate::metadata) fn symlink<T: Tables>(
    tables: &mut T,
    cx: &Context,
    directory: ObjectId,
    name: &Name,
    target: &SymlinkTarget,
    set: &SetAttributes,
) -> Outcome<Created, T> {
    let new = New { target: Some(target), ..New::of(FileType::Symlink, set) };
    make_under_free_name(tables, cx, directory, name, &new)
}

pub(in crate::metadata) fn mknod<T: Tables>(
    tables: &mut T,
    cx: &Context,
    parent: ObjectId,
    name: &Name,
    (kind, rdev): (FileType, DeviceNumbers),
    set: &SetAttributes,
) -> Outcome<Created, T> {
    let seen = directory(tables, cx, parent)?;
    rules::may_mknod(&cx.credentials, kind).map_err(|error| Refusal::of(error, &seen))?;
    let rdev = match kind {
        FileType::BlockDevice | FileType::CharacterDevice => rdev,
        FileType::Regular
        | FileType::Directory
        | FileType::Symlink
        | FileType::Socket
        | FileType::Fifo => DeviceNumbers::default(),
    };
    make_under_free_name(tables, cx, parent, name, &New { rdev, ..New::of(kind, set) })
}

fn make_under_free_name<T: Tables>(
    tables: &mut T,
    cx: &Context,
    directory: ObjectId,
    name: &Name,
    new: &New<'_>,
) -> Outcome<Created, T> {
    let parent = searchable(tables, cx, directory)?;
    if tables.edge(directory, name)?.is_some() {
        return Err(Refusal::of(Error::Exists, &parent).into());
    }
    make(tables, cx, &parent, name, new)
}

/// Makes an object under a name that is free.
fn make<T: Tables>(
    tables: &mut T,
    cx: &Context,
    parent: &Attributes,
    name: &Name,
    new: &New<'_>,
) -> Outcome<Created, T> {
    rules::may_change_entries(&cx.credentials, parent)
        .and_then(|()| tables.room())
        .map_err(|error| Refusal::of(error, parent))?;
    let is_directory = new.kind.is_directory();
    let change = entries_changed(parent, cx.now, i32::from(is_directory));
    let rules::NewObject { mode, uid, gid, atime, mtime, ctime } =
        rules::new_object(&cx.credentials, parent, new.kind, new.set, cx.now);
    let size = match (new.target, is_directory) {
        (Some(target), _) => target.as_bytes().len() as u64,
        (None, true) => rules::DIRECTORY_SIZE,
        (None, false) => 0,
    };
    let content = (new.kind == FileType::Regular)
        .then(|| ContentRef { id: ContentId::generate(), version: ContentVersion(0) });
    let object = Attributes {
        id: ObjectId::generate(),
        fileid: tables.next_fileid()?,
        fsid: parent.fsid,
        file_type: new.kind,
        mode,
        nlink: if is_directory { 2 } else { 1 },
        uid,
        gid,
        size,
        used: size,
        atime,
        mtime,
        ctime,
        rdev: new.rdev,
        content,
        mtime_version: 0,
        parent: is_directory.then_some(parent.id),
    };
    let cookie = tables.next_cookie()?;
    tables.insert(&object, new.target, new.verifier)?;
    tables.put_edge(parent.id, name, Edge { child: object.id, cookie })?;
    tables.put(&change.after)?;
    Ok(Created { directory: change, object, made: true })
}
