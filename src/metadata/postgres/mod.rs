//! The store in PostgreSQL 15 or later: any number of instances on one database.
//!
//! Reads are one statement. A mutation is a read of what the rules decide on, then one call of a function
//! (`migrations/postgres`) that repeats the values the decision rests on and is committed by itself; where
//! they have changed the decision is made again. What is read is kept while this process is alone with the
//! database (`alone`), and checked against what others have changed where it is not (`read_index`).

mod alone;
mod attempt;
mod batches;
mod change;
mod change_log;
mod check;
mod connect;
mod connect_error;
mod consumption;
mod create;
mod dedicated;
mod dump;
mod error;
mod execute;
#[cfg(test)]
mod explore;
mod flush;
mod gates;
mod grants;
mod invariants;
mod lease;
mod link;
mod list_bounds;
mod load;
mod load_fence;
mod locks;
mod maintenance;
mod migrations;
mod other_service;
mod place;
mod pool;
mod read;
mod read_index;
mod readers;
mod remove;
mod rename;
mod repair;
mod replies;
mod retry;
mod rows;
mod server_check;
mod servers;
mod session;
mod setattr;
mod settings;
mod settle;
mod shares;
mod statements;
pub mod target;
mod tls;
mod usage;

use std::sync::Arc;

use uuid::Uuid;

use self::alone::{Alone, Overlay};
use self::batches::Batches;
use self::change_log::Pruning;
use self::consumption::Consumption;
use self::error::PostgresError;
use self::gates::Gates;
use self::lease::{HeldHere, Lease};
use self::locks::LockWakes;
pub use self::migrations::PostgresSchema;
use self::pool::Pool;
use self::read_index::ReadIndex;
use self::readers::Readers;
use self::retry::within;
pub use self::settings::{Cache, LeaseTimes, ListBounds, Presence, Settings};
use self::usage::Usages;
use super::batch::Queue;
use super::cache::{Cache as Memory, HIDDEN};
use super::decide::{New, RemoveKind};
use super::known_shares::KnownShares;
use super::{
    Answer, CreateHow, Created, Error, Flush, FlushOutcome, Link, LinkTarget, Lookup,
    MetadataStore, Namespace, Page, Removed, Renamed, Replayed, SetAttributes, SettingDone, Share,
    ShareSpec, Sole, StorePlace, Summary, Usage, ZeroingOutcome,
};
use crate::counters::{Level, Measured, Readings};
use crate::types::{
    Attributes, ContentRef, Context, Cookie, DeviceNumbers, FileType, Name, ObjectId, Phase,
    Replay, ShareId, SymlinkTarget,
};

/// A namespace in a PostgreSQL database. Durable as far as the server's `synchronous_commit` and `fsync` are
/// (PostgreSQL manual 30.1), and across a failover as far as its standby is synchronous.
#[derive(Debug)]
pub struct PostgresStore {
    settings: Settings,
    lease: Arc<Lease>,
    alone: Arc<Alone>,
    pool: Arc<Pool>,
    readers: Arc<Readers>,
    index: Arc<ReadIndex>,
    gates: Gates,
    batches: Arc<Batches>,
    shares: Arc<KnownShares>,
    usages: Usages,
    /// What its connections call themselves in their writer slots.
    instance: Uuid,
    lock_wakes: LockWakes,
    pruning: Option<Pruning>,
    consumption: Option<Consumption>,
}

impl PostgresStore {
    /// What the database holds. Changes nothing.
    ///
    /// # Errors
    /// Those of [`PostgresStore::connect`] where `migrates` says whether the schema may be brought up to
    /// date.
    pub async fn summary(settings: &Settings, migrates: bool) -> Result<Summary, Error> {
        server_check::check(settings).await?;
        migrations::look(settings, migrates).await
    }

