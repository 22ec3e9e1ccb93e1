//! RENAME (RFC 1813 section 3.3.14).

use super::fixture::{Fs, content_shared_cases};
use super::types::*;

content_shared_cases! {
    rename_in_one_directory, rename_to_another_directory, rename_of_a_missing_name,
    rename_replaces_a_file, rename_replaces_one_of_two_names, rename_to_its_own_name,
    rename_to_another_name_of_the_same_file, rename_of_a_directory,
    rename_of_a_directory_over_an_empty_one, rename_of_a_directory_over_a_full_one,
    rename_of_a_file_over_a_directory, rename_of_a_directory_over_a_file, rename_into_itself,
    rename_into_its_own_subtree, rename_over_an_ancestor, rename_counts_in_both_nlinks,
    rename_over_a_directory_counts_once, rename_in_place_keeps_nlink,
    rename_of_a_full_directory_keeps_its_entries, rename_from_needs_permission,
    rename_to_needs_permission, moving_a_directory_needs_write_permission_on_it,
    renaming_a_directory_in_place_needs_none_on_it, rename_in_a_sticky_directory,
    rename_over_an_entry_of_a_sticky_directory, rename_to_another_share,
    rename_in_what_is_no_directory, rename_with_removed_directories, rename_wcc_data_is_exact,
    rename_wcc_data_in_one_directory, rename_wcc_data_of_a_refusal, rename_changes_ctime,
    rename_over_a_symlink_replaces_the_link, rename_of_a_symlink, rename_of_special_files,
    rename_to_a_long_name, rename_swaps_through_a_third_name,
    parallel_directory_renames_make_no_cycle, parallel_renames_over_one_name,
    rename_of_a_directory_to_its_own_name, a_lost_name_changes_the_files_ctime,
    rename_back_and_forth_between_directories, rename_into_a_very_deep_descendant;
    // What another server need not show, or not so.
    rename_keeps_unstable_data,
}

fn rename_in_one_directory(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"a", b"bytes");
    assert_eq!(t.alice.rename(&t.dir, b"a", &t.dir, b"b").status, OK);
    assert_eq!(t.alice.names(&t.dir), [b"b"]);
    assert_eq!(t.alice.find(&t.dir, b"b"), file);
    assert_eq!(t.alice.get(&file), b"bytes");
}

fn rename_to_another_directory(t: &Fs) {
    let (a, b) = (t.alice.dir(&t.dir, b"a"), t.alice.dir(&t.dir, b"b"));
    let file = t.alice.file(&a, b"f");
    assert_eq!(t.alice.rename(&a, b"f", &b, b"g").status, OK);
    assert!(t.alice.list(&a).is_empty());
    assert_eq!(t.alice.find(&b, b"g"), file);
}

fn rename_of_a_missing_name(t: &Fs) {
    let target = t.alice.file(&t.dir, b"b");
    assert_eq!(t.alice.rename(&t.dir, b"nothing", &t.dir, b"b").status, NOENT);
    assert_eq!(t.alice.find(&t.dir, b"b"), target);
}

fn rename_replaces_a_file(t: &Fs) {
    let (a, b) = (t.alice.file(&t.dir, b"a"), t.alice.file_with(&t.dir, b"b", b"old"));
    assert_eq!(t.alice.rename(&t.dir, b"a", &t.dir, b"b").status, OK);
    assert_eq!(t.alice.find(&t.dir, b"b"), a);
    assert_eq!(t.alice.getattr(&b), Err(STALE));
    assert_eq!(t.alice.names(&t.dir), [b"b"]);
}

fn rename_replaces_one_of_two_names(t: &Fs) {
    t.alice.file(&t.dir, b"a");
    let b = t.alice.file_with(&t.dir, b"b", b"kept");
    assert_eq!(t.alice.link(&b, &t.dir, b"c").status, OK);
    let before = t.alice.attr(&b);
    assert_eq!(t.alice.rename(&t.dir, b"a", &t.dir, b"b").status, OK);
    let after = t.alice.attr(&b);
    assert_eq!((after.nlink, t.alice.get(&b)), (1, b"kept".to_vec()));
    assert!(after.ctime > before.ctime);
}

