//! Locks: decided by the writer on its table, with the other changes of its transaction, so that an answer
//! rests on nothing that is not on the disk.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior, params};
use uuid::Uuid;

use super::connect::{self, reader};
use super::dump::{MEMORY, SqliteFile, blocking};
use super::error::SqliteError;
use super::tables::Writable;
use super::{SqliteStore, lock_rows};
use crate::metadata::batch::closed;
use crate::metadata::locks::table::LockTable;
use crate::metadata::single_writer::{Outcome, Tables as _};
use crate::metadata::{
    Cancelled, Error, Freed, LockBytes, LockClient, LockClientUse, LockFilter, LockHolder,
    LockKind, LockLimits, LockOutcome, LockOwner, LockRange, LockRecord, LockRecords, LockRequest,
    LockTotals, Locks, QuietClient, Reservation, ReservationCookie, Settled, ShareOutcome,
    ShareRequest, Tidied, Unlocked, WaitHow, WhichClients,
};
use crate::types::{Call, ObjectId, ShareId, Timestamp};

/// No operation of an administrator takes longer.
const ADMIN_LIMIT: Duration = Duration::from_secs(60);
const SHARE_OF: &str = "SELECT share_id FROM files WHERE id = ?1";

impl SqliteStore {
    /// Has the writer do something with its locks, unless the call is over already.
    async fn with_locks<R: Send + 'static>(
        &self,
        call: &Call,
        work: impl FnMut(&mut Writable) -> Outcome<R, Writable> + Send + 'static,
    ) -> Result<R, Error> {
        if call.is_over() {
            return Err(Error::Cancelled);
        }
        let answer = self.queue.carry_out(call, work).await;
        answer.unwrap_or_else(|| Err(closed().into())).map_err(|refusal| refusal.error)
    }
}

impl Writable {
    /// Whether there is such a file.
    fn is_file(&mut self, file: ObjectId) -> Outcome<bool, Self> {
        Ok(self.object(file)?.is_some())
    }

    /// A file that is there; the locks of one that is gone go.
    fn lockable(&mut self, file: ObjectId) -> Outcome<(), Self> {
        if !self.is_file(file)? {
            self.locks.drop_file(file);
            return Err(Error::Stale.into());
        }
        Ok(self.room()?)
    }

    fn tidy_locks(
        &mut self,
        unseen: Duration,
        unconfirmed: Option<Duration>,
    ) -> Outcome<Tidied, Self> {
        let files = self.locks.to_search();
        let mut gone = Vec::new();
        for file in &files {
            if !self.is_file(*file)? {
                gone.push(*file);
            }
        }
        self.locks.searched(&files, &gone);
        Ok(self.locks.tidy(Timestamp::now(), unseen, unconfirmed))
    }
}

#[async_trait::async_trait]
impl Locks for SqliteStore {
    async fn test_lock(
        &self,
        call: &Call,
        request: &LockRequest,
    ) -> Result<Option<LockHolder>, Error> {
        let request = request.clone();
        self.with_locks(call, move |tables| Ok(tables.locks.test(&request))).await
    }

    async fn lock(
        &self,
        call: &Call,
        request: &LockRequest,
        wait: Option<&WaitHow>,
    ) -> Result<LockOutcome, Error> {
        let (request, wait) = (request.clone(), wait.cloned());
        let lock = move |tables: &mut Writable| {
            tables.lockable(request.file)?;
            Ok(tables.locks.lock(Timestamp::now(), &request, wait.as_ref()))
        };
        self.with_locks(call, lock).await
    }

    async fn unlock(
        &self,
        call: &Call,
        file: ObjectId,
        owner: &LockOwner,
        range: LockRange,
    ) -> Result<Unlocked, Error> {
        let owner = owner.clone();
        let unlock = move |tables: &mut Writable| {
            Ok(tables.locks.unlock(Timestamp::now(), file, &owner, range))
        };
        self.with_locks(call, unlock).await
    }

