//! Shares, secrets and limits that change while a server runs: what a reload takes over, and what it refuses.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::admin::{ask, get};
use super::client::{Call, Connection, Reader, Writer};
use super::cluster::Cluster;
use super::database::{TestDatabase, connect};
use super::port::Reserved;
use super::process::{ADMIN, Finished, PATIENCE, Running, folder, trunkfs};
use super::scene::{NFS, of, ok, until_a_call_waits};

const TOKEN: &str = "a token of the tests";
const STALE: u32 = 70;
const NOENT: u32 = 2;

/// `/e` over `m` and `c`; `/new` would have stores of its own.
const BEFORE: &str = "
server: { listen: '127.0.0.1:0', drain_timeout: 3s }
metadata:
  stores:
    m: { type: sqlite, sqlite: { path: m/names.sqlite } }
    n: { type: sqlite, sqlite: { path: n/names.sqlite } }
content:
  stores:
    c: { type: filesystem, filesystem: { base_path: c } }
    d: { type: filesystem, filesystem: { base_path: d } }
shares:
  - { name: /e, metadata_store: m, content_store: c, clients: [ { network: 127.0.0.0/8, squash: no_root_squash } ] }
";
const NEW: &str = "  - { name: /new, metadata_store: n, content_store: d, clients: [ { network: 127.0.0.0/8, squash: no_root_squash } ] }\n";

struct Fixture {
    folder: TempDir,
    server: Running,
    admin: SocketAddr,
    _port: Reserved,
}

impl Fixture {
    async fn of(text: &str) -> Self {
        let (port, folder) = (Reserved::new(), folder(""));
        let admin = port.address();
        write(&folder, admin, TOKEN, text);
        let mut command = trunkfs(folder.path(), &["serve", "--config", "t.yaml"]);
        command.env_remove(ADMIN);
        let server = Running::spawn(command, text.matches("name: /").count()).await;
        Self { folder, server, admin, _port: port }
    }

    /// Has the server read this configuration: the status, and what came of it.
    async fn reload(&self, text: &str) -> (u16, Value) {
        write(&self.folder, self.admin, TOKEN, text);
        self.reload_by(TOKEN).await
    }

