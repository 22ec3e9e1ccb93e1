//! LOOKUP, ACCESS and READLINK (RFC 1813 sections 3.3.3 to 3.3.5).

use super::fixture::{Fs, shared_cases};
use super::types::*;

shared_cases! {
    lookup_finds_what_is_there, lookup_of_a_missing_name, lookup_in_a_file, lookup_in_a_symlink,
    lookup_of_dot, lookup_of_dot_dot, dot_dot_of_the_root_is_the_root, dot_dot_after_a_move,
    lookup_needs_search_permission, lookup_does_not_need_read_permission,
    lookup_in_a_removed_directory, lookup_follows_no_symlink, lookup_of_dot_in_a_file,
    access_of_the_owner, access_of_the_group, access_of_others, the_owner_class_comes_first,
    the_group_class_comes_before_others, supplementary_groups_count, access_shows_no_owner_override,
    access_grants_only_what_was_asked, access_of_unknown_bits, access_of_root,
    access_of_root_to_a_file_nobody_executes, directory_bits_come_together,
    delete_is_never_granted_on_a_file, access_in_the_root_directory, access_of_every_mode,
    readlink_gives_the_target, readlink_of_bytes_that_are_no_utf8, readlink_of_a_long_target,
    readlink_of_what_is_no_symlink, readlink_needs_no_permission_on_the_link;
    // What another server need not show, or not so.
    lookup_shows_unstable_data, access_has_attributes,
}

fn lookup_finds_what_is_there(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let found = t.bob.lookup(&t.dir, b"f");
    assert_eq!((found.status, found.handle), (OK, Some(file.clone())));
    assert_eq!(found.object, Some(t.bob.attr(&file)));
    assert_eq!(found.directory, Some(t.bob.attr(&t.dir)));
}

fn lookup_of_a_missing_name(t: &Fs) {
    let found = t.bob.lookup(&t.dir, b"nothing");
    assert_eq!((found.status, found.directory), (NOENT, Some(t.bob.attr(&t.dir))));
}

fn lookup_in_a_file(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o777);
    assert_eq!(t.alice.lookup(&file, b"x").status, NOTDIR);
}

fn lookup_in_a_symlink(t: &Fs) {
    t.alice.dir(&t.dir, b"d");
    let link = t.alice.symlink(&t.dir, b"l", b"d").handle();
    assert_eq!(t.alice.lookup(&link, b"x").status, NOTDIR);
}

fn lookup_of_dot(t: &Fs) {
    let found = t.alice.lookup(&t.dir, b".");
    assert_eq!((found.status, found.handle), (OK, Some(t.dir.clone())));
    assert_eq!(found.object, Some(t.alice.attr(&t.dir)));
}

fn lookup_of_dot_dot(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    let found = t.alice.lookup(&dir, b"..");
    assert_eq!((found.status, found.handle), (OK, Some(t.dir.clone())));
    assert_eq!(found.object.unwrap().fileid, t.alice.attr(&t.dir).fileid);
    assert_eq!(found.directory.unwrap().fileid, t.alice.attr(&dir).fileid);
}

fn dot_dot_of_the_root_is_the_root(t: &Fs) {
    let found = t.alice.lookup(&t.share, b"..");
    assert_eq!((found.status, found.handle), (OK, Some(t.share.clone())));
}

fn dot_dot_after_a_move(t: &Fs) {
    let (a, b) = (t.alice.dir(&t.dir, b"a"), t.alice.dir(&t.dir, b"b"));
    let dir = t.alice.dir(&a, b"d");
    assert_eq!(t.alice.find(&dir, b".."), a);
    assert_eq!(t.alice.rename(&a, b"d", &b, b"e").status, OK);
    assert_eq!(t.alice.find(&dir, b".."), b);
}

fn lookup_needs_search_permission(t: &Fs) {
    let dir = t.alice.dir_of(&t.dir, b"d", 0o777);
    t.alice.file(&dir, b"f");
    t.alice.set(&dir, &mode(0o766));
    for name in [&b"f"[..], b"nothing", b"..", b"."] {
        let found = t.bob.lookup(&dir, name);
        assert_eq!(found.status, ACCES, "{}", name.escape_ascii());
        assert_eq!(found.directory, Some(t.alice.attr(&dir)));
    }
}

fn lookup_does_not_need_read_permission(t: &Fs) {
    let dir = t.alice.dir_of(&t.dir, b"d", 0o711);
    let file = t.alice.file(&dir, b"f");
    assert_eq!(t.bob.find(&dir, b"f"), file);
}

