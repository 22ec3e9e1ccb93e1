//! MKDIR, SYMLINK and MKNOD (RFC 1813 sections 3.3.9 to 3.3.11).

use super::args;
use super::fixture::{Fs, shared_cases};
use super::types::*;

shared_cases! {
    mkdir_makes_a_directory, mkdir_over_anything_is_exist, mkdir_counts_in_the_parents_nlink,
    mkdir_inherits_the_group_and_setgid, mkdir_owner_of_users_and_root, mkdir_wcc_data_is_exact,
    mkdir_needs_permission, mkdir_in_a_file, mkdir_in_a_removed_directory, mkdir_deep,
    mkdir_with_a_sticky_mode, symlink_keeps_every_byte, symlink_over_anything_is_exist,
    symlink_targets_too_long, symlink_targets_that_are_none, symlink_attributes,
    symlink_wcc_data_is_exact, symlink_needs_permission, symlink_target_may_be_anything_else,
    mknod_of_every_kind, mknod_device_numbers_come_back, mknod_devices_are_for_root,
    mknod_of_what_is_no_node, mknod_of_unknown_kinds, mknod_over_anything_is_exist,
    mknod_wcc_data_is_exact, mknod_owner_and_mode, mknod_needs_permission, mknod_nodes_are_removed;
}

fn mkdir_makes_a_directory(t: &Fs) {
    let made = t.alice.mkdir(&t.dir, b"d", &mode(0o751));
    let attr = made.object().clone();
    assert_eq!((attr.kind, attr.mode, attr.nlink), (DIR, 0o751, 2));
    assert_eq!((attr.uid, attr.gid), (1000, 1000));
    assert_eq!(t.alice.attr(&made.handle()), attr);
    assert_eq!(t.alice.find(&t.dir, b"d"), made.handle());
    assert!(t.alice.list(&made.handle()).is_empty());
}

fn mkdir_over_anything_is_exist(t: &Fs) {
    t.alice.file(&t.dir, b"f");
    t.alice.dir(&t.dir, b"d");
    t.alice.symlink(&t.dir, b"l", b"nowhere").handle();
    for name in [b"f", b"d", b"l"] {
        assert_eq!(t.alice.mkdir(&t.dir, name, &mode(0o755)).status, EXIST);
    }
}

fn mkdir_counts_in_the_parents_nlink(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    for count in 3..8 {
        t.alice.dir(&dir, format!("d{count}").as_bytes());
        assert_eq!(t.alice.attr(&dir).nlink, count);
    }
}

fn mkdir_inherits_the_group_and_setgid(t: &Fs) {
    let dir = t.root.dir(&t.dir, b"d");
    t.root.set(&dir, &owner(0, 500));
    t.root.set(&dir, &mode(0o2777));
    let made = t.alice.mkdir(&dir, b"e", &mode(0o755));
    assert_eq!((made.object().gid, made.object().mode), (500, 0o2755));
    let below = t.alice.mkdir(&made.handle(), b"f", &mode(0o700));
    assert_eq!((below.object().gid, below.object().mode), (500, 0o2700));
}

fn mkdir_owner_of_users_and_root(t: &Fs) {
    let set = Sattr { mode: Some(0o755), ..owner(7, 8) };
    let made = t.alice.mkdir(&t.dir, b"a", &set);
    assert_eq!((made.object().uid, made.object().gid), (1000, 1000));
    let made = t.root.mkdir(&t.dir, b"b", &set);
    assert_eq!((made.object().uid, made.object().gid), (7, 8));
}

fn mkdir_wcc_data_is_exact(t: &Fs) {
    let before = t.alice.attr(&t.dir);
    let made = t.alice.mkdir(&t.dir, b"d", &mode(0o755));
    assert_eq!((made.status, made.wcc.before()), (OK, &before.wcc()));
    assert_eq!(made.wcc.after(), &t.alice.attr(&t.dir));
    let refused = t.alice.mkdir(&t.dir, b"d", &mode(0o755));
    assert_eq!(refused.wcc.after(), &t.alice.attr(&t.dir));
}

fn mkdir_needs_permission(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    assert_eq!(t.bob.mkdir(&dir, b"e", &mode(0o755)).status, ACCES);
}

fn mkdir_in_a_file(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o777);
    assert_eq!(t.alice.mkdir(&file, b"d", &mode(0o755)).status, NOTDIR);
}

