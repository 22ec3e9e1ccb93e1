//! CREATE, UNCHECKED and GUARDED (RFC 1813 section 3.3.8).

use super::args;
use super::fixture::{Fs, content_shared_cases};
use super::rpc::{NFS, Reply};
use super::types::*;

content_shared_cases! {
    create_makes_a_file, create_answers_handle_and_attributes,
    unchecked_does_not_truncate_without_being_asked, unchecked_with_size_0_truncates,
    unchecked_applies_the_size_only, unchecked_of_another_users_file_needs_write_permission_to_size,
    unchecked_of_another_users_file_without_size, unchecked_over_a_directory,
    unchecked_over_a_symlink, unchecked_over_a_fifo, guarded_over_anything_is_exist,
    create_with_a_size, everything_at_once, create_needs_permission, create_needs_search_permission,
    create_in_a_file, create_in_a_removed_directory, create_changes_the_directory,
    create_keeps_the_directorys_nlink, wcc_data_is_exact, wcc_data_of_exist, owner_is_the_caller,
    owner_in_the_attributes_is_ignored_of_users, owner_in_the_attributes_is_taken_from_root,
    setgid_directory_gives_its_group, set_id_bits_in_a_create,
    setgid_in_a_create_outside_of_the_group, an_unknown_createhow_is_garbage, names_are_bytes,
    names_differ_in_case, a_hundred_files_in_one_directory, parallel_creates_of_one_name,
    the_group_may_create, an_impossible_size_makes_nothing,
    an_impossible_size_of_a_file_that_is_there, truncating_open_of_ones_own_read_only_file;
}

fn create_makes_a_file(t: &Fs) {
    for (name, how) in [(b"u", How::Unchecked(mode(0o640))), (b"g", How::Guarded(mode(0o640)))] {
        let made = t.alice.create(&t.dir, name, how);
        let attr = made.object().clone();
        assert_eq!((attr.kind, attr.mode, attr.size, attr.nlink), (REG, 0o640, 0, 1));
        assert_eq!(t.alice.find(&t.dir, name), made.handle());
    }
}

fn create_answers_handle_and_attributes(t: &Fs) {
    let made = t.alice.create(&t.dir, b"f", How::Unchecked(mode(0o644)));
    assert_eq!(&t.alice.attr(&made.handle()), made.object());
    assert!(made.handle().len() <= 64);
}

fn unchecked_does_not_truncate_without_being_asked(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    let made = t.alice.create(&t.dir, b"f", How::Unchecked(mode(0o644)));
    assert_eq!((made.handle(), made.object().size), (file.clone(), 5));
    assert_eq!(t.alice.create(&t.dir, b"f", How::Unchecked(nothing())).handle(), file);
    assert_eq!(t.alice.get(&file), b"bytes");
}

fn unchecked_with_size_0_truncates(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    let before = t.alice.attr(&file);
    let made = t.alice.create(&t.dir, b"f", How::Unchecked(size(0)));
    assert_eq!((made.handle(), made.object().size), (file.clone(), 0));
    let after = t.alice.attr(&file);
    assert!(after.size == 0 && after.ctime > before.ctime && after.mtime > before.mtime);
}

fn unchecked_applies_the_size_only(t: &Fs) {
    let file = t.root.file_with(&t.dir, b"f", b"bytes");
    let before = t.root.attr(&file);
    let set = Sattr { mode: Some(0o777), size: Some(2), ..owner(5, 6) };
    let set = Sattr { mtime: SetTime::Client(9, 9), ..set };
    assert_eq!(t.root.create(&t.dir, b"f", How::Unchecked(set)).status, OK);
    let after = t.root.attr(&file);
    assert_eq!((after.mode, after.uid, after.gid), (before.mode, before.uid, before.gid));
    assert_eq!(t.root.get(&file), b"by");
    assert_eq!(t.root.create(&t.dir, b"f", How::Unchecked(mode(0o777))).status, OK);
    assert_eq!(t.root.attr(&file).mode, before.mode);
}

fn unchecked_of_another_users_file_needs_write_permission_to_size(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    assert_eq!(t.bob.create(&t.dir, b"f", How::Unchecked(size(0))).status, ACCES);
    assert_eq!(t.alice.get(&file), b"bytes");
    t.alice.set(&file, &mode(0o666));
    assert_eq!(t.bob.create(&t.dir, b"f", How::Unchecked(size(0))).status, OK);
    assert_eq!(t.alice.get(&file), b"");
}

fn unchecked_of_another_users_file_without_size(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o600);
    let made = t.bob.create(&t.dir, b"f", How::Unchecked(mode(0o777)));
    assert_eq!(made.handle(), file);
    let attr = t.alice.attr(&file);
    assert_eq!((attr.uid, attr.mode), (1000, 0o600));
}

fn unchecked_over_a_directory(t: &Fs) {
    t.alice.dir(&t.dir, b"d");
    for set in [mode(0o644), size(0)] {
        assert_eq!(t.alice.create(&t.dir, b"d", How::Unchecked(set)).status, EXIST);
    }
}

