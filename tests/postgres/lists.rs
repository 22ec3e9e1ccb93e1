//! The bound of `changes` and `replies` while a transaction that is open for long keeps the room of their
//! removed rows.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use trunkfs::metadata::postgres::{ListBounds, PostgresStore, Settings};
use trunkfs::metadata::{MetadataStore as _, Namespace as _};
use trunkfs::types::Replay;
use uuid::Uuid;

use crate::database::connect;
use crate::support::{CALL_LIMIT, Fixture, mode, until};

/// What the tests let a list have: more than the 2,000 calls of one connection take.
const MOST: u64 = 512 << 10;
const ROUND: Duration = Duration::from_millis(50);

const MANY_CHANGES: &str = "INSERT INTO changes (objects, directories, names)
    SELECT ARRAY[gen_random_uuid()], '{}', '{}' FROM generate_series(1, 10000)";

fn bounded(settings: Settings) -> Settings {
    let lists = ListBounds { round: ROUND, changes: MOST, replies: MOST };
    Settings { lists, ..settings }
}

/// A server beside the fixture's own, which has the usual bounds.
async fn server(fixture: &Fixture) -> PostgresStore {
    PostgresStore::connect(bounded(fixture.database.settings())).await.unwrap()
}

async fn size(client: &Client, table: &str) -> u64 {
    let statement = format!("SELECT pg_total_relation_size('{table}')");
    client.query_one(&statement, &[]).await.unwrap().get::<_, i64>(0).unsigned_abs()
}

async fn term(client: &Client) -> i64 {
    client.query_one("SELECT term FROM change_log", &[]).await.unwrap().get(0)
}

