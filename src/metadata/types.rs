//! What the store's operations take and answer.

use crate::types::{
    Attributes, ContentId, ContentRef, Cookie, Fileid, Fsid, Name, ObjectId, ShareId, ShareName,
    SymlinkTarget, Timestamp,
};

/// What a share is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareSpec {
    pub name: ShareName,
    /// Its root's owner and mode.
    pub root: RootSpec,
    /// The size of its content's chunks in bytes, for content stores that keep chunks.
    pub chunk_size: u32,
}

/// A new root's owner and mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootSpec {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// A share as the store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its number in this store.
    pub id: ShareId,
    pub name: ShareName,
    /// Its root directory.
    pub root: ObjectId,
    /// Its file system identity.
    pub fsid: Fsid,
    /// The size of its content's chunks in bytes.
    pub chunk_size: u32,
    /// What FSINFO and PATHCONF answer.
    pub capabilities: Capabilities,
}

/// What FSINFO and PATHCONF answer for a share (RFC 1813 sections 3.3.19 and 3.3.20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Most and preferred bytes of a READ.
    pub max_read: u32,
    /// Most and preferred bytes of a WRITE.
    pub max_write: u32,
    /// Suggested multiple of both.
    pub multiple: u32,
    /// Preferred bytes of a READDIR.
    pub preferred_readdir: u32,
    /// Largest size of a file in bytes.
    pub max_file_size: u64,
    /// Granularity of times in nanoseconds.
    pub time_delta: u32,
    /// Most names of one object.
    pub max_links: u32,
    /// Longest name in bytes.
    pub max_name: u32,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            max_read: 1 << 20,
            max_write: 1 << 20,
            multiple: 4096,
            preferred_readdir: 1 << 16,
            max_file_size: i64::MAX as u64,
            time_delta: 1,
            max_links: 65_000,
            max_name: 255,
        }
    }
}

/// What a share uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Objects, the root included.
    pub objects: u64,
    /// The bytes that regular files and symbolic links take ([`crate::types::Attributes::used`]), summed up.
    pub bytes: u64,
}

/// An object before and after a change; equal where nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Before, read atomically with the change; `None` where the answer was lost, and is made of the object
    /// as it is now (pre_op_attr, RFC 1813 section 2.6).
    pub before: Option<Attributes>,
    pub after: Attributes,
}

impl Change {
    /// No change.
    #[must_use]
    pub fn none(attributes: Attributes) -> Self {
        Self { before: Some(attributes.clone()), after: attributes }
    }
}

/// A time in SETATTR and in creates (RFC 1813 section 2.6, set_atime and set_mtime).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetTime {
    /// Leave it.
    #[default]
    Keep,
    /// The server's time.
    Now,
    /// The client's time.
    To(Timestamp),
}

/// Attributes to set (RFC 1813 section 2.6, sattr3) and the guard of SETATTR.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetAttributes {
    /// Permission bits; others than `0o7777` are ignored.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Last access.
    pub atime: SetTime,
    /// Last change of the bytes.
    pub mtime: SetTime,
    /// The ctime that the object must have.
    pub guard: Option<Timestamp>,
    /// The content that the file has from then on, where the size is not 0 and the caller has made it ready.
    pub content: Option<NewContent>,
}

/// Content for a file whose size is set, made from the file as the caller has read it. Where it has changed
/// since, the operation is refused with [`super::Error::Superseded`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewContent {
    /// The content that the file had.
    pub replaces: ContentRef,
    /// The ctime that the file had.
    pub ctime: Timestamp,
    /// The content that has the file's bytes up to the size; the id that the file has already, where its
    /// content is as long as that.
    pub id: ContentId,
}

/// SETATTR's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingDone {
    /// The object.
    pub change: Change,
    /// Content that nothing names any more.
    pub freed: Option<ContentId>,
}

impl SettingDone {
    /// The answer with `change`, which frees the content that only the object before it names.
    pub(super) fn of(change: Change) -> Self {
        let content = |it: &Attributes| it.content.map(|content| content.id);
        let before = change.before.as_ref().and_then(content);
        Self { freed: before.filter(|_| before != content(&change.after)), change }
    }
}

/// How CREATE treats a name that is taken (RFC 1813 section 3.3.8, createhow3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateHow {
    /// A regular file of that name is the answer.
    Unchecked(SetAttributes),
    /// The name must be free.
    Guarded(SetAttributes),
    /// The name must be free, or hold what a call of the same verifier and user made.
    Exclusive(u64),
}

