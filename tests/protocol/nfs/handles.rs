//! File handles in every procedure (RFC 1813 section 2.3.3): garbage, unknown, removed.

use super::args::{self, *};
use super::client::Client;
use super::fixture::{Fs, cases};
use super::results::status_of;
use super::rpc::{NFS, Reply};
use super::shares::LONG_SHARE;
use super::types::*;
use super::xdr::Args;

cases! {
    garbage_is_a_bad_handle, an_empty_handle_is_bad, handles_cut_short_are_bad,
    handles_with_more_behind_are_bad, a_handle_of_65_bytes_is_garbage_arguments,
    an_unknown_share_is_stale, an_unknown_object_is_stale, a_removed_file_is_stale,
    a_removed_directory_is_stale, every_single_bit_counts, another_form_of_the_same_bytes_is_bad,
    handles_outlive_renames, handles_outlive_connections, handles_are_distinct,
    handles_of_one_object_are_equal, an_object_of_another_share_is_stale,
    handles_of_64_bytes,
}

/// One call of every procedure that takes a handle, with `bad` as each of its handles in turn.
pub(super) fn calls(t: &Fs, bad: &[u8]) -> Vec<(u32, Args)> {
    let (dir, set) = (&t.dir, mode(0o644));
    let file = t.alice.file(dir, Fs::fresh_name().as_bytes());
    vec![
        (GETATTR, args::handle(bad)),
        (SETATTR, args::setattr(bad, &set, None)),
        (LOOKUP, args::entry(bad, b"x")),
        (ACCESS, args::access(bad, A_ALL)),
        (READLINK, args::handle(bad)),
        (READ, args::read(bad, 0, 10)),
        (WRITE, args::write(bad, 0, 1, FILE_SYNC, b"x")),
        (CREATE, args::create(bad, b"x", &How::Guarded(set))),
        (CREATE, args::create(bad, b"x", &How::Exclusive([1; 8]))),
        (MKDIR, args::mkdir(bad, b"x", &set)),
        (SYMLINK, args::symlink(bad, b"x", b"target", &set)),
        (MKNOD, args::mknod(bad, b"x", FIFO, &set, (0, 0))),
        (REMOVE, args::entry(bad, b"x")),
        (RMDIR, args::entry(bad, b"x")),
        (RENAME, args::rename(bad, b"x", dir, b"y")),
        (RENAME, args::rename(dir, b"x", bad, b"y")),
        (RENAME, args::rename(bad, b"x", bad, b"y")),
        (LINK, args::link(bad, dir, b"x")),
        (LINK, args::link(&file, bad, b"x")),
        (READDIR, args::readdir(bad, 0, [0; 8], 4096)),
        (READDIRPLUS, args::readdirplus(bad, 0, [0; 8], 4096, 8192)),
        (FSSTAT, args::handle(bad)),
        (FSINFO, args::handle(bad)),
        (PATHCONF, args::handle(bad)),
        (COMMIT, args::commit(bad, 0, 0)),
    ]
}

fn all_are(t: &Fs, bad: &[u8], expected: Status) {
    let files = t.alice.list(&t.dir).len();
    for (procedure, args) in calls(t, bad) {
        let status = status_of(&t.root.nfs(procedure, &args));
        assert_eq!(status, expected, "procedure {procedure}, handle {}", bad.escape_ascii());
    }
    assert_eq!(t.alice.list(&t.dir).len(), files + 1);
}

fn getattr(client: &Client, handle: &[u8]) -> Status {
    client.getattr(handle).map_or_else(|status| status, |_| OK)
}

fn garbage_is_a_bad_handle(t: &Fs) {
    for garbage in [&[0; 64][..], &[0xff; 64], &[0xff; 32], b"AAAA", b"nonsense", b"\0"] {
        all_are(t, garbage, BADHANDLE);
    }
}

fn an_empty_handle_is_bad(t: &Fs) {
    all_are(t, b"", BADHANDLE);
}

fn handles_cut_short_are_bad(t: &Fs) {
    for length in 1..t.dir.len() {
        assert_eq!(getattr(&t.root, &t.dir[..length]), BADHANDLE, "{length} bytes");
    }
}

fn handles_with_more_behind_are_bad(t: &Fs) {
    for more in [&b"="[..], b"A", b"\0", b"\n", b"AAAA", b" "] {
        assert_eq!(getattr(&t.root, &[&t.dir, more].concat()), BADHANDLE);
        assert_eq!(getattr(&t.root, &[more, &t.dir].concat()), BADHANDLE);
    }
}

fn a_handle_of_65_bytes_is_garbage_arguments(t: &Fs) {
    for length in [65, 68, 128, 1000] {
        for (procedure, args) in calls(t, &vec![b'A'; length]) {
            let reply = t.root.raw(NFS, 3, procedure, &args.bytes);
            assert_eq!(reply, Reply::GarbageArguments, "procedure {procedure}, {length} bytes");
        }
    }
}

