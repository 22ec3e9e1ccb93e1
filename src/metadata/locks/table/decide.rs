//! LOCK, TEST, UNLOCK, CANCEL, and what becomes of waiters.

use super::carve::carve;
use super::{FileLocks, Held, LockTable, OwnerKey, Waiter, WaiterKey};
use crate::metadata::{
    Cancelled, LockHolder, LockKind, LockOutcome, LockOwner, LockRange, LockRequest, Reservation,
    ReservationCookie, Settled, Unlocked, WaitHow,
};
use crate::types::{ObjectId, Timestamp};

impl FileLocks {
    /// Everybody but `owner` who is in the way of a range, with the range and kind that is: holders of rows
    /// and of reservations.
    pub(super) fn in_the_way(
        &self,
        owner: Option<OwnerKey>,
        range: LockRange,
        kind: LockKind,
    ) -> impl Iterator<Item = InTheWay<'_>> {
        let held = self.held.iter().filter(move |(other, _)| Some(**other) != owner).flat_map(
            move |(other, rows)| {
                let overlapping = rows.range(..=range.last()).rev().map(|(_, row)| row);
                overlapping
                    .take_while(move |row| row.range.overlaps(range))
                    .filter(move |row| row.kind.conflicts(kind))
                    .map(|row| InTheWay::Held(*other, row))
            },
        );
        let reserved = self.waiters.iter().filter(move |(key, waiter)| {
            waiter.cookie.is_some()
                && Some(key.owner) != owner
                && key.range.overlaps(range)
                && key.kind.conflicts(kind)
        });
        held.chain(reserved.map(|(key, waiter)| InTheWay::Reserved(key, waiter)))
    }

    /// The rows of an owner that overlap or touch a range, in their order.
    fn touching(&self, owner: OwnerKey, range: LockRange) -> Vec<Held> {
        let Some(rows) = self.held.get(&owner) else { return Vec::new() };
        let until = range.last().saturating_add(1);
        let touching = rows.range(..=until).rev().map(|(_, row)| row);
        let mut rows: Vec<_> =
            touching.take_while(|row| row.range.touches(range)).cloned().collect();
        rows.reverse();
        rows
    }
}

/// What is in the way of a lock.
#[derive(Clone, Copy, Debug)]
pub(super) enum InTheWay<'a> {
    Held(OwnerKey, &'a Held),
    Reserved(&'a WaiterKey, &'a Waiter),
}

impl InTheWay<'_> {
    pub(super) fn owner(self) -> OwnerKey {
        match self {
            Self::Held(owner, _) => owner,
            Self::Reserved(key, _) => key.owner,
        }
    }

    fn holder(self) -> LockHolder {
        let svid = self.owner().svid;
        match self {
            Self::Held(_, row) => {
                LockHolder { kind: row.kind, svid, oh: row.oh.clone(), range: row.range }
            }
            Self::Reserved(key, waiter) => {
                LockHolder { kind: key.kind, svid, oh: waiter.oh.clone(), range: key.range }
            }
        }
    }
}

impl LockTable {
    /// See [`crate::metadata::Locks::test_lock`].
    pub(in crate::metadata) fn test(&self, request: &LockRequest) -> Option<LockHolder> {
        let owner = self.owner_key(&request.owner);
        let locks = self.files.get(&request.file)?;
        let in_the_way = locks.in_the_way(owner, request.range, request.kind);
        in_the_way.map(InTheWay::holder).min_by_key(|holder| (holder.range, holder.svid))
    }

    fn is_blocked(
        &self,
        file: ObjectId,
        owner: Option<OwnerKey>,
        range: LockRange,
        kind: LockKind,
    ) -> bool {
        let locks = self.files.get(&file);
        locks.is_some_and(|locks| locks.in_the_way(owner, range, kind).next().is_some())
    }