    /// Opens the store, bringing its schema up to date where the settings say so. Instances may start at
    /// the same time.
    ///
    /// # Errors
    /// [`Error::Backend`] where the database cannot be reached, is older than PostgreSQL 15, has another
    /// default isolation than READ COMMITTED; [`Error::Schema`] where its schema is not the one that this
    /// program serves.
    pub async fn connect(settings: Settings) -> Result<Self, Error> {
        server_check::check(&settings).await?;
        migrations::prepare(&settings).await?;
        let instance = Uuid::new_v4();
        let lease = Arc::new(Lease::new(&settings, instance));
        let pool = Arc::new(Pool::new(&settings, instance, Arc::clone(&lease))?);
        let shares = Arc::<KnownShares>::default();
        let alone =
            Alone::new(&settings, Arc::clone(&pool), Arc::clone(&shares), Arc::clone(&lease));
        let pruning = match settings.presence {
            Presence::Server => {
                let holder = Arc::downgrade(&alone);
                lease.set_holder(holder);
                lease.announce().await;
                Some(Pruning::start(&pool, &lease, settings.lists))
            }
            // It is there for one task: the lease is left to servers.
            Presence::Tool => None,
        };
        drop(pool.get(None).await.map_err(PostgresError::into_error)?);
        let consumption = match settings.presence {
            Presence::Server => Some(Consumption::start(&pool).await),
            Presence::Tool => None,
        };
        let gates = Gates::new(pool.most_mutations());
        let batches = Batches::new(&pool, &lease);
        let usages = Usages::new();
        let readers = Readers::new();
        let index = ReadIndex::new(&settings, Arc::clone(&lease), Arc::clone(&alone.cache));
        Ok(Self {
            settings,
            lease,
            alone,
            pool,
            readers,
            index,
            gates,
            batches,
            shares,
            usages,
            instance,
            lock_wakes: LockWakes::default(),
            pruning,
            consumption,
        })
    }

    /// Looks whether the database takes other settings that are made of this store's by
    /// [`Settings::taking`]: the password, and room for the connections.
    ///
    /// # Errors
    /// [`Error::Backend`] where an administrator has to act; [`Error::Unavailable`] where the database is
    /// away.
    pub async fn try_settings(&self, settings: &Settings) -> Result<(), Error> {
        server_check::check_login(settings).await
    }

    /// Takes over the password, from the next connection on, and how many connections there may be.
    pub fn renew(&self, settings: &Settings) {
        self.settings.target.renew(&settings.target);
        self.pool.resize(settings);
        self.gates.set(self.pool.most_mutations());
    }

    /// Whether this process is alone with the database now: it decides changes itself, and answers reads from
    /// its cache.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.alone.is_writing() && self.lease.is_licensed()
    }

    /// Names where it is said how many clients the server has, for those who list servers. The first one
    /// counts.
    pub fn count_clients(&self, level: Level) {
        self.lease.count_clients(level);
    }

    /// Whether reads that arrive together are answered from memory while other servers use the database too.
    #[must_use]
    pub fn is_polling(&self) -> bool {
        self.index.is_polling()
    }

    /// The calls that wait for this process's own writer, while it is alone with the database and the call is
    /// not over.
    async fn own_writer(&self, cx: &Context) -> Result<Option<Arc<Queue<Overlay>>>, Error> {
        let Some(queue) = self.alone.queue() else { return Ok(None) };
        self.share(cx).await?;
        Ok(Some(queue))
    }

    /// Whether a call that took the shared path is to be carried out by this process's own writer, as it
    /// turned out there. Waits until there is one.
    async fn is_for_writer<T>(&self, cx: &Context, answer: &Answer<T>) -> bool {
        let is_held_here = answer.as_ref().is_err_and(|refusal| match &refusal.error {
            Error::Unavailable(source) => source.is::<HeldHere>(),
            _ => false,
        });
        is_held_here && self.alone.has_writer(cx).await
    }

    /// Waits until a statement's result may be shown. A server that is alone may not know yet that its commit
    /// has taken place, and answers as before it for no longer than [`HIDDEN`].
    async fn shown(&self, cx: &Context) -> Result<(), Error> {
        if self.settings.presence == Presence::Tool || self.lease.is_free() {
            return Ok(());
        }
        within(&cx.call, tokio::time::sleep(HIDDEN)).await
    }

    /// The cache, while this process is alone with the database.
    fn cache(&self) -> Option<&Memory> {
        self.alone.is_writing().then_some(&self.alone.cache)
    }
}