    async fn reload_by(&self, token: &str) -> (u16, Value) {
        let headers = format!("Host: localhost\r\nAuthorization: Bearer {token}\r\n");
        let (status, answer) = ask(self.admin, "POST /api/v1/reload", &headers).await;
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// The figures, once they are as wanted.
    async fn metrics(&self, wanted: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let text = get(self.admin, "/metrics").await.1;
            if wanted(&text) {
                return text;
            }
            assert!(Instant::now() < until, "{text}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn api(&self, path: &str) -> Value {
        let (status, answer) = get(self.admin, path).await;
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// The files that the server has open whose path contains `part`.
    fn open(&self, part: &str) -> Vec<String> {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.server.id())).unwrap();
        let paths = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        let texts = paths.map(|path| path.to_string_lossy().into_owned());
        texts.filter(|path| path.contains(part)).collect()
    }

    /// Waits until the server has no such file open. Of a closed SQLite store two descriptors stay, which the
    /// reserve never closes (`DiskReserve`).
    async fn closes(&self, part: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.open(part).is_empty() {
            assert!(Instant::now() < until, "{:?}", self.open(part));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn stop(self) -> Finished {
        let finished = self.server.stop().await;
        assert_eq!(finished.status, Some(0), "{finished:?}");
        finished
    }
}

fn write(folder: &TempDir, admin: SocketAddr, token: &str, text: &str) {
    let text = format!("admin: {{ listen: '{admin}', token: '{token}' }}\n{text}");
    std::fs::write(folder.path().join("t.yaml"), text).unwrap();
}

/// MNT: the handle, or mountstat3.
async fn mount(connection: &mut Connection, share: &str) -> Result<Vec<u8>, u32> {
    let call = Call::new(100_005, 3, 1).arguments(Writer::new().opaque(share.as_bytes()));
    let mut results = connection.call(call).await.results();
    match results.u32() {
        0 => Ok(results.opaque()),
        status => Err(status),
    }
}

/// EXPORT: the names, as `showmount -e` has them.
async fn exports(connection: &mut Connection) -> Vec<String> {
    let mut results = connection.call(Call::new(100_005, 3, 5)).await.results();
    let mut names = Vec::new();
    while results.boolean() {
        names.push(String::from_utf8(results.opaque()).unwrap());
        while results.boolean() {
            results.opaque();
        }
    }
    names
}

async fn getattr(connection: &mut Connection, handle: &[u8]) -> u32 {
    connection.call(Call::new(NFS, 3, 1).arguments(of(handle))).await.results().u32()
}

async fn create(connection: &mut Connection, directory: &[u8], name: &str) -> Vec<u8> {
    let arguments = of(directory).opaque(name.as_bytes());
    let arguments = (0..7).fold(arguments, |arguments, _| arguments.u32(0));
    let mut made = ok(connection, 8, arguments).await;
    assert!(made.boolean());
    made.opaque()
}

/// Skips wcc_data.
fn skip_change(results: &mut Reader) {
    for length in [24, 84] {
        if results.boolean() {
            results.fixed(length);
        }
    }
}

/// WRITE, unstable: the write verifier.
async fn write_unstable(connection: &mut Connection, file: &[u8], data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap();
    let arguments = of(file).u64(0).u32(length).u32(0).opaque(data);
    let mut results = ok(connection, 7, arguments).await;
    skip_change(&mut results);
    assert_eq!((results.u32(), results.u32()), (length, 0), "count, UNSTABLE");
    results.fixed(8)
}

async fn read(connection: &mut Connection, file: &[u8]) -> Vec<u8> {
    let mut results = ok(connection, 6, of(file).u64(0).u32(1 << 16)).await;
    if results.boolean() {
        results.fixed(84);
    }
    let (count, _) = (results.u32(), results.boolean());
    let data = results.opaque();
    assert_eq!(data.len(), count as usize);
    data
}

fn all(texts: &[&str]) -> Value {
    texts.iter().map(|text| Value::from(*text)).collect()
}

#[tokio::test]
async fn a_share_is_served_from_a_reload_on_and_gone_with_another() {
    let t = Fixture::of(BEFORE).await;
    let mut connection = Connection::open(t.server.address).await;
    let old = mount(&mut connection, "/e").await.unwrap();
    assert_eq!(mount(&mut connection, "/new").await, Err(NOENT));
    let (status, done) = t.reload(&format!("{BEFORE}{NEW}")).await;
    assert_eq!((status, &done["applied"]), (200, &all(&["shares[/new] was added"])), "{done}");
    assert_eq!(done["restart"], all(&[]));

    let root = mount(&mut connection, "/new").await.unwrap();
    assert_eq!(exports(&mut connection).await, ["/e", "/new"]);
    let shares = t.api("/api/v1/shares").await;
    assert_eq!(shares[1]["name"], "/new");
    assert_eq!(
        (&shares[1]["metadata_store"], &shares[1]["content_store"]),
        (&"n".into(), &"d".into())
    );
    let file = create(&mut connection, &root, "file").await;
    let first = write_unstable(&mut connection, &file, b"not committed").await;
    let figures = ["trunkfs_unflushed_files{share=\"/new\"} 1", "store=\"n\"", "store=\"d\""];
    t.metrics(|text| figures.iter().all(|figure| text.contains(figure))).await;
    assert!(!t.open("n/names.sqlite").is_empty());
    let status = t.api("/api/v1/status").await;
    let parts = status["parts"].as_array().unwrap();
    let named = |name: &str| parts.iter().any(|part| part["name"] == name);
    assert!(named("metadata.stores.m"), "{status}");

    // Removed while it is mounted, and a file has data that was not committed.
    let (status, done) = t.reload(BEFORE).await;
    assert_eq!((status, &done["applied"]), (200, &all(&["shares[/new] was removed"])), "{done}");
    assert_eq!(getattr(&mut connection, &root).await, STALE);
    assert_eq!(getattr(&mut connection, &file).await, STALE);
    assert_eq!(mount(&mut connection, "/new").await, Err(NOENT));
    assert_eq!(exports(&mut connection).await, ["/e"]);
    assert_eq!(getattr(&mut connection, &old).await, 0);
    t.closes("n/names.sqlite-wal").await;
    t.closes("/d/").await;
    let figures = ["share=\"/new\"", "store=\"n\"", "store=\"d\""];
    t.metrics(|text| figures.iter().all(|figure| !text.contains(figure))).await;
    let until = Instant::now() + PATIENCE;
    while get(t.admin, "/readyz").await.1.contains("stores.n") {
        assert!(Instant::now() < until, "the part is gone");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // And here again: the client goes on, and learns that it may have lost what it did not commit.
    assert_eq!(t.reload(&format!("{BEFORE}{NEW}")).await.0, 200);
    assert_eq!(getattr(&mut connection, &root).await, 0);
    assert_eq!(read(&mut connection, &file).await, b"not committed");
    let mut committed = ok(&mut connection, 21, of(&file).u64(0).u32(0)).await;
    skip_change(&mut committed);
    assert_ne!(committed.fixed(8), first, "the write verifier");
    let finished = t.stop().await;
    for line in ["shares[/new] was added", "shares[/new] was removed"] {
        assert!(finished.err.contains(&format!("SIGHUP: t.yaml: {line}")), "{finished:?}");
    }
    assert!(!finished.err.contains("could not be flushed"), "{finished:?}");
}

#[tokio::test]
async fn a_share_that_cannot_be_opened_changes_nothing() {
    let t = Fixture::of(BEFORE).await;
    let mut connection = Connection::open(t.server.address).await;
    let root = mount(&mut connection, "/e").await.unwrap();
    // Its content store is a file, and in the same configuration clients of the other share lose their right.
    std::fs::write(t.folder.path().join("d"), "a file").unwrap();
    let wrong = format!("{BEFORE}{NEW}").replacen("127.0.0.0/8", "192.0.2.0/24", 1);
    let (status, done) = t.reload(&wrong).await;
    assert_eq!(status, 422, "{done}");
    assert!(done["errors"][0].as_str().unwrap().contains("content.stores.d"), "{done}");
    assert_eq!((&done["applied"], &done["restart"]), (&all(&[]), &all(&[])));
    assert_eq!(getattr(&mut connection, &root).await, 0);
    assert_eq!(exports(&mut connection).await, ["/e"]);
    t.closes("n/names.sqlite-wal").await;
    // One that is no configuration.
    let (status, done) = t.reload("shares: 5\n").await;
    assert_eq!(status, 422);
    assert!(!done["errors"].as_array().unwrap().is_empty(), "{done}");
    // Content of another share's store would be served twice.
    std::fs::remove_file(t.folder.path().join("d")).unwrap();
    let twin = format!("{BEFORE}{NEW}").replace("base_path: d", "base_path: c");
    let (status, done) = t.reload(&twin).await;
    assert_eq!(status, 422, "{done}");
    // Mended.
    let (status, done) = t.reload(&format!("{BEFORE}{NEW}")).await;
    assert_eq!((status, &done["applied"]), (200, &all(&["shares[/new] was added"])), "{done}");
    let log = t.stop().await.err;
    assert_eq!(log.matches("t.yaml is invalid; nothing was changed").count(), 3, "{log}");
}

#[tokio::test]
async fn what_waits_for_a_restart_is_shown_until_it_does_not() {
    let t = Fixture::of(BEFORE).await;
    let other = BEFORE.replace("drain_timeout: 3s", "drain_timeout: 4s, portmap: 'off'");
    let (status, done) = t.reload(&other).await;
    assert_eq!(status, 200);
    assert_eq!(done["applied"], all(&["server.drain_timeout has changed"]));
    assert_eq!(done["restart"], all(&["server.portmap has changed"]));
    assert_eq!(t.api("/api/v1/status").await["restart"], all(&["server.portmap has changed"]));
    let (_, shown) = get(t.admin, "/api/v1/configuration").await;
    assert!(shown.contains("# server.portmap has changed: takes a restart"), "{shown}");
    assert!(shown.contains("portmap: auto") && shown.contains("drain_timeout: 4s"), "{shown}");
    let (_, done) = t.reload(BEFORE).await;
    assert_eq!(done["restart"], all(&[]));
    let status = t.api("/api/v1/status").await;
    assert_eq!(status["restart"], all(&[]));
    t.stop().await;
}

#[tokio::test]
async fn the_token_and_limits_of_connections_are_taken_over() {
    let t = Fixture::of(BEFORE).await;
    const OTHER: &str = "another token of the tests";
    write(&t.folder, t.admin, OTHER, &BEFORE.replace("3s }", "3s, max_connections: 2 }"));
    let (status, done) = t.reload_by(TOKEN).await;
    assert_eq!(status, 200, "{done}");
    let expected = all(&["server.max_connections has changed", "admin.token has changed"]);
    assert_eq!(done["applied"], expected);
    assert_eq!(t.reload_by(TOKEN).await.0, 401);
    let (status, done) = t.reload_by(OTHER).await;
    assert_eq!((status, &done["applied"]), (200, &all(&[])));
    t.metrics(|text| text.contains("trunkfs_connections_limit 2")).await;
    t.stop().await;
}

#[tokio::test]
async fn reloads_that_are_asked_for_at_once_all_end() {
    let t = Fixture::of(BEFORE).await;
    write(&t.folder, t.admin, TOKEN, &format!("{BEFORE}{NEW}"));
    let both = tokio::join!(t.reload_by(TOKEN), t.reload_by(TOKEN), t.reload_by(TOKEN));
    let done = [both.0, both.1, both.2];
    assert!(done.iter().all(|(status, _)| *status == 200), "{done:?}");
    let applied = all(&["shares[/new] was added"]);
    assert!(done.iter().any(|(_, done)| done["applied"] == applied), "{done:?}");
    let mut connection = Connection::open(t.server.address).await;
    assert_eq!(exports(&mut connection).await, ["/e", "/new"]);
    t.stop().await;
}

#[tokio::test]
async fn a_password_that_was_changed_is_taken_over_and_a_wrong_one_is_not() {
    let cluster = Cluster::start(&["password_encryption=scram-sha-256"]).await;
    cluster.sql("CREATE ROLE fs LOGIN PASSWORD 'secret-1'").await;
    cluster.sql("CREATE DATABASE trunk OWNER fs").await;
    cluster.admit("host all fs 127.0.0.1/32 scram-sha-256").await;
    let text = |password: &str, most: u32| {
        let store = format!(
            "{{ type: postgres, postgres: {{ host: 127.0.0.1, port: {}, database: trunk, user: fs, auto_migrate: true, \
             password: {password}, max_conns: {most} }} }}",
            cluster.port
        );
        BEFORE.replace("{ type: sqlite, sqlite: { path: m/names.sqlite } }", &store)
    };
    let t = Fixture::of(&text("secret-1", 4)).await;
    let mut connection = Connection::open(t.server.address).await;
    let root = mount(&mut connection, "/e").await.unwrap();
    let (status, done) = t.reload(&text("secret-2", 4)).await;
    assert_eq!(status, 422, "{done}");
    let error = done["errors"][0].as_str().unwrap();
    assert!(
        error.contains("password authentication failed") && !error.contains("secret"),
        "{error}"
    );
    create(&mut connection, &root, "before").await;
    cluster.sql("ALTER ROLE fs PASSWORD 'secret-2'").await;
    let (status, done) = t.reload(&text("secret-2", 3)).await;
    assert_eq!(status, 200, "{done}");
    assert_eq!(done["applied"], all(&["metadata.stores.m.postgres.max_conns has changed"]));
    let limit = "trunkfs_postgres_connections_limit{store=\"m\"} 3";
    t.metrics(|text| text.contains(limit)).await;
    // Connections from now on have the new one.
    let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'fs'";
    cluster.superuser().await.execute(end, &[]).await.unwrap();
    create(&mut connection, &root, "after").await;
    t.stop().await;
}

/// A server one of whose calls hangs in its database as long as the last value lives. The drain timeout is
/// that of `text`.
async fn draining(text: &str) -> (Fixture, TestDatabase, tokio_postgres::Client) {
    let database = TestDatabase::create().await;
    let target = database.settings().target;
    let (host, port, name) = (&target.hosts[0].name, target.hosts[0].port, &target.database);
    let store = format!(
        "{{ type: postgres, postgres: {{ host: {host:?}, port: {port}, database: {name}, user: {:?}, \
         auto_migrate: true, statement_timeout: 60s }} }}",
        target.user
    );
    let t =
        Fixture::of(&text.replace("{ type: sqlite, sqlite: { path: m/names.sqlite } }", &store))
            .await;
    let mut connection = Connection::open(t.server.address).await;
    let root = mount(&mut connection, "/e").await.unwrap();
    let lock = connect(&database.settings()).await;
    lock.batch_execute("BEGIN; LOCK TABLE files IN ACCESS EXCLUSIVE MODE").await.unwrap();
    // READDIR, which no server answers from memory.
    let readdir = of(&root).u64(0).u64(0).u32(4096);
    connection.send(&Call::new(NFS, 3, 16).arguments(readdir)).await;
    until_a_call_waits(&database).await;
    // The call goes on while its connection is there.
    tokio::spawn(async move { connection.closed().await });
    (t, database, lock)
}

#[tokio::test]
async fn a_server_that_drains_reads_no_configuration() {
    let text = BEFORE.replace("drain_timeout: 3s", "drain_timeout: 1h, request_timeout: 10m");
    let (t, _database, lock) = draining(&text).await;
    t.server.signal(Signal::TERM);
    let until = Instant::now() + PATIENCE;
    while tokio::net::TcpStream::connect(t.server.address).await.is_ok() {
        assert!(Instant::now() < until, "it still listens");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (status, _) = t.reload(&format!("{text}{NEW}")).await;
    assert_eq!(status, 503);
    t.server.signal(Signal::HUP);
    lock.batch_execute("ROLLBACK").await.unwrap();
    let finished = t.server.finish().await;
    assert_eq!(finished.status, Some(0), "{finished:?}");
    assert!(!finished.err.contains("SIGHUP"), "{finished:?}");
}

#[tokio::test]
async fn a_server_ends_while_a_share_is_being_removed() {
    let text = BEFORE.replace("drain_timeout: 3s", "drain_timeout: 1s, request_timeout: 10m");
    let (t, _database, _lock) =
        draining(&text.replace("shares:\n", &format!("shares:\n{NEW}"))).await;
    let without_e: String =
        text.lines().filter(|line| !line.contains("/e,")).map(|line| format!("{line}\n")).collect();
    write(&t.folder, t.admin, TOKEN, &format!("{without_e}{NEW}"));
    t.server.signal(Signal::HUP);
    let mut connection = Connection::open(t.server.address).await;
    let until = Instant::now() + PATIENCE;
    while exports(&mut connection).await.contains(&"/e".to_owned()) {
        assert!(Instant::now() < until, "the share is still exported");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    t.server.signal(Signal::TERM);
    let finished = t.server.finish().await;
    assert_eq!(finished.status, Some(0), "{finished:?}");
}
