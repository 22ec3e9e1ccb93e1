//! The store in one SQLite file, of one server on one machine.
//!
//! One thread writes: it takes all calls that wait into one transaction, decides each with the operations of
//! [`super::single_writer`] on the tables as they are, and answers after the commit, whose log is on the disk
//! then (`synchronous = FULL`). Readers have connections and snapshots of their own; what they read last is
//! kept, as far as no commit changes it. A third thread moves the log's pages into the file.

mod check;
mod connect;
mod disk_reserve;
mod dump;
mod error;
mod health;
mod invariants;
mod load;
mod load_fence;
mod lock;
mod lock_rows;
mod locks;
mod migrations;
mod place;
mod read;
mod readers;
mod repair;
mod replaced;
mod replies;
mod rows;
mod schema;
mod shares;
mod tables;
#[cfg(test)]
mod tests;
mod usage;
mod wal;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use uuid::Uuid;

pub use self::connect::Settings;
use self::disk_reserve::DiskReserve;
pub use self::dump::SqliteFile;
use self::error::SqliteError;
use self::health::Health;
use self::lock::Lock;
use self::readers::Readers;
use self::replies::Earlier;
pub use self::schema::SqliteSchema;
use self::tables::Writable;
use self::wal::Wal;
use self::writer::Writer;
use super::batch::{Pending, Queue, closed};
use super::cache::Cache;
use super::known_shares::KnownShares;
use super::locks::Wakes;
use super::locks::table::LockTable;
use super::{
    Answer, Catalog, CreateHow, Created, Error, Flush, FlushOutcome, Link, LinkTarget, Lookup,
    MetadataStore, Namespace, Page, Removed, Renamed, Replayed, SetAttributes, SettingDone, Share,
    ShareSpec, Sole, StorePlace, Summary, Usage, ZeroingOutcome,
};
use crate::counters::{Measured, Readings};
use crate::types::{
    Attributes, ContentRef, Context, Cookie, DeviceNumbers, FileType, Name, ObjectId, Replay,
    ShareId, SymlinkTarget, Vital,
};

/// A namespace in a SQLite file. A change is on the disk before its answer, as far as the disk does what
/// fsync(2) asks.
#[derive(Debug)]
pub struct SqliteStore {
    settings: Settings,
    shares: Arc<KnownShares>,
    readers: Arc<Readers>,
    cache: Arc<Cache>,
    queue: Arc<Queue<Writable>>,
    wal: Arc<Wal>,
    health: Arc<Health>,
    wakes: Arc<Wakes>,
    /// Whether there may be waiters and reservations of processes before this one.
    locks_left: AtomicBool,
    /// Calls that were done before this start.
    earlier: Arc<Earlier>,
    threads: Mutex<Option<Threads>>,
}

/// What is given back when the store is closed.
#[derive(Debug)]
struct Threads {
    writer: JoinHandle<Connection>,
    mover: JoinHandle<()>,
    readers: Arc<Readers>,
    health: Arc<Health>,
    /// Given back last.
    lock: Arc<Lock>,
}

