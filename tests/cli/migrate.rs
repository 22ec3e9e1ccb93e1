//! `trunkfs migrate`, and what `serve` says of a schema: every message and exit status.

use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio_postgres::Client;
use trunkfs::metadata::postgres::Settings;
use trunkfs::metadata::postgres::target::Host;

use super::database::{TestDatabase, connect};
use super::port::Reserved;
use super::process::{Finished, Running, folder, patiently, run, trunkfs};

/// The newest version; a new one must be looked at here.
const NEWEST: i32 = 15;
const NEWEST_OF_SQLITE: i32 = 5;
/// That of a migration that waits, in a folder of its own.
const SLOW: i32 = NEWEST + 1;

/// A configuration with a store `main` in the database and one in memory, for `role`.
fn configured(settings: &Settings, role: &str, more: &str) -> TempDir {
    folder(&format!(
        "
server: {{ listen: '127.0.0.1:0' }}
metadata:
  stores:
    main:
      type: postgres
      postgres: {{ host: {:?}, port: {}, database: {:?}, user: {role:?}, password: {:?}{more} }}
    other: {{ type: memory }}
content: {{ stores: {{ c: {{ type: memory }} }} }}
shares:
  - name: /e
    metadata_store: main
    content_store: c
    clients: [ {{ network: 127.0.0.0/8, squash: no_root_squash }} ]
",
        settings.target.hosts[0].name,
        settings.target.hosts[0].port,
        settings.target.database,
        settings.target.password.as_deref().unwrap_or_default()
    ))
}

/// A database, and a folder with its configuration.
async fn scene() -> (TestDatabase, TempDir) {
    let database = TestDatabase::create().await;
    let settings = database.settings();
    let folder = configured(&settings, &settings.target.user, "");
    (database, folder)
}

fn url(settings: &Settings) -> String {
    let target = &settings.target;
    let Host { name, port } = &target.hosts[0];
    format!("postgres://{}@{name}:{port}/{}", target.user, target.database)
}

/// `trunkfs migrate` with these words and the configuration.
fn command(folder: &TempDir, words: &[&str]) -> Command {
    trunkfs(folder.path(), &[&["migrate"], words, &["--config", "t.yaml"]].concat())
}

async fn migrate(folder: &TempDir, words: &[&str]) -> Finished {
    run(command(folder, words)).await
}

async fn serve(folder: &TempDir) -> Finished {
    run(trunkfs(folder.path(), &["serve", "--config", "t.yaml"])).await
}

/// The run ended so, and standard output has every word.
#[track_caller]
fn said(finished: &Finished, status: i32, words: &[&str]) {
    assert_eq!(finished.status, Some(status), "{finished:?}");
    for word in words {
        assert!(finished.out.contains(word), "no {word:?} in\n{}", finished.out);
    }
}

/// The run failed so; standard error has every word.
#[track_caller]
fn refused(finished: &Finished, status: i32, words: &[&str]) {
    assert_eq!(finished.status, Some(status), "{finished:?}");
    for word in words {
        assert!(finished.err.contains(word), "no {word:?} in\n{}", finished.err);
    }
}

