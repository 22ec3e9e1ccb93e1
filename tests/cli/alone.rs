//! Servers that are alone with their database until they stand still or are killed: nothing stale is
//! answered, nothing that was acknowledged is lost, and the next server takes over by itself.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::client::{Call, Connection, Reader, Writer};
use super::database::{TestDatabase, connect};
use super::process::PATIENCE;
use super::scene::{NFS, Scene, of, ok, root, started};

const GETATTR: u32 = 1;
const LOOKUP: u32 = 3;
const MKDIR: u32 = 9;
const RMDIR: u32 = 13;

/// Waits until a server decides changes alone.
async fn until_alone(database: &TestDatabase) {
    let client = connect(&database.settings()).await;
    let start = Instant::now();
    // Its writer claims a slot once it has the lease.
    let writes = "SELECT EXISTS (SELECT FROM lease WHERE holder IS NOT NULL) AND EXISTS (SELECT FROM writers)";
    while !client.query_one(writes, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(start.elapsed() < PATIENCE, "no server is alone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn mkdir(top: &[u8], name: &str) -> Writer {
    let set = of(top).opaque(name.as_bytes()).u32(1).u32(0o755);
    set.u32(0).u32(0).u32(0).u32(0).u32(0)
}

/// How many names the directory has, by its attributes.
async fn links(connection: &mut Connection, top: &[u8]) -> u32 {
    let mut attributes: Reader = ok(connection, GETATTR, of(top)).await;
    assert_eq!(attributes.u32(), 2, "a directory");
    attributes.u32();
    attributes.u32()
}

async fn has(connection: &mut Connection, top: &[u8], name: &str) {
    ok(connection, LOOKUP, of(top).opaque(name.as_bytes())).await;
}

#[tokio::test]
async fn a_server_that_stood_still_answers_nothing_stale() {
    let database = TestDatabase::create().await;
    let folder = Scene::of(&database).folder();
    let (first, mut one) = started(&folder).await;
    let top = root(&mut one).await;
    until_alone(&database).await;
    ok(&mut one, MKDIR, mkdir(&top, "before")).await;
    for _ in 0..3 {
        assert_eq!(links(&mut one, &top).await, 3);
        has(&mut one, &top, "before").await;
    }
    first.signal(Signal::STOP);
    let (second, mut two) = started(&folder).await;
    ok(&mut two, MKDIR, mkdir(&top, "meanwhile")).await;
    first.signal(Signal::CONT);
    assert_eq!(links(&mut one, &top).await, 4);
    has(&mut one, &top, "meanwhile").await;
    // Both serve from now on.
    ok(&mut one, MKDIR, mkdir(&top, "afterwards")).await;
    assert_eq!(links(&mut two, &top).await, 5);
    has(&mut two, &top, "afterwards").await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_server_that_is_killed_loses_nothing_and_the_next_takes_its_place() {
    let database = TestDatabase::create().await;
    let folder = Scene::of(&database).folder();
    let (first, mut one) = started(&folder).await;
    let top = root(&mut one).await;
    until_alone(&database).await;
    for number in 0..50 {
        ok(&mut one, MKDIR, mkdir(&top, &number.to_string())).await;
    }
    first.signal(Signal::KILL);
    let (second, mut two) = started(&folder).await;
    for number in 0..50 {
        has(&mut two, &top, &number.to_string()).await;
    }
    ok(&mut two, MKDIR, mkdir(&top, "afterwards")).await;
    assert_eq!(links(&mut two, &top).await, 53);
    second.stop().await;
}

/// A client repeats what it has no reply to, to the server that comes in the place of the killed one.
#[tokio::test]
async fn a_call_that_is_repeated_after_a_kill_gets_the_first_answer() {
    let database = TestDatabase::create().await;
    let folder = Scene::of(&database).folder();
    let (first, mut one) = started(&folder).await;
    let top = root(&mut one).await;
    until_alone(&database).await;
    let place = SocketAddr::from(([127, 8, 8, 8], 4_000));
    let mut client = Connection::open_at(place, first.address).await;
    let gone = || of(&top).opaque(b"gone");
    ok(&mut one, MKDIR, mkdir(&top, "gone")).await;
    let calls = [(MKDIR, mkdir(&top, "made")), (RMDIR, gone())];
    let sent = |xid: u32, (procedure, arguments): &(u32, Writer)| {
        Call::new(NFS, 3, *procedure).arguments(arguments.clone()).encode(xid)
    };
    for (call, xid) in calls.iter().zip(0x100..) {
        client.send_record(&sent(xid, call)).await;
        assert_eq!(status(&client.record().await), 0);
    }
    first.signal(Signal::KILL);
    drop(client);
    let (second, mut two) = started(&folder).await;
    ok(&mut two, MKDIR, mkdir(&top, "afterwards")).await;
    let mut client = Connection::open_at(place, second.address).await;
    for (call, xid) in calls.iter().zip(0x100..) {
        client.send_record(&sent(xid, call)).await;
        assert_eq!(status(&client.record().await), 0, "call {xid}");
    }
    // With ids of their own they are other calls.
    for (call, (xid, expected)) in calls.iter().zip([(0x200, 17), (0x201, 2)]) {
        client.send_record(&sent(xid, call)).await;
        assert_eq!(status(&client.record().await), expected);
    }
    second.stop().await;
}

/// The status of NFS in a reply that RPC lets through.
fn status(reply: &[u8]) -> u32 {
    u32::from_be_bytes(reply[24..28].try_into().unwrap())
}