fn rename_to_its_own_name(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"a", b"bytes");
    assert_eq!(t.alice.rename(&t.dir, b"a", &t.dir, b"a").status, OK);
    assert_eq!(t.alice.find(&t.dir, b"a"), file);
    assert_eq!(t.alice.get(&file), b"bytes");
    assert_eq!(t.alice.attr(&file).nlink, 1);
}

fn rename_to_another_name_of_the_same_file(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    let file = t.alice.file(&t.dir, b"a");
    assert_eq!(t.alice.link(&file, &t.dir, b"b").status, OK);
    assert_eq!(t.alice.link(&file, &dir, b"c").status, OK);
    assert_eq!(t.alice.rename(&t.dir, b"a", &t.dir, b"b").status, OK);
    assert_eq!(t.alice.rename(&t.dir, b"a", &dir, b"c").status, OK);
    assert_eq!(t.alice.names(&t.dir), [b"a", b"b", b"d"], "nothing changes");
    assert_eq!(t.alice.attr(&file).nlink, 3);
}

fn rename_of_a_directory(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"a");
    t.alice.file(&dir, b"f");
    assert_eq!(t.alice.rename(&t.dir, b"a", &t.dir, b"b").status, OK);
    assert_eq!(t.alice.find(&t.dir, b"b"), dir);
    assert_eq!(t.alice.names(&dir), [b"f"]);
}

fn rename_of_a_directory_over_an_empty_one(t: &Fs) {
    let (a, b) = (t.alice.dir(&t.dir, b"a"), t.alice.dir(&t.dir, b"b"));
    assert_eq!(t.alice.rename(&t.dir, b"a", &t.dir, b"b").status, OK);
    assert_eq!(t.alice.find(&t.dir, b"b"), a);
    assert_eq!(t.alice.getattr(&b), Err(STALE));
}

fn rename_of_a_directory_over_a_full_one(t: &Fs) {
    let (a, b) = (t.alice.dir(&t.dir, b"a"), t.alice.dir(&t.dir, b"b"));
    t.alice.file(&b, b"f");
    let status = t.alice.rename(&t.dir, b"a", &t.dir, b"b").status;
    assert_eq!(status, NOTEMPTY);
    assert_eq!((t.alice.find(&t.dir, b"a"), t.alice.find(&t.dir, b"b")), (a, b));
}

fn rename_of_a_file_over_a_directory(t: &Fs) {
    t.alice.file(&t.dir, b"f");
    let dir = t.alice.dir(&t.dir, b"d");
    assert_eq!(t.alice.rename(&t.dir, b"f", &t.dir, b"d").status, ISDIR);
    assert_eq!(t.alice.find(&t.dir, b"d"), dir);
}

fn rename_of_a_directory_over_a_file(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.alice.dir(&t.dir, b"d");
    t.alice.symlink(&t.dir, b"l", b"d").handle();
    assert_eq!(t.alice.rename(&t.dir, b"d", &t.dir, b"f").status, NOTDIR);
    assert_eq!(t.alice.rename(&t.dir, b"d", &t.dir, b"l").status, NOTDIR);
    assert_eq!(t.alice.find(&t.dir, b"f"), file);
}

fn rename_into_itself(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    assert_eq!(t.alice.rename(&t.dir, b"d", &dir, b"e").status, INVAL);
    assert_eq!(t.root.rename(&t.dir, b"d", &dir, b"d").status, INVAL);
    assert_eq!(t.alice.find(&t.dir, b"d"), dir);
    assert!(t.alice.list(&dir).is_empty());
}

fn rename_into_its_own_subtree(t: &Fs) {
    let a = t.alice.dir(&t.dir, b"a");
    let b = t.alice.dir(&a, b"b");
    let c = t.alice.dir(&b, b"c");
    for target in [&b, &c] {
        assert_eq!(t.alice.rename(&t.dir, b"a", target, b"x").status, INVAL);
    }
    assert_eq!(t.alice.rename(&a, b"b", &c, b"x").status, INVAL);
    assert_eq!(t.alice.find(&c, b".."), b);
    assert_eq!(t.alice.names(&t.dir), [b"a"]);
}

