//! Every version of the schema with data in it: upwards, back, and what a step that fails leaves.

use std::path::Path;
use std::sync::Mutex;

use tempfile::TempDir;
use tokio_postgres::Client;
use trunkfs::metadata::postgres::{PostgresSchema, PostgresStore, Settings};
use trunkfs::metadata::schema::{Event, Schema, SchemaError};
use trunkfs::metadata::{Error, MetadataStore as _, Namespace as _};
use trunkfs::types::ObjectId;

use crate::database::{TestDatabase, connect};
use crate::support::{Fixture, name, share_spec};

/// A share `/export` with `d` (`sub`, `f` of 11 bytes, a link `l` to it), a second name `g` of `f`, and what
/// its writers counted; with the tables of version 1. A version that changes them gets data of its own here.
const DATA: &[(i32, &str)] = &[(1, include_str!("data_v1.sql")), (3, include_str!("data_v3.sql"))];

/// Columns that a version has added: a way down to before it loses what is in them.
const ADDED: &[(i32, &str)] = &[(3, "used")];

async fn schema(settings: &Settings) -> PostgresSchema {
    PostgresSchema::connect(settings).await.unwrap()
}

/// Goes up to `to`, or the newest.
async fn up(settings: &Settings, to: Option<i32>) -> i32 {
    schema(settings).await.up(to, &|_| {}).await.unwrap()
}

async fn down(settings: &Settings, to: i32) -> i32 {
    schema(settings).await.down(Some(to), &|_| {}).await.unwrap()
}

/// Every version, ascending.
async fn versions() -> Vec<i32> {
    let database = TestDatabase::create().await;
    let status = schema(&database.settings()).await.status().await.unwrap();
    status.versions.iter().map(|version| version.number).collect()
}

async fn newest(settings: &Settings) -> i32 {
    schema(settings).await.status().await.unwrap().needed
}

fn refused(error: Error) -> SchemaError {
    match error {
        Error::Schema(error) => error,
        other => panic!("{other:?}"),
    }
}

/// What every table of version `version` holds, in an order of its own, the history but for its times and
/// what a start writes left out.
async fn contents(client: &Client, version: i32) -> Vec<String> {
    let added = ADDED.iter().filter(|(since, _)| *since > version);
    let added: Vec<_> = added.map(|(_, column)| *column).collect();
    let mut contents = Vec::new();
    let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'
                   AND tablename NOT IN ('refinery_schema_history', 'writer_slots', 'writers', 'instances', 'lease', 'changes', 'change_log') ORDER BY 1";
    for table in client.query(tables, &[]).await.unwrap() {
        let table: String = table.get(0);
        let rows = format!(
            "SELECT '{table}: ' || (to_jsonb(t) - $1::text[])::text FROM {table} t ORDER BY 1"
        );
        let rows = client.query(&rows, &[&added]).await.unwrap();
        contents.extend(rows.into_iter().map(|row| row.get::<_, String>(0)));
    }
    contents
}

/// Every object that is not a table of the data's own kind: what a way down must leave nothing of.
async fn objects(client: &Client) -> Vec<String> {
    let objects = "
        SELECT 'relation ' || relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
           AND relname NOT LIKE 'refinery_schema_history%'
        UNION ALL SELECT 'function ' || oid::regprocedure FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT 'type ' || typname FROM pg_type WHERE typnamespace = 'public'::regnamespace
           AND typname NOT LIKE '%refinery_schema_history'
        ORDER BY 1";
    client.query(objects, &[]).await.unwrap().into_iter().map(|row| row.get(0)).collect()
}