    async fn cancel_lock(
        &self,
        call: &Call,
        file: ObjectId,
        owner: &LockOwner,
        range: LockRange,
        kind: LockKind,
    ) -> Result<Cancelled, Error> {
        let owner = owner.clone();
        let cancel =
            move |tables: &mut Writable| Ok(tables.locks.cancel(file, &owner, range, kind));
        self.with_locks(call, cancel).await
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
        let reserve = move |tables: &mut Writable| match tables.is_file(file)? {
            true => Ok(tables.locks.reserve(file, limit)),
            false => Ok(Vec::new()),
        };
        self.with_locks(call, reserve).await
    }

    async fn settle(
        &self,
        call: &Call,
        cookie: ReservationCookie,
        accepted: bool,
    ) -> Result<Settled, Error> {
        let settle = move |tables: &mut Writable| {
            Ok(tables.locks.settle(Timestamp::now(), cookie, accepted))
        };
        self.with_locks(call, settle).await
    }

    async fn abandoned(&self, call: &Call) -> Result<Vec<IpAddr>, Error> {
        // The writer is not woken for nothing.
        if !self.locks_left.swap(false, Ordering::AcqRel) {
            return Ok(Vec::new());
        }
        let locals = self.with_locks(call, |tables| Ok(tables.locks.abandoned())).await;
        if !matches!(&locals, Ok(locals) if locals.is_empty()) {
            self.locks_left.store(true, Ordering::Release);
        }
        locals
    }

    async fn take_over(&self, call: &Call, locals: &[IpAddr]) -> Result<Vec<Reservation>, Error> {
        let locals = locals.to_vec();
        let take =
            move |tables: &mut Writable| Ok(tables.locks.take_over(Timestamp::now(), &locals));
        self.with_locks(call, take).await
    }

    async fn hand_over(&self, call: &Call, cookie: ReservationCookie) -> Result<(), Error> {
        let hand = move |tables: &mut Writable| {
            tables.locks.hand_over(cookie);
            Ok(())
        };
        self.with_locks(call, hand).await?;
        self.locks_left.store(true, Ordering::Release);
        Ok(())
    }

    async fn quiet_clients(
        &self,
        call: &Call,
        quiet: Duration,
        limit: usize,
    ) -> Result<Vec<QuietClient>, Error> {
        let look = move |tables: &mut Writable| {
            Ok(tables.locks.quiet_clients(Timestamp::now(), quiet, limit))
        };
        self.with_locks(call, look).await
    }

    async fn clients_seen(&self, call: &Call, address: IpAddr) -> Result<(), Error> {
        let see = move |tables: &mut Writable| {
            tables.locks.clients_seen(Timestamp::now(), address);
            Ok(())
        };
        self.with_locks(call, see).await
    }

    async fn free_client(&self, call: &Call, which: &WhichClients) -> Result<Freed, Error> {
        let which = which.clone();
        let free =
            move |tables: &mut Writable| Ok(tables.locks.free_client(Timestamp::now(), &which));
        self.with_locks(call, free).await
    }

    async fn share_file(&self, call: &Call, request: &ShareRequest) -> Result<ShareOutcome, Error> {
        let request = request.clone();
        let share = move |tables: &mut Writable| {
            tables.lockable(request.file)?;
            Ok(tables.locks.share(Timestamp::now(), &request))
        };
        self.with_locks(call, share).await
    }

    async fn unshare_file(
        &self,
        call: &Call,
        file: ObjectId,
        client: &LockClient,
        oh: &LockBytes,
    ) -> Result<(), Error> {
        let (client, oh) = (client.clone(), oh.clone());
        let unshare = move |tables: &mut Writable| {
            tables.locks.unshare(file, &client, &oh);
            Ok(())
        };
        self.with_locks(call, unshare).await
    }

    async fn tidy_locks(
        &self,
        call: &Call,
        unseen: Duration,
        unconfirmed: Option<Duration>,
    ) -> Result<Tidied, Error> {
        self.with_locks(call, move |tables| tables.tidy_locks(unseen, unconfirmed)).await
    }
}

