//! Plans stay right while a database fills: what sessions read is counted by the server, in functions too.

use trunkfs::metadata::postgres::{Cache, Settings};
use trunkfs::metadata::{CreateHow, MetadataStore as _, Namespace as _, SetAttributes};
use trunkfs::types::{Cookie, ObjectId};

use crate::alone;
use crate::database::{TestDatabase, connect};
use crate::support::{Fixture, mode, name, until};

/// Entries of one directory, and as many files.
const FILES: i64 = 200_000;
/// What one round of operations may read from indexes; reading all of a table or directory is far more.
const MOST_READ: i64 = 3_000;

/// Every kind of statement, in `directory`, the root's `big`, whose entry `present` is there.
async fn round(fixture: &Fixture, directory: ObjectId, present: &str, tag: &str) {
    let (store, cx) = (&fixture.store, fixture.cx());
    let [one, two, three, inner] =
        ["one", "two", "three", "inner"].map(|it| name(&format!("{it}-{tag}")));
    let how = CreateHow::Unchecked(mode(0o644));
    let file = store.create(&cx, directory, &one, &how).await.unwrap().object;
    let found = store.lookup(&cx, directory, &name(present)).await.unwrap().object.unwrap();
    let missing = store.lookup(&cx, directory, &name("zzz")).await.unwrap();
    assert_eq!(missing.object, None);
    store.getattr(&cx, found.id).await.unwrap();
    store.setattr(&cx, found.id, &SetAttributes::default()).await.unwrap();
    let sub = store.mkdir(&cx, directory, &inner, &mode(0o755)).await.unwrap().object;
    store.lookup_parent(&cx, sub.id).await.unwrap();
    store.link(&cx, file.id, directory, &two).await.unwrap();
    let page = store.readdir(&cx, directory, Cookie::START, 100, true).await.unwrap();
    let after = page.entries.last().unwrap().cookie;
    store.readdir(&cx, directory, after, 100, false).await.unwrap();
    store.rename(&cx, directory, &one, directory, &three).await.unwrap();
    store.rename(&cx, directory, &two, sub.id, &two).await.unwrap();
    // The directory is full, and does not move below itself.
    let (root, big) = (fixture.root(), name("big"));
    store.rmdir(&cx, root, &big).await.unwrap_err();
    store.rename(&cx, directory, &inner, root, &big).await.unwrap_err();
    store.rename(&cx, root, &big, sub.id, &big).await.unwrap_err();
    store.remove(&cx, sub.id, &two).await.unwrap();
    store.remove(&cx, directory, &three).await.unwrap();
    store.rmdir(&cx, directory, &inner).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_plan_of_an_empty_database_outlives_it() {
    let database = TestDatabase::create().await;
    no_plan_outlives(database.settings(), database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_plan_of_an_empty_database_outlives_it_in_a_store_that_is_alone() {
    let database = TestDatabase::create().await;
    no_plan_outlives(alone::settings(database.settings()), database).await;
}

async fn no_plan_outlives(settings: Settings, database: TestDatabase) {
    let is_alone = settings.cache != Cache::Off;
    let settings = Settings { max_connections: 1, ..settings };
    let fixture = Fixture::on(settings, database).await;
    if is_alone {
        alone::until_alone(&fixture.store).await;
    }
    let client = connect(&fixture.database.settings()).await;
    let directory = fixture.directory(fixture.root(), "big").await;

    // Plans are made on tables that are known to be all but empty.
    client.batch_execute("ANALYZE").await.unwrap();
    fixture.file(directory.id, "present").await;
    round(&fixture, directory.id, "present", "empty").await;
    client
        .batch_execute(&format!(
            "INSERT INTO files (id, share_id, file_type, mode, uid, gid, size, atime, mtime, ctime, content_id, used)
             SELECT md5('f' || i)::uuid, {share}, 1, 420, 0, 0, 0, 1, 1, 1, md5('c' || i)::uuid, 0
               FROM generate_series(1, {FILES}) i;
             INSERT INTO parent_child_map (parent_id, child_name, child_id)
             SELECT '{parent}', convert_to('file-' || i, 'UTF8'), md5('f' || i)::uuid
               FROM generate_series(1, {FILES}) i",
            share = fixture.share.id.0,
            parent = directory.id,
        ))
        .await
        .unwrap();
    round(&fixture, directory.id, "file-77777", "full").await;
    // And made again on what is there now.
    client.batch_execute("ANALYZE").await.unwrap();
    round(&fixture, directory.id, "file-199999", "known").await;

    // A session's counts are in the statistics once it has ended. Scans that read no row are those that built
    // indexes.
    fixture.store.close().await;
    until(&fixture.database, "the session ends", "application_name = 'trunkfs'", 0).await;
    let tables = "('files', 'parent_child_map', 'link_counts')";
    let row = client
        .query_one(
            &format!(
                "SELECT (SELECT sum(seq_tup_read)::bigint FROM pg_stat_user_tables WHERE relname IN {tables}),
                        (SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes WHERE relname IN {tables}),
                        (SELECT string_agg(indexrelname || ': ' || idx_tup_read, ', ')
                           FROM pg_stat_user_indexes WHERE relname IN {tables})"
            ),
            &[],
        )
        .await
        .unwrap();
    let (whole, read): (i64, i64) = (row.get(0), row.get(1));
    assert_eq!(whole, 0, "a table was read as a whole");
    assert!(
        read > 0 && read < 3 * MOST_READ,
        "{read} index entries were read: {}",
        row.get::<_, &str>(2)
    );
}

/// Names that are removed from one directory.
const REMOVED: i64 = 100_000;

/// Blocks that the session of `store` reads for look-ups and creates of names that are not there, in a
/// directory that many names were removed from.
async fn blocks_for_absent_names(fixture: &Fixture, directory: ObjectId, tag: &str) -> i64 {
    let client = connect(&fixture.database.settings()).await;
    let blocks = "SELECT COALESCE(sum(heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read), 0)::bigint
                    FROM pg_statio_user_tables WHERE relname = 'parent_child_map'";
    // A store of its own: the statistics of its session are complete when the store has ended.
    let mut settings = fixture.database.settings();
    settings.max_connections = 1;
    let store = trunkfs::metadata::postgres::PostgresStore::connect(settings).await.unwrap();
    store.open_share(&crate::support::share_spec()).await.unwrap();
    until(&fixture.database, "the other sessions end", "application_name = 'trunkfs'", 1).await;
    let before: i64 = client.query_one(blocks, &[]).await.unwrap().get(0);
    let cx = fixture.cx();
    let how = CreateHow::Unchecked(mode(0o644));
    for absent in ["m", "m-00500", "m-50000x"] {
        let found = store.lookup(&cx, directory, &name(absent)).await.unwrap();
        assert_eq!(found.object, None);
    }
    let (one, two) = (name(&format!("m-20000-{tag}")), name(&format!("m-70000-{tag}")));
    store.create(&cx, directory, &one, &how).await.unwrap();
    store.rename(&cx, directory, &one, directory, &two).await.unwrap();
    store.remove(&cx, directory, &two).await.unwrap();
    store.close().await;
    until(&fixture.database, "the session ends", "application_name = 'trunkfs'", 0).await;
    let after: i64 = client.query_one(blocks, &[]).await.unwrap().get(0);
    after - before
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_were_removed_cost_nothing() {
    let fixture = Fixture::new().await;
    let directory = fixture.directory(fixture.root(), "spool").await.id;
    fixture.store.close().await;
    let client = connect(&fixture.database.settings()).await;
    client
        .batch_execute(&format!(
            "ALTER TABLE parent_child_map SET (autovacuum_enabled = off);
             INSERT INTO parent_child_map (parent_id, child_name, child_id)
             SELECT '{directory}', convert_to('m-' || lpad(i::text, 5, '0'), 'UTF8'), md5('f' || i)::uuid
               FROM generate_series(0, {REMOVED} - 1) i"
        ))
        .await
        .unwrap();
    // As pg_dump has it: while the snapshot is open no index entry may be marked dead.
    let snapshot = connect(&fixture.database.settings()).await;
    snapshot.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    client
        .batch_execute(&format!("DELETE FROM parent_child_map WHERE parent_id = '{directory}'"))
        .await
        .unwrap();
    let open = blocks_for_absent_names(&fixture, directory, "open").await;
    snapshot.batch_execute("COMMIT").await.unwrap();
    let ended = blocks_for_absent_names(&fixture, directory, "ended").await;
    // Six operations, each a few descents of an index of three levels.
    assert!(open < 300 && ended < 300, "{open} blocks beside a snapshot, {ended} after it");
}

/// Batches that change one directory while a snapshot is open, each with a version of its row.
const VERSIONS: i64 = 2_000;
/// Creates whose blocks are counted.
const COUNTED: i64 = 20;

/// Makes files one after the other in a store that is alone, and counts the blocks that its sessions read of
/// the rows that each batch changes.
async fn blocks_of_creates(fixture: &Fixture, directory: ObjectId, files: i64, tag: &str) -> i64 {
    let client = connect(&fixture.database.settings()).await;
    let blocks = "SELECT sum(heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read)::bigint
                    FROM pg_statio_user_tables WHERE relname IN ('files', 'writers', 'writer_slots')";
    let settings = alone::settings(fixture.database.settings());
    let store = trunkfs::metadata::postgres::PostgresStore::connect(settings).await.unwrap();
    store.open_share(&crate::support::share_spec()).await.unwrap();
    alone::until_alone(&store).await;
    let before: i64 = client.query_one(blocks, &[]).await.unwrap().get(0);
    let how = CreateHow::Guarded(mode(0o644));
    for number in 0..files {
        let file = name(&format!("{tag}-{number}"));
        store.create(&fixture.cx(), directory, &file, &how).await.unwrap();
    }
    store.close().await;
    until(&fixture.database, "the sessions end", "application_name = 'trunkfs'", 0).await;
    let after: i64 = client.query_one(blocks, &[]).await.unwrap().get(0);
    after - before
}

/// As beside pg_dump: no version of a row goes while the snapshot is open.
#[tokio::test(flavor = "multi_thread")]
async fn dead_versions_of_a_busy_directory_cost_a_writer_that_is_alone_nothing() {
    let fixture = Fixture::new().await;
    let directory = fixture.directory(fixture.root(), "spool").await.id;
    fixture.store.close().await;
    let first = blocks_of_creates(&fixture, directory, COUNTED, "first").await;
    let snapshot = connect(&fixture.database.settings()).await;
    snapshot.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    blocks_of_creates(&fixture, directory, VERSIONS, "filler").await;
    let last = blocks_of_creates(&fixture, directory, COUNTED, "last").await;
    snapshot.batch_execute("COMMIT").await.unwrap();
    // A look at every version would be a hundred times as many.
    assert!(last < first * 10, "{first} blocks before the snapshot, {last} beside it");
}