#[tokio::test]
async fn a_schema_is_made_served_and_taken_back() {
    let (database, folder) = scene().await;
    let name = database.settings().target.database;
    let up = "to fix it: trunkfs migrate up --store main --config t.yaml";
    serve(&folder)
        .await
        .failed_with(1, &["metadata.stores.main", &name, "no TrunkFS tables found", up]);
    let status = migrate(&folder, &["status"]).await;
    said(
        &status,
        3,
        &["store main, the database", &name, "1        tables      pending", "behind: ", up],
    );

    let done = migrate(&folder, &["up", "--to", "1"]).await;
    said(
        &done,
        0,
        &["store main, the database", "applied V1 tables in ", "the schema has version 1"],
    );
    serve(&folder)
        .await
        .failed_with(1, &[&format!("the schema has version 1, this program needs {NEWEST}; "), up]);
    said(
        &migrate(&folder, &["status"]).await,
        3,
        &["tables      applied  20", "operations  pending"],
    );
    said(
        &migrate(&folder, &["up"]).await,
        0,
        &[
            "applied V2 operations in ",
            "applied V9 locks in ",
            "applied V10 servers in ",
            "applied V14 clients in ",
            "applied V15 waiters in ",
            &format!("the schema has version {NEWEST}"),
        ],
    );
    said(
        &migrate(&folder, &["up"]).await,
        0,
        &[&format!("nothing to do: the schema has version {NEWEST}")],
    );
    said(&migrate(&folder, &["status"]).await, 0, &[&format!("up to date: version {NEWEST}")]);

    // While it is served nothing is taken back.
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    let all = ["down", "--to", "0"];
    let words = [
        &format!("from version {NEWEST} to 0"),
        "V1 tables: Destroys",
        "shares: 1; files, directories and links: 1",
        "The store is in use: ",
        "--yes",
    ];
    refused(&migrate(&folder, &all).await, 1, &words);
    let yes = ["down", "--to", "0", "--yes"];
    refused(&migrate(&folder, &yes).await, 1, &["in use by a server: ", "pid ", "stop it first"]);
    server.stop().await;
    until(&connect(&database.settings()).await, SERVING, 0).await;

    let asked = migrate(&folder, &["down"]).await;
    let words = [
        &format!("from version {NEWEST} to {}", NEWEST - 1),
        &format!("V{NEWEST} "),
        "Make a backup",
        "pg_dump",
    ];
    refused(&asked, 1, &words);
    assert!(!asked.err.contains("in use") && !asked.err.contains("V3"), "{asked:?}");
    said(
        &migrate(&folder, &yes).await,
        0,
        &[
            "reverted V14",
            "reverted V9",
            "reverted V8",
            "reverted V7",
            "reverted V6",
            "reverted V5",
            "reverted V3",
            "reverted V2",
            "reverted V1",
            "the schema has version 0",
        ],
    );
    said(&migrate(&folder, &yes).await, 0, &["nothing to do: the schema has version 0"]);
    said(&migrate(&folder, &["status"]).await, 3, &["behind: schema missing"]);
}

#[tokio::test]
async fn a_schema_of_another_program_is_refused() {
    let (database, folder) = scene().await;
    said(&migrate(&folder, &["up"]).await, 0, &[]);
    let client = connect(&database.settings()).await;
    let later = &format!(
        "INSERT INTO refinery_schema_history VALUES ({}, 'later', '2030-01-01T00:00:00Z', '1')",
        NEWEST + 1
    );
    client.batch_execute(later).await.unwrap();
    let newer = format!("the schema has version {}, newer than version {NEWEST}", NEWEST + 1);
    let words = [&*newer, "upgrade TrunkFS"];
    serve(&folder).await.failed_with(1, &words);
    for words_of in [&["up"][..], &["down", "--yes"], &["down"]] {
        refused(&migrate(&folder, words_of).await, 1, &words);
    }
    said(&migrate(&folder, &["status"]).await, 4, &["later       foreign  2030", "unsupported: "]);

    let other = format!(
        "DELETE FROM refinery_schema_history WHERE version > {NEWEST};
         UPDATE refinery_schema_history SET checksum = '12' WHERE version = 1"
    );
    client.batch_execute(&other).await.unwrap();
    let words =
        ["version 1 (tables) was applied from another text (checksum 12 there", "migrations_path"];
    serve(&folder).await.failed_with(1, &words);
    refused(&migrate(&folder, &["up"]).await, 1, &words);
    said(&migrate(&folder, &["status"]).await, 4, &["tables      foreign", "unsupported: "]);
}

#[tokio::test]
async fn status_is_there_for_programs_too() {
    let (_database, folder) = scene().await;
    said(&migrate(&folder, &["up", "--to", "1"]).await, 0, &[]);
    let status = migrate(&folder, &["status", "--json"]).await;
    assert_eq!(status.status, Some(3), "{status:?}");
    let object: serde_json::Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!(object["state"], "behind");
    assert_eq!(
        (object["version"].as_i64(), object["needed"].as_i64()),
        (Some(1), Some(NEWEST.into()))
    );
    assert_eq!(object["store"], "main");
    assert_eq!(object["versions"][0]["name"], "tables");
    assert!(object["versions"][0]["applied_on"].as_str().unwrap().ends_with('Z'), "{object}");
    assert_eq!(object["versions"][1]["state"], "pending");
    assert!(object["versions"][1]["applied_on"].is_null());
}

