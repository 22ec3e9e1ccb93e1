//! REMOVE and RMDIR (RFC 1813 sections 3.3.12 and 3.3.13).

use super::fixture::{Fs, content_shared_cases};
use super::types::*;

content_shared_cases! {
    remove_takes_the_name_and_the_object, remove_of_a_missing_name, remove_of_a_directory,
    remove_of_a_symlink_keeps_the_target, remove_of_one_of_two_names, remove_of_the_last_name,
    remove_needs_permission, remove_does_not_need_permission_on_the_file,
    remove_in_a_sticky_directory, remove_in_a_sticky_directory_of_ones_own, remove_in_a_file,
    remove_in_a_removed_directory, remove_wcc_data_is_exact, remove_wcc_data_of_a_refusal,
    a_name_is_free_after_remove, remove_of_a_large_file, rmdir_takes_an_empty_directory,
    rmdir_of_a_full_directory, rmdir_of_a_file, rmdir_of_a_symlink_to_a_directory,
    rmdir_of_a_missing_name, rmdir_counts_in_the_parents_nlink, rmdir_needs_permission,
    rmdir_in_a_sticky_directory, rmdir_wcc_data_is_exact, rmdir_after_the_last_entry_went,
    a_removed_directory_is_stale_everywhere, rmdir_against_create,
    rmdir_does_not_need_permission_on_the_directory, parallel_removes_of_one_name,
    rmdir_of_a_directory_with_hidden_names;
}

fn remove_takes_the_name_and_the_object(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    assert_eq!(t.alice.remove(&t.dir, b"f").status, OK);
    assert_eq!(t.alice.lookup(&t.dir, b"f").status, NOENT);
    assert_eq!(t.alice.getattr(&file), Err(STALE));
    assert_eq!(t.bob.reconnect().getattr(&file), Err(STALE));
}

fn remove_of_a_missing_name(t: &Fs) {
    let done = t.alice.remove(&t.dir, b"nothing");
    assert_eq!((done.status, done.wcc.after), (NOENT, Some(t.alice.attr(&t.dir))));
}

fn remove_of_a_directory(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    assert_eq!(t.alice.remove(&t.dir, b"d").status, ISDIR);
    assert_eq!(t.root.remove(&t.dir, b"d").status, ISDIR);
    assert_eq!(t.alice.find(&t.dir, b"d"), dir);
}

fn remove_of_a_symlink_keeps_the_target(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    let link = t.alice.symlink(&t.dir, b"l", b"f").handle();
    assert_eq!(t.alice.remove(&t.dir, b"l").status, OK);
    assert_eq!(t.alice.readlink(&link).status, STALE);
    assert_eq!(t.alice.get(&file), b"bytes");
}

fn remove_of_one_of_two_names(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    assert_eq!(t.alice.link(&file, &t.dir, b"g").status, OK);
    let before = t.alice.attr(&file);
    assert_eq!(t.alice.remove(&t.dir, b"f").status, OK);
    let after = t.alice.attr(&file);
    assert_eq!((before.nlink, after.nlink, after.mtime), (2, 1, before.mtime));
    assert!(after.ctime > before.ctime, "losing a name changes the file");
    assert_eq!(t.alice.get(&file), b"bytes");
    assert_eq!(t.alice.find(&t.dir, b"g"), file);
}

fn remove_of_the_last_name(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"a", b"bytes");
    for name in [b"b", b"c"] {
        assert_eq!(t.alice.link(&file, &t.dir, name).status, OK);
    }
    for (name, left) in [(b"b", Ok(2)), (b"a", Ok(1)), (b"c", Err(STALE))] {
        assert_eq!(t.alice.remove(&t.dir, name).status, OK);
        assert_eq!(t.alice.getattr(&file).map(|attr| attr.nlink), left);
    }
}

fn remove_needs_permission(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    t.alice.file_of(&dir, b"f", 0o666);
    assert_eq!(t.bob.remove(&dir, b"f").status, ACCES);
    t.alice.set(&dir, &mode(0o766));
    assert_eq!(t.bob.remove(&dir, b"f").status, ACCES, "w without x");
    assert_eq!(t.alice.names(&dir), [b"f"]);
}

fn remove_does_not_need_permission_on_the_file(t: &Fs) {
    t.alice.file_of(&t.dir, b"f", 0);
    assert_eq!(t.bob.remove(&t.dir, b"f").status, OK);
}