fn lookup_in_a_removed_directory(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    assert_eq!(t.alice.rmdir(&t.dir, b"d").status, OK);
    for name in [&b"x"[..], b".", b".."] {
        let found = t.alice.lookup(&dir, name);
        assert_eq!((found.status, found.directory), (STALE, None));
    }
}

fn lookup_shows_unstable_data(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.write(&file, 0, UNSTABLE, b"bytes").status, OK);
    assert_eq!(t.bob.lookup(&t.dir, b"f").object, Some(t.alice.attr(&file)));
}

fn lookup_follows_no_symlink(t: &Fs) {
    t.alice.file(&t.dir, b"f");
    let link = t.alice.symlink(&t.dir, b"l", b"f").handle();
    assert_eq!(t.alice.find(&t.dir, b"l"), link);
    assert_eq!(t.alice.attr(&link).kind, LNK);
}

fn lookup_of_dot_in_a_file(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.lookup(&file, b".").status, NOTDIR);
    assert_eq!(t.alice.lookup(&file, b"..").status, NOTDIR);
}

fn access_of_the_owner(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o600);
    assert_eq!(t.alice.access(&file, A_ALL).granted, A_READ | A_MODIFY | A_EXTEND);
    assert_eq!(t.bob.access(&file, A_ALL).granted, 0);
    t.alice.set(&file, &mode(0o500));
    assert_eq!(t.alice.access(&file, A_ALL).granted, A_READ | A_EXECUTE);
}

fn access_of_the_group(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o040);
    let colleague = t.root.user(1005, 1000, &[]);
    assert_eq!(colleague.access(&file, A_ALL).granted, A_READ);
    assert_eq!(t.bob.access(&file, A_ALL).granted, 0);
}

fn access_of_others(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o006);
    assert_eq!(t.bob.access(&file, A_ALL).granted, A_READ | A_MODIFY | A_EXTEND);
}

fn the_owner_class_comes_first(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o077);
    assert_eq!(t.alice.access(&file, A_ALL).granted, 0);
    let dir = t.alice.dir_of(&t.dir, b"d", 0o077);
    assert_eq!(t.alice.access(&dir, A_ALL).granted, 0);
    assert_eq!(t.alice.lookup(&dir, b"x").status, ACCES);
}

fn the_group_class_comes_before_others(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o707);
    assert_eq!(t.root.user(1005, 1000, &[]).access(&file, A_ALL).granted, 0);
    assert_eq!(t.root.user(1005, 1005, &[1, 1000]).access(&file, A_ALL).granted, 0);
    let others = t.bob.access(&file, A_ALL).granted;
    assert_eq!(others, A_READ | A_MODIFY | A_EXTEND | A_EXECUTE);
}

fn supplementary_groups_count(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o040);
    let groups: Vec<u32> = (1..=15).chain([1000]).collect();
    assert_eq!(t.root.user(1005, 1005, &groups).access(&file, A_ALL).granted, A_READ);
    assert_eq!(t.root.user(1005, 1005, &groups[..15]).access(&file, A_ALL).granted, 0);
}

fn access_shows_no_owner_override(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0);
    assert_eq!(t.alice.access(&file, A_ALL).granted, 0);
    t.alice.put(&file, 0, b"bytes");
    assert_eq!(t.alice.get(&file), b"bytes", "READ passes whatever the mode says");
    t.alice.set(&file, &mode(0o111));
    assert_eq!(t.alice.access(&file, A_ALL).granted, A_EXECUTE);
}

fn access_grants_only_what_was_asked(t: &Fs) {
    let (file, dir) = (t.alice.file_of(&t.dir, b"f", 0o777), t.alice.dir_of(&t.dir, b"d", 0o777));
    for bit in [0, A_READ, A_LOOKUP, A_MODIFY, A_EXTEND, A_DELETE, A_EXECUTE] {
        for object in [&file, &dir] {
            let granted = t.alice.access(object, bit).granted;
            assert_eq!(granted & !bit, 0);
            assert_eq!(granted, t.alice.access(object, A_ALL).granted & bit);
        }
    }
}

fn access_of_unknown_bits(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o777);
    let done = t.alice.access(&file, u32::MAX);
    assert_eq!((done.status, done.granted & !A_ALL), (OK, 0));
    assert_eq!(t.alice.access(&file, !A_ALL).granted, 0);
}

