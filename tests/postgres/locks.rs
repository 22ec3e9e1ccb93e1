//! Locks of several servers on one database, and calls whose connection is lost.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkfs::metadata::postgres::{Cache, PostgresStore, Settings};
use trunkfs::metadata::{
    CreateHow, Error, Freed, LockBytes, LockClient, LockFilter, LockHolder, LockKind, LockOutcome,
    LockOwner, LockRange, LockRecord, LockRecords as _, LockRequest, LockStanding, Locks as _,
    MetadataStore as _, Namespace as _, Settled, Tidied, Transport, WaitHow, WhichClients,
};
use trunkfs::types::{Call, ObjectId};

use crate::cluster::Cluster;
use crate::database::connect;
use crate::proxy::{Cut, Proxy};
use crate::support::{CALL_LIMIT, Fixture, context, mode, name, share_spec, until};

/// Waits for a file's turn, as `pg_stat_activity` has it.
const WAITS: &str = "wait_event_type = 'Lock' AND wait_event = 'advisory'";
/// How many times two calls meet.
const CROSSINGS: usize = 25;

fn call() -> Call {
    Call::internal(CALL_LIMIT)
}

fn bytes(text: &str) -> LockBytes {
    LockBytes::new(text.as_bytes()).unwrap()
}

fn owner(svid: i32) -> LockOwner {
    let address = IpAddr::from([192, 0, 2, 1]);
    LockOwner { client: Arc::new(LockClient::new(address, bytes("c"), "s".into())), svid }
}

fn request(file: ObjectId, svid: i32) -> LockRequest {
    LockRequest {
        file,
        owner: owner(svid),
        range: LockRange::WHOLE,
        kind: LockKind::Exclusive,
        oh: bytes("oh"),
        state: 7,
    }
}

fn how() -> WaitHow {
    let local = IpAddr::from([192, 0, 2, 9]);
    WaitHow { handle: bytes("handle"), version: 4, transport: Transport::Udp, local }
}

async fn lock(store: &PostgresStore, file: ObjectId, svid: i32) -> LockOutcome {
    store.lock(&call(), &request(file, svid), None).await.unwrap()
}

async fn wait(store: &PostgresStore, file: ObjectId, svid: i32) -> LockOutcome {
    store.lock(&call(), &request(file, svid), Some(&how())).await.unwrap()
}

async fn unlock(store: &PostgresStore, file: ObjectId, svid: i32) {
    store.unlock(&call(), file, &owner(svid), LockRange::WHOLE).await.unwrap();
}

async fn records(store: &PostgresStore) -> Vec<LockRecord> {
    store.list_locks(&LockFilter::default(), None, 1000).await.unwrap()
}

/// A store, another of the same database, and a file.
async fn two() -> (Fixture, PostgresStore, ObjectId) {
    let fixture = Fixture::new().await;
    let other = PostgresStore::connect(fixture.database.settings()).await.unwrap();
    let file = fixture.file(fixture.root(), "f").await.id;
    (fixture, other, file)
}

