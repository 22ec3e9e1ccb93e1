//! CREATE, MKDIR, SYMLINK and MKNOD.

use crate::metadata::{Answer, Change, CreateHow, Created, Error, Refusal, SetAttributes, rules};
use crate::types::{
    Attributes, ContentId, ContentRef, ContentVersion, Context, DeviceNumbers, FileType, Name,
    ObjectId, SymlinkTarget,
};

use super::state::{Edge, Entries, State, entries_changed};

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

impl State {
    pub(super) fn create(
        &mut self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        how: &CreateHow,
    ) -> Answer<Created> {
        let parent = self.searchable(cx, directory)?;
        if let Some(object) = self.child(directory, name) {
            let is_the_answer = object.file_type == FileType::Regular
                && match how {
                    CreateHow::Unchecked(_) => true,
                    CreateHow::Guarded(_) => false,
                    CreateHow::Exclusive(verifier) => {
                        self.verifiers.get(&object.id) == Some(verifier)
                            && object.uid == cx.credentials.uid
                    }
                };
            if !is_the_answer {
                return Err(Refusal::of(Error::Exists, parent));
            }
            let directory = Change::none(parent.clone());
            return Ok(Created { directory, object: object.clone(), made: false });
        }
        let ordinary = SetAttributes::default();
        let (set, verifier) = match how {
            CreateHow::Unchecked(set) | CreateHow::Guarded(set) => (set, None),
            CreateHow::Exclusive(verifier) => (&ordinary, Some(*verifier)),
        };
        self.make(cx, directory, name, New { verifier, ..New::of(FileType::Regular, set) })
    }

    pub(super) fn mkdir(
        &mut self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        set: &SetAttributes,
    ) -> Answer<Created> {
        self.make(cx, directory, name, New::of(FileType::Directory, set))
    }

    pub(super) fn symlink(
        &mut self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        target: &SymlinkTarget,
        set: &SetAttributes,
    ) -> Answer<Created> {
        let new = New { target: Some(target), ..New::of(FileType::Symlink, set) };
        self.make(cx, directory, name, new)
    }

    pub(super) fn mknod(
        &mut self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        kind: FileType,
        rdev: DeviceNumbers,
        set: &SetAttributes,
    ) -> Answer<Created> {
        let parent = self.directory(cx, directory)?;
        rules::may_mknod(&cx.credentials, kind).map_err(|error| Refusal::of(error, parent))?;
        let rdev = match kind {
            FileType::BlockDevice | FileType::CharacterDevice => rdev,
            FileType::Regular
            | FileType::Directory
            | FileType::Symlink
            | FileType::Socket
            | FileType::Fifo => DeviceNumbers::default(),
        };
        self.make(cx, directory, name, New { rdev, ..New::of(kind, set) })
    }

    /// Makes an object under a name that must be free.
    fn make(
        &mut self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        new: New<'_>,
    ) -> Answer<Created> {
        let parent = self.searchable(cx, directory)?;
        if self.edge(directory, name).is_some() {
            return Err(Refusal::of(Error::Exists, parent));
        }
        rules::may_change_entries(&cx.credentials, parent)
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
            fileid: self.next_fileid(),
            fsid: change.before.fsid,
            file_type: new.kind,
            mode,
            nlink: if is_directory { 2 } else { 1 },
            uid,
            gid,
            size,
            atime,
            mtime,
            ctime,
            rdev: new.rdev,
            content,
            mtime_version: 0,
            parent: is_directory.then_some(directory),
        };
        if is_directory {
            self.entries.insert(object.id, Entries::default());
        }
        if let Some(target) = new.target {
            self.targets.insert(object.id, target.clone());
        }
        if let Some(verifier) = new.verifier {
            self.verifiers.insert(object.id, verifier);
        }
        let cookie = self.next_cookie();
        self.put_edge(directory, name, Edge { child: object.id, cookie });
        self.put(object.clone());
        self.put(change.after.clone());
        Ok(Created { directory: change, object, made: true })
    }
}
