//! GETATTR (RFC 1813 section 3.3.1).

use super::fixture::{Fs, cases};
use super::types::*;

cases! {
    root_is_a_directory, a_new_file, a_new_directory, a_symlink_has_its_targets_length,
    kinds_of_special_files, all_objects_of_a_share_have_its_fsid, shares_differ_in_fsid,
    fileids_are_distinct, fileid_stays_through_rename, large_uid_and_gid_come_back,
    fileid_is_not_used_again, a_new_files_times_are_now,
}

fn root_is_a_directory(t: &Fs) {
    let attr = t.root.attr(&t.share);
    assert_eq!((attr.kind, attr.mode), (DIR, 0o755));
    assert!(attr.nlink >= 3, "its own two and at least this test's directory: {attr:?}");
}

fn a_new_file(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o640);
    let attr = t.bob.attr(&file);
    assert_eq!((attr.kind, attr.mode, attr.nlink), (REG, 0o640, 1));
    assert_eq!((attr.uid, attr.gid, attr.size), (1000, 1000, 0));
}

fn a_new_directory(t: &Fs) {
    let dir = t.alice.dir_of(&t.dir, b"d", 0o750);
    let attr = t.bob.attr(&dir);
    assert_eq!((attr.kind, attr.mode, attr.nlink), (DIR, 0o750, 2));
    assert_eq!((attr.uid, attr.gid), (1000, 1000));
}

fn a_symlink_has_its_targets_length(t: &Fs) {
    let link = t.alice.symlink(&t.dir, b"l", b"somewhere/else").handle();
    let attr = t.bob.attr(&link);
    assert_eq!((attr.kind, attr.size, attr.nlink), (LNK, 14, 1));
}

fn kinds_of_special_files(t: &Fs) {
    for kind in [BLK, CHR, SOCK, FIFO] {
        let name = format!("k{kind}");
        let made = t.root.mknod(&t.dir, name.as_bytes(), kind, &mode(0o600), (3, 4));
        let attr = t.root.attr(&made.handle());
        assert_eq!((attr.kind, attr.size, attr.nlink, attr.mode), (kind, 0, 1, 0o600));
    }
}

fn all_objects_of_a_share_have_its_fsid(t: &Fs) {
    let fsid = t.root.attr(&t.share).fsid;
    let file = t.root.file(&t.dir, b"f");
    let link = t.root.symlink(&t.dir, b"l", b"x").handle();
    for object in [&t.dir, &file, &link] {
        assert_eq!(t.root.attr(object).fsid, fsid);
    }
}

fn shares_differ_in_fsid(t: &Fs) {
    let other = t.root.attr(&t.root_of("/squash"));
    assert_ne!(other.fsid, t.root.attr(&t.share).fsid);
}

fn fileids_are_distinct(t: &Fs) {
    let mut ids: Vec<_> = (0..20)
        .map(|n| t.root.attr(&t.root.file(&t.dir, format!("f{n}").as_bytes())).fileid)
        .chain([t.root.attr(&t.share).fileid, t.root.attr(&t.dir).fileid])
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 22);
}

fn fileid_stays_through_rename(t: &Fs) {
    let file = t.root.file(&t.dir, b"a");
    let before = t.root.attr(&file);
    let dir = t.root.dir(&t.dir, b"d");
    assert_eq!(t.root.rename(&t.dir, b"a", &dir, b"b").status, OK);
    assert_eq!(t.root.attr(&file).fileid, before.fileid);
    assert_eq!(t.root.find(&dir, b"b"), file);
}

fn large_uid_and_gid_come_back(t: &Fs) {
    let nobody = t.root.user(4_294_967_294, 4_294_967_294, &[4_294_967_295]);
    let attr = nobody.attr(&nobody.file(&t.dir, b"f"));
    assert_eq!((attr.uid, attr.gid), (4_294_967_294, 4_294_967_294));
}

fn fileid_is_not_used_again(t: &Fs) {
    let first = t.root.attr(&t.root.file(&t.dir, b"f")).fileid;
    assert_eq!(t.root.remove(&t.dir, b"f").status, OK);
    let second = t.root.attr(&t.root.file(&t.dir, b"f")).fileid;
    assert_ne!(first, second);
}

fn a_new_files_times_are_now(t: &Fs) {
    let before = now();
    let attr = t.root.attr(&t.root.file(&t.dir, b"f"));
    for time in [attr.atime, attr.mtime, attr.ctime] {
        assert!((before..=now()).contains(&time.0), "{attr:?}");
    }
}
