//! Clients: when they were seen, and what is freed with them; share reservations; what time makes void.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::{ClientId, LockTable, OwnerKey, ShareRow, Waiter, WaiterKey};
use crate::metadata::locks::{is_name_of, only_name};
use crate::metadata::{
    Freed, LockBytes, LockClient, LockOwner, QuietClient, Reservation, ReservationCookie,
    ShareOutcome, ShareRequest, Tidied, WhichClients,
};
use crate::types::{ObjectId, Timestamp};

/// A client's row is written for its calls no oftener.
const SEEN_EVERY: Duration = Duration::from_secs(60);
/// A client that has nothing is forgotten after this time.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);
/// As many addresses of ours are looked at at a time.
const MOST_ADDRESSES: usize = 64;
/// Files that one search for removed ones looks at.
const SEARCHED: usize = 1000;

/// Whether `since` is that long ago, or in the future: the clock was set back.
fn is_past(now: Timestamp, since: Timestamp, time: Duration) -> bool {
    let time = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    now.0.saturating_sub(since.0) >= time || since.0.saturating_sub(now.0) > time
}

impl LockTable {
    /// The owner of a call, whose client is known and seen from now on.
    pub(super) fn seen(&mut self, owner: &LockOwner, now: Timestamp) -> OwnerKey {
        OwnerKey { client: self.seen_client(&owner.client, now), svid: owner.svid }
    }

    fn seen_client(&mut self, client: &Arc<LockClient>, now: Timestamp) -> ClientId {
        if let Some(&id) = self.by_client.get(client) {
            let seen = self.clients.get(&id).map(|row| row.seen);
            if seen.is_none_or(|seen| is_past(now, seen, SEEN_EVERY)) {
                self.set_client(id, Some((Arc::clone(client), now)));
            }
            return id;
        }
        let last = self.clients.last_key_value().map_or(0, |(id, _)| id.0);
        let id = ClientId(last + 1);
        self.set_client(id, Some((Arc::clone(client), now)));
        id
    }

    /// See [`crate::metadata::Locks::share_file`]. The file is there.
    pub(in crate::metadata) fn share(
        &mut self,
        now: Timestamp,
        request: &ShareRequest,
    ) -> ShareOutcome {
        let &ShareRequest { file, mode, access, .. } = request;
        let client = self.by_client.get(&request.client).copied();
        let is_own = |(id, oh): &(ClientId, LockBytes)| Some(*id) == client && *oh == request.oh;
        let shares = self.files.get(&file).map(|locks| &locks.shares);
        let mut others = shares.into_iter().flatten().filter(|(key, _)| !is_own(key));
        if others.any(|(_, other)| other.mode & access != 0 || mode & other.access != 0) {
            return ShareOutcome::Denied;
        }
        let is_new = !shares.into_iter().flatten().any(|(key, _)| is_own(key));
        let locks = client.and_then(|id| self.clients.get(&id)).map_or(0, |row| row.locks);
        if is_new && (locks >= self.limits.locks || self.totals.all() >= self.limits.all) {
            return ShareOutcome::NoLocks;
        }
        let client = self.seen_client(&request.client, now);
        let since = self.next_time(now);
        let row = ShareRow { mode, access, since };
        self.set_share(file, (client, request.oh.clone()), Some(row));
        ShareOutcome::Granted
    }

    /// See [`crate::metadata::Locks::unshare_file`].
    pub(in crate::metadata) fn unshare(
        &mut self,
        file: ObjectId,
        client: &LockClient,
        oh: &LockBytes,
    ) {
        let Some(&id) = self.by_client.get(client) else { return };
        let key = (id, oh.clone());
        if self.files.get(&file).is_some_and(|locks| locks.shares.contains_key(&key)) {
            self.set_share(file, key, None);
        }
    }

    /// See [`crate::metadata::Locks::free_client`].
    pub(in crate::metadata) fn free_client(
        &mut self,
        now: Timestamp,
        which: &WhichClients,
    ) -> Freed {
        let (address, name, but) = match which {
            WhichClients::Named { address, caller_name } => (address, caller_name, None),
            WhichClients::Rebooted { address, name, state } => (address, name, Some(*state)),
            WhichClients::Silent { address, silent } => {
                return self.free_silent(now, *address, *silent);
            }
        };
        let address = address.to_canonical();
        let of_address = self.clients.iter().filter(|(_, row)| row.client.address() == address);
        let of_address: Vec<_> =
            of_address.map(|(id, row)| (*id, row.client.caller_name.clone())).collect();
        let one_name = only_name(of_address.iter().map(|(_, name)| name));
        let name = name.as_bytes();
        let is_meant = |caller_name: &[u8]| match which {
            WhichClients::Rebooted { .. } => one_name || is_name_of(name, caller_name),
            WhichClients::Named { .. } | WhichClients::Silent { .. } => name == caller_name,
        };
        let meant: Vec<_> =
            of_address.into_iter().filter(|(_, it)| is_meant(it.as_bytes())).collect();
        let mut freed = self.free_all(meant.iter().map(|(id, _)| *id), but);
        freed.known_elsewhere = meant.is_empty()
            && self.clients.values().any(|row| is_name_of(name, row.client.caller_name.as_bytes()));
        freed
    }

