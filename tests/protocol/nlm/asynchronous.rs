//! The `_MSG` forms, whose results are calls of the client's lock manager.

use super::cases;
use super::host::*;
use super::manager::Way;
use crate::client::Reader;
use crate::nfs::fixture::Fs;

cases! { results_come_by_a_call, a_blocked_message_is_granted_later, the_port_is_asked_for_once }

fn results_come_by_a_call(t: &Fs) {
    for (way, version) in [(Way::Udp, 4), (Way::Tcp, 4), (Way::Udp, 3), (Way::Tcp, 1)] {
        let host = Host::new(t).over(way).version(version);
        let file = t.alice.file(&t.dir, format!("{way:?}{version}").as_bytes());
        let results = |procedure: u32, svid: u32, status: u32| {
            let ask = host.ask(&file).svid(svid).cookie(&procedure.to_be_bytes());
            ask.message(procedure);
            let call = host.manager.called();
            assert_eq!((call.way, call.version), (way, version));
            assert_eq!(call.procedure, procedure + RESPONSE);
            assert_eq!(call.from.ip(), t.server.address.ip());
            let mut results = Reader::new(call.arguments);
            assert_eq!((results.opaque(), results.u32()), (ask.cookie, status));
            results
        };
        results(LOCK, 1, GRANTED).end();
        results(LOCK, 2, DENIED).end();
        results(TEST, 1, GRANTED).end();
        let mut held = results(TEST, 2, DENIED);
        assert!(held.boolean());
        assert_eq!((held.u32(), held.opaque()), (1, host.ask(&file).oh()));
        results(CANCEL, 1, DENIED).end();
        results(UNLOCK, 1, GRANTED).end();
        results(LOCK, 2, GRANTED).end();
    }
}

fn a_blocked_message_is_granted_later(t: &Fs) {
    let (holder, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    let waiter = Host::new(t).over(Way::Udp);
    assert_eq!(holder.ask(&file).lock(), GRANTED);
    waiter.ask(&file).block().message(LOCK);
    assert_eq!(waiter.manager.called().result().1, BLOCKED);
    assert_eq!(holder.ask(&file).unlock(), GRANTED);
    let call = waiter.manager.called();
    assert_eq!((call.procedure, call.granted().svid), (5, 1));
    assert!(holder.ask(&file).svid(2).test().is_err());
}

fn the_port_is_asked_for_once(t: &Fs) {
    let (host, file) = (Host::new(t).over(Way::Udp), t.alice.file(&t.dir, b"f"));
    for _ in 0..5 {
        host.ask(&file).message(LOCK);
        host.manager.called();
    }
    assert_eq!(host.manager.asked(), 1);
}
