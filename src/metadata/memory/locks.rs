//! Locks in memory: the table under the one lock of the store.

use std::net::IpAddr;
use std::time::Duration;

use parking_lot::MutexGuard;

use super::MemoryStore;
use super::state::MemoryTables;
use crate::metadata::{
    Cancelled, Error, Freed, LockBytes, LockClient, LockClientUse, LockFilter, LockHolder,
    LockKind, LockLimits, LockOutcome, LockOwner, LockRange, LockRecord, LockRecords, LockRequest,
    LockTotals, Locks, QuietClient, Reservation, ReservationCookie, Settled, ShareOutcome,
    ShareRequest, Tidied, Unlocked, WaitHow, WhichClients,
};
use crate::types::{Call, ObjectId, Timestamp};

impl MemoryStore {
    /// A store without shares that has at most so many locks.
    #[must_use]
    pub fn with_lock_limits(limits: LockLimits) -> Self {
        let store = Self::default();
        store.state.lock().locks.set_limits(limits);
        store
    }

    /// The tables, unless the call is over already.
    fn admit_call(&self, call: &Call) -> Result<MutexGuard<'_, MemoryTables>, Error> {
        if call.is_over() {
            return Err(Error::Cancelled);
        }
        self.open()
    }

    /// Carries out a change of locks.
    fn change_locks<T>(
        &self,
        tables: &mut MemoryTables,
        work: impl FnOnce(&mut MemoryTables) -> T,
    ) -> T {
        let done = work(tables);
        tables.locks.committed();
        self.wakes.wake(tables.locks.take_woken());
        done
    }
}

impl MemoryTables {
    /// A file that is there; the locks of one that is gone go.
    fn lockable(&mut self, file: ObjectId) -> Result<(), Error> {
        if self.objects.contains_key(&file) {
            return Ok(());
        }
        self.locks.drop_file(file);
        Err(Error::Stale)
    }

    /// The share of each record's file.
    fn with_shares(&self, mut records: Vec<LockRecord>) -> Vec<LockRecord> {
        for record in &mut records {
            let fsid = self.objects.get(&record.file).map(|object| object.fsid);
            let share = self.shares.values().find(|share| Some(share.fsid) == fsid);
            record.share = share.map(|share| share.id);
        }
        records
    }
}

#[async_trait::async_trait]
impl Locks for MemoryStore {
    async fn test_lock(
        &self,
        call: &Call,
        request: &LockRequest,
    ) -> Result<Option<LockHolder>, Error> {
        Ok(self.admit_call(call)?.locks.test(request))
    }

    async fn lock(
        &self,
        call: &Call,
        request: &LockRequest,
        wait: Option<&WaitHow>,
    ) -> Result<LockOutcome, Error> {
        self.change_locks(&mut *self.admit_call(call)?, |tables| {
            tables.lockable(request.file)?;
            Ok(tables.locks.lock(Timestamp::now(), request, wait))
        })
    }

    async fn unlock(
        &self,
        call: &Call,
        file: ObjectId,
        owner: &LockOwner,
        range: LockRange,
    ) -> Result<Unlocked, Error> {
        Ok(self.change_locks(&mut *self.admit_call(call)?, |tables| {
            tables.locks.unlock(Timestamp::now(), file, owner, range)
        }))
    }

    async fn cancel_lock(
        &self,
        call: &Call,
        file: ObjectId,
        owner: &LockOwner,
        range: LockRange,
        kind: LockKind,
    ) -> Result<Cancelled, Error> {
        Ok(self.change_locks(&mut *self.admit_call(call)?, |tables| {
            tables.locks.cancel(file, owner, range, kind)
        }))
    }

    async fn woken(&self) -> Vec<ObjectId> {
        self.wakes.woken().await
    }

    async fn reserve(
        &self,
        call: &Call,
        file: ObjectId,
        limit: usize,
    ) -> Result<Vec<Reservation>, Error> {
        Ok(self.change_locks(&mut *self.admit_call(call)?, |tables| {
            if tables.objects.contains_key(&file) {
                tables.locks.reserve(file, limit)
            } else {
                Vec::new()
            }
        }))
    }

