//! CREATE, EXCLUSIVE (RFC 1813 section 3.3.8): a retry is told from a stranger by its verifier.

use super::fixture::{Fs, shared_cases};
use super::types::*;

const A: How = How::Exclusive(*b"verifieA");
const B: How = How::Exclusive([0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99, 0x88]);

shared_cases! {
    exclusive_makes_a_file_of_mode_0, the_times_are_ordinary, a_retry_succeeds,
    a_retry_on_another_connection, another_verifier_is_exist, another_user_is_exist,
    a_verifier_of_zeros, a_file_made_otherwise_has_no_verifier, over_a_directory_or_symlink,
    the_verifier_ends_with_setattr, the_verifier_ends_with_a_write,
    the_verifier_ends_with_an_unstable_write, the_verifier_ends_with_rename,
    the_verifier_ends_with_link, the_verifier_outlives_lookups_and_reads,
    a_retry_after_remove_makes_a_new_file, wcc_data_is_exact, exclusive_needs_permission,
    a_retry_changes_nothing, the_usual_sequence_of_open, parallel_exclusive_creates,
    setgid_directory_gives_its_group, retries_of_high_verifiers;
    // What another server need not show, or not so.
    the_verifier_ends_before_the_commit,
}

fn exclusive_makes_a_file_of_mode_0(t: &Fs) {
    let made = t.alice.create(&t.dir, b"f", A);
    let attr = made.object();
    assert_eq!((attr.kind, attr.mode, attr.size, attr.nlink), (REG, 0, 0, 1));
    assert_eq!((attr.uid, attr.gid), (1000, 1000));
    assert_eq!(&t.alice.attr(&made.handle()), attr);
}

fn the_times_are_ordinary(t: &Fs) {
    let before = now();
    let made = t.alice.create(&t.dir, b"f", B);
    for time in [made.object().atime, made.object().mtime, made.object().ctime] {
        assert!((before..=now()).contains(&time.0), "the verifier is in no time");
    }
}

fn a_retry_succeeds(t: &Fs) {
    let first = t.alice.create(&t.dir, b"f", A);
    for _ in 0..3 {
        let again = t.alice.create(&t.dir, b"f", A);
        assert_eq!((again.handle(), again.object()), (first.handle(), first.object()));
    }
}

fn a_retry_on_another_connection(t: &Fs) {
    let first = t.alice.create(&t.dir, b"f", A);
    assert_eq!(t.alice.reconnect().create(&t.dir, b"f", A).handle(), first.handle());
}

fn another_verifier_is_exist(t: &Fs) {
    t.alice.create(&t.dir, b"f", A).handle();
    assert_eq!(t.alice.create(&t.dir, b"f", B).status, EXIST);
    assert_eq!(t.alice.create(&t.dir, b"f", How::Exclusive([0; 8])).status, EXIST);
    assert_eq!(t.alice.create(&t.dir, b"f", A).status, OK, "a stranger's try ends nothing");
}

fn another_user_is_exist(t: &Fs) {
    t.alice.create(&t.dir, b"f", A).handle();
    assert_eq!(t.bob.create(&t.dir, b"f", A).status, EXIST);
    assert_eq!(t.root.create(&t.dir, b"f", A).status, EXIST);
}

fn a_verifier_of_zeros(t: &Fs) {
    let first = t.alice.create(&t.dir, b"f", How::Exclusive([0; 8]));
    assert_eq!(t.alice.create(&t.dir, b"f", How::Exclusive([0; 8])).handle(), first.handle());
    assert_eq!(t.alice.create(&t.dir, b"f", A).status, EXIST);
}

fn a_file_made_otherwise_has_no_verifier(t: &Fs) {
    t.alice.file(&t.dir, b"f");
    for how in [A, B, How::Exclusive([0; 8]), How::Exclusive([0xff; 8])] {
        assert_eq!(t.alice.create(&t.dir, b"f", how).status, EXIST);
    }
}

fn over_a_directory_or_symlink(t: &Fs) {
    t.alice.dir(&t.dir, b"d");
    t.alice.symlink(&t.dir, b"l", b"nowhere").handle();
    for name in [b"d", b"l"] {
        assert_eq!(t.alice.create(&t.dir, name, A).status, EXIST);
    }
}

fn the_verifier_ends_with_setattr(t: &Fs) {
    let file = t.alice.create(&t.dir, b"f", A).handle();
    t.alice.set(&file, &mode(0o644));
    assert_eq!(t.alice.create(&t.dir, b"f", A).status, EXIST);
}

fn the_verifier_ends_with_a_write(t: &Fs) {
    let file = t.alice.create(&t.dir, b"f", A).handle();
    t.alice.put(&file, 0, b"x");
    assert_eq!(t.alice.create(&t.dir, b"f", A).status, EXIST);
}

fn the_verifier_ends_with_an_unstable_write(t: &Fs) {
    let file = t.alice.create(&t.dir, b"f", A).handle();
    assert_eq!(t.alice.write(&file, 0, UNSTABLE, b"x").status, OK);
    assert_eq!(t.alice.commit(&file, 0, 0).status, OK);
    assert_eq!(t.alice.create(&t.dir, b"f", A).status, EXIST);
}

