//! Schemas, servers and writer slots: what happens when instances start.

use trunkfs::metadata::postgres::PostgresStore;
use trunkfs::metadata::{Catalog as _, Error, Invariants as _, MetadataStore as _, Namespace as _};

use crate::database::{TestDatabase, connect};
use crate::support::{Fixture, share_spec};

fn text(error: Error) -> String {
    match error {
        Error::Backend(source) => source.to_string(),
        Error::Schema(error) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_start_together_make_one_schema_and_one_share() {
    let database = TestDatabase::create().await;
    let starting: Vec<_> = (0..6)
        .map(|_| {
            let settings = database.settings();
            tokio::spawn(async move {
                let store = PostgresStore::connect(settings).await.unwrap();
                let share = store.open_share(&share_spec()).await.unwrap();
                (store, share)
            })
        })
        .collect();
    let mut instances = Vec::new();
    for instance in starting {
        instances.push(instance.await.unwrap());
    }
    let (store, share) = &instances[0];
    assert!(instances.iter().all(|(_, other)| other == share));
    assert_eq!(store.shares().await.unwrap(), std::slice::from_ref(share));
    assert_ne!(share.fsid.0, 0);
    assert_eq!(store.inconsistencies().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_stays_as_it_was_made() {
    let fixture = Fixture::new().await;
    let mut other = share_spec();
    other.chunk_size = 1;
    other.root.mode = 0o700;
    assert_eq!(fixture.store.open_share(&other).await.unwrap(), fixture.share);
    let root = fixture.store.getattr(&fixture.cx(), fixture.root()).await.unwrap();
    assert_eq!(root.mode, 0o755);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_behind_is_named_where_it_may_not_be_changed() {
    let database = TestDatabase::create().await;
    let mut settings = database.settings();
    settings.auto_migrate = false;
    let refused = text(PostgresStore::connect(settings.clone()).await.unwrap_err());
    assert!(refused.contains("no TrunkFS tables found"), "{refused}");
    PostgresStore::connect(database.settings()).await.unwrap();
    PostgresStore::connect(settings).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_a_newer_program_is_refused() {
    let fixture = Fixture::new().await;
    let client = connect(&fixture.database.settings()).await;
    client
        .execute(
            "INSERT INTO refinery_schema_history VALUES (1000, 'later', '2026-01-01T00:00:00Z', '1')",
            &[],
        )
        .await
        .unwrap();
    let refused = PostgresStore::connect(fixture.database.settings()).await.unwrap_err();
    let refused = text(refused);
    assert!(refused.contains("the schema has version 1000"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_default_isolation_is_refused() {
    let database = TestDatabase::create().await;
    let settings = database.settings();
    let statement = format!(
        "ALTER DATABASE {} SET default_transaction_isolation = 'repeatable read'",
        settings.target.database
    );
    connect(&settings).await.batch_execute(&statement).await.unwrap();
    let refused = text(PostgresStore::connect(settings).await.unwrap_err());
    assert!(refused.contains("read committed"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_an_error_at_once() {
    let database = TestDatabase::create().await;
    let mut settings = database.settings();
    let closed = crate::port::Reserved::new();
    let host = &mut settings.target.hosts[0];
    (host.name, host.port) = ("127.0.0.1".to_owned(), closed.port);
    assert!(matches!(PostgresStore::connect(settings).await, Err(Error::Unavailable(_))));
}

/// The highest slot that has a row, and the highest that was used.
async fn highest_slot(fixture: &Fixture) -> i32 {
    let client = connect(&fixture.database.settings()).await;
    client.query_one("SELECT max(slot) FROM writer_slots", &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_of_every_instance_has_a_slot_of_its_own() {
    let fixture = Fixture::new().await;
    let mut stores = Vec::new();
    for _ in 0..5 {
        stores.push(PostgresStore::connect(fixture.database.settings()).await.unwrap());
    }
    let client = connect(&fixture.database.settings()).await;
    let row = client
        .query_one(
            "SELECT count(*), count(DISTINCT l.objid), count(DISTINCT l.pid)
               FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
              WHERE l.locktype = 'advisory' AND l.classid = 19790 AND l.granted
                AND a.datname = current_database()",
            &[],
        )
        .await
        .unwrap();
    let (locks, slots, sessions): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    assert!(locks >= 5);
    assert_eq!((slots, sessions), (locks, locks));
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_are_used_again_once_nobody_can_ask_for_their_outcome() {
    let fixture = Fixture::new().await;
    fixture.file(fixture.root(), "file").await;
    fixture.store.close().await;
    let client = connect(&fixture.database.settings()).await;
    let old = "UPDATE writer_slots SET used_at = now() - interval '1 hour'";
    let idle = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 19790
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    for round in 0..10 {
        while client.query_one(idle, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        client.execute(old, &[]).await.unwrap();
        let store = PostgresStore::connect(fixture.database.settings()).await.unwrap();
        let cx = fixture.cx();
        let name = crate::support::name(&format!("dir-{round}"));
        store.mkdir(&cx, fixture.root(), &name, &crate::support::mode(0o755)).await.unwrap();
        store.close().await;
    }
    assert!(highest_slot(&fixture).await <= 4, "{}", highest_slot(&fixture).await);

    // One that was used a moment ago is left alone.
    let before = highest_slot(&fixture).await;
    client.execute("UPDATE writer_slots SET used_at = now()", &[]).await.unwrap();
    PostgresStore::connect(fixture.database.settings()).await.unwrap();
    assert_eq!(highest_slot(&fixture).await, before + 1);
}