/// A connection that has a file's turn.
async fn turn(settings: &Settings, file: ObjectId) -> tokio_postgres::Client {
    let client = connect(settings).await;
    let held = "SELECT pg_advisory_lock(19795, uuid_hash($1))";
    client.execute(held, &[&file.0]).await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_see_each_others_locks() {
    let (fixture, other, file) = two().await;
    let store = &fixture.store;
    assert_eq!(lock(store, file, 1).await, LockOutcome::Granted);
    assert_eq!(lock(&other, file, 2).await, LockOutcome::Denied);
    let holder =
        LockHolder { kind: LockKind::Exclusive, svid: 1, oh: bytes("oh"), range: LockRange::WHOLE };
    assert_eq!(other.test_lock(&call(), &request(file, 2)).await.unwrap(), Some(holder));
    // The same owner by the other server: it has taken over the address.
    assert_eq!(lock(&other, file, 1).await, LockOutcome::Granted);
    assert_eq!(records(store).await, records(&other).await);
    assert_eq!(records(store).await.len(), 1);
    unlock(&other, file, 1).await;
    assert_eq!(lock(&other, file, 2).await, LockOutcome::Granted);
    assert_eq!(lock(store, file, 1).await, LockOutcome::Denied);
    other.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_frees_wakes_waiters_of_another() {
    let (fixture, other, file) = two().await;
    let store = &fixture.store;
    for round in 0..3 {
        assert_eq!(lock(store, file, 1).await, LockOutcome::Granted, "round {round}");
        assert_eq!(wait(&other, file, 2).await, LockOutcome::Blocked);
        assert_eq!(store.reserve(&call(), file, 10).await.unwrap(), [], "they are another's");
        unlock(store, file, 1).await;
        let began = Instant::now();
        assert_eq!(other.woken().await, [file]);
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        let reserved = other.reserve(&call(), file, 10).await.unwrap().remove(0);
        assert_eq!(reserved.owner, owner(2));
        // Whichever server the client's answer comes to.
        let settled = store.settle(&call(), reserved.cookie, true).await.unwrap();
        assert_eq!(settled, Settled::Merged);
        unlock(store, file, 2).await;
    }
    // A poll to the first takes the waiter over.
    assert_eq!(lock(store, file, 1).await, LockOutcome::Granted);
    assert_eq!(wait(&other, file, 2).await, LockOutcome::Blocked);
    assert_eq!(wait(store, file, 2).await, LockOutcome::Blocked);
    unlock(&other, file, 1).await;
    assert_eq!(store.woken().await, [file]);
    assert_eq!(other.reserve(&call(), file, 10).await.unwrap(), []);
    assert_eq!(store.reserve(&call(), file, 10).await.unwrap().len(), 1);
    other.close().await;
    assert_eq!(other.woken().await, [], "a closed store says so");
}

/// Two that begin to wait for each other at once, on two servers and two files: one waits, one is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_that_cross_one_is_refused() {
    let (fixture, other, f) = two().await;
    let g = fixture.file(fixture.root(), "g").await.id;
    let (store, other) = (Arc::new(fixture.store), Arc::new(other));
    for round in 0..CROSSINGS {
        assert_eq!(lock(&store, f, 1).await, LockOutcome::Granted);
        assert_eq!(lock(&other, g, 2).await, LockOutcome::Granted);
        let (one, two) = (Arc::clone(&store), Arc::clone(&other));
        let one = tokio::spawn(async move { wait(&one, g, 1).await });
        let two = tokio::spawn(async move { wait(&two, f, 2).await });
        let mut outcomes = [one.await.unwrap(), two.await.unwrap()];
        outcomes.sort_by_key(|outcome| *outcome == LockOutcome::Deadlock);
        assert_eq!(outcomes, [LockOutcome::Blocked, LockOutcome::Deadlock], "round {round}");
        for (file, svid) in [(f, 1), (f, 2), (g, 1), (g, 2)] {
            unlock(&store, file, svid).await;
        }
        assert_eq!(records(&store).await, []);
    }
    other.close().await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_outlive_connections_and_servers() {
    let (fixture, other, file) = two().await;
    let store = &fixture.store;
    assert_eq!(lock(&other, file, 1).await, LockOutcome::Granted);
    assert_eq!(wait(&other, file, 2).await, LockOutcome::Blocked);
    let client = connect(&fixture.database.settings()).await;
    let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    client.execute(all, &[]).await.unwrap();
    assert_eq!(lock(store, file, 3).await, LockOutcome::Denied);
    unlock(&other, file, 1).await;
    assert_eq!(other.woken().await, [file]);
    let reserved = other.reserve(&call(), file, 10).await.unwrap().remove(0);
    // Its server ends before the client has answered: the client may have taken it.
    let nothing = store.tidy_locks(&call(), CALL_LIMIT, None).await.unwrap();
    assert_eq!(nothing, Tidied::default(), "the server is there");
    let instance = records(store).await[0].instance.unwrap();
    other.close().await;
    // As servers do once it has been silent for long: it could not take leave of the database.
    client.execute("DELETE FROM instances WHERE instance = $1", &[&instance]).await.unwrap();
    let merged = store.tidy_locks(&call(), CALL_LIMIT, None).await.unwrap();
    assert_eq!(merged, Tidied { merged: 1, ..Tidied::default() });
    let records = records(store).await;
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].standing, &records[0].owner), (LockStanding::Held, &owner(2)));
    let late = store.settle(&call(), reserved.cookie, false).await.unwrap();
    assert_eq!(late, Settled::Unknown);
}

