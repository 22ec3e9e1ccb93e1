//! The limits of the pool: each does what its name says.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use trunkfs::metadata::postgres::{LeaseTimes, PostgresStore, Settings};
use trunkfs::metadata::{Catalog as _, CreateHow, Error, MetadataStore as _, Namespace as _};
use trunkfs::types::ObjectId;

use crate::database::{TestDatabase, connect};
use crate::proxy::Proxy;
use crate::support::{CALL_LIMIT, Fixture, mode, name, share_spec, until, until_one_of};

const OURS: &str = "application_name = 'trunkfs'";

/// A store with other limits than the usual.
async fn with(change: impl FnOnce(&mut Settings)) -> Fixture {
    let database = TestDatabase::create().await;
    let mut settings = database.settings();
    change(&mut settings);
    Fixture::on(settings, database).await
}

/// So many directories.
async fn directories(fixture: &Fixture, count: usize) -> Vec<ObjectId> {
    let mut directories = Vec::new();
    for index in 0..count {
        let name = format!("directory-{index}");
        directories.push(fixture.directory(fixture.root(), &name).await.id);
    }
    directories
}

/// Creates, one in each directory, that all wait for a lock; they go on when the transaction ends.
fn waiting(fixture: &Arc<Fixture>, directories: Vec<ObjectId>) -> Vec<tokio::task::JoinHandle<()>> {
    let creates = directories.into_iter().map(|directory| {
        let fixture = Arc::clone(fixture);
        tokio::spawn(async move {
            let how = CreateHow::Guarded(mode(0o644));
            let (cx, name) = (fixture.cx(), name("file"));
            fixture.store.create(&cx, directory, &name, &how).await.unwrap();
        })
    });
    creates.collect()
}

/// Of every directory.
const LOCK: &str = "SELECT FROM files WHERE file_type = 2 FOR UPDATE";

#[tokio::test(flavor = "multi_thread")]
async fn min_conns_are_made_ahead_and_made_again() {
    let fixture = with(|settings| settings.min_connections = 3).await;
    // A call may make one beside those.
    until_one_of(&fixture.database, "three are made ahead", OURS, 3..=4).await;
    let client = connect(&fixture.database.settings()).await;
    for some in ["ORDER BY backend_start LIMIT 2", ""] {
        let end = format!(
            "SELECT pg_terminate_backend(pid, 10000) FROM (SELECT pid FROM pg_stat_activity
              WHERE datname = current_database() AND {OURS} {some}) ended"
        );
        client.execute(&end, &[]).await.unwrap();
        until_one_of(&fixture.database, "what ended is made again", OURS, 3..=4).await;
    }
    fixture.file(fixture.root(), "file").await;
}