    /// Frees all that clients have, but for what was taken under the state `but`.
    fn free_all(&mut self, clients: impl Iterator<Item = ClientId>, but: Option<i32>) -> Freed {
        let mut freed = Freed::default();
        for id in clients {
            freed.clients += 1;
            let row = self.clients.get(&id);
            let files: Vec<_> =
                row.map(|row| row.files.keys().copied().collect()).unwrap_or_default();
            for file in files {
                self.free(file, |client, _| client == id, but, &mut freed);
            }
        }
        freed
    }

    /// The clients of an address that have something; none where one of them was seen since.
    fn quiet(&self, now: Timestamp, address: IpAddr, quiet: Duration) -> Vec<ClientId> {
        let of_address = self.clients.iter().filter(|(_, row)| row.client.address() == address);
        let mut clients = Vec::new();
        for (id, row) in of_address {
            if !is_past(now, row.seen, quiet) {
                return Vec::new();
            }
            if !row.files.is_empty() {
                clients.push(*id);
            }
        }
        clients
    }

    fn free_silent(&mut self, now: Timestamp, address: IpAddr, silent: Duration) -> Freed {
        let clients = self.quiet(now, address.to_canonical(), silent);
        self.free_all(clients.into_iter(), None)
    }

    /// See [`crate::metadata::Locks::quiet_clients`].
    pub(in crate::metadata) fn quiet_clients(
        &self,
        now: Timestamp,
        quiet: Duration,
        limit: usize,
    ) -> Vec<QuietClient> {
        let having = self.clients.values().filter(|row| !row.files.is_empty());
        let addresses: BTreeSet<_> = having.map(|row| row.client.address()).collect();
        let clients = addresses.into_iter().filter_map(|address| {
            let clients = self.quiet(now, address, quiet);
            let rows = clients.iter().filter_map(|id| self.clients.get(id));
            let servers: Vec<_> = rows.map(|row| row.client.server.clone()).collect();
            (!servers.is_empty()).then_some(QuietClient { address, servers })
        });
        clients.take(limit).collect()
    }

    /// See [`crate::metadata::Locks::clients_seen`].
    pub(in crate::metadata) fn clients_seen(&mut self, now: Timestamp, address: IpAddr) {
        let address = address.to_canonical();
        let rows = self.clients.values().filter(|row| row.client.address() == address);
        let clients: Vec<_> = rows.map(|row| Arc::clone(&row.client)).collect();
        for client in clients {
            self.seen_client(&client, now);
        }
    }

    /// Frees what is on a file of the owners that are meant; share reservations have no svid. What was taken
    /// under the state `but` stays.
    pub(super) fn free(
        &mut self,
        file: ObjectId,
        is_meant: impl Fn(ClientId, Option<i32>) -> bool,
        but: Option<i32>,
        freed: &mut Freed,
    ) {
        let Some(locks) = self.files.get(&file) else { return };
        let of = |owner: &OwnerKey| is_meant(owner.client, Some(owner.svid));
        let held = locks.held.iter().filter(|(owner, _)| of(owner));
        let held = held.flat_map(|(owner, rows)| rows.values().map(|row| (*owner, row)));
        let held = held.filter(|(_, row)| Some(row.state) != but);
        let held: Vec<_> = held.map(|(owner, row)| (owner, row.range.first())).collect();
        let waiters = locks.waiters.iter().filter(|(key, _)| of(&key.owner));
        let waiters = waiters.filter(|(_, waiter)| Some(waiter.state) != but);
        let waiters: Vec<_> =
            waiters.map(|(key, waiter)| (*key, waiter.cookie.is_some())).collect();
        let shares = locks.shares.keys().filter(|(client, _)| is_meant(*client, None));
        let shares: Vec<_> = shares.cloned().collect();
        if !held.is_empty() || waiters.iter().any(|(_, is_reserved)| *is_reserved) {
            self.woken.insert(file);
        }
        freed.locks += held.len() as u64;
        freed.shares += shares.len() as u64;
        for (owner, first) in held {
            self.set_held(file, owner, first, None);
        }
        for (key, is_reserved) in waiters {
            *(if is_reserved { &mut freed.reservations } else { &mut freed.waiters }) += 1;
            self.set_waiter(file, key, None);
        }
        for key in shares {
            self.set_share(file, key, None);
        }
    }

    /// Drops everything on a file, which is gone.
    pub(in crate::metadata) fn drop_file(&mut self, file: ObjectId) {
        self.free(file, |_, _| true, None, &mut Freed::default());
        self.woken.remove(&file);
    }

