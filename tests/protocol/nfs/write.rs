//! WRITE and COMMIT (RFC 1813 sections 3.3.7 and 3.3.21).

use super::args;
use super::fixture::{Fs, content_shared_cases};
use super::rpc::{NFS, Reply};
use super::types::*;

content_shared_cases! {
    a_write_in_the_middle, a_write_beyond_the_end_leaves_zeros, stability_is_at_least_as_asked,
    the_verifier_is_no_small_number, count_other_than_the_data_is_garbage,
    an_unknown_stability_is_refused, writing_nothing_changes_nothing,
    writing_nothing_beyond_the_end_grows_nothing, write_beyond_the_largest_size,
    write_near_the_largest_size, write_to_a_directory, write_to_what_is_no_file,
    write_needs_permission, the_owner_writes_a_0000_file, the_group_writes,
    write_by_another_user_clears_set_id_bits, write_by_root_keeps_set_id_bits,
    write_changes_mtime_and_ctime, wcc_data_of_a_refusal, write_to_a_removed_file,
    unstable_data_of_a_removed_file, commit_of_a_clean_file, commit_of_enormous_ranges,
    commit_of_a_removed_file, commit_of_what_is_no_file, reads_and_writes_during_truncations;
    // What another server need not show, or not so.
    written_bytes_are_read, the_verifier_is_one_for_all, unstable_write_clears_set_id_bits_for_good,
    wcc_data_is_exact, overlapping_writes_come_in_order, a_megabyte_in_one_write,
    more_than_wtmax_is_no_harm, commit_of_everything, commit_of_a_range,
    commit_keeps_what_was_shown, commit_has_wcc_data, sync_writes_around_unstable_ones,
    many_small_unstable_writes, writes_of_several_users_meet, parallel_writes_to_one_file,
}

fn written_bytes_are_read(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    for stable in [UNSTABLE, DATA_SYNC, FILE_SYNC] {
        let data = [stable as u8 + b'a'; 777];
        let written = t.alice.write(&file, 0, stable, &data);
        assert_eq!((written.status, written.count), (OK, 777));
        assert_eq!(t.alice.get(&file), data);
    }
}

fn a_write_in_the_middle(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"0123456789");
    t.alice.put(&file, 3, b"abc");
    assert_eq!(t.alice.get(&file), b"012abc6789");
}

fn a_write_beyond_the_end_leaves_zeros(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"start");
    t.alice.put(&file, 70_000, b"end");
    let bytes = t.alice.get(&file);
    assert_eq!((bytes.len(), &bytes[..5], &bytes[70_000..]), (70_003, &b"start"[..], &b"end"[..]));
    assert!(bytes[5..70_000].iter().all(|byte| *byte == 0));
}

fn stability_is_at_least_as_asked(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    for stable in [UNSTABLE, DATA_SYNC, FILE_SYNC] {
        assert!(t.alice.write(&file, 0, stable, b"x").committed >= stable);
    }
}

fn the_verifier_is_one_for_all(t: &Fs) {
    let (a, b) = (t.alice.file_of(&t.dir, b"a", 0o666), t.alice.file(&t.dir, b"b"));
    let first = t.alice.write(&a, 0, UNSTABLE, b"x").verifier;
    assert_eq!(t.alice.write(&b, 0, UNSTABLE, b"x").verifier, first);
    assert_eq!(t.alice.write(&a, 5, DATA_SYNC, b"x").verifier, first);
    assert_eq!(t.bob.reconnect().commit(&a, 0, 0).verifier, first);
    assert_eq!(t.alice.commit(&b, 0, 0).verifier, first);
}

fn the_verifier_is_no_small_number(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let verifier = u64::from_be_bytes(t.alice.commit(&file, 0, 0).verifier);
    assert!(verifier > 1 << 32 && verifier.swap_bytes() > 1 << 32, "{verifier:x}");
}

fn count_other_than_the_data_is_garbage(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    for count in [0, 2, 4, u32::MAX] {
        let args = args::write(&file, 0, count, FILE_SYNC, b"new");
        let reply = t.alice.raw(NFS, 3, args::WRITE, &args.bytes);
        assert_eq!(reply, Reply::GarbageArguments, "{count}");
    }
    assert_eq!(t.alice.get(&file), b"bytes");
}

fn an_unknown_stability_is_refused(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    for stable in [3, u32::MAX] {
        let args = args::write(&file, 0, 3, stable, b"new");
        assert_eq!(t.alice.raw(NFS, 3, args::WRITE, &args.bytes), Reply::GarbageArguments);
    }
    assert_eq!(t.alice.get(&file), b"bytes");
}

