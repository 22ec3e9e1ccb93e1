//! SETATTR (RFC 1813 section 3.3.2): mode, owner, guard, size.

use super::args;
use super::fixture::{Fs, content_shared_cases};
use super::rpc::{NFS, Reply};
use super::types::*;

content_shared_cases! {
    owner_sets_the_mode, another_user_may_not_set_the_mode, root_sets_anyones_mode,
    bits_beyond_07777_do_not_reach_the_mode, setting_nothing_is_no_error,
    setgid_is_lost_outside_of_the_files_group, setgid_stays_in_a_supplementary_group,
    only_root_gives_a_file_away, the_uid_it_has_already_is_no_change,
    another_user_may_not_set_the_uid_it_has, owner_sets_the_gid_to_one_of_its_groups,
    owner_may_not_set_a_foreign_gid, another_user_may_not_set_the_gid,
    chown_by_root_clears_set_id_bits, chown_by_root_keeps_setgid_without_group_execute,
    chgrp_by_the_owner_clears_set_id_bits, chown_of_a_directory_keeps_its_bits,
    chown_and_mode_at_once_clear_set_id_bits, a_guard_that_holds, a_guard_that_does_not_hold,
    a_refused_setattr_sets_nothing, truncation_cuts, extension_reads_as_zeros,
    truncated_bytes_never_come_back, size_by_the_owner_of_a_0000_file, size_with_write_permission,
    size_without_write_permission, size_of_a_directory, size_of_what_is_no_file,
    size_beyond_the_largest, the_largest_size, size_changes_mtime_and_ctime,
    size_by_another_user_clears_setuid, size_by_root_keeps_setuid, mode_changes_ctime_only,
    wcc_data_is_exact, a_symlinks_owner_can_be_set, an_unknown_time_how_is_garbage,
    a_boolean_of_2_is_garbage, mode_of_every_kind_of_object, uids_of_all_32_bits,
    size_by_the_owner_clears_setuid;
    // What another server need not show, or not so.
    a_guard_of_an_older_ctime, sizes_with_unstable_data_around,
}

fn owner_sets_the_mode(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    for bits in [0, 0o777, 0o4755, 0o1644, 0o2755, 0o7777] {
        t.alice.set(&file, &mode(bits));
        assert_eq!(t.alice.attr(&file).mode, bits);
    }
}

fn another_user_may_not_set_the_mode(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o666);
    assert_eq!(t.bob.setattr(&file, &mode(0o777)).status, PERM);
    assert_eq!(t.bob.attr(&file).mode, 0o666);
}

fn root_sets_anyones_mode(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.root.set(&file, &mode(0o4711));
    assert_eq!(t.root.attr(&file).mode, 0o4711);
}

fn bits_beyond_07777_do_not_reach_the_mode(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.setattr(&file, &mode(0o10_0640)).status, OK);
    assert_eq!(t.alice.attr(&file).mode, 0o640);
}

fn setting_nothing_is_no_error(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    let before = t.alice.attr(&file);
    t.alice.set(&file, &nothing());
    let after = t.alice.attr(&file);
    assert_eq!((after.mode, after.size, after.mtime), (before.mode, before.size, before.mtime));
}

fn setgid_is_lost_outside_of_the_files_group(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.root.set(&file, &gid(77));
    t.alice.set(&file, &mode(0o2755));
    assert_eq!(t.alice.attr(&file).mode, 0o755);
    t.root.set(&file, &mode(0o2755));
    assert_eq!(t.alice.attr(&file).mode, 0o2755);
}

fn setgid_stays_in_a_supplementary_group(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.root.set(&file, &gid(77));
    t.root.user(1000, 1000, &[5, 77]).set(&file, &mode(0o2755));
    assert_eq!(t.alice.attr(&file).mode, 0o2755);
}

fn only_root_gives_a_file_away(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.setattr(&file, &uid(1001)).status, PERM);
    assert_eq!(t.bob.setattr(&file, &uid(1001)).status, PERM);
    t.root.set(&file, &owner(1001, 1002));
    let attr = t.root.attr(&file);
    assert_eq!((attr.uid, attr.gid), (1001, 1002));
}

fn the_uid_it_has_already_is_no_change(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.alice.set(&file, &uid(1000));
    t.root.set(&file, &gid(77));
    t.alice.set(&file, &owner(1000, 77));
    let attr = t.alice.attr(&file);
    assert_eq!((attr.uid, attr.gid), (1000, 77));
}

