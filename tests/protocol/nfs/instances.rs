//! Two servers over the same stores: any of them may answer any call.

use std::collections::BTreeSet;

use super::client::Client;
use super::fixture::{Fs, Stores, TestServer, content_cases};
use super::rpc::wait;
use super::types::*;

content_cases! {
    handles_are_valid_on_both, what_is_removed_is_stale_on_both,
    an_exclusive_create_is_retried_on_the_other, cookies_are_valid_on_both,
    one_instance_sees_the_others_changes, committed_data_is_seen_by_the_other,
    write_verifiers_differ, operations_of_both_make_one_chain, rmdir_against_create_on_the_other,
    sizes_set_on_one_and_written_on_the_other,
}

/// A case with a client of each instance as uid 1000, and a directory of mode 0777.
fn on_both(t: &Fs, case: impl FnOnce(&Client, &Client, &Handle)) {
    let stores = wait(Stores::new(t.pair));
    let second = wait(stores.beside());
    let (first, second) =
        wait(async { (TestServer::start(stores).await, TestServer::start(second).await) });
    let root = first.root_of("/t");
    assert_eq!(second.root_of("/t"), root);
    let dir = first.client(0).dir_of(&root, b"dir", 0o777);
    case(&first.client(1000), &second.client(1000), &dir);
    drop(second);
}

fn handles_are_valid_on_both(t: &Fs) {
    on_both(t, |one, two, dir| {
        let file = one.file_with(dir, b"f", b"bytes");
        assert_eq!((two.attr(&file), two.get(&file)), (one.attr(&file), b"bytes".to_vec()));
        assert_eq!(two.find(dir, b"f"), file);
        assert_eq!(two.rename(dir, b"f", dir, b"g").status, OK);
        assert_eq!((one.find(dir, b"g"), one.lookup(dir, b"f").status), (file, NOENT));
    });
}

fn what_is_removed_is_stale_on_both(t: &Fs) {
    on_both(t, |one, two, dir| {
        let (file, sub) = (one.file_with(dir, b"f", b"bytes"), one.dir(dir, b"d"));
        two.get(&file);
        two.list(&sub);
        assert_eq!(one.remove(dir, b"f").status, OK);
        assert_eq!(one.rmdir(dir, b"d").status, OK);
        assert_eq!((two.getattr(&file), two.getattr(&sub)), (Err(STALE), Err(STALE)));
        assert_eq!(two.read(&file, 0, 10).status, STALE);
        assert_eq!(two.write(&file, 0, UNSTABLE, b"x").status, STALE);
        assert_eq!(two.create(&sub, b"x", How::Guarded(mode(0o644))).status, STALE);
    });
}

fn an_exclusive_create_is_retried_on_the_other(t: &Fs) {
    on_both(t, |one, two, dir| {
        let how = How::Exclusive([0xfe; 8]);
        let file = one.create(dir, b"f", how).handle();
        assert_eq!(two.create(dir, b"f", how).handle(), file);
        assert_eq!(two.create(dir, b"f", How::Exclusive([1; 8])).status, EXIST);
        assert_eq!(one.setattr(&file, &mode(0o644)).status, OK);
        assert_eq!(two.create(dir, b"f", how).status, EXIST);
    });
}

fn cookies_are_valid_on_both(t: &Fs) {
    on_both(t, |one, two, dir| {
        for n in 0..30 {
            [one, two][n % 2].file(dir, format!("f{n}").as_bytes());
        }
        let all = one.readdir(dir, 0, [0; 8], 65_536);
        assert_eq!(two.readdir(dir, 0, [0; 8], 65_536), all);
        let cookie = all.entries[12].cookie;
        assert_eq!(one.remove(dir, &all.entries[12].name).status, OK);
        let rest = two.readdir(dir, cookie, all.verifier, 65_536);
        assert_eq!((rest.status, &rest.entries[..]), (OK, &all.entries[13..]));
    });
}

