//! Servers in this process, one for each pair of stores, shared by all cases that run at the time;
//! every case has a directory of its own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trunkfs::content::{
    ContentStore, FilesystemContent, FilesystemSettings, MemoryContent, ObjectContent,
    ObjectSettings,
};
use trunkfs::metadata::memory::MemoryStore;
use trunkfs::metadata::postgres::{Cache, LeaseTimes, PostgresStore, Settings};
use trunkfs::metadata::sqlite::{self, SqliteStore};
use trunkfs::metadata::{Invariants, Locks, RootSpec, ShareSpec};
use trunkfs::mount::Mount;
use trunkfs::net::{Server, ServerSettings, Service};
use trunkfs::nfs3::Nfs3;
use trunkfs::nlm::{self, LockService, LockStores, Nlm};
use trunkfs::nsm::Nsm;
use trunkfs::rpc::{Program, Protocol};
use trunkfs::types::{FileHandle, ShareName};
use trunkfs::vfs::{ClientRule, ExportSettings, GroupSource, Vfs, WriteBehind};
use uuid::Uuid;

use super::client::Client;
use super::rpc::{user, wait};
use super::shares::shares;
use super::types::{Handle, mode};
use crate::client::PATIENCE;
use crate::database::TestDatabase;
use crate::gate::Gate;
use crate::s3::S3Server;
use crate::splitter::Splitter;

/// Where the server looks for clients' port mappers.
pub(crate) const MAPPER_PORT: u16 = 10_111;

/// Makes of each case a test for every pair of stores.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[test]
            fn $case() {
                super::$case(&crate::nfs::fixture::Fs::new(crate::nfs::fixture::Pair::Memory));
            })*
        }
        mod sqlite {
            $(#[test]
            fn $case() {
                super::$case(&crate::nfs::fixture::Fs::new(crate::nfs::fixture::Pair::Sqlite));
            })*
        }
        mod s3 {
            $(#[test]
            fn $case() {
                super::$case(&crate::nfs::fixture::Fs::new(crate::nfs::fixture::Pair::S3));
            })*
        }
        mod postgres {
            $(#[test]
            fn $case() {
                super::$case(&crate::nfs::fixture::Fs::new(crate::nfs::fixture::Pair::Postgres));
            })*
        }
    };
}
pub(crate) use cases;

/// The same, and content in a bucket behind a network that fails, stalls and reorders.
macro_rules! content_cases {
    ($($case:ident),* $(,)?) => {
        crate::nfs::fixture::cases! { $($case),* }
        mod s3_unreliable {
            $(#[test]
            fn $case() {
                let pair = crate::nfs::fixture::Pair::S3Unreliable;
                super::$case(&crate::nfs::fixture::Fs::new(pair));
            })*
        }
    };
}
pub(crate) use content_cases;

/// Makes of each case a test for every pair of stores, and of those before the semicolon one for a client
/// whose calls go to two servers by turns.
macro_rules! shared_cases {
    ($($case:ident),*; $($single:ident),* $(,)?) => {
        crate::nfs::fixture::cases! { $($case,)* $($single,)* }
        crate::nfs::fixture::spread_cases! { $($case),* }
    };
}
pub(crate) use shared_cases;

/// The same of those that content has a part in.
macro_rules! content_shared_cases {
    ($($case:ident),*; $($single:ident),* $(,)?) => {
        crate::nfs::fixture::content_cases! { $($case,)* $($single,)* }
        crate::nfs::fixture::spread_cases! { $($case),* }
    };
}
pub(crate) use content_shared_cases;

macro_rules! spread_cases {
    ($($case:ident),*) => {
        mod spread {
            $(#[test]
            fn $case() {
                super::$case(&crate::nfs::fixture::Fs::new(crate::nfs::fixture::Pair::Spread));
            })*
        }
    };
}
pub(crate) use spread_cases;

/// The chunks of the shares, in bytes.
const CHUNK: u32 = 1 << 16;
/// Which part of the requests of [`Pair::S3Unreliable`] meets what it should not.
const UNRELIABLE: f64 = 0.1;

