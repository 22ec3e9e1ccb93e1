//! LOCK, TEST, UNLOCK and NM_LOCK, with their checks.

use super::cases;
use super::host::*;
use super::manager::Way;
use crate::client::{Auth, Outcome, Writer};
use crate::nfs::fixture::Fs;
use crate::nfs::rpc::user;
use crate::nfs::types::Sattr;

cases! {
    versions_and_procedures, cookies_come_back, a_lock_is_held_by_one_owner, an_owner_has_four_parts,
    shared_locks_are_shared, an_upgrade_is_all_or_nothing, a_downgrade_lets_readers_in,
    an_unlock_splits, an_unlock_spans_rows, an_exclusive_lock_within_a_shared_one,
    ranges_to_the_end, ranges_of_32_bits, a_test_tells_who, unlocking_nothing_succeeds,
    an_unlock_takes_every_row_of_its_owner, handles_of_nothing, only_files_are_locked,
    who_may_read_or_write_may_lock, root_is_squashed, a_read_only_share_has_locks,
    who_is_not_admitted_gets_no_lock, without_credentials_one_is_the_anonymous_user,
    a_reclaim_is_a_lock, nm_lock_does_not_wait, garbage_is_refused, a_reserved_port_is_asked_for,
}

fn versions_and_procedures(t: &Fs) {
    let host = Host::new(t);
    for way in [Way::Tcp, Way::Udp] {
        let host = host.over(way);
        for version in [1, 3, 4] {
            let null = host.version(version).call(0, Writer::new());
            assert_eq!(null, Outcome::Success(Vec::new()), "version {version}");
            for procedure in [5, 10, 17, 24] {
                let outcome = host.version(version).call(procedure, Writer::new());
                assert_eq!(outcome, Outcome::ProcedureUnavailable, "{version} {procedure}");
            }
        }
        for version in [2, 5] {
            let outcome = host.version(version).call(0, Writer::new());
            let versions = Outcome::ProgramMismatch { low: 1, high: 4 };
            assert_eq!(outcome, versions, "version {version}");
        }
        assert_eq!(host.version(1).call(20, Writer::new()), Outcome::ProcedureUnavailable);
    }
}

fn cookies_come_back(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    for way in [Way::Tcp, Way::Udp] {
        let host = host.over(way);
        for length in [0, 4, 7, 8, 32, 1024] {
            let cookie = vec![0xab; length];
            assert_eq!(host.ask(&file).range(0, 10).cookie(&cookie).lock(), GRANTED);
        }
        let long = host.ask(&file).cookie(&[7; 1025]);
        assert_eq!(host.call(LOCK, long.arguments(LOCK)), Outcome::GarbageArguments);
    }
}

fn a_lock_is_held_by_one_owner(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    let own = host.ask(&file).range(0, 10);
    assert_eq!(own.lock(), GRANTED);
    assert_eq!(own.lock(), GRANTED, "what it has");
    assert_eq!(own.test(), Ok(()));
    let other = host.ask(&file).range(9, 1).svid(2);
    assert_eq!(other.lock(), DENIED);
    assert_eq!(own.unlock(), GRANTED);
    assert_eq!(other.lock(), GRANTED, "one row had it");
}

fn an_owner_has_four_parts(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    assert_eq!(host.ask(&file).lock(), GRANTED);
    assert_eq!(host.named(b"another").ask(&file).lock(), DENIED, "another name");
    let elsewhere = Host::new(t).named(&host.name);
    assert_eq!(elsewhere.ask(&file).lock(), DENIED, "another address");
    assert_eq!(host.by(t.server.other).ask(&file).lock(), DENIED, "by another address of ours");
    assert_eq!(host.over(Way::Udp).ask(&file).lock(), GRANTED, "by another protocol");
    assert_eq!(host.version(3).ask(&file).lock(), GRANTED, "by another version");
    assert_eq!(elsewhere.ask(&file).unlock(), GRANTED);
    assert_eq!(host.ask(&file).svid(2).lock(), DENIED, "nobody else gives it back");
}

fn shared_locks_are_shared(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    for svid in [1, 2] {
        assert_eq!(host.ask(&file).svid(svid).shared().lock(), GRANTED);
    }
    assert_eq!(host.ask(&file).svid(3).lock(), DENIED);
    assert_eq!(host.ask(&file).svid(3).shared().test(), Ok(()));
}