fn writing_nothing_changes_nothing(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    t.alice.set(&file, &mode(0o6777));
    let before = t.alice.attr(&file);
    for stable in [UNSTABLE, FILE_SYNC] {
        let written = t.bob.write(&file, 2, stable, b"");
        assert_eq!((written.status, written.count), (OK, 0));
    }
    assert_eq!(t.alice.attr(&file), before);
}

fn writing_nothing_beyond_the_end_grows_nothing(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    assert_eq!(t.alice.write(&file, 10_000, FILE_SYNC, b"").status, OK);
    assert_eq!(t.alice.attr(&file).size, 5);
}

fn write_beyond_the_largest_size(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    for offset in [(1 << 63) - 1, (1 << 63) - 3, 1 << 63, u64::MAX - 3, u64::MAX] {
        for stable in [UNSTABLE, FILE_SYNC] {
            assert_eq!(t.alice.write(&file, offset, stable, b"four").status, FBIG, "{offset}");
        }
    }
    assert_eq!(t.alice.get(&file), b"bytes");
}

fn write_near_the_largest_size(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    let largest = t.server.longest_content();
    let beyond = t.alice.write(&file, largest - 3, FILE_SYNC, b"last");
    assert_eq!((beyond.status, t.alice.attr(&file).size), (FBIG, 5));
    assert_eq!(t.alice.write(&file, largest - 4, FILE_SYNC, b"last").status, OK);
    assert_eq!(t.alice.attr(&file).size, largest);
    assert_eq!(t.alice.read(&file, largest - 4, 10).data, b"last");
    assert_eq!(t.alice.read(&file, 0, 5).data, b"bytes");
}

fn write_to_a_directory(t: &Fs) {
    // RFC 1813 has no ISDIR for WRITE.
    assert_eq!(t.root.write(&t.dir, 0, FILE_SYNC, b"x").status, INVAL);
}

fn write_to_what_is_no_file(t: &Fs) {
    let link = t.alice.symlink(&t.dir, b"l", b"target").handle();
    let fifo = t.alice.mknod(&t.dir, b"p", FIFO, &mode(0o666), (0, 0)).handle();
    for object in [&link, &fifo] {
        assert_eq!(t.alice.write(object, 0, FILE_SYNC, b"x").status, INVAL);
    }
}

fn write_needs_permission(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    t.alice.set(&file, &mode(0o644));
    for stable in [UNSTABLE, FILE_SYNC] {
        assert_eq!(t.bob.write(&file, 0, stable, b"x").status, ACCES);
    }
    assert_eq!(t.bob.write(&file, 0, UNSTABLE, b"").status, ACCES);
    assert_eq!(t.alice.get(&file), b"bytes");
}

fn the_owner_writes_a_0000_file(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0);
    t.alice.put(&file, 0, b"mine");
    assert_eq!(t.alice.get(&file), b"mine");
}

fn the_group_writes(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o420);
    t.root.user(1005, 1005, &[1000]).put(&file, 0, b"ours");
    assert_eq!(t.alice.get(&file), b"ours");
}

fn write_by_another_user_clears_set_id_bits(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    for (set, expected) in [(0o6777, 0o777), (0o6767, 0o2767), (0o1777, 0o1777)] {
        t.alice.set(&file, &mode(set));
        let written = t.bob.write(&file, 0, FILE_SYNC, b"x");
        assert_eq!(written.wcc.after().mode, expected);
        assert_eq!(t.alice.attr(&file).mode, expected);
    }
}

fn write_by_root_keeps_set_id_bits(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.alice.set(&file, &mode(0o6777));
    t.root.put(&file, 0, b"x");
    assert_eq!(t.alice.attr(&file).mode, 0o6777);
}

fn unstable_write_clears_set_id_bits_for_good(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.alice.set(&file, &mode(0o6777));
    assert_eq!(t.bob.write(&file, 0, UNSTABLE, b"x").status, OK);
    assert_eq!(t.alice.attr(&file).mode, 0o777);
    assert_eq!(t.bob.commit(&file, 0, 0).status, OK);
    assert_eq!(t.alice.attr(&file).mode, 0o777);
    t.alice.set(&file, &mode(0o4777));
    assert_eq!(t.alice.attr(&file).mode, 0o4777, "and may be set again");
}

fn write_changes_mtime_and_ctime(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let before = t.alice.attr(&file);
    t.alice.put(&file, 0, b"x");
    let after = t.alice.attr(&file);
    assert!(after.mtime > before.mtime && after.ctime > before.ctime, "{after:?}");
}

