//! Clients that have rebooted, and those that give everything back: SM_NOTIFY, FREE_ALL, and what else NSM
//! has.

use std::time::Duration;

use super::cases;
use super::host::*;
use super::manager::Way;
use crate::client::{Auth, Call, Connection, Outcome, Writer};
use crate::nfs::client::Client;
use crate::nfs::fixture::Fs;
use crate::nfs::rpc::{user, wait};

cases! {
    a_reboot_frees_all_but_what_came_after, names_are_compared_by_their_first_label,
    a_strangers_notice_is_nothing, of_two_names_one_is_meant, waiters_and_shares_go_too,
    nothing_is_monitored, a_statd_elsewhere_is_not_believed, the_machines_statd_is_believed_by_the_state,
    free_all_is_for_ones_own,
    a_connections_end_frees_nothing,
}

fn a_reboot_frees_all_but_what_came_after(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    for (way, state) in [(Way::Udp, 5), (Way::Tcp, 7)] {
        let host = host.over(way);
        assert_eq!(host.ask(&file).range(0, 10).state(state - 2).lock(), GRANTED);
        assert_eq!(host.ask(&file).svid(2).range(20, 5).state(state).lock(), GRANTED);
        for _ in 0..2 {
            host.notify(&host.name, state);
            let other = host.ask(&file).svid(3);
            assert_eq!(other.clone().range(0, 20).test(), Ok(()));
            assert_eq!(other.test().unwrap_err().svid, 2, "taken after the reboot");
        }
        assert_eq!(host.ask(&file).svid(2).unlock(), GRANTED);
    }
}

fn names_are_compared_by_their_first_label(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    // A second name, so that the name counts at all.
    let full = host.named(b"Client.Example.org");
    assert_eq!(host.named(b"other").ask(&file).range(100, 1).state(1).lock(), GRANTED);
    for name in [&b"client.example.org"[..], b"CLIENT"] {
        assert_eq!(full.ask(&file).range(0, 1).state(1).lock(), GRANTED);
        host.notify(name, 3);
        assert_eq!(host.ask(&file).svid(9).range(0, 1).test(), Ok(()), "{}", name.escape_ascii());
    }
    assert_eq!(full.ask(&file).range(0, 1).state(1).lock(), GRANTED);
    host.notify(b"clien", 3);
    assert!(host.ask(&file).svid(9).range(0, 1).test().is_err());
}

fn a_strangers_notice_is_nothing(t: &Fs) {
    let (host, stranger, file) = (Host::new(t), Host::new(t), t.alice.file(&t.dir, b"f"));
    assert_eq!(host.ask(&file).lock(), GRANTED);
    for way in [Way::Tcp, Way::Udp] {
        stranger.over(way).notify(&host.name, 99);
        assert!(stranger.ask(&file).test().is_err());
    }
}

fn of_two_names_one_is_meant(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    let (one, two) = (host.named(b"one"), host.named(b"two"));
    assert_eq!(one.ask(&file).range(0, 1).lock(), GRANTED);
    assert_eq!(two.ask(&file).range(1, 1).lock(), GRANTED);
    host.notify(b"two", 3);
    assert!(host.ask(&file).range(0, 1).test().is_err());
    assert_eq!(host.ask(&file).range(1, 1).test(), Ok(()));
}

fn waiters_and_shares_go_too(t: &Fs) {
    let (holder, host, file) = (Host::new(t), Host::new(t), t.alice.file(&t.dir, b"f"));
    assert_eq!(holder.ask(&file).lock(), GRANTED);
    assert_eq!(host.ask(&file).block().lock(), BLOCKED);
    assert_eq!(host.ask(&file).share(20, 3, 3), GRANTED);
    host.notify(&host.name, 3);
    assert_eq!(holder.ask(&file).share(20, 3, 3), GRANTED);
    assert_eq!(host.ask(&file).svid(2).state(3).block().lock(), BLOCKED);
    assert_eq!(holder.ask(&file).unlock(), GRANTED);
    assert_eq!(host.manager.called().granted().svid, 2);
}