fn remove_in_a_sticky_directory(t: &Fs) {
    let dir = t.root.dir(&t.dir, b"d");
    t.root.set(&dir, &mode(0o1777));
    t.alice.file_of(&dir, b"f", 0o666);
    assert_eq!(t.bob.remove(&dir, b"f").status, PERM);
    assert_eq!(t.alice.remove(&dir, b"f").status, OK, "the entry's owner");
    t.alice.file(&dir, b"g");
    assert_eq!(t.root.remove(&dir, b"g").status, OK, "root");
}

fn remove_in_a_sticky_directory_of_ones_own(t: &Fs) {
    let dir = t.bob.dir(&t.dir, b"d");
    t.bob.set(&dir, &mode(0o1777));
    t.alice.file(&dir, b"f");
    assert_eq!(t.bob.remove(&dir, b"f").status, OK, "the directory's owner");
}

fn remove_in_a_file(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o777);
    assert_eq!(t.alice.remove(&file, b"x").status, NOTDIR);
    assert_eq!(t.alice.rmdir(&file, b"x").status, NOTDIR);
}

fn remove_in_a_removed_directory(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    assert_eq!(t.alice.rmdir(&t.dir, b"d").status, OK);
    let done = t.alice.remove(&dir, b"x");
    assert_eq!((done.status, done.wcc), (STALE, Default::default()));
}

fn remove_wcc_data_is_exact(t: &Fs) {
    t.alice.file(&t.dir, b"f");
    let before = t.alice.attr(&t.dir);
    let done = t.alice.remove(&t.dir, b"f");
    assert_eq!((done.status, done.wcc.before()), (OK, &before.wcc()));
    let after = t.alice.attr(&t.dir);
    assert_eq!(done.wcc.after(), &after);
    assert!(after.mtime > before.mtime && after.ctime > before.ctime);
}

fn remove_wcc_data_of_a_refusal(t: &Fs) {
    t.alice.dir(&t.dir, b"d");
    let present = t.alice.attr(&t.dir);
    let done = t.alice.remove(&t.dir, b"d");
    assert_eq!((done.status, done.wcc.after()), (ISDIR, &present));
    assert!(done.wcc.before.is_none_or(|before| before == present.wcc()));
}

fn a_name_is_free_after_remove(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"n", b"old");
    assert_eq!(t.alice.remove(&t.dir, b"n").status, OK);
    let dir = t.alice.dir(&t.dir, b"n");
    assert_ne!(dir, file);
    assert_eq!(t.alice.rmdir(&t.dir, b"n").status, OK);
    let again = t.alice.file(&t.dir, b"n");
    assert_eq!(t.alice.get(&again), b"");
}

fn remove_of_a_large_file(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.alice.put(&file, 0, &[1; 1 << 20]);
    t.alice.set(&file, &size(1 << 50));
    assert_eq!(t.alice.remove(&t.dir, b"f").status, OK);
    assert_eq!(t.alice.read(&file, 0, 10).status, STALE);
}

fn rmdir_takes_an_empty_directory(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    assert_eq!(t.alice.rmdir(&t.dir, b"d").status, OK);
    assert_eq!(t.alice.lookup(&t.dir, b"d").status, NOENT);
    assert_eq!(t.alice.getattr(&dir), Err(STALE));
}

fn rmdir_of_a_full_directory(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    t.alice.file(&dir, b"f");
    let done = t.alice.rmdir(&t.dir, b"d");
    assert_eq!((done.status, done.wcc.after), (NOTEMPTY, Some(t.alice.attr(&t.dir))));
    assert_eq!(t.alice.remove(&dir, b"f").status, OK);
    t.alice.dir(&dir, b"e");
    assert_eq!(t.alice.rmdir(&t.dir, b"d").status, NOTEMPTY);
}

fn rmdir_of_a_file(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.rmdir(&t.dir, b"f").status, NOTDIR);
    assert_eq!(t.alice.find(&t.dir, b"f"), file);
}

fn rmdir_of_a_symlink_to_a_directory(t: &Fs) {
    t.alice.dir(&t.dir, b"d");
    t.alice.symlink(&t.dir, b"l", b"d").handle();
    assert_eq!(t.alice.rmdir(&t.dir, b"l").status, NOTDIR);
}

fn rmdir_of_a_missing_name(t: &Fs) {
    assert_eq!(t.alice.rmdir(&t.dir, b"nothing").status, NOENT);
}