impl Measured for PostgresStore {
    fn read(&self, to: &mut Readings) {
        self.pool.read(to);
        self.alone.cache.read(to);
        self.usages.read(to);
        self.batches.read(to);
        let help = "1 while this server is alone with the database and decides changes itself";
        to.level("trunkfs_postgres_alone", help, &[], u64::from(self.is_alone()));
        let help = "Servers that use the database, this one among them, and tools that change rows";
        to.level("trunkfs_postgres_servers", help, &[], self.lease.instances());
        let help = "Seconds that this machine's clock is ahead of the database's";
        to.gauge("trunkfs_postgres_clock_ahead_seconds", help, &[], self.lease.clock_ahead());
        if let Some(pruning) = &self.pruning {
            pruning.read(to);
        }
        if let Some(consumption) = &self.consumption {
            consumption.read(to);
        }
        let (taken, given) = self.alone.changes();
        let help = "Times that this server became alone with the database, and shared it again";
        let name = "trunkfs_postgres_mode_changes";
        to.counter(name, help, &[("to", "alone")], taken);
        to.counter(name, help, &[("to", "shared")], given);
        let waiting = self.alone.queue().map_or(0, |queue| queue.len()) as u64;
        let help = "Changes that wait for this server's own writer";
        to.level("trunkfs_postgres_waiting_changes", help, &[], waiting);
        let help = "Changes of one transaction of this server's own writer";
        to.histogram("trunkfs_postgres_batch_changes", help, &[], &self.alone.batches);
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.index.close();
        self.alone.abandon();
    }
}

/// Has this process's own writer carry a change out while it is alone with the database; else the change
/// takes the shared path.
macro_rules! change {
    ($store:ident, $cx:ident, |$writer:ident| $alone:expr, $shared:expr) => {
        loop {
            if let Some($writer) = $store.own_writer($cx).await?
                && let Some(answer) = $cx.call.timing.timed(Phase::Database, $alone).await
            {
                return answer;
            }
            // On the heap: a call that needs no statement would carry the room for it along.
            let answer = Box::pin($shared).await;
            if !$store.is_for_writer($cx, &answer).await {
                return answer;
            }
        }
    };
}

#[async_trait::async_trait]
impl Namespace for PostgresStore {
    async fn getattr(&self, cx: &Context, object: ObjectId) -> Result<Attributes, Error> {
        let share = self.share(cx).await?;
        let gap = match self.recall(cx, |cache| cache.object(&share, object)).await? {
            Ok(known) => return Ok(known),
            Err(gap) => gap,
        };
        let read = Box::pin(read::getattr(self, cx, object)).await?;
        self.shown(cx).await?;
        Ok(gap.keep(read, 1, Memory::keep_object))
    }

    async fn lookup(&self, cx: &Context, directory: ObjectId, name: &Name) -> Answer<Lookup> {
        let share = self.share(cx).await?;
        let gap = match self.recall(cx, |cache| cache.lookup(&share, directory, name)).await? {
            Ok(known) => return Ok(known),
            Err(gap) => gap,
        };
        let read = Box::pin(read::lookup(self, cx, directory, name)).await?;
        self.shown(cx).await?;
        let name = name.clone();
        Ok(gap.keep(read, 3, move |cache, since, found| cache.keep_lookup(since, &name, found)))
    }

    async fn lookup_parent(&self, cx: &Context, directory: ObjectId) -> Answer<Lookup> {
        let found = read::lookup_parent(self, cx, directory).await?;
        self.shown(cx).await?;
        Ok(found)
    }

    async fn readlink(&self, cx: &Context, link: ObjectId) -> Answer<Link> {
        let share = self.share(cx).await?;
        let gap = match self.recall(cx, |cache| cache.link(&share, link)).await? {
            Ok(known) => return Ok(known),
            Err(gap) => gap,
        };
        let read = Box::pin(read::readlink(self, cx, link)).await?;
        self.shown(cx).await?;
        Ok(gap.keep(read, 2, Memory::keep_link))
    }

    async fn readdir(
        &self,
        cx: &Context,
        directory: ObjectId,
        after: Cookie,
        max_entries: usize,
        with_attributes: bool,
    ) -> Answer<Page> {
        let share = self.share(cx).await?;
        let look =
            |cache: &Memory| cache.page(&share, directory, after, max_entries, with_attributes);
        let gap = match self.recall(cx, look).await? {
            Ok(page) => return Ok(page),
            Err(gap) => gap,
        };
        let read = read::readdir(self, cx, directory, after, max_entries, with_attributes).await?;
        self.shown(cx).await?;
        let weight = 2 * read.value.entries.len() + 1;
        Ok(gap.keep(read, weight, move |cache, since, page| cache.keep_page(since, after, page)))
    }