/// An UNLOCK whose session is lost is made again once that has ended, and not before.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_session_is_lost_is_made_again() {
    let fixture = Fixture::new().await;
    let (store, file) = (&fixture.store, fixture.file(fixture.root(), "f").await.id);
    assert_eq!(lock(store, file, 1).await, LockOutcome::Granted);
    let turn = turn(&fixture.database.settings(), file).await;
    let unlocking = unlock(store, file, 1);
    tokio::pin!(unlocking);
    let lost = async {
        until(&fixture.database, "the unlock waits", WAITS, 1).await;
        let waiting = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE datname = current_database() AND {WAITS}"
        );
        turn.execute(&waiting, &[]).await.unwrap();
        until(&fixture.database, "it waits again", WAITS, 1).await;
    };
    tokio::select! {
        () = &mut unlocking => panic!("it did not wait for its turn"),
        () = lost => {}
    }
    assert_eq!(records(store).await.len(), 1);
    drop(turn);
    unlocking.await;
    assert_eq!(records(store).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_answer_is_lost_is_answered_as_it_was() {
    let plain = Fixture::new().await;
    let file = plain.file(plain.root(), "f").await.id;
    for cut in [Cut::BeforeTheCall, Cut::BeforeTheAnswer] {
        let proxy = Proxy::before(&plain.database.settings()).await;
        let mut settings = proxy.settings(&plain.database.settings());
        settings.max_connections = 2;
        let store = PostgresStore::connect(settings).await.unwrap();
        // What the connections have to prepare.
        for _ in 0..8 {
            assert_eq!(lock(&store, file, 1).await, LockOutcome::Granted);
            unlock(&store, file, 1).await;
        }
        proxy.arm(0, cut);
        assert_eq!(lock(&store, file, 1).await, LockOutcome::Granted);
        assert_eq!(proxy.cuts(), 1);
        assert_eq!(records(&plain.store).await.len(), 1);
        proxy.arm(0, cut);
        unlock(&store, file, 1).await;
        assert_eq!(records(&plain.store).await, []);
        store.close().await;
    }
}

/// A call that is over before it has its turn changes nothing, by the database's clock.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_late_changes_nothing() {
    let fixture = Fixture::new().await;
    let (store, file) = (&fixture.store, fixture.file(fixture.root(), "f").await.id);
    assert_eq!(lock(store, file, 1).await, LockOutcome::Granted);
    let turn = turn(&fixture.database.settings(), file).await;
    let limit = Duration::from_secs(1);
    let short = Call::internal(limit);
    let (owner, began) = (owner(1), Instant::now());
    let unlocking = store.unlock(&short, file, &owner, LockRange::WHOLE);
    let late = async {
        until(&fixture.database, "the unlock waits", WAITS, 1).await;
        tokio::time::sleep(limit.saturating_sub(began.elapsed())).await;
        drop(turn);
    };
    let (unlocked, ()) = tokio::join!(unlocking, late);
    assert!(matches!(unlocked, Err(Error::Cancelled)), "{unlocked:?}");
    assert_eq!(records(store).await.len(), 1);
}