fn rename_over_an_ancestor(t: &Fs) {
    let a = t.alice.dir(&t.dir, b"a");
    let b = t.alice.dir(&a, b"b");
    t.alice.dir(&b, b"c");
    t.alice.file(&b, b"f");
    assert_eq!(t.alice.rename(&b, b"c", &t.dir, b"a").status, NOTEMPTY);
    assert_eq!(t.alice.rename(&b, b"c", &a, b"b").status, NOTEMPTY);
    assert_eq!(t.alice.rename(&b, b"f", &a, b"b").status, ISDIR);
}

fn rename_counts_in_both_nlinks(t: &Fs) {
    let (a, b) = (t.alice.dir(&t.dir, b"a"), t.alice.dir(&t.dir, b"b"));
    t.alice.dir(&a, b"d");
    assert_eq!((t.alice.attr(&a).nlink, t.alice.attr(&b).nlink), (3, 2));
    assert_eq!(t.alice.rename(&a, b"d", &b, b"d").status, OK);
    assert_eq!((t.alice.attr(&a).nlink, t.alice.attr(&b).nlink), (2, 3));
    t.alice.file(&b, b"f");
    assert_eq!(t.alice.rename(&b, b"f", &a, b"f").status, OK);
    assert_eq!((t.alice.attr(&a).nlink, t.alice.attr(&b).nlink), (2, 3), "files do not count");
}

fn rename_over_a_directory_counts_once(t: &Fs) {
    let (a, b) = (t.alice.dir(&t.dir, b"a"), t.alice.dir(&t.dir, b"b"));
    t.alice.dir(&a, b"x");
    t.alice.dir(&b, b"y");
    assert_eq!(t.alice.rename(&a, b"x", &b, b"y").status, OK);
    assert_eq!((t.alice.attr(&a).nlink, t.alice.attr(&b).nlink), (2, 3));
    t.alice.dir(&b, b"z");
    assert_eq!(t.alice.rename(&b, b"y", &b, b"z").status, OK);
    assert_eq!(t.alice.attr(&b).nlink, 3);
}

fn rename_in_place_keeps_nlink(t: &Fs) {
    let before = t.alice.attr(&t.dir).nlink;
    t.alice.dir(&t.dir, b"a");
    assert_eq!(t.alice.rename(&t.dir, b"a", &t.dir, b"b").status, OK);
    assert_eq!(t.alice.attr(&t.dir).nlink, before + 1);
}

fn rename_of_a_full_directory_keeps_its_entries(t: &Fs) {
    let (a, b) = (t.alice.dir(&t.dir, b"a"), t.alice.dir(&t.dir, b"b"));
    let dir = t.alice.dir(&a, b"d");
    let file = t.alice.file_with(&dir, b"f", b"bytes");
    assert_eq!(t.alice.rename(&a, b"d", &b, b"e").status, OK);
    assert_eq!(t.alice.find(&t.alice.find(&b, b"e"), b"f"), file);
    assert_eq!(t.alice.get(&file), b"bytes");
    assert_eq!(t.alice.find(&dir, b".."), b);
}

fn rename_from_needs_permission(t: &Fs) {
    let (a, b) = (t.alice.dir(&t.dir, b"a"), t.alice.dir_of(&t.dir, b"b", 0o777));
    t.alice.file_of(&a, b"f", 0o666);
    assert_eq!(t.bob.rename(&a, b"f", &b, b"f").status, ACCES);
    assert_eq!(t.bob.rename(&a, b"f", &a, b"g").status, ACCES);
    assert_eq!(t.alice.names(&a), [b"f"]);
}