/// Which stores.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pair {
    /// Everything in memory.
    Memory,
    /// SQLite, and content in files.
    Sqlite,
    /// SQLite, and content in a bucket.
    S3,
    /// The same, behind a network that fails, stalls and reorders.
    S3Unreliable,
    /// PostgreSQL, and content in files.
    Postgres,
    /// The same by two servers; each call of a connection goes to the other one.
    Spread,
}

/// What a server stands on, and what a restarted one finds again.
#[derive(Debug)]
pub(crate) struct Stores {
    metadata: Arc<dyn Invariants>,
    content: Arc<dyn ContentStore>,
    durable: Option<Arc<Durable>>,
}

/// What outlives a server.
#[derive(Debug)]
struct Durable {
    folder: TempDir,
    /// Where metadata is, if not in the folder.
    database: Option<TestDatabase>,
    /// Where content is, if not in the folder.
    bucket: Option<Bucket>,
    /// Of the database. Where it is used no server is alone.
    cache: Cache,
}

/// A bucket's part that is these stores' alone.
struct Bucket {
    server: Arc<S3Server>,
    prefix: String,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.prefix, self.server.endpoint())
    }
}

impl Bucket {
    /// A fresh one, on the server that other cases use now, or on a new one.
    async fn new(unreliable: bool) -> Self {
        static SERVERS: [tokio::sync::Mutex<Weak<S3Server>>; 2] =
            [const { tokio::sync::Mutex::const_new(Weak::new()) }; 2];
        let mut slot = SERVERS[usize::from(unreliable)].lock().await;
        let server = match slot.upgrade() {
            Some(server) => server,
            None => Arc::new(S3Server::start().await),
        };
        *slot = Arc::downgrade(&server);
        if unreliable {
            server.unreliable(rand::random(), UNRELIABLE);
        }
        Self { server, prefix: Uuid::now_v7().to_string() }
    }

    /// Its content, as the only process has it.
    async fn open(&self) -> ObjectContent {
        let prefix = self.prefix.clone();
        let mut settings = ObjectSettings { prefix, exclusive: true, ..self.server.settings() };
        settings.request_timeout = Duration::from_secs(1);
        ObjectContent::open(settings).await.unwrap()
    }
}

impl Stores {
    pub(crate) async fn new(pair: Pair) -> Self {
        match pair {
            Pair::Memory => Self {
                metadata: Arc::new(MemoryStore::new()),
                content: Arc::new(MemoryContent::new()),
                durable: None,
            },
            Pair::Sqlite => Self::open(Arc::new(Durable::new(None, None))).await,
            Pair::S3 | Pair::S3Unreliable => {
                let bucket = Bucket::new(matches!(pair, Pair::S3Unreliable)).await;
                Self::open(Arc::new(Durable::new(None, Some(bucket)))).await
            }
            Pair::Postgres => {
                let database = TestDatabase::create().await;
                Self::open(Arc::new(Durable::new(Some(database), None))).await
            }
            Pair::Spread => {
                let database = TestDatabase::create().await;
                let durable = Durable::new(Some(database), None);
                Self::open(Arc::new(Durable { cache: Cache::Auto, ..durable })).await
            }
        }
    }

    /// Those of [`Pair::Postgres`], with a gate between store and database.
    pub(crate) async fn behind_gate() -> (Self, Gate) {
        let database = TestDatabase::create().await;
        let settings = database.settings();
        let gate = Gate::before(&settings).await;
        let metadata = PostgresStore::connect(gate.settings(&settings)).await.unwrap();
        let durable = Arc::new(Durable::new(Some(database), None));
        (Self::with_metadata(Arc::new(metadata), durable).await, gate)
    }

    /// Other content on metadata in memory.
    pub(crate) fn with_content(content: Arc<dyn ContentStore>) -> Self {
        Self { metadata: Arc::new(MemoryStore::new()), content, durable: None }
    }