/// On a server that writes its log to the disk when it is told to only.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_locks_outlive_a_crash_of_the_database() {
    let mut cluster = Cluster::start(&["wal_writer_delay=10s", "autovacuum=off"]).await;
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", cluster.port);
    let settings =
        Settings { auto_migrate: true, cache: Cache::Off, ..Settings::from_url(&url).unwrap() };
    let store = PostgresStore::connect(settings).await.unwrap();
    let share = store.open_share(&share_spec()).await.unwrap();
    let how_made = CreateHow::Guarded(mode(0o644));
    let mut files = Vec::new();
    for text in ["f", "g"] {
        let cx = context(share.id);
        let made = store.create(&cx, share.root, &name(text), &how_made).await.unwrap();
        files.push(made.object.id);
    }
    for (file, svid) in [(files[0], 1), (files[1], 2)] {
        assert_eq!(lock(&store, file, svid).await, LockOutcome::Granted);
    }
    assert_eq!(wait(&store, files[1], 3).await, LockOutcome::Blocked);
    for restart in 0..3 {
        cluster.stop();
        cluster.run().await;
        let there: Vec<_> = records(&store)
            .await
            .iter()
            .map(|record| (record.file, record.owner.svid, record.standing))
            .collect();
        let [f, g] = files[..] else { panic!("two files") };
        // What was acknowledged last before each crash.
        match restart {
            0 => {
                let all = [
                    (f, 1, LockStanding::Held),
                    (g, 2, LockStanding::Held),
                    (g, 3, LockStanding::Waiting),
                ];
                assert_eq!(there, all);
                unlock(&store, f, 1).await;
                unlock(&store, g, 2).await;
            }
            1 => {
                assert_eq!(there, [(g, 3, LockStanding::Waiting)]);
                assert_eq!(store.woken().await, [g]);
                let reserved = store.reserve(&call(), g, 10).await.unwrap();
                assert_eq!(reserved.len(), 1);
            }
            _ => assert_eq!(there, [(g, 3, LockStanding::Reserved)]),
        }
    }
    store.close().await;
}

