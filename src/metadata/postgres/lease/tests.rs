//! Two instances or more on one database, with holders that do nothing but claim their slot.

#[path = "../../../../tests/support/database.rs"]
mod database;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use uuid::Uuid;

use self::database::{TestDatabase, connect};
use super::{Cache, Clock, Holder, Lease, LeaseState, LeaseTimes, Mode};
use crate::metadata::postgres::{PostgresSchema, PostgresStore, Presence, Settings};
use crate::metadata::schema::Schema as _;
use crate::metadata::{
    CreateHow, Invariants as _, Load as _, LoadHow, MetadataStore as _, Namespace as _, Portion,
    Repairable as _, RootSpec, SetAttributes, Share, ShareSpec,
};
use crate::types::{Context, Name, ShareId, ShareName};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough for a busy machine.
const TIMES: LeaseTimes = LeaseTimes {
    ttl: Duration::from_secs(2),
    margin: Duration::from_millis(300),
    watch: Duration::from_millis(100),
    quiet: Duration::ZERO,
};
/// Ends the connections of all leases.
const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE '%FROM lease l%' AND pid <> pg_backend_pid()";
const CLAIM: &str = "SELECT slot, epoch FROM claim_slot($1)";

/// A holder that claims its slot, and notes what it was told.
#[derive(Debug)]
struct Fake {
    settings: Settings,
    instance: Uuid,
    told: Mutex<Vec<&'static str>>,
    /// Its connection, slot and epoch.
    slot: tokio::sync::Mutex<Option<(Client, i32, i64)>>,
    /// Passed by each end.
    ends: Semaphore,
    /// Passed before an end by what waits for calls, and whether something has waited.
    calls: Semaphore,
    settles: AtomicBool,
    /// How many files there were at the last end.
    files: Mutex<i64>,
}

#[async_trait::async_trait]
impl Holder for Fake {
    async fn begin(&self) -> bool {
        let client = connect(&self.settings).await;
        let claim = "SELECT slot, epoch FROM claim_alone_slot($1)";
        let claimed = client.query_one(claim, &[&self.instance]).await;
        let begun = claimed.is_ok();
        if let Ok(row) = claimed {
            *self.slot.lock().await = Some((client, row.get(0), row.get(1)));
        }
        self.told.lock().push("begin");
        begun
    }

    async fn settle(&self) {
        self.settles.store(true, Ordering::SeqCst);
        drop(self.calls.acquire().await.unwrap());
    }

    async fn end(&self) {
        self.told.lock().push("ends");
        let passed = self.ends.acquire().await.unwrap();
        if let Some((client, ..)) = self.slot.lock().await.take()
            && let Ok(row) = client.query_one("SELECT count(*) FROM files", &[]).await
        {
            *self.files.lock() = row.get(0);
        }
        self.told.lock().push("ended");
        drop(passed);
    }
}

/// An instance with a holder.
struct Instance {
    lease: Arc<Lease>,
    holder: Arc<Fake>,
}

impl Instance {
    fn new(settings: &Settings) -> Self {
        Self::with_clock(settings, Clock::Machine)
    }

    fn with_clock(settings: &Settings, clock: Clock) -> Self {
        let instance = Uuid::new_v4();
        let lease = Arc::new(Lease::with_clock(settings, instance, clock));
        let holder = Arc::new(Fake {
            settings: settings.clone(),
            instance,
            told: Mutex::default(),
            slot: tokio::sync::Mutex::default(),
            ends: Semaphore::new(1),
            calls: Semaphore::new(1),
            settles: AtomicBool::new(false),
            files: Mutex::default(),
        });
        let held: Arc<dyn Holder> = holder.clone();
        lease.set_holder(Arc::downgrade(&held));
        Self { lease, holder }
    }

    /// One that has the lease.
    async fn alone(settings: &Settings) -> Self {
        let instance = Self::new(settings);
        instance.lease.announce().await;
        instance.is_alone().await;
        instance
    }

    async fn is_alone(&self) {
        until("alone", || self.state() == LeaseState::Alone).await;
    }

    fn state(&self) -> LeaseState {
        self.lease.inner.report.borrow().state
    }