fn an_upgrade_is_all_or_nothing(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    let lock = |svid| host.ask(&file).svid(svid).range(0, 10);
    assert_eq!(lock(1).shared().lock(), GRANTED);
    assert_eq!(lock(1).lock(), GRANTED, "alone");
    assert_eq!(lock(1).shared().lock(), GRANTED);
    assert_eq!(lock(2).shared().lock(), GRANTED);
    assert_eq!(lock(1).lock(), DENIED, "beside a reader");
    assert_eq!(lock(2).unlock(), GRANTED);
    let holder = lock(3).test().unwrap_err();
    assert_eq!((holder.svid, holder.exclusive), (1, false), "the shared one is held");
}

fn a_downgrade_lets_readers_in(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    assert_eq!(host.ask(&file).lock(), GRANTED);
    assert_eq!(host.ask(&file).svid(2).shared().lock(), DENIED);
    assert_eq!(host.ask(&file).shared().lock(), GRANTED);
    assert_eq!(host.ask(&file).svid(2).shared().lock(), GRANTED);
}

fn an_unlock_splits(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    assert_eq!(host.ask(&file).range(0, 100).lock(), GRANTED);
    assert_eq!(host.ask(&file).range(40, 20).unlock(), GRANTED);
    let other = host.ask(&file).svid(2);
    assert_eq!(other.clone().range(40, 20).lock(), GRANTED);
    for range in [(39, 1), (60, 1)] {
        let holder = other.clone().range(range.0, range.1).test().unwrap_err();
        let part = if range.0 == 39 { (0, 40) } else { (60, 40) };
        assert_eq!((holder.svid, holder.range), (1, part));
    }
}

fn an_unlock_spans_rows(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    assert_eq!(host.ask(&file).range(0, 50).lock(), GRANTED);
    assert_eq!(host.ask(&file).range(50, 50).lock(), GRANTED);
    let holder = host.ask(&file).svid(2).test().unwrap_err();
    assert_eq!(holder.range, (0, 100), "neighbours are one");
    assert_eq!(host.ask(&file).range(0, 100).unlock(), GRANTED);
    assert_eq!(host.ask(&file).svid(2).lock(), GRANTED);
}

fn an_exclusive_lock_within_a_shared_one(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    assert_eq!(host.ask(&file).range(0, 100).shared().lock(), GRANTED);
    assert_eq!(host.ask(&file).range(40, 20).lock(), GRANTED);
    let other = host.ask(&file).svid(2).shared();
    assert_eq!(other.clone().range(0, 40).test(), Ok(()));
    assert_eq!(other.clone().range(60, 0).test(), Ok(()));
    let holder = other.range(0, 0).test().unwrap_err();
    assert_eq!((holder.exclusive, holder.range), (true, (40, 20)));
}

fn ranges_to_the_end(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    let other = |offset, length| host.ask(&file).svid(2).range(offset, length);
    assert_eq!(host.ask(&file).range(10, 0).lock(), GRANTED);
    assert_eq!(other(1 << 62, 1).test().unwrap_err().range, (10, 0));
    assert_eq!(other(0, 10).test(), Ok(()));
    assert_eq!(host.ask(&file).unlock(), GRANTED);
    assert_eq!(host.ask(&file).range(10, u64::MAX).lock(), GRANTED, "all ones");
    assert_eq!(other(i64::MAX as u64, 1).test().unwrap_err().range, (10, 0));
    assert_eq!(host.ask(&file).unlock(), GRANTED);
    assert_eq!(host.ask(&file).range(10, u64::MAX - 1).lock(), GRANTED, "beyond the end");
    assert_eq!(other(0, 0).test().unwrap_err().range, (10, 0));
    assert_eq!(host.ask(&file).unlock(), GRANTED);
    let last = i64::MAX as u64;
    assert_eq!(host.ask(&file).range(last, 1).lock(), GRANTED);
    assert_eq!(other(last, 0).test().unwrap_err().range, (last, 0));
    assert_eq!(host.ask(&file).range(last + 1, 1).lock(), FBIG);
    assert_eq!(host.ask(&file).range(last + 1, 1).tested().0, FBIG);
    assert_eq!(host.ask(&file).range(last + 1, 1).unlock(), GRANTED);
    assert_eq!(host.ask(&file).range(last + 1, 1).cancel(), GRANTED);
}