fn one_instance_sees_the_others_changes(t: &Fs) {
    on_both(t, |one, two, dir| {
        let file = one.file(dir, b"f");
        for step in 0..10_u32 {
            let (from, to) = if step % 2 == 0 { (one, two) } else { (two, one) };
            from.set(&file, &mode(0o600 + step % 8));
            assert_eq!(to.attr(&file), from.attr(&file));
            let name = format!("n{step}");
            from.file(dir, name.as_bytes());
            assert_eq!(to.lookup(dir, name.as_bytes()).status, OK);
            assert_eq!(to.attr(dir), from.attr(dir));
        }
    });
}

fn committed_data_is_seen_by_the_other(t: &Fs) {
    on_both(t, |one, two, dir| {
        let file = one.file(dir, b"f");
        assert_eq!(one.write(&file, 0, UNSTABLE, &[7; 50_000]).status, OK);
        assert_eq!(one.commit(&file, 0, 0).status, OK);
        assert!(two.get(&file) == [7; 50_000]);
        two.put(&file, 50_000, b"more");
        assert_eq!(one.attr(&file).size, 50_004);
        assert_eq!(one.read(&file, 50_000, 10).data, b"more");
    });
}

fn write_verifiers_differ(t: &Fs) {
    on_both(t, |one, two, dir| {
        let file = one.file(dir, b"f");
        let written = one.write(&file, 0, UNSTABLE, b"bytes");
        let elsewhere = two.commit(&file, 0, 0);
        assert_eq!(elsewhere.status, OK);
        assert_ne!(elsewhere.verifier, written.verifier, "the client writes again");
    });
}

fn operations_of_both_make_one_chain(t: &Fs) {
    on_both(t, |one, two, dir| {
        let wccs: Vec<Wcc> = std::thread::scope(|scope| {
            let threads: Vec<_> = [one, two, one, two]
                .into_iter()
                .enumerate()
                .map(|(number, client)| (number, client.reconnect()))
                .map(|(number, client)| {
                    scope.spawn(move || -> Vec<Wcc> {
                        let name = |n| format!("{number}-{n}").into_bytes();
                        let how = How::Guarded(mode(0o644));
                        (0..10).map(|n| client.create(dir, &name(n), how).wcc).collect()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let times = |attr: &PreAttr| (attr.ctime, attr.mtime);
        let before: BTreeSet<_> = wccs.iter().map(|wcc| times(wcc.before())).collect();
        let after: BTreeSet<_> = wccs.iter().map(|wcc| times(&wcc.after().wcc())).collect();
        assert_eq!((before.len(), after.len()), (40, 40), "no two show the same attributes");
        assert_eq!(before.difference(&after).count(), 1, "one chain has one start");
    });
}

fn rmdir_against_create_on_the_other(t: &Fs) {
    on_both(t, |one, two, dir| {
        for round in 0..10 {
            let name = format!("d{round}");
            let sub = one.dir(dir, name.as_bytes());
            let how = How::Guarded(mode(0o644));
            let (made, removed) = std::thread::scope(|scope| {
                let made = scope.spawn(|| one.create(&sub, b"f", how).status);
                let removed = scope.spawn(|| two.rmdir(dir, name.as_bytes()).status);
                (made.join().unwrap(), removed.join().unwrap())
            });
            assert!(
                matches!((made, removed), (OK, NOTEMPTY) | (STALE, OK)),
                "{made:?} {removed:?}"
            );
        }
    });
}

fn sizes_set_on_one_and_written_on_the_other(t: &Fs) {
    on_both(t, |one, two, dir| {
        let file = one.file_with(dir, b"f", &[1; 10_000]);
        two.set(&file, &size(100));
        one.put(&file, 5000, b"end");
        let expected = [vec![1; 100], vec![0; 4900], b"end".to_vec()].concat();
        assert!(two.get(&file) == expected && one.get(&file) == expected);
        two.set(&file, &size(0));
        assert_eq!(one.get(&file), b"");
    });
}