/// A handle of the server's own form.
fn forged(share: &str, object: [u8; 16]) -> Handle {
    use trunkfs::types::{FileHandle, ObjectId, ShareName};
    let share = ShareName::parse(share).unwrap();
    FileHandle { share, object: ObjectId(uuid::Uuid::from_bytes(object)) }.to_wire().into_bytes()
}

fn an_unknown_share_is_stale(t: &Fs) {
    all_are(t, &forged("/nothing", [7; 16]), STALE);
}

fn an_unknown_object_is_stale(t: &Fs) {
    all_are(t, &forged("/t", [7; 16]), STALE);
    all_are(t, &forged("/t", [0; 16]), STALE);
}

fn a_removed_file_is_stale(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"gone", b"bytes");
    t.alice.get(&file);
    assert_eq!(t.alice.remove(&t.dir, b"gone").status, OK);
    all_are(t, &file, STALE);
}

fn a_removed_directory_is_stale(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"gone");
    assert_eq!(t.alice.rmdir(&t.dir, b"gone").status, OK);
    all_are(t, &dir, STALE);
}

fn every_single_bit_counts(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    for bit in 0..file.len() * 8 {
        let mut other = file.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        let status = getattr(&t.root, &other);
        assert!(status == BADHANDLE || status == STALE, "bit {bit}: {status:?}");
    }
}

fn another_form_of_the_same_bytes_is_bad(t: &Fs) {
    let text = String::from_utf8(t.dir.clone()).unwrap();
    for other in [text.trim_end_matches('=').to_owned(), text.replace('=', "A")] {
        if other != text {
            let status = getattr(&t.root, other.as_bytes());
            assert!(status == BADHANDLE || status == STALE, "{status:?}");
        }
    }
    let wrong_share = forged("/t", [7; 16]).to_ascii_uppercase();
    let status = getattr(&t.root, &wrong_share);
    assert!(status == BADHANDLE || status == STALE, "{status:?}");
}

fn handles_outlive_renames(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    let file = t.alice.file_with(&dir, b"f", b"bytes");
    assert_eq!(t.alice.rename(&dir, b"f", &t.dir, b"g").status, OK);
    assert_eq!(t.alice.rename(&t.dir, b"d", &t.dir, b"e").status, OK);
    assert_eq!((t.alice.get(&file), t.alice.attr(&dir).nlink), (b"bytes".to_vec(), 2));
}

fn handles_outlive_connections(t: &Fs) {
    let file = t.alice.reconnect().file_with(&t.dir, b"f", b"bytes");
    assert_eq!(t.bob.reconnect().get(&file), b"bytes");
}

fn handles_are_distinct(t: &Fs) {
    let mut handles: Vec<_> =
        (0..30).map(|n| t.alice.file(&t.dir, format!("f{n}").as_bytes())).collect();
    handles.extend([t.dir.clone(), t.share.clone()]);
    handles.sort();
    handles.dedup();
    assert_eq!(handles.len(), 32);
}

fn handles_of_one_object_are_equal(t: &Fs) {
    let file = t.alice.file(&t.dir, b"a");
    assert_eq!(t.alice.link(&file, &t.dir, b"b").status, OK);
    assert_eq!(t.bob.find(&t.dir, b"b"), file);
    assert_eq!(t.alice.create(&t.dir, b"a", How::Unchecked(mode(0o644))).handle(), file);
}

fn an_object_of_another_share_is_stale(t: &Fs) {
    use trunkfs::types::{FileHandle, ShareName};
    let mut handle = FileHandle::parse(&t.dir).unwrap();
    handle.share = ShareName::parse("/squash").unwrap();
    for (procedure, args) in calls(t, handle.to_wire().as_bytes()) {
        // RENAME and LINK may say first that the other handle is of another share.
        let status = status_of(&t.root.nfs(procedure, &args));
        let other_way = matches!(procedure, RENAME | LINK) && status == XDEV;
        assert!(status == STALE || other_way, "procedure {procedure}: {status:?}");
    }
}

fn handles_of_64_bytes(t: &Fs) {
    let root = t.root_of(LONG_SHARE);
    assert_eq!(root.len(), 64);
    let name = Fs::fresh_name();
    let dir = t.alice.dir(&root, name.as_bytes());
    let file = t.alice.file_with(&dir, b"f", b"bytes");
    assert_eq!((dir.len(), file.len()), (64, 64));
    assert_eq!(t.alice.get(&t.bob.find(&dir, b"f")), b"bytes");
    assert_eq!(t.alice.rename(&dir, b"f", &root, format!("{name}-f").as_bytes()).status, OK);
    assert_eq!(t.alice.readdirplus(&root, 0, [0; 8], 4096, 8192).status, OK);
    assert_eq!(t.alice.rename(&dir, b"f", &t.dir, b"f").status, XDEV);
}
