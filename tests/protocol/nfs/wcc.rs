//! wcc_data (RFC 1813 section 2.6): a client takes attributes before an operation that equal its own
//! for "only I changed it", so they must be those of the moment before, and never another's.

use std::collections::BTreeSet;

use super::fixture::{Fs, shared_cases};
use super::types::*;

shared_cases! {
    operations_of_one_client_make_a_chain, every_changing_procedure_joins_the_chain,
    operations_of_many_clients_make_one_chain, refused_operations_change_nothing,
    setattrs_of_many_clients_make_one_chain, no_attributes_of_what_is_gone,
    no_attributes_of_bad_handles, renames_between_directories_make_two_chains;
    // What another server need not show, or not so.
    writes_of_one_client_make_a_chain, refusals_show_what_is_unflushed,
}

/// Adds a link: what was before is what the last operation left.
fn joins(last: &mut PreAttr, wcc: &Wcc) {
    assert_eq!(wcc.before(), last);
    let after = wcc.after().wcc();
    assert!(after.ctime > last.ctime && after.mtime > last.mtime, "{after:?} after {last:?}");
    *last = after;
}

fn operations_of_one_client_make_a_chain(t: &Fs) {
    let mut last = t.alice.attr(&t.dir).wcc();
    for n in 0..25 {
        let name = format!("f{n}");
        let made = t.alice.create(&t.dir, name.as_bytes(), How::Guarded(mode(0o644)));
        joins(&mut last, &made.wcc);
    }
    assert_eq!(t.alice.attr(&t.dir).wcc(), last);
}

fn every_changing_procedure_joins_the_chain(t: &Fs) {
    let file = t.root.file(&t.dir, b"file");
    let mut last = t.root.attr(&t.dir).wcc();
    let chain = &mut last;
    joins(chain, &t.root.create(&t.dir, b"u", How::Unchecked(mode(0o644))).wcc);
    joins(chain, &t.root.create(&t.dir, b"g", How::Guarded(mode(0o644))).wcc);
    joins(chain, &t.root.create(&t.dir, b"e", How::Exclusive([1; 8])).wcc);
    joins(chain, &t.root.mkdir(&t.dir, b"d", &mode(0o755)).wcc);
    joins(chain, &t.root.symlink(&t.dir, b"l", b"x").wcc);
    joins(chain, &t.root.mknod(&t.dir, b"p", FIFO, &mode(0o644), (0, 0)).wcc);
    joins(chain, &t.root.mknod(&t.dir, b"c", CHR, &mode(0o644), (1, 3)).wcc);
    joins(chain, &t.root.link(&file, &t.dir, b"h").directory);
    joins(chain, &t.root.rename(&t.dir, b"h", &t.dir, b"i").from);
    joins(chain, &t.root.rename(&t.dir, b"i", &t.dir, b"u").from);
    joins(chain, &t.root.remove(&t.dir, b"u").wcc);
    joins(chain, &t.root.rmdir(&t.dir, b"d").wcc);
    let set = Sattr { mtime: SetTime::Server, ..mode(0o777) };
    joins(chain, &t.root.setattr(&t.dir, &set).wcc);
    assert_eq!(t.root.attr(&t.dir).wcc(), *chain);
}

/// Checks that changes seen by different clients are one chain: no two share what was before or
/// after, and all but the first begin where another ended.
fn is_one_chain(changes: &[(PreAttr, PreAttr)]) {
    let times = |attr: &PreAttr| (attr.ctime, attr.mtime);
    let before: BTreeSet<_> = changes.iter().map(|(before, _)| times(before)).collect();
    let after: BTreeSet<_> = changes.iter().map(|(_, after)| times(after)).collect();
    assert_eq!(before.len(), changes.len(), "two operations show the same attributes before");
    assert_eq!(after.len(), changes.len(), "two operations show the same attributes after");
    assert_eq!(before.difference(&after).count(), 1, "one chain has one start");
    assert!(changes.iter().all(|(before, after)| before.ctime < after.ctime));
}

