//! What administrators see and break.

use std::collections::{BTreeMap, BTreeSet};

use super::{ClientId, FileLocks, LockTable, OwnerKey};
use crate::metadata::{
    Error, Freed, LockClient, LockClientUse, LockFilter, LockKind, LockOwner, LockRange,
    LockRecord, LockStanding, LockTotals,
};
use crate::types::{ObjectId, Timestamp};

impl LockFilter {
    /// Whether the records of an owner are meant; a share reservation has no svid.
    fn takes(&self, client: &LockClient, svid: Option<i32>) -> bool {
        self.address.is_none_or(|address| address.to_canonical() == client.address())
            && self.caller_name.as_ref().is_none_or(|name| *name == client.caller_name)
            && self.svid.is_none_or(|wanted| Some(wanted) == svid)
    }

    /// Whether it names what may be broken.
    pub(in crate::metadata) fn names_something(&self) -> bool {
        self.file.is_some() || self.address.is_some()
    }
}

impl LockRecord {
    /// Its place in a list.
    pub(in crate::metadata) fn place(
        &self,
    ) -> (ObjectId, &LockClient, i32, u8, LockRange, LockKind, &[u8]) {
        let class = match self.standing {
            LockStanding::Held => 0,
            // A waiter that gets its lock between two pages keeps its place.
            LockStanding::Reserved | LockStanding::Waiting => 1,
            LockStanding::Share { .. } => 2,
        };
        let client: &LockClient = &self.owner.client;
        (self.file, client, self.owner.svid, class, self.range, self.kind, self.oh.as_bytes())
    }
}

impl LockClientUse {
    /// Everything.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.locks + self.waiters + self.reservations + self.shares
    }
}

impl LockTotals {
    /// All rows, those of clients too.
    pub(super) fn all(&self) -> u64 {
        self.clients + self.locks + self.waiters + self.reservations + self.shares
    }
}

impl LockTable {
    /// See [`crate::metadata::LockRecords::list_locks`]. The records' shares are left out.
    pub(in crate::metadata) fn list(
        &self,
        filter: &LockFilter,
        after: Option<&LockRecord>,
        limit: usize,
    ) -> Vec<LockRecord> {
        let mut page = Vec::new();
        let from = after.map(|record| record.file).max(filter.file);
        let files = from.map_or_else(|| self.files.range(..), |from| self.files.range(from..));
        for (file, locks) in files {
            if page.len() >= limit || filter.file.is_some_and(|wanted| *file > wanted) {
                break;
            }
            let mut records = self.records(*file, locks, filter);
            records.sort_unstable_by(|a, b| a.place().cmp(&b.place()));
            let behind = records
                .into_iter()
                .filter(|it| after.is_none_or(|after| it.place() > after.place()));
            page.extend(behind.take(limit - page.len()));
        }
        page
    }

    /// The records of a file that the filter takes.
    fn records(&self, file: ObjectId, locks: &FileLocks, filter: &LockFilter) -> Vec<LockRecord> {
        let owner = |key: OwnerKey| {
            let row = self.clients.get(&key.client)?;
            let owner = LockOwner { client: row.client.clone(), svid: key.svid };
            filter.takes(&row.client, Some(key.svid)).then_some((owner, row.seen))
        };
        let mut records = Vec::new();
        for (key, waiter) in &locks.waiters {
            let Some((owner, _)) = owner(key.owner) else { continue };
            let reserved = waiter.cookie.is_some();
            records.push(LockRecord {
                file,
                share: None,
                owner,
                standing: if reserved { LockStanding::Reserved } else { LockStanding::Waiting },
                range: key.range,
                kind: key.kind,
                oh: waiter.oh.clone(),
                state: waiter.state,
                since: waiter.since,
                seen: waiter.seen,
                instance: Some(waiter.instance),
            });
        }
        if filter.waiting {
            return records;
        }
        for (key, rows) in &locks.held {
            let Some((owner, seen)) = owner(*key) else { continue };
            records.extend(rows.values().map(|row| LockRecord {
                file,
                share: None,
                owner: owner.clone(),
                standing: LockStanding::Held,
                range: row.range,
                kind: row.kind,
                oh: row.oh.clone(),
                state: row.state,
                since: row.since,
                seen,
                instance: None,
            }));
        }
        for ((client, oh), share) in &locks.shares {
            let Some(row) = self.clients.get(client) else { continue };
            if filter.takes(&row.client, None) {
                records.push(LockRecord {
                    file,
                    share: None,
                    owner: LockOwner { client: row.client.clone(), svid: 0 },
                    standing: LockStanding::Share { mode: share.mode, access: share.access },
                    range: LockRange::WHOLE,
                    kind: LockKind::Shared,
                    oh: oh.clone(),
                    state: 0,
                    since: share.since,
                    seen: row.seen,
                    instance: None,
                });
            }
        }
        records
    }

