//! The stores that run the cases: one constructor each.

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use trunkfs::metadata::memory::MemoryStore;
use trunkfs::metadata::postgres::{Cache, PostgresStore, Settings as PostgresSettings};
use trunkfs::metadata::sqlite::{Settings, SqliteStore};
use trunkfs::metadata::{Invariants, Load, MetadataStore as _};

use super::cases::lock_limits::LIMITS;
use super::instances::Instances;
use crate::database::TestDatabase;

/// A store for one case. Others may have their shares in it.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Invariants>,
    /// Dropped after the store is closed.
    pub(crate) guard: Box<dyn Any + Send>,
}

pub(crate) async fn memory() -> Opened {
    Opened { store: Arc::new(MemoryStore::new()), guard: Box::new(()) }
}

pub(crate) async fn sqlite() -> Opened {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new(folder.path().join("metadata.sqlite"));
    let store = SqliteStore::open(settings).await.unwrap();
    Opened { store: Arc::new(store), guard: Box::new(folder) }
}

pub(crate) async fn postgres() -> Opened {
    let shared = shared_database().await;
    let store = PostgresStore::connect(shared.database.settings()).await.unwrap();
    Opened { store: Arc::new(store), guard: Box::new(shared) }
}

pub(crate) async fn postgres_instances() -> Opened {
    let shared = shared_database().await;
    // Cases run beside each other, as many as the machine has processors: together they must not have too
    // many connections.
    let settings = PostgresSettings { max_connections: 5, ..shared.database.settings() };
    let open = || PostgresStore::connect(settings.clone());
    let instances = [open().await.unwrap(), open().await.unwrap()];
    Opened { store: Arc::new(Instances::new(instances)), guard: Box::new(shared) }
}

/// A store that is alone with its database.
pub(crate) async fn postgres_alone() -> Opened {
    static TEMPLATE: Mutex<Weak<TestDatabase>> = Mutex::const_new(Weak::new());
    let mut template = TEMPLATE.lock().await;
    let migrated = match template.upgrade() {
        Some(migrated) => migrated,
        None => {
            let migrated = Arc::new(TestDatabase::create().await);
            PostgresStore::connect(migrated.settings()).await.unwrap().close().await;
            *template = Arc::downgrade(&migrated);
            migrated
        }
    };
    let database = migrated.copy().await;
    drop(template);
    let settings = PostgresSettings { cache: Cache::Auto, ..database.settings() };
    let store = PostgresStore::connect(settings).await.unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while !store.is_alone() {
        assert!(Instant::now() < until, "the store is not alone");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Opened { store: Arc::new(store), guard: Box::new((database, migrated)) }
}

/// A database for the cases that run at the same time, since making one takes a second: each has a share of
/// its own, and the check of the invariants reads one snapshot, which changes under way do not break. It goes
/// with its last user.
struct SharedDatabase {
    database: TestDatabase,
    users: AtomicUsize,
}

/// A database takes no more users, since every connection looks at the slots of all before it.
const MOST_USERS: usize = 40;

/// Stores of their own that have the limits of [`lock_limits`](super::cases::lock_limits).
pub(crate) async fn limited_memory() -> Opened {
    Opened { store: Arc::new(MemoryStore::with_lock_limits(LIMITS)), guard: Box::new(()) }
}

pub(crate) async fn limited_sqlite() -> Opened {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new(folder.path().join("metadata.sqlite"));
    let store = SqliteStore::open(Settings { lock_limits: LIMITS, ..settings }).await.unwrap();
    Opened { store: Arc::new(store), guard: Box::new(folder) }
}

pub(crate) async fn limited_postgres() -> Opened {
    let database = TestDatabase::create().await;
    let settings = PostgresSettings { lock_limits: LIMITS, ..database.settings() };
    let store = PostgresStore::connect(settings).await.unwrap();
    Opened { store: Arc::new(store), guard: Box::new(database) }
}

/// A store that can be dumped, loaded and checked.
pub(crate) trait KeptStore: Load + Invariants {}

impl<S: Load + Invariants> KeptStore for S {}

/// A store with nothing in it.
pub(crate) struct Kept {
    pub(crate) store: Arc<dyn KeptStore>,
    /// Dropped after the store is closed.
    pub(crate) guard: Box<dyn Any + Send>,
}

pub(crate) async fn kept_memory() -> Kept {
    Kept { store: Arc::new(MemoryStore::new()), guard: Box::new(()) }
}

pub(crate) async fn kept_sqlite() -> Kept {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(Settings::new(folder.path().join("kept.db"))).await.unwrap();
    Kept { store: Arc::new(store), guard: Box::new(folder) }
}

pub(crate) async fn kept_postgres() -> Kept {
    let database = TestDatabase::create().await;
    let store = PostgresStore::connect(database.settings()).await.unwrap();
    Kept { store: Arc::new(store), guard: Box::new(database) }
}

async fn shared_database() -> Arc<SharedDatabase> {
    static PRESENT: Mutex<Weak<SharedDatabase>> = Mutex::const_new(Weak::new());
    let mut present = PRESENT.lock().await;
    if let Some(shared) = present.upgrade()
        && shared.users.fetch_add(1, Ordering::Relaxed) < MOST_USERS
    {
        return shared;
    }
    let database = TestDatabase::create().await;
    PostgresStore::connect(database.settings()).await.unwrap().close().await;
    let shared = Arc::new(SharedDatabase { database, users: AtomicUsize::new(1) });
    *present = Arc::downgrade(&shared);
    shared
}
