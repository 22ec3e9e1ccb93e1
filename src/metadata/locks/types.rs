//! What the lock operations take and answer.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::LockRange;
use crate::types::{ObjectId, ShareId, Timestamp};

/// Bytes that a client has sent and that are compared or echoed: a caller_name, an oh, a handle. At most
/// [`LockBytes::MOST`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockBytes(Arc<[u8]>);

impl LockBytes {
    /// The longest string and netobj that is taken (XNFS 10.2, LM_MAXSTRLEN and MAXNETOBJ_SZ).
    pub const MOST: usize = 1024;

    /// The bytes; `None` where there are too many.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= Self::MOST).then(|| Self(bytes.into()))
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for LockBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

impl fmt::Debug for LockBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A client as owners of locks know it. Two mounts of one client by two addresses of ours are two clients:
/// both count their svids from 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockClient {
    /// The client's address, canonical.
    address: IpAddr,
    /// The caller_name of its calls.
    pub caller_name: LockBytes,
    /// The address of ours that its calls came to, or the name that stands for all such addresses.
    pub server: Arc<str>,
}

impl LockClient {
    /// A client; the same one whether its IPv4 address came by an IPv6 socket or not.
    #[must_use]
    pub fn new(address: IpAddr, caller_name: LockBytes, server: Arc<str>) -> Self {
        Self { address: address.to_canonical(), caller_name, server }
    }

    /// The client's address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }
}

/// The owner of locks: a client's process, or what it calls so. The oh is no part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockOwner {
    pub client: Arc<LockClient>,
    pub svid: i32,
}

/// Whether a lock admits others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockKind {
    /// Beside other shared ones.
    Shared,
    /// Alone.
    Exclusive,
}

impl LockKind {
    #[must_use]
    pub fn is_exclusive(self) -> bool {
        match self {
            Self::Exclusive => true,
            Self::Shared => false,
        }
    }

    #[must_use]
    pub fn of(exclusive: bool) -> Self {
        if exclusive { Self::Exclusive } else { Self::Shared }
    }

    /// Whether two owners cannot have overlapping ranges of these kinds.
    #[must_use]
    pub fn conflicts(self, other: Self) -> bool {
        self.is_exclusive() || other.is_exclusive()
    }
}

/// A lock that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRequest {
    pub file: ObjectId,
    pub owner: LockOwner,
    pub range: LockRange,
    pub kind: LockKind,
    /// Echoed to others that meet the lock, and in callbacks.
    pub oh: LockBytes,
    /// The client's state number (lockargs.state).
    pub state: i32,
}

/// How a client is called back whose lock waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitHow {
    /// The file's handle as the client has sent it.
    pub handle: LockBytes,
    /// The NLM version of the call.
    pub version: u32,
    pub transport: Transport,
    /// The address of ours that the call came to: Linux takes a callback from no other.
    pub local: IpAddr,
}

/// What a call came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    Tcp,
    Udp,
}

/// Who is in the way of a lock (nlm4_holder).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    pub kind: LockKind,
    pub svid: i32,
    pub oh: LockBytes,
    pub range: LockRange,
}

/// What became of a lock that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockOutcome {
    Granted,
    /// Another owner has it, and the call may not wait.
    Denied,
    /// Another owner has it: the call waits.
    Blocked,
    /// Another owner has it, which waits for this one, perhaps by way of others.
    Deadlock,
    /// The client, or the store, has as many locks or waiters as it may ([`LockLimits`]).
    NoLocks,
}

/// What UNLOCK leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unlocked {
    /// Reservations of the owner on this file that overlap the range and are not of exactly this range: their
    /// callbacks are to be sent again at once. Only those of this process.
    pub overlapping: Vec<Reservation>,
}

/// What CANCEL found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// A waiter or a reservation, which is gone now.
    Removed,
    /// Neither; the owner holds the whole range in that kind.
    Held,
    Nothing,
}

/// Names a reservation to the client in callbacks: 16 random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationCookie(pub Uuid);

impl ReservationCookie {
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::new_v4())
    }
}

/// A waiter that has got its lock and does not know yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    pub cookie: ReservationCookie,
    pub file: ObjectId,
    pub owner: LockOwner,
    pub range: LockRange,
    pub kind: LockKind,
    pub oh: LockBytes,
    pub how: WaitHow,
}