fn ranges_of_32_bits(t: &Fs) {
    let (wide, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    for version in [1, 3] {
        let host = wide.version(version);
        let last = 0xffff_ffff;
        assert_eq!(host.ask(&file).range(last, last).lock(), GRANTED, "all ones are the end");
        let holder = wide.ask(&file).svid(2).range(1 << 40, 1).test().unwrap_err();
        assert_eq!(holder.range, (last, 0));
        assert_eq!(host.ask(&file).unlock(), GRANTED);
        assert_eq!(wide.ask(&file).range(1 << 33, 1).lock(), GRANTED);
        let holder = host.ask(&file).svid(2).test().unwrap_err();
        assert_eq!(holder.range.0, last, "a range beyond 32 bits is shown as their last byte");
        assert_eq!(host.ask(&file).unlock(), GRANTED);
        assert_eq!(wide.ask(&file).svid(2).test(), Ok(()), "to the end is to the end of all");
    }
}

fn a_test_tells_who(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    assert_eq!(host.ask(&file).svid(0x8000_0001).range(5, 7).shared().lock(), GRANTED);
    let holder = host.ask(&file).svid(2).test().unwrap_err();
    let oh = host.ask(&file).svid(0x8000_0001).oh();
    assert_eq!(holder, Holder { exclusive: false, svid: 0x8000_0001, oh, range: (5, 7) });
    // It has changed nothing.
    assert_eq!(host.ask(&file).svid(2).range(0, 5).lock(), GRANTED);
}

fn unlocking_nothing_succeeds(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    assert_eq!(host.ask(&file).unlock(), GRANTED);
    assert_eq!(host.named(b"nobody").ask(&file).unlock(), GRANTED);
    assert_eq!(host.ask(b"no handle").unlock(), GRANTED);
    assert_eq!(host.ask(&[7; 65]).unlock(), GRANTED);
    assert_eq!(host.ask(&t.dir).unlock(), GRANTED);
    assert_eq!(host.ask(&file).lock(), GRANTED);
    t.alice.remove(&t.dir, b"f");
    assert_eq!(host.ask(&file).unlock(), GRANTED);
    assert_eq!(host.ask(&file).cancel(), GRANTED);
}

fn an_unlock_takes_every_row_of_its_owner(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    let (one, other) = (host.ask(&file), host.ask(&file).svid(2));
    for offset in [0, 20, 40] {
        assert_eq!(one.clone().range(offset, 10).lock(), GRANTED);
        assert_eq!(other.clone().range(offset + 10, 10).lock(), GRANTED);
    }
    assert_eq!(one.unlock(), GRANTED);
    let third = host.ask(&file).svid(3);
    for offset in [0, 20, 40] {
        assert_eq!(third.clone().range(offset, 10).test(), Ok(()));
        assert_eq!(third.clone().range(offset + 10, 10).test().unwrap_err().svid, 2);
    }
}

fn handles_of_nothing(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    t.alice.remove(&t.dir, b"f");
    for handle in [&file[..], b"garbage", &[7; 65], &[7; 1024], b""] {
        assert_eq!(host.ask(handle).lock(), STALE_FH);
        assert_eq!(host.ask(handle).block().lock(), STALE_FH);
        assert_eq!(host.ask(handle).tested(), (STALE_FH, None));
        for version in [1, 3] {
            assert_eq!(host.version(version).ask(handle).lock(), NOLOCKS);
        }
    }
    let long = host.ask(&[7; 1025]);
    assert_eq!(host.call(LOCK, long.arguments(LOCK)), Outcome::GarbageArguments);
}

fn only_files_are_locked(t: &Fs) {
    let host = Host::new(t);
    let link = t.alice.symlink(&t.dir, b"l", b"nowhere").handle();
    for object in [&t.dir, &t.share, &link] {
        assert_eq!(host.ask(object).lock(), FAILED);
        assert_eq!(host.version(3).ask(object).lock(), NOLOCKS);
    }
}

fn who_may_read_or_write_may_lock(t: &Fs) {
    let host = Host::new(t).auth(user(1001, 1001, &[]));
    for (bits, status) in [(0o000, FAILED), (0o444, GRANTED), (0o222, GRANTED), (0o711, FAILED)] {
        let file = t.alice.file_of(&t.dir, format!("{bits:o}").as_bytes(), bits);
        assert_eq!(host.ask(&file).lock(), status, "{bits:o}");
        assert_eq!(host.ask(&file).shared().lock(), status, "{bits:o}");
        assert_eq!(host.ask(&file).tested().0, status, "{bits:o}");
        assert_eq!(host.ask(&file).unlock(), GRANTED);
        let owner = host.auth(user(1000, 1000, &[]));
        assert_eq!(owner.ask(&file).lock(), GRANTED, "its owner: {bits:o}");
        assert_eq!(host.ask(&file).unlock(), GRANTED, "no permission is asked for");
    }
}

fn root_is_squashed(t: &Fs) {
    let (alice, dir) = t.dir_in("/squash");
    let (closed, open) = (alice.file_of(&dir, b"c", 0o600), alice.file_of(&dir, b"o", 0o644));
    let host = Host::new(t).auth(user(0, 0, &[]));
    assert_eq!(host.ask(&closed).lock(), FAILED);
    assert_eq!(host.ask(&open).lock(), GRANTED);
}

fn a_read_only_share_has_locks(t: &Fs) {
    let (alice, dir) = t.dir_in("/ro");
    let file = alice.file(&dir, b"f");
    // By 127.0.0.1, to which the share is read-only.
    let host = Host::new(t);
    assert_eq!(host.ask(&file).lock(), GRANTED);
    let mut local = crate::nfs::client::Client::connect(t.server.address, user(1000, 1000, &[]));
    local = local.reconnect();
    let named = host.named(b"local");
    let other = named.ask(&file).svid(9);
    let reply = local.raw(NLM, 4, TEST, &Vec::from(other.arguments(TEST)));
    let Outcome::Success(results) = reply else { panic!("{reply:?}") };
    let mut results = crate::client::Reader::new(results);
    assert_eq!((results.opaque(), results.u32()), (other.cookie, DENIED));
}

fn who_is_not_admitted_gets_no_lock(t: &Fs) {
    let (alice, dir) = t.dir_in("/narrow");
    let file = alice.file(&dir, b"f");
    let host = Host::new(t);
    assert_eq!(host.ask(&file).lock(), STALE_FH);
    assert_eq!(host.ask(&file).tested(), (STALE_FH, None));
    assert_eq!(host.ask(&file).share(20, 2, 1), STALE_FH);
    assert_eq!(host.ask(&file).unlock(), GRANTED);
}

fn without_credentials_one_is_the_anonymous_user(t: &Fs) {
    let host = Host::new(t).auth(Auth::none());
    let closed = t.alice.file_of(&t.dir, b"c", 0o600);
    let open = t.alice.file_of(&t.dir, b"o", 0o604);
    assert_eq!(host.ask(&closed).lock(), FAILED);
    assert_eq!(host.ask(&open).lock(), GRANTED);
}

fn a_reclaim_is_a_lock(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    assert_eq!(host.ask(&file).reclaim().lock(), GRANTED, "it is free");
    assert_eq!(host.ask(&file).reclaim().lock(), GRANTED, "it is its own");
    assert_eq!(host.ask(&file).svid(2).reclaim().block().lock(), DENIED, "it does not wait");
}

fn nm_lock_does_not_wait(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    for version in [3, 4] {
        let host = host.version(version);
        assert_eq!(host.ask(&file).nm_lock(), GRANTED);
        assert_eq!(host.ask(&file).svid(2).block().nm_lock(), DENIED);
    }
}

fn garbage_is_refused(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    for procedure in [TEST, LOCK, CANCEL, UNLOCK, 22] {
        let whole = Vec::from(host.ask(&file).arguments(procedure));
        for length in [0, 3, 4, whole.len() / 2, whole.len() - 1] {
            let call = host.prepare(procedure, Writer::new()).arguments(&whole[..length]);
            let reply = crate::nfs::rpc::Wire::open(t.server.address).call(call);
            assert_eq!(reply, Outcome::GarbageArguments, "{length} bytes of {procedure}");
        }
    }
    for number in [3, 6, 7, 8, 9, 20, 21, 23] {
        let call = host.prepare(number, Writer::new().u32(0xffff_ffff));
        let reply = crate::nfs::rpc::Wire::open(t.server.address).call(call);
        assert_eq!(reply, Outcome::GarbageArguments, "{number}");
    }
    // A boolean of 2 is true.
    let ask = host.ask(&file).range(0, 1);
    let mut bytes = Vec::from(ask.arguments(LOCK));
    bytes[15] = 2;
    let call = host.prepare(LOCK, Writer::new()).arguments(bytes);
    let outcome = host.over(Way::Udp);
    let Outcome::Success(results) = Port::new(&outcome).call(&call) else { panic!("an answer") };
    assert_eq!(results[results.len() - 4..], [0, 0, 0, 0]);
    assert!(host.ask(&file).svid(2).test().unwrap_err().exclusive);
}

fn a_reserved_port_is_asked_for(t: &Fs) {
    // The rule is that of 127.0.0.1 alone.
    let (alice, dir) = t.dir_in("/port");
    let file = alice.file(&dir, b"f");
    alice.set(&file, &Sattr { mode: Some(0o666), ..Sattr::default() });
    let local = crate::nfs::client::Client::connect(t.server.address, user(1000, 1000, &[]));
    let host = Host::new(t);
    let reply = local.raw(NLM, 4, LOCK, &Vec::from(host.ask(&file).arguments(LOCK)));
    let Outcome::Success(results) = reply else { panic!("{reply:?}") };
    assert_eq!(results[results.len() - 1], 9, "FAILED");
    assert_eq!(host.ask(&file).lock(), GRANTED);
}