impl SqliteStore {
    /// Opens the store, making the file where there is none and bringing its schema up to date.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where another server has it; [`Error::Damaged`] for a file that is no whole
    /// database; [`Error::ReadOnly`]; [`Error::Backend`] for all else, a newer schema included.
    pub async fn open(settings: Settings) -> Result<Self, Error> {
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(settings)).await;
        let store = opened.map_err(|error| Error::Backend(Box::new(error)))??;
        store.earlier.forget_in_time();
        Ok(store)
    }

    /// What a file holds; `None` where there is no file yet. Makes and changes nothing, and does not mind a
    /// server that has it.
    ///
    /// # Errors
    /// What is wrong with the file, as far as can be seen without opening the store.
    pub async fn summary(path: PathBuf) -> Result<Option<Summary>, Error> {
        tokio::task::spawn_blocking(move || connect::look(&path))
            .await
            .map_err(|error| Error::Backend(Box::new(error)))?
    }

    fn open_blocking(settings: Settings) -> Result<Self, Error> {
        connect::make_folder_of(&settings.path)?;
        connect::check_permissions(&settings.path, &connect::FILES)?;
        connect::warn_of_others(&settings.path);
        let lock = Arc::new(Lock::take(&settings.path)?);
        let mut connection = connect::writer(&settings)?;
        let shares = Arc::new(KnownShares::default());
        shares::load(&shares, &connection).map_err(SqliteError::into_error)?;
        let earlier = Arc::new(Earlier::read(&connection).map_err(SqliteError::into_error)?);
        let readers = Arc::new(Readers::open(&settings)?);
        let mover = connect::mover(&settings.path)?;
        let reserve = Mutex::new(DiskReserve::open(&settings.path)?);
        let (queue, health) = (Arc::new(Queue::default()), Arc::new(Health::of(&settings.path)?));
        let wal = Arc::new(Wal::new(settings.log_limit, disk_reserve::kept(&settings.path)));
        wal.watch(&mut connection).map_err(|error| SqliteError::from(error).into_error())?;
        let cache = Arc::new(Cache::default());
        let wakes = Arc::new(Wakes::default());
        let version = writer::data_version(&connection).map_err(SqliteError::into_error)?;
        let mut table = LockTable::new(Uuid::new_v4(), settings.lock_limits);
        lock_rows::load(&connection, &mut table).map_err(SqliteError::into_error)?;
        let locks_left = AtomicBool::new(!table.abandoned().is_empty());
        let writer = Writer {
            queue: queue.clone(),
            cache: cache.clone(),
            shares: shares.clone(),
            wal: wal.clone(),
            health: health.clone(),
            lock: lock.clone(),
            reserve,
            wakes: wakes.clone(),
        };
        let (moved, moving_health) = (wal.clone(), health.clone());
        let threads = Threads {
            writer: spawn("sqlite-writer", move || writer.run(connection, table, version))?,
            mover: spawn("sqlite-log", move || moved.keep_moving(&mover, &moving_health))?,
            readers: readers.clone(),
            health: health.clone(),
            lock,
        };
        Ok(Self {
            settings,
            shares,
            readers,
            cache,
            queue,
            wal,
            health,
            wakes,
            locks_left,
            earlier,
            threads: Mutex::new(Some(threads)),
        })
    }

    /// The share that a call is about, unless the call is over already.
    fn admit(&self, cx: &Context) -> Result<Share, Error> {
        if cx.call.is_over() {
            return Err(Error::Cancelled);
        }
        if self.queue.is_closed() {
            return Err(closed());
        }
        if let Some(replaced) = self.health.replaced() {
            return Err(replaced);
        }
        self.shares.find(cx.share).ok_or(Error::Stale)
    }

    /// Waits until a reading shows nothing that the cache does not show.
    async fn settle(
        &self,
        cx: &Context,
        directory: ObjectId,
        found: &Answer<Lookup>,
    ) -> Result<(), Error> {
        let shown = found.iter().flat_map(Lookup::objects);
        self.cache.settle(cx, std::iter::once(directory).chain(shown)).await
    }

    /// The calls that wait for the writer, unless this one is over already.
    fn writer(&self, cx: &Context) -> Result<&Arc<Queue<Writable>>, Error> {
        self.admit(cx)?;
        Ok(&self.queue)
    }

    /// Tells the threads to end; the first to ask gets them.
    fn end(&self) -> Option<Threads> {
        self.queue.close();
        self.wal.close();
        self.wakes.close();
        self.threads.lock().take()
    }
}

impl Threads {
    /// Waits for the last commit and gives the file back.
    fn join(self) {
        let connection = self.writer.join();
        self.mover.join().ok();
        self.readers.close();
        // The last to close moves the log into the file and removes it, unless what the disk holds is in
        // doubt.
        if let Ok(connection) = connection
            && self.health.error().is_none()
            && let Err(error) =
                connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
        {
            tracing::warn!(%error, "the write-ahead log could not be merged into the database; keep the -wal \
                                    file");
        }
        drop(self.lock);
    }
}

/// A dropped store is given back like a closed one; its callers are gone.
impl Drop for SqliteStore {
    fn drop(&mut self) {
        if let Some(threads) = self.end() {
            threads.join();
        }
    }
}

/// What a call comes to that the writer has taken.
async fn outcome<T>(mut pending: Pending<T, Writable>) -> Answer<T> {
    (&mut pending.answer).await.unwrap_or_else(|_| Err(closed().into()))
}