fn wcc_data_is_exact(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    for stable in [UNSTABLE, DATA_SYNC, FILE_SYNC, UNSTABLE] {
        let before = t.alice.attr(&file);
        let written = t.alice.write(&file, before.size, stable, b"more");
        if let Some(shown) = &written.wcc.before {
            assert_eq!(shown, &before.wcc());
        }
        assert_eq!(written.wcc.after(), &t.alice.attr(&file));
    }
}

fn wcc_data_of_a_refusal(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    let present = t.alice.attr(&file);
    let written = t.bob.write(&file, 0, FILE_SYNC, b"x");
    assert_eq!((written.status, written.wcc.after), (ACCES, Some(present.clone())));
    assert!(written.wcc.before.is_none_or(|before| before == present.wcc()));
}

fn overlapping_writes_come_in_order(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let mut expected = vec![0_u8; 20_000];
    for step in 0..30_usize {
        let (start, byte) = (step * 577 % 15_000, step as u8 + 1);
        let stable = [UNSTABLE, UNSTABLE, FILE_SYNC][step % 3];
        assert_eq!(t.alice.write(&file, start as u64, stable, &[byte; 5000]).status, OK);
        expected[start..start + 5000].fill(byte);
    }
    let bytes = t.alice.get(&file);
    assert!(bytes == expected[..bytes.len()]);
    assert!(expected[bytes.len()..].iter().all(|byte| *byte == 0));
}

fn a_megabyte_in_one_write(t: &Fs) {
    let wtmax = t.alice.fsinfo(&t.share).unwrap().write.0;
    let file = t.alice.file(&t.dir, b"f");
    let data = vec![7; wtmax as usize];
    let written = t.alice.write(&file, 3, UNSTABLE, &data);
    assert_eq!((written.status, written.count), (OK, wtmax));
    assert_eq!(t.alice.attr(&file).size, u64::from(wtmax) + 3);
}

fn more_than_wtmax_is_no_harm(t: &Fs) {
    let wtmax = t.alice.fsinfo(&t.share).unwrap().write.0;
    let file = t.alice.file(&t.dir, b"f");
    let data = vec![7; wtmax as usize + 512];
    let args = args::write(&file, 0, wtmax + 512, UNSTABLE, &data);
    match t.alice.raw(NFS, 3, args::WRITE, &args.bytes) {
        Reply::Success(body) => {
            let written = super::results::write(&body);
            assert!(written.status == OK || written.status == INVAL, "{:?}", written.status);
            assert_eq!(t.alice.attr(&file).size, u64::from(written.count));
        }
        other => assert_eq!(other, Reply::GarbageArguments),
    }
}

fn write_to_a_removed_file(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    assert_eq!(t.alice.remove(&t.dir, b"f").status, OK);
    for stable in [UNSTABLE, FILE_SYNC] {
        let written = t.alice.write(&file, 0, stable, b"x");
        assert_eq!((written.status, written.wcc), (STALE, Default::default()));
    }
}

fn unstable_data_of_a_removed_file(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.write(&file, 0, UNSTABLE, b"bytes").status, OK);
    assert_eq!(t.alice.remove(&t.dir, b"f").status, OK);
    assert_eq!(t.alice.getattr(&file), Err(STALE));
    assert_eq!(t.alice.write(&file, 0, UNSTABLE, b"bytes").status, STALE);
    assert_eq!(t.alice.commit(&file, 0, 0).status, STALE);
    let again = t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.get(&again), b"");
}

fn commit_of_everything(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let written = t.alice.write(&file, 0, UNSTABLE, &[5; 100_000]);
    let done = t.alice.commit(&file, 0, 0);
    assert_eq!((done.status, done.verifier), (OK, written.verifier));
    assert_eq!(t.alice.get(&file), [5; 100_000]);
}

fn commit_of_a_range(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.write(&file, 0, UNSTABLE, &[5; 10_000]).status, OK);
    assert_eq!(t.alice.commit(&file, 4096, 100).status, OK);
    assert_eq!(t.alice.attr(&file).size, 10_000);
    assert_eq!(t.alice.commit(&file, 1_000_000, 5).status, OK, "beyond the end");
}

fn commit_of_a_clean_file(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    let before = t.alice.attr(&file);
    assert_eq!(t.alice.commit(&file, 0, 0).status, OK);
    let after = t.alice.attr(&file);
    assert_eq!((after.mtime, after.ctime), (before.mtime, before.ctime));
}

fn commit_of_enormous_ranges(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    for (offset, count) in [(u64::MAX, u32::MAX), (u64::MAX, 0), (1 << 63, 1), (0, u32::MAX)] {
        let status = t.alice.commit(&file, offset, count).status;
        assert!(status == OK || status == INVAL, "{status:?}");
    }
}

