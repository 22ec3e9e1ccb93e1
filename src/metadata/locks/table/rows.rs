//! The rows: every change of the table is one of these, noted with what was there before.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{
    ClientId, ClientRow, FileLocks, Held, LockTable, OwnerKey, ShareRow, Waiter, WaiterKey,
};
use crate::metadata::{LockBytes, LockClient};
use crate::types::{ObjectId, Timestamp};

/// A row that was changed, and what it was before.
#[derive(Clone, Debug)]
pub(in crate::metadata) enum Changed {
    /// By the first byte.
    Held(ObjectId, OwnerKey, u64, Option<Held>),
    Waiter(ObjectId, WaiterKey, Option<Waiter>),
    Share(ObjectId, (ClientId, LockBytes), Option<ShareRow>),
    Client(ClientId, Option<(Arc<LockClient>, Timestamp)>),
}

/// A row that was changed, and what it is now.
#[derive(Debug)]
pub(in crate::metadata) enum Present<'a> {
    Held(ObjectId, OwnerKey, u64, Option<&'a Held>),
    Waiter(ObjectId, WaiterKey, Option<&'a Waiter>),
    Share(ObjectId, ClientId, &'a LockBytes, Option<&'a ShareRow>),
    Client(ClientId, Option<&'a ClientRow>),
}

impl LockTable {
    /// Every row that was changed since the last call of [`LockTable::committed`], once or oftener, as it is
    /// now.
    pub(in crate::metadata) fn changes(&self) -> impl Iterator<Item = Present<'_>> {
        self.log.iter().map(|changed| match changed {
            Changed::Held(file, owner, first, _) => {
                Present::Held(*file, *owner, *first, self.held(*file, *owner, *first))
            }
            Changed::Waiter(file, key, _) => Present::Waiter(*file, *key, self.waiter(*file, key)),
            Changed::Share(file, key, _) => {
                let row = self.files.get(file).and_then(|locks| locks.shares.get(key));
                Present::Share(*file, key.0, &key.1, row)
            }
            Changed::Client(id, _) => Present::Client(*id, self.clients.get(id)),
        })
    }

    /// The changes hold for good.
    pub(in crate::metadata) fn committed(&mut self) {
        self.log.clear();
    }

    /// Takes back all changes since the last call of [`LockTable::committed`].
    pub(in crate::metadata) fn undo(&mut self) {
        let log = std::mem::take(&mut self.log);
        for changed in log.into_iter().rev() {
            match changed {
                Changed::Held(file, owner, first, before) => {
                    self.set_held(file, owner, first, before);
                }
                Changed::Waiter(file, key, before) => self.set_waiter(file, key, before),
                Changed::Share(file, key, before) => self.set_share(file, key, before),
                Changed::Client(id, before) => self.set_client(id, before),
            }
        }
        self.log.clear();
        self.woken.clear();
    }

    pub(super) fn held(&self, file: ObjectId, owner: OwnerKey, first: u64) -> Option<&Held> {
        self.files.get(&file)?.held.get(&owner)?.get(&first)
    }

    pub(super) fn waiter(&self, file: ObjectId, key: &WaiterKey) -> Option<&Waiter> {
        self.files.get(&file)?.waiters.get(key)
    }

    /// Puts a range that begins at `first`, or removes it.
    pub(in crate::metadata) fn set_held(
        &mut self,
        file: ObjectId,
        owner: OwnerKey,
        first: u64,
        row: Option<Held>,
    ) {
        let is_there = row.is_some();
        let locks = self.files.entry(file).or_default();
        let ranges = locks.held.entry(owner).or_default();
        let before = match row {
            Some(row) => ranges.insert(first, row),
            None => ranges.remove(&first),
        };
        if ranges.is_empty() {
            locks.held.remove(&owner);
        }
        let change = difference(before.is_some(), is_there);
        self.totals.locks = self.totals.locks.saturating_add_signed(change);
        self.count(file, owner.client, change, 0);
        self.log.push(Changed::Held(file, owner, first, before));
    }

    /// Puts a waiter or a reservation, or removes it.
    pub(in crate::metadata) fn set_waiter(
        &mut self,
        file: ObjectId,
        key: WaiterKey,
        row: Option<Waiter>,
    ) {
        let cookie = row.as_ref().and_then(|row| row.cookie);
        let is_there = row.is_some();
        let locks = self.files.entry(file).or_default();
        let before = match row {
            Some(row) => locks.waiters.insert(key, row),
            None => locks.waiters.remove(&key),
        };
        let earlier = before.as_ref().and_then(|row| row.cookie);
        if let Some(earlier) = earlier {
            self.cookies.remove(&earlier);
        }
        if let Some(cookie) = cookie {
            self.cookies.insert(cookie, (file, key));
        }
        let was_waiting = before.is_some() && earlier.is_none();
        let is_waiting = is_there && cookie.is_none();
        let waiting = self.waiting.entry(key.owner).or_default();
        set_member(waiting, (file, key), is_waiting);
        if waiting.is_empty() {
            self.waiting.remove(&key.owner);
        }
        let totals = &mut self.totals;
        totals.waiters = totals.waiters.saturating_add_signed(difference(was_waiting, is_waiting));
        let change = difference(earlier.is_some(), cookie.is_some());
        totals.reservations = totals.reservations.saturating_add_signed(change);
        self.count(file, key.owner.client, 0, difference(before.is_some(), is_there));
        self.log.push(Changed::Waiter(file, key, before));
    }

    /// Puts a share reservation, or removes it.
    pub(in crate::metadata) fn set_share(
        &mut self,
        file: ObjectId,
        key: (ClientId, LockBytes),
        row: Option<ShareRow>,
    ) {
        let is_there = row.is_some();
        let locks = self.files.entry(file).or_default();
        let before = match row {
            Some(row) => locks.shares.insert(key.clone(), row),
            None => locks.shares.remove(&key),
        };
        let change = difference(before.is_some(), is_there);
        self.totals.shares = self.totals.shares.saturating_add_signed(change);
        self.count(file, key.0, change, 0);
        self.log.push(Changed::Share(file, key, before));
    }

    /// Puts a client and when it was seen, or removes it with nothing left of it.
    pub(in crate::metadata) fn set_client(
        &mut self,
        id: ClientId,
        row: Option<(Arc<LockClient>, Timestamp)>,
    ) {
        let before = self.clients.get(&id).map(|row| (Arc::clone(&row.client), row.seen));
        match row {
            Some((client, seen)) => match self.clients.get_mut(&id) {
                Some(present) => present.seen = seen,
                None => {
                    self.by_client.insert(Arc::clone(&client), id);
                    let files = std::collections::BTreeMap::new();
                    let row = ClientRow { client, seen, locks: 0, waiters: 0, files };
                    self.clients.insert(id, row);
                }
            },
            None => {
                if let Some(row) = self.clients.remove(&id) {
                    self.by_client.remove(&row.client);
                }
            }
        }
        self.totals.clients = self.clients.len() as u64;
        self.log.push(Changed::Client(id, before));
    }

    /// Counts a file's rows of a client, and forgets a file that has none.
    fn count(&mut self, file: ObjectId, client: ClientId, locks: i64, waiters: i64) {
        if let Some(row) = self.clients.get_mut(&client) {
            row.locks = row.locks.saturating_add_signed(locks);
            row.waiters = row.waiters.saturating_add_signed(waiters);
            let rows = row.files.entry(file).or_default();
            *rows = rows.saturating_add_signed(locks + waiters);
            if *rows == 0 {
                row.files.remove(&file);
            }
        }
        if self.files.get(&file).is_some_and(FileLocks::is_empty) {
            self.files.remove(&file);
        }
    }
}

fn difference(before: bool, after: bool) -> i64 {
    i64::from(after) - i64::from(before)
}

fn set_member<T: Ord>(set: &mut BTreeSet<T>, member: T, is_in: bool) {
    if is_in {
        set.insert(member);
    } else {
        set.remove(&member);
    }
}
