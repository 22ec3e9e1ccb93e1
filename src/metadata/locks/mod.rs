//! Byte-range locks and share reservations of NLM clients (X/Open XNFS chapters 10 and 14): the trait of
//! stores, and the table that stores with one writer decide with.
//!
//! # Contract
//! - Locks are advisory: no operation of [`super::Namespace`] looks at them.
//! - One method is one operation: wholly done or not at all, durable before it returns. A repeat of a call
//!   whose answer was lost gives the same answer and the same state, as long as its owner has not called
//!   otherwise since.
//! - Two owners never hold an overlapping range, unless both hold it shared. A reservation counts as held.
//! - The rows of one owner and file do not overlap, and neighbours are of different kinds.
//! - A removed file has no locks: [`Locks::lock`] and [`Locks::share_file`] answer [`Error::Stale`]; what
//!   takes something back succeeds.
//! - [`Error::Unavailable`] and [`Error::Cancelled`] say that nothing was changed, or that a repeat finds
//!   out.
//!
//! # Waiting
//! A lock that conflicts and may block becomes a *waiter* of the process whose store took it. What frees a
//! range makes [`Locks::woken`] answer in every process that has waiters there; each tries its own with
//! [`Locks::reserve`], the oldest first. One that succeeds becomes a *reservation*: durable, in everybody's
//! way, not yet merged with the owner's other ranges, and named by its cookie. The client's word ends it:
//! [`Locks::settle`] for its answer to a callback, [`Locks::lock`] for its poll, [`Locks::unlock`] and
//! [`Locks::cancel_lock`] of the very range.
//!
//! A client takes a callback from the address alone that it has called. So waiters belong to whichever
//! process has that address: one that finds that it has lost the address gives a reservation back
//! ([`Locks::hand_over`]), and one that has it takes the waiters of processes that have ended
//! ([`Locks::take_over`]).

mod names;
mod range;
pub(super) mod table;
mod types;
mod wakes;

use std::net::IpAddr;
use std::time::Duration;

pub(super) use self::names::{is_name_of, only_name};
pub(super) use self::wakes::Wakes;
pub use range::{LockRange, RangeTooLarge};
pub use types::{
    Cancelled, Freed, LockBytes, LockClient, LockClientUse, LockFilter, LockHolder, LockKind,
    LockLimits, LockOutcome, LockOwner, LockRecord, LockRequest, LockStanding, LockTotals,
    QuietClient, Reservation, ReservationCookie, Settled, ShareOutcome, ShareRequest, Tidied,
    Transport, Unlocked, WaitHow, WhichClients,
};

use super::Error;
use crate::types::{Call, ObjectId};

/// What clients' lock managers ask for. See the module for the contract.
#[async_trait::async_trait]
pub trait Locks: LockRecords {
    /// The first holder that a lock would conflict with; `None` where it would be granted. A reservation of
    /// another owner is a holder. Changes nothing.
    async fn test_lock(
        &self,
        call: &Call,
        request: &LockRequest,
    ) -> Result<Option<LockHolder>, Error>;

    /// Takes a lock: the owner's rows in the range are replaced by one of this kind, atomically, be it an
    /// upgrade or a downgrade. What the owner waits for or has reserved with the same range and kind is
    /// merged. On a conflict nothing changes; with `wait` the owner becomes a waiter of this process, or one
    /// that is seen again. [`Error::Stale`] where the file is gone.
    async fn lock(
        &self,
        call: &Call,
        request: &LockRequest,
        wait: Option<&WaitHow>,
    ) -> Result<LockOutcome, Error>;

    /// Gives a range back, whatever of it is held, and drops the owner's waiters and reservations of exactly
    /// this range.
    async fn unlock(
        &self,
        call: &Call,
        file: ObjectId,
        owner: &LockOwner,
        range: LockRange,
    ) -> Result<Unlocked, Error>;

    /// Drops the waiter or the reservation of exactly this range and kind. A lock that is held stays.
    async fn cancel_lock(
        &self,
        call: &Call,
        file: ObjectId,
        owner: &LockOwner,
        range: LockRange,
        kind: LockKind,
    ) -> Result<Cancelled, Error>;