    /// The locks, as administrators see them.
    pub(crate) fn locks(&self) -> Arc<dyn Locks> {
        self.metadata.clone()
    }

    /// How to reach the database of durable ones.
    pub(crate) fn database(&self) -> Settings {
        let durable = self.durable.as_ref().expect("durable stores");
        durable.database.as_ref().expect("a database").settings()
    }

    async fn open(durable: Arc<Durable>) -> Self {
        let metadata: Arc<dyn Invariants> = match &durable.database {
            Some(database) => {
                let lease = LeaseTimes { quiet: PATIENCE * 60, ..database.settings().lease };
                let settings = Settings { cache: durable.cache, lease, ..database.settings() };
                Arc::new(PostgresStore::connect(settings).await.unwrap())
            }
            None => {
                let path = durable.folder.path().join("metadata.sqlite");
                Arc::new(SqliteStore::open(sqlite::Settings::new(path)).await.unwrap())
            }
        };
        Self::with_metadata(metadata, durable).await
    }

    async fn with_metadata(metadata: Arc<dyn Invariants>, durable: Arc<Durable>) -> Self {
        let content: Arc<dyn ContentStore> = match &durable.bucket {
            Some(bucket) => Arc::new(bucket.open().await),
            None => {
                let base_path = durable.folder.path().join("content");
                let settings = FilesystemSettings { base_path, max_open_files: Some(256) };
                Arc::new(FilesystemContent::open(settings).await.unwrap())
            }
        };
        Self { metadata, content, durable: Some(durable) }
    }

    /// The same stores for a second server beside the first; those that only one may open are shared.
    pub(crate) async fn beside(&self) -> Self {
        match &self.durable {
            Some(durable) if durable.database.is_some() => Self::open(durable.clone()).await,
            Some(_) | None => Self {
                metadata: self.metadata.clone(),
                content: self.content.clone(),
                durable: None,
            },
        }
    }

    /// Ends them in order.
    pub(crate) async fn close(self) {
        self.metadata.close().await;
    }

    /// The same stores as another process finds them; those in memory stay as they are.
    pub(crate) async fn reopened(self) -> Self {
        let Self { metadata, content, durable } = self;
        match durable {
            None => Self { metadata, content, durable },
            Some(durable) => {
                metadata.close().await;
                drop(content);
                Self::open(durable).await
            }
        }
    }
}

impl Durable {
    fn new(database: Option<TestDatabase>, bucket: Option<Bucket>) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), database, bucket, cache: Cache::Off }
    }
}

/// A server that listens on a port of its own.
#[derive(Debug)]
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    /// Another address of the server, which has locks alone.
    pub(crate) other: SocketAddr,
    /// Where locks are served over UDP.
    pub(crate) udp: SocketAddr,
    roots: Vec<(&'static str, Handle)>,
    stores: Option<Stores>,
    shutdown: CancellationToken,
    task: Option<JoinHandle<()>>,
    /// A server beside it, and what calls go through to both.
    beside: Option<(Splitter, Box<TestServer>)>,
}

/// What servers make of locks.
pub(crate) fn lock_settings() -> nlm::Settings {
    nlm::Settings { mapper_port: MAPPER_PORT, ..nlm::Settings::default() }
}

impl TestServer {
    pub(crate) async fn start(stores: Stores) -> Self {
        Self::start_with(stores, |_| {}).await
    }

    pub(crate) async fn start_with(
        stores: Stores,
        change: impl FnOnce(&mut ServerSettings),
    ) -> Self {
        Self::start_as(stores, lock_settings(), change).await
    }

