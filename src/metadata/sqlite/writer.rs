//! The one thread that writes: all that waits goes into one transaction, and is answered after its commit.

use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;

use super::disk_reserve::DiskReserve;
use super::error::{Remains, SqliteError};
use super::health::Health;
use super::lock::Lock;
use super::tables::Writable;
use super::wal::{PAGE, Wal};
use crate::metadata::Error;
use crate::metadata::batch::{Job, Queue};
use crate::metadata::cache::Cache;
use crate::metadata::known_shares::KnownShares;
use crate::metadata::locks::Wakes;
use crate::metadata::locks::table::LockTable;

/// How many calls go into one transaction.
const MOST: usize = 1024;

/// What the writer works with.
pub(super) struct Writer {
    pub(super) queue: Arc<Queue<Writable>>,
    pub(super) shares: Arc<KnownShares>,
    pub(super) cache: Arc<Cache>,
    pub(super) wal: Arc<Wal>,
    pub(super) health: Arc<Health>,
    pub(super) lock: Arc<Lock>,
    pub(super) reserve: Mutex<DiskReserve>,
    pub(super) wakes: Arc<Wakes>,
}

/// Drops the calls that will not be carried out, however the thread ends.
struct Abandon(Arc<Queue<Writable>>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Writer {
    /// Carries calls out until the queue is closed; gives the connection back. `locks` were read since the
    /// file had the version `version`.
    pub(super) fn run(self, connection: Connection, locks: LockTable, version: i64) -> Connection {
        let _abandon = Abandon(self.queue.clone());
        let mut tables = Writable::new(connection, self.shares.clone(), locks);
        let mut version = Some(version);
        let mut moved_at = 0;
        while let Some(mut batch) = self.queue.take(MOST) {
            batch.retain_mut(|job| job.is_wanted());
            if !batch.is_empty() {
                let _turn = self.wal.turn();
                self.carry_out(&mut batch, &mut tables, &mut version);
                tables.trim();
            }
            self.wal.settle(&mut moved_at);
        }
        tables.into_connection()
    }

    /// Carries calls out together; where that fails, each by itself, so that none fails for another's sake.
    fn carry_out(
        &self,
        batch: &mut [Box<dyn Job<Writable>>],
        tables: &mut Writable,
        version: &mut Option<i64>,
    ) {
        if self.refused(batch) {
            return;
        }
        let mut done = self.attempt(batch, tables, version);
        if done.as_ref().is_err_and(SqliteError::is_full) {
            done = match self.wal.start_anew(tables.connection()) {
                Ok(true) => self.attempt(batch, tables, version),
                Ok(false) => done,
                Err(failure) => Err(failure),
            };
        }
        let failure = match done {
            // A change is acknowledged only where it is in the file that the next start opens.
            Ok(()) => match self.health.look() {
                Ok(()) => {
                    for job in batch {
                        job.answer();
                    }
                    return;
                }
                Err(replaced) => {
                    for job in batch {
                        job.fail(replaced.to_error());
                    }
                    return;
                }
            },
            Err(failure) => Arc::new(failure),
        };
        match failure.remains() {
            Remains::Whole if batch.len() > 1 => {
                for job in batch.chunks_mut(1) {
                    self.carry_out(job, tables, version);
                }
                return;
            }
            Remains::Whole | Remains::Unwritten => {}
            Remains::Doubtful => self.health.lost(&failure),
        }
        let read_only = failure.remains() != Remains::Whole && self.lock.is_read_only();
        for job in batch {
            job.fail(if read_only {
                Error::ReadOnly(Box::new(failure.clone()))
            } else {
                failure.to_error()
            });
        }
    }

    /// Answers calls that cannot be carried out whatever they are.
    fn refused(&self, batch: &mut [Box<dyn Job<Writable>>]) -> bool {
        let why = || {
            if self.wal.is_full() {
                return Some(Error::Unavailable(
                    "a reader of another process holds the write-ahead log, which is as long as it may be".into(),
                ));
            }
            self.health.error()
        };
        // Nothing is written to a file that has no name any more. Its failure is kept in the health.
        self.health.look().ok();
        if why().is_none() {
            return false;
        }
        for job in batch {
            job.fail(why().unwrap_or(Error::Cancelled));
        }
        true
    }

    /// One transaction, all of it or nothing.
    fn attempt(
        &self,
        batch: &mut [Box<dyn Job<Writable>>],
        tables: &mut Writable,
        version: &mut Option<i64>,
    ) -> Result<(), SqliteError> {
        let done = self.transact(batch, tables, version);
        if done.is_err() {
            tables.forget();
            undo(tables.connection())?;
        }
        done
    }

    /// One transaction, which a failure leaves open.
    fn transact(
        &self,
        batch: &mut [Box<dyn Job<Writable>>],
        tables: &mut Writable,
        version: &mut Option<i64>,
    ) -> Result<(), SqliteError> {
        tables.run("BEGIN IMMEDIATE")?;
        // It changes where another process has written to the file: what is known of it holds no more.
        let now = data_version(tables.connection())?;
        if *version != Some(now) {
            tables.forget();
            drop(self.cache.forget());
            tables.read_locks_again()?;
            *version = Some(now);
        }
        let room = self.has_room(tables.connection())?;
        tables.set_room(room);
        for job in batch.iter_mut() {
            job.run(tables)?;
        }
        tables.write_back()?;
        let begun = self.cache.begin(tables.touched());
        let committed = tables.run("COMMIT");
        let left = committed.is_ok().then(|| tables.still_there(begun.touched()));
        self.cache.end(&begun, left);
        committed?;
        tables.locks.committed();
        self.wakes.wake(tables.locks.take_woken());
        Ok(())
    }

    /// Whether there is room for something new, inside a transaction that has changed nothing yet.
    fn has_room(&self, connection: &Connection) -> Result<bool, SqliteError> {
        let bytes = |sql| -> Result<u64, SqliteError> {
            let mut asked = connection.prepare_cached(sql)?;
            let pages: u32 = asked.query_row([], |row| row.get(0))?;
            Ok(u64::from(pages) * PAGE)
        };
        let length = bytes("PRAGMA page_count")?;
        let unused = || bytes("PRAGMA freelist_count").unwrap_or(0);
        Ok(self.reserve.lock().replenish(self.wal.end(), length, unused))
    }
}

/// Changes where another connection has written to the file.
pub(super) fn data_version(connection: &Connection) -> Result<i64, SqliteError> {
    Ok(connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?)
}

/// Ends the transaction without a trace, where SQLite has not done so itself.
fn undo(connection: &Connection) -> Result<(), SqliteError> {
    if !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    Ok(())
}