fn another_user_may_not_set_the_uid_it_has(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o666);
    assert_eq!(t.bob.setattr(&file, &uid(1000)).status, PERM);
}

fn owner_sets_the_gid_to_one_of_its_groups(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.root.user(1000, 1000, &[50, 60]).set(&file, &gid(60));
    assert_eq!(t.alice.attr(&file).gid, 60);
    t.alice.set(&file, &gid(1000));
    assert_eq!(t.alice.attr(&file).gid, 1000);
}

fn owner_may_not_set_a_foreign_gid(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.setattr(&file, &gid(60)).status, PERM);
    assert_eq!(t.alice.setattr(&file, &gid(0)).status, PERM);
    assert_eq!(t.alice.attr(&file).gid, 1000);
}

fn another_user_may_not_set_the_gid(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o666);
    assert_eq!(t.bob.setattr(&file, &gid(1001)).status, PERM);
    assert_eq!(t.root.user(1001, 1001, &[1000]).setattr(&file, &gid(1001)).status, PERM);
}

fn chown_by_root_clears_set_id_bits(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.alice.set(&file, &mode(0o6755));
    t.root.set(&file, &uid(1001));
    assert_eq!(t.root.attr(&file).mode, 0o755);
    t.root.set(&file, &mode(0o6755));
    t.root.set(&file, &gid(1001));
    assert_eq!(t.root.attr(&file).mode, 0o755);
}

fn chown_by_root_keeps_setgid_without_group_execute(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.alice.set(&file, &mode(0o6745));
    t.root.set(&file, &uid(1001));
    assert_eq!(t.root.attr(&file).mode, 0o2745);
}

fn chgrp_by_the_owner_clears_set_id_bits(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.alice.set(&file, &mode(0o6755));
    t.root.user(1000, 1000, &[60]).set(&file, &gid(60));
    assert_eq!(t.root.attr(&file).mode, 0o755);
}

fn chown_of_a_directory_keeps_its_bits(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    t.root.set(&dir, &mode(0o7755));
    t.root.set(&dir, &owner(1001, 1001));
    assert_eq!(t.root.attr(&dir).mode, 0o7755);
}

fn chown_and_mode_at_once_clear_set_id_bits(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.root.set(&file, &Sattr { mode: Some(0o6755), ..owner(1001, 1001) });
    let attr = t.root.attr(&file);
    assert_eq!((attr.mode, attr.uid, attr.gid), (0o755, 1001, 1001));
}

fn a_guard_that_holds(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let ctime = t.alice.attr(&file).ctime;
    let done = t.alice.setattr_guarded(&file, &mode(0o600), Some(ctime));
    assert_eq!(done.status, OK);
    assert_eq!(t.alice.attr(&file).mode, 0o600);
}

fn a_guard_that_does_not_hold(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    let before = t.alice.attr(&file);
    let off_by_one = (before.ctime.0, (before.ctime.1 + 1) % 1_000_000_000);
    for guard in [off_by_one, (before.ctime.0 + 1, before.ctime.1), (0, 0)] {
        let done = t.alice.setattr_guarded(&file, &size(0), Some(guard));
        assert_eq!(done.status, NOT_SYNC);
    }
    assert_eq!(t.alice.attr(&file), before);
    assert_eq!(t.alice.get(&file), b"bytes");
}

fn a_guard_of_an_older_ctime(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let old = t.alice.attr(&file).ctime;
    assert_eq!(t.alice.write(&file, 0, UNSTABLE, b"x").status, OK);
    let done = t.alice.setattr_guarded(&file, &mode(0o600), Some(old));
    assert_eq!(done.status, NOT_SYNC);
    let shown = t.alice.attr(&file).ctime;
    let done = t.alice.setattr_guarded(&file, &mode(0o600), Some(shown));
    assert_eq!(done.status, OK, "the guard is the ctime that was shown");
}

fn a_refused_setattr_sets_nothing(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o666);
    t.alice.put(&file, 0, b"bytes");
    let before = t.alice.attr(&file);
    let set = Sattr { size: Some(0), ..mode(0o600) };
    assert_eq!(t.bob.setattr(&file, &set).status, PERM);
    let set = Sattr { size: Some(0), ..uid(7) };
    assert_eq!(t.alice.setattr(&file, &set).status, PERM);
    let set = Sattr { size: Some(u64::MAX), ..mode(0o600) };
    assert_eq!(t.alice.setattr(&file, &set).status, FBIG);
    assert_eq!(t.alice.attr(&file), before);
    assert_eq!(t.alice.get(&file), b"bytes");
}

