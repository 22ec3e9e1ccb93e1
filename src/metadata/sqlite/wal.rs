//! The write-ahead log and the thread that moves its pages into the file, beside the writer.
//!
//! Under constant load a log is never all moved, and only then can the writer start it anew. So when it has
//! grown, the thread has the writer pause for the last pages. What a reader's snapshot still needs cannot be
//! moved: readers of this process that last long are ended when the log becomes too large, and where one of
//! another process holds it then, changes are refused until it is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, InterruptHandle};

use super::connect::BUSY_TIMEOUT;
use super::error::{Remains, SqliteError};
use super::health::Health;
use crate::counters::{Counter, Measured, Readings};

/// Bytes of a page, and about those of its place in the log.
pub(super) const PAGE: u64 = 4096;
/// Pages are moved when the log has this many new bytes.
const MOVE: u64 = 8 << 20;
/// Beyond this size in bytes the log is started anew; a quarter of its limit, or a part of a small disk,
/// where that is less.
pub(super) const RESTART: u64 = 64 << 20;
/// A log with anything new in it is moved at least this often.
const IDLE: Duration = Duration::from_secs(2);
/// How long after a reader kept the log from being started anew that is tried again.
const AGAIN: Duration = Duration::from_millis(200);
/// How long readers of the end of the log may take while the writer pauses.
const PAUSE: Duration = Duration::from_millis(20);
/// How long they may where the disk has no room for more of it.
const LONG_PAUSE: Duration = Duration::from_millis(200);
/// How often a log that a reader holds, or that cannot be moved, is told of.
const TELL: Duration = Duration::from_secs(60);

/// What the writer, the mover and the readers share.
pub(super) struct Wal {
    /// Pages in the log.
    pages: AtomicU64,
    checkpoints: Counter,
    /// Held for each checkpoint; taken after `turn`.
    moving: Mutex<()>,
    /// How many bytes it may take.
    limit: u64,
    /// Beyond this size in bytes it is started anew.
    restart: u64,
    /// Held by the writer in each transaction, and by the mover while the writer pauses.
    turn: Mutex<()>,
    news: Mutex<News>,
    woken: Condvar,
    /// Readers of this process that last long.
    readers: Mutex<Vec<Arc<InterruptHandle>>>,
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal")
            .field("bytes", &self.bytes())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct News {
    /// Whether there is something to move.
    pages: bool,
    /// Whether there is much of it.
    many: bool,
    /// Whether the store is being closed.
    closed: bool,
}

impl Measured for Wal {
    fn read(&self, to: &mut Readings) {
        let pages = self.pages.load(Ordering::Relaxed);
        to.level("trunkfs_sqlite_wal_pages", "Pages in the write-ahead log", &[], pages);
        let checkpoints = self.checkpoints.total();
        let help = "Checkpoints of the write-ahead log";
        to.counter("trunkfs_sqlite_checkpoints", help, &[], checkpoints);
    }
}

impl Wal {
    /// A log that may take `limit` bytes, and keeps `kept` of them.
    pub(super) fn new(limit: u64, kept: u64) -> Self {
        Self {
            pages: AtomicU64::new(0),
            checkpoints: Counter::default(),
            moving: Mutex::new(()),
            limit,
            restart: kept.min(limit / 4),
            turn: Mutex::new(()),
            news: Mutex::default(),
            woken: Condvar::new(),
            readers: Mutex::default(),
        }
    }

    /// Whether the log takes no more: a reader holds it.
    pub(super) fn is_full(&self) -> bool {
        self.bytes() > self.limit
    }

    fn bytes(&self) -> u64 {
        self.pages.load(Ordering::Relaxed) * PAGE
    }

    /// Where it ends, of what is in use, in bytes (sqlite.org/fileformat2.html section 4.1).
    pub(super) fn end(&self) -> u64 {
        32 + self.pages.load(Ordering::Relaxed) * (PAGE + 24)
    }

    /// The writer's turn.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock()
    }

    /// What the writer says after a commit: the log has so many pages.
    fn grew(&self, pages: u64) {
        self.pages.store(pages, Ordering::Relaxed);
    }