/// The pool of an open store gets other sizes, while calls wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn max_conns_is_changed_while_the_store_is_open() {
    let fixture = with(|settings| {
        settings.max_connections = 2;
        settings.min_connections = 0;
    });
    let fixture = Arc::new(fixture.await);
    let resized = |most: usize| {
        let new = Settings { max_connections: most, ..fixture.database.settings() };
        Settings { max_connections: 2, ..fixture.database.settings() }.taking(&new)
    };
    let directories = directories(&fixture, 6).await;
    let mut blocker = connect(&fixture.database.settings()).await;
    let lock = blocker.transaction().await.unwrap();
    lock.execute(LOCK, &[]).await.unwrap();
    let creates = waiting(&fixture, directories);
    until(&fixture.database, "a mutation waits", "wait_event_type = 'Lock'", 1).await;
    // More: a quarter of them is left to reads.
    let more = resized(8);
    fixture.store.try_settings(&more).await.unwrap();
    fixture.store.renew(&more);
    until(&fixture.database, "all mutations wait", "wait_event_type = 'Lock'", 6).await;
    // Fewer: they keep what they have, and give it up afterwards.
    fixture.store.renew(&resized(1));
    lock.commit().await.unwrap();
    for create in creates {
        create.await.unwrap();
    }
    until_one_of(&fixture.database, "surplus connections are closed", OURS, 1..=3).await;
    fixture.file(fixture.root(), "one").await;
    let refused = fixture.store.try_settings(&resized(100_000)).await.unwrap_err();
    let Error::Backend(why) = &refused else { panic!("{refused:?}") };
    assert!(why.to_string().contains("max_conns is 100000"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn max_conns_is_never_passed_and_reads_have_their_own() {
    let fixture = with(|settings| {
        settings.max_connections = 4;
        settings.min_connections = 1;
    });
    let fixture = Arc::new(fixture.await);
    let directories = directories(&fixture, 8).await;
    let mut blocker = connect(&fixture.database.settings()).await;
    let lock = blocker.transaction().await.unwrap();
    lock.execute(LOCK, &[]).await.unwrap();
    let creates = waiting(&fixture, directories);
    until(&fixture.database, "mutations wait", "wait_event_type = 'Lock'", 3).await;
    // The last connection is the reads', which would wait as long as the lock is held.
    for _ in 0..20 {
        fixture.store.getattr(&fixture.cx(), fixture.root()).await.unwrap();
    }
    // A session that began the store may be about to end.
    until(&fixture.database, "no more than max_conns", OURS, 4).await;
    lock.commit().await.unwrap();
    for create in creates {
        create.await.unwrap();
    }
    fixture.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_ones_are_closed() {
    let fixture = with(|settings| {
        settings.max_connections = 4;
        settings.min_connections = 1;
        settings.max_idle_time = Duration::from_millis(500);
    });
    let fixture = Arc::new(fixture.await);
    let directories = directories(&fixture, 3).await;
    let mut blocker = connect(&fixture.database.settings()).await;
    let lock = blocker.transaction().await.unwrap();
    lock.execute(LOCK, &[]).await.unwrap();
    let creates = waiting(&fixture, directories);
    until(&fixture.database, "mutations wait", "wait_event_type = 'Lock'", 3).await;
    lock.commit().await.unwrap();
    for create in creates {
        create.await.unwrap();
    }
    until(&fixture.database, "idle ones are closed", OURS, 1).await;
    fixture.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn max_lifetime_closes_connections_in_use_too() {
    let fixture = with(|settings| {
        settings.max_connections = 2;
        settings.min_connections = 2;
        settings.max_lifetime = Duration::from_millis(300);
    });
    let fixture = fixture.await;
    let client = connect(&fixture.database.settings()).await;
    let pids = format!(
        "SELECT coalesce(array_agg(pid), '{{}}') FROM pg_stat_activity
          WHERE datname = current_database() AND {OURS}"
    );
    let pids = async || client.query_one(&pids, &[]).await.unwrap().get::<_, Vec<i32>>(0);
    let before = pids().await;
    let limit = Instant::now() + CALL_LIMIT;
    while pids().await.iter().any(|pid| before.contains(pid)) {
        assert!(Instant::now() < limit, "{before:?}, then {:?}", pids().await);
        fixture.store.getattr(&fixture.cx(), fixture.root()).await.unwrap();
    }
    until_one_of(&fixture.database, "others are made", OURS, 1..=2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acquire_timeout_bounds_the_wait_for_a_connection() {
    // Making the first one has no more time either.
    const LIMIT: Duration = Duration::from_secs(3);
    let fixture = with(|settings| {
        settings.max_connections = 1;
        settings.acquire_timeout = LIMIT;
        // Nor does the wait for the lock end meanwhile, which is shorter than a statement.
        settings.statement_timeout = LIMIT * 20;
    });
    let fixture = Arc::new(fixture.await);
    let directories = directories(&fixture, 1).await;
    let mut blocker = connect(&fixture.database.settings()).await;
    let lock = blocker.transaction().await.unwrap();
    lock.execute(LOCK, &[]).await.unwrap();
    let creates = waiting(&fixture, directories);
    until(&fixture.database, "a mutation waits", "wait_event_type = 'Lock'", 1).await;
    let start = Instant::now();
    // The connection is in use for as long as the lock is held.
    let error = fixture.store.getattr(&fixture.cx(), fixture.root()).await.unwrap_err();
    let took = start.elapsed();
    let Error::Unavailable(source) = error else { panic!("{error:?}") };
    let text = source.to_string();
    assert!(text.contains("within 3s (acquire_timeout): all 1 are in use (max_conns)"), "{text}");
    assert!(took >= LIMIT, "{took:?}");
    lock.commit().await.unwrap();
    for create in creates {
        create.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statement_timeout_ends_what_takes_longer() {
    // Every other statement has no more time either.
    const LIMIT: Duration = Duration::from_secs(2);
    let fixture = with(|settings| settings.statement_timeout = LIMIT).await;
    let client = connect(&fixture.database.settings()).await;
    // A sequence remembers what a rollback forgets: the first insert hangs, the next does not.
    client
        .batch_execute(
            "CREATE SEQUENCE tries;
             CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF nextval('tries') = 1 THEN PERFORM pg_sleep(3600); END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER hang BEFORE INSERT ON parent_child_map FOR EACH ROW EXECUTE FUNCTION hang()",
        )
        .await
        .unwrap();
    let start = Instant::now();
    fixture.file(fixture.root(), "file").await;
    let took = start.elapsed();
    assert!(took >= LIMIT, "{took:?}");
    let tries: i64 = client.query_one("SELECT last_value FROM tries", &[]).await.unwrap().get(0);
    assert!(tries >= 2, "{tries}");
    fixture.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_checks_drop_connections_that_do_not_answer() {
    let database = TestDatabase::create().await;
    let proxy = Proxy::before(&database.settings()).await;
    let mut settings = proxy.settings(&database.settings());
    settings.min_connections = 2;
    settings.health_check_period = Duration::from_millis(300);
    // An idle connection has no more time to answer, and a new one none to be made.
    settings.connect_timeout = Duration::from_secs(3);
    let store = PostgresStore::connect(settings).await.unwrap();
    store.open_share(&share_spec()).await.unwrap();
    until_one_of(&database, "two are made ahead", OURS, 2..=3).await;
    let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                  AND application_name = 'trunkfs' AND backend_start > $1::text::timestamptz";
    let client = connect(&database.settings()).await;
    let now: String = client.query_one("SELECT now()::text", &[]).await.unwrap().get(0);
    // What runs hears nothing any more, as behind a firewall that forgot it; what is made anew goes through.
    proxy.silence();
    let limit = Instant::now() + CALL_LIMIT;
    while client.query_one(count, &[&now]).await.unwrap().get::<_, i64>(0) < 2 {
        assert!(Instant::now() < limit, "the silent connections stay");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store.shares().await.unwrap();
    store.close().await;
}

/// A connection of the lease that never answers is given up, and another is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_does_not_wait_for_a_silent_connection() {
    let database = TestDatabase::create().await;
    let proxy = Proxy::before(&database.settings()).await;
    let mut settings = proxy.settings(&database.settings());
    settings.connect_timeout = Duration::from_secs(3);
    // A connection that was lost is found by the next renewal.
    settings.lease = LeaseTimes::default();
    let fixture = Fixture::on(settings, database).await;
    let lease = "application_name = 'trunkfs lease'";
    until(&fixture.database, "it has one", lease, 1).await;
    proxy.silence_next_lease();
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = current_database() AND {lease}"
    );
    connect(&fixture.database.settings()).await.batch_execute(&end).await.unwrap();
    let limit = Instant::now() + CALL_LIMIT;
    while proxy.silent_leases() > 0 {
        assert!(Instant::now() < limit, "no other connection is made");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until(&fixture.database, "another is made", lease, 1).await;
    fixture.file(fixture.root(), "file").await;
    fixture.sound().await;
}

/// Many calls of one client and then a single one of another, all for one connection: the single one is among
/// the first.
#[tokio::test(flavor = "multi_thread")]
async fn clients_take_turns_at_connections() {
    use futures_util::FutureExt as _;
    use futures_util::stream::{FuturesUnordered, StreamExt as _};
    use trunkfs::types::{Call, Context};

    const CALLS: usize = 100;
    let fixture = Arc::new(
        with(|settings| {
            settings.max_connections = 1;
            settings.min_connections = 1;
        })
        .await,
    );
    let directories = directories(&fixture, 1).await;
    let mut blocker = connect(&fixture.database.settings()).await;
    let lock = blocker.transaction().await.unwrap();
    lock.execute(LOCK, &[]).await.unwrap();
    let creates = waiting(&fixture, directories);
    until(&fixture.database, "the connection waits", "wait_event_type = 'Lock'", 1).await;
    let from = |host: u8| {
        let call = Call::of_client(([10, 0, 0, host], 700).into(), CALL_LIMIT);
        Context { call, ..fixture.cx() }
    };
    let (crowd, single) = (from(1), from(2));
    let mut calls: Vec<_> = (0..=CALLS)
        .map(|number| {
            let cx = if number == CALLS { &single } else { &crowd };
            let read = fixture.store.getattr(cx, fixture.root());
            read.map(move |found| found.map(|_| number))
        })
        .collect();
    assert!(calls.iter_mut().all(|call| call.now_or_never().is_none()), "no connection is free");
    lock.commit().await.unwrap();
    let mut calls: FuturesUnordered<_> = calls.into_iter().collect();
    let mut before = 0;
    while calls.next().await.unwrap().unwrap() != CALLS {
        before += 1;
    }
    assert!(before < 10, "after {before} calls of the other client");
    while let Some(read) = calls.next().await {
        read.unwrap();
    }
    for create in creates {
        create.await.unwrap();
    }
}