    /// Files to look for whether they are still there: others after each [`LockTable::searched`].
    pub(in crate::metadata) fn to_search(&self) -> Vec<ObjectId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let after = self.searched.map_or(Unbounded, Excluded);
        let files = self.files.range((after, Unbounded)).map(|(file, _)| *file);
        files.take(SEARCHED).collect()
    }

    /// These files were looked for; those that are gone, have nothing from now on.
    pub(in crate::metadata) fn searched(&mut self, files: &[ObjectId], gone: &[ObjectId]) {
        self.searched = files.last().copied().filter(|_| files.len() == SEARCHED);
        for file in gone {
            self.drop_file(*file);
        }
    }

    /// See [`crate::metadata::Locks::tidy_locks`].
    pub(in crate::metadata) fn tidy(
        &mut self,
        now: Timestamp,
        unseen: Duration,
        unconfirmed: Option<Duration>,
    ) -> Tidied {
        let mut tidied = Tidied::default();
        let mut late: Vec<(ObjectId, WaiterKey)> = Vec::new();
        for member in self.waiting.values().flatten() {
            let seen = self.waiter(member.0, &member.1).map(|waiter| waiter.seen);
            if seen.is_some_and(|seen| is_past(now, seen, unseen)) {
                late.push(*member);
            }
        }
        for (file, key) in late {
            tidied.waiters += u64::from(self.drop_waiter(file, key));
        }
        tidied.merged = self.merge_abandoned(now, None).len() as u64;
        if let Some(limit) = unconfirmed {
            let mut late: Vec<_> = self.cookies.values().copied().collect();
            late.retain(|(file, key)| {
                self.waiter(*file, key).is_some_and(|waiter| is_past(now, waiter.seen, limit))
            });
            for (file, key) in late {
                tidied.unconfirmed += u64::from(self.drop_waiter(file, key));
            }
        }
        let idle = self
            .clients
            .iter()
            .filter(|(_, row)| row.files.is_empty() && is_past(now, row.seen, FORGOTTEN_AFTER));
        let idle: Vec<_> = idle.map(|(id, _)| *id).collect();
        tidied.clients = idle.len() as u64;
        for id in idle {
            self.set_client(id, None);
        }
        tidied
    }

    /// What other processes have left, which have all ended: waiters, and reservations.
    fn left(&self) -> impl Iterator<Item = (ObjectId, WaiterKey, &Waiter)> {
        let members = self.waiting.values().flatten().chain(self.cookies.values());
        let waiters =
            members.filter_map(|(file, key)| Some((*file, *key, self.waiter(*file, key)?)));
        waiters.filter(|(_, _, waiter)| waiter.instance != self.instance)
    }

    /// Makes reservations of other processes locks, of all or of those whose calls came to one of `locals`:
    /// the client may have taken them, and what it has not taken it gives back. Answers with them as they
    /// were.
    fn merge_abandoned(&mut self, now: Timestamp, locals: Option<&[IpAddr]>) -> Vec<Reservation> {
        let reserved = self.left().filter(|(_, _, waiter)| {
            locals.is_none_or(|locals| locals.contains(&waiter.how.local.to_canonical()))
        });
        let merged: Vec<_> = reserved
            .filter_map(|(file, key, waiter)| Some((key, self.reservation(file, &key, waiter)?)))
            .collect();
        for (key, reservation) in &merged {
            self.merge(now, reservation.file, *key);
        }
        merged.into_iter().map(|(_, reservation)| reservation).collect()
    }

    /// See [`crate::metadata::Locks::abandoned`].
    pub(in crate::metadata) fn abandoned(&self) -> Vec<IpAddr> {
        let locals: BTreeSet<_> =
            self.left().map(|(_, _, waiter)| waiter.how.local.to_canonical()).collect();
        locals.into_iter().take(MOST_ADDRESSES).collect()
    }

    /// See [`crate::metadata::Locks::take_over`].
    pub(in crate::metadata) fn take_over(
        &mut self,
        now: Timestamp,
        locals: &[IpAddr],
    ) -> Vec<Reservation> {
        let merged = self.merge_abandoned(now, Some(locals));
        let ours = self.left().filter(|(_, _, waiter)| {
            waiter.cookie.is_none() && locals.contains(&waiter.how.local.to_canonical())
        });
        let ours: Vec<_> = ours.map(|(file, key, waiter)| (file, key, waiter.clone())).collect();
        for (file, key, mut waiter) in ours {
            waiter.instance = self.instance;
            self.set_waiter(file, key, Some(waiter));
            self.woken.insert(file);
        }
        merged
    }

    /// See [`crate::metadata::Locks::hand_over`].
    pub(in crate::metadata) fn hand_over(&mut self, cookie: ReservationCookie) {
        let Some(&(file, key)) = self.cookies.get(&cookie) else { return };
        let Some(mut waiter) = self.waiter(file, &key).cloned() else { return };
        (waiter.cookie, waiter.instance) = (None, Uuid::nil());
        self.set_waiter(file, key, Some(waiter));
        self.woken.insert(file);
    }
}