fn changes(wccs: Vec<Wcc>) -> Vec<(PreAttr, PreAttr)> {
    wccs.into_iter().map(|wcc| (wcc.before().clone(), wcc.after().wcc())).collect()
}

fn operations_of_many_clients_make_one_chain(t: &Fs) {
    let wccs = t.together(4, |number, client| {
        let mut wccs = Vec::new();
        for n in 0..12 {
            let name = format!("{number}-{n}");
            let made = client.create(&t.dir, name.as_bytes(), How::Guarded(mode(0o644)));
            assert_eq!(made.status, OK);
            wccs.push(made.wcc);
            if n % 3 == 2 {
                wccs.push(client.remove(&t.dir, name.as_bytes()).wcc);
            }
        }
        wccs
    });
    let wccs = wccs.concat();
    assert_eq!(wccs.len(), 64);
    is_one_chain(&changes(wccs));
}

fn refused_operations_change_nothing(t: &Fs) {
    t.alice.file(&t.dir, b"f");
    t.alice.file(&t.alice.dir(&t.dir, b"d"), b"x");
    let present = t.alice.attr(&t.dir);
    let refusals = [
        t.alice.create(&t.dir, b"f", How::Guarded(mode(0o644))).wcc,
        t.alice.create(&t.dir, b"f", How::Exclusive([3; 8])).wcc,
        t.alice.mkdir(&t.dir, b"f", &mode(0o755)).wcc,
        t.alice.symlink(&t.dir, b"f", b"x").wcc,
        t.alice.mknod(&t.dir, b"f", FIFO, &mode(0o644), (0, 0)).wcc,
        t.alice.remove(&t.dir, b"nothing").wcc,
        t.alice.remove(&t.dir, b"d").wcc,
        t.alice.rmdir(&t.dir, b"d").wcc,
        t.alice.rmdir(&t.dir, b"f").wcc,
        t.alice.rename(&t.dir, b"nothing", &t.dir, b"x").from,
        t.alice.rename(&t.dir, b"d", &t.dir, b"f").to,
        t.bob.setattr(&t.dir, &mode(0)).wcc,
    ];
    for wcc in refusals {
        assert_eq!(wcc.after(), &present);
        assert_eq!(wcc.before, Some(present.wcc()));
    }
    assert_eq!(t.alice.attr(&t.dir), present);
}

fn writes_of_one_client_make_a_chain(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let mut last = t.alice.attr(&file).wcc();
    for n in 0..20_usize {
        let stable = [UNSTABLE, DATA_SYNC, FILE_SYNC][n % 3];
        let written = t.alice.write(&file, n as u64 * 100, stable, &[1; 100]);
        assert_eq!(written.wcc.before.as_ref(), Some(&last));
        last = written.wcc.after.unwrap().wcc();
        if n % 5 == 4 {
            let done = t.alice.commit(&file, 0, 0);
            assert_eq!(done.wcc.before.as_ref(), Some(&last));
            assert_eq!(done.wcc.after.unwrap().wcc(), last);
        }
    }
    assert_eq!(t.alice.attr(&file).wcc(), last);
}

fn setattrs_of_many_clients_make_one_chain(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let wccs = t.together(4, |number, client| -> Vec<_> {
        let set = |n| mtime(SetTime::Client(1000 + number as u32 * 100 + n, 0));
        (0..10).map(|n| client.setattr(&file, &set(n)).wcc).collect()
    });
    is_one_chain(&changes(wccs.concat()));
}

