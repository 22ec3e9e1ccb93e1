//! READ (RFC 1813 section 3.3.6).

use super::fixture::{Fs, content_cases};
use super::types::*;

content_cases! {
    read_gives_the_bytes, read_in_parts, end_of_file_is_said_exactly, read_at_the_end,
    read_beyond_the_end, read_of_nothing, read_of_an_empty_file, a_large_count_is_shortened,
    read_at_enormous_offsets, read_of_a_directory, read_of_what_is_no_file,
    holes_read_as_zeros, end_of_file_in_a_sparse_file, read_needs_permission,
    the_owner_reads_a_0000_file, who_may_execute_may_read, the_group_reads,
    root_reads_everything, read_has_attributes, read_sees_unstable_data, a_whole_megabyte,
    read_of_a_removed_file, unaligned_reads_across_a_large_file,
}

fn read_gives_the_bytes(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"hello, world");
    let part = t.bob.read(&file, 0, 100);
    assert_eq!((part.status, part.data.as_slice(), part.eof), (OK, &b"hello, world"[..], true));
}

fn read_in_parts(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"0123456789");
    for start in 0..10 {
        for length in 1..=(10 - start) {
            let part = t.alice.read(&file, start as u64, length as u32);
            assert_eq!(part.data, b"0123456789"[start..start + length]);
            assert_eq!(part.eof, start + length == 10);
        }
    }
}

fn end_of_file_is_said_exactly(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", &[1; 8192]);
    for (offset, count, eof) in
        [(0, 8191, false), (0, 8192, true), (0, 8193, true), (4096, 4096, true), (4096, 1, false)]
    {
        assert_eq!(t.alice.read(&file, offset, count).eof, eof, "{offset} {count}");
    }
}

fn read_at_the_end(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"12345");
    let part = t.alice.read(&file, 5, 10);
    assert_eq!((part.status, part.data.len(), part.eof), (OK, 0, true));
}

fn read_beyond_the_end(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"12345");
    for offset in [6, 4096, 1 << 32, 1 << 40, (1 << 63) - 1] {
        let part = t.alice.read(&file, offset, 10);
        assert_eq!((part.status, part.data.len(), part.eof), (OK, 0, true), "{offset}");
    }
}

fn read_of_nothing(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"12345");
    let part = t.alice.read(&file, 0, 0);
    assert_eq!((part.status, part.data.len(), part.eof), (OK, 0, false));
    let part = t.alice.read(&file, 5, 0);
    assert_eq!((part.status, part.data.len(), part.eof), (OK, 0, true));
}

fn read_of_an_empty_file(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    for count in [0, 1, 65536] {
        let part = t.alice.read(&file, 0, count);
        assert_eq!((part.status, part.data.len(), part.eof), (OK, 0, true));
    }
}

fn a_large_count_is_shortened(t: &Fs) {
    let rtmax = t.alice.fsinfo(&t.share).unwrap().read.0;
    let file = t.alice.file(&t.dir, b"f");
    t.alice.set(&file, &size(u64::from(rtmax) * 2));
    for count in [rtmax + 1, u32::MAX] {
        let part = t.alice.read(&file, 0, count);
        assert_eq!((part.status, part.data.len(), part.eof), (OK, rtmax as usize, false));
    }
}

fn read_at_enormous_offsets(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"12345");
    for (offset, count) in [(1 << 63, 1), (u64::MAX, 1), (u64::MAX, u32::MAX), (u64::MAX - 5, 10)] {
        let part = t.alice.read(&file, offset, count);
        let nothing = part.status == OK && part.data.is_empty() && part.eof;
        assert!(nothing || part.status == INVAL, "{offset} {count}: {part:?}");
    }
}

fn read_of_a_directory(t: &Fs) {
    assert_eq!(t.root.read(&t.dir, 0, 10).status, ISDIR);
}

fn read_of_what_is_no_file(t: &Fs) {
    let link = t.alice.symlink(&t.dir, b"l", b"target").handle();
    assert_eq!(t.alice.read(&link, 0, 10).status, INVAL);
    for kind in [BLK, CHR, SOCK, FIFO] {
        let name = format!("k{kind}");
        let made = t.root.mknod(&t.dir, name.as_bytes(), kind, &mode(0o666), (0, 0)).handle();
        assert_eq!(t.root.read(&made, 0, 10).status, INVAL, "{kind}");
    }
}

