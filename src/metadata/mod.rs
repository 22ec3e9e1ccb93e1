//! The namespace: traits of POSIX operations and of shares, their contract, and the stores that keep them.
//!
//! # Contract
//! - One method is one operation: wholly done or not done at all, durable before it returns (as
//!   far as the store is durable at all).
//! - `create`, `mkdir`, `symlink`, `mknod`, `remove`, `rmdir`, `rename`, `link` and `setattr` check
//!   permission inside, with [`rules`], on the values that hold while the change is made.
//!   The reading methods and `flush` check none: their callers do, on the attributes that they return.
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
mod catalog;
mod check;
mod decide;
mod error;
mod known_shares;
mod locks;
pub mod memory;
mod namespace;
mod paths;
pub mod postgres;
mod repair;
mod replies;
pub mod rules;
pub mod schema;
mod server;
mod single_writer;
mod sole;
pub mod sqlite;
mod summary;
mod transfer;
mod types;

pub use catalog::Catalog;
pub(crate) use check::HIGHEST_NUMBER;
pub use check::{
    Checkable, Checker, DirectoryState, EntryState, Fault, Flaw, Invariants, Numbers, ObjectState,
    Repair, Repairable, Repaired, Repairer, Totals, UsageState,
};
pub use error::{Answer, Error, Refusal, Source};
pub use locks::{
    Cancelled, Freed, LockBytes, LockClient, LockClientUse, LockFilter, LockHolder, LockKind,
    LockLimits, LockOutcome, LockOwner, LockRange, LockRecord, LockRecords, LockRequest,
    LockStanding, LockTotals, Locks, QuietClient, RangeTooLarge, Reservation, ReservationCookie,
    Settled, ShareOutcome, ShareRequest, Tidied, Transport, Unlocked, WaitHow, WhichClients,
};
pub use namespace::Namespace;
pub use paths::PathFinder;
pub use replies::Replayed;
pub use server::Server;
pub use sole::{Licence, Sole};
pub use summary::Summary;
use transfer::FENCED;
pub use transfer::{
    Dump, EntryRecord, LOADED, Load, LoadError, LoadFence, LoadHow, Loaded, ObjectRecord, PORTION,
    Portion, Record, claim_key,
};
pub use types::{
    Capabilities, Change, CreateHow, Created, DirectoryEntry, Flush, FlushOutcome, Link,
    LinkTarget, Lookup, NewContent, Page, Removed, Renamed, Replaced, RootSpec, SetAttributes,
    SetTime, SettingDone, Share, ShareSpec, StorePlace, Usage, Written, ZeroingOutcome,
};

/// A store that is served. See the module for the contract.
#[async_trait::async_trait]
pub trait MetadataStore: Namespace + Catalog + Locks {
    /// Opens a share, making it and its root on first use. What `spec` says of the root and the
    /// chunk size counts only then; it is never changed silently afterwards.
    async fn open_share(&self, spec: &ShareSpec) -> Result<Share, Error>;

    /// Sets a setting whose present value is `seen`, durably, and leaves any other as it is. Answers with
    /// the value that holds afterwards: `value`, or what another instance has set.
    async fn set_setting(
        &self,
        key: &str,
        seen: Option<&str>,
        value: &str,
    ) -> Result<Option<String>, Error>;

    /// Whether this store has taken the place of an earlier one, which is there no more: it was moved, or
    /// restored where that was.
    async fn succeeds(&self, earlier: &StorePlace) -> Result<bool, Error>;

    /// Gives everything back: connections, files. Calls after it fail.
    async fn close(&self);
}