    pub(crate) async fn start_as(
        stores: Stores,
        lock_settings: nlm::Settings,
        change: impl FnOnce(&mut ServerSettings),
    ) -> Self {
        let (mut roots, mut exports) = (Vec::new(), Vec::new());
        for (name, mode, rules) in shares() {
            let spec = ShareSpec {
                name: ShareName::parse(name).unwrap(),
                root: RootSpec { uid: 0, gid: 0, mode },
                chunk_size: CHUNK,
            };
            let share = stores.metadata.open_share(&spec).await.unwrap();
            let root = FileHandle { share: share.name.clone(), object: share.root };
            roots.push((name, root.to_wire().into_bytes()));
            exports.push(ExportSettings {
                groups: GroupSource::Client,
                share,
                rules,
                metadata: stores.metadata.clone(),
                content: stores.content.clone().in_chunks(CHUNK),
                write_behind: WriteBehind::default(),
            });
        }
        let vfs = Vfs::new(exports).unwrap();
        let store = |(name, ..): (&str, u32, Vec<ClientRule>)| {
            let store: Arc<dyn Locks> = stores.metadata.clone();
            (ShareName::parse(name).unwrap(), store)
        };
        let locks: LockStores = shares().into_iter().map(store).collect();
        let locks = LockService::new(vfs.clone(), locks, &lock_settings);
        let mut of_locks: Vec<Arc<dyn Program>> = vec![Arc::new(Nsm::new(locks.clone()))];
        let versions = Nlm::versions(&locks);
        of_locks.extend(versions.into_iter().map(|it| Arc::new(it) as Arc<dyn Program>));
        let mut settings = ServerSettings::new(vec!["127.0.0.1:0".parse().unwrap()]);
        // A busy machine is no reason to ask for patience.
        settings.request_timeout = PATIENCE;
        change(&mut settings);
        let mut programs: Vec<Arc<dyn Program>> =
            vec![Arc::new(Nfs3::new(vfs.clone())), Arc::new(Mount::new(vfs.clone()))];
        programs.extend_from_slice(&of_locks);
        let mut server = Server::bind(settings, programs).await.unwrap();
        let mut beside = [("127.0.0.9:0", Protocol::Tcp), ("127.0.0.1:0", Protocol::Udp)]
            .map(|(address, protocol)| (address.parse().unwrap(), protocol));
        for (address, protocol) in &mut beside {
            let service =
                Service { address: *address, protocol: *protocol, programs: of_locks.clone() };
            *address = server.also(service).await.unwrap();
        }
        let [(other, _), (udp, _)] = beside;
        let (address, shutdown) = (server.local_addr(), CancellationToken::new());
        let token = shutdown.clone();
        let task = tokio::spawn(async move {
            let locking = locks.run(server.handle().clients().clone(), token.clone());
            let (ran, (), ()) =
                tokio::join!(server.run(token.clone()), vfs.maintain(token), locking);
            ran.unwrap();
        });
        let (stores, task) = (Some(stores), Some(task));
        Self { address, other, udp, roots, stores, shutdown, task, beside: None }
    }

    /// Two servers of a database, one of which gets each call.
    async fn spread(stores: Stores) -> Self {
        let second = stores.beside().await;
        let mut first = Self::start(stores).await;
        let second = Self::start(second).await;
        let splitter = Splitter::before(vec![first.address, second.address]).await;
        first.address = splitter.address;
        first.beside = Some((splitter, Box::new(second)));
        first
    }

    /// Ends the server without flushing anything, as a crash does, and gives back what it stood on.
    pub(crate) fn stop(mut self) -> Stores {
        wait(self.end());
        self.stores.take().unwrap()
    }

    /// Tells the server to end.
    pub(crate) fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// The longest content that the server's store can hold; files may be longer, with a hole at their end.
    pub(crate) fn longest_content(&self) -> u64 {
        self.stores().content.clone().in_chunks(CHUNK).max_length()
    }

    /// What the server stands on.
    pub(crate) fn stores(&self) -> &Stores {
        self.stores.as_ref().expect("a server that was not stopped")
    }

    async fn end(&mut self) {
        self.shut_down();
        if let Some(task) = self.task.take() {
            task.await.unwrap();
        }
    }

    /// A share's root.
    pub(crate) fn root_of(&self, share: &str) -> Handle {
        self.roots.iter().find(|(name, _)| *name == share).expect("the share").1.clone()
    }