fn holes_read_as_zeros(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.alice.put(&file, 300_000, b"end");
    t.alice.put(&file, 100_000, b"middle");
    let mut expected = vec![0; 300_003];
    expected[300_000..].copy_from_slice(b"end");
    expected[100_000..100_006].copy_from_slice(b"middle");
    assert_eq!(t.alice.get(&file), expected);
    assert_eq!(t.alice.read(&file, 50_000, 1000).data, [0; 1000]);
    assert_eq!(t.alice.read(&file, 99_999, 3).data, b"\0mi");
}

fn end_of_file_in_a_sparse_file(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    t.alice.set(&file, &size(1 << 30));
    let part = t.alice.read(&file, (1 << 30) - 10, 10);
    assert_eq!((part.data, part.eof), (vec![0; 10], true));
    let part = t.alice.read(&file, (1 << 30) - 10, 9);
    assert_eq!((part.data, part.eof), (vec![0; 9], false));
    let part = t.alice.read(&file, 1 << 29, 100);
    assert_eq!((part.data, part.eof), (vec![0; 100], false));
}

fn read_needs_permission(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"secret");
    t.alice.set(&file, &mode(0o620));
    let part = t.bob.read(&file, 0, 10);
    assert_eq!((part.status, part.file), (ACCES, Some(t.alice.attr(&file))));
    assert_eq!(t.root.user(1005, 1000, &[]).read(&file, 0, 10).status, ACCES);
}

fn the_owner_reads_a_0000_file(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"mine");
    t.alice.set(&file, &mode(0));
    assert_eq!(t.alice.get(&file), b"mine");
}

fn who_may_execute_may_read(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"#!/bin/true");
    t.alice.set(&file, &mode(0o711));
    assert_eq!(t.bob.get(&file), b"#!/bin/true");
}

fn the_group_reads(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"ours");
    t.alice.set(&file, &mode(0o640));
    assert_eq!(t.root.user(1005, 1005, &[9, 1000]).get(&file), b"ours");
    assert_eq!(t.bob.read(&file, 0, 10).status, ACCES);
}

fn root_reads_everything(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"secret");
    t.alice.set(&file, &mode(0));
    assert_eq!(t.root.get(&file), b"secret");
}

fn read_has_attributes(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    t.alice.get(&file);
    let shown = t.alice.read(&file, 0, 3).file.expect("attributes");
    assert_eq!(shown, t.alice.attr(&file));
}

fn read_sees_unstable_data(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.write(&file, 4, UNSTABLE, b"late").status, OK);
    let other = t.bob.reconnect();
    assert_eq!(other.get(&file), b"\0\0\0\0late");
    assert_eq!(other.attr(&file).size, 8);
}

fn a_whole_megabyte(t: &Fs) {
    let data: Vec<u8> =
        (0..1_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let file = t.alice.file_with(&t.dir, b"f", &data);
    let part = t.alice.read(&file, 0, 1 << 20);
    assert_eq!((part.data.len(), part.eof), (1 << 20, true));
    assert!(part.data == data);
}

fn read_of_a_removed_file(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    t.alice.get(&file);
    assert_eq!(t.alice.remove(&t.dir, b"f").status, OK);
    let part = t.alice.read(&file, 0, 10);
    assert_eq!((part.status, part.file), (STALE, None));
}

fn unaligned_reads_across_a_large_file(t: &Fs) {
    let data: Vec<u8> = (0..300_007_u32).map(|n| (n % 251) as u8).collect();
    let file = t.alice.file(&t.dir, b"f");
    for (index, part) in data.chunks(70_001).enumerate() {
        t.alice.put(&file, index as u64 * 70_001, part);
    }
    for (offset, count) in
        [(1, 65_537), (65_535, 3), (70_000, 2), (131_071, 131_073), (299_000, 5000)]
    {
        let end = (offset + count).min(data.len());
        assert!(t.alice.read(&file, offset as u64, count as u32).data == data[offset..end]);
    }
}
