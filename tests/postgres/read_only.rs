//! A database that turns read-only while it is served, or is so from the start, and takes changes again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use trunkfs::metadata::postgres::{Cache, PostgresStore, Settings};
use trunkfs::metadata::{
    CreateHow, Error, Invariants as _, MetadataStore as _, Namespace as _, Share,
};

use crate::alone::{self, until_alone};
use crate::cluster::Cluster;
use crate::database::{TestDatabase, connect};
use crate::proxy::Proxy;
use crate::support::{CALL_LIMIT, Fixture, context, mode, name, share_spec, until};

impl Fixture {
    /// What new sessions may do.
    async fn set_default_read_only(&self, read_only: bool) {
        let database = self.database.settings().target.database;
        let value = if read_only { "on" } else { "off" };
        self.run(&format!("ALTER DATABASE {database} SET default_transaction_read_only = {value}"))
            .await;
    }

    async fn end_sessions(&self) {
        self.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE datname = current_database() AND application_name LIKE 'trunkfs%'",
        )
        .await;
    }

    /// What all sessions may do.
    async fn set_read_only(&self, read_only: bool) {
        self.set_default_read_only(read_only).await;
        if read_only {
            self.end_sessions().await;
        }
    }

    /// Waits until changes are made again.
    async fn writable(&self, entry: &str) {
        let limit = Instant::now() + CALL_LIMIT;
        while let Err(error) = self.try_create(entry).await {
            assert!(matches!(error, Error::ReadOnly(_)), "{error:?}");
            assert!(Instant::now() < limit, "it stays read-only");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_database_is_read_until_it_takes_changes_again() {
    let fixture = Fixture::new().await;
    fixture.file(fixture.root(), "before").await;
    fixture.set_read_only(true).await;
    for round in 0..3 {
        let error = fixture.try_create("refused").await.unwrap_err();
        assert!(matches!(error, Error::ReadOnly(_)), "{round}: {error:?}");
        assert!(fixture.is_there("before").await && !fixture.is_there("refused").await);
    }

    // So does an instance that starts now.
    let late = PostgresStore::connect(fixture.database.settings()).await.unwrap();
    assert_eq!(late.open_share(&share_spec()).await.unwrap(), fixture.share);
    late.getattr(&fixture.cx(), fixture.root()).await.unwrap();

    fixture.set_read_only(false).await;
    fixture.writable("after").await;
    // Its connection is younger.
    let limit = Instant::now() + CALL_LIMIT;
    let (directory, set) = (name("late"), mode(0o755));
    while let Err(refusal) = late.mkdir(&fixture.cx(), fixture.root(), &directory, &set).await {
        assert!(matches!(refusal.error, Error::ReadOnly(_)), "{:?}", refusal.error);
        assert!(Instant::now() < limit, "it stays read-only");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fixture.sound().await;
}

/// A session that was read-write and is read-only now, as one to a former primary behind a proxy is.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_that_turned_read_only_is_replaced() {
    let fixture = Fixture::new().await;
    fixture.file(fixture.root(), "warm").await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    // Raised for the session that is there, and not for those that follow.
    fixture
        .run(
            "CREATE TABLE demoted AS SELECT pid FROM pg_stat_activity
              WHERE datname = current_database() AND application_name = 'trunkfs';
             CREATE FUNCTION refuse_demoted() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF EXISTS (SELECT FROM demoted WHERE pid = pg_backend_pid()) THEN
                     RAISE 'demoted' USING ERRCODE = 'read_only_sql_transaction';
                 END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER refuse_demoted BEFORE INSERT ON files
                 FOR EACH ROW EXECUTE FUNCTION refuse_demoted()",
        )
        .await;
    fixture.try_create("after").await.unwrap();
    fixture.sound().await;
}

/// Makes files one after another until it is over; whether each was made. A refused one was not.
async fn creating(
    store: &PostgresStore,
    share: &Share,
    task: usize,
    over: &AtomicBool,
) -> BTreeMap<String, bool> {
    let (how, mut known) = (CreateHow::Guarded(mode(0o644)), BTreeMap::new());
    for round in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let entry = format!("{task}-{round}");
        let created = store.create(&context(share.id), share.root, &name(&entry), &how).await;
        match &created {
            Ok(_) => {}
            Err(refusal) => {
                let told = matches!(refusal.error, Error::ReadOnly(_) | Error::Unavailable(_));
                assert!(told, "{:?}", refusal.error);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        known.insert(entry, created.is_ok());
    }
    known
}

/// Has tasks change a store that is alone with its database while that turns read-only and back, and compares
/// the namespace with what they were answered.
async fn changes_are_refused_and_come_back(
    store: PostgresStore,
    share: Share,
    set_read_only: impl AsyncFn(bool),
) {
    until_alone(&store).await;
    let (store, over) = (Arc::new(store), Arc::new(AtomicBool::new(false)));
    let mut tasks = JoinSet::new();
    for task in 0..24 {
        let (store, share, over) = (store.clone(), share.clone(), over.clone());
        tasks.spawn(async move { creating(&store, &share, task, &over).await });
    }
    let (how, limit) = (CreateHow::Unchecked(mode(0o644)), Instant::now() + CALL_LIMIT);
    let probe = async |entry: &str| {
        let created = store.create(&context(share.id), share.root, &name(entry), &how).await;
        created.map(drop).map_err(|refusal| refusal.error)
    };
    for turn in 0..3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        set_read_only(true).await;
        while !matches!(probe("refused").await, Err(Error::ReadOnly(_))) {
            assert!(Instant::now() < limit, "{turn}: changes are not refused");
        }
        store.getattr(&context(share.id), share.root).await.unwrap();
        store.lookup(&context(share.id), share.root, &name("0-0")).await.unwrap();
        let began = Instant::now();
        let refusal = probe("refused").await.unwrap_err();
        assert!(matches!(refusal, Error::ReadOnly(_)), "{turn}: {refusal:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{turn}: {:?}", began.elapsed());
        set_read_only(false).await;
        while probe("after").await.is_err() {
            assert!(Instant::now() < limit, "{turn}: changes stay refused");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        until_alone(&store).await;
    }
    over.store(true, Ordering::Relaxed);
    let mut made = 0;
    for known in tasks.join_all().await {
        for (entry, is_there) in known {
            let found = store.lookup(&context(share.id), share.root, &name(&entry)).await.unwrap();
            assert_eq!(found.object.is_some(), is_there, "{entry}");
            made += usize::from(is_there);
        }
    }
    assert!(made > 0);
    assert_eq!(store.inconsistencies().await.unwrap(), Vec::<String>::new());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_alone_refuses_changes_while_new_sessions_are_read_only() {
    let database = TestDatabase::create().await;
    let settings = alone::settings(database.settings());
    let fixture = Fixture::on(settings.clone(), database).await;
    let store = PostgresStore::connect(settings).await.unwrap();
    fixture.store.close().await;
    changes_are_refused_and_come_back(store, fixture.share.clone(), async |read_only| {
        fixture.set_read_only(read_only).await;
    })
    .await;
}

/// Sessions stay, and turn read-only between two batches.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_alone_refuses_changes_while_its_own_sessions_are_read_only() {
    let cluster = Cluster::start(&[]).await;
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", cluster.port);
    let settings = Settings { auto_migrate: true, ..Settings::from_url(&url).unwrap() };
    let store = PostgresStore::connect(alone::settings(settings)).await.unwrap();
    let share = store.open_share(&share_spec()).await.unwrap();
    changes_are_refused_and_come_back(store, share, async |read_only| {
        let value = if read_only { "on" } else { "off" };
        cluster.sql(&format!("ALTER SYSTEM SET default_transaction_read_only = {value}")).await;
        cluster.reload().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_on_a_read_only_database_is_alone_once_it_takes_changes() {
    let fixture = Fixture::new().await;
    fixture.file(fixture.root(), "before").await;
    fixture.store.close().await;
    fixture.set_read_only(true).await;
    let Fixture { share, database, .. } = fixture;
    let store = PostgresStore::connect(alone::settings(database.settings())).await.unwrap();
    assert_eq!(store.open_share(&share_spec()).await.unwrap(), share);
    let fixture = Fixture { store, share, database };
    for _ in 0..3 {
        let error = fixture.try_create("refused").await.unwrap_err();
        assert!(matches!(error, Error::ReadOnly(_)), "{error:?}");
        assert!(fixture.is_there("before").await && !fixture.is_there("refused").await);
        assert!(!fixture.store.is_alone());
    }
    fixture.set_read_only(false).await;
    fixture.writable("after").await;
    until_alone(&fixture.store).await;
    fixture.file(fixture.root(), "alone").await;
    fixture.sound().await;
}

/// A change is under way when the database turns read-only and the connection ends. Whether it was applied is
/// found out without a change of a row.
#[tokio::test(flavor = "multi_thread")]
async fn the_outcome_of_a_lost_change_is_read_from_a_read_only_database() {
    for (cache, is_applied) in
        [(Cache::Auto, true), (Cache::Auto, false), (Cache::Off, true), (Cache::Off, false)]
    {
        let database = TestDatabase::create().await;
        let proxy = Proxy::before(&database.settings()).await;
        let settings = Settings { cache, ..alone::settings(proxy.settings(&database.settings())) };
        let fixture = Fixture::on(settings, database).await;
        if cache == Cache::Auto {
            until_alone(&fixture.store).await;
        }
        fixture.file(fixture.root(), "before").await;
        let mut blocker = connect(&fixture.database.settings()).await;
        let lock = blocker.transaction().await.unwrap();
        let root = fixture.root().0;
        lock.execute("SELECT FROM files WHERE id = $1 FOR UPDATE", &[&root]).await.unwrap();
        let meanwhile = async {
            let waits = "wait_event_type = 'Lock' AND application_name = 'trunkfs'";
            until(&fixture.database, "a change waits", waits, 1).await;
            proxy.silence();
            fixture.set_default_read_only(true).await;
            if is_applied {
                lock.commit().await.unwrap();
                until(&fixture.database, "the change has ended", waits, 0).await;
                let looking = connect(&fixture.database.settings()).await;
                let made = "SELECT count(*) FROM parent_child_map WHERE child_name = 'during'";
                let limit = Instant::now() + CALL_LIMIT;
                while looking.query_one(made, &[]).await.unwrap().get::<_, i64>(0) == 0 {
                    assert!(Instant::now() < limit, "the change is not applied");
                }
                fixture.end_sessions().await;
            } else {
                fixture.end_sessions().await;
                until(&fixture.database, "the change has ended", waits, 0).await;
                lock.rollback().await.unwrap();
            }
        };
        let (created, ()) = tokio::join!(fixture.try_create("during"), meanwhile);
        match (is_applied, &created) {
            (true, Ok(_)) | (false, Err(Error::ReadOnly(_))) => {}
            _ => panic!("{cache:?}, applied: {is_applied}: {created:?}"),
        }
        assert_eq!(fixture.is_there("during").await, is_applied, "{cache:?}");
        fixture.set_default_read_only(false).await;
        fixture.writable("after").await;
        fixture.sound().await;
    }
}