    pub(crate) fn client(&self, uid: u32) -> Client {
        Client::connect(self.address, user(uid, uid, &[]))
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        drop(self.beside.take());
        let stores = self.stores.take();
        let broken = wait(async {
            self.end().await;
            let Some(stores) = stores else { return Vec::new() };
            let broken = stores.metadata.inconsistencies().await.unwrap();
            // What is in memory may be another server's too.
            if stores.durable.is_some() {
                stores.metadata.close().await;
            }
            broken
        });
        if !std::thread::panicking() {
            assert_eq!(broken, [""; 0], "broken invariants of the metadata store");
        }
    }
}

/// The server of a pair that other cases use now, or a new one.
fn shared(pair: Pair) -> Arc<TestServer> {
    static SERVERS: [Mutex<Weak<TestServer>>; 6] = [const { Mutex::new(Weak::new()) }; 6];
    let slot = &SERVERS[match pair {
        Pair::Memory => 0,
        Pair::Sqlite => 1,
        Pair::Postgres => 2,
        Pair::S3 => 3,
        Pair::S3Unreliable => 4,
        Pair::Spread => 5,
    }];
    let mut slot = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(server) = slot.upgrade() {
        return server;
    }
    let server = Arc::new(wait(async {
        let stores = Stores::new(pair).await;
        match pair {
            Pair::Spread => TestServer::spread(stores).await,
            Pair::Memory | Pair::Sqlite | Pair::S3 | Pair::S3Unreliable | Pair::Postgres => {
                TestServer::start(stores).await
            }
        }
    }));
    *slot = Arc::downgrade(&server);
    server
}

/// What a case works with: three users on one connection, and a directory that all may write.
#[derive(Debug)]
pub(crate) struct Fs {
    /// uid 0, which is not squashed.
    pub(crate) root: Client,
    /// uid and gid 1000.
    pub(crate) alice: Client,
    /// uid and gid 1001.
    pub(crate) bob: Client,
    /// The root of the share `/t`.
    pub(crate) share: Handle,
    /// The case's own directory in it: owned by root, of mode 0777.
    pub(crate) dir: Handle,
    pub(crate) pair: Pair,
    pub(crate) server: Arc<TestServer>,
}

impl Fs {
    pub(crate) fn new(pair: Pair) -> Self {
        let server = shared(pair);
        let root = server.client(0);
        let share = server.root_of("/t");
        let dir = root.dir_of(&share, Self::fresh_name().as_bytes(), 0o777);
        Self {
            alice: root.user(1000, 1000, &[]),
            bob: root.user(1001, 1001, &[]),
            root,
            share,
            dir,
            pair,
            server,
        }
    }

    /// Runs `work` in `count` threads at once, each with its number and a connection of alice's.
    pub(crate) fn together<T: Send>(
        &self,
        count: usize,
        work: impl Fn(usize, &Client) -> T + Sync,
    ) -> Vec<T> {
        let clients: Vec<_> = (0..count).map(|_| self.alice.reconnect()).collect();
        std::thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = clients
                .iter()
                .enumerate()
                .map(|(number, client)| scope.spawn(move || work(number, client)))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    /// A name that no other case uses.
    pub(crate) fn fresh_name() -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!("case-{}", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The root of another share.
    pub(crate) fn root_of(&self, share: &str) -> Handle {
        self.server.root_of(share)
    }

    /// A client with other rights: it calls from 127.0.0.2.
    pub(crate) fn elsewhere(&self, uid: u32) -> Client {
        let address = [127, 0, 0, 2].into();
        Client::connect_from(address, self.server.address, user(uid, uid, &[]))
    }

    /// A new directory of mode 0777 in another share, made by a client that may.
    pub(crate) fn dir_in(&self, share: &str) -> (Client, Handle) {
        let client = self.elsewhere(1000);
        let name = Self::fresh_name();
        let made = client.mkdir(&self.root_of(share), name.as_bytes(), &mode(0o777));
        (client, made.handle())
    }
}
