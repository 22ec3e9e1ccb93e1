//! Locks that are waited for, and GRANTED.

use std::time::Duration;

use trunkfs::metadata::LockFilter;
use trunkfs::types::FileHandle;

use super::cases;
use super::host::*;
use super::manager::{Received, Says, Way};
use crate::client::{Outcome, Writer};
use crate::nfs::fixture::Fs;
use crate::nfs::rpc::wait;

cases! {
    who_waits_is_called, it_is_called_the_way_it_came, a_poll_is_one_waiter, waiters_have_turns,
    a_poll_confirms_and_ends_the_calls, a_late_refusal_takes_nothing, a_refusal_gives_the_next_its_turn,
    a_client_that_knows_the_message_alone, an_answer_by_another_client_is_nothing,
    a_refusal_after_silence_may_be_a_holders, a_cancelled_waiter_is_not_called,
    a_cancelled_reservation_is_free, a_cancel_takes_no_lock, an_upgrade_that_is_cancelled_keeps_the_shared_one,
    an_unlock_asks_again, crossed_locks_are_a_deadlock, a_ring_is_a_deadlock,
    a_client_that_cannot_be_called_holds_up_nobody, shared_waiters_come_together,
    an_unlock_of_the_range_gives_up_the_wait,
}

/// The arguments of the reply to GRANTED_MSG.
fn response(cookie: &[u8], status: u32) -> Writer {
    Writer::new().opaque(cookie).u32(status)
}