fn rename_to_needs_permission(t: &Fs) {
    let (a, b) = (t.alice.dir_of(&t.dir, b"a", 0o777), t.alice.dir(&t.dir, b"b"));
    t.alice.file_of(&a, b"f", 0o666);
    assert_eq!(t.bob.rename(&a, b"f", &b, b"f").status, ACCES);
    t.alice.set(&b, &mode(0o766));
    assert_eq!(t.bob.rename(&a, b"f", &b, b"f").status, ACCES, "w without x");
    assert_eq!(t.alice.names(&a), [b"f"]);
}

fn moving_a_directory_needs_write_permission_on_it(t: &Fs) {
    let (a, b) = (t.alice.dir_of(&t.dir, b"a", 0o777), t.alice.dir_of(&t.dir, b"b", 0o777));
    t.alice.dir_of(&a, b"d", 0o755);
    assert_eq!(t.bob.rename(&a, b"d", &b, b"d").status, ACCES);
    assert_eq!(t.alice.rename(&a, b"d", &b, b"d").status, OK);
}

fn renaming_a_directory_in_place_needs_none_on_it(t: &Fs) {
    let a = t.alice.dir_of(&t.dir, b"a", 0o777);
    t.alice.dir_of(&a, b"d", 0o755);
    assert_eq!(t.bob.rename(&a, b"d", &a, b"e").status, OK);
}

fn rename_in_a_sticky_directory(t: &Fs) {
    let dir = t.root.dir(&t.dir, b"d");
    t.root.set(&dir, &mode(0o1777));
    t.alice.file_of(&dir, b"f", 0o666);
    for (to, name) in [(&dir, b"g"), (&t.dir, b"g")] {
        assert_eq!(t.bob.rename(&dir, b"f", to, name).status, PERM);
    }
    assert_eq!(t.alice.rename(&dir, b"f", &dir, b"g").status, OK);
}

fn rename_over_an_entry_of_a_sticky_directory(t: &Fs) {
    let dir = t.root.dir(&t.dir, b"d");
    t.root.set(&dir, &mode(0o1777));
    let kept = t.alice.file_of(&dir, b"f", 0o666);
    t.bob.file(&dir, b"mine");
    assert_eq!(t.bob.rename(&dir, b"mine", &dir, b"f").status, PERM);
    assert_eq!(t.alice.find(&dir, b"f"), kept);
}

fn rename_to_another_share(t: &Fs) {
    t.root.file(&t.dir, b"f");
    let other = t.root_of("/squash");
    assert_eq!(t.root.rename(&t.dir, b"f", &other, b"f").status, XDEV);
    assert_eq!(t.root.names(&t.dir), [b"f"]);
}

fn rename_in_what_is_no_directory(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o777);
    assert_eq!(t.alice.rename(&file, b"x", &t.dir, b"y").status, NOTDIR);
    assert_eq!(t.alice.rename(&t.dir, b"f", &file, b"y").status, NOTDIR);
}

fn rename_with_removed_directories(t: &Fs) {
    let gone = t.alice.dir(&t.dir, b"d");
    assert_eq!(t.alice.rmdir(&t.dir, b"d").status, OK);
    t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.rename(&t.dir, b"f", &gone, b"g").status, STALE);
    assert_eq!(t.alice.rename(&gone, b"f", &t.dir, b"g").status, STALE);
    assert_eq!(t.alice.rename(&gone, b"f", &gone, b"g").status, STALE);
    assert_eq!(t.alice.names(&t.dir), [b"f"]);
}

fn rename_wcc_data_is_exact(t: &Fs) {
    let (a, b) = (t.alice.dir(&t.dir, b"a"), t.alice.dir(&t.dir, b"b"));
    t.alice.dir(&a, b"d");
    let before = (t.alice.attr(&a), t.alice.attr(&b));
    let done = t.alice.rename(&a, b"d", &b, b"e");
    assert_eq!((done.from.before(), done.to.before()), (&before.0.wcc(), &before.1.wcc()));
    assert_eq!((done.from.after(), done.to.after()), (&t.alice.attr(&a), &t.alice.attr(&b)));
    assert!(done.from.after().ctime > before.0.ctime && done.to.after().ctime > before.1.ctime);
    assert!(done.from.after().mtime > before.0.mtime && done.to.after().mtime > before.1.mtime);
}