/// The data of [`DATA`], read through the store; the store is sound, and works.
async fn reads_back(settings: &Settings, database: TestDatabase) {
    let fixture = Fixture::on(settings.clone(), database).await;
    fixture.sound().await;
    let (store, cx) = (&fixture.store, fixture.cx());
    let child = async |directory: ObjectId, entry: &str| {
        store.lookup(&cx, directory, &name(entry)).await.unwrap().object.unwrap()
    };
    let directory = child(fixture.root(), "d").await;
    assert_eq!((directory.mode, directory.nlink, directory.uid), (0o750, 3, 7));
    let file = child(directory.id, "f").await;
    assert_eq!((file.size, file.nlink, file.mode), (11, 2, 0o640));
    // A block, whether recorded or taken from the size.
    assert_eq!((file.used, directory.used), (4096, 4096));
    assert_eq!(child(fixture.root(), "g").await.id, file.id);
    assert_eq!(child(directory.id, "sub").await.nlink, 2);
    let link = child(directory.id, "l").await;
    assert_eq!(store.readlink(&cx, link.id).await.unwrap().target.as_bytes(), b"f");
    let usage = store.usage(fixture.share.id).await.unwrap();
    assert_eq!((usage.objects, usage.bytes), (5, 4097));
    // What was made before has its place among what is made now.
    fixture.file(directory.id, "new").await;
    store.remove(&cx, directory.id, &name("f")).await.unwrap();
    store.rename(&cx, directory.id, &name("new"), fixture.root(), &name("g")).await.unwrap();
    fixture.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_is_brought_up_to_date_with_its_data() {
    for version in versions().await {
        let database = TestDatabase::create().await;
        let settings = database.settings();
        assert_eq!(up(&settings, Some(version)).await, version);
        let data = DATA.iter().rev().find(|(since, _)| *since <= version).unwrap();
        connect(&settings).await.batch_execute(data.1).await.unwrap();
        up(&settings, None).await;
        reads_back(&Settings { auto_migrate: false, ..settings }, database).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_is_gone_back_to_and_left_again() {
    let mut all = versions().await;
    all.pop();
    for to in [0].into_iter().chain(all) {
        let database = TestDatabase::create().await;
        let settings = database.settings();
        let newest = up(&settings, None).await;
        let client = connect(&settings).await;
        client.batch_execute(DATA.last().unwrap().1).await.unwrap();
        let (before, there) = (contents(&client, to).await, objects(&client).await);
        assert_eq!(down(&settings, to).await, to);
        if to == 0 {
            assert_eq!(objects(&client).await, Vec::<String>::new());
        } else {
            assert_eq!(contents(&client, to).await, before, "down to {to}");
        }
        assert_eq!(up(&settings, None).await, newest);
        assert_eq!(objects(&client).await, there, "down to {to} and up");
        if to == 0 {
            assert_eq!(contents(&client, newest).await, Vec::<String>::new());
            Fixture::on(settings, database).await.sound().await;
        } else {
            reads_back(&settings, database).await;
        }
    }
}

/// Version 2's functions do their work again after a way down to it, the types that version 3 had changed
/// included.
#[tokio::test(flavor = "multi_thread")]
async fn the_functions_of_version_2_work_after_a_way_down() {
    let database = TestDatabase::create().await;
    let settings = database.settings();
    up(&settings, None).await;
    connect(&settings).await.batch_execute(DATA.last().unwrap().1).await.unwrap();
    down(&settings, 2).await;
    let client = connect(&settings).await;
    let claim = "SELECT slot, epoch FROM claim_slot('01900000-0000-7000-8000-00000000000e')";
    let row = client.query_one(claim, &[]).await.unwrap();
    let (slot, epoch): (i32, i64) = (row.get(0), row.get(1));
    let sizes = async |call: &str| -> Vec<(i16, i64)> {
        let rows = client.query(&format!("SELECT verdict, size FROM {call}"), &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let file = "'01900000-0000-7000-8000-000000000004'";
    let root = "'01900000-0000-7000-8000-000000000001'";
    let writer = format!("{slot}, {epoch}");
    let write = format!(
        "{writer}, 1, 1::smallint, {file}, NULL, '01900000-0000-7000-8000-0000000000c4', 3"
    );
    let recorded = sizes(&format!("record_write({write}, 5000, 7, 0, 7, 0)")).await;
    assert_eq!(recorded, [(0, 11), (0, 5000)]);
    assert_eq!(sizes(&format!("settle(1::smallint, {writer}, 1)")).await, recorded);
    let claimed = client.query_one(claim, &[]).await.unwrap();
    let writer = format!("{}, {}", claimed.get::<_, i32>(0), claimed.get::<_, i64>(1));
    let set = format!(
        "set_attributes({writer}, 2, 1::smallint, 900, {file}, ARRAY[416, 7, 8], NULL, 416, 7, 8, 100, NULL, NULL, false, NULL)"
    );
    assert_eq!(sizes(&set).await, [(0, 5000), (0, 100)]);
    let made = format!(
        "make_object({writer}, 3, 1::smallint, 900, {root}, 'new', ARRAY[493, 0, 0], \
         '01900000-0000-7000-8000-00000000000a', 1::smallint, 420, 0, 0, 0, 1, 1, \
         '01900000-0000-7000-8000-0000000000ca', NULL, NULL, NULL)"
    );
    assert_eq!(sizes(&made).await, [(0, 4096), (0, 4096), (0, 0)]);
    let sum = "SELECT sum(files)::bigint, sum(bytes)::bigint FROM writer_slots WHERE share_id = 1";
    let sum = client.query_one(sum, &[]).await.unwrap();
    assert_eq!((sum.get::<_, i64>(0), sum.get::<_, i64>(1)), (6, 101));
    // And they are taken over again.
    assert_eq!(up(&settings, None).await, newest(&settings).await);
    let fixture = Fixture::on(settings, database).await;
    fixture.sound().await;
    let directory = fixture.root();
    let file = fixture.store.lookup(&fixture.cx(), directory, &name("g")).await.unwrap();
    assert_eq!(file.object.map(|file| (file.size, file.used)), Some((100, 4096)));
}

/// A folder with the built-in migrations and further files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
    for entry in std::fs::read_dir(built_in).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    for (file, text) in files {
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    folder
}

fn with_folder(settings: &Settings, folder: &TempDir) -> Settings {
    Settings { migrations_path: Some(folder.path().to_path_buf()), ..settings.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_leaves_the_version_before() {
    let database = TestDatabase::create().await;
    let settings = database.settings();
    let newest = newest(&settings).await;
    let (good, bad) = (newest + 1, newest + 2);
    let good_file = format!("V{good}__good.sql");
    let bad_file = format!("V{bad}__bad.sql");
    let folder = folder(&[
        (&good_file, "CREATE TABLE good (n integer);"),
        (&bad_file, "CREATE TABLE bad (n integer);\nSELECT none_such;\n"),
        (&format!("V{good}__good.down.sql"), "-- Destroys good.\nDROP TABLE good; SELECT 1 / 0;"),
    ]);
    let own = with_folder(&settings, &folder);
    let failed = schema(&own).await.up(None, &|_| {}).await.unwrap_err();
    let SchemaError::Step { version, place, .. } = refused(failed) else { panic!() };
    assert_eq!(version, bad);
    assert!(place.contains(&format!("{bad_file}, line 2")), "{place}");
    let client = connect(&settings).await;
    let there = "SELECT to_regclass('good') IS NOT NULL, to_regclass('bad') IS NOT NULL";
    let row = client.query_one(there, &[]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), (true, false));
    assert_eq!(schema(&own).await.status().await.unwrap().present(), good);

    // Nor does a way back that fails change anything.
    let failed = schema(&own).await.down(None, &|_| {}).await.unwrap_err();
    assert!(matches!(refused(failed), SchemaError::Step { version, .. } if version == good));
    assert_eq!(schema(&own).await.status().await.unwrap().present(), good);
    assert!(client.query_one(there, &[]).await.unwrap().get::<_, bool>(0));

    // This program serves what it was built for, whatever a folder has.
    for auto_migrate in [false, true] {
        let own = Settings { auto_migrate, ..own.clone() };
        let refusal = refused(PostgresStore::connect(own).await.unwrap_err());
        let right = match &refusal {
            SchemaError::Newer { present, .. } => !auto_migrate && *present == good,
            SchemaError::Folder { .. } => auto_migrate,
            _ => false,
        };
        assert!(right, "{refusal:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn timeouts_of_the_role_do_not_end_a_migration() {
    let database = TestDatabase::create().await;
    let settings = database.settings();
    let set = [
        "statement_timeout = '2s'",
        "lock_timeout = '2s'",
        "idle_in_transaction_session_timeout = '2s'",
    ];
    // They count for sessions that begin later.
    let client = connect(&settings).await;
    for set in set {
        let statement = format!("ALTER DATABASE {} SET {set}", settings.target.database);
        client.batch_execute(&statement).await.unwrap();
    }
    let next = newest(&settings).await + 1;
    let file = format!("V{next}__slow.sql");
    let folder = folder(&[(&file, "SELECT pg_sleep(3);")]);
    // A second one waits for the first, longer than the timeouts.
    let own = with_folder(&settings, &folder);
    let (one, other) = tokio::join!(up(&own, None), up(&own, None));
    assert_eq!((one, other), (next, next));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_of_another_origin_is_refused() {
    for (change, word) in [
        ("UPDATE refinery_schema_history SET checksum = '1' WHERE version = 1", "another text"),
        ("UPDATE refinery_schema_history SET checksum = NULL WHERE version = 2", "another text"),
        (
            "UPDATE refinery_schema_history SET name = 'people' WHERE version = 1",
            "is called people",
        ),
        ("DELETE FROM refinery_schema_history WHERE version = 1", "was passed over"),
        ("INSERT INTO refinery_schema_history VALUES (0, 'x', 'never', 'none')", "unknown here"),
    ] {
        let database = TestDatabase::create().await;
        let settings = database.settings();
        up(&settings, None).await;
        connect(&settings).await.batch_execute(change).await.unwrap();
        let mut schema = schema(&settings).await;
        let refusals = [
            PostgresStore::connect(settings).await.map(|_| ()).unwrap_err(),
            schema.up(None, &|_| {}).await.map(|_| ()).unwrap_err(),
            schema.down(Some(0), &|_| {}).await.map(|_| ()).unwrap_err(),
        ];
        for refusal in refusals {
            let refusal = refused(refusal);
            assert!(matches!(&refusal, SchemaError::Diverged(_)), "{refusal:?}");
            assert!(refusal.to_string().contains(word), "{refusal}");
        }
        assert!(schema.status().await.unwrap().verdict.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_are_versions_that_there_are() {
    let database = TestDatabase::create().await;
    let settings = database.settings();
    let mut schema = schema(&settings).await;
    let newest = schema.status().await.unwrap().needed;
    for none in [-1, 0, newest + 1] {
        let refusal = refused(schema.up(Some(none), &|_| {}).await.unwrap_err());
        assert!(matches!(refusal, SchemaError::NoVersion { .. }), "{refusal}");
    }
    assert_eq!(schema.down(None, &|_| {}).await.unwrap(), 0, "nothing to take back");
    schema.up(Some(1), &|_| {}).await.unwrap();
    let told = Mutex::new(Vec::new());
    let report = |event: Event<'_>| {
        if let Event::Done(_, version, ..) = event {
            told.lock().unwrap().push(version);
        }
    };
    assert_eq!(schema.up(None, &report).await.unwrap(), newest);
    assert_eq!(schema.up(Some(1), &report).await.unwrap(), newest, "no way down");
    assert_eq!(schema.down(Some(newest), &report).await.unwrap(), newest, "no way up");
    assert!(schema.down(Some(newest + 1), &report).await.is_err());
    let all = versions().await;
    assert_eq!(*told.lock().unwrap(), all[1..]);
    // A folder without a way back.
    let folder = folder(&[]);
    std::fs::remove_file(folder.path().join("V2__operations.down.sql")).unwrap();
    let mut schema = self::schema(&with_folder(&settings, &folder)).await;
    let refusal = refused(schema.down(Some(1), &|_| {}).await.unwrap_err());
    assert!(matches!(refusal, SchemaError::NoWayBack(2)), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_taken_back_under_a_server() {
    let fixture = Fixture::new().await;
    fixture.file(fixture.root(), "f").await;
    let mut schema = schema(&fixture.database.settings()).await;
    let descent = schema.descent(Some(0)).await.unwrap();
    assert_eq!(descent.holds, "shares: 1; files, directories and links: 2");
    assert_eq!(descent.users.len(), 1, "{descent:?}");
    let refusal = refused(schema.down(None, &|_| {}).await.unwrap_err());
    let SchemaError::InUse(users) = &refusal else { panic!("{refusal}") };
    assert!(users[0].contains("of the role ") && users[0].contains("pid "), "{users:?}");
    fixture.sound().await;
    fixture.store.close().await;
    crate::support::until(&fixture.database, "the store closes", "application_name = 'trunkfs'", 0)
        .await;
    assert_eq!(schema.down(Some(0), &|_| {}).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_checked() {
    let database = TestDatabase::create().await;
    let settings = database.settings();
    up(&settings, None).await;
    let cases: [(&[(&str, &str)], &str); 6] = [
        (&[("V99.5__half.sql", "SELECT 1;")], "V99.5__half.sql is not of the form"),
        (&[("U99__loose.sql", "SELECT 1;")], "U99__loose.sql is not of the form"),
        (&[("V99__a-b.sql", "SELECT 1;")], "V99__a-b.sql is not of the form"),
        (&[("V02__again.sql", "SELECT 1;")], "two files have version 2"),
        (&[("V99__more.down.sql", "SELECT 1;")], "version 99 has a .down.sql but no .sql"),
        (
            &[("V99__a.sql", "SELECT 1;"), ("V99__b.down.sql", "SELECT 1;")],
            "the two files of version 99 have different names",
        ),
    ];
    for (files, word) in cases {
        let folder = folder(files);
        let refusal = PostgresSchema::connect(&with_folder(&settings, &folder)).await.unwrap_err();
        let refusal = refused(refusal).to_string();
        assert!(refusal.contains(word), "{refusal}");
        assert!(refusal.contains(&folder.path().display().to_string()), "{refusal}");
    }
    let empty = tempfile::tempdir().unwrap();
    let refusal = PostgresSchema::connect(&with_folder(&settings, &empty)).await.unwrap_err();
    assert!(refused(refusal).to_string().contains("no file V<number>"));
    let none = Settings { migrations_path: Some(empty.path().join("none")), ..settings.clone() };
    let refusal = PostgresStore::connect(none).await.unwrap_err();
    assert!(refused(refusal).to_string().contains("cannot be read"));

    // One that is as the built-in migrations are serves; one that differs in a byte does not.
    let same = folder(&[("README.md", "Other files do not matter.")]);
    let store = PostgresStore::connect(with_folder(&settings, &same)).await.unwrap();
    store.open_share(&share_spec()).await.unwrap();
    let other = std::fs::read_to_string(same.path().join("V1__tables.sql")).unwrap() + "\n";
    std::fs::write(same.path().join("V1__tables.sql"), other).unwrap();
    let refusal = PostgresStore::connect(with_folder(&settings, &same)).await.unwrap_err();
    assert!(matches!(refused(refusal), SchemaError::Diverged(_)));
}