fn the_verifier_ends_before_the_commit(t: &Fs) {
    let file = t.alice.create(&t.dir, b"f", A).handle();
    assert_eq!(t.alice.write(&file, 0, UNSTABLE, b"x").status, OK);
    let again = t.alice.create(&t.dir, b"f", A);
    assert_eq!((again.status, again.wcc.after), (EXIST, Some(t.alice.attr(&t.dir))));
    assert_eq!(t.alice.get(&file), b"x");
}

fn the_verifier_ends_with_rename(t: &Fs) {
    t.alice.create(&t.dir, b"f", A).handle();
    assert_eq!(t.alice.rename(&t.dir, b"f", &t.dir, b"g").status, OK);
    assert_eq!(t.alice.create(&t.dir, b"g", A).status, EXIST);
    assert_eq!(t.alice.create(&t.dir, b"f", A).status, OK, "the old name is free");
}

fn the_verifier_ends_with_link(t: &Fs) {
    let file = t.alice.create(&t.dir, b"f", A).handle();
    assert_eq!(t.alice.link(&file, &t.dir, b"g").status, OK);
    assert_eq!(t.alice.create(&t.dir, b"f", A).status, EXIST);
    assert_eq!(t.alice.create(&t.dir, b"g", A).status, EXIST);
}

fn the_verifier_outlives_lookups_and_reads(t: &Fs) {
    let file = t.alice.create(&t.dir, b"f", A).handle();
    t.alice.find(&t.dir, b"f");
    t.alice.access(&file, A_ALL);
    t.alice.get(&file);
    t.alice.attr(&file);
    assert_eq!(t.alice.create(&t.dir, b"f", A).handle(), file);
}

fn a_retry_after_remove_makes_a_new_file(t: &Fs) {
    let first = t.alice.create(&t.dir, b"f", A).handle();
    assert_eq!(t.alice.remove(&t.dir, b"f").status, OK);
    assert_ne!(t.alice.create(&t.dir, b"f", A).handle(), first);
    assert_eq!(t.alice.getattr(&first), Err(STALE));
}

fn wcc_data_is_exact(t: &Fs) {
    let before = t.alice.attr(&t.dir);
    let made = t.alice.create(&t.dir, b"f", A);
    assert_eq!(made.wcc.before(), &before.wcc());
    assert_eq!(made.wcc.after(), &t.alice.attr(&t.dir));
    let refused = t.alice.create(&t.dir, b"f", B);
    assert_eq!((refused.status, refused.wcc.after), (EXIST, Some(t.alice.attr(&t.dir))));
}

fn exclusive_needs_permission(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    assert_eq!(t.bob.create(&dir, b"f", A).status, ACCES);
}

fn a_retry_changes_nothing(t: &Fs) {
    let file = t.alice.create(&t.dir, b"f", A).handle();
    let (file_before, dir_before) = (t.alice.attr(&file), t.alice.attr(&t.dir));
    let again = t.alice.create(&t.dir, b"f", A);
    assert_eq!(again.wcc.after(), &dir_before);
    assert_eq!((t.alice.attr(&file), t.alice.attr(&t.dir)), (file_before, dir_before));
}

fn the_usual_sequence_of_open(t: &Fs) {
    let file = t.alice.create(&t.dir, b"f", B).handle();
    let set = Sattr { mode: Some(0o644), mtime: SetTime::Server, ..atime(SetTime::Server) };
    t.alice.set(&file, &set);
    t.alice.put(&file, 0, b"bytes");
    let attr = t.bob.attr(&file);
    assert_eq!((attr.mode, attr.size, attr.uid), (0o644, 5, 1000));
    assert_eq!(t.bob.get(&file), b"bytes");
}

fn parallel_exclusive_creates(t: &Fs) {
    for round in 0..5_u8 {
        let name = format!("f{round}");
        let made = t.together(4, |number, client| {
            client.create(&t.dir, name.as_bytes(), How::Exclusive([number as u8; 8])).status
        });
        assert_eq!(made.iter().filter(|status| **status == OK).count(), 1, "{made:?}");
        assert_eq!(made.iter().filter(|status| **status == EXIST).count(), 3, "{made:?}");
    }
}

fn setgid_directory_gives_its_group(t: &Fs) {
    let dir = t.root.dir(&t.dir, b"d");
    t.root.set(&dir, &owner(0, 500));
    t.root.set(&dir, &mode(0o2777));
    let made = t.alice.create(&dir, b"f", A);
    assert_eq!((made.object().uid, made.object().gid, made.object().mode), (1000, 500, 0));
}

fn retries_of_high_verifiers(t: &Fs) {
    for (index, verifier) in
        [[0xff; 8], [0x80, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1]].into_iter().enumerate()
    {
        let name = format!("f{index}");
        let first = t.alice.create(&t.dir, name.as_bytes(), How::Exclusive(verifier)).handle();
        let again = t.alice.create(&t.dir, name.as_bytes(), How::Exclusive(verifier));
        assert_eq!(again.handle(), first, "{verifier:?}");
    }
}