/// The answer of a call, unless the store was closed before it.
fn carried_out<T>(answer: Option<Answer<T>>) -> Answer<T> {
    answer.unwrap_or_else(|| Err(closed().into()))
}

fn spawn<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Error> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _vital = Vital::new(name);
            work()
        })
        .map_err(|error| Error::Unavailable(Box::new(error)))
}

#[async_trait::async_trait]
impl Namespace for SqliteStore {
    async fn getattr(&self, cx: &Context, object: ObjectId) -> Result<Attributes, Error> {
        let share = self.admit(cx)?;
        let since = match self.cache.object(&share, object) {
            Ok(known) => return Ok(known),
            Err(since) => since,
        };
        let read = self.readers.point(|connection| read::attributes(connection, &share, object));
        self.cache.settle(cx, [object].into_iter()).await?;
        let attributes = read.map_err(|refusal| refusal.error)?;
        self.cache.keep_object(since, &attributes);
        Ok(attributes)
    }

    async fn lookup(&self, cx: &Context, directory: ObjectId, name: &Name) -> Answer<Lookup> {
        let share = self.admit(cx)?;
        let since = match self.cache.lookup(&share, directory, name) {
            Ok(known) => return Ok(known),
            Err(since) => since,
        };
        let found =
            self.readers.point(|connection| read::lookup(connection, &share, directory, name));
        self.settle(cx, directory, &found).await?;
        let found = found?;
        self.cache.keep_lookup(since, name, &found);
        Ok(found)
    }

    async fn lookup_parent(&self, cx: &Context, directory: ObjectId) -> Answer<Lookup> {
        let share = self.admit(cx)?;
        let found =
            self.readers.point(|connection| read::lookup_parent(connection, &share, directory));
        self.settle(cx, directory, &found).await?;
        found
    }

    async fn readlink(&self, cx: &Context, link: ObjectId) -> Answer<Link> {
        let share = self.admit(cx)?;
        let since = match self.cache.link(&share, link) {
            Ok(known) => return Ok(known),
            Err(since) => since,
        };
        let found = self.readers.point(|connection| read::readlink(connection, &share, link));
        self.cache.settle(cx, [link].into_iter()).await?;
        let found = found?;
        self.cache.keep_link(since, &found);
        Ok(found)
    }

    async fn readdir(
        &self,
        cx: &Context,
        directory: ObjectId,
        after: Cookie,
        max_entries: usize,
        with_attributes: bool,
    ) -> Answer<Page> {
        let share = self.admit(cx)?;
        let known = self.cache.page(&share, directory, after, max_entries, with_attributes);
        let since = match known {
            Ok(page) => return Ok(page),
            Err(since) => since,
        };
        let page = self.readers.scan(cx, move |connection| {
            read::readdir(connection, &share, directory, after, max_entries, with_attributes)
        });
        let page = page.await;
        let shown = page.iter().flat_map(Page::objects);
        self.cache.settle(cx, std::iter::once(directory).chain(shown)).await?;
        let page = page?;
        self.cache.keep_page(since, after, &page);
        Ok(page)
    }

    async fn setattr(
        &self,
        cx: &Context,
        object: ObjectId,
        set: &SetAttributes,
    ) -> Answer<SettingDone> {
        carried_out(self.writer(cx)?.setattr(cx, object, set).await)
    }

    async fn create(
        &self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        how: &CreateHow,
    ) -> Answer<Created> {
        carried_out(self.writer(cx)?.create(cx, directory, name, how).await)
    }

    async fn mkdir(
        &self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        set: &SetAttributes,
    ) -> Answer<Created> {
        carried_out(self.writer(cx)?.mkdir(cx, directory, name, set).await)
    }

    async fn symlink(
        &self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        target: &SymlinkTarget,
        set: &SetAttributes,
    ) -> Answer<Created> {
        carried_out(self.writer(cx)?.symlink(cx, directory, name, target, set).await)
    }

    async fn mknod(
        &self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        kind: FileType,
        rdev: DeviceNumbers,
        set: &SetAttributes,
    ) -> Answer<Created> {
        carried_out(self.writer(cx)?.mknod(cx, directory, (kind, rdev), name, set).await)
    }

    async fn remove(&self, cx: &Context, directory: ObjectId, name: &Name) -> Answer<Removed> {
        carried_out(self.writer(cx)?.remove(cx, directory, name).await)
    }

