//! A database that is not there yet when the server starts.

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::database::TestDatabase;
use super::port::Reserved;
use super::process::{Finished, Watched, patiently, run, trunkfs};
use super::scene::Scene;

const SERVE: [&str; 3] = ["serve", "--config", "t.yaml"];

/// From now on the port leads to the database.
async fn open_way(port: &Reserved, database: &TestDatabase) {
    let host = database.settings().target.hosts[0].clone();
    // A listener before this one is closed once the children have let go of it that were begun meanwhile.
    let listener = patiently(async {
        loop {
            match TcpListener::bind(port.address()).await {
                Ok(listener) => return listener,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
        }
    })
    .await;
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let host = host.clone();
            tokio::spawn(async move {
                let mut server = TcpStream::connect((host.name.as_str(), host.port)).await.unwrap();
                tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
            });
        }
    });
}

#[tokio::test]
async fn a_database_that_comes_late_is_waited_for() {
    let database = TestDatabase::create().await;
    let port = Reserved::new();
    let folder = Scene::at("127.0.0.1", port.port, &database).folder();
    let mut server = Watched::start(trunkfs(folder.path(), &SERVE));
    let waiting = server.line_with(&["waiting for the database"]).await;
    assert!(waiting.contains("WARN") && waiting.contains(&port.port.to_string()), "{waiting}");
    assert!(waiting.contains("refused") && waiting.contains("at most 60s"), "{waiting}");
    open_way(&port, &database).await;
    server.line_with(&["INFO", "the database", "is available after"]).await;
    server.ready().await;
    server.signal(Signal::TERM);
    assert_eq!(server.finish().await.status, Some(0));
}

/// What PostgreSQL answers a login while it starts or recovers: ErrorResponse (PostgreSQL manual 55.7) with
/// 57P03.
fn starting_up() -> Vec<u8> {
    let fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0";
    let length = u32::try_from(fields.len() + 4).unwrap();
    [&b"E"[..], &length.to_be_bytes(), fields].concat()
}

#[tokio::test]
async fn a_database_that_starts_up_is_waited_for() {
    let database = TestDatabase::create().await;
    let port = Reserved::new();
    let listener = TcpListener::bind(port.address()).await.unwrap();
    let starting = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut login = [0; 1024];
            if client.read(&mut login).await.is_ok_and(|length| length > 0) {
                drop(client.write_all(&starting_up()).await);
            }
        }
    });
    let folder = Scene::at("127.0.0.1", port.port, &database).folder();
    let mut server = Watched::start(trunkfs(folder.path(), &SERVE));
    server
        .line_with(&["WARN", "waiting for the database", "the database system is starting up"])
        .await;
    starting.abort();
    assert!(starting.await.unwrap_err().is_cancelled());
    open_way(&port, &database).await;
    server.line_with(&["INFO", "the database", "is available after"]).await;
    server.ready().await;
    server.signal(Signal::TERM);
    assert_eq!(server.finish().await.status, Some(0));
}

/// A name that DNS does not know may be one that it does not know yet.
#[tokio::test]
async fn a_name_that_does_not_resolve_is_waited_for() {
    let database = TestDatabase::create().await;
    // No name has a label this long: the answer needs no network.
    let name = "x".repeat(64);
    let scene = Scene::at(&name, 5432, &database);
    let more = ", connect_retry: 2s, sslmode: disable";
    let finished = failed(&Scene { store: more, ..scene }).await;
    let words =
        ["after 2s (connect_retry)", "name cannot be resolved", "check the spelling of host"];
    finished.failed_with(1, &words);
    let waiting = finished.err.lines().find(|line| line.contains("waiting for the database"));
    let waiting = waiting.expect("it says that it waits");
    assert!(waiting.contains("cannot be resolved") && waiting.contains("at most 2s"), "{waiting}");
}

#[tokio::test]
async fn a_signal_ends_the_wait() {
    let (database, closed) = (TestDatabase::create().await, Reserved::new());
    let scene = Scene::at("127.0.0.1", closed.port, &database);
    let folder = Scene { store: ", connect_retry: 1h", ..scene }.folder();
    let mut server = Watched::start(trunkfs(folder.path(), &SERVE));
    server.line_with(&["waiting for the database"]).await;
    server.signal(Signal::TERM);
    let finished = server.finish().await;
    assert_eq!((finished.status, finished.out.as_str()), (Some(0), ""), "{finished:?}");
}

async fn failed(scene: &Scene<'_>) -> Finished {
    let folder = scene.folder();
    patiently(run(trunkfs(folder.path(), &SERVE))).await
}

#[tokio::test]
async fn the_wait_has_an_end() {
    let (database, closed) = (TestDatabase::create().await, Reserved::new());
    let scene = Scene::at("127.0.0.1", closed.port, &database);
    let finished = failed(&Scene { store: ", connect_retry: 1s", ..scene }).await;
    finished.failed_with(1, &["metadata.stores.db", "after 1s (connect_retry)", "refused"]);
}

#[tokio::test]
async fn what_waiting_does_not_mend_is_not_waited_for() {
    let database = TestDatabase::create().await;
    let scene = Scene::of(&database);
    let name = database.settings().target.database;
    let elsewhere = scene.database.replace(&name, "trunkfs_is_not_there");
    let finished = failed(&Scene { database: elsewhere, ..scene }).await;
    finished.failed_with(1, &["trunkfs_is_not_there", "createdb"]);
    assert!(!finished.err.contains("waiting"), "{finished:?}");
}
