//! A share moves from SQLite to PostgreSQL and back by files; handles and all that a client sees stay.

use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;

use super::client::Connection;
use super::database::{TestDatabase, connect};
use super::process::{Finished, Running, Watched, patiently, run, trunkfs};
use super::scene::{of, ok, root};

/// A folder with a configuration of both stores; the share is in `store`.
pub(crate) fn folder(database: &TestDatabase) -> TempDir {
    let folder = TempDir::new().unwrap();
    for store in ["small", "large"] {
        let text = format!(
            "server: {{ listen: 127.0.0.1:0 }}\n\
             metadata:\n  stores:\n    small:\n      type: sqlite\n      sqlite: {{ path: small.db }}\n    \
             large:\n      type: postgres\n      postgres: {{ url: \"{}\", auto_migrate: true }}\n    \
             memory: {{ type: memory }}\n\
             content:\n  stores:\n    disk:\n      type: filesystem\n      filesystem: {{ base_path: content }}\n\
             shares:\n  - name: /e\n    metadata_store: {store}\n    content_store: disk\n    \
             root: {{ mode: \"1777\" }}\n    clients:\n      - {{ network: 127.0.0.0/8, squash: no_root_squash }}\n",
            url(database)
        );
        std::fs::write(folder.path().join(format!("{store}.yaml")), text).unwrap();
    }
    folder
}

fn url(database: &TestDatabase) -> String {
    let server = std::env::var("TRUNKFS_TEST_DATABASE_URL").unwrap();
    let (before, _) = server.rsplit_once('/').unwrap();
    format!("{before}/{}", database.settings().target.database)
}

pub(crate) async fn serve(folder: &TempDir, store: &str) -> (Running, Connection) {
    let config = format!("{store}.yaml");
    let server = Running::start(folder.path(), &["--config", &config], 1).await;
    let connection = Connection::open(server.address).await;
    (server, connection)
}

pub(crate) async fn command(folder: &Path, arguments: &[&str]) -> Finished {
    let arguments = [arguments, &["--config", "small.yaml"]].concat();
    run(trunkfs(folder, &arguments)).await
}

#[track_caller]
fn went_well(finished: &Finished) {
    assert_eq!(finished.status, Some(0), "{finished:?}");
}

/// Makes a file with MKDIR and CREATE beside it, and gives the handles of both.
pub(crate) async fn furnish(connection: &mut Connection) -> Vec<Vec<u8>> {
    let top = root(connection).await;
    let mut handles = vec![top.clone()];
    for (procedure, name) in [(9, "directory"), (8, "file")] {
        let arguments = of(&top).opaque(name.as_bytes());
        // CREATE has the mode of creation before the attributes; of these only the mode is set.
        let arguments = if procedure == 8 { arguments.u32(0) } else { arguments };
        let arguments = arguments.u32(1).u32(0o700).u32(0).u32(0).u32(0).u32(0).u32(0);
        let mut made = ok(connection, procedure, arguments).await;
        assert_eq!(made.u32(), 1, "a handle follows");
        handles.push(made.opaque());
    }
    // WRITE, FILE_SYNC.
    ok(connection, 7, of(&handles[2]).u64(0).u32(5).u32(2).opaque(b"hello")).await;
    handles
}

/// What GETATTR answers for each handle: every attribute.
async fn attributes(connection: &mut Connection, handles: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for handle in handles {
        all.push(ok(connection, 1, of(handle)).await.fixed(84));
    }
    all
}