fn nothing_is_monitored(t: &Fs) {
    let host = Host::new(t);
    let words = |words: &[u32]| {
        let bytes: Vec<_> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        Outcome::Success(bytes)
    };
    let my_id = |to: Writer| to.opaque(b"me").u32(NLM).u32(4).u32(16);
    for way in [Way::Tcp, Way::Udp] {
        let host = host.over(way);
        assert_eq!(host.monitor(0, Writer::new()), words(&[]));
        assert_eq!(host.monitor(1, Writer::new().opaque(b"x")), words(&[1, 1]), "fails");
        let mon = my_id(Writer::new().opaque(b"x")).fixed(&[0; 16]);
        assert_eq!(host.monitor(2, mon), words(&[1, 1]), "fails");
        assert_eq!(host.monitor(3, my_id(Writer::new().opaque(b"x"))), words(&[1]));
        assert_eq!(host.monitor(4, my_id(Writer::new())), words(&[1]));
        assert_eq!(host.monitor(5, Writer::new()), words(&[]));
        assert_eq!(host.monitor(6, Writer::new()), Outcome::GarbageArguments);
        assert_eq!(host.monitor(7, Writer::new()), Outcome::ProcedureUnavailable);
        let long = Writer::new().opaque(&[b'x'; 1025]).u32(3);
        assert_eq!(host.monitor(6, long), Outcome::GarbageArguments);
    }
    assert_eq!((host.manager.pending(), host.manager.asked()), (0, 0), "nobody is called");
}

/// The machine's own statd calls from a port below 1024 of loopback. These clients are on loopback, at other
/// ports.
fn a_statd_elsewhere_is_not_believed(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    assert_eq!(host.ask(&file).lock(), GRANTED);
    let std::net::IpAddr::V4(address) = host.address() else { panic!("IPv4") };
    let noted = address.to_ipv6_mapped().octets();
    let call = || Writer::new().opaque(&host.name).u32(3).fixed(&noted);
    assert_eq!(host.call(16, call()), Outcome::ProcedureUnavailable);
    let local = Client::connect(t.server.address, user(0, 0, &[]));
    let reply = local.raw(NLM, 4, 16, &Vec::from(call()));
    assert_eq!(reply, Outcome::ProcedureUnavailable);
    assert!(host.ask(&file).svid(2).test().is_err());
}

/// It passes on what anybody tells it, so that the client's own is asked.
fn the_machines_statd_is_believed_by_the_state(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    assert_eq!(host.ask(&file).range(0, 1).state(3).lock(), GRANTED);
    assert_eq!(host.ask(&file).range(1, 1).state(5).lock(), GRANTED);
    let std::net::IpAddr::V4(address) = host.address() else { panic!("IPv4") };
    let noted = address.to_ipv6_mapped().octets();
    let told = |state: u32| {
        let call = Writer::new().opaque(b"any name").u32(state).fixed(&noted);
        wait(async {
            let local = [127, 0, 0, 1].into();
            let mut statd = Connection::open_reserved(local, t.server.address).await;
            let call = Call::new(NLM, 4, 16).credentials(Auth::none()).arguments(call);
            statd.send(&call).await;
            statd
        })
    };
    let is_free = |byte| host.ask(&file).svid(9).range(byte, 1).test().is_ok();
    // No status monitor runs at the client: there is no reply, and statd asks again.
    let mut statd = told(5);
    wait(statd.silent_for(Duration::from_secs(1)));
    assert!(!is_free(0));
    host.manager.is_in_state(5);
    for (state, expected) in [(7, false), (5, true)] {
        wait(told(state).reply());
        assert_eq!((is_free(0), is_free(1)), (expected, false), "{state}");
    }
}

fn free_all_is_for_ones_own(t: &Fs) {
    let (host, other, file) = (Host::new(t), Host::new(t), t.alice.file(&t.dir, b"f"));
    assert_eq!(host.ask(&file).range(0, 1).nm_lock(), GRANTED);
    assert_eq!(host.named(b"two").ask(&file).range(1, 1).lock(), GRANTED);
    other.free_all(&host.name);
    assert!(other.ask(&file).range(0, 1).test().is_err());
    host.free_all(&host.name);
    assert_eq!(other.ask(&file).range(0, 1).test(), Ok(()));
    assert!(other.ask(&file).range(1, 1).test().is_err(), "another name's");
}

fn a_connections_end_frees_nothing(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    let mut connection = crate::nfs::rpc::wait(crate::client::Connection::open_from(
        host.address(),
        t.server.address,
    ));
    crate::nfs::rpc::wait(async {
        connection.call(host.ask(&file).prepare(LOCK)).await.results();
        connection.leave().await;
    });
    assert!(host.ask(&file).svid(2).test().is_err());
    assert_eq!(host.ask(&file).unlock(), GRANTED);
}
