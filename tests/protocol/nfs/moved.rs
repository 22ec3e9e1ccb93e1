//! A client whose server ends, or that goes to another one, and repeats there what it has no reply to: the
//! first answer counts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};

use super::args::{self, *};
use super::client::Client;
use super::fixture::{Pair, Stores, TestServer};
use super::results::{self, status_of};
use super::rpc::{NFS, Wire, user, wait};
use super::types::*;
use super::xdr::Args;

/// An address and port that no other case has.
fn place() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(10);
    SocketAddr::from(([127, 7, 7, NEXT.fetch_add(1, Ordering::Relaxed)], 4_000))
}

fn at(place: SocketAddr, server: &TestServer) -> Client {
    let wire = Wire::open_at(place, server.address);
    Client { wire, address: server.address, auth: user(1000, 1000, &[]) }
}

fn results(client: &Client, xid: u32, (procedure, args): &(u32, Args)) -> Vec<u8> {
    let reply = client.wire.exchange(xid, &client.prepare(NFS, 3, *procedure, &args.bytes));
    assert_eq!(reply[4..24], [[0, 0, 0, 1], [0; 4], [0; 4], [0; 4], [0; 4]].concat());
    reply[24..].to_vec()
}

/// Each call that must not be done twice; the first four make something.
fn calls(client: &Client, dir: &Handle) -> Vec<(u32, Args)> {
    for name in [b"removed", b"renamed"] {
        client.file(dir, name);
    }
    client.dir(dir, b"gone");
    let file = client.file(dir, b"file");
    let guarded = client.file(dir, b"guarded");
    let guard = client.attr(&guarded).ctime;
    vec![
        (CREATE, args::create(dir, b"created", &How::Guarded(mode(0o644)))),
        (MKDIR, args::mkdir(dir, b"made", &mode(0o755))),
        (SYMLINK, args::symlink(dir, b"symlink", b"target", &mode(0o777))),
        (MKNOD, args::mknod(dir, b"pipe", FIFO, &mode(0o644), (0, 0))),
        (REMOVE, args::entry(dir, b"removed")),
        (RMDIR, args::entry(dir, b"gone")),
        (RENAME, args::rename(dir, b"renamed", dir, b"new")),
        (LINK, args::link(&file, dir, b"linked")),
        (SETATTR, args::setattr(&guarded, &mode(0o600), Some(guard))),
    ]
}

/// The calls are made of `first`, and repeated to the server that `then` gives.
fn repeated(pair: Pair, then: impl FnOnce(TestServer) -> (TestServer, Option<TestServer>)) {
    let first = wait(async { TestServer::start(Stores::new(pair).await).await });
    let (place, root) = (place(), first.root_of("/t"));
    let dir = first.client(0).dir_of(&root, b"dir", 0o777);
    let client = at(place, &first);
    let calls = calls(&first.client(1000), &dir);
    let before: Vec<_> =
        calls.iter().zip(0x6000..).map(|(call, xid)| results(&client, xid, call)).collect();
    assert!(before.iter().all(|results| status_of(results) == OK));
    // Others go on meanwhile.
    let other = first.client(1000).file(&dir, b"removed");
    drop(client);
    let (second, _first) = then(first);
    let names = second.client(0).names(&dir);
    let client = at(place, &second);
    for round in 0..2 {
        for (number, (call, xid)) in calls.iter().zip(0x6000..).enumerate() {
            let again = results(&client, xid, call);
            assert_eq!(status_of(&again), OK, "call {number} of round {round}");
            if number < 4 {
                let made = [&before[number], &again].map(|it| results::created(it).handle());
                assert_eq!(made[0], made[1], "call {number}");
            }
        }
    }
    assert_eq!(second.client(0).names(&dir), names);
    assert_eq!(client.find(&dir, b"removed"), other, "what another has made since stays");
    // Another port is another client, and another id another call.
    let stranger = at(self::place(), &second);
    assert_eq!(status_of(&results(&stranger, 0x6001, &calls[1])), EXIST);
    assert_eq!(status_of(&results(&client, 0x7001, &calls[1])), EXIST);
    assert_eq!(status_of(&results(&client, 0x7008, &calls[8])), NOT_SYNC);
}

fn restarted(server: TestServer) -> (TestServer, Option<TestServer>) {
    let stores = server.stop();
    (wait(async { TestServer::start(stores.reopened().await).await }), None)
}

#[test]
fn calls_are_repeated_after_a_restart_on_sqlite() {
    repeated(Pair::Sqlite, restarted);
}

#[test]
fn calls_are_repeated_after_a_restart_on_postgresql() {
    repeated(Pair::Postgres, restarted);
}

#[test]
fn calls_are_repeated_to_another_server() {
    repeated(Pair::Postgres, |first| {
        let stores = wait(first.stores().beside());
        (wait(TestServer::start(stores)), Some(first))
    });
}

/// More calls than are looked up before they are done: the others are where they fail.
#[test]
fn many_calls_are_repeated() {
    let first = wait(async { TestServer::start(Stores::new(Pair::Sqlite).await).await });
    let (place, root) = (place(), first.root_of("/t"));
    let dir = first.client(0).dir_of(&root, b"dir", 0o777);
    let client = at(place, &first);
    let calls: Vec<_> = (0..200)
        .map(|number| (MKDIR, args::mkdir(&dir, format!("d{number}").as_bytes(), &mode(0o755))))
        .collect();
    for (call, xid) in calls.iter().zip(0x6000..) {
        assert_eq!(status_of(&results(&client, xid, call)), OK);
    }
    drop(client);
    let (second, _) = restarted(first);
    let client = at(place, &second);
    for (call, xid) in calls.iter().zip(0x6000..) {
        assert_eq!(status_of(&results(&client, xid, call)), OK);
    }
}