fn access_of_root(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o100);
    assert_eq!(t.root.access(&file, A_ALL).granted, A_READ | A_MODIFY | A_EXTEND | A_EXECUTE);
    let dir = t.alice.dir_of(&t.dir, b"d", 0);
    let granted = t.root.access(&dir, A_ALL).granted;
    assert_eq!(granted & !A_EXECUTE, A_READ | A_LOOKUP | A_MODIFY | A_EXTEND | A_DELETE);
}

fn access_of_root_to_a_file_nobody_executes(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0);
    assert_eq!(t.root.access(&file, A_ALL).granted, A_READ | A_MODIFY | A_EXTEND);
    for bits in [0o100, 0o010, 0o001] {
        t.alice.set(&file, &mode(bits));
        assert_eq!(t.root.access(&file, A_EXECUTE).granted, A_EXECUTE);
    }
}

fn directory_bits_come_together(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    let changing = A_MODIFY | A_EXTEND | A_DELETE;
    for (bits, expected) in [
        (0o000, 0),
        (0o100, A_LOOKUP),
        (0o200, 0),
        (0o400, A_READ),
        (0o300, A_LOOKUP | changing),
        (0o600, A_READ),
        (0o700, A_READ | A_LOOKUP | changing),
    ] {
        t.alice.set(&dir, &mode(bits));
        assert_eq!(t.alice.access(&dir, A_ALL).granted & !A_EXECUTE, expected, "{bits:o}");
    }
}

fn delete_is_never_granted_on_a_file(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o777);
    for user in [&t.root, &t.alice, &t.bob] {
        assert_eq!(user.access(&file, A_ALL).granted & (A_DELETE | A_LOOKUP), 0);
    }
}

fn access_in_the_root_directory(t: &Fs) {
    assert_eq!(t.bob.access(&t.share, A_ALL).granted & !A_EXECUTE, A_READ | A_LOOKUP);
}

fn access_of_every_mode(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    for class in 0..8 {
        t.alice.set(&file, &mode(class));
        let bit = |wanted: u32, bits: u32| if class & wanted != 0 { bits } else { 0 };
        let expected = bit(4, A_READ) | bit(2, A_MODIFY | A_EXTEND) | bit(1, A_EXECUTE);
        assert_eq!(t.bob.access(&file, A_ALL).granted, expected);
        t.alice.set(&file, &mode(class << 6));
        assert_eq!(t.alice.access(&file, A_ALL).granted, expected);
    }
}

fn access_has_attributes(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0);
    assert_eq!(t.alice.write(&file, 0, UNSTABLE, b"bytes").status, OK);
    let done = t.bob.access(&file, A_ALL);
    assert_eq!((done.status, done.granted), (OK, 0), "no right is no error");
    assert_eq!(done.object, Some(t.alice.attr(&file)));
}

fn readlink_gives_the_target(t: &Fs) {
    let link = t.alice.symlink(&t.dir, b"l", b"/a/../b//c").handle();
    let done = t.bob.readlink(&link);
    assert_eq!((done.status, done.target.as_slice()), (OK, &b"/a/../b//c"[..]));
    assert_eq!(done.link, Some(t.bob.attr(&link)));
}

fn readlink_of_bytes_that_are_no_utf8(t: &Fs) {
    let target: Vec<u8> = (1..=255).collect();
    let link = t.alice.symlink(&t.dir, b"l", &target).handle();
    assert_eq!(t.alice.readlink(&link).target, target);
}

fn readlink_of_a_long_target(t: &Fs) {
    let target = vec![b'x'; 4095];
    let link = t.alice.symlink(&t.dir, b"l", &target).handle();
    assert_eq!(t.alice.readlink(&link).target, target);
    assert_eq!(t.alice.attr(&link).size, 4095);
}

fn readlink_of_what_is_no_symlink(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let fifo = t.alice.mknod(&t.dir, b"p", FIFO, &mode(0o644), (0, 0)).handle();
    for object in [&file, &t.dir, &fifo] {
        assert_eq!(t.alice.readlink(object).status, INVAL);
    }
}

fn readlink_needs_no_permission_on_the_link(t: &Fs) {
    let link = t.alice.symlink(&t.dir, b"l", b"target").handle();
    t.alice.setattr(&link, &mode(0));
    assert_eq!(t.bob.readlink(&link).status, OK);
}