#[tokio::test]
async fn the_database_is_found_in_the_order_that_is_said() {
    let (database, folder) = scene().await;
    let elsewhere = TestDatabase::create().await;
    let (here, there) = (database.settings(), elsewhere.settings());
    let with = |words: &[&str], variable: &str| {
        let mut command = trunkfs(folder.path(), &[&["migrate", "status"], words].concat());
        command.env("DATABASE_URL", variable).env("TRUNKFS_CONFIG", "t.yaml");
        command
    };
    for (words, variable, expected) in [
        (&["--database-url", &url(&there)][..], url(&here), &there.target.database),
        (&["--store", "main"], url(&there), &here.target.database),
        (&[], url(&there), &there.target.database),
        (&[], String::new(), &here.target.database),
    ] {
        said(&run(with(words, &variable)).await, 3, &[expected]);
    }
    let mut told = trunkfs(folder.path(), &["migrate", "status", "--config", "t.yaml"]);
    told.env("DATABASE_URL", url(&there));
    said(&run(told).await, 3, &[&here.target.database]);
    let both = ["--store", "main", "--database-url", &url(&there)];
    run(with(&both, "")).await.failed_with(2, &["--store", "--database-url"]);
    run(with(&["--store", "mian"], "")).await.failed_with(2, &["no store mian", "main"]);
    run(with(&["--store", "other"], "")).await.failed_with(2, &["other is in memory"]);
    let nobody = run(with(&["--database-url", "postgres://nobody.example/"], "")).await;
    nobody.failed_with(2, &["the database URL cannot be used: the URL has no user; write "]);

    let two = std::fs::read_to_string(folder.path().join("t.yaml")).unwrap();
    let two = two.replace("other: { type: memory }", "other: { type: postgres, postgres: {} }");
    std::fs::write(folder.path().join("t.yaml"), two).unwrap();
    run(with(&[], "")).await.failed_with(2, &["several metadata stores", "--store: main, other"]);
    let none = run(trunkfs(folder.path(), &["migrate", "status", "--data", "new"])).await;
    said(&none, 3, &["new/metadata.sqlite\n", "1        tables   pending"]);
    assert!(!folder.path().join("new").exists(), "status makes nothing");
    let (mut silent, closed) = (here.clone(), Reserved::new());
    silent.target.hosts[0].port = closed.port;
    let gone = run(with(&["--database-url", &url(&silent)], "")).await;
    gone.failed_with(1, &["cannot open the database", &silent.target.hosts[0].port.to_string()]);
}

/// A SQLite file shows its versions, is brought up to date ahead of its server, and is not taken back.
#[tokio::test]
async fn a_sqlite_file_is_looked_at_and_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let file = "data/metadata.sqlite\n";
    let migrate = async |words: &[&str]| {
        let words = [&["migrate"], words, &["--data", "data"]].concat();
        run(trunkfs(folder.path(), &words)).await
    };
    said(&migrate(&["up", "--to", "9"]).await, 1, &[]);
    said(
        &migrate(&["up"]).await,
        0,
        &[
            file,
            "applied V1 tables in ",
            "applied V4 replies in ",
            &format!("the schema has version {NEWEST_OF_SQLITE}"),
        ],
    );
    let nothing = format!("nothing to do: the schema has version {NEWEST_OF_SQLITE}");
    said(&migrate(&["up"]).await, 0, &[file, &nothing]);
    let serve = ["--listen", "127.0.0.1:0", "--data", "data"];
    let server = Running::start(folder.path(), &serve, 1).await;
    let current = format!("up to date: version {NEWEST_OF_SQLITE}");
    said(&migrate(&["status"]).await, 0, &["1        tables   applied  2", &current]);
    let json = migrate(&["status", "--json"]).await;
    said(&json, 0, &["\"state\":\"current\""]);
    migrate(&["down", "--yes"]).await.failed_with(1, &["metadata.sqlite", "a copy of the file"]);
    let words = ["--migrations-path", "."];
    migrate(&[&["up"], &words[..]].concat()).await.failed_with(2, &["omit --migrations-path"]);
    server.stop().await;
}

/// A role without any right, gone with the value. Made before the database that it is used in, so that it is
/// dropped after it.
struct Role {
    server: Settings,
    name: String,
}

