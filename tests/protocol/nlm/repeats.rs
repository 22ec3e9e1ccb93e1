//! Calls that come twice: a late copy neither takes nor gives back anything.

use super::cases;
use super::host::*;
use super::manager::Way;
use crate::client::Outcome;
use crate::nfs::fixture::Fs;

cases! {
    a_late_lock_takes_nothing, a_late_unlock_gives_nothing_back, a_late_cancel_gives_up_nothing,
    a_late_share_is_nothing, the_same_over_tcp, a_message_twice_has_two_results,
}

fn status(outcome: Outcome) -> u32 {
    let Outcome::Success(results) = outcome else { panic!("{outcome:?}") };
    u32::from_be_bytes(results[results.len() - 4..].try_into().unwrap())
}

fn a_late_lock_takes_nothing(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    let port = Port::new(&host);
    for procedure in [LOCK, 22] {
        let lock = host.ask(&file).prepare(procedure).xid(1000 + procedure);
        assert_eq!(status(port.call(&lock)), GRANTED);
        assert_eq!(host.ask(&file).unlock(), GRANTED);
        assert_eq!(status(port.call(&lock)), GRANTED, "the recorded reply");
        assert_eq!(host.ask(&file).svid(2).test(), Ok(()));
        // From another port it is another call.
        assert_eq!(status(Port::new(&host).call(&lock)), GRANTED);
        assert!(host.ask(&file).svid(2).test().is_err());
        assert_eq!(host.ask(&file).unlock(), GRANTED);
    }
}

fn a_late_unlock_gives_nothing_back(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    let port = Port::new(&host);
    assert_eq!(host.ask(&file).lock(), GRANTED);
    let unlock = host.ask(&file).prepare(UNLOCK).xid(7);
    assert_eq!(status(port.call(&unlock)), GRANTED);
    assert_eq!(host.ask(&file).lock(), GRANTED);
    assert_eq!(status(port.call(&unlock)), GRANTED, "the recorded reply");
    assert!(host.ask(&file).svid(2).test().is_err(), "it is still held");
}

fn a_late_cancel_gives_up_nothing(t: &Fs) {
    let (holder, waiter, file) = (Host::new(t), Host::new(t), t.alice.file(&t.dir, b"f"));
    let port = Port::new(&waiter);
    assert_eq!(holder.ask(&file).lock(), GRANTED);
    let (ask, xid) = (waiter.ask(&file).block(), 7);
    assert_eq!(ask.lock(), BLOCKED);
    assert_eq!(status(port.call(&ask.prepare(CANCEL).xid(xid))), GRANTED);
    assert_eq!(ask.lock(), BLOCKED);
    assert_eq!(status(port.call(&ask.prepare(CANCEL).xid(xid))), GRANTED);
    assert_eq!(holder.ask(&file).unlock(), GRANTED);
    waiter.manager.called();
}

fn a_late_share_is_nothing(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    let over = host.over(Way::Udp);
    assert_eq!(over.ask(&file).share(20, 2, 1), GRANTED);
    let port = Port::new(&host);
    let free =
        |xid| host.prepare(23, crate::client::Writer::new().opaque(&host.name).u32(0)).xid(xid);
    assert_eq!(port.call(&free(9)), Outcome::Success(Vec::new()));
    assert_eq!(over.ask(&file).share(20, 2, 1), GRANTED);
    assert_eq!(port.call(&free(9)), Outcome::Success(Vec::new()));
    assert_eq!(host.ask(&file).svid(2).share(20, 0, 2), DENIED, "it is still there");
}

fn the_same_over_tcp(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    let wire = crate::nfs::rpc::Wire::open_from(host.address(), t.server.address);
    let lock = host.ask(&file).prepare(LOCK).xid(0x77);
    assert_eq!(status(wire.call(lock.clone())), GRANTED);
    assert_eq!(host.ask(&file).unlock(), GRANTED);
    assert_eq!(status(wire.call(lock)), GRANTED);
    assert_eq!(host.ask(&file).svid(2).test(), Ok(()));
}

fn a_message_twice_has_two_results(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    let port = Port::new(&host);
    let message = host.ask(&file).cookie(b"twice").prepare(LOCK + MESSAGE).xid(5);
    for _ in 0..2 {
        assert_eq!(port.call(&message), Outcome::Success(Vec::new()));
        let call = host.manager.called();
        assert_eq!((call.procedure, call.way), (LOCK + RESPONSE, Way::Udp));
        assert_eq!(call.result(), (b"twice".to_vec(), GRANTED));
        assert_eq!(host.ask(&file).unlock(), GRANTED);
    }
    assert_eq!(host.ask(&file).svid(2).test(), Ok(()), "the copy has taken nothing");
}