    /// See [`crate::metadata::Locks::lock`]. The file is there.
    pub(in crate::metadata) fn lock(
        &mut self,
        now: Timestamp,
        request: &LockRequest,
        wait: Option<&WaitHow>,
    ) -> LockOutcome {
        let &LockRequest { file, range, kind, .. } = request;
        let owner = self.owner_key(&request.owner);
        if self.is_blocked(file, owner, range, kind) {
            return match wait {
                Some(how) => self.wait(now, request, how),
                None => LockOutcome::Denied,
            };
        }
        let since = self.next_time(now);
        let new = Held { range, kind, oh: request.oh.clone(), state: request.state, since };
        let waits = owner.map(|owner| WaiterKey { owner, range, kind });
        let waits = waits.filter(|key| self.waiter(file, key).is_some());
        // A reservation counts already.
        if waits.is_none() && !self.has_room(file, owner, &new) {
            return LockOutcome::NoLocks;
        }
        let owner = self.seen(&request.owner, now);
        self.put(file, owner, range, Some(new));
        if let Some(key) = waits {
            self.set_waiter(file, key, None);
        }
        LockOutcome::Granted
    }

    /// Whether a client may have as many rows more as the new one makes.
    fn has_room(&self, file: ObjectId, owner: Option<OwnerKey>, new: &Held) -> bool {
        let touching = match (owner, self.files.get(&file)) {
            (Some(owner), Some(locks)) => locks.touching(owner, new.range),
            (_, _) => Vec::new(),
        };
        let more = carve(&touching, new.range, Some(new)).len() as u64;
        let Some(more) = more.checked_sub(touching.len() as u64).filter(|more| *more > 0) else {
            return true;
        };
        let ranges = owner.and_then(|owner| Some(self.files.get(&file)?.held.get(&owner)?.len()));
        let ranges = ranges.unwrap_or(0) as u64;
        let locks =
            owner.and_then(|owner| self.clients.get(&owner.client)).map_or(0, |it| it.locks);
        ranges + more <= self.limits.ranges
            && locks + more <= self.limits.locks
            && self.totals.all() + more <= self.limits.all
    }

    /// A lock that conflicts and may wait.
    fn wait(&mut self, now: Timestamp, request: &LockRequest, how: &WaitHow) -> LockOutcome {
        let &LockRequest { file, range, kind, .. } = request;
        let owner = self.owner_key(&request.owner);
        let key = owner.map(|owner| WaiterKey { owner, range, kind });
        let known = key.and_then(|key| Some((key, self.waiter(file, &key)?.clone())));
        if known.is_none() {
            let client = owner.and_then(|owner| self.clients.get(&owner.client));
            let waiters = client.map_or(0, |client| client.waiters);
            if waiters >= self.limits.waiters || self.totals.all() >= self.limits.all {
                return LockOutcome::NoLocks;
            }
        }
        if let Some(owner) = owner
            && self.would_deadlock(owner, file, range, kind)
        {
            if let Some((key, _)) = known {
                self.set_waiter(file, key, None);
            }
            return LockOutcome::Deadlock;
        }
        let owner = self.seen(&request.owner, now);
        let since = match &known {
            Some((_, waiter)) => waiter.since,
            None => self.next_time(now),
        };
        let waiter = Waiter {
            oh: request.oh.clone(),
            state: request.state,
            how: how.clone(),
            instance: self.instance,
            since,
            seen: now,
            cookie: None,
        };
        self.set_waiter(file, WaiterKey { owner, range, kind }, Some(waiter));
        LockOutcome::Blocked
    }

    /// Puts a range of an owner in the place of whatever it has there, or nothing.
    pub(super) fn put(
        &mut self,
        file: ObjectId,
        owner: OwnerKey,
        range: LockRange,
        new: Option<Held>,
    ) {
        let locks = self.files.get(&file);
        let touching = locks.map(|locks| locks.touching(owner, range)).unwrap_or_default();
        let frees = touching.iter().filter(|row| row.range.overlaps(range)).any(|row| match &new {
            Some(new) => row.kind.is_exclusive() && !new.kind.is_exclusive(),
            None => true,
        });
        let rows = carve(&touching, range, new.as_ref());
        for row in &touching {
            let first = row.range.first();
            if !rows.iter().any(|it| it.range.first() == first) {
                self.set_held(file, owner, first, None);
            }
        }
        for row in rows {
            if !touching.contains(&row) {
                self.set_held(file, owner, row.range.first(), Some(row));
            }
        }
        if frees {
            self.woken.insert(file);
        }
    }