    /// See [`crate::metadata::LockRecords::break_locks`].
    pub(in crate::metadata) fn break_locks(&mut self, filter: &LockFilter) -> Result<Freed, Error> {
        if !filter.names_something() {
            return Err(Error::Invalid);
        }
        let clients = self.clients.iter().filter(|(_, row)| {
            let files = &row.files;
            let has_some = filter.file.map_or(!files.is_empty(), |file| files.contains_key(&file));
            has_some && filter.takes(&row.client, filter.svid)
        });
        let clients: BTreeSet<_> = clients.map(|(id, _)| *id).collect();
        let rows = clients.iter().filter_map(|id| self.clients.get(id));
        let files = rows.flat_map(|row| row.files.keys().copied());
        let files: BTreeSet<_> =
            files.filter(|it| filter.file.is_none_or(|wanted| *it == wanted)).collect();
        let mut freed = Freed::default();
        let is_meant = |client, svid: Option<i32>| {
            clients.contains(&client) && filter.svid.is_none_or(|wanted| Some(wanted) == svid)
        };
        for file in files {
            if filter.waiting {
                self.free_waiting(file, |key| is_meant(key.client, Some(key.svid)), &mut freed);
            } else {
                self.free(file, is_meant, None, &mut freed);
            }
        }
        freed.clients = clients.len() as u64;
        Ok(freed)
    }

    /// Frees the waiters and reservations of owners on a file.
    fn free_waiting(
        &mut self,
        file: ObjectId,
        is_meant: impl Fn(OwnerKey) -> bool,
        freed: &mut Freed,
    ) {
        let Some(locks) = self.files.get(&file) else { return };
        let waiters = locks.waiters.iter().filter(|(key, _)| is_meant(key.owner));
        let waiters: Vec<_> =
            waiters.map(|(key, waiter)| (*key, waiter.cookie.is_some())).collect();
        for (key, is_reserved) in waiters {
            *(if is_reserved { &mut freed.reservations } else { &mut freed.waiters }) += 1;
            self.drop_waiter(file, key);
        }
    }

    /// See [`crate::metadata::LockRecords::lock_clients`].
    pub(in crate::metadata) fn lock_clients(&self, limit: usize) -> Vec<LockClientUse> {
        let mut uses: BTreeMap<ClientId, LockClientUse> = BTreeMap::new();
        for (id, row) in &self.clients {
            let (client, seen) = (row.client.clone(), row.seen);
            let (locks, waiters, reservations, shares) = (0, 0, 0, 0);
            let oldest = Timestamp(i64::MAX);
            let all = LockClientUse { client, locks, waiters, reservations, shares, oldest, seen };
            uses.insert(*id, all);
        }
        let mut count =
            |id: ClientId, since: Timestamp, add: fn(&mut LockClientUse) -> &mut u64| {
                if let Some(all) = uses.get_mut(&id) {
                    *add(all) += 1;
                    all.oldest = all.oldest.min(since);
                }
            };
        for locks in self.files.values() {
            for (owner, rows) in &locks.held {
                rows.values().for_each(|row| count(owner.client, row.since, |all| &mut all.locks));
            }
            for (key, waiter) in &locks.waiters {
                let add: fn(&mut LockClientUse) -> &mut u64 = match waiter.cookie {
                    Some(_) => |all| &mut all.reservations,
                    None => |all| &mut all.waiters,
                };
                count(key.owner.client, waiter.since, add);
            }
            for ((client, _), share) in &locks.shares {
                count(*client, share.since, |all| &mut all.shares);
            }
        }
        let mut uses: Vec<_> = uses.into_values().filter(|all| all.total() > 0).collect();
        uses.sort_by(|a, b| b.total().cmp(&a.total()).then_with(|| a.client.cmp(&b.client)));
        uses.truncate(limit);
        uses
    }

    /// What breaks the invariants: ranges of one owner that overlap or are one, and ranges that two owners
    /// have and may not, be they held or reserved.
    pub(in crate::metadata) fn inconsistencies(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut counted = 0;
        for (file, locks) in &self.files {
            for (owner, rows) in &locks.held {
                counted += rows.len() as u64;
                for (row, next) in rows.values().zip(rows.values().skip(1)) {
                    let is_one = row.kind == next.kind && row.state == next.state;
                    if row.range.overlaps(next.range) || is_one && row.range.touches(next.range) {
                        found.push(format!(
                            "{owner:?} has {:?}, {:?} of {file}",
                            row.range, next.range
                        ));
                    }
                }
                for row in rows.values() {
                    if locks.in_the_way(Some(*owner), row.range, row.kind).next().is_some() {
                        found.push(format!(
                            "{owner:?} has {:?} of {file} beside another",
                            row.range
                        ));
                    }
                }
                if !self.clients.contains_key(&owner.client) {
                    found.push(format!("{owner:?}, which is not there, has locks of {file}"));
                }
            }
        }
        if counted != self.totals.locks {
            found.push(format!("{counted} locks are counted as {}", self.totals.locks));
        }
        found
    }

    /// See [`crate::metadata::LockRecords::lock_totals`].
    pub(in crate::metadata) fn totals(&self) -> LockTotals {
        self.totals
    }
}
