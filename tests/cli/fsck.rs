//! `trunkfs fsck` as an administrator runs it: exit statuses, what it says, beside a server and against one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::database::{TestDatabase, connect};
use super::dump::{command, folder, furnish, serve};
use super::process::{Finished, Watched, patiently, run, trunkfs};

/// Runs it on the SQLite store.
async fn fsck(folder: &TempDir, arguments: &[&str]) -> Finished {
    command(folder.path(), &[&["fsck", "--store", "small"], arguments].concat()).await
}

/// The case fails unless the status and every word of standard output are as expected.
#[track_caller]
fn said(finished: &Finished, status: i32, words: &[&str]) {
    assert_eq!(finished.status, Some(status), "{finished:?}");
    for word in words {
        assert!(finished.out.contains(word), "no {word:?} in {finished:?}");
    }
}

fn sqlite(folder: &TempDir, sql: &str) {
    let connection = rusqlite::Connection::open(folder.path().join("small.db")).unwrap();
    connection.execute_batch(sql).unwrap();
}

/// The only file of content that has bytes.
fn content(folder: &TempDir) -> PathBuf {
    let below = |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let folders = below(&folder.path().join("content")).filter(|path| path.is_dir());
    let mut files = folders.flat_map(|path| below(&path).collect::<Vec<_>>());
    files.find(|path| path.is_file() && path.metadata().unwrap().len() == 5).unwrap()
}