/// Plans that were made on empty tables read no more than they must when these are full.
#[tokio::test(flavor = "multi_thread")]
async fn no_plan_reads_all_locks() {
    const ROWS: i64 = 100_000;
    const MOST_READ: i64 = 3_000;
    let fixture = Fixture::new().await;
    let client = connect(&fixture.database.settings()).await;
    let (store, file) = (&fixture.store, fixture.file(fixture.root(), "f").await.id);
    let round = async || {
        assert_eq!(lock(store, file, 1).await, LockOutcome::Granted);
        assert_eq!(wait(store, file, 2).await, LockOutcome::Blocked);
        store.test_lock(&call(), &request(file, 3)).await.unwrap();
        unlock(store, file, 1).await;
        let reserved = store.reserve(&call(), file, 10).await.unwrap().remove(0);
        store.settle(&call(), reserved.cookie, true).await.unwrap();
        unlock(store, file, 2).await;
    };
    client.batch_execute("ANALYZE").await.unwrap();
    // As often as it takes for every session to have its plans.
    for _ in 0..8 {
        round().await;
    }
    client
        .batch_execute(&format!(
            "INSERT INTO lock_clients (address, caller_name, server) VALUES ('192.0.2.2', 'other', 's');
             INSERT INTO locks (file_id, client_id, svid, first, last, exclusive, oh, state)
             SELECT md5('f' || i)::uuid, (SELECT max(id) FROM lock_clients), 1, 0, 9, true, 'oh', 7
               FROM generate_series(1, {ROWS}) i;
             INSERT INTO lock_waiters (file_id, client_id, svid, first, last, exclusive, oh, state, handle, version, transport,
                                       local, instance)
             SELECT md5('f' || i)::uuid, (SELECT max(id) FROM lock_clients), 1, i, i, true, 'oh', 7, 'h', 4, 'tcp', '::1',
                    md5('i' || i % 2)::uuid
               FROM generate_series(1, {ROWS}) i"
        ))
        .await
        .unwrap();
    let read = async || {
        let sum =
            "SELECT COALESCE(sum(seq_tup_read + idx_tup_fetch), 0)::bigint FROM pg_stat_user_tables
                    WHERE relname LIKE 'lock%'";
        client.execute("SELECT pg_stat_clear_snapshot()", &[]).await.unwrap();
        client.query_one(sum, &[]).await.unwrap().get::<_, i64>(0)
    };
    // Sessions report what they have read once they are idle for a while: all of it, when they end.
    let settle = async || {
        let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()
                      AND backend_type = 'client backend'";
        client.execute(all, &[]).await.unwrap();
        let others = "pid <> pg_backend_pid() AND backend_type = 'client backend'";
        let began = Instant::now();
        let left = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {others}"
        );
        while client.query_one(&left, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            assert!(began.elapsed() < CALL_LIMIT, "sessions do not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let before = read().await;
    round().await;
    settle().await;
    let first = read().await - before;
    assert!(first < MOST_READ, "{first} rows were read by plans of empty tables");
}

/// What a server leaves that ends is taken over by the one that has the address, as far as it has it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_leaves_is_taken_over() {
    let (fixture, other, file) = two().await;
    let store = &fixture.store;
    let second = fixture.file(fixture.root(), "g").await.id;
    for file in [file, second] {
        assert_eq!(lock(&other, file, 1).await, LockOutcome::Granted);
        assert_eq!(wait(&other, file, 2).await, LockOutcome::Blocked);
    }
    unlock(&other, second, 1).await;
    let reserved = other.reserve(&call(), second, 10).await.unwrap();
    let local = how().local;
    assert_eq!(store.abandoned(&call()).await.unwrap(), [] as [IpAddr; 0], "its server is there");
    assert_eq!(store.take_over(&call(), &[local]).await.unwrap(), []);
    let elsewhere = IpAddr::from([192, 0, 2, 99]);
    other.close().await;
    assert_eq!(store.abandoned(&call()).await.unwrap(), [local]);
    assert_eq!(store.take_over(&call(), &[elsewhere]).await.unwrap(), []);
    // Two at once: each has what the other has not.
    let third = PostgresStore::connect(fixture.database.settings()).await.unwrap();
    let (here, call) = ([local], call());
    let (one, two) = tokio::join!(store.take_over(&call, &here), third.take_over(&call, &here));
    assert_eq!([one.unwrap(), two.unwrap()].concat(), reserved);
    assert_eq!(store.abandoned(&call).await.unwrap(), [] as [IpAddr; 0]);
    let held = records(store).await.into_iter().filter(|it| it.standing == LockStanding::Held);
    assert_eq!(held.filter(|it| it.file == second).count(), 1, "what was reserved is a lock");
    unlock(store, file, 1).await;
    let woken = async {
        tokio::select! {
            files = store.woken() => (store, files),
            files = third.woken() => (&third, files),
        }
    };
    let (by, files) = tokio::time::timeout(CALL_LIMIT, woken).await.unwrap();
    assert_eq!(files, [file]);
    let reserved = by.reserve(&call, file, 10).await.unwrap().remove(0);
    assert_eq!((reserved.owner, reserved.how), (owner(2), how()));
    third.close().await;
}

/// A row that does not move is that of a server which has ended; one of the same machine and address, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_gone_that_is_silent_or_followed_by_another() {
    let fixture = Fixture::new().await;
    let client = connect(&fixture.database.settings()).await;
    let server = "INSERT INTO instances (instance, host, version, address, seen)
                  VALUES ($1, $2, 'v', $3, clock_timestamp() - make_interval(secs => $4))";
    let [own, fresh, late, before] = [(); 4].map(|()| uuid::Uuid::new_v4());
    for (instance, host, address, seconds) in [
        (own, "here", "0.0.0.0:2049", 0.0),
        (fresh, "there", "0.0.0.0:2049", 1.0),
        (late, "there", "0.0.0.0:2050", 10.0),
        (before, "here", "0.0.0.0:2049", 1.0),
    ] {
        client.execute(server, &[&instance, &host, &address, &seconds]).await.unwrap();
    }
    let gone = async |instance: uuid::Uuid| -> bool {
        let asked = "SELECT lock_instance_is_gone($1, $2, 6)";
        client.query_one(asked, &[&instance, &own]).await.unwrap().get(0)
    };
    assert!(!gone(own).await && !gone(fresh).await);
    assert!(gone(late).await && gone(before).await && gone(uuid::Uuid::nil()).await);
}