    /// Waits until waiters of this process may succeed, and answers with their files. Empty once the store is
    /// closed. For one caller, which tries each file with [`Locks::reserve`]; nothing is lost where the
    /// future is dropped before it is ready.
    async fn woken(&self) -> Vec<ObjectId>;

    /// Tries the waiters that this process has on a file, the oldest first, and answers with at most `limit`
    /// new reservations. Where it answers with as many, there may be more.
    async fn reserve(
        &self,
        call: &Call,
        file: ObjectId,
        limit: usize,
    ) -> Result<Vec<Reservation>, Error>;

    /// Ends a reservation: merges it with the owner's other ranges where the client has accepted it, else
    /// drops it. A lock that was merged meanwhile stays.
    async fn settle(
        &self,
        call: &Call,
        cookie: ReservationCookie,
        accepted: bool,
    ) -> Result<Settled, Error>;

    /// The addresses of ours that calls came to which wait, or have a reservation, by processes that have
    /// ended or given them up; up to some dozen. Another process may take them over meanwhile.
    async fn abandoned(&self, call: &Call) -> Result<Vec<IpAddr>, Error>;

    /// Makes this process the one of abandoned waiters whose calls came to one of `locals`, which wakes it
    /// for them. Such reservations become locks, since their clients may have heard of them; the answer has
    /// them, so that clients that have not are told, whatever they say to it. A repeat after a lost answer
    /// has none: those clients find out by their polls.
    async fn take_over(&self, call: &Call, locals: &[IpAddr]) -> Result<Vec<Reservation>, Error>;

    /// Makes a reservation, of which its client has not heard, a waiter again, of no process.
    async fn hand_over(&self, call: &Call, cookie: ReservationCookie) -> Result<(), Error>;

    /// Addresses of clients that have something and have not been seen for `quiet`, at most `limit`.
    async fn quiet_clients(
        &self,
        call: &Call,
        quiet: Duration,
        limit: usize,
    ) -> Result<Vec<QuietClient>, Error>;

    /// The clients of an address are seen, as by a lock call.
    async fn clients_seen(&self, call: &Call, address: IpAddr) -> Result<(), Error>;

    /// Frees the locks, waiters, reservations and share reservations of clients that have rebooted
    /// (SM_NOTIFY), say so themselves (FREE_ALL), or have been silent. A store may do so in portions of some
    /// hundred files, each wholly or not at all; a repeat frees the rest.
    async fn free_client(&self, call: &Call, which: &WhichClients) -> Result<Freed, Error>;

    /// Takes a share reservation (X/Open XNFS 14.1, NLM_SHARE); one of the same file, client and oh gives
    /// way. [`Error::Stale`] where the file is gone.
    async fn share_file(&self, call: &Call, request: &ShareRequest) -> Result<ShareOutcome, Error>;

    /// Gives a share reservation back, if it is there.
    async fn unshare_file(
        &self,
        call: &Call,
        file: ObjectId,
        client: &LockClient,
        oh: &LockBytes,
    ) -> Result<(), Error>;

    /// Drops waiters that no poll has asked for in `unseen`, merges the reservations of processes that have
    /// ended, drops those that have been unconfirmed for so long, where there is such a limit, and forgets
    /// clients that have had nothing for a day. To be called every minute or so.
    async fn tidy_locks(
        &self,
        call: &Call,
        unseen: Duration,
        unconfirmed: Option<Duration>,
    ) -> Result<Tidied, Error>;
}

/// What administrators see and do, also while another process serves the store.
#[async_trait::async_trait]
pub trait LockRecords: std::fmt::Debug + Send + Sync + 'static {
    /// Up to `limit` records that the filter takes, in one order, behind `after`, which is the last record of
    /// the page before. Fewer than `limit` where none follows.
    async fn list_locks(
        &self,
        filter: &LockFilter,
        after: Option<&LockRecord>,
        limit: usize,
    ) -> Result<Vec<LockRecord>, Error>;

    /// Frees whatever the filter takes. [`Error::Invalid`] for a filter without a file or an address. The
    /// clients are not told.
    async fn break_locks(&self, filter: &LockFilter) -> Result<Freed, Error>;

    /// What each client has, those with the most first, at most `limit`.
    async fn lock_clients(&self, limit: usize) -> Result<Vec<LockClientUse>, Error>;

    /// How much there is of everything.
    async fn lock_totals(&self) -> Result<LockTotals, Error>;
}