fn rename_wcc_data_in_one_directory(t: &Fs) {
    t.alice.file(&t.dir, b"a");
    let before = t.alice.attr(&t.dir);
    let done = t.alice.rename(&t.dir, b"a", &t.dir, b"b");
    let after = t.alice.attr(&t.dir);
    assert_eq!(done.from.before(), &before.wcc());
    assert_eq!(done.from.after(), &after);
    assert_eq!(done.to.after(), &after);
    assert!(done.to.before.is_none_or(|shown| shown == before.wcc()));
}

fn rename_wcc_data_of_a_refusal(t: &Fs) {
    let (a, b) = (t.alice.dir(&t.dir, b"a"), t.alice.dir(&t.dir, b"b"));
    let done = t.alice.rename(&a, b"nothing", &b, b"x");
    assert_eq!((done.status, done.from.after()), (NOENT, &t.alice.attr(&a)));
    assert_eq!(done.to.after(), &t.alice.attr(&b));
    for (wcc, dir) in [(&done.from, &a), (&done.to, &b)] {
        assert!(wcc.before.as_ref().is_none_or(|before| *before == t.alice.attr(dir).wcc()));
    }
}

fn rename_changes_ctime(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"a", b"bytes");
    let before = t.alice.attr(&file);
    assert_eq!(t.alice.rename(&t.dir, b"a", &t.dir, b"b").status, OK);
    let after = t.alice.attr(&file);
    assert!(after.ctime > before.ctime);
    assert_eq!((after.mtime, after.nlink, after.size), (before.mtime, 1, 5));
}

fn rename_over_a_symlink_replaces_the_link(t: &Fs) {
    let target = t.alice.file_with(&t.dir, b"t", b"target");
    t.alice.symlink(&t.dir, b"l", b"t").handle();
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.rename(&t.dir, b"f", &t.dir, b"l").status, OK);
    assert_eq!(t.alice.find(&t.dir, b"l"), file);
    assert_eq!(t.alice.get(&target), b"target");
}

fn rename_of_a_symlink(t: &Fs) {
    let link = t.alice.symlink(&t.dir, b"l", b"nowhere").handle();
    assert_eq!(t.alice.rename(&t.dir, b"l", &t.dir, b"m").status, OK);
    assert_eq!(t.alice.find(&t.dir, b"m"), link);
    assert_eq!(t.alice.readlink(&link).target, b"nowhere");
}

fn rename_of_special_files(t: &Fs) {
    let fifo = t.alice.mknod(&t.dir, b"p", FIFO, &mode(0o600), (0, 0)).handle();
    t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.rename(&t.dir, b"p", &t.dir, b"f").status, OK);
    assert_eq!(t.alice.find(&t.dir, b"f"), fifo);
}

fn rename_keeps_unstable_data(t: &Fs) {
    let file = t.alice.file(&t.dir, b"a");
    let written = t.alice.write(&file, 0, UNSTABLE, b"bytes");
    assert_eq!(t.alice.rename(&t.dir, b"a", &t.dir, b"b").status, OK);
    assert_eq!(t.alice.attr(&file).size, 5);
    assert_eq!(t.alice.commit(&file, 0, 0).verifier, written.verifier);
    assert_eq!(t.alice.get(&file), b"bytes");
}

fn rename_to_a_long_name(t: &Fs) {
    let file = t.alice.file(&t.dir, b"a");
    assert_eq!(t.alice.rename(&t.dir, b"a", &t.dir, &[b'n'; 255]).status, OK);
    assert_eq!(t.alice.find(&t.dir, &[b'n'; 255]), file);
}