fn truncation_cuts(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"0123456789");
    for length in [7, 3, 0] {
        t.alice.set(&file, &size(length));
        assert_eq!(t.alice.attr(&file).size, length);
        assert_eq!(t.alice.get(&file), b"0123456789"[..length as usize]);
    }
}

fn extension_reads_as_zeros(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"0123456789");
    t.alice.set(&file, &size(100_000));
    assert_eq!(t.alice.attr(&file).size, 100_000);
    let bytes = t.alice.get(&file);
    assert_eq!((bytes.len(), &bytes[..10]), (100_000, &b"0123456789"[..]));
    assert!(bytes[10..].iter().all(|byte| *byte == 0));
    let empty = t.alice.file(&t.dir, b"empty");
    t.alice.set(&empty, &size(5000));
    assert_eq!(t.alice.get(&empty), [0; 5000]);
}

fn truncated_bytes_never_come_back(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", &[7; 9000]);
    t.alice.set(&file, &size(1000));
    t.alice.set(&file, &size(9000));
    let bytes = t.alice.get(&file);
    assert!(bytes[..1000].iter().all(|byte| *byte == 7));
    assert!(bytes[1000..].iter().all(|byte| *byte == 0), "old bytes beyond a truncation");
    t.alice.set(&file, &size(500));
    t.alice.put(&file, 5000, b"x");
    let bytes = t.alice.get(&file);
    assert_eq!((bytes.len(), bytes[5000]), (5001, b'x'));
    assert!(bytes[500..5000].iter().all(|byte| *byte == 0), "old bytes in a gap");
}

fn size_by_the_owner_of_a_0000_file(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    t.alice.set(&file, &mode(0));
    t.alice.set(&file, &size(2));
    assert_eq!(t.alice.attr(&file).size, 2);
}

fn size_with_write_permission(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o602);
    t.bob.set(&file, &size(10));
    assert_eq!(t.bob.attr(&file).size, 10);
}

fn size_without_write_permission(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    assert_eq!(t.bob.setattr(&file, &size(0)).status, ACCES);
    assert_eq!(t.bob.get(&file), b"bytes");
}

fn size_of_a_directory(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    for length in [0, 4096, 1 << 40] {
        assert_eq!(t.alice.setattr(&dir, &size(length)).status, INVAL);
    }
}

fn size_of_what_is_no_file(t: &Fs) {
    let link = t.alice.symlink(&t.dir, b"l", b"target").handle();
    let fifo = t.alice.mknod(&t.dir, b"p", FIFO, &mode(0o666), (0, 0)).handle();
    for object in [&link, &fifo] {
        assert_eq!(t.alice.setattr(object, &size(0)).status, INVAL);
    }
    assert_eq!(t.alice.readlink(&link).target, b"target");
}

fn size_beyond_the_largest(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    for length in [1 << 63, u64::MAX] {
        assert_eq!(t.alice.setattr(&file, &size(length)).status, FBIG);
    }
    assert_eq!(t.alice.get(&file), b"bytes");
}

fn the_largest_size(t: &Fs) {
    let largest = t.alice.fsinfo(&t.share).unwrap().max_file_size;
    assert_eq!(largest, (1 << 63) - 1);
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    t.alice.set(&file, &size(largest));
    assert_eq!(t.alice.attr(&file).size, largest);
    let end = t.alice.read(&file, largest - 10, 100);
    assert_eq!((end.status, end.data, end.eof), (OK, vec![0; 10], true));
    let start = t.alice.read(&file, 0, 8);
    assert_eq!((start.data.as_slice(), start.eof), (&b"bytes\0\0\0"[..], false));
    t.alice.set(&file, &size(3));
    assert_eq!(t.alice.get(&file), b"byt");
}

fn size_changes_mtime_and_ctime(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    let mut before = t.alice.attr(&file);
    for length in [3, 30, 0] {
        t.alice.set(&file, &size(length));
        let after = t.alice.attr(&file);
        assert!(after.mtime > before.mtime && after.ctime > before.ctime, "{after:?}");
        before = after;
    }
}

fn size_by_another_user_clears_setuid(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.alice.set(&file, &mode(0o6777));
    t.bob.set(&file, &size(10));
    assert_eq!(t.alice.attr(&file).mode, 0o777);
}

fn size_by_root_keeps_setuid(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.alice.set(&file, &mode(0o6777));
    t.root.set(&file, &size(10));
    assert_eq!(t.alice.attr(&file).mode, 0o6777);
}