fn unchecked_over_a_symlink(t: &Fs) {
    let target = t.alice.file_with(&t.dir, b"f", b"bytes");
    t.alice.symlink(&t.dir, b"l", b"f").handle();
    assert_eq!(t.alice.create(&t.dir, b"l", How::Unchecked(size(0))).status, EXIST);
    assert_eq!(t.alice.get(&target), b"bytes");
}

fn unchecked_over_a_fifo(t: &Fs) {
    let fifo = t.alice.mknod(&t.dir, b"p", FIFO, &mode(0o600), (0, 0)).handle();
    assert_eq!(t.alice.create(&t.dir, b"p", How::Unchecked(size(0))).status, EXIST);
    assert_eq!(t.alice.attr(&fifo).kind, FIFO);
}

fn guarded_over_anything_is_exist(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    t.alice.dir(&t.dir, b"d");
    t.alice.symlink(&t.dir, b"l", b"nowhere").handle();
    for name in [b"f", b"d", b"l"] {
        let made = t.alice.create(&t.dir, name, How::Guarded(size(0)));
        assert_eq!((made.status, made.wcc.after), (EXIST, Some(t.alice.attr(&t.dir))));
    }
    assert_eq!(t.alice.get(&file), b"bytes");
}

fn create_with_a_size(t: &Fs) {
    for (name, how) in [(b"u", How::Unchecked(size(5000))), (b"g", How::Guarded(size(5000)))] {
        let made = t.alice.create(&t.dir, name, how);
        assert_eq!(made.object().size, 5000);
        assert_eq!(t.alice.get(&made.handle()), [0; 5000]);
    }
}

fn everything_at_once(t: &Fs) {
    let set = Sattr { mode: Some(0o4755), size: Some(10), ..mtime(SetTime::Client(7, 8)) };
    let set = Sattr { atime: SetTime::Client(9, 10), ..set };
    let made = t.alice.create(&t.dir, b"f", How::Guarded(set));
    let attr = made.object().clone();
    assert_eq!((attr.mode, attr.size, attr.mtime, attr.atime), (0o4755, 10, (7, 8), (9, 10)));
    assert_eq!(t.alice.attr(&made.handle()), attr);
}

fn create_needs_permission(t: &Fs) {
    let dir = t.alice.dir_of(&t.dir, b"d", 0o755);
    let made = t.bob.create(&dir, b"f", How::Guarded(mode(0o644)));
    assert_eq!((made.status, made.wcc.after), (ACCES, Some(t.alice.attr(&dir))));
    assert!(t.alice.list(&dir).is_empty());
    t.root.file(&dir, b"f");
}

fn create_needs_search_permission(t: &Fs) {
    let dir = t.alice.dir_of(&t.dir, b"d", 0o766);
    assert_eq!(t.bob.create(&dir, b"f", How::Guarded(mode(0o644))).status, ACCES);
    t.alice.set(&dir, &mode(0o773));
    t.bob.file(&dir, b"f");
}

fn create_in_a_file(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o777);
    assert_eq!(t.alice.create(&file, b"x", How::Guarded(mode(0o644))).status, NOTDIR);
}

fn create_in_a_removed_directory(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    assert_eq!(t.alice.rmdir(&t.dir, b"d").status, OK);
    let made = t.alice.create(&dir, b"f", How::Guarded(mode(0o644)));
    assert_eq!((made.status, made.wcc), (STALE, Default::default()));
}

fn create_changes_the_directory(t: &Fs) {
    let before = t.alice.attr(&t.dir);
    t.alice.file(&t.dir, b"f");
    let after = t.alice.attr(&t.dir);
    assert!(after.mtime > before.mtime && after.ctime > before.ctime, "{after:?}");
}

fn create_keeps_the_directorys_nlink(t: &Fs) {
    let before = t.alice.attr(&t.dir).nlink;
    t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.attr(&t.dir).nlink, before);
}

fn wcc_data_is_exact(t: &Fs) {
    for name in [b"a", b"b"] {
        let before = t.alice.attr(&t.dir);
        let made = t.alice.create(&t.dir, name, How::Unchecked(mode(0o644)));
        assert_eq!(made.wcc.before(), &before.wcc());
        assert_eq!(made.wcc.after(), &t.alice.attr(&t.dir));
    }
}

fn wcc_data_of_exist(t: &Fs) {
    t.alice.file(&t.dir, b"f");
    let present = t.alice.attr(&t.dir);
    let made = t.alice.create(&t.dir, b"f", How::Guarded(mode(0o644)));
    assert_eq!((made.status, made.wcc.after()), (EXIST, &present));
    assert!(made.wcc.before.is_none_or(|before| before == present.wcc()));
    assert_eq!(t.alice.attr(&t.dir), present);
}

fn owner_is_the_caller(t: &Fs) {
    let someone = t.root.user(4321, 8765, &[1, 2]);
    let made = someone.create(&t.dir, b"f", How::Guarded(mode(0o644)));
    assert_eq!((made.object().uid, made.object().gid), (4321, 8765));
}

fn owner_in_the_attributes_is_ignored_of_users(t: &Fs) {
    let set = Sattr { mode: Some(0o644), ..owner(1001, 50) };
    let made = t.alice.create(&t.dir, b"f", How::Guarded(set));
    assert_eq!((made.object().uid, made.object().gid), (1000, 1000));
}