fn rename_swaps_through_a_third_name(t: &Fs) {
    let (a, b) = (t.alice.dir(&t.dir, b"a"), t.alice.dir(&t.dir, b"b"));
    for (from, to) in [(b"a", b"c"), (b"b", b"a"), (b"c", b"b")] {
        assert_eq!(t.alice.rename(&t.dir, from, &t.dir, to).status, OK);
    }
    assert_eq!((t.alice.find(&t.dir, b"a"), t.alice.find(&t.dir, b"b")), (b, a));
}

fn parallel_directory_renames_make_no_cycle(t: &Fs) {
    for round in 0..10 {
        let top = t.alice.dir(&t.dir, format!("r{round}").as_bytes());
        let (a, b) = (t.alice.dir(&top, b"a"), t.alice.dir(&top, b"b"));
        let statuses = t.together(2, |number, client| match number {
            0 => client.rename(&top, b"a", &b, b"x").status,
            _ => client.rename(&top, b"b", &a, b"y").status,
        });
        // Whichever comes second moves a directory that is no longer in `top`, or into its own subtree.
        match (statuses[0], statuses[1]) {
            (OK, INVAL | NOENT) => assert_eq!(t.alice.find(&a, b".."), b),
            (INVAL | NOENT, OK) => assert_eq!(t.alice.find(&b, b".."), a),
            other => panic!("{other:?}"),
        }
        assert_eq!(t.alice.list(&top).len(), 1);
    }
}

fn parallel_renames_over_one_name(t: &Fs) {
    for _ in 0..5 {
        let files: Vec<_> =
            (0..3).map(|n| t.alice.file(&t.dir, format!("s{n}").as_bytes())).collect();
        t.together(3, |number, client| {
            let name = format!("s{number}");
            let done = client.rename(&t.dir, name.as_bytes(), &t.dir, b"target");
            assert_eq!(done.status, OK);
        });
        assert_eq!(t.alice.names(&t.dir), [b"target"]);
        let winner = t.alice.find(&t.dir, b"target");
        for file in files {
            let expected = if file == winner { Ok(1) } else { Err(STALE) };
            assert_eq!(t.alice.getattr(&file).map(|attr| attr.nlink), expected);
        }
    }
}

fn rename_of_a_directory_to_its_own_name(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    t.alice.file(&dir, b"f");
    assert_eq!(t.alice.rename(&t.dir, b"d", &t.dir, b"d").status, OK);
    assert_eq!(t.alice.find(&t.dir, b"d"), dir);
    assert_eq!(t.alice.names(&dir), [b"f"]);
}

fn a_lost_name_changes_the_files_ctime(t: &Fs) {
    let kept = t.alice.file(&t.dir, b"kept");
    assert_eq!(t.alice.link(&kept, &t.dir, b"other").status, OK);
    let before = t.alice.attr(&kept);
    t.alice.file(&t.dir, b"new");
    assert_eq!(t.alice.rename(&t.dir, b"new", &t.dir, b"other").status, OK);
    let after = t.alice.attr(&kept);
    assert!(after.nlink == 1 && after.ctime > before.ctime, "{after:?}");
}

fn rename_back_and_forth_between_directories(t: &Fs) {
    let (a, b) = (t.alice.dir(&t.dir, b"a"), t.alice.dir(&t.dir, b"b"));
    let file = t.alice.file(&a, b"f");
    for _ in 0..10 {
        assert_eq!(t.alice.rename(&a, b"f", &b, b"f").status, OK);
        assert_eq!(t.alice.rename(&b, b"f", &a, b"f").status, OK);
    }
    assert_eq!((t.alice.names(&a), t.alice.list(&b).len()), (vec![b"f".to_vec()], 0));
    assert_eq!(t.alice.find(&a, b"f"), file);
}

fn rename_into_a_very_deep_descendant(t: &Fs) {
    let mut deepest = t.alice.dir(&t.dir, b"top");
    for _ in 0..150 {
        deepest = t.alice.dir(&deepest, b"d");
    }
    assert_eq!(t.alice.rename(&t.dir, b"top", &deepest, b"x").status, INVAL);
    t.alice.dir(&t.dir, b"other");
    assert_eq!(t.alice.rename(&t.dir, b"other", &deepest, b"x").status, OK);
}