    fn told(&self) -> Vec<&'static str> {
        self.holder.told.lock().clone()
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what}: never");
        sleep(Duration::from_millis(5)).await;
    }
}

/// A database with tables and one share.
async fn scene() -> (TestDatabase, Settings) {
    let database = TestDatabase::create().await;
    let settings = Settings { cache: Cache::Auto, lease: TIMES, ..database.settings() };
    PostgresSchema::connect(&settings).await.unwrap().up(None, &|_| {}).await.unwrap();
    let tool = tool(&settings).await;
    tool.open_share(&spec()).await.unwrap();
    tool.close().await;
    (database, settings)
}

fn spec() -> ShareSpec {
    ShareSpec {
        name: ShareName::parse("/export").unwrap(),
        root: RootSpec { uid: 0, gid: 0, mode: 0o755 },
        chunk_size: 1 << 22,
    }
}

/// A store that joins when it has to.
async fn tool(settings: &Settings) -> PostgresStore {
    let settings = Settings { presence: Presence::Tool, ..settings.clone() };
    PostgresStore::connect(settings).await.unwrap()
}

async fn holder(client: &Client) -> Option<Uuid> {
    client.query_one("SELECT holder FROM lease", &[]).await.unwrap().get(0)
}

async fn register(client: &Client) -> Uuid {
    let instance = Uuid::new_v4();
    let statement = "INSERT INTO instances (instance, host, version) VALUES ($1, 'test', 'test')";
    client.execute(statement, &[&instance]).await.unwrap();
    instance
}

fn is_refused(outcome: Result<tokio_postgres::Row, tokio_postgres::Error>) -> bool {
    outcome.is_err_and(|error| error.code().is_some_and(|code| code.code() == "TF004"))
}

async fn create(store: &PostgresStore, share: &Share, name: &str) {
    let how = CreateHow::Guarded(SetAttributes::default());
    let name = Name::parse(name.as_bytes()).unwrap();
    store.create(&context(share.id), share.root, &name, &how).await.unwrap();
}