    /// Told by the writer between two transactions.
    pub(super) fn settle(&self, moved_at: &mut u64) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < *moved_at {
            *moved_at = 0;
        }
        let many = (pages - *moved_at) * PAGE >= MOVE.min(self.restart / 2);
        let mut news = self.news.lock();
        let first = !std::mem::replace(&mut news.pages, true);
        if many && !news.many {
            *moved_at = pages;
            news.many = true;
            self.woken.notify_one();
        } else if first {
            self.woken.notify_one();
        }
    }

    /// Has the connection of the writer tell how long the log is.
    pub(super) fn watch(self: &Arc<Self>, writer: &mut Connection) -> rusqlite::Result<()> {
        let wal = self.clone();
        writer.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
            wal.grew(u64::try_from(pages).unwrap_or(0));
            Ok(())
        }))
    }

    /// Names a reader that may last long, for as long as the answer lives.
    pub(super) fn long_reader(self: &Arc<Self>, connection: &Connection) -> LongReader {
        let handle = Arc::new(connection.get_interrupt_handle());
        self.readers.lock().push(handle.clone());
        LongReader { wal: self.clone(), handle }
    }

    /// Ends the mover.
    pub(super) fn close(&self) {
        self.news.lock().closed = true;
        self.woken.notify_one();
    }

    /// Moves pages until the store is closed or its health is gone.
    pub(super) fn keep_moving(&self, connection: &Connection, health: &Health) {
        let mut told: Option<Instant> = None;
        let mut failed: Option<Instant> = None;
        let mut held = false;
        loop {
            if !self.wait(if held { AGAIN } else { IDLE }) {
                return;
            }
            if health.error().is_some() || health.look().is_err() {
                return;
            }
            match self.move_pages(connection) {
                Ok(is_held) => held = is_held,
                Err(failure) if failure.remains() == Remains::Doubtful => {
                    health.lost(&failure);
                    return;
                }
                Err(failure) => {
                    held = false;
                    // They are still to be moved: a disk that is full may have room later.
                    self.news.lock().pages = true;
                    if failed.is_none_or(|failed| failed.elapsed() > TELL) {
                        failed = Some(Instant::now());
                        tracing::error!(%failure, "checkpoint of the write-ahead log failed");
                    }
                }
            }
            if held && self.bytes() > self.limit / 2 {
                self.end_readers();
                if told.is_none_or(|told| told.elapsed() > TELL) {
                    told = Some(Instant::now());
                    tracing::warn!(
                        bytes = self.bytes(),
                        limit = self.limit,
                        "a reader blocks the checkpoint of the write-ahead log, which grows; at its limit \
                         changes are refused: close other programs that have the database open"
                    );
                }
            }
        }
    }

    /// Waits until there is something to do; false where the store is closed.
    fn wait(&self, most: Duration) -> bool {
        let mut news = self.news.lock();
        while !news.closed && !news.pages {
            // Nothing to move: the mover has a look at the database's files all the same.
            if self.woken.wait_for(&mut news, IDLE).timed_out() {
                return !news.closed;
            }
        }
        let until = Instant::now() + most;
        while !news.closed && !news.many {
            if self.woken.wait_until(&mut news, until).timed_out() {
                break;
            }
        }
        news.many = false;
        news.pages = false;
        !news.closed
    }

    /// Whether a reader keeps a log that should be from being started anew.
    fn move_pages(&self, connection: &Connection) -> Result<bool, SqliteError> {
        let checkpoint = |mode| {
            self.checkpoints.increment();
            connection.wal_checkpoint_v2(Some("main"), mode)
        };
        let moving = self.moving.lock();
        checkpoint(CheckpointMode::PASSIVE)?;
        drop(moving);
        if self.bytes() <= self.restart {
            return Ok(false);
        }
        let _turn = self.turn();
        let _moving = self.moving.lock();
        let (pages, moved) = checkpoint(CheckpointMode::PASSIVE)?;
        if moved < pages {
            return Ok(true);
        }
        connection.busy_timeout(PAUSE)?;
        match checkpoint(CheckpointMode::RESTART) {
            Ok(_) => {
                self.pages.store(0, Ordering::Relaxed);
                Ok(false)
            }
            Err(error) => {
                let failure = SqliteError::from(error);
                if failure.is_busy() { Ok(true) } else { Err(failure) }
            }
        }
    }

    /// Has the writer, in its turn, begin at the log's front again, which has blocks on the disk: there are
    /// none beyond its end. False where a reader or a full disk keeps it from that.
    ///
    /// # Errors
    /// A failure that leaves the store in doubt.
    pub(super) fn start_anew(&self, writer: &Connection) -> Result<bool, SqliteError> {
        // SQLite does not wait for another checkpoint's end.
        let _moving = self.moving.lock();
        writer.busy_timeout(LONG_PAUSE)?;
        self.checkpoints.increment();
        let done = writer.wal_checkpoint_v2(Some("main"), CheckpointMode::RESTART);
        writer.busy_timeout(BUSY_TIMEOUT)?;
        match done.map_err(SqliteError::from) {
            Ok(_) => {
                self.pages.store(0, Ordering::Relaxed);
                Ok(true)
            }
            Err(failure) if failure.remains() == Remains::Doubtful => Err(failure),
            Err(_) => Ok(false),
        }
    }

    fn end_readers(&self) {
        for reader in self.readers.lock().iter() {
            reader.interrupt();
        }
    }
}

/// A reader that may last long.
pub(super) struct LongReader {
    wal: Arc<Wal>,
    handle: Arc<InterruptHandle>,
}

impl Drop for LongReader {
    fn drop(&mut self) {
        self.wal.readers.lock().retain(|each| !Arc::ptr_eq(each, &self.handle));
    }
}
