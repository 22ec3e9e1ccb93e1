//! Locks through several servers, after a restart, and while the database is away.

use std::time::{Duration, Instant};

use trunkfs::types::Call;

use super::cases;
use super::host::*;
use super::manager::Says;
use crate::client::{Connection, Outcome, PATIENCE};
use crate::gate::Side;
use crate::nfs::fixture::{Fs, Pair, Stores, TestServer};
use crate::nfs::rpc::wait;
use crate::nfs::types::Handle;

cases! {
    locks_outlive_their_server, a_reservation_is_a_lock_after_a_restart,
    who_waits_is_called_after_a_restart, who_was_not_told_of_a_lock_is_after_a_restart,
    a_waiter_that_does_not_poll_is_gone,
}

/// The server that follows on another, and what clients are there.
fn restarted<const N: usize>(server: TestServer, hosts: [Host; N]) -> (TestServer, [Host; N]) {
    let stores = server.stop();
    let server = wait(async { TestServer::start(stores.reopened().await).await });
    let hosts = hosts.map(|host| host.by(server.address));
    (server, hosts)
}

/// A server of its own, and a file of mode 0666.
fn alone(stores: Stores) -> (TestServer, Handle) {
    let server = wait(TestServer::start(stores));
    let root = server.client(0);
    let dir = root.dir_of(&server.root_of("/t"), b"dir", 0o777);
    let file = root.file_of(&dir, b"f", 0o666);
    (server, file)
}

fn locks_outlive_their_server(t: &Fs) {
    let (server, file) = alone(wait(Stores::new(t.pair)));
    let holder = Host::of(&server);
    assert_eq!(holder.ask(&file).range(0, 10).lock(), GRANTED);
    assert_eq!(holder.ask(&file).range(20, 10).shared().lock(), GRANTED);
    let stores = server.stop();
    let server = wait(async { TestServer::start(stores.reopened().await).await });
    let holder = holder.by(server.address);
    let other = Host::of(&server);
    assert_eq!(other.ask(&file).range(9, 1).lock(), DENIED);
    assert_eq!(other.ask(&file).range(20, 1).shared().lock(), GRANTED);
    assert_eq!(holder.ask(&file).range(0, 10).reclaim().lock(), GRANTED);
    assert_eq!(holder.ask(&file).unlock(), GRANTED);
    assert_eq!(other.ask(&file).lock(), GRANTED);
}

/// What the client was told, and may have taken, nobody else gets.
fn a_reservation_is_a_lock_after_a_restart(t: &Fs) {
    let (server, file) = alone(wait(Stores::new(t.pair)));
    let (holder, waiter) = (Host::of(&server), Host::of(&server));
    waiter.manager.says(Says::Nothing);
    assert_eq!(holder.ask(&file).lock(), GRANTED);
    assert_eq!(waiter.ask(&file).block().lock(), BLOCKED);
    assert_eq!(holder.ask(&file).unlock(), GRANTED);
    waiter.manager.called();
    let stores = server.stop();
    let server = wait(async { TestServer::start(stores.reopened().await).await });
    let (holder, waiter) = (holder.by(server.address), waiter.by(server.address));
    assert_eq!(holder.ask(&file).lock(), DENIED);
    assert_eq!(waiter.ask(&file).block().lock(), GRANTED);
    assert_eq!(waiter.ask(&file).unlock(), GRANTED);
    assert_eq!(holder.ask(&file).lock(), GRANTED);
}

/// Nobody polls.
fn who_waits_is_called_after_a_restart(t: &Fs) {
    let (server, file) = alone(wait(Stores::new(t.pair)));
    let (holder, first, second) = (Host::of(&server), Host::of(&server), Host::of(&server));
    assert_eq!(holder.ask(&file).range(0, 10).lock(), GRANTED);
    assert_eq!(first.ask(&file).range(5, 1).svid(7).block().lock(), BLOCKED);
    assert_eq!(second.ask(&file).range(5, 1).block().lock(), BLOCKED);
    let (server, [holder, first, second]) = restarted(server, [holder, first, second]);
    assert_eq!(second.ask(&file).range(5, 1).block().cancel(), GRANTED);
    assert_eq!(holder.ask(&file).range(0, 10).unlock(), GRANTED);
    let call = first.manager.called();
    assert_eq!(call.from.ip(), server.address.ip());
    let granted = call.granted();
    assert_eq!((granted.svid, granted.range, &granted.handle), (7, (5, 1), &file));
    assert_eq!(holder.ask(&file).test().unwrap_err().svid, 7);
    // Of the very range: the client's answer may still be under way, and of another range it would be asked
    // again.
    assert_eq!(first.ask(&file).range(5, 1).svid(7).unlock(), GRANTED);
    assert_eq!(holder.ask(&file).lock(), GRANTED);
    assert_eq!(second.manager.pending(), 0);
}