fn owner_in_the_attributes_is_taken_from_root(t: &Fs) {
    let set = Sattr { mode: Some(0o644), ..owner(1001, 50) };
    let made = t.root.create(&t.dir, b"f", How::Guarded(set));
    assert_eq!((made.object().uid, made.object().gid), (1001, 50));
}

fn setgid_directory_gives_its_group(t: &Fs) {
    let dir = t.root.dir(&t.dir, b"d");
    t.root.set(&dir, &owner(0, 500));
    t.root.set(&dir, &mode(0o2777));
    let made = t.alice.create(&dir, b"f", How::Guarded(mode(0o644)));
    assert_eq!((made.object().uid, made.object().gid, made.object().mode), (1000, 500, 0o644));
}

fn set_id_bits_in_a_create(t: &Fs) {
    let made = t.alice.create(&t.dir, b"f", How::Guarded(mode(0o6755)));
    assert_eq!(made.object().mode, 0o6755);
}

fn setgid_in_a_create_outside_of_the_group(t: &Fs) {
    let dir = t.root.dir(&t.dir, b"d");
    t.root.set(&dir, &owner(0, 500));
    t.root.set(&dir, &mode(0o2777));
    let made = t.alice.create(&dir, b"f", How::Guarded(mode(0o2755)));
    assert_eq!((made.object().gid, made.object().mode), (500, 0o755));
}

fn an_unknown_createhow_is_garbage(t: &Fs) {
    for how in [3, u32::MAX] {
        let args = args::entry(&t.dir, b"f").u32(how).u64(0).u64(0).u64(0);
        assert_eq!(t.alice.raw(NFS, 3, args::CREATE, &args.bytes), Reply::GarbageArguments);
    }
    assert!(t.alice.list(&t.dir).is_empty());
}

fn names_are_bytes(t: &Fs) {
    let names: [&[u8]; 8] =
        [b"\xff\xfe", b"\x80", b" ", b"a\nb", b"\\", b"...", b"\xc3\xa9", b"e\xcc\x81"];
    let handles: Vec<_> = names.iter().map(|name| t.alice.file(&t.dir, name)).collect();
    for (name, handle) in names.iter().zip(&handles) {
        assert_eq!(&t.alice.find(&t.dir, name), handle, "{}", name.escape_ascii());
    }
    let mut sorted: Vec<_> = names.iter().map(|name| name.to_vec()).collect();
    sorted.sort();
    assert_eq!(t.alice.names(&t.dir), sorted);
}

fn names_differ_in_case(t: &Fs) {
    assert_ne!(t.alice.file(&t.dir, b"name"), t.alice.file(&t.dir, b"Name"));
    assert_eq!(t.alice.names(&t.dir), [b"Name", b"name"]);
}

fn a_hundred_files_in_one_directory(t: &Fs) {
    let mut names: Vec<_> = (0..100).map(|n| format!("file-{n}").into_bytes()).collect();
    for name in &names {
        t.alice.file(&t.dir, name);
    }
    names.sort();
    assert_eq!(t.alice.names(&t.dir), names);
}

fn parallel_creates_of_one_name(t: &Fs) {
    for round in 0..5 {
        let name = format!("f{round}");
        let made = t.together(4, |_, client| {
            client.create(&t.dir, name.as_bytes(), How::Guarded(mode(0o644))).status
        });
        assert_eq!(made.iter().filter(|status| **status == OK).count(), 1, "{made:?}");
        assert_eq!(made.iter().filter(|status| **status == EXIST).count(), 3, "{made:?}");
    }
}

fn the_group_may_create(t: &Fs) {
    let dir = t.alice.dir_of(&t.dir, b"d", 0o770);
    t.root.user(1005, 1005, &[3, 1000]).file(&dir, b"f");
    assert_eq!(t.bob.create(&dir, b"g", How::Guarded(mode(0o644))).status, ACCES);
}

fn an_impossible_size_makes_nothing(t: &Fs) {
    for length in [1 << 63, u64::MAX] {
        assert_eq!(t.alice.create(&t.dir, b"u", How::Unchecked(size(length))).status, FBIG);
        assert_eq!(t.alice.create(&t.dir, b"g", How::Guarded(size(length))).status, FBIG);
    }
    assert!(t.alice.list(&t.dir).is_empty(), "a refused create leaves no file");
}

fn an_impossible_size_of_a_file_that_is_there(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    assert_eq!(t.alice.create(&t.dir, b"f", How::Unchecked(size(u64::MAX))).status, FBIG);
    assert_eq!(t.alice.get(&file), b"bytes");
}

fn truncating_open_of_ones_own_read_only_file(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    t.alice.set(&file, &mode(0o444));
    let set = Sattr { mode: Some(0o444), ..size(0) };
    assert_eq!(t.alice.create(&t.dir, b"f", How::Unchecked(set)).object().size, 0);
    assert_eq!(t.bob.create(&t.dir, b"f", How::Unchecked(set)).status, ACCES);
}