/// A folder whose SQLite store has been served: `directory` and `file`, which has five bytes.
async fn served(database: &TestDatabase) -> TempDir {
    let folder = folder(database);
    let (server, mut connection) = serve(&folder, "small").await;
    furnish(&mut connection).await;
    server.stop().await;
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_store_is_checked_while_it_is_served_and_repaired_when_it_is_not() {
    let database = TestDatabase::create().await;
    let folder = folder(&database);
    let (server, mut connection) = serve(&folder, "small").await;
    furnish(&mut connection).await;
    said(&fsck(&folder, &[]).await, 0, &["3 objects, 2 entries, 1 contents", "errors: 0"]);
    // The server takes no notice of another program's changes while it has no call.
    sqlite(&folder, "DELETE FROM parent_child_map WHERE child_name = CAST('file' AS BLOB)");
    let found = fsck(&folder, &[]).await;
    said(&found, 4, &["/e: the file ", " is orphaned", "a repair links it into lost+found"]);
    let refused = fsck(&folder, &["--repair"]).await;
    assert_eq!(refused.status, Some(8), "{refused:?}");
    for word in ["stop the server", "--repair", "in use by another server: process "] {
        assert!(refused.err.contains(word), "{refused:?}");
    }
    server.stop().await;
    said(&fsck(&folder, &["--repair"]).await, 1, &["; corrected", "errors: 1, corrected: 1"]);
    said(&fsck(&folder, &[]).await, 0, &["4 objects, 3 entries, 1 contents", "errors: 0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_repaired_while_it_is_served() {
    let database = TestDatabase::create().await;
    let folder = folder(&database);
    let (server, mut connection) = serve(&folder, "large").await;
    furnish(&mut connection).await;
    let fsck = async |arguments: &[&str]| {
        let arguments = [&["fsck", "--config", "large.yaml"], arguments].concat();
        run(trunkfs(folder.path(), &arguments)).await
    };
    said(&fsck(&["--store", "large"]).await, 0, &["errors: 0"]);
    let client = connect(&database.settings()).await;
    let sql = "UPDATE files SET subdirs = 7 WHERE parent_id = id; DELETE FROM parent_child_map WHERE child_name = 'file'";
    client.batch_execute(sql).await.unwrap();
    let found = fsck(&["--store", "large", "--json"]).await;
    said(&found, 4, &[]);
    let lines: Vec<serde_json::Value> =
        found.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = lines.iter().filter_map(|line| line["kind"].as_str()).collect();
    assert_eq!(kinds, ["no_name", "subdirectory_count"], "{found:?}");
    assert_eq!(lines[1]["path"], "/e");
    assert_eq!(lines[1]["share"], "/e");
    assert_eq!(lines[1]["store"], "large");
    assert_eq!(lines[1]["outcome"], "found");
    assert_eq!(lines[2]["summary"]["findings"], 2);
    assert_eq!(lines[2]["summary"]["status"], 4);
    said(&fsck(&["--store", "large", "--share", "/e", "--repair"]).await, 1, &["corrected: 2"]);
    said(&fsck(&["--store", "large"]).await, 0, &["errors: 0"]);
    let none = fsck(&["--store", "large", "--share", "/f"]).await;
    assert!(none.err.contains("there is no share /f in large"), "{none:?}");
    assert_eq!(none.status, Some(16));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_gone_are_found() {
    let database = TestDatabase::create().await;
    let folder = served(&database).await;
    let content = content(&folder);
    fs::write(&content, b"hello, longer than recorded").unwrap();
    said(&fsck(&folder, &[]).await, 0, &["1 contents", "errors: 0"]);
    fs::write(&content, b"hel").unwrap();
    let short = fsck(&folder, &["--repair"]).await;
    said(
        &short,
        4,
        &["/e/file: the content ", "truncated: 3 of 5 bytes", "not corrected, restore its content"],
    );
    fs::remove_file(&content).unwrap();
    let missing = fsck(&folder, &["--json"]).await;
    said(&missing, 4, &["\"kind\":\"content_missing\"", "\"path\":\"/e/file\""]);
    said(&fsck(&folder, &["--no-content"]).await, 0, &["0 contents", "errors: 0"]);
    // Several names are one file.
    sqlite(
        &folder,
        "INSERT INTO parent_child_map SELECT parent_id, CAST('more' AS BLOB), child_id, 900 FROM parent_child_map
          WHERE child_name = CAST('file' AS BLOB)",
    );
    let both = fsck(&folder, &["--repair"]).await;
    said(&both, 5, &["has a link count of 1, but 2 names; corrected", "errors: 2, corrected: 1"]);
}

/// A file that is recorded to be all hole, and whose content has a block.
#[tokio::test(flavor = "multi_thread")]
async fn used_bytes_are_held_against_what_is_allocated() {
    let database = TestDatabase::create().await;
    let folder = served(&database).await;
    let content = fs::File::options().write(true).open(content(&folder)).unwrap();
    content.set_len(1 << 20).unwrap();
    sqlite(
        &folder,
        "UPDATE share_usage SET bytes_low = bytes_low - (SELECT used FROM files WHERE file_type = 1 AND size = 5);
         UPDATE files SET size = 1048576, used = 0 WHERE file_type = 1 AND size = 5",
    );
    // A server may have written to it just now.
    said(&fsck(&folder, &[]).await, 0, &["errors: 0"]);
    content.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600)).unwrap();
    let found = fsck(&folder, &["--json"]).await;
    said(&found, 4, &["\"kind\":\"used_too_little\"", "\"path\":\"/e/file\""]);
    said(&fsck(&folder, &["--no-content"]).await, 0, &["errors: 0"]);
    let repaired = fsck(&folder, &["--repair"]).await;
    said(&repaired, 1, &["/e/file: the file", "has 0 used bytes recorded", "; corrected"]);
    // The counters follow.
    said(&fsck(&folder, &[]).await, 0, &["errors: 0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn content_of_others_is_not_held_against_sizes() {
    let database = TestDatabase::create().await;
    let folder = served(&database).await;
    let at = |name: &str| folder.path().join(name);
    fs::rename(at("content"), at("away")).unwrap();
    let absent = fsck(&folder, &[]).await;
    said(&absent, 8, &["errors: 0"]);
    assert!(absent.err.contains("the content of /e: "), "{absent:?}");
    assert!(!at("content").exists(), "nothing is made");
    fs::create_dir(at("content")).unwrap();
    let identity = fs::read_to_string(at("away/.trunkfs-content.id")).unwrap();
    let other = "01930000-0000-7000-8000-0000000000aa\n";
    assert_ne!(identity, other);
    fs::rename(at("away"), at("kept")).unwrap();
    fs::remove_dir(at("content")).unwrap();
    // Another store of the same kind: that of a share of its own.
    let config = fs::read_to_string(at("small.yaml")).unwrap();
    fs::write(at("second.yaml"), config.replace("small.db", "second.db")).unwrap();
    let (server, _) = serve(&folder, "second").await;
    server.stop().await;
    let other = fsck(&folder, &[]).await;
    said(&other, 8, &["errors: 0"]);
    assert!(other.err.contains("holds other content"), "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_told_apart() {
    let database = TestDatabase::create().await;
    let folder = folder(&database);
    let fsck = async |arguments: &[&str]| {
        run(trunkfs(folder.path(), &[&["fsck"], arguments].concat())).await
    };
    let small = ["--config", "small.yaml"];
    for (arguments, word) in [
        (&["--store", "smal"][..], "no metadata store smal; it has large, memory, small"),
        (&["--store", "memory"], "the metadata store memory is in memory"),
        (&["--share", "e"], "write a name such as /export"),
        (&["--mend"], "unexpected argument '--mend'"),
    ] {
        fsck(&[arguments, &small].concat()).await.failed_with(16, &[word]);
    }
    fsck(&["--config", "none.yaml"]).await.failed_with(16, &["none.yaml"]);
    let help = fsck(&["--help"]).await;
    said(&help, 0, &["32 cancelled"]);
    let missing = fsck(&[&["--repair", "--store", "small"][..], &small].concat()).await;
    assert_eq!(missing.status, Some(8), "{missing:?}");
    assert!(!folder.path().join("small.db").exists(), "nothing is made to be repaired");
}

/// Waits until a session of the database waits for a lock.
async fn one_waits(looking: &tokio_postgres::Client) {
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    patiently(async {
        while looking.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Its connection is ended while it waits for a row that is held.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_loses_its_connection_begins_again() {
    let database = TestDatabase::create().await;
    let folder = folder(&database);
    let (server, mut connection) = serve(&folder, "large").await;
    furnish(&mut connection).await;
    server.stop().await;
    let mut client = connect(&database.settings()).await;
    let damage = "DELETE FROM parent_child_map; UPDATE files SET share_id = 99 WHERE file_type = 2 AND parent_id <> id";
    client.batch_execute(damage).await.unwrap();
    let held = client.transaction().await.unwrap();
    held.batch_execute("SELECT FROM files WHERE file_type = 1 FOR UPDATE").await.unwrap();
    let looking = connect(&database.settings()).await;
    let arguments = ["fsck", "--repair", "--config", "large.yaml", "--store", "large"];
    let fsck = Watched::start(trunkfs(folder.path(), &arguments));
    one_waits(&looking).await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
    assert_eq!(looking.query(end, &[]).await.unwrap().len(), 1);
    held.rollback().await.unwrap();
    let ended = fsck.finish().await;
    said(&ended, 5, &[]);
    assert!(ended.err.contains("the check starts again"), "{ended:?}");
    let strays = ended.out.matches("belongs to share number 99").count();
    assert_eq!(strays, 1, "what is found again is said once: {ended:?}");
}

/// The row that the repair wants to lock is held until the signal has arrived.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_repair_ends_after_the_transaction_under_way() {
    let database = TestDatabase::create().await;
    let folder = folder(&database);
    let (server, mut connection) = serve(&folder, "large").await;
    furnish(&mut connection).await;
    server.stop().await;
    let mut client = connect(&database.settings()).await;
    client.batch_execute("DELETE FROM parent_child_map").await.unwrap();
    let held = client.transaction().await.unwrap();
    held.batch_execute("SELECT FROM files WHERE file_type = 1 FOR UPDATE").await.unwrap();
    // What a transaction sees of other sessions stands still.
    let looking = connect(&database.settings()).await;
    let arguments = ["fsck", "--repair", "--config", "large.yaml", "--store", "large"];
    let mut fsck = Watched::start(trunkfs(folder.path(), &arguments));
    one_waits(&looking).await;
    fsck.signal(Signal::INT);
    fsck.line_with(&["a second signal stops at once"]).await;
    held.rollback().await.unwrap();
    let ended = fsck.finish().await;
    said(&ended, 33, &["errors: 1, corrected: 1"]);
    assert!(ended.err.contains("interrupted; corrections so far are kept"), "{ended:?}");
    let names = looking.query_one("SELECT count(*) FROM parent_child_map", &[]).await.unwrap();
    assert_eq!(names.get::<_, i64>(0), 2, "lost+found and the one object in it");
    let rest = run(trunkfs(folder.path(), &arguments)).await;
    said(&rest, 1, &["errors: 2, corrected: 2"]);
}
