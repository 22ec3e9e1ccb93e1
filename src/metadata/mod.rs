//! The namespace: a trait of POSIX operations, its contract, and the stores that keep it.
//!
//! # Contract
//! - One method is one operation: wholly done or not done at all, durable before it returns (as
//!   far as the store is durable at all).
//! - `create`, `mkdir`, `symlink`, `mknod`, `remove`, `rmdir`, `rename`, `link` and `setattr` check
//!   permission inside, with [`rules`], on the values that hold while the change is made.
//!   The reading methods and `flush` check none: whoever calls them does, on what they return.
//! - [`Change`]s are read atomically with the change. Two operations never show the same pair of
//!   times for one directory, and ctime grows strictly.
//! - A refusal carries the present attributes of the objects that the call names, where known.
//! - Names are bytes; a removed object answers [`Error::Stale`] at once, on every instance.
//! - Stores know committed attributes only; unflushed sizes and times are the caller's.
//! - When [`Context::cancel`] fires or its deadline passes, an operation that has not reached the
//!   point of no return ends with [`Error::Cancelled`] and has changed nothing. The outcome of one that has
//!   is awaited.

mod batch;
mod cache;
mod check;
mod decide;
mod error;
mod known_shares;
pub mod memory;
mod paths;
pub mod postgres;
mod repair;
pub mod rules;
pub mod schema;
mod single_writer;
pub mod sqlite;
mod summary;
mod transfer;
mod types;

pub(crate) use check::HIGHEST_NUMBER;
pub use check::{
    Checkable, Checker, DirectoryState, EntryState, Fault, Flaw, Numbers, ObjectState, Repair,
    Repairable, Repaired, Repairer, Totals, UsageState,
};
pub use error::{Answer, Error, Refusal, Source};
pub use paths::PathFinder;
pub use summary::Summary;
use transfer::FENCED;
pub use transfer::{
    Dump, EntryRecord, LOADED, Load, LoadError, LoadFence, LoadHow, Loaded, ObjectRecord, PORTION,
    Portion, Record, claim_key,
};
pub use types::{
    Capabilities, Change, CreateHow, Created, DirectoryEntry, Flush, FlushOutcome, Link,
    LinkTarget, Lookup, Page, Removed, Renamed, Replaced, RootSpec, SetAttributes, SetTime,
    SettingDone, Share, ShareSpec, StorePlace, Usage, Written, ZeroingOutcome,
};

use crate::types::{
    ContentRef, Context, Cookie, DeviceNumbers, FileType, Name, ObjectId, ShareId, ShareName,
    SymlinkTarget,
};

/// A namespace store. See the module for the contract.
#[async_trait::async_trait]
pub trait MetadataStore: std::fmt::Debug + Send + Sync + 'static {
    /// Opens a share, making it and its root on first use. What `spec` says of the root and the
    /// chunk size counts only then; it is never changed silently afterwards.
    async fn open_share(&self, spec: &ShareSpec) -> Result<Share, Error>;

    /// The shares that the store holds.
    async fn shares(&self) -> Result<Vec<ShareName>, Error>;

    /// A setting that all instances share; `None` where it was never set.
    async fn setting(&self, key: &str) -> Result<Option<String>, Error>;

    /// Sets a setting whose present value is `seen`, durably, and leaves any other as it is. Answers with
    /// what holds afterwards: `value`, or what somebody else has set.
    async fn set_setting(
        &self,
        key: &str,
        seen: Option<&str>,
        value: &str,
    ) -> Result<Option<String>, Error>;

    /// Where the store is; `None` where it goes with the process.
    async fn place(&self) -> Result<Option<StorePlace>, Error>;

    /// Whether this store has taken the place of an earlier one, which is there no more: it was moved, or
    /// restored where that was.
    async fn succeeds(&self, earlier: &StorePlace) -> Result<bool, Error>;

    /// An object's attributes (RFC 1813 section 3.3.1). [`Error::Stale`] where it is gone.
    async fn getattr(
        &self,
        cx: &Context,
        object: ObjectId,
    ) -> Result<crate::types::Attributes, Error>;

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
    /// version and leaves the bytes to the caller. Size: directories [`Error::IsDirectory`], what is no
    /// regular file [`Error::Invalid`].
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

    /// What the share uses; at most five seconds old.
    async fn usage(&self, share: ShareId) -> Result<Usage, Error>;

    /// What breaks the store's invariants, one line each; empty where the store is sound. Reads
    /// everything: for tests and checks.
    async fn inconsistencies(&self) -> Result<Vec<String>, Error>;

    /// Gives everything back: connections, files. Calls after it fail.
    async fn close(&self);
}