fn context(share: ShareId) -> Context {
    Context::internal(share, PATIENCE)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run.sh --lib lease::"]
async fn the_only_instance_takes_the_lease_at_once_and_fences_all_slots() {
    let (_database, settings) = scene().await;
    let settings = Settings { lease: LeaseTimes { ttl: PATIENCE * 60, ..TIMES }, ..settings };
    let client = connect(&settings).await;
    // One slot of an instance that has left, one that was given up before.
    let gone = register(&client).await;
    let claimed = client.query_one(CLAIM, &[&gone]).await.unwrap();
    let (slot, epoch): (i32, i64) = (claimed.get(0), claimed.get(1));
    client.execute("DELETE FROM instances", &[]).await.unwrap();
    client
        .execute("INSERT INTO writer_slots (share_id, slot, epoch) VALUES (1, 99, -7)", &[])
        .await
        .unwrap();

    let alone = Instance::alone(&settings).await;
    assert!(alone.lease.is_licensed());
    assert_eq!(alone.told(), ["begin"]);
    assert_eq!(holder(&client).await, Some(alone.lease.instance()));
    let epochs = "SELECT (SELECT epoch FROM writer_slots WHERE slot = $1),
                         (SELECT epoch FROM writer_slots WHERE slot = 99),
                         (SELECT max(epoch) FROM writer_slots)";
    let epochs = client.query_one(epochs, &[&slot]).await.unwrap();
    let own = alone.holder.slot.lock().await.as_ref().unwrap().2;
    assert_eq!((epochs.get(0), epochs.get(1), epochs.get(2)), (-epoch, -7_i64, own));
    // Nobody gets a slot, its own instance included, until it has ended, for which another one asks.
    let hindrance = alone.holder.ends.acquire().await.unwrap();
    for instance in [alone.lease.instance(), register(&client).await] {
        assert!(is_refused(client.query_one(CLAIM, &[&instance]).await));
    }
    drop(hindrance);
    alone.lease.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run.sh --lib lease::"]
async fn the_holder_ends_before_a_second_instance_changes_anything() {
    let (_database, settings) = scene().await;
    let alone = Instance::alone(&settings).await;
    let hindrance = alone.holder.ends.acquire().await.unwrap();
    let store = Arc::new(tool(&settings).await);
    let share = store.open_share(&spec()).await.unwrap();
    assert!(alone.lease.is_licensed(), "making and reading disturb nobody");
    let calls: Vec<_> = (0..16)
        .map(|number| {
            let (store, share) = (Arc::clone(&store), share.clone());
            tokio::spawn(async move { create(&store, &share, &format!("file-{number}")).await })
        })
        .collect();
    until("the holder ends", || alone.told() == ["begin", "ends"]).await;
    assert!(!alone.lease.is_licensed());
    let client = connect(&settings).await;
    assert_eq!(holder(&client).await, Some(alone.lease.instance()));
    drop(hindrance);
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(alone.told(), ["begin", "ends", "ended"]);
    assert_eq!(*alone.holder.files.lock(), 1, "the root alone");
    assert_eq!(holder(&client).await, None);
    let left = "SELECT count(*) FROM writer_slots WHERE epoch > 0 AND instance = $1";
    let left = client.query_one(left, &[&alone.lease.instance()]).await.unwrap();
    assert_eq!(left.get::<_, i64>(0), 0, "its slot is fenced");
    assert_eq!(alone.lease.enter().await.unwrap(), Mode::Shared);

    // Alone again, once the other has left.
    store.close().await;
    alone.is_alone().await;
    assert!(alone.lease.is_licensed());
    assert_eq!(alone.told(), ["begin", "ends", "ended", "begin"]);
    alone.lease.leave().await;
}

/// Whatever runs on a runtime of its own stands still from a call of `stop` on until its answer is dropped.
struct Stoppable {
    runtime: tokio::runtime::Runtime,
}

impl Stoppable {
    fn new() -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        Self { runtime: runtime.worker_threads(1).enable_all().build().unwrap() }
    }

    fn stop(&self) -> std::sync::mpsc::Sender<()> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let (stopped, state) = std::sync::mpsc::channel();
        self.runtime.spawn(async move {
            stopped.send(()).unwrap();
            assert!(receiver.recv().is_err());
        });
        state.recv().unwrap();
        sender
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run.sh --lib lease::"]
async fn a_holder_that_stands_still_is_taken_over_and_comes_back_as_one_of_several() {
    let (_database, settings) = scene().await;
    let first = Stoppable::new();
    let to_make = settings.clone();
    let made = first.runtime.spawn(async move { Instance::alone(&to_make).await });
    let stopped = made.await.unwrap();
    let stop = first.stop();
    assert!(stopped.lease.is_licensed());

    let second = Instance::new(&settings);
    second.lease.announce().await;
    until("the second begins", || {
        // Never both.
        let begun = second.lease.is_licensed();
        assert!(!(begun && stopped.lease.is_licensed()));
        begun
    })
    .await;
    let client = connect(&settings).await;
    let slots = "SELECT count(*) FROM writer_slots WHERE epoch > 0";
    assert_eq!(client.query_one(slots, &[]).await.unwrap().get::<_, i64>(0), 1);

    drop(stop);
    assert!(!stopped.lease.is_licensed(), "its licence is over");
    let lease = Arc::clone(&stopped.lease);
    let entered = first.runtime.spawn(async move { lease.enter().await });
    assert_eq!(entered.await.unwrap().unwrap(), Mode::Shared);
    assert_eq!(stopped.told(), ["begin", "ends", "ended"]);
    assert_eq!(second.told(), ["begin", "ends", "ended"]);
    client.query_one(CLAIM, &[&stopped.lease.instance()]).await.unwrap();
    second.lease.leave().await;
    first.runtime.shutdown_background();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run.sh --lib lease::"]
async fn a_connection_that_ends_ends_the_licence_until_the_next_one_renews_it() {
    let (_database, settings) = scene().await;
    let alone = Instance::alone(&settings).await;
    let client = connect(&settings).await;
    assert_eq!(client.query(CUT, &[]).await.unwrap().len(), 1);
    until("begins again", || alone.told() == ["begin", "ends", "ended", "begin"]).await;
    alone.is_alone().await;
    assert!(alone.lease.is_licensed());
    assert_eq!(alone.lease.generation(), 2);
    alone.lease.leave().await;
}

/// A call that cuts content goes on when the connection ends. The lease is given up after the call.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run.sh --lib lease::"]
async fn a_lease_that_was_lost_for_a_moment_is_given_up_after_calls_of_before() {
    let (_database, settings) = scene().await;
    let lasting = Settings { lease: LeaseTimes { ttl: PATIENCE, ..TIMES }, ..settings.clone() };
    let alone = Instance::alone(&lasting).await;
    let call = alone.holder.calls.acquire().await.unwrap();
    let hindrance = alone.holder.ends.acquire().await.unwrap();
    let client = connect(&settings).await;
    assert_eq!(client.query(CUT, &[]).await.unwrap().len(), 1);
    until("it ends", || alone.told() == ["begin", "ends"]).await;
    let other = Instance::new(&lasting);
    other.lease.announce().await;
    let lease = Arc::clone(&other.lease);
    let entered = tokio::spawn(async move { lease.enter().await });
    drop(hindrance);
    until("it has ended", || alone.told() == ["begin", "ends", "ended"]).await;
    until("it waits for the call", || alone.holder.settles.load(Ordering::SeqCst)).await;
    sleep(Duration::from_millis(200)).await;
    assert!(!entered.is_finished(), "others change files beside the call");
    assert!(!other.lease.is_free());
    drop(call);
    assert_eq!(entered.await.unwrap().unwrap(), Mode::Shared);
    assert!(other.lease.is_free());
    alone.lease.leave().await;
    other.lease.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run.sh --lib lease::"]
async fn nobody_hides_a_commit_in_a_database_that_takes_none() {
    let (_database, settings) = scene().await;
    let client = connect(&settings).await;
    let name = &settings.target.database;
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    client.batch_execute(&read_only).await.unwrap();
    let instance = Instance::new(&settings);
    assert!(!instance.lease.is_free(), "nothing is known yet");
    instance.lease.announce().await;
    until("the lease is free", || instance.lease.is_free()).await;
    assert_eq!(instance.state(), LeaseState::Apart);
    instance.lease.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run.sh --lib lease::"]
async fn a_machine_that_was_suspended_has_no_licence_until_it_has_renewed() {
    let (_database, settings) = scene().await;
    // Nothing is renewed while the test looks.
    let settings = Settings { lease: LeaseTimes { ttl: PATIENCE, ..TIMES }, ..settings };
    let now = Arc::new(Mutex::new(Duration::from_secs(1000)));
    let alone = Instance::with_clock(&settings, Clock::Scripted(Arc::clone(&now)));
    alone.lease.announce().await;
    alone.is_alone().await;
    *now.lock() += PATIENCE - TIMES.margin - Duration::from_nanos(1);
    assert!(alone.lease.is_licensed());
    *now.lock() += Duration::from_nanos(1);
    assert!(!alone.lease.is_licensed());
    alone.lease.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run.sh --lib lease::"]
async fn after_a_clean_end_the_next_start_waits_for_nothing() {
    let (_database, settings) = scene().await;
    // Whoever had to wait would wait for longer than the test may take.
    let settings = Settings { lease: LeaseTimes { ttl: PATIENCE * 60, ..TIMES }, ..settings };
    for _ in 0..3 {
        let alone = Instance::alone(&settings).await;
        alone.lease.leave().await;
        assert_eq!(alone.told(), ["begin", "ends", "ended"]);
        assert!(!alone.lease.is_licensed());
    }
    let client = connect(&settings).await;
    assert_eq!(holder(&client).await, None);
    let left = client.query_one("SELECT count(*) FROM instances", &[]).await.unwrap();
    assert_eq!(left.get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run.sh --lib lease::"]
async fn without_a_cache_the_lease_is_never_taken_but_ended() {
    let (_database, settings) = scene().await;
    let off = Instance::new(&Settings { cache: Cache::Off, ..settings.clone() });
    assert_eq!(off.lease.enter().await.unwrap(), Mode::Shared);
    off.lease.leave().await;
    let alone = Instance::alone(&settings).await;
    let off = Instance::new(&Settings { cache: Cache::Off, ..settings.clone() });
    assert_eq!(off.lease.enter().await.unwrap(), Mode::Shared);
    assert_eq!(alone.told(), ["begin", "ends", "ended"]);
    assert_eq!(off.told(), [""; 0]);
    off.lease.leave().await;
    alone.lease.leave().await;
}

/// A holder that died is waited for and its lease ended by one who never takes any; its slots are fenced.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run.sh --lib lease::"]
async fn the_lease_of_a_dead_holder_is_ended() {
    let (_database, settings) = scene().await;
    let client = connect(&settings).await;
    let dead = register(&client).await;
    client.execute("UPDATE lease SET holder = $1", &[&dead]).await.unwrap();
    client.query_one("SELECT slot FROM claim_alone_slot($1)", &[&dead]).await.unwrap();
    let store = tool(&Settings { cache: Cache::Off, ..settings.clone() }).await;
    let share = store.open_share(&spec()).await.unwrap();
    create(&store, &share, "file").await;
    let left = "SELECT count(*) FROM writer_slots WHERE epoch > 0 AND instance = $1";
    assert_eq!(client.query_one(left, &[&dead]).await.unwrap().get::<_, i64>(0), 0);
    let there = "SELECT count(*) FROM instances WHERE instance = $1";
    assert_eq!(client.query_one(there, &[&dead]).await.unwrap().get::<_, i64>(0), 0);
    store.close().await;
}

/// An instance that was taken for dead, and its row taken out, joins anew at its next claim.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run.sh --lib lease::"]
async fn an_instance_without_a_row_joins_again() {
    let (_database, settings) = scene().await;
    let settings = Settings { lease: LeaseTimes { ttl: PATIENCE, ..TIMES }, ..settings };
    let store = tool(&settings).await;
    let share = store.open_share(&spec()).await.unwrap();
    create(&store, &share, "one").await;
    let client = connect(&settings).await;
    client.execute("DELETE FROM instances", &[]).await.unwrap();
    client.execute("UPDATE writer_slots SET epoch = -epoch WHERE epoch > 0", &[]).await.unwrap();
    create(&store, &share, "two").await;
    let there = client.query_one("SELECT count(*) FROM instances", &[]).await.unwrap();
    assert_eq!(there.get::<_, i64>(0), 1);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run.sh --lib lease::"]
async fn repairs_and_loads_make_the_holder_end_first() {
    let (_database, settings) = scene().await;
    let settings = Settings { lease: LeaseTimes { quiet: PATIENCE, ..TIMES }, ..settings };
    let ended = ["begin", "ends", "ended"];
    let alone = Instance::alone(&settings).await;
    let store = tool(&settings).await;
    store.inconsistencies().await.unwrap();
    assert_eq!(alone.told(), ["begin"], "looking disturbs nobody");
    drop(store.repairer().await.unwrap());
    assert_eq!(alone.told(), ended);
    store.close().await;
    alone.lease.leave().await;

    let alone = Instance::alone(&settings).await;
    let store = tool(&settings).await;
    let (send, receive) = tokio::sync::mpsc::channel(1);
    send.send(Portion::End).await.unwrap();
    let how = LoadHow { name: None, replace: false };
    store.load(&how, receive).await.unwrap();
    assert_eq!(alone.told(), ended);
    store.close().await;
    alone.lease.leave().await;
}

/// Slots of the holder's own process are fenced with all others; its connections claim new ones when the
/// lease is over.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run.sh --lib lease::"]
async fn connections_claim_anew_after_a_lease() {
    let (_database, settings) = scene().await;
    let settings = Settings { max_connections: 1, ..settings };
    let store = tool(&settings).await;
    let share = store.open_share(&spec()).await.unwrap();
    create(&store, &share, "one").await;
    let client = connect(&settings).await;
    let pid = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = 19790
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let before: Vec<i32> =
        client.query(pid, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    client.execute("UPDATE writer_slots SET epoch = -epoch WHERE epoch > 0", &[]).await.unwrap();
    store.lease.inner.generation.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
    create(&store, &share, "two").await;
    let after: Vec<i32> =
        client.query(pid, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!((before.len(), &before), (1, &after), "the same connection has one slot's lock");
    store.close().await;
}