/// The answer of what makes an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    pub directory: Change,
    pub object: Attributes,
    /// Whether this call made it; otherwise it was there, and nothing was changed.
    pub made: bool,
}

/// The answer of LOOKUP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    pub directory: Attributes,
    /// What it has under the name.
    pub object: Option<Attributes>,
}

impl Lookup {
    /// The objects that it shows.
    pub(super) fn objects(&self) -> impl Iterator<Item = ObjectId> + Clone {
        std::iter::once(&self.directory).chain(&self.object).map(|object| object.id)
    }
}

/// The answer of READLINK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The link itself.
    pub attributes: Attributes,
    /// Where it leads.
    pub target: SymlinkTarget,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Its place.
    pub cookie: Cookie,
    pub name: Name,
    /// The object's file number.
    pub fileid: Fileid,
    pub object: ObjectId,
    /// The object's attributes, where asked for.
    pub attributes: Option<Attributes>,
}

/// A page of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub directory: Attributes,
    /// The file number of its parent.
    pub parent_fileid: Fileid,
    /// Entries in cookie order.
    pub entries: Vec<DirectoryEntry>,
    /// Whether no entry follows.
    pub eof: bool,
}

impl Page {
    /// The objects that it shows.
    pub(super) fn objects(&self) -> impl Iterator<Item = ObjectId> + Clone {
        let entries = self.entries.iter().map(|entry| entry.object);
        std::iter::once(self.directory.id).chain(entries)
    }
}

/// The answer of REMOVE and RMDIR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    pub directory: Change,
    /// What lost the name.
    pub object: Replaced,
}

/// An object that lost a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Its attributes afterwards; `nlink` 0 where it is gone.
    pub attributes: Attributes,
    /// Content that nothing names any more.
    pub freed: Option<ContentId>,
}

impl Replaced {
    /// An object afterwards.
    pub(super) fn of(attributes: Attributes) -> Self {
        let freed = attributes.content.filter(|_| attributes.nlink == 0).map(|content| content.id);
        Self { attributes, freed }
    }
}

/// The answer of RENAME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// The directory that lost the name.
    pub from: Change,
    /// The directory that got it; the same as `from` where there is only one.
    pub to: Change,
    /// The object, afterwards.
    pub object: Attributes,
    /// What it replaced.
    pub replaced: Option<Replaced>,
}

/// The answer of LINK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTarget {
    /// The object, afterwards.
    pub object: Attributes,
    pub directory: Change,
}

/// What a flush records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flush {
    /// The last access; never moved back.
    pub atime: Option<Timestamp>,
    /// What was written.
    pub written: Option<Written>,
}

/// Writes to a file's content, as every reply since has shown them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The content that was written to.
    pub content: ContentRef,
    /// The size is at least this.
    pub end: u64,
    /// The mtime, unless an explicit one was set since `mtime_version`.
    pub mtime: Timestamp,
    /// The `mtime_version` that `mtime` rests on.
    pub mtime_version: i32,
    /// The file's mtime before the writes. `mtime` takes its place even where that is later, as a time of the
    /// future that a client has set; any other is another server's write, and stays where it is later.
    pub replaced_mtime: Timestamp,
    /// The ctime; the store goes beyond it where its own is not less.
    pub ctime: Timestamp,
    /// Mode bits to clear (set-uid and set-gid after a write).
    pub clear_mode: u32,
    /// What the content takes on its store, measured after it was made durable.
    pub used: u64,
    /// The file's ctime when the first of the writes found it. Where it has another, another instance has
    /// recorded writes since, and what the file takes only grows.
    pub seen: Timestamp,
}

impl Written {
    /// The mtime of a file that was `present` and has these writes now.
    #[must_use]
    pub fn mtime_over(&self, present: &Attributes) -> Timestamp {
        if present.mtime_version != self.mtime_version {
            present.mtime
        } else if present.mtime == self.replaced_mtime {
            self.mtime
        } else {
            present.mtime.max(self.mtime)
        }
    }
}

/// What became of a flush.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlushOutcome {
    Recorded(Change),
    /// The content has another id or version: nothing was recorded of the writes.
    Superseded(Attributes),
}

/// What became of the announcement that a gap will be zeroed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroingOutcome {
    /// The version that holds from now on.
    Begun(ContentRef),
    /// The content had another id or version already: this one.
    Superseded(ContentRef),
}

/// Where a metadata store is, by which a copy is told from its original.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StorePlace {
    /// The same for every process that opens the database, and another for a copy of it.
    pub id: String,
    /// The machine or server, and the database there, for administrators.
    pub text: String,
}