    async fn setattr(
        &self,
        cx: &Context,
        object: ObjectId,
        set: &SetAttributes,
    ) -> Answer<SettingDone> {
        change!(
            self,
            cx,
            |writer| writer.setattr(cx, object, set),
            setattr::setattr(self, cx, object, set)
        )
    }

    async fn create(
        &self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        how: &CreateHow,
    ) -> Answer<Created> {
        change!(
            self,
            cx,
            |writer| writer.create(cx, directory, name, how),
            create::make(self, cx, directory, name, New::File(how))
        )
    }

    async fn mkdir(
        &self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        set: &SetAttributes,
    ) -> Answer<Created> {
        change!(
            self,
            cx,
            |writer| writer.mkdir(cx, directory, name, set),
            create::make(self, cx, directory, name, New::Directory(set))
        )
    }

    async fn symlink(
        &self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        target: &SymlinkTarget,
        set: &SetAttributes,
    ) -> Answer<Created> {
        change!(
            self,
            cx,
            |writer| writer.symlink(cx, directory, name, target, set),
            create::make(self, cx, directory, name, New::Symlink(target, set))
        )
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
        change!(
            self,
            cx,
            |writer| writer.mknod(cx, directory, (kind, rdev), name, set),
            create::make(self, cx, directory, name, New::Node(kind, rdev, set))
        )
    }

    async fn remove(&self, cx: &Context, directory: ObjectId, name: &Name) -> Answer<Removed> {
        change!(
            self,
            cx,
            |writer| writer.remove(cx, directory, name),
            remove::remove(self, cx, directory, name, RemoveKind::Other)
        )
    }

    async fn rmdir(&self, cx: &Context, directory: ObjectId, name: &Name) -> Answer<Removed> {
        change!(
            self,
            cx,
            |writer| writer.rmdir(cx, directory, name),
            remove::remove(self, cx, directory, name, RemoveKind::Directory)
        )
    }

    async fn rename(
        &self,
        cx: &Context,
        from: ObjectId,
        from_name: &Name,
        to: ObjectId,
        to_name: &Name,
    ) -> Answer<Renamed> {
        change!(
            self,
            cx,
            |writer| writer.rename(cx, from, to, from_name, to_name),
            rename::rename(self, cx, (from, from_name), (to, to_name))
        )
    }

    async fn link(
        &self,
        cx: &Context,
        object: ObjectId,
        directory: ObjectId,
        name: &Name,
    ) -> Answer<LinkTarget> {
        change!(
            self,
            cx,
            |writer| writer.link(cx, object, directory, name),
            link::link(self, cx, object, directory, name)
        )
    }

    async fn flush(&self, cx: &Context, file: ObjectId, flush: &Flush) -> Answer<FlushOutcome> {
        change!(
            self,
            cx,
            |writer| writer.flush(cx, file, flush),
            flush::flush(self, cx, file, flush)
        )
    }

    async fn begin_zeroing(
        &self,
        cx: &Context,
        file: ObjectId,
        content: ContentRef,
    ) -> Answer<ZeroingOutcome> {
        change!(
            self,
            cx,
            |writer| writer.begin_zeroing(cx, file, content),
            flush::begin_zeroing(self, cx, file, content)
        )
    }

    async fn replayed(&self, cx: &Context, call: &Replay) -> Result<Option<Replayed>, Error> {
        replies::replayed(self, cx, call).await
    }

    fn sole(&self) -> Option<Sole> {
        let hold = self.alone.hold()?;
        // Asked with the hold: a lease that is given up from here on is given up after it.
        self.is_alone().then(|| Sole::licensed(Arc::clone(&self.lease) as _, hold))
    }

    async fn usage(&self, share: ShareId) -> Result<Usage, Error> {
        usage::usage(self, share).await
    }
}

#[async_trait::async_trait]
impl MetadataStore for PostgresStore {
    async fn open_share(&self, spec: &ShareSpec) -> Result<Share, Error> {
        shares::open_share(self, spec).await
    }

    async fn set_setting(
        &self,
        key: &str,
        seen: Option<&str>,
        value: &str,
    ) -> Result<Option<String>, Error> {
        shares::set_setting(self, key, seen, value).await
    }

    async fn succeeds(&self, earlier: &StorePlace) -> Result<bool, Error> {
        place::succeeds(self, earlier).await
    }

    async fn close(&self) {
        self.alone.close().await;
        self.index.close();
        self.lock_wakes.close();
        self.pool.close();
        self.lease.leave().await;
    }
}
