//! What clients' calls do. The contract stands at the head of [`crate::metadata`].

use super::{
    Answer, CreateHow, Created, Error, Flush, FlushOutcome, Link, LinkTarget, Lookup, Page,
    Removed, Renamed, Replayed, SetAttributes, SettingDone, Sole, Usage, ZeroingOutcome,
};
use crate::types::{
    Attributes, ContentRef, Context, Cookie, DeviceNumbers, FileType, Name, ObjectId, Replay,
    ShareId, SymlinkTarget,
};

/// Objects and their names: the operations of POSIX that NFSv3 has a procedure for, and what writes need.
#[async_trait::async_trait]
pub trait Namespace: std::fmt::Debug + Send + Sync + 'static {
    /// An object's attributes (RFC 1813 section 3.3.1). [`Error::Stale`] where it is gone.
    async fn getattr(&self, cx: &Context, object: ObjectId) -> Result<Attributes, Error>;

    /// A directory and what it has under `name` (section 3.3.3). Refused with [`Error::NotDirectory`] or
    /// [`Error::Stale`]; a name that is not there is no refusal, since the caller first asks
    /// whether it may search.
    async fn lookup(&self, cx: &Context, directory: ObjectId, name: &Name) -> Answer<Lookup>;

    /// A directory and its parent; the root's parent is the root.
    async fn lookup_parent(&self, cx: &Context, directory: ObjectId) -> Answer<Lookup>;

    /// A symbolic link's target (section 3.3.5). [`Error::Invalid`] for what is no symbolic link.
    async fn readlink(&self, cx: &Context, link: ObjectId) -> Answer<Link>;

    /// Up to `max_entries` entries after `after`, in cookie order (section 3.3.16), without `.` and
    /// `..`; each with its attributes where `with_attributes` is set. No other change of the
    /// directory makes a scan skip or repeat an entry that is there throughout.
    async fn readdir(
        &self,
        cx: &Context,
        directory: ObjectId,
        after: Cookie,
        max_entries: usize,
        with_attributes: bool,
    ) -> Answer<Page>;

    /// Sets attributes (section 3.3.2). A guard that does not equal the ctime is [`Error::NotSync`].
    /// A size of 0 gives the file new, empty content and frees the old; another size bumps the content's
    /// version and leaves the bytes to the caller, or gives the file [`SetAttributes::content`]. Size:
    /// directories [`Error::IsDirectory`], what is no regular file [`Error::Invalid`].
    async fn setattr(
        &self,
        cx: &Context,
        object: ObjectId,
        set: &SetAttributes,
    ) -> Answer<SettingDone>;

    /// Makes a regular file of size 0 (section 3.3.8), or answers with the one that is there as `how`
    /// says. `set.size` is not applied here.
    async fn create(
        &self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        how: &CreateHow,
    ) -> Answer<Created>;

    /// Makes a directory (section 3.3.9).
    async fn mkdir(
        &self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        set: &SetAttributes,
    ) -> Answer<Created>;

    /// Makes a symbolic link (section 3.3.10).
    async fn symlink(
        &self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        target: &SymlinkTarget,
        set: &SetAttributes,
    ) -> Answer<Created>;

    /// Makes a device, socket or named pipe (section 3.3.11). [`Error::BadType`] for other kinds,
    /// [`Error::NotPermitted`] where another than the superuser makes a device.
    async fn mknod(
        &self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        kind: FileType,
        rdev: DeviceNumbers,
        set: &SetAttributes,
    ) -> Answer<Created>;

    /// Removes a name of what is no directory (section 3.3.12); the object goes with its last name.
    async fn remove(&self, cx: &Context, directory: ObjectId, name: &Name) -> Answer<Removed>;

    /// Removes an empty directory (section 3.3.13). Emptiness and removal are one step.
    async fn rmdir(&self, cx: &Context, directory: ObjectId, name: &Name) -> Answer<Removed>;

    /// Renames, replacing what is there (section 3.3.14). The entry keeps its cookie; where it replaces
    /// another, the replaced entry's cookie stays.
    async fn rename(
        &self,
        cx: &Context,
        from: ObjectId,
        from_name: &Name,
        to: ObjectId,
        to_name: &Name,
    ) -> Answer<Renamed>;

    /// Gives an object that is no directory a further name (section 3.3.15). A refusal's `first` is
    /// the object, its `second` the directory.
    async fn link(
        &self,
        cx: &Context,
        object: ObjectId,
        directory: ObjectId,
        name: &Name,
    ) -> Answer<LinkTarget>;

    /// Records what was written to a file's content, and its atime: never shrinks, and changes
    /// nothing where the content has another id or version than `flush` says. Forgets the verifier of an
    /// exclusive create.
    async fn flush(&self, cx: &Context, file: ObjectId, flush: &Flush) -> Answer<FlushOutcome>;

    /// Bumps the content's version before bytes beyond the recorded size are zeroed, so that sizes
    /// recorded under the old one are refused.
    async fn begin_zeroing(
        &self,
        cx: &Context,
        file: ObjectId,
        content: ContentRef,
    ) -> Answer<ZeroingOutcome>;

    /// Whether a call was done before, by a server that recorded it with its change no more than two minutes
    /// ago. What it came to is durable.
    async fn replayed(&self, cx: &Context, call: &Replay) -> Result<Option<Replayed>, Error>;

    /// That this process alone changes files now; `None` where others may. No other begins for as long as it
    /// is held.
    fn sole(&self) -> Option<Sole>;

    /// What the share uses; at most five seconds old.
    async fn usage(&self, share: ShareId) -> Result<Usage, Error>;
}