async fn until_small(client: &Client, table: &str) {
    let limit = Instant::now() + CALL_LIMIT;
    while size(client, table).await > MOST {
        assert!(Instant::now() < limit, "{table} is not emptied");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A snapshot that is there until the connection ends.
async fn snapshot(fixture: &Fixture) -> Client {
    let client = connect(&fixture.database.settings()).await;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM files";
    client.batch_execute(begin).await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_at_its_bound_is_emptied_once() {
    let fixture = Fixture::new().await;
    let client = connect(&fixture.database.settings()).await;
    let _snapshot = snapshot(&fixture).await;
    let servers = [server(&fixture).await, server(&fixture).await, server(&fixture).await];
    for round in 1..=3 {
        client.batch_execute(MANY_CHANGES).await.unwrap();
        until_small(&client, "changes").await;
        sleep(4 * ROUND).await;
        assert_eq!(term(&client).await, round, "one server does it");
        fixture.file(fixture.root(), &format!("file-{round}")).await;
    }
    fixture.sound().await;
    for server in servers {
        server.close().await;
    }
}

/// `pg_dump` holds such a lock on every table. Changes do not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_a_transaction_has_locked_is_emptied_once_that_ends() {
    let fixture = Fixture::new().await;
    let client = connect(&fixture.database.settings()).await;
    let dump = connect(&fixture.database.settings()).await;
    dump.batch_execute("BEGIN; LOCK TABLE changes IN ACCESS SHARE MODE").await.unwrap();
    client.batch_execute(MANY_CHANGES).await.unwrap();
    let server = server(&fixture).await;
    // The lock is not even asked for: whoever comes later would wait behind that.
    let asks = "SELECT count(*) FROM pg_locks WHERE relation = 'changes'::regclass AND NOT granted";
    for _ in 0..300 {
        assert_eq!(client.query_one(asks, &[]).await.unwrap().get::<_, i64>(0), 0);
        sleep(Duration::from_millis(5)).await;
    }
    fixture.file(fixture.root(), "file").await;
    assert!(size(&client, "changes").await > MOST);
    assert_eq!(term(&client).await, 0);
    dump.batch_execute("COMMIT").await.unwrap();
    until_small(&client, "changes").await;
    assert_eq!(term(&client).await, 1);
    server.close().await;
}

/// Rows are removed under the lock of `change_log`, then under that of the table.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_emptied_behind_the_removal_of_its_rows() {
    let fixture = Fixture::new().await;
    let client = connect(&fixture.database.settings()).await;
    let pruning = connect(&fixture.database.settings()).await;
    pruning.batch_execute("BEGIN; SELECT FROM change_log FOR NO KEY UPDATE").await.unwrap();
    client.batch_execute(MANY_CHANGES).await.unwrap();
    let server = server(&fixture).await;
    let waits = "wait_event_type = 'Lock' AND query LIKE '%LOCK TABLE changes IN SHARE UPDATE%'";
    until(&fixture.database, "the emptying waits", waits, 1).await;
    let locked = "SELECT count(*) FROM pg_locks
                   WHERE relation = 'changes'::regclass AND mode = 'AccessExclusiveLock'";
    assert_eq!(client.query_one(locked, &[]).await.unwrap().get::<_, i64>(0), 0);
    fixture.file(fixture.root(), "meanwhile").await;
    pruning.batch_execute("DELETE FROM changes; COMMIT").await.unwrap();
    until_small(&client, "changes").await;
    assert_eq!(term(&client).await, 1);
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_that_may_be_asked_for_outlive_the_emptying() {
    let fixture = Fixture::new().await;
    let client = connect(&fixture.database.settings()).await;
    let _snapshot = snapshot(&fixture).await;
    let call = Replay { key: Uuid::from_u128(1), peer: 7, may_be_repeat: true, looks_first: false };
    let mut cx = fixture.cx();
    cx.replay = Some(call);
    let directory = crate::support::name("directory");
    let made = fixture.store.mkdir(&cx, fixture.root(), &directory, &mode(0o755)).await.unwrap();
    let others = "
        INSERT INTO replies (peer, key, at)
        SELECT 7, gen_random_uuid(), now() - interval '10 minutes' FROM generate_series(1, 10000);
        INSERT INTO replies (peer, key, at)
        SELECT 8, md5(n::text)::uuid, now() - interval '1 minute' + n * interval '1 ms'
          FROM generate_series(1, 10000) n;
        INSERT INTO replies (peer, key) SELECT -n, gen_random_uuid() FROM generate_series(1, 3) n";
    client.batch_execute(others).await.unwrap();
    assert!(size(&client, "replies").await > MOST);
    let server = server(&fixture).await;
    until_small(&client, "replies").await;
    let found = server.replayed(&fixture.cx(), &call).await.unwrap();
    assert_eq!(found.map(|found| found.made), Some(Some(made.object.id)));
    let left = "
        SELECT string_agg(peer || ' ' || calls || ' ' || newest, ', ' ORDER BY peer)
          FROM (SELECT peer, count(*) AS calls, bool_or(key = md5('10000')::uuid) AS newest
                  FROM replies GROUP BY peer) r";
    let left: String = client.query_one(left, &[]).await.unwrap().get(0);
    assert_eq!(left, "-3 1 false, -2 1 false, -1 1 false, 7 1 false, 8 2000 true");
    assert_eq!(term(&client).await, 0);
    server.close().await;
}

/// A role that may not empty tables goes on without.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_empty_the_list_serves() {
    let fixture = Fixture::new().await;
    let client = connect(&fixture.database.settings()).await;
    client
        .batch_execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 RAISE 'permission denied for table changes' USING ERRCODE = 'insufficient_privilege';
             END $$;
             CREATE TRIGGER refuse BEFORE TRUNCATE ON changes EXECUTE FUNCTION refuse()",
        )
        .await
        .unwrap();
    let server = server(&fixture).await;
    client.batch_execute(MANY_CHANGES).await.unwrap();
    for round in 0..20 {
        fixture.file(fixture.root(), &format!("file-{round}")).await;
        sleep(ROUND).await;
    }
    assert!(size(&client, "changes").await > MOST);
    client.batch_execute("DROP TRIGGER refuse ON changes").await.unwrap();
    until_small(&client, "changes").await;
    server.close().await;
}