fn mode_changes_ctime_only(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    let before = t.alice.attr(&file);
    t.alice.set(&file, &mode(0o600));
    let after = t.alice.attr(&file);
    assert!(after.ctime > before.ctime);
    assert_eq!((after.mtime, after.atime), (before.mtime, before.atime));
}

fn wcc_data_is_exact(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    let before = t.alice.attr(&file);
    let done = t.alice.setattr(&file, &size(2));
    assert_eq!((done.status, done.wcc.before()), (OK, &before.wcc()));
    assert_eq!(done.wcc.after(), &t.alice.attr(&file));
    let refused = t.bob.setattr(&file, &mode(0));
    let present = t.alice.attr(&file);
    assert_eq!((refused.status, refused.wcc.after), (PERM, Some(present.clone())));
    assert!(refused.wcc.before.is_none_or(|before| before == present.wcc()));
}

fn a_symlinks_owner_can_be_set(t: &Fs) {
    let link = t.alice.symlink(&t.dir, b"l", b"target").handle();
    t.root.set(&link, &owner(1001, 1001));
    let attr = t.root.attr(&link);
    assert_eq!((attr.kind, attr.uid, attr.gid), (LNK, 1001, 1001));
    assert_eq!(t.alice.readlink(&link).target, b"target");
}

fn an_unknown_time_how_is_garbage(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let args = args::handle(&file).u32(0).u32(0).u32(0).u32(0).u32(3).u32(0).u32(0);
    assert_eq!(t.alice.raw(NFS, 3, args::SETATTR, &args.bytes), Reply::GarbageArguments);
    t.alice.attr(&file);
}

fn a_boolean_of_2_is_garbage(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let args = args::handle(&file).u32(2).u32(0o777).u32(0).u32(0).u32(0).u32(0).u32(0).u32(0);
    assert_eq!(t.alice.raw(NFS, 3, args::SETATTR, &args.bytes), Reply::GarbageArguments);
    let args = args::handle(&file).u32(0).u32(0).u32(0).u32(0).u32(0).u32(0).u32(7);
    assert_eq!(t.alice.raw(NFS, 3, args::SETATTR, &args.bytes), Reply::GarbageArguments);
    assert_eq!(t.alice.attr(&file).mode, 0o644);
}

fn sizes_with_unstable_data_around(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.write(&file, 0, UNSTABLE, &[1; 5000]).status, OK);
    t.alice.set(&file, &size(2000));
    assert_eq!(t.alice.attr(&file).size, 2000);
    assert_eq!(t.alice.write(&file, 3000, UNSTABLE, &[2; 1000]).status, OK);
    assert_eq!(t.alice.commit(&file, 0, 0).status, OK);
    let expected = [vec![1; 2000], vec![0; 1000], vec![2; 1000]].concat();
    assert_eq!(t.alice.get(&file), expected);
    assert_eq!(t.alice.write(&file, 0, UNSTABLE, &[3; 5000]).status, OK);
    t.alice.set(&file, &size(0));
    assert_eq!(t.alice.commit(&file, 0, 0).status, OK);
    assert_eq!(t.alice.attr(&file).size, 0);
    assert_eq!(t.alice.get(&file), b"");
}

fn mode_of_every_kind_of_object(t: &Fs) {
    for kind in [BLK, CHR, SOCK, FIFO] {
        let name = format!("k{kind}");
        let made = t.root.mknod(&t.dir, name.as_bytes(), kind, &mode(0o600), (1, 2)).handle();
        t.root.set(&made, &Sattr { mode: Some(0o666), ..owner(3, 4) });
        let attr = t.root.attr(&made);
        assert_eq!((attr.kind, attr.mode, attr.uid, attr.gid), (kind, 0o666, 3, 4));
    }
}

fn uids_of_all_32_bits(t: &Fs) {
    let file = t.root.file(&t.dir, b"f");
    for id in [1 << 31, (1 << 31) - 1, u32::MAX - 1, 65_534] {
        t.root.set(&file, &owner(id, id));
        let attr = t.root.attr(&file);
        assert_eq!((attr.uid, attr.gid), (id, id));
    }
    let status = t.root.setattr(&file, &uid(u32::MAX)).status;
    assert!(status == OK || status == INVAL, "{status:?}");
}

fn size_by_the_owner_clears_setuid(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    t.alice.set(&file, &mode(0o6755));
    t.alice.set(&file, &size(1));
    assert_eq!(t.alice.attr(&file).mode, 0o755);
}