/// Waits until the clients' word on a file's locks has been taken.
fn confirmed(t: &Fs, file: &[u8]) {
    let handle = FileHandle::parse(file).unwrap();
    let filter = LockFilter { file: Some(handle.object), waiting: true, ..LockFilter::default() };
    let store = t.server.stores().locks();
    wait(async {
        while !store.list_locks(&filter, None, 10).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

/// A lock that its holder has given back to a waiter, whose lock manager answers so.
fn handed_over(t: &Fs, says: Says) -> (Host, Host, Vec<u8>) {
    let (holder, waiter, file) = (Host::new(t), Host::new(t), t.alice.file(&t.dir, b"f"));
    waiter.manager.says(says);
    assert_eq!(holder.ask(&file).lock(), GRANTED);
    assert_eq!(waiter.ask(&file).block().lock(), BLOCKED);
    assert_eq!(holder.ask(&file).unlock(), GRANTED);
    (holder, waiter, file)
}

fn is_from(call: &Received, t: &Fs) -> bool {
    call.from.ip() == t.server.address.ip()
}

fn who_waits_is_called(t: &Fs) {
    let (holder, waiter, file) = (Host::new(t), Host::new(t), t.alice.file(&t.dir, b"f"));
    assert_eq!(holder.ask(&file).range(0, 100).lock(), GRANTED);
    let ask = waiter.ask(&file).range(10, 5).svid(7).block();
    assert_eq!(ask.lock(), BLOCKED);
    assert_eq!(holder.ask(&file).range(0, 100).unlock(), GRANTED);
    let call = waiter.manager.called();
    assert!(is_from(&call, t), "{call:?}");
    assert_eq!((call.procedure, call.version, call.way), (5, 4, Way::Tcp));
    let granted = call.granted();
    assert_eq!((granted.svid, granted.range, granted.exclusive), (7, (10, 5), true));
    assert_eq!((granted.oh, &granted.handle), (ask.oh(), &file));
    assert_eq!(granted.caller_name, waiter.name);
    assert_ne!(granted.cookie, ask.cookie, "a cookie of the server's own");
    assert_eq!(granted.cookie.len(), 16);
    assert_eq!(holder.ask(&file).range(14, 1).test().unwrap_err().svid, 7);
    confirmed(t, &file);
    // The client has it: it can give back a part, and the rest stays.
    assert_eq!(waiter.ask(&file).range(10, 2).svid(7).unlock(), GRANTED);
    assert_eq!(holder.ask(&file).test().unwrap_err().range.0, 12);
    assert_eq!(waiter.manager.pending(), 0);
}

fn it_is_called_the_way_it_came(t: &Fs) {
    let (holder, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    for (way, version, to_end) in
        [(Way::Udp, 4, 0), (Way::Udp, 3, 0xffff_ffff), (Way::Tcp, 1, 0), (Way::Tcp, 3, 0)]
    {
        let waiter = Host::new(t).over(way).version(version);
        assert_eq!(holder.ask(&file).lock(), GRANTED);
        assert_eq!(waiter.ask(&file).range(3, to_end).block().lock(), BLOCKED);
        assert_eq!(holder.ask(&file).unlock(), GRANTED);
        let call = waiter.manager.called();
        assert_eq!((call.procedure, call.version, call.way), (5, version, way));
        let tail = &call.arguments[call.arguments.len() - 8..];
        match version {
            4 => assert_eq!(tail, [0; 8]),
            _ => assert_eq!(tail, [0, 0, 0, 3, 0, 0, 0, 0]),
        }
        assert_eq!(holder.ask(&file).svid(2).test().unwrap_err().range, (3, 0));
        confirmed(t, &file);
        assert_eq!(waiter.ask(&file).unlock(), GRANTED);
    }
}

fn a_poll_is_one_waiter(t: &Fs) {
    let (holder, waiter, file) = (Host::new(t), Host::new(t), t.alice.file(&t.dir, b"f"));
    assert_eq!(holder.ask(&file).lock(), GRANTED);
    for _ in 0..3 {
        assert_eq!(waiter.ask(&file).block().lock(), BLOCKED);
    }
    assert_eq!(holder.ask(&file).unlock(), GRANTED);
    waiter.manager.called();
    confirmed(t, &file);
    assert_eq!(waiter.ask(&file).unlock(), GRANTED);
    // Another lock that is waited for is the next call.
    assert_eq!(holder.ask(&file).lock(), GRANTED);
    assert_eq!(waiter.ask(&file).svid(8).block().lock(), BLOCKED);
    assert_eq!(holder.ask(&file).unlock(), GRANTED);
    assert_eq!(waiter.manager.called().granted().svid, 8);
}

fn waiters_have_turns(t: &Fs) {
    let (holder, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    let waiters: Vec<_> = (0..3).map(|_| Host::new(t)).collect();
    assert_eq!(holder.ask(&file).lock(), GRANTED);
    for waiter in &waiters {
        assert_eq!(waiter.ask(&file).block().lock(), BLOCKED);
    }
    assert_eq!(holder.ask(&file).unlock(), GRANTED);
    for (index, waiter) in waiters.iter().enumerate() {
        waiter.manager.called();
        for later in &waiters[index + 1..] {
            assert_eq!(later.manager.pending(), 0, "{index}");
        }
        assert_eq!(holder.ask(&file).test().unwrap_err().oh, waiter.ask(&file).oh());
        assert_eq!(waiter.ask(&file).unlock(), GRANTED);
    }
    assert_eq!(holder.ask(&file).lock(), GRANTED);
}

fn a_poll_confirms_and_ends_the_calls(t: &Fs) {
    let (holder, waiter, file) = handed_over(t, Says::Nothing);
    let first = waiter.manager.called();
    let second = waiter.manager.called();
    assert_eq!((first.procedure, second.procedure), (5, 10), "by turns");
    assert_ne!(first.granted().cookie, second.granted().cookie);
    assert_eq!(waiter.ask(&file).block().lock(), GRANTED);
    // Merged: what is next to it makes one row with it.
    assert_eq!(holder.ask(&file).test().unwrap_err().range, (0, 0));
    let late = waiter.call(15, response(&second.granted().cookie, DENIED));
    assert_eq!(late, Outcome::Success(Vec::new()));
    assert_eq!(holder.ask(&file).lock(), DENIED);
}

fn a_late_refusal_takes_nothing(t: &Fs) {
    let (holder, waiter, file) = handed_over(t, Says::Nothing);
    let call = waiter.manager.called();
    assert_eq!(waiter.ask(&file).block().lock(), GRANTED);
    waiter.call(15, response(&call.granted().cookie, DENIED));
    assert_eq!(holder.ask(&file).lock(), DENIED, "it is still held");
}

fn a_refusal_gives_the_next_its_turn(t: &Fs) {
    let (holder, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    let (first, second) = (Host::new(t), Host::new(t));
    first.manager.says(Says::Status(DENIED));
    assert_eq!(holder.ask(&file).lock(), GRANTED);
    assert_eq!(first.ask(&file).block().lock(), BLOCKED);
    assert_eq!(second.ask(&file).block().lock(), BLOCKED);
    assert_eq!(holder.ask(&file).unlock(), GRANTED);
    first.manager.called();
    second.manager.called();
    assert_eq!(holder.ask(&file).test().unwrap_err().oh, second.ask(&file).oh());
}

fn a_client_that_knows_the_message_alone(t: &Fs) {
    let (holder, waiter, file) = handed_over(t, Says::Unavailable);
    assert_eq!(waiter.manager.called().procedure, 5);
    let message = waiter.manager.called();
    assert_eq!(message.procedure, 10);
    let done = waiter.call(15, response(&message.granted().cookie, DENIED));
    assert_eq!(done, Outcome::Success(Vec::new()));
    // It was told so, and nothing else was taken.
    let other = holder.ask(&file).block();
    if other.lock() == BLOCKED {
        holder.manager.called();
    }
    assert_eq!(waiter.ask(&file).lock(), DENIED);
}

fn an_answer_by_another_client_is_nothing(t: &Fs) {
    let (holder, waiter, file) = handed_over(t, Says::Nothing);
    let cookie = waiter.manager.called().granted().cookie;
    for cookie in [&cookie[..], b"", b"unknown", &[7; 16]] {
        let reply = holder.call(15, response(cookie, DENIED));
        assert_eq!(reply, Outcome::Success(Vec::new()));
    }
    for number in [11, 12, 13, 14] {
        let reply = holder.call(number, response(&cookie, GRANTED));
        assert_eq!(reply, Outcome::Success(Vec::new()), "what nobody has asked for");
    }
    assert_eq!(holder.ask(&file).lock(), DENIED, "it is reserved");
    assert_eq!(waiter.ask(&file).block().lock(), GRANTED);
}

fn a_refusal_after_silence_may_be_a_holders(t: &Fs) {
    let (holder, waiter, file) = handed_over(t, Says::Nothing);
    // It takes the first, and its reply is lost: so it refuses the second.
    waiter.manager.called();
    let message = waiter.manager.called();
    waiter.call(15, response(&message.granted().cookie, DENIED));
    assert_eq!(holder.ask(&file).lock(), DENIED, "the client may have it");
    assert_eq!(waiter.ask(&file).unlock(), GRANTED);
    assert_eq!(holder.ask(&file).lock(), GRANTED);
}

fn a_cancelled_waiter_is_not_called(t: &Fs) {
    let (holder, waiter, file) = (Host::new(t), Host::new(t), t.alice.file(&t.dir, b"f"));
    assert_eq!(holder.ask(&file).lock(), GRANTED);
    assert_eq!(waiter.ask(&file).svid(1).block().lock(), BLOCKED);
    assert_eq!(waiter.ask(&file).svid(2).block().lock(), BLOCKED);
    assert_eq!(waiter.ask(&file).svid(1).block().shared().cancel(), GRANTED, "another kind");
    assert_eq!(waiter.ask(&file).svid(1).block().range(0, 7).cancel(), GRANTED, "another range");
    assert_eq!(waiter.ask(&file).svid(1).block().cancel(), GRANTED);
    assert_eq!(holder.ask(&file).unlock(), GRANTED);
    assert_eq!(waiter.manager.called().granted().svid, 2);
}

fn a_cancelled_reservation_is_free(t: &Fs) {
    let (holder, waiter, file) = handed_over(t, Says::Nothing);
    waiter.manager.called();
    assert_eq!(waiter.ask(&file).block().cancel(), GRANTED);
    assert_eq!(holder.ask(&file).lock(), GRANTED);
}

fn a_cancel_takes_no_lock(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    assert_eq!(host.ask(&file).block().lock(), GRANTED);
    assert_eq!(host.ask(&file).block().cancel(), DENIED, "it is held");
    assert_eq!(host.ask(&file).svid(2).lock(), DENIED);
    assert_eq!(host.ask(&file).svid(2).cancel(), GRANTED, "nothing");
}

fn an_upgrade_that_is_cancelled_keeps_the_shared_one(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    for svid in [1, 2] {
        assert_eq!(host.ask(&file).svid(svid).range(0, 10).shared().lock(), GRANTED);
    }
    assert_eq!(host.ask(&file).range(0, 10).block().lock(), BLOCKED);
    assert_eq!(host.ask(&file).range(0, 10).block().cancel(), GRANTED);
    assert_eq!(host.ask(&file).svid(2).range(0, 10).unlock(), GRANTED);
    let holder = host.ask(&file).svid(3).test().unwrap_err();
    assert_eq!((holder.svid, holder.exclusive), (1, false));
}

fn an_unlock_asks_again(t: &Fs) {
    for wanted in [true, false] {
        let (holder, waiter) = (Host::new(t), Host::new(t));
        let file = t.alice.file(&t.dir, format!("{wanted}").as_bytes());
        waiter.manager.says(Says::Nothing);
        assert_eq!(holder.ask(&file).lock(), GRANTED);
        assert_eq!(waiter.ask(&file).range(5, 1).block().lock(), BLOCKED);
        assert_eq!(holder.ask(&file).unlock(), GRANTED);
        waiter.manager.called();
        waiter.manager.says(Says::Status(if wanted { GRANTED } else { DENIED }));
        assert_eq!(waiter.ask(&file).unlock(), GRANTED);
        let call = waiter.manager.called();
        assert_eq!((call.procedure, call.granted().range), (5, (5, 1)));
        let ask = holder.ask(&file).block();
        match ask.lock() {
            GRANTED if !wanted => {}
            BLOCKED if !wanted => {
                holder.manager.called();
            }
            other => {
                assert_eq!((other, wanted), (BLOCKED, true));
                assert_eq!(waiter.ask(&file).range(5, 1).unlock(), GRANTED);
                holder.manager.called();
            }
        }
    }
}

fn crossed_locks_are_a_deadlock(t: &Fs) {
    let (one, two) = (Host::new(t), Host::new(t));
    let (a, b) = (t.alice.file(&t.dir, b"a"), t.alice.file(&t.dir, b"b"));
    assert_eq!(one.ask(&a).lock(), GRANTED);
    assert_eq!(two.ask(&b).lock(), GRANTED);
    assert_eq!(one.ask(&b).block().lock(), BLOCKED);
    assert_eq!(two.ask(&a).block().lock(), DEADLCK);
    assert_eq!(two.version(3).ask(&a).block().lock(), DENIED);
    assert_eq!(two.ask(&b).unlock(), GRANTED);
    assert_eq!(one.manager.called().granted().handle, b);
}

fn a_ring_is_a_deadlock(t: &Fs) {
    let hosts: Vec<_> = (0..3).map(|_| Host::new(t)).collect();
    let files: Vec<_> = [b"a", b"b", b"c"].map(|name| t.alice.file(&t.dir, name)).into();
    for (host, file) in hosts.iter().zip(&files) {
        assert_eq!(host.ask(file).lock(), GRANTED);
    }
    assert_eq!(hosts[0].ask(&files[1]).block().lock(), BLOCKED);
    assert_eq!(hosts[1].ask(&files[2]).block().lock(), BLOCKED);
    assert_eq!(hosts[2].ask(&files[0]).block().lock(), DEADLCK);
}

fn a_client_that_cannot_be_called_holds_up_nobody(t: &Fs) {
    let (holder, waiter, file) = (Host::new(t), Host::new(t), t.alice.file(&t.dir, b"f"));
    // Its port mapper and lock manager are gone.
    let dead = Dead::new(t);
    assert_eq!(holder.ask(&file).lock(), GRANTED);
    assert_eq!(dead.lock(&waiter.ask(&file).block()), BLOCKED);
    assert_eq!(waiter.ask(&file).svid(2).block().lock(), BLOCKED);
    assert_eq!(holder.ask(&file).unlock(), GRANTED);
    assert_eq!(waiter.manager.called().granted().svid, 2);
    assert_eq!(dead.lock(&waiter.ask(&file).block()), BLOCKED, "it polls");
    assert_eq!(waiter.ask(&file).svid(2).unlock(), GRANTED);
}

fn shared_waiters_come_together(t: &Fs) {
    let (holder, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    let waiters: Vec<_> = (0..3).map(|_| Host::new(t)).collect();
    assert_eq!(holder.ask(&file).lock(), GRANTED);
    for waiter in &waiters {
        assert_eq!(waiter.ask(&file).shared().block().lock(), BLOCKED);
    }
    assert_eq!(holder.ask(&file).unlock(), GRANTED);
    for waiter in &waiters {
        assert!(!waiter.manager.called().granted().exclusive);
    }
    assert_eq!(holder.ask(&file).lock(), DENIED);
}

fn an_unlock_of_the_range_gives_up_the_wait(t: &Fs) {
    let (holder, waiter, file) = (Host::new(t), Host::new(t), t.alice.file(&t.dir, b"f"));
    assert_eq!(holder.ask(&file).lock(), GRANTED);
    assert_eq!(waiter.ask(&file).range(0, 5).block().lock(), BLOCKED);
    assert_eq!(waiter.ask(&file).range(0, 5).unlock(), GRANTED, "its CANCEL was lost");
    assert_eq!(waiter.ask(&file).svid(2).block().lock(), BLOCKED);
    assert_eq!(holder.ask(&file).unlock(), GRANTED);
    assert_eq!(waiter.manager.called().granted().svid, 2);
}