    async fn rmdir(&self, cx: &Context, directory: ObjectId, name: &Name) -> Answer<Removed> {
        carried_out(self.writer(cx)?.rmdir(cx, directory, name).await)
    }

    async fn rename(
        &self,
        cx: &Context,
        from: ObjectId,
        from_name: &Name,
        to: ObjectId,
        to_name: &Name,
    ) -> Answer<Renamed> {
        carried_out(self.writer(cx)?.rename(cx, from, to, from_name, to_name).await)
    }

    async fn link(
        &self,
        cx: &Context,
        object: ObjectId,
        directory: ObjectId,
        name: &Name,
    ) -> Answer<LinkTarget> {
        carried_out(self.writer(cx)?.link(cx, object, directory, name).await)
    }

    async fn flush(&self, cx: &Context, file: ObjectId, flush: &Flush) -> Answer<FlushOutcome> {
        carried_out(self.writer(cx)?.flush(cx, file, flush).await)
    }

    async fn begin_zeroing(
        &self,
        cx: &Context,
        file: ObjectId,
        content: ContentRef,
    ) -> Answer<ZeroingOutcome> {
        carried_out(self.writer(cx)?.begin_zeroing(cx, file, content).await)
    }

    async fn replayed(&self, cx: &Context, call: &Replay) -> Result<Option<Replayed>, Error> {
        self.admit(cx)?;
        Ok(self.earlier.find(call))
    }

    fn sole(&self) -> Option<Sole> {
        Some(Sole::always())
    }

    async fn usage(&self, share: ShareId) -> Result<Usage, Error> {
        self.readers
            .point(|connection| usage::usage(connection, share))
            .map_err(|refusal| refusal.error)
    }
}

#[async_trait::async_trait]
impl Catalog for SqliteStore {
    async fn shares(&self) -> Result<Vec<Share>, Error> {
        let shares = self.readers.point(|connection| Ok(shares::load(&self.shares, connection)?));
        shares.map_err(|refusal| refusal.error)
    }

    async fn setting(&self, key: &str) -> Result<Option<String>, Error> {
        let found = self.readers.point(|connection| Ok(shares::setting(connection, key)?));
        found.map_err(|refusal| refusal.error)
    }

    async fn place(&self) -> Result<Option<StorePlace>, Error> {
        place::of(&self.settings.path).map(Some)
    }
}

#[async_trait::async_trait]
impl MetadataStore for SqliteStore {
    async fn open_share(&self, spec: &ShareSpec) -> Result<Share, Error> {
        let wanted = spec.clone();
        let pending = self.queue.add(None, move |tables| tables.open_share(&wanted))?;
        outcome(pending).await.map_err(|refusal| refusal.error)?;
        let mut shares = self.shares().await?.into_iter();
        shares
            .find(|share| share.name == spec.name)
            .ok_or_else(|| Error::Damaged(format!("share {} was made and is not there", spec.name)))
    }

    async fn set_setting(
        &self,
        key: &str,
        seen: Option<&str>,
        value: &str,
    ) -> Result<Option<String>, Error> {
        let wanted = (key.to_owned(), seen.map(str::to_owned), value.to_owned());
        let pending = self.queue.add(None, move |tables| {
            let (key, seen, value) = &wanted;
            tables.set_setting(key, seen.as_deref(), value)
        })?;
        outcome(pending).await.map_err(|refusal| refusal.error)?;
        self.setting(key).await
    }

    async fn succeeds(&self, earlier: &StorePlace) -> Result<bool, Error> {
        place::succeeds(&self.settings.path, earlier)
    }

    async fn close(&self) {
        let Some(threads) = self.end() else { return };
        if let Err(error) = tokio::task::spawn_blocking(|| threads.join()).await {
            tracing::error!(%error, "the store was not closed cleanly");
        }
    }
}

impl Measured for SqliteStore {
    fn read(&self, to: &mut Readings) {
        self.cache.read(to);
        let help = "Changes of one transaction of SQLite";
        to.histogram("trunkfs_sqlite_batch_changes", help, &[], self.queue.batches());
        let waiting = self.queue.len() as u64;
        to.level(
            "trunkfs_sqlite_waiting_changes",
            "Changes that wait for the writer",
            &[],
            waiting,
        );
        self.wal.read(to);
    }
}