fn commit_of_a_removed_file(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    assert_eq!(t.alice.remove(&t.dir, b"f").status, OK);
    let done = t.alice.commit(&file, 0, 0);
    assert_eq!((done.status, done.wcc), (STALE, Default::default()));
}

fn commit_of_what_is_no_file(t: &Fs) {
    let link = t.alice.symlink(&t.dir, b"l", b"target").handle();
    for object in [&link, &t.dir] {
        assert_eq!(t.root.commit(object, 0, 0).status, INVAL);
    }
}

fn commit_keeps_what_was_shown(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.write(&file, 10, UNSTABLE, b"bytes").status, OK);
    assert_eq!(t.alice.write(&file, 0, UNSTABLE, b"bytes").status, OK);
    let shown = t.alice.attr(&file);
    assert_eq!(t.alice.commit(&file, 0, 0).status, OK);
    let after = t.alice.attr(&file);
    assert_eq!((after.size, after.mtime), (shown.size, shown.mtime));
    assert_eq!(after.ctime, shown.ctime, "a COMMIT changes nothing that a client sees");
}

fn commit_has_wcc_data(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.write(&file, 0, UNSTABLE, b"bytes").status, OK);
    let shown = t.alice.attr(&file);
    let done = t.alice.commit(&file, 0, 0);
    assert_eq!(done.wcc.after(), &t.alice.attr(&file));
    assert!(done.wcc.before.is_none_or(|before| before == shown.wcc()));
}

fn sync_writes_around_unstable_ones(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.write(&file, 5000, UNSTABLE, b"far").status, OK);
    t.alice.put(&file, 0, b"near");
    assert_eq!(t.alice.attr(&file).size, 5003);
    assert_eq!(t.alice.commit(&file, 0, 0).status, OK);
    assert_eq!(t.alice.attr(&file).size, 5003);
    assert_eq!(t.alice.read(&file, 4999, 10).data, b"\0far");
}

fn many_small_unstable_writes(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    let data: Vec<u8> = (0..100 * 37_u32).map(|n| (n % 253) as u8).collect();
    for (index, part) in data.chunks(37).enumerate() {
        assert_eq!(t.alice.write(&file, index as u64 * 37, UNSTABLE, part).status, OK);
    }
    assert!(t.alice.get(&file) == data);
    assert_eq!(t.alice.commit(&file, 0, 0).status, OK);
    assert!(t.alice.get(&file) == data);
}

fn writes_of_several_users_meet(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o666);
    assert_eq!(t.alice.write(&file, 0, UNSTABLE, b"aaaa").status, OK);
    assert_eq!(t.bob.reconnect().write(&file, 2, UNSTABLE, b"bbbb").status, OK);
    assert_eq!(t.bob.commit(&file, 0, 0).status, OK);
    assert_eq!(t.alice.get(&file), b"aabbbb");
    assert_eq!(t.alice.attr(&file).uid, 1000);
}

fn parallel_writes_to_one_file(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.together(4, |part, client| {
        for step in 0..16 {
            let offset = (part as u64 * 16 + step) * 1000;
            let stable = if step % 4 == 3 { FILE_SYNC } else { UNSTABLE };
            let written = client.write(&file, offset, stable, &[part as u8 + 1; 1000]);
            assert_eq!((written.status, written.count), (OK, 1000));
        }
    });
    assert_eq!(t.alice.commit(&file, 0, 0).status, OK);
    let expected: Vec<u8> = (1..=4).flat_map(|part| [part; 16_000]).collect();
    assert!(t.alice.get(&file) == expected);
    assert_eq!(t.alice.attr(&file).size, 64_000);
}

fn reads_and_writes_during_truncations(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.together(3, |number, client| {
        for step in 0..40_u64 {
            match number {
                0 => {
                    let length = [0, 5000, 100, 20_000][step as usize % 4];
                    assert_eq!(client.setattr(&file, &size(length)).status, OK);
                }
                1 => {
                    let stable = if step % 8 == 7 { FILE_SYNC } else { UNSTABLE };
                    let written = client.write(&file, step * 500, stable, &[7; 500]);
                    assert_eq!((written.status, written.count), (OK, 500));
                }
                _ => {
                    let part = client.read(&file, 0, 32_768);
                    assert_eq!(part.status, OK);
                    assert!(part.data.iter().all(|byte| *byte == 0 || *byte == 7));
                }
            }
        }
    });
    assert_eq!(t.alice.commit(&file, 0, 0).status, OK);
    assert_eq!(t.alice.get(&file).len() as u64, t.alice.attr(&file).size);
}
