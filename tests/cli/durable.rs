//! What the program does with a database behind it: nothing is lost between two runs, and a database that
//! hangs does not keep it from ending.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::client::{Call, Connection, Reader, Reply, Writer};
use super::database::{TestDatabase, connect};
use super::port::Reserved;
use super::process::{PATIENCE, Running};
use super::scene::{NFS, Scene, of, ok, root, started, until_a_call_waits};

#[tokio::test]
async fn unstable_writes_outlive_a_stop() {
    let database = TestDatabase::create().await;
    let folder = Scene::of(&database).folder();
    let (server, mut connection) = started(&folder).await;
    let top = root(&mut connection).await;
    let mut created = ok(&mut connection, 8, create(&top, "file")).await;
    assert!(created.u32() == 1, "a handle follows");
    let file = created.opaque();
    // WRITE, unstable.
    ok(&mut connection, 7, of(&file).u64(0).u32(5).u32(0).opaque(b"hello")).await;
    server.stop().await;

    let (server, mut connection) = started(&folder).await;
    assert_eq!(root(&mut connection).await, top, "handles outlive a restart");
    let mut read = ok(&mut connection, 6, of(&file).u64(0).u32(100)).await;
    assert_eq!(read.u32(), 1, "attributes follow");
    read.fixed(84);
    assert_eq!((read.u32(), read.u32()), (5, 1), "count and eof");
    assert_eq!(read.opaque(), b"hello");
    server.stop().await;
}

/// What a call waits for in the database lasts longer than any test: only a server that does not wait for it
/// ends in time.
const LONG_WAITS: &str = ", statement_timeout: 60s";
const SHORT_DRAIN: &str = "1s, request_timeout: 10m";

/// A server one of whose calls hangs in the database for as long as the second value lives.
async fn hanging(
    folder: &TempDir,
    database: &TestDatabase,
    port: &Reserved,
) -> (Running, tokio_postgres::Client) {
    let listen = port.address().to_string();
    let arguments = ["--config", "t.yaml", "--listen", &listen];
    let server = Running::start(folder.path(), &arguments, 1).await;
    let mut connection = Connection::open(server.address).await;
    let top = root(&mut connection).await;
    let lock = connect(&database.settings()).await;
    lock.batch_execute("BEGIN; LOCK TABLE files IN ACCESS EXCLUSIVE MODE").await.unwrap();
    // READDIR, which no server answers from memory.
    let readdir = of(&top).u64(0).u64(0).u32(4096);
    connection.send(&Call::new(NFS, 3, 16).arguments(readdir)).await;
    until_a_call_waits(database).await;
    // The call goes on while its connection is there.
    tokio::spawn(async move { connection.closed().await });
    (server, lock)
}

/// CREATE of a name, unchecked, with mode 0600.
fn create(top: &[u8], name: &str) -> Writer {
    let create = of(top).opaque(name.as_bytes());
    create.u32(0).u32(1).u32(0o600).u32(0).u32(0).u32(0).u32(0).u32(0)
}

/// A call whose reply may never come, since the server stops: its results.
async fn last_call(connection: &mut Connection, call: Call) -> Option<Reader> {
    let record = call.encode(1);
    let mark = 0x8000_0000 | u32::try_from(record.len()).unwrap();
    connection.try_send_bytes(&[&mark.to_be_bytes()[..], &record].concat()).await.ok()?;
    Some(Reply::decode(connection.record_or_end().await?).results())
}

/// Makes files and writes their names into them, unstably, until the server is gone: what was acknowledged.
async fn make_files(
    address: SocketAddr,
    top: Vec<u8>,
    number: u32,
    made: Arc<AtomicU32>,
) -> Vec<(String, Vec<u8>, bool)> {
    let mut files = Vec::new();
    let mut connection = Connection::open(address).await;
    for count in 0.. {
        let name = format!("file-{number}-{count}");
        let call = Call::new(NFS, 3, 8).arguments(create(&top, &name));
        let Some(mut created) = last_call(&mut connection, call).await else { break };
        assert_eq!((created.u32(), created.u32()), (0, 1), "CREATE");
        let file = created.opaque();
        files.push((name.clone(), file.clone(), false));
        let length = u32::try_from(name.len()).unwrap();
        let write = of(&file).u64(0).u32(length).u32(0).opaque(name.as_bytes());
        let call = Call::new(NFS, 3, 7).arguments(write);
        let Some(mut written) = last_call(&mut connection, call).await else { break };
        assert_eq!(written.u32(), 0, "WRITE");
        files[count].2 = true;
        made.fetch_add(1, Ordering::Relaxed);
    }
    files
}