fn rmdir_counts_in_the_parents_nlink(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    for name in [b"a", b"b", b"c"] {
        t.alice.dir(&dir, name);
    }
    for (name, left) in [(b"b", 4), (b"a", 3), (b"c", 2)] {
        assert_eq!(t.alice.rmdir(&dir, name).status, OK);
        assert_eq!(t.alice.attr(&dir).nlink, left);
    }
}

fn rmdir_needs_permission(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    t.root.dir(&dir, b"e");
    assert_eq!(t.bob.rmdir(&dir, b"e").status, ACCES);
    assert_eq!(t.alice.rmdir(&dir, b"e").status, OK, "whoever may write the parent");
}

fn rmdir_in_a_sticky_directory(t: &Fs) {
    let dir = t.root.dir(&t.dir, b"d");
    t.root.set(&dir, &mode(0o1777));
    t.alice.dir(&dir, b"e");
    assert_eq!(t.bob.rmdir(&dir, b"e").status, PERM);
    assert_eq!(t.alice.rmdir(&dir, b"e").status, OK);
}

fn rmdir_wcc_data_is_exact(t: &Fs) {
    t.alice.dir(&t.dir, b"d");
    let before = t.alice.attr(&t.dir);
    let done = t.alice.rmdir(&t.dir, b"d");
    assert_eq!((done.status, done.wcc.before()), (OK, &before.wcc()));
    assert_eq!(done.wcc.after(), &t.alice.attr(&t.dir));
    assert_eq!(done.wcc.after().nlink + 1, before.nlink);
}

fn rmdir_after_the_last_entry_went(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    t.alice.file(&dir, b"f");
    assert_eq!(t.alice.rename(&dir, b"f", &t.dir, b"f").status, OK);
    assert_eq!(t.alice.rmdir(&t.dir, b"d").status, OK);
}

fn a_removed_directory_is_stale_everywhere(t: &Fs) {
    let dir = t.alice.dir_of(&t.dir, b"d", 0o777);
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.rmdir(&t.dir, b"d").status, OK);
    assert_eq!(t.alice.getattr(&dir), Err(STALE));
    assert_eq!(t.alice.setattr(&dir, &mode(0o700)).status, STALE);
    assert_eq!(t.alice.access(&dir, A_ALL).status, STALE);
    assert_eq!(t.alice.readdir(&dir, 0, [0; 8], 4096).status, STALE);
    assert_eq!(t.alice.readdirplus(&dir, 0, [0; 8], 4096, 8192).status, STALE);
    assert_eq!(t.alice.link(&file, &dir, b"x").status, STALE);
    assert_eq!(t.alice.rename(&t.dir, b"f", &dir, b"x").status, STALE);
    assert_eq!(t.alice.rename(&dir, b"x", &t.dir, b"y").status, STALE);
    assert_eq!(t.alice.symlink(&dir, b"x", b"y").status, STALE);
    assert_eq!(t.alice.rmdir(&dir, b"x").status, STALE);
}

fn rmdir_against_create(t: &Fs) {
    for round in 0..15 {
        let name = format!("d{round}");
        let dir = t.alice.dir(&t.dir, name.as_bytes());
        let statuses = t.together(2, |number, client| match number {
            0 => client.create(&dir, b"f", How::Guarded(mode(0o644))).status,
            _ => client.rmdir(&t.dir, name.as_bytes()).status,
        });
        match (statuses[0], statuses[1]) {
            (OK, NOTEMPTY) => assert_eq!(t.alice.names(&dir), [b"f"]),
            (STALE, OK) => assert_eq!(t.alice.getattr(&dir), Err(STALE)),
            other => panic!("{other:?}"),
        }
    }
}

fn rmdir_does_not_need_permission_on_the_directory(t: &Fs) {
    t.alice.dir_of(&t.dir, b"d", 0);
    assert_eq!(t.bob.rmdir(&t.dir, b"d").status, OK);
}

fn parallel_removes_of_one_name(t: &Fs) {
    for _ in 0..5 {
        t.alice.file(&t.dir, b"f");
        let statuses = t.together(3, |_, client| client.remove(&t.dir, b"f").status);
        assert_eq!(statuses.iter().filter(|status| **status == OK).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == NOENT).count(), 2, "{statuses:?}");
    }
}

fn rmdir_of_a_directory_with_hidden_names(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    t.alice.file(&dir, b".nfs0001");
    assert_eq!(t.alice.rmdir(&t.dir, b"d").status, NOTEMPTY);
}
