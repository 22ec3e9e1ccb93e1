//! What the program does with a database behind it: nothing is lost between two runs, and a database that
//! hangs does not keep it from ending.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::client::Call;
use super::database::{TestDatabase, connect};
use super::process::Running;
use super::scene::{NFS, Scene, of, ok, root, started};

#[tokio::test]
async fn unstable_writes_outlive_a_stop() {
    let database = TestDatabase::create().await;
    let folder = Scene::of(&database).folder();
    let (server, mut connection) = started(&folder).await;
    let top = root(&mut connection).await;
    // CREATE, unchecked, with a mode; post_op_fh3 follows.
    let create =
        of(&top).opaque(b"file").u32(0).u32(1).u32(0o600).u32(0).u32(0).u32(0).u32(0).u32(0);
    let mut created = ok(&mut connection, 8, create).await;
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

/// A server one of whose calls hangs in the database for as long as the second value lives.
async fn hanging(folder: &TempDir, database: &TestDatabase) -> (Running, tokio_postgres::Client) {
    let (server, mut connection) = started(folder).await;
    let top = root(&mut connection).await;
    let lock = connect(&database.settings()).await;
    lock.batch_execute("BEGIN; LOCK TABLE files IN ACCESS EXCLUSIVE MODE").await.unwrap();
    connection.send(&Call::new(NFS, 3, 1).arguments(of(&top))).await;
    // It hangs as soon as somebody else waits for the lock.
    let watch = connect(&database.settings()).await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = \
                   current_database()";
    let start = Instant::now();
    while watch.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "no call waits");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The call goes on while its connection is there.
    tokio::spawn(async move { connection.closed().await });
    (server, lock)
}

#[tokio::test]
async fn the_drain_timeout_bounds_the_end() {
    let database = TestDatabase::create().await;
    let folder = Scene { drain_timeout: "1s", ..Scene::of(&database) }.folder();
    let (server, _lock) = hanging(&folder, &database).await;
    let start = Instant::now();
    server.signal(Signal::TERM);
    let finished = server.finish().await;
    assert_eq!(finished.status, Some(0), "{finished:?}");
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(1), "requests have their time: {took:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let database = TestDatabase::create().await;
    let folder = Scene { drain_timeout: "1h", ..Scene::of(&database) }.folder();
    let (server, _lock) = hanging(&folder, &database).await;
    server.signal(Signal::TERM);
    // It drains: nobody is let in any more.
    let start = Instant::now();
    while tokio::net::TcpStream::connect(server.address).await.is_ok() {
        assert!(start.elapsed() < Duration::from_secs(10), "it still listens");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.signal(Signal::INT);
    let start = Instant::now();
    let finished = server.finish().await;
    assert_eq!(finished.status, Some(1), "{finished:?}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