fn mkdir_in_a_removed_directory(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    assert_eq!(t.alice.rmdir(&t.dir, b"d").status, OK);
    assert_eq!(t.alice.mkdir(&dir, b"e", &mode(0o755)).status, STALE);
}

fn mkdir_deep(t: &Fs) {
    let mut path = vec![t.dir.clone()];
    for _ in 0..60 {
        path.push(t.alice.dir(path.last().unwrap(), &[b'd'; 200]));
    }
    for pair in path.windows(2).rev() {
        assert_eq!(t.alice.find(&pair[1], b".."), pair[0]);
    }
}

fn mkdir_with_a_sticky_mode(t: &Fs) {
    assert_eq!(t.alice.mkdir(&t.dir, b"d", &mode(0o1777)).object().mode, 0o1777);
}

fn symlink_keeps_every_byte(t: &Fs) {
    for (index, target) in
        [&b"a"[..], b"/", b"..", b"a/b/", b"\xff\x80 \n", b"//a//"].iter().enumerate()
    {
        let name = format!("l{index}");
        let made = t.alice.symlink(&t.dir, name.as_bytes(), target);
        assert_eq!(t.alice.readlink(&made.handle()).target, *target);
        assert_eq!(made.object().size, target.len() as u64);
    }
}

fn symlink_over_anything_is_exist(t: &Fs) {
    t.alice.file(&t.dir, b"f");
    t.alice.dir(&t.dir, b"d");
    t.alice.symlink(&t.dir, b"l", b"nowhere").handle();
    for name in [b"f", b"d", b"l"] {
        assert_eq!(t.alice.symlink(&t.dir, name, b"x").status, EXIST);
    }
}

fn symlink_targets_too_long(t: &Fs) {
    for length in [4096, 4097, 65_536, 100_000] {
        let made = t.alice.symlink(&t.dir, b"l", &vec![b'x'; length]);
        assert_eq!(made.status, NAMETOOLONG, "{length}");
    }
    assert_eq!(t.alice.symlink(&t.dir, b"l", &[b'x'; 4095]).status, OK);
}

fn symlink_targets_that_are_none(t: &Fs) {
    let status = t.alice.symlink(&t.dir, b"l", b"").status;
    assert!(status == INVAL || status == NOENT, "{status:?}");
    assert_eq!(t.alice.symlink(&t.dir, b"l", b"a\0b").status, INVAL);
    assert!(t.alice.list(&t.dir).is_empty());
}

fn symlink_attributes(t: &Fs) {
    let made = t.alice.symlink(&t.dir, b"l", b"target");
    let attr = made.object().clone();
    assert_eq!((attr.kind, attr.nlink, attr.uid, attr.gid), (LNK, 1, 1000, 1000));
    assert_eq!(t.alice.attr(&made.handle()), attr);
}

fn symlink_wcc_data_is_exact(t: &Fs) {
    let before = t.alice.attr(&t.dir);
    let made = t.alice.symlink(&t.dir, b"l", b"target");
    assert_eq!((made.status, made.wcc.before()), (OK, &before.wcc()));
    assert_eq!(made.wcc.after(), &t.alice.attr(&t.dir));
    assert_eq!(made.wcc.after().nlink, before.nlink);
}

fn symlink_needs_permission(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    assert_eq!(t.bob.symlink(&dir, b"l", b"x").status, ACCES);
    let file = t.alice.file_of(&t.dir, b"f", 0o777);
    assert_eq!(t.alice.symlink(&file, b"l", b"x").status, NOTDIR);
}

fn symlink_target_may_be_anything_else(t: &Fs) {
    let loops = t.alice.symlink(&t.dir, b"loop", b"loop").handle();
    assert_eq!(t.alice.readlink(&loops).target, b"loop");
}

fn mknod_of_every_kind(t: &Fs) {
    for kind in [BLK, CHR, SOCK, FIFO] {
        let name = format!("k{kind}");
        let made = t.root.mknod(&t.dir, name.as_bytes(), kind, &mode(0o640), (1, 2));
        let attr = made.object().clone();
        assert_eq!((attr.kind, attr.mode, attr.nlink, attr.size), (kind, 0o640, 1, 0));
        assert_eq!(t.root.attr(&made.handle()), attr);
        assert_eq!(t.root.find(&t.dir, name.as_bytes()), made.handle());
    }
}