impl Role {
    async fn create(server: &Settings) -> Self {
        let name = format!("trunkfs_test_{}", uuid::Uuid::new_v4().simple());
        let statement = format!("CREATE ROLE {name} LOGIN");
        connect(server).await.batch_execute(&statement).await.unwrap();
        Self { server: server.clone(), name }
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let (server, statement) = (self.server.clone(), format!("DROP ROLE {}", self.name));
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                connect(&server).await.batch_execute(&statement).await.unwrap();
            });
        });
        assert!(
            cleaning.join().is_ok() || std::thread::panicking(),
            "{} was not dropped",
            self.name
        );
    }
}

#[tokio::test]
async fn a_role_that_may_not_make_tables_serves_those_of_another() {
    let cluster = TestDatabase::create().await;
    let (owner, plain) =
        (Role::create(&cluster.settings()).await, Role::create(&cluster.settings()).await);
    let database = TestDatabase::create().await;
    let settings = database.settings();
    let admin = connect(&settings).await;
    let hand_over = format!("ALTER DATABASE {} OWNER TO {}", settings.target.database, owner.name);
    admin.batch_execute(&hand_over).await.unwrap();

    let serving = configured(&settings, &plain.name, "");
    let cannot = migrate(&serving, &["up"]).await;
    refused(
        &cannot,
        1,
        &[
            "applying version 1 failed and changed nothing",
            "permission denied",
            "owner of the database",
        ],
    );
    let migrating = configured(&settings, &owner.name, "");
    said(&migrate(&migrating, &["up"]).await, 0, &[&format!("the schema has version {NEWEST}")]);
    let grants = format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {0};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {0}",
        plain.name
    );
    let mut as_owner = settings.clone();
    as_owner.target.user.clone_from(&owner.name);
    connect(&as_owner).await.batch_execute(&grants).await.unwrap();
    let server = Running::start(serving.path(), &["--config", "t.yaml"], 1).await;
    // The owner, no superuser either, sees who uses it.
    let in_use = migrate(&migrating, &["down", "--yes"]).await;
    refused(&in_use, 1, &["in use by a server: ", &plain.name]);
    server.stop().await;
    // Where nothing is pending auto_migrate needs no right to make tables.
    let automatic = configured(&settings, &plain.name, ", auto_migrate: true");
    Running::start(automatic.path(), &["--config", "t.yaml"], 1).await.stop().await;
    until(&admin, SERVING, 0).await;
    said(
        &migrate(&migrating, &["down", "--to", "0", "--yes"]).await,
        0,
        &["the schema has version 0"],
    );
}

#[tokio::test]
async fn four_instances_start_at_once_on_an_empty_database() {
    let database = TestDatabase::create().await;
    let settings = database.settings();
    let folder = configured(&settings, &settings.target.user, ", auto_migrate: true");
    let start = || Running::start(folder.path(), &["--config", "t.yaml"], 1);
    let (one, two, three, four) = tokio::join!(start(), start(), start(), start());
    let mut handles = Vec::new();
    for instance in [&one, &two, &three, &four] {
        let mut connection = super::client::Connection::open(instance.address).await;
        let export = super::client::Writer::new().opaque(b"/e");
        let call = super::client::Call::new(100_005, 3, 1).arguments(export);
        let mut results = connection.call(call).await.results();
        assert_eq!(results.u32(), 0, "mountstat3");
        handles.push(results.opaque());
    }
    assert!(handles.iter().all(|handle| *handle == handles[0]), "{handles:?}");
    for instance in [one, two, three, four] {
        instance.stop().await;
    }
}

/// The embedded migrations and one that waits for a lock that a test holds.
fn waiting_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
    for entry in std::fs::read_dir(built_in).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let waiting = "CREATE TABLE slow (n integer); SELECT pg_advisory_xact_lock(4711, 4711);";
    std::fs::write(folder.path().join(format!("V{SLOW}__slow.sql")), waiting).unwrap();
    folder
}

async fn hold(settings: &Settings) -> Client {
    let holder = connect(settings).await;
    holder.batch_execute("SELECT pg_advisory_lock(4711, 4711)").await.unwrap();
    holder
}