/// The server before has told the client, or has not: the lock is the client's, and it learns so. Its refusal
/// says that it has the lock.
fn who_was_not_told_of_a_lock_is_after_a_restart(t: &Fs) {
    if matches!(t.pair, Pair::Memory) {
        // There is no other process.
        return;
    }
    for says in [GRANTED, DENIED] {
        let (server, file) = alone(wait(Stores::new(t.pair)));
        let (holder, waiter) = (Host::of(&server), Host::of(&server));
        waiter.manager.says(Says::Nothing);
        assert_eq!(holder.ask(&file).lock(), GRANTED);
        assert_eq!(waiter.ask(&file).range(0, 10).block().lock(), BLOCKED);
        assert_eq!(holder.ask(&file).unlock(), GRANTED);
        waiter.manager.called();
        waiter.manager.says(Says::Status(says));
        let (server, [holder, waiter]) = restarted(server, [holder, waiter]);
        let granted = waiter.manager.called().granted();
        assert_eq!((granted.range, &granted.handle), ((0, 10), &file));
        assert_eq!(holder.ask(&file).range(9, 1).lock(), DENIED, "it is the client's");
        assert_eq!(waiter.ask(&file).range(5, 5).unlock(), GRANTED);
        assert_eq!(holder.ask(&file).range(5, 1).lock(), GRANTED);
        assert_eq!(holder.ask(&file).range(4, 1).lock(), DENIED);
        assert_eq!(waiter.manager.pending(), 0);
        drop(server);
    }
}

/// Its client died in the middle of the wait.
fn a_waiter_that_does_not_poll_is_gone(t: &Fs) {
    // Others' waiters would go too.
    let (server, file) = alone(wait(Stores::new(t.pair)));
    let (holder, waiter) = (Host::of(&server), Host::of(&server));
    assert_eq!(holder.ask(&file).lock(), GRANTED);
    assert_eq!(waiter.ask(&file).block().lock(), BLOCKED);
    // As if nobody had asked since.
    let (store, call) = (server.stores().locks(), Call::internal(PATIENCE));
    let tidied = wait(store.tidy_locks(&call, Duration::ZERO, None)).unwrap();
    assert_eq!(tidied.waiters, 1);
    assert_eq!(holder.ask(&file).unlock(), GRANTED);
    assert_eq!(holder.ask(&file).svid(2).lock(), GRANTED);
    assert_eq!(waiter.manager.pending(), 0);
    assert_eq!(waiter.ask(&file).block().lock(), BLOCKED, "it was alive, and waits again");
    assert_eq!(holder.ask(&file).svid(2).unlock(), GRANTED);
    waiter.manager.called();
}

/// Two servers of a database, and a file.
fn two() -> (TestServer, TestServer, Handle) {
    let stores = wait(Stores::new(Pair::Postgres));
    let beside = wait(stores.beside());
    let (first, file) = alone(stores);
    (first, wait(TestServer::start(beside)), file)
}

#[test]
fn a_lock_of_one_server_is_in_the_way_at_the_other() {
    let (first, second, file) = two();
    let (holder, waiter) = (Host::of(&first), Host::of(&second));
    assert_eq!(holder.ask(&file).lock(), GRANTED);
    assert_eq!(waiter.ask(&file).lock(), DENIED);
    assert_eq!(waiter.ask(&file).block().lock(), BLOCKED);
    assert_eq!(holder.ask(&file).unlock(), GRANTED);
    // By its own server, from that one's address.
    assert_eq!(waiter.manager.called().granted().handle, file);
    assert_eq!(holder.ask(&file).lock(), DENIED);
    drop(second);
}