/// A client that comes back while its locks are about to be freed keeps them all.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_that_comes_back_keeps_its_locks() {
    let fixture = Fixture::new().await;
    let (store, f) = (&fixture.store, fixture.file(fixture.root(), "f").await.id);
    let g = fixture.file(fixture.root(), "g").await.id;
    assert_eq!(lock(store, f, 1).await, LockOutcome::Granted);
    let client = connect(&fixture.database.settings()).await;
    let past = "UPDATE lock_clients SET seen = seen - interval '2 hours'";
    client.execute(past, &[]).await.unwrap();
    let (address, silent) = (owner(1).client.address(), Duration::from_secs(3600));
    let quiet = store.quiet_clients(&call(), silent, 10).await.unwrap();
    assert_eq!(quiet.len(), 1);
    assert_eq!((quiet[0].address, &*quiet[0].servers[0]), (address, "s"));
    let which = WhichClients::Silent { address, silent };
    let turn = turn(&fixture.database.settings(), f).await;
    let later = call();
    let freeing = store.free_client(&later, &which);
    let comes_back = async {
        until(&fixture.database, "the freeing waits", WAITS, 1).await;
        assert_eq!(lock(store, g, 2).await, LockOutcome::Granted);
        drop(turn);
    };
    let (freed, ()) = tokio::join!(freeing, comes_back);
    assert_eq!(freed.unwrap(), Freed::default());
    assert_eq!(records(store).await.len(), 2);
    // Nobody has seen it since.
    client.execute(past, &[]).await.unwrap();
    let freed = store.free_client(&call(), &which).await.unwrap();
    assert_eq!((freed.clients, freed.locks), (1, 2));
    assert_eq!(records(store).await, []);
    // Another server's word that the client lives.
    assert_eq!(lock(store, f, 1).await, LockOutcome::Granted);
    client.execute(past, &[]).await.unwrap();
    store.clients_seen(&call(), address).await.unwrap();
    assert_eq!(store.free_client(&call(), &which).await.unwrap(), Freed::default());
    assert_eq!(store.quiet_clients(&call(), silent, 10).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_unconfirmed_is_dropped_after_its_time() {
    let fixture = Fixture::new().await;
    let (store, file) = (&fixture.store, fixture.file(fixture.root(), "f").await.id);
    assert_eq!(lock(store, file, 1).await, LockOutcome::Granted);
    for svid in [2, 3] {
        assert_eq!(wait(store, file, svid).await, LockOutcome::Blocked);
    }
    unlock(store, file, 1).await;
    let first = store.reserve(&call(), file, 10).await.unwrap().remove(0);
    let hour = Duration::from_secs(3600);
    let nothing = store.tidy_locks(&call(), hour, Some(hour)).await.unwrap();
    assert_eq!(nothing, Tidied::default());
    let late = store.tidy_locks(&call(), hour, Some(Duration::ZERO)).await.unwrap();
    assert_eq!(late, Tidied { unconfirmed: 1, ..Tidied::default() });
    assert_eq!(store.settle(&call(), first.cookie, true).await.unwrap(), Settled::Unknown);
    assert_eq!(store.woken().await, [file]);
    let second = store.reserve(&call(), file, 10).await.unwrap().remove(0);
    assert_ne!(first.owner, second.owner);
}