/// Waits until a condition on `pg_stat_activity` holds for so many sessions of the database.
async fn until(client: &Client, condition: &str, count: i64) {
    let statement = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {condition}"
    );
    patiently(async {
        while client.query_one(&statement, &[]).await.unwrap().get::<_, i64>(0) != count {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
}

const SERVING: &str = "application_name = 'trunkfs'";
const MIGRATING: &str = "application_name = 'trunkfs migrations'";
const WAITS: &str = "application_name = 'trunkfs migrations' AND wait_event = 'advisory'";

fn spawned(folder: &TempDir, words: &[&str]) -> Child {
    command(folder, words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

async fn ended(child: Child) -> Finished {
    let output = patiently(child.wait_with_output()).await.unwrap();
    Finished {
        status: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn kill(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}

#[tokio::test]
async fn migrations_take_turns() {
    let (database, folder) = scene().await;
    let migrations = waiting_folder();
    let words = ["up", "--migrations-path", migrations.path().to_str().unwrap()];
    let holder = hold(&database.settings()).await;
    let watch = connect(&database.settings()).await;
    let first = spawned(&folder, &words);
    until(&watch, WAITS, 1).await;
    let mut second = spawned(&folder, &words);
    let mut line = String::new();
    let mut errors = BufReader::new(second.stderr.take().unwrap());
    patiently(errors.read_line(&mut line)).await.unwrap();
    assert!(line.contains("waiting for another migration"), "{line}");
    drop(holder);
    let first = ended(first).await;
    said(
        &first,
        0,
        &[
            "applied V1",
            &format!("applied V{NEWEST}"),
            &format!("applied V{SLOW} slow in "),
            &format!("the schema has version {SLOW}"),
        ],
    );
    let second = ended(second).await;
    said(&second, 0, &[&format!("nothing to do: the schema has version {SLOW}")]);
    assert!(!second.out.contains("applied V"), "{second:?}");
}

#[tokio::test]
async fn a_migration_that_is_killed_or_stopped_leaves_the_version_before() {
    let (database, folder) = scene().await;
    let migrations = waiting_folder();
    let words = ["up", "--migrations-path", migrations.path().to_str().unwrap()];
    let status = ["status", words[1], words[2]];
    let watch = connect(&database.settings()).await;
    for signal in [Signal::KILL, Signal::INT] {
        let holder = hold(&database.settings()).await;
        let child = spawned(&folder, &words);
        until(&watch, WAITS, 1).await;
        kill(&child, signal);
        let finished = ended(child).await;
        if signal == Signal::INT {
            refused(&finished, 1, &["interrupted", "trunkfs migrate status"]);
        }
        // The server rolls back by itself, though the statement could go on for ever.
        until(&watch, MIGRATING, 0).await;
        drop(holder);
        said(&migrate(&folder, &status).await, 0, &["operations  applied", "slow        pending"]);
        let slow = watch.query_one("SELECT to_regclass('slow') IS NULL", &[]).await.unwrap();
        assert!(slow.get::<_, bool>(0));
    }
    said(
        &migrate(&folder, &words).await,
        0,
        &[&format!("applied V{SLOW} slow"), &format!("the schema has version {SLOW}")],
    );
}

#[tokio::test]
async fn a_folder_of_migrations_is_named_where_it_is_wrong() {
    let (database, folder) = scene().await;
    let empty = tempfile::tempdir().unwrap();
    let path = empty.path().to_str().unwrap();
    let words = ["status", "--migrations-path", path];
    migrate(&folder, &words).await.failed_with(1, &[path, "no file V<number>__<name>.sql"]);
    let words = ["up", "--migrations-path", "none"];
    migrate(&folder, &words).await.failed_with(1, &["none", "cannot be read"]);
    let migrations = waiting_folder();
    let settings = database.settings();
    let more = format!(", auto_migrate: true, migrations_path: {:?}", migrations.path());
    let newer = configured(&settings, &settings.target.user, &more);
    serve(&newer).await.failed_with(
        1,
        &[&format!("newest version is {}, this program needs version {NEWEST}", NEWEST + 1)],
    );
    said(&migrate(&folder, &["status"]).await, 3, &["operations  pending"]);
    std::fs::remove_file(migrations.path().join(format!("V{SLOW}__slow.sql"))).unwrap();
    Running::start(newer.path(), &["--config", "t.yaml"], 1).await.stop().await;
}