/// What a client's answer to a callback came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The reservation is a lock now.
    Merged,
    /// The reservation is gone.
    Dropped,
    /// There was no such reservation: it was settled before, or cancelled.
    Unknown,
}

/// Whose locks are freed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhichClients {
    /// FREE_ALL: the clients of this address and exactly this name.
    Named { address: IpAddr, caller_name: LockBytes },
    /// SM_NOTIFY: the clients of this address whose name is this one, the case ignored, or whose name is the
    /// other's first label; any name, where the address has but one on record. Rows that were taken under
    /// `state` stay.
    Rebooted { address: IpAddr, name: LockBytes, state: i32 },
    /// `locks.expire_after`: the clients of this address, where none of them has been seen for so long; the
    /// store looks at that when it frees.
    Silent { address: IpAddr, silent: Duration },
}

/// What was freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Clients that were meant.
    pub clients: u64,
    pub locks: u64,
    pub waiters: u64,
    pub reservations: u64,
    pub shares: u64,
    /// Whether no client was meant, and one of that very name has another address.
    pub known_elsewhere: bool,
}

/// A share reservation that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareRequest {
    pub file: ObjectId,
    pub client: Arc<LockClient>,
    pub oh: LockBytes,
    /// What others may not do (fsh_mode): bit 0 read, bit 1 write.
    pub mode: u8,
    /// What the client does (fsh_access): bit 0 read, bit 1 write.
    pub access: u8,
}

/// What became of a share reservation that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareOutcome {
    Granted,
    Denied,
    /// The client, or the store, has as many as it may.
    NoLocks,
}

/// What was tidied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Waiters dropped, since nobody polled for them.
    pub waiters: u64,
    /// Reservations of processes that have ended, which are locks now.
    pub merged: u64,
    /// Clients forgotten.
    pub clients: u64,
    /// Reservations dropped that were unconfirmed for too long.
    pub unconfirmed: u64,
}

/// A client that has something and has not been seen for some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuietClient {
    pub address: IpAddr,
    /// The addresses of ours, or the names that stand for them, that its calls came to.
    pub servers: Vec<Arc<str>>,
}

/// What a client has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockClientUse {
    pub client: Arc<LockClient>,
    pub locks: u64,
    pub waiters: u64,
    pub reservations: u64,
    pub shares: u64,
    /// When the oldest of them was taken, or began to wait.
    pub oldest: Timestamp,
    /// The client's last lock call, to the minute.
    pub seen: Timestamp,
}

/// Which records are meant: those that have all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockFilter {
    pub file: Option<ObjectId>,
    pub address: Option<IpAddr>,
    pub caller_name: Option<LockBytes>,
    pub svid: Option<i32>,
    /// Waiters and reservations alone.
    pub waiting: bool,
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockStanding {
    Held,
    /// Held by a client that has not said that it knows.
    Reserved,
    Waiting,
    /// A share reservation, which has no range, no kind and no svid.
    Share {
        mode: u8,
        access: u8,
    },
}

/// One lock, waiter, reservation or share reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRecord {
    pub file: ObjectId,
    /// The file's share; `None` where the file is gone.
    pub share: Option<ShareId>,
    /// 0 for a share reservation's svid.
    pub owner: LockOwner,
    pub standing: LockStanding,
    pub range: LockRange,
    pub kind: LockKind,
    pub oh: LockBytes,
    pub state: i32,
    /// When it was taken, or began to wait.
    pub since: Timestamp,
    /// The client's last lock call, to the minute; a waiter's last poll.
    pub seen: Timestamp,
    /// The process that calls back, for what waits.
    pub instance: Option<Uuid>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockTotals {
    pub clients: u64,
    pub locks: u64,
    pub waiters: u64,
    pub reservations: u64,
    pub shares: u64,
}

/// How much there may be. Beyond, [`LockOutcome::NoLocks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockLimits {
    /// Ranges of one owner on one file.
    pub ranges: u64,
    /// Locks of one client, share reservations included.
    pub locks: u64,
    /// Waiters and reservations of one client.
    pub waiters: u64,
    /// Locks, waiters, reservations and share reservations of all clients, and the clients.
    pub all: u64,
}

impl Default for LockLimits {
    fn default() -> Self {
        Self { ranges: 10_000, locks: 100_000, waiters: 1_000, all: 1_000_000 }
    }
}
