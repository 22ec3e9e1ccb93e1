//! Names in every procedure that takes one (RFC 1813 section 2.4, filename3; section 3.3).

use super::fixture::{Fs, cases};
use super::types::*;

cases! {
    empty_names, names_with_a_slash, names_with_nul, names_of_255_bytes, names_of_256_bytes,
    names_of_100_000_bytes, dot_and_dot_dot_of_creates, dot_and_dot_dot_of_remove,
    dot_and_dot_dot_of_rmdir, dot_and_dot_dot_of_rename, names_that_are_no_utf8,
    every_byte_that_may_be_in_a_name, dots_that_are_names, bad_names_in_one_argument_of_rename,
}

/// The statuses of every procedure that takes a name: those that make an entry, then the others.
fn statuses(t: &Fs, name: &[u8]) -> Vec<(&'static str, Status)> {
    let file = t.alice.file(&t.dir, Fs::fresh_name().as_bytes());
    let from = Fs::fresh_name();
    t.alice.file(&t.dir, from.as_bytes());
    vec![
        ("CREATE UNCHECKED", t.alice.create(&t.dir, name, How::Unchecked(mode(0o644))).status),
        ("CREATE GUARDED", t.alice.create(&t.dir, name, How::Guarded(mode(0o644))).status),
        ("CREATE EXCLUSIVE", t.alice.create(&t.dir, name, How::Exclusive([7; 8])).status),
        ("MKDIR", t.alice.mkdir(&t.dir, name, &mode(0o755)).status),
        ("SYMLINK", t.alice.symlink(&t.dir, name, b"target").status),
        ("MKNOD", t.alice.mknod(&t.dir, name, FIFO, &mode(0o644), (0, 0)).status),
        ("LINK", t.alice.link(&file, &t.dir, name).status),
        ("LOOKUP", t.alice.lookup(&t.dir, name).status),
        ("REMOVE", t.alice.remove(&t.dir, name).status),
        ("RMDIR", t.alice.rmdir(&t.dir, name).status),
        ("RENAME from", t.alice.rename(&t.dir, name, &t.dir, b"to").status),
        ("RENAME to", t.alice.rename(&t.dir, from.as_bytes(), &t.dir, name).status),
    ]
}

fn all_are(t: &Fs, name: &[u8], expected: Status) {
    let before = t.alice.list(&t.dir).len();
    for (procedure, status) in statuses(t, name) {
        assert_eq!(status, expected, "{procedure} of a name of {} bytes", name.len());
    }
    assert_eq!(t.alice.list(&t.dir).len(), before + 2, "only the two files of this case");
}

fn empty_names(t: &Fs) {
    all_are(t, b"", INVAL);
}

fn names_with_a_slash(t: &Fs) {
    for name in [&b"/"[..], b"a/b", b"/a", b"a/", b"../x"] {
        all_are(t, name, INVAL);
    }
}

fn names_with_nul(t: &Fs) {
    for name in [&b"\0"[..], b"a\0b", b"a\0"] {
        all_are(t, name, INVAL);
    }
}

fn names_of_255_bytes(t: &Fs) {
    let name = |byte: u8| vec![byte; 255];
    t.alice.file(&t.dir, &name(b'a'));
    t.alice.dir(&t.dir, &name(b'b'));
    t.alice.symlink(&t.dir, &name(b'c'), b"x").handle();
    t.alice.mknod(&t.dir, &name(b'd'), FIFO, &mode(0o600), (0, 0)).handle();
    let file = t.alice.find(&t.dir, &name(b'a'));
    assert_eq!(t.alice.link(&file, &t.dir, &name(b'e')).status, OK);
    assert_eq!(t.alice.rename(&t.dir, &name(b'e'), &t.dir, &name(b'f')).status, OK);
    assert_eq!(t.alice.names(&t.dir), [b'a', b'b', b'c', b'd', b'f'].map(name));
    assert_eq!(t.alice.remove(&t.dir, &name(b'f')).status, OK);
    assert_eq!(t.alice.rmdir(&t.dir, &name(b'b')).status, OK);
}

fn names_of_256_bytes(t: &Fs) {
    all_are(t, &[b'n'; 256], NAMETOOLONG);
}

fn names_of_100_000_bytes(t: &Fs) {
    all_are(t, &vec![b'n'; 100_000], NAMETOOLONG);
}

fn dot_and_dot_dot_of_creates(t: &Fs) {
    for name in [&b"."[..], b".."] {
        for (procedure, status) in &statuses(t, name)[..7] {
            assert_eq!(*status, EXIST, "{procedure}");
        }
    }
}

fn dot_and_dot_dot_of_remove(t: &Fs) {
    for name in [&b"."[..], b".."] {
        assert_eq!(t.alice.remove(&t.dir, name).status, INVAL);
    }
}

fn dot_and_dot_dot_of_rmdir(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    assert_eq!(t.alice.rmdir(&dir, b".").status, INVAL);
    assert_eq!(t.alice.rmdir(&dir, b"..").status, EXIST);
    assert_eq!(t.alice.find(&t.dir, b"d"), dir);
}

fn dot_and_dot_dot_of_rename(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    t.alice.file(&t.dir, b"f");
    for name in [&b"."[..], b".."] {
        assert_eq!(t.alice.rename(&dir, name, &t.dir, b"x").status, INVAL);
        assert_eq!(t.alice.rename(&t.dir, b"f", &dir, name).status, INVAL);
        assert_eq!(t.alice.rename(&dir, name, &dir, name).status, INVAL);
    }
    assert_eq!(t.alice.names(&t.dir), [b"d", b"f"]);
}

fn names_that_are_no_utf8(t: &Fs) {
    let name = b"\xff\xfe\x80\xc0\xaf";
    let file = t.alice.file(&t.dir, name);
    assert_eq!(t.alice.find(&t.dir, name), file);
    assert_eq!(t.alice.rename(&t.dir, name, &t.dir, b"\xf5\x90").status, OK);
    assert_eq!(t.alice.names(&t.dir), [b"\xf5\x90"]);
    assert_eq!(t.alice.remove(&t.dir, b"\xf5\x90").status, OK);
}

fn every_byte_that_may_be_in_a_name(t: &Fs) {
    let name: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    let file = t.alice.file(&t.dir, &name);
    assert_eq!(t.alice.names(&t.dir), std::slice::from_ref(&name));
    assert_eq!(t.alice.find(&t.dir, &name), file);
    for byte in (1..=255).filter(|byte| *byte != b'/' && *byte != b'.') {
        t.alice.file(&t.dir, &[byte]);
    }
    assert_eq!(t.alice.list(&t.dir).len(), 254);
}

fn dots_that_are_names(t: &Fs) {
    for name in [&b"..."[..], b".a", b"..a", b"a.", b". ", b" ."] {
        let file = t.alice.file(&t.dir, name);
        assert_eq!(t.alice.find(&t.dir, name), file);
        assert_eq!(t.alice.remove(&t.dir, name).status, OK);
    }
}

fn bad_names_in_one_argument_of_rename(t: &Fs) {
    t.alice.file(&t.dir, b"f");
    let long = [b'n'; 256];
    for (from, to, expected) in [
        (&b"f"[..], &long[..], NAMETOOLONG),
        (&long[..], b"f", NAMETOOLONG),
        (b"f", b"", INVAL),
        (b"", b"f", INVAL),
        (b"f", b"a/b", INVAL),
        (b"f", b"a\0", INVAL),
    ] {
        assert_eq!(t.alice.rename(&t.dir, from, &t.dir, to).status, expected);
    }
    assert_eq!(t.alice.names(&t.dir), [b"f"]);
}