#[tokio::test]
async fn a_share_moves_to_another_store_and_back() {
    let database = TestDatabase::create().await;
    let folder = folder(&database);
    let path = folder.path();
    let (server, mut connection) = serve(&folder, "small").await;
    let handles = furnish(&mut connection).await;
    let before = attributes(&mut connection, &handles).await;
    // While the server serves.
    went_well(&command(path, &["dump", "--store", "small", "one.dump"]).await);
    server.stop().await;
    let migrated = command(path, &["load", "--store", "large", "one.dump"]).await;
    went_well(&migrated);
    assert!(migrated.out.contains("1 shares, 3 objects, 2 entries"), "{migrated:?}");

    let (server, mut connection) = serve(&folder, "large").await;
    assert_eq!(attributes(&mut connection, &handles).await, before);
    went_well(&command(path, &["dump", "--store", "large", "--json", "two.dump"]).await);
    // Its slots are held: nothing is replaced under a server.
    let served = command(path, &["load", "--store", "large", "--replace", "two.dump"]).await;
    served.failed_with(1, &["the share /e is being served", "stop its servers"]);
    server.stop().await;

    let refused = command(path, &["load", "--store", "small", "two.dump"]).await;
    refused.failed_with(1, &["the store small already has /e", "--replace", "--share"]);
    went_well(&command(path, &["load", "--store", "small", "--replace", "two.dump"]).await);
    let (server, mut connection) = serve(&folder, "small").await;
    assert_eq!(attributes(&mut connection, &handles).await, before);
    // A second server has the file: a load does not touch it.
    let held = command(path, &["load", "--store", "small", "--replace", "two.dump"]).await;
    held.failed_with(1, &["in use by another server"]);
    let mut read = ok(&mut connection, 6, of(&handles[2]).u64(0).u32(100)).await;
    read.u32();
    read.fixed(84);
    read.u64();
    assert_eq!(read.opaque(), b"hello");
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_is_said_with_its_remedy() {
    let database = TestDatabase::create().await;
    let folder = folder(&database);
    let path = folder.path();
    let missing = command(path, &["dump", "--store", "small", "x"]).await;
    missing.failed_with(1, &["small.db"]);
    let (server, mut connection) = serve(&folder, "small").await;
    furnish(&mut connection).await;
    server.stop().await;
    let memory = command(path, &["dump", "--store", "memory", "x"]).await;
    memory.failed_with(1, &["memory", "only its server"]);
    let unknown = command(path, &["dump", "--store", "smal", "x"]).await;
    unknown.failed_with(1, &["no metadata store smal", "large, memory, small"]);
    let no_share = command(path, &["dump", "--store", "small", "--share", "/other", "x"]).await;
    no_share.failed_with(1, &["the store small has no share /other"]);
    assert!(!path.join("x").exists(), "nothing is left of what failed");
    went_well(&command(path, &["dump", "--store", "small", "--share", "/e", "x"]).await);
    let twice = command(path, &["dump", "--store", "small", "x"]).await;
    twice.failed_with(1, &["x already exists"]);

    let whole = std::fs::read(path.join("x")).unwrap();
    std::fs::write(path.join("cut"), &whole[..whole.len() / 2]).unwrap();
    let cut = command(path, &["load", "--store", "large", "cut"]).await;
    cut.failed_with(1, &["cut: nothing was changed: truncated or corrupt after line"]);
    let text = String::from_utf8(zstd::decode_all(&whole[..]).unwrap()).unwrap();
    let changed = text.replacen("\"file\"", "\"fire\"", 1);
    std::fs::write(path.join("changed"), zstd::encode_all(changed.as_bytes(), 1).unwrap()).unwrap();
    let changed = command(path, &["load", "--store", "large", "changed"]).await;
    changed.failed_with(1, &["changed: line ", "the checksum does not match"]);
    let absent = command(path, &["load", "--store", "large", "absent"]).await;
    absent.failed_with(1, &["absent: No such file"]);
    // Under another name, into a store that has nothing of it.
    went_well(&command(path, &["load", "--store", "large", "--share", "/copy", "x"]).await);
    let collides = command(path, &["load", "--store", "large", "--share", "/more", "x"]).await;
    collides.failed_with(1, &["a copy needs another store"]);
}

/// A pipe has no name that it could lack: what was cut must be seen in it.
#[tokio::test]
async fn what_a_store_fails_in_the_middle_of_is_no_whole_dump_in_a_pipe() {
    let database = TestDatabase::create().await;
    let folder = folder(&database);
    let path = folder.path();
    let (server, mut connection) = serve(&folder, "small").await;
    furnish(&mut connection).await;
    server.stop().await;
    // Objects come before entries.
    let small = rusqlite::Connection::open(path.join("small.db")).unwrap();
    let sql = "UPDATE parent_child_map SET child_name = CAST('a/b' AS BLOB) WHERE child_name = CAST('file' AS BLOB)";
    assert_eq!(small.execute(sql, []).unwrap(), 1);
    let arguments = ["dump", "--store", "small", "--config", "small.yaml", "-"];
    let mut dump = trunkfs(path, &arguments);
    dump.stdout(std::fs::File::create(path.join("piped")).unwrap());
    let status = patiently(dump.status()).await.unwrap();
    assert_eq!(status.code(), Some(1));
    let load = command(path, &["load", "--store", "large", "piped"]).await;
    load.failed_with(1, &["piped: nothing was changed: truncated or corrupt after line"]);
    let named = command(path, &["dump", "--store", "small", "named"]).await;
    named.failed_with(1, &["an entry of "]);
    let left = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("dump")).collect();
    assert!(left.is_empty() && !path.join("named").exists(), "{left:?}");
}

#[tokio::test]
async fn what_is_no_dump_is_said() {
    let database = TestDatabase::create().await;
    let folder = folder(&database);
    let path = folder.path();
    std::fs::write(path.join("text"), "hello\n").unwrap();
    let text = command(path, &["load", "--store", "small", "text"]).await;
    text.failed_with(1, &["text: nothing was changed: ", "or not a dump of TrunkFS"]);
    let empty = command(path, &["load", "--store", "small", "-"]).await;
    empty.failed_with(1, &["standard input: ", "or not a dump of TrunkFS"]);
    let nowhere = command(path, &["dump", "--store", "small", "no/folder/x"]).await;
    nowhere.failed_with(
        1,
        &["cannot write no/folder/x: the folder no/folder does not exist; create it"],
    );
}

/// A dump that waits for the database is told to end: it takes along what it has written.
#[tokio::test]
async fn a_dump_that_is_interrupted_leaves_nothing() {
    let database = TestDatabase::create().await;
    let folder = folder(&database);
    let (server, _) = serve(&folder, "large").await;
    server.stop().await;
    let held = connect(&database.settings()).await;
    held.batch_execute("BEGIN; LOCK TABLE files IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let names = || {
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    for signal in [Signal::INT, Signal::TERM] {
        let arguments = ["dump", "--config", "large.yaml", "--store", "large", "x.dump"];
        let mut dumping = trunkfs(folder.path(), &arguments);
        // So that it waits for the lock, however late the signal comes.
        dumping.env("TRUNKFS__SERVER__REQUEST_TIMEOUT", "60s");
        dumping.env("TRUNKFS__METADATA__STORES__LARGE__POSTGRES__STATEMENT_TIMEOUT", "60s");
        let dumping = Watched::start(dumping);
        patiently(async {
            while names() == before {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        dumping.signal(signal);
        let ended = dumping.finish().await;
        assert_eq!(ended.status, Some(1), "{ended:?}");
        assert!(ended.err.contains("interrupted; nothing was written"), "{ended:?}");
        assert_eq!(names(), before);
    }
}