    /// See [`crate::metadata::Locks::unlock`].
    pub(in crate::metadata) fn unlock(
        &mut self,
        now: Timestamp,
        file: ObjectId,
        owner: &LockOwner,
        range: LockRange,
    ) -> Unlocked {
        let Some(key) = self.owner_key(owner) else { return Unlocked::default() };
        self.seen(owner, now);
        self.put(file, key, range, None);
        for kind in [LockKind::Shared, LockKind::Exclusive] {
            self.drop_waiter(file, WaiterKey { owner: key, range, kind });
        }
        let Some(locks) = self.files.get(&file) else { return Unlocked::default() };
        let overlapping = locks.waiters.iter().filter(|(it, waiter)| {
            it.owner == key && it.range.overlaps(range) && waiter.instance == self.instance
        });
        let overlapping = overlapping.filter_map(|(it, waiter)| self.reservation(file, it, waiter));
        Unlocked { overlapping: overlapping.collect() }
    }

    /// Drops a waiter or a reservation; whether there was one.
    pub(super) fn drop_waiter(&mut self, file: ObjectId, key: WaiterKey) -> bool {
        let Some(waiter) = self.waiter(file, &key) else { return false };
        if waiter.cookie.is_some() {
            self.woken.insert(file);
        }
        self.set_waiter(file, key, None);
        true
    }

    /// See [`crate::metadata::Locks::cancel_lock`].
    pub(in crate::metadata) fn cancel(
        &mut self,
        file: ObjectId,
        owner: &LockOwner,
        range: LockRange,
        kind: LockKind,
    ) -> Cancelled {
        let Some(owner) = self.owner_key(owner) else { return Cancelled::Nothing };
        if self.drop_waiter(file, WaiterKey { owner, range, kind }) {
            return Cancelled::Removed;
        }
        let locks = self.files.get(&file);
        let rows = locks.map(|locks| locks.touching(owner, range)).unwrap_or_default();
        let mut next = range.first();
        for row in rows.iter().filter(|row| row.kind == kind && row.range.overlaps(range)) {
            if row.range.first() > next {
                return Cancelled::Nothing;
            }
            next = row.range.last().saturating_add(1);
        }
        if next > range.last() { Cancelled::Held } else { Cancelled::Nothing }
    }

    /// See [`crate::metadata::Locks::reserve`]. The file is there.
    pub(in crate::metadata) fn reserve(
        &mut self,
        file: ObjectId,
        limit: usize,
    ) -> Vec<Reservation> {
        let Some(locks) = self.files.get(&file) else { return Vec::new() };
        let own = locks
            .waiters
            .iter()
            .filter(|(_, waiter)| waiter.cookie.is_none() && waiter.instance == self.instance);
        let mut waiting: Vec<_> = own.map(|(key, waiter)| (waiter.since, *key)).collect();
        waiting.sort_unstable();
        let mut reserved = Vec::new();
        for (_, key) in waiting {
            if reserved.len() == limit {
                break;
            }
            if self.is_blocked(file, Some(key.owner), key.range, key.kind) {
                continue;
            }
            let Some(mut waiter) = self.waiter(file, &key).cloned() else { continue };
            waiter.cookie = Some(ReservationCookie::generate());
            reserved.extend(self.reservation(file, &key, &waiter));
            self.set_waiter(file, key, Some(waiter));
        }
        reserved
    }

    /// See [`crate::metadata::Locks::settle`].
    pub(in crate::metadata) fn settle(
        &mut self,
        now: Timestamp,
        cookie: ReservationCookie,
        accepted: bool,
    ) -> Settled {
        let Some(&(file, key)) = self.cookies.get(&cookie) else { return Settled::Unknown };
        if accepted {
            self.merge(now, file, key);
            Settled::Merged
        } else {
            self.drop_waiter(file, key);
            Settled::Dropped
        }
    }

    /// Makes a reservation a lock.
    pub(super) fn merge(&mut self, now: Timestamp, file: ObjectId, key: WaiterKey) {
        let Some(waiter) = self.waiter(file, &key).cloned() else { return };
        let WaiterKey { owner, range, kind } = key;
        let since = self.next_time(now);
        let new = Held { range, kind, oh: waiter.oh, state: waiter.state, since };
        self.set_waiter(file, key, None);
        self.put(file, owner, range, Some(new));
    }
}
