//! A load reads and checks the shares that it brings in, and no other.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_postgres::Client;
use trunkfs::metadata::{Invariants as _, LoadError, Namespace as _};

use crate::database::connect;
use crate::loading_support::{FILES, dumped, load, reaching, small_share};
use crate::support::{CALL_LIMIT, Fixture, name};

/// Files of the large share.
const MANY: i64 = 20_000;
/// Each breaks an invariant of the large share.
const FAULTS: [&str; 6] = [
    "UPDATE files SET mode = 65535 WHERE file_type = 1",
    "UPDATE files SET subdirs = 7 WHERE file_type = 2",
    "UPDATE parent_child_map SET cookie = 2 WHERE child_name = 'g'",
    "INSERT INTO link_counts VALUES (gen_random_uuid(), 2)",
    "DELETE FROM files WHERE id = (SELECT child_id FROM parent_child_map WHERE child_name = 'many-7')",
    "UPDATE writer_slots SET files = files + 1",
];

/// Rows that all sessions have read of the tables of objects and entries, and entries that they have added.
async fn rows(client: &Client) -> (i64, i64) {
    let statement = "
        SELECT sum(seq_tup_read + COALESCE(idx_tup_fetch, 0))::bigint,
               (sum(n_tup_ins) FILTER (WHERE relname = 'parent_child_map'))::bigint
          FROM pg_stat_user_tables WHERE relname IN ('files', 'parent_child_map', 'link_counts')";
    let row = client.query_one(statement, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_reads_no_other_share_and_an_old_fault_stops_it_not() {
    let dump = small_share().await;
    let fixture = Fixture::new().await;
    let object = fixture.file(fixture.root(), "f").await;
    fixture.store.link(&fixture.cx(), object.id, fixture.root(), &name("g")).await.unwrap();
    let client = connect(&fixture.database.settings()).await;
    // Many copies of the one file, each with an entry.
    let copies = format!(
        "BEGIN;
         CREATE TEMP TABLE copies ON COMMIT DROP AS
         SELECT f.*, e.parent_id AS directory, n FROM files f JOIN parent_child_map e ON e.child_id = f.id AND e.child_name = 'f'
           CROSS JOIN generate_series(1, {MANY}) AS n;
         UPDATE copies SET id = gen_random_uuid(), fileid = 1000000 + n;
         INSERT INTO parent_child_map (parent_id, child_name, child_id, cookie)
         SELECT directory, convert_to('many-' || n, 'UTF8'), id, 1000000 + n FROM copies;
         ALTER TABLE copies DROP COLUMN directory, DROP COLUMN n;
         INSERT INTO files SELECT * FROM copies;
         COMMIT;
         ANALYZE files, parent_child_map"
    );
    client.batch_execute(&copies).await.unwrap();
    for fault in FAULTS {
        client.batch_execute(fault).await.unwrap();
    }
    client.execute("SELECT pg_stat_force_next_flush()", &[]).await.unwrap();
    let before = rows(&client).await;
    assert!(before.1 >= MANY, "what this session did is counted: {before:?}");
    let loaded = load(&fixture.store, dump).await.unwrap();
    assert_eq!((loaded.objects, loaded.entries), (FILES + 1, FILES));
    // The session of the load tells what it did when it ends.
    let limit = Instant::now() + CALL_LIMIT;
    let mut after = rows(&client).await;
    while after.1 < before.1 + i64::try_from(FILES).unwrap() {
        assert!(Instant::now() < limit, "{after:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
        after = rows(&client).await;
    }
    let read = after.0 - before.0;
    // Counting what the share uses passes over the table of objects once; the check reads the share alone.
    assert!(read < MANY + MANY / 10, "{read} rows were read for a share of {FILES} files");
    assert!(!fixture.store.inconsistencies().await.unwrap().is_empty(), "the old faults are there");
}

/// The planner knows nothing of what the transaction brings in. A join of all objects with all of them looked
/// cheap, from some size on, and took hours.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_share_is_checked_in_time() {
    let (directories, files) = (100, 4000);
    let dump = dumped("/large", directories, files).await;
    let fixture = Fixture::new().await;
    let loaded = timeout(CALL_LIMIT, load(&fixture.store, dump)).await.unwrap().unwrap();
    assert_eq!(loaded.entries, directories + (directories + 1) * files);
}

/// The records of the load itself are checked, also where they reach into another share.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_reaches_into_another_share_is_refused() {
    let fixture = Fixture::new().await;
    let directory = fixture.directory(fixture.root(), "d").await;
    let object = fixture.file(directory.id, "f").await;
    for (what, records) in reaching(&small_share().await, fixture.root(), directory.id, object.id) {
        let refused = load(&fixture.store, records).await;
        assert!(matches!(refused, Err(LoadError::Unsound(_))), "{what}: {refused:?}");
        fixture.sound().await;
    }
    load(&fixture.store, small_share().await).await.unwrap();
    fixture.sound().await;
}
