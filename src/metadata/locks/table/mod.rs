//! The table of stores with one writer, in memory and in SQLite: every lock, waiter and share reservation,
//! and the decisions on them. No I/O: SQLite writes the rows that an operation has changed
//! ([`LockTable::changes`]) in its transaction, and takes them back where that fails ([`LockTable::undo`]).

mod carve;
mod clients;
mod deadlock;
mod decide;
mod records;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use uuid::Uuid;

pub(in crate::metadata) use self::carve::Held;
use self::rows::Changed;
pub(in crate::metadata) use self::rows::Present;
use crate::metadata::{
    LockBytes, LockClient, LockKind, LockLimits, LockOwner, LockRange, LockTotals, Reservation,
    ReservationCookie, WaitHow,
};
use crate::types::{ObjectId, Timestamp};

/// A client's number in its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::metadata) struct ClientId(pub(in crate::metadata) i64);

/// An owner by its client's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::metadata) struct OwnerKey {
    pub(in crate::metadata) client: ClientId,
    pub(in crate::metadata) svid: i32,
}

/// What waits, on one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::metadata) struct WaiterKey {
    pub(in crate::metadata) owner: OwnerKey,
    pub(in crate::metadata) range: LockRange,
    pub(in crate::metadata) kind: LockKind,
}

/// A waiter; a reservation where it has a cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::metadata) struct Waiter {
    pub(in crate::metadata) oh: LockBytes,
    pub(in crate::metadata) state: i32,
    pub(in crate::metadata) how: WaitHow,
    pub(in crate::metadata) instance: Uuid,
    pub(in crate::metadata) since: Timestamp,
    pub(in crate::metadata) seen: Timestamp,
    pub(in crate::metadata) cookie: Option<ReservationCookie>,
}

/// A share reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::metadata) struct ShareRow {
    pub(in crate::metadata) mode: u8,
    pub(in crate::metadata) access: u8,
    pub(in crate::metadata) since: Timestamp,
}

/// A client, and what it has.
#[derive(Clone, Debug)]
pub(in crate::metadata) struct ClientRow {
    pub(in crate::metadata) client: Arc<LockClient>,
    pub(in crate::metadata) seen: Timestamp,
    /// Locks and share reservations.
    locks: u64,
    /// Waiters and reservations.
    waiters: u64,
    /// How many of all those on each file.
    files: BTreeMap<ObjectId, u64>,
}

/// What is on one file.
#[derive(Debug, Default)]
struct FileLocks {
    /// By the first byte.
    held: BTreeMap<OwnerKey, BTreeMap<u64, Held>>,
    waiters: BTreeMap<WaiterKey, Waiter>,
    shares: BTreeMap<(ClientId, LockBytes), ShareRow>,
}

impl FileLocks {
    fn is_empty(&self) -> bool {
        self.held.is_empty() && self.waiters.is_empty() && self.shares.is_empty()
    }
}

/// The table.
#[derive(Debug)]
pub(in crate::metadata) struct LockTable {
    instance: Uuid,
    limits: LockLimits,
    files: BTreeMap<ObjectId, FileLocks>,
    clients: BTreeMap<ClientId, ClientRow>,
    by_client: HashMap<Arc<LockClient>, ClientId>,
    cookies: HashMap<ReservationCookie, (ObjectId, WaiterKey)>,
    /// Waiters of each owner, without its reservations.
    waiting: HashMap<OwnerKey, BTreeSet<(ObjectId, WaiterKey)>>,
    totals: LockTotals,
    /// Before each change since the last call of [`LockTable::committed`].
    log: Vec<Changed>,
    /// Files on which something was freed since.
    woken: BTreeSet<ObjectId>,
    /// The latest time that was given out.
    latest: Timestamp,
    /// Where the last search for removed files ended.
    searched: Option<ObjectId>,
}

impl LockTable {
    /// A table without rows of the process `instance`.
    pub(in crate::metadata) fn new(instance: Uuid, limits: LockLimits) -> Self {
        Self {
            instance,
            limits,
            files: BTreeMap::new(),
            clients: BTreeMap::new(),
            by_client: HashMap::new(),
            cookies: HashMap::new(),
            waiting: HashMap::new(),
            totals: LockTotals::default(),
            log: Vec::new(),
            woken: BTreeSet::new(),
            latest: Timestamp(0),
            searched: None,
        }
    }

    /// The rows that were put are those of the store: there is nothing to be written.
    pub(in crate::metadata) fn loaded(&mut self) {
        self.committed();
        let times = self.files.values().flat_map(|locks| {
            let held = locks.held.values().flat_map(BTreeMap::values).map(|row| row.since);
            held.chain(locks.waiters.values().map(|waiter| waiter.since))
        });
        self.latest = times.max().unwrap_or(Timestamp(0));
    }

    /// An empty table of the same process.
    pub(in crate::metadata) fn emptied(&self) -> Self {
        Self { latest: self.latest, ..Self::new(self.instance, self.limits) }
    }

    /// There may be so much from now on.
    pub(in crate::metadata) fn set_limits(&mut self, limits: LockLimits) {
        self.limits = limits;
    }

    /// The files on which something was freed since the last call, as far as waiters of this process are
    /// there.
    pub(in crate::metadata) fn take_woken(&mut self) -> Vec<ObjectId> {
        let woken = std::mem::take(&mut self.woken);
        woken.into_iter().filter(|file| self.has_waiters(*file)).collect()
    }

    /// Wakes the waiters of all files: locks may have gone that this process does not know of.
    pub(in crate::metadata) fn wake_all(&mut self) {
        self.woken.extend(self.files.keys());
    }

    fn has_waiters(&self, file: ObjectId) -> bool {
        let is_own = |waiter: &Waiter| waiter.cookie.is_none() && waiter.instance == self.instance;
        self.files.get(&file).is_some_and(|locks| locks.waiters.values().any(is_own))
    }

    /// The next time, later than any before: what waits has an order.
    fn next_time(&mut self, now: Timestamp) -> Timestamp {
        self.latest = now.after(self.latest);
        self.latest
    }

    fn owner_key(&self, owner: &LockOwner) -> Option<OwnerKey> {
        let client = self.by_client.get(&owner.client).copied()?;
        Some(OwnerKey { client, svid: owner.svid })
    }

    fn owner(&self, key: OwnerKey) -> Option<LockOwner> {
        let client = Arc::clone(&self.clients.get(&key.client)?.client);
        Some(LockOwner { client, svid: key.svid })
    }

    /// A waiter that has a cookie.
    fn reservation(&self, file: ObjectId, key: &WaiterKey, waiter: &Waiter) -> Option<Reservation> {
        Some(Reservation {
            cookie: waiter.cookie?,
            file,
            owner: self.owner(key.owner)?,
            range: key.range,
            kind: key.kind,
            oh: waiter.oh.clone(),
            how: waiter.how.clone(),
        })
    }
}