#[async_trait::async_trait]
impl LockRecords for SqliteStore {
    async fn list_locks(
        &self,
        filter: &LockFilter,
        after: Option<&LockRecord>,
        limit: usize,
    ) -> Result<Vec<LockRecord>, Error> {
        let (filter, after) = (filter.clone(), after.cloned());
        let list = move |tables: &mut Writable| {
            let records = tables.locks.list(&filter, after.as_ref(), limit);
            Ok(with_shares(tables.connection(), records)?)
        };
        self.with_locks(&Call::internal(ADMIN_LIMIT), list).await
    }

    async fn break_locks(&self, filter: &LockFilter) -> Result<Freed, Error> {
        let filter = filter.clone();
        let work = move |tables: &mut Writable| Ok(tables.locks.break_locks(&filter)?);
        self.with_locks(&Call::internal(ADMIN_LIMIT), work).await
    }

    async fn lock_clients(&self, limit: usize) -> Result<Vec<LockClientUse>, Error> {
        let call = Call::internal(ADMIN_LIMIT);
        self.with_locks(&call, move |tables| Ok(tables.locks.lock_clients(limit))).await
    }

    async fn lock_totals(&self) -> Result<LockTotals, Error> {
        let call = Call::internal(ADMIN_LIMIT);
        self.with_locks(&call, |tables| Ok(tables.locks.totals())).await
    }
}

/// Locks of a file that a server may have open: it reads the rows again before its next decision.
#[async_trait::async_trait]
impl LockRecords for SqliteFile {
    async fn list_locks(
        &self,
        filter: &LockFilter,
        after: Option<&LockRecord>,
        limit: usize,
    ) -> Result<Vec<LockRecord>, Error> {
        let (path, filter, after) = (self.path().to_owned(), filter.clone(), after.cloned());
        blocking(move || {
            let connection = reader(&path, MEMORY)?;
            let snapshot = connection.unchecked_transaction().map_err(failed)?;
            let records = table(&snapshot)?.list(&filter, after.as_ref(), limit);
            with_shares(&snapshot, records).map_err(SqliteError::into_error)
        })
        .await
    }

    async fn break_locks(&self, filter: &LockFilter) -> Result<Freed, Error> {
        let (path, filter) = (self.path().to_owned(), filter.clone());
        blocking(move || {
            let mut connection = connect::beside_writer(&path)?;
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(failed)?;
            let mut table = table(&transaction)?;
            let freed = table.break_locks(&filter)?;
            lock_rows::write(&transaction, &table).map_err(SqliteError::into_error)?;
            transaction.commit().map_err(failed)?;
            Ok(freed)
        })
        .await
    }

    async fn lock_clients(&self, limit: usize) -> Result<Vec<LockClientUse>, Error> {
        let path = self.path().to_owned();
        blocking(move || Ok(table(&reader(&path, MEMORY)?)?.lock_clients(limit))).await
    }

    async fn lock_totals(&self) -> Result<LockTotals, Error> {
        let path = self.path().to_owned();
        blocking(move || Ok(table(&reader(&path, MEMORY)?)?.totals())).await
    }
}

/// The table of a file, for a process that serves nobody.
fn table(connection: &Connection) -> Result<LockTable, Error> {
    let mut table = LockTable::new(Uuid::new_v4(), LockLimits::default());
    lock_rows::load(connection, &mut table).map_err(SqliteError::into_error)?;
    Ok(table)
}

/// The share of each record's file.
fn with_shares(
    connection: &Connection,
    mut records: Vec<LockRecord>,
) -> Result<Vec<LockRecord>, SqliteError> {
    let mut statement = connection.prepare_cached(SHARE_OF)?;
    let mut known: Option<(ObjectId, Option<ShareId>)> = None;
    for record in &mut records {
        let share = match known {
            Some((file, share)) if file == record.file => share,
            Some(_) | None => {
                let mut rows = statement.query(params![record.file.0.as_bytes()])?;
                rows.next()?.map(|row| row.get(0)).transpose()?.map(ShareId)
            }
        };
        known = Some((record.file, share));
        record.share = share;
    }
    Ok(records)
}

fn failed(error: rusqlite::Error) -> Error {
    SqliteError::from(error).into_error()
}