#[tokio::test]
async fn a_stop_under_load_loses_nothing_that_was_acknowledged() {
    let database = TestDatabase::create().await;
    let folder = Scene::of(&database).folder();
    let (server, mut connection) = started(&folder).await;
    let top = root(&mut connection).await;
    let made = Arc::new(AtomicU32::new(0));
    let clients: Vec<_> = (0..6)
        .map(|number| tokio::spawn(make_files(server.address, top.clone(), number, made.clone())))
        .collect();
    let start = Instant::now();
    while made.load(Ordering::Relaxed) < 100 {
        assert!(start.elapsed() < PATIENCE, "files are made");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.stop().await;
    let mut files = Vec::new();
    for client in clients {
        files.extend(client.await.unwrap());
    }

    let (server, mut connection) = started(&folder).await;
    for (name, file, written) in files {
        let mut found = ok(&mut connection, 3, of(&top).opaque(name.as_bytes())).await;
        assert_eq!(found.opaque(), file, "{name}");
        if written {
            let mut read = ok(&mut connection, 6, of(&file).u64(0).u32(100)).await;
            assert_eq!(read.u32(), 1, "attributes follow");
            read.fixed(84);
            read.u32();
            assert_eq!(read.u32(), 1, "eof");
            assert_eq!(read.opaque(), name.as_bytes());
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_flushed_does_not_keep_the_server() {
    let database = TestDatabase::create().await;
    let folder =
        Scene { drain_timeout: SHORT_DRAIN, store: LONG_WAITS, ..Scene::of(&database) }.folder();
    let (server, mut connection) = started(&folder).await;
    let top = root(&mut connection).await;
    let mut created = ok(&mut connection, 8, create(&top, "f")).await;
    assert_eq!(created.u32(), 1, "a handle follows");
    let file = created.opaque();
    ok(&mut connection, 7, of(&file).u64(0).u32(5).u32(0).opaque(b"hello")).await;
    // Every statement waits from here on.
    let lock = connect(&database.settings()).await;
    lock.batch_execute("BEGIN; LOCK TABLE files IN ACCESS EXCLUSIVE MODE").await.unwrap();
    server.signal(Signal::TERM);
    let finished = server.finish().await;
    assert_eq!(finished.status, Some(0), "{finished:?}");
    assert!(finished.err.contains("flush"), "it says what was not written: {finished:?}");
}

#[tokio::test]
async fn the_drain_timeout_bounds_the_end() {
    let database = TestDatabase::create().await;
    let folder =
        Scene { drain_timeout: SHORT_DRAIN, store: LONG_WAITS, ..Scene::of(&database) }.folder();
    // Nobody else is there when it does not listen any more.
    let port = Reserved::new();
    let (server, _lock) = hanging(&folder, &database, &port).await;
    let start = Instant::now();
    server.signal(Signal::TERM);
    let finished = server.finish().await;
    assert_eq!(finished.status, Some(0), "{finished:?}");
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(1), "requests have their time: {took:?}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let database = TestDatabase::create().await;
    let folder = Scene { drain_timeout: "1h", ..Scene::of(&database) }.folder();
    // Nobody else is there when it does not listen any more.
    let port = Reserved::new();
    let (server, _lock) = hanging(&folder, &database, &port).await;
    server.signal(Signal::TERM);
    // It drains: nobody is let in any more.
    let start = Instant::now();
    while tokio::net::TcpStream::connect(server.address).await.is_ok() {
        assert!(start.elapsed() < PATIENCE, "it still listens");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.signal(Signal::INT);
    let finished = server.finish().await;
    assert_eq!(finished.status, Some(1), "{finished:?}");
}