fn mknod_device_numbers_come_back(t: &Fs) {
    let numbers = [(0, 0), (1, 3), (4095, 1_048_575), (u32::MAX, u32::MAX), (1 << 31, 0)];
    for (index, rdev) in numbers.into_iter().enumerate() {
        for kind in [BLK, CHR] {
            let name = format!("n{index}-{kind}");
            let made = t.root.mknod(&t.dir, name.as_bytes(), kind, &mode(0o600), rdev);
            assert_eq!(made.object().rdev, rdev);
            assert_eq!(t.root.attr(&made.handle()).rdev, rdev);
        }
    }
}

fn mknod_devices_are_for_root(t: &Fs) {
    for kind in [BLK, CHR] {
        assert_eq!(t.alice.mknod(&t.dir, b"n", kind, &mode(0o600), (1, 3)).status, PERM);
    }
    for (name, kind) in [(b"s", SOCK), (b"p", FIFO)] {
        assert_eq!(t.alice.mknod(&t.dir, name, kind, &mode(0o600), (0, 0)).status, OK);
    }
}

fn mknod_of_what_is_no_node(t: &Fs) {
    for kind in [REG, DIR, LNK] {
        for client in [&t.alice, &t.root] {
            assert_eq!(client.mknod(&t.dir, b"n", kind, &nothing(), (0, 0)).status, BADTYPE);
        }
    }
    assert!(t.alice.list(&t.dir).is_empty());
}

fn mknod_of_unknown_kinds(t: &Fs) {
    use super::rpc::{NFS, Reply};
    for kind in [0, 8, u32::MAX] {
        let args = args::mknod(&t.dir, b"n", kind, &nothing(), (0, 0));
        match t.root.raw(NFS, 3, args::MKNOD, &args.bytes) {
            Reply::Success(body) => assert_eq!(super::results::created(&body).status, BADTYPE),
            other => assert_eq!(other, Reply::GarbageArguments),
        }
    }
    assert!(t.alice.list(&t.dir).is_empty());
}

fn mknod_over_anything_is_exist(t: &Fs) {
    t.alice.file(&t.dir, b"f");
    t.alice.dir(&t.dir, b"d");
    for name in [b"f", b"d"] {
        assert_eq!(t.alice.mknod(&t.dir, name, FIFO, &mode(0o600), (0, 0)).status, EXIST);
    }
}

fn mknod_wcc_data_is_exact(t: &Fs) {
    let before = t.alice.attr(&t.dir);
    let made = t.alice.mknod(&t.dir, b"p", FIFO, &mode(0o600), (0, 0));
    assert_eq!((made.status, made.wcc.before()), (OK, &before.wcc()));
    assert_eq!(made.wcc.after(), &t.alice.attr(&t.dir));
    let refused = t.alice.mknod(&t.dir, b"n", CHR, &mode(0o600), (0, 0));
    assert_eq!((refused.status, refused.wcc.after), (PERM, Some(t.alice.attr(&t.dir))));
}

fn mknod_owner_and_mode(t: &Fs) {
    let set = Sattr { mode: Some(0o4644), ..owner(7, 8) };
    let made = t.root.mknod(&t.dir, b"n", CHR, &set, (1, 3));
    assert_eq!((made.object().uid, made.object().gid, made.object().mode), (7, 8, 0o4644));
    let made = t.alice.mknod(&t.dir, b"p", FIFO, &set, (0, 0));
    assert_eq!((made.object().uid, made.object().gid), (1000, 1000));
}

fn mknod_needs_permission(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    assert_eq!(t.bob.mknod(&dir, b"p", FIFO, &mode(0o600), (0, 0)).status, ACCES);
    let file = t.alice.file_of(&t.dir, b"f", 0o777);
    assert_eq!(t.alice.mknod(&file, b"p", FIFO, &mode(0o600), (0, 0)).status, NOTDIR);
}

fn mknod_nodes_are_removed(t: &Fs) {
    let fifo = t.alice.mknod(&t.dir, b"p", FIFO, &mode(0o600), (0, 0)).handle();
    assert_eq!(t.alice.rmdir(&t.dir, b"p").status, NOTDIR);
    assert_eq!(t.alice.remove(&t.dir, b"p").status, OK);
    assert_eq!(t.alice.getattr(&fifo), Err(STALE));
}