    async fn settle(
        &self,
        call: &Call,
        cookie: ReservationCookie,
        accepted: bool,
    ) -> Result<Settled, Error> {
        Ok(self.change_locks(&mut *self.admit_call(call)?, |tables| {
            tables.locks.settle(Timestamp::now(), cookie, accepted)
        }))
    }

    async fn abandoned(&self, call: &Call) -> Result<Vec<IpAddr>, Error> {
        Ok(self.admit_call(call)?.locks.abandoned())
    }

    async fn take_over(&self, call: &Call, locals: &[IpAddr]) -> Result<Vec<Reservation>, Error> {
        Ok(self.change_locks(&mut *self.admit_call(call)?, |tables| {
            tables.locks.take_over(Timestamp::now(), locals)
        }))
    }

    async fn hand_over(&self, call: &Call, cookie: ReservationCookie) -> Result<(), Error> {
        self.change_locks(&mut *self.admit_call(call)?, |tables| tables.locks.hand_over(cookie));
        Ok(())
    }

    async fn quiet_clients(
        &self,
        call: &Call,
        quiet: Duration,
        limit: usize,
    ) -> Result<Vec<QuietClient>, Error> {
        Ok(self.admit_call(call)?.locks.quiet_clients(Timestamp::now(), quiet, limit))
    }

    async fn clients_seen(&self, call: &Call, address: IpAddr) -> Result<(), Error> {
        self.change_locks(&mut *self.admit_call(call)?, |tables| {
            tables.locks.clients_seen(Timestamp::now(), address);
        });
        Ok(())
    }

    async fn free_client(&self, call: &Call, which: &WhichClients) -> Result<Freed, Error> {
        Ok(self.change_locks(&mut *self.admit_call(call)?, |tables| {
            tables.locks.free_client(Timestamp::now(), which)
        }))
    }

    async fn share_file(&self, call: &Call, request: &ShareRequest) -> Result<ShareOutcome, Error> {
        self.change_locks(&mut *self.admit_call(call)?, |tables| {
            tables.lockable(request.file)?;
            Ok(tables.locks.share(Timestamp::now(), request))
        })
    }

    async fn unshare_file(
        &self,
        call: &Call,
        file: ObjectId,
        client: &LockClient,
        oh: &LockBytes,
    ) -> Result<(), Error> {
        self.change_locks(&mut *self.admit_call(call)?, |tables| {
            tables.locks.unshare(file, client, oh);
        });
        Ok(())
    }

    async fn tidy_locks(
        &self,
        call: &Call,
        unseen: Duration,
        unconfirmed: Option<Duration>,
    ) -> Result<Tidied, Error> {
        Ok(self.change_locks(&mut *self.admit_call(call)?, |tables| {
            let files = tables.locks.to_search();
            let mut gone = files.clone();
            gone.retain(|file| !tables.objects.contains_key(file));
            tables.locks.searched(&files, &gone);
            tables.locks.tidy(Timestamp::now(), unseen, unconfirmed)
        }))
    }
}

#[async_trait::async_trait]
impl LockRecords for MemoryStore {
    async fn list_locks(
        &self,
        filter: &LockFilter,
        after: Option<&LockRecord>,
        limit: usize,
    ) -> Result<Vec<LockRecord>, Error> {
        let tables = self.open()?;
        Ok(tables.with_shares(tables.locks.list(filter, after, limit)))
    }

    async fn break_locks(&self, filter: &LockFilter) -> Result<Freed, Error> {
        self.change_locks(&mut *self.open()?, |tables| tables.locks.break_locks(filter))
    }

    async fn lock_clients(&self, limit: usize) -> Result<Vec<LockClientUse>, Error> {
        Ok(self.open()?.locks.lock_clients(limit))
    }

    async fn lock_totals(&self) -> Result<LockTotals, Error> {
        Ok(self.open()?.locks.totals())
    }
}