/// A file in a directory's place, or in a link's, has attributes too: the newest.
fn refusals_show_what_is_unflushed(t: &Fs) {
    let (file, other) = (t.alice.file(&t.dir, b"f"), t.alice.file(&t.dir, b"g"));
    assert_eq!(t.alice.write(&file, 0, UNSTABLE, b"bytes").status, OK);
    let present = t.alice.attr(&file);
    assert_eq!(present.size, 5);
    let renamed = |from, to| t.alice.rename(from, b"g", to, b"x");
    let wccs = [
        t.alice.create(&file, b"x", How::Unchecked(mode(0o644))).wcc,
        t.alice.mkdir(&file, b"x", &mode(0o755)).wcc,
        t.alice.symlink(&file, b"x", b"y").wcc,
        t.alice.mknod(&file, b"x", FIFO, &mode(0o644), (0, 0)).wcc,
        t.alice.remove(&file, b"x").wcc,
        t.alice.rmdir(&file, b"x").wcc,
        renamed(&file, &t.dir).from,
        renamed(&t.dir, &file).to,
        t.alice.link(&other, &file, b"x").directory,
    ];
    for (at, wcc) in wccs.into_iter().enumerate() {
        assert_eq!(wcc, Wcc { before: Some(present.wcc()), after: Some(present.clone()) }, "{at}");
    }
    let objects = [
        t.alice.readlink(&file).link,
        t.alice.lookup(&file, b"x").directory,
        t.alice.lookup(&file, b".").directory,
        t.alice.lookup(&file, b"..").directory,
        t.alice.readdir(&file, 0, [0; 8], 4096).directory,
        t.alice.readdirplus(&file, 0, [0; 8], 4096, 8192).directory,
    ];
    for (at, object) in objects.into_iter().enumerate() {
        assert_eq!(object.as_ref(), Some(&present), "{at}");
    }
}

fn no_attributes_of_what_is_gone(t: &Fs) {
    let (dir, file) = (t.alice.dir(&t.dir, b"d"), t.alice.file(&t.dir, b"f"));
    assert_eq!(t.alice.rmdir(&t.dir, b"d").status, OK);
    assert_eq!(t.alice.remove(&t.dir, b"f").status, OK);
    let none = Wcc::default();
    assert_eq!(t.alice.create(&dir, b"x", How::Guarded(mode(0o644))).wcc, none);
    assert_eq!(t.alice.mkdir(&dir, b"x", &mode(0o755)).wcc, none);
    assert_eq!(t.alice.symlink(&dir, b"x", b"y").wcc, none);
    assert_eq!(t.alice.remove(&dir, b"x").wcc, none);
    assert_eq!(t.alice.rmdir(&dir, b"x").wcc, none);
    assert_eq!(t.alice.setattr(&file, &mode(0)).wcc, none);
    assert_eq!(t.alice.write(&file, 0, FILE_SYNC, b"x").wcc, none);
    assert_eq!(t.alice.commit(&file, 0, 0).wcc, none);
    assert_eq!(t.alice.rename(&dir, b"x", &dir, b"y").from, none);
    assert_eq!(t.alice.read(&file, 0, 1).file, None);
    assert_eq!(t.alice.lookup(&dir, b"x").directory, None);
    assert_eq!(t.alice.readdir(&dir, 0, [0; 8], 4096).directory, None);
}

fn no_attributes_of_bad_handles(t: &Fs) {
    let none = Wcc::default();
    assert_eq!(t.alice.create(b"bad", b"x", How::Guarded(mode(0o644))).wcc, none);
    assert_eq!(t.alice.setattr(b"bad", &mode(0)).wcc, none);
    assert_eq!(t.alice.write(b"bad", 0, FILE_SYNC, b"x").wcc, none);
    assert_eq!(t.alice.access(b"bad", 1).object, None);
    let done = t.alice.rename(b"bad", b"x", b"bad", b"y");
    assert_eq!((done.from, done.to), (none.clone(), none));
}

fn renames_between_directories_make_two_chains(t: &Fs) {
    let (a, b) = (t.alice.dir(&t.dir, b"a"), t.alice.dir(&t.dir, b"b"));
    t.alice.dir(&a, b"d");
    let (mut of_a, mut of_b) = (t.alice.attr(&a).wcc(), t.alice.attr(&b).wcc());
    for _ in 0..8 {
        let done = t.alice.rename(&a, b"d", &b, b"d");
        joins(&mut of_a, &done.from);
        joins(&mut of_b, &done.to);
        let done = t.alice.rename(&b, b"d", &a, b"d");
        joins(&mut of_b, &done.from);
        joins(&mut of_a, &done.to);
    }
    assert_eq!((t.alice.attr(&a).nlink, t.alice.attr(&b).nlink), (3, 2));
}