/// The client has called 127.0.0.1, which the other server has too.
#[test]
fn a_server_that_ends_leaves_those_who_wait_to_the_one_that_has_its_address() {
    let (first, second, file) = two();
    let (holder, waiter) = (Host::of(&second), Host::of(&first));
    assert_eq!(holder.ask(&file).lock(), GRANTED);
    assert_eq!(waiter.ask(&file).block().lock(), BLOCKED);
    let stores = first.stop();
    wait(stores.close());
    assert_eq!(holder.ask(&file).unlock(), GRANTED);
    assert_eq!(waiter.manager.called().granted().handle, file);
    let waiter = waiter.by(second.address);
    assert_eq!(waiter.ask(&file).unlock(), GRANTED);
    assert_eq!(holder.ask(&file).lock(), GRANTED);
}

#[test]
fn a_client_of_two_servers_is_one_by_the_address_it_uses() {
    let (first, second, file) = two();
    let host = Host::of(&first);
    assert_eq!(host.ask(&file).lock(), GRANTED);
    // The address has moved to the other server.
    let moved = host.by(second.address);
    assert_eq!(moved.ask(&file).lock(), GRANTED);
    assert_eq!(moved.ask(&file).unlock(), GRANTED);
    assert_eq!(Host::of(&first).ask(&file).lock(), GRANTED);
    drop(second);
}

#[test]
fn a_ring_through_two_servers_is_a_deadlock() {
    let (first, second, a) = two();
    let root = first.client(0);
    let dir = root.find(&first.root_of("/t"), b"dir");
    let b = root.file_of(&dir, b"b", 0o666);
    let (one, two) = (Host::of(&first), Host::of(&second));
    assert_eq!(one.ask(&a).lock(), GRANTED);
    assert_eq!(two.ask(&b).lock(), GRANTED);
    assert_eq!(one.ask(&b).block().lock(), BLOCKED);
    assert_eq!(two.ask(&a).block().lock(), DEADLCK);
    // Of three, one of whom is at the server of another.
    let (three, c) = (Host::of(&second), root.file_of(&dir, b"c", 0o666));
    assert_eq!(three.ask(&c).lock(), GRANTED);
    assert_eq!(two.ask(&c).block().lock(), BLOCKED);
    assert_eq!(three.ask(&a).block().lock(), DEADLCK);
    drop(second);
}

#[test]
fn while_the_database_is_away_clients_come_again() {
    let (stores, gate) = wait(Stores::behind_gate());
    let (server, file) = alone(stores);
    let (host, other) = (Host::of(&server), Host::of(&server));
    assert_eq!(host.ask(&file).range(0, 10).lock(), GRANTED);
    gate.arm(Side::Client, 0);
    for (procedure, most) in [(LOCK, 9), (TEST, 9), (CANCEL, 12), (UNLOCK, 12)] {
        let began = Instant::now();
        let ask = host.ask(&file).range(0, 10);
        let Outcome::Success(results) = host.call(procedure, ask.arguments(procedure)) else {
            panic!("{procedure}")
        };
        assert_eq!(results[results.len() - 4..], GRACE.to_be_bytes(), "{procedure}");
        assert!(began.elapsed() < Duration::from_secs(most), "{procedure}: {:?}", began.elapsed());
    }
    // A reclaim is tried but once: it gets no reply.
    let reclaim = other.ask(&file).reclaim().prepare(LOCK);
    let mut connection = wait(Connection::open_from(other.address(), server.address));
    wait(async {
        connection.send(&reclaim).await;
        connection.silent_for(Duration::from_secs(6)).await;
    });
    gate.open();
    gate.cut();
    let again = |ask: &dyn Fn() -> u32| loop {
        match ask() {
            GRACE => {}
            status => return status,
        }
    };
    assert_eq!(again(&|| other.ask(&file).range(0, 1).lock()), DENIED, "it was never given back");
    assert_eq!(again(&|| host.ask(&file).unlock()), GRANTED);
    assert_eq!(again(&|| other.ask(&file).lock()), GRANTED);
}
