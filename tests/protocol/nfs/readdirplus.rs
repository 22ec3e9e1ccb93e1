//! READDIRPLUS (RFC 1813 section 3.3.17).

use super::fixture::{Fs, cases};
use super::results::{Entry, Listing};
use super::types::*;

cases! {
    entries_have_attributes_and_handles, dots_have_the_right_attributes, dot_dot_of_the_root,
    attributes_are_those_of_getattr, unstable_data_is_shown, maxcount_is_obeyed_to_the_byte,
    maxcount_is_used_up, dircount_is_obeyed, too_small_for_one_entry, a_dircount_of_nothing,
    enormous_counts, every_entry_comes_once_in_pages_of_any_size, cookies_are_those_of_readdir,
    cookies_survive_removal, removing_page_by_page_empties_the_directory, end_is_said,
    readdirplus_of_a_file, readdirplus_needs_read_permission,
    readdirplus_does_not_need_search_permission, what_lookup_would_refuse_is_not_shown,
    a_page_of_large_entries,
    directory_attributes_come_along, kinds_of_every_object, handles_work,
}

fn all(t: &Fs, dircount: u32, maxcount: u32) -> Vec<Entry> {
    let mut entries = Vec::new();
    pages(t, dircount, maxcount, |page| entries.extend(page.entries.clone()));
    entries
}

fn pages(t: &Fs, dircount: u32, maxcount: u32, mut each: impl FnMut(&Listing)) {
    let (mut cookie, mut verifier) = (0, [0; 8]);
    loop {
        let page = t.alice.readdirplus(&t.dir, cookie, verifier, dircount, maxcount);
        assert_eq!(page.status, OK);
        assert!(page.bytes <= maxcount as usize, "{} bytes of {maxcount}", page.bytes);
        let obeyed = page.information() <= dircount as usize || page.entries.len() == 1;
        assert!(obeyed, "{} of {dircount}", page.information());
        each(&page);
        if page.eof {
            return;
        }
        verifier = page.verifier;
        cookie = page.entries.last().expect("entries or an end").cookie;
    }
}

fn fill(t: &Fs, count: usize) {
    for n in 0..count {
        t.alice.file(&t.dir, format!("{}{n}", "x".repeat(n * 7 % 23)).as_bytes());
    }
}

fn is_dots(entry: &Entry) -> bool {
    entry.name == b"." || entry.name == b".."
}

fn entries_have_attributes_and_handles(t: &Fs) {
    fill(t, 20);
    for entry in all(t, 65_536, 65_536).iter().filter(|entry| !is_dots(entry)) {
        let object = t.alice.find(&t.dir, &entry.name);
        assert_eq!(entry.handle.as_ref(), Some(&object), "{entry:?}");
        assert_eq!(entry.attr.as_ref().unwrap().fileid, entry.fileid);
    }
}

fn dots_have_the_right_attributes(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    let page = t.alice.readdirplus(&dir, 0, [0; 8], 4096, 8192);
    assert_eq!((page.status, page.eof, page.entries.len()), (OK, true, 2));
    for entry in &page.entries {
        let expected = if entry.name == b"." { &dir } else { &t.dir };
        let attr = t.alice.attr(expected);
        assert_eq!(entry.fileid, attr.fileid);
        assert!(entry.handle.as_ref().is_none_or(|handle| handle == expected));
        assert!(entry.attr.as_ref().is_none_or(|shown| *shown == attr), "{entry:?}");
    }
}

fn dot_dot_of_the_root(t: &Fs) {
    let page = t.root.readdirplus(&t.share, 0, [0; 8], 4096, 8192);
    for entry in page.entries.iter().filter(|entry| is_dots(entry)) {
        assert_eq!(entry.fileid, t.root.attr(&t.share).fileid);
        assert!(entry.handle.as_ref().is_none_or(|handle| *handle == t.share));
    }
}

fn attributes_are_those_of_getattr(t: &Fs) {
    t.alice.file_with(&t.dir, b"f", b"bytes");
    t.alice.dir(&t.dir, b"d");
    t.alice.symlink(&t.dir, b"l", b"target").handle();
    t.root.mknod(&t.dir, b"n", CHR, &mode(0o600), (7, 8)).handle();
    for entry in all(t, 4096, 8192).iter().filter(|entry| !is_dots(entry)) {
        let attr = t.alice.attr(entry.handle.as_ref().unwrap());
        assert_eq!(entry.attr.as_ref(), Some(&attr));
    }
}

fn unstable_data_is_shown(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.write(&file, 0, UNSTABLE, b"bytes").status, OK);
    let entries = all(t, 4096, 8192);
    let entry = entries.iter().find(|entry| entry.name == b"f").unwrap();
    assert_eq!(entry.attr, Some(t.alice.attr(&file)));
    assert_eq!(entry.attr.as_ref().unwrap().size, 5);
}

fn maxcount_is_obeyed_to_the_byte(t: &Fs) {
    fill(t, 8);
    let full = t.alice.readdirplus(&t.dir, 0, [0; 8], 65_536, 65_536);
    let frame = full.bytes - full.entries.iter().map(|entry| entry.bytes).sum::<usize>();
    let smallest = frame + full.entries[0].bytes;
    for maxcount in smallest..full.bytes + 8 {
        let page = t.alice.readdirplus(&t.dir, 0, [0; 8], 65_536, maxcount as u32);
        assert_eq!(page.status, OK, "{maxcount}");
        assert!(page.bytes <= maxcount, "{} bytes of {maxcount}", page.bytes);
        assert_eq!(page.entries, full.entries[..page.entries.len()]);
    }
}

fn maxcount_is_used_up(t: &Fs) {
    fill(t, 8);
    let full = t.alice.readdirplus(&t.dir, 0, [0; 8], 65_536, 65_536);
    let mut maxcount = full.bytes - full.entries.iter().map(|entry| entry.bytes).sum::<usize>();
    for (index, entry) in full.entries.iter().enumerate() {
        maxcount += entry.bytes;
        let page = t.alice.readdirplus(&t.dir, 0, [0; 8], 65_536, maxcount as u32);
        assert_eq!((page.entries.len(), page.bytes), (index + 1, maxcount));
        assert_eq!(page.eof, index + 1 == full.entries.len());
    }
}

fn dircount_is_obeyed(t: &Fs) {
    fill(t, 10);
    for dircount in (100..500).step_by(7) {
        let page = t.alice.readdirplus(&t.dir, 0, [0; 8], dircount, 65_536);
        assert_eq!(page.status, OK);
        assert!(!page.entries.is_empty());
        assert!(page.information() <= dircount as usize, "{} of {dircount}", page.information());
    }
}

fn too_small_for_one_entry(t: &Fs) {
    let full = t.alice.readdirplus(&t.dir, 0, [0; 8], 65_536, 65_536);
    let frame = full.bytes - full.entries.iter().map(|entry| entry.bytes).sum::<usize>();
    let enough = frame + full.entries[0].bytes;
    for maxcount in [enough - 1, enough - 4, frame, 8, 0] {
        let page = t.alice.readdirplus(&t.dir, 0, [0; 8], 65_536, maxcount as u32);
        assert_eq!((page.status, page.directory), (TOOSMALL, Some(t.alice.attr(&t.dir))));
    }
}

/// dircount is a hint: a scan moves on by one entry at least.
fn a_dircount_of_nothing(t: &Fs) {
    fill(t, 4);
    t.alice.file(&t.dir, &[b'n'; 255]);
    for dircount in [0, 1, 8, 27, 30, 200] {
        assert_eq!(all(t, dircount, 65_536).len(), 7, "{dircount}");
        let page = t.alice.readdirplus(&t.dir, 0, [0; 8], dircount, 100);
        assert_eq!(page.status, TOOSMALL, "{dircount}");
    }
}

fn enormous_counts(t: &Fs) {
    fill(t, 30);
    for (dircount, maxcount) in
        [(u32::MAX, u32::MAX), (4096, u32::MAX), (u32::MAX, 4096), (1 << 20, 1 << 21)]
    {
        assert_eq!(all(t, dircount, maxcount).len(), 32);
    }
}

fn every_entry_comes_once_in_pages_of_any_size(t: &Fs) {
    fill(t, 60);
    let expected = all(t, 65_536, 1 << 20);
    assert_eq!(expected.len(), 62);
    for (dircount, maxcount) in [(100, 8192), (8192, 400), (8192, 777), (300, 1000), (512, 4096)] {
        let entries = all(t, dircount, maxcount);
        let names = |entries: &[Entry]| -> Vec<_> {
            entries.iter().map(|entry| (entry.name.clone(), entry.cookie)).collect()
        };
        assert_eq!(names(&entries), names(&expected), "{dircount} {maxcount}");
    }
}

fn cookies_are_those_of_readdir(t: &Fs) {
    fill(t, 20);
    let plus: Vec<_> = all(t, 65_536, 65_536)
        .into_iter()
        .filter(|entry| !is_dots(entry))
        .map(|entry| (entry.name, entry.cookie, entry.fileid))
        .collect();
    let plain: Vec<_> = t
        .alice
        .list(&t.dir)
        .into_iter()
        .map(|entry| (entry.name, entry.cookie, entry.fileid))
        .collect();
    assert_eq!(plus, plain);
}

fn cookies_survive_removal(t: &Fs) {
    fill(t, 20);
    let first = t.alice.readdirplus(&t.dir, 0, [0; 8], 65_536, 65_536);
    for entry in &first.entries[2..12] {
        assert_eq!(t.alice.remove(&t.dir, &entry.name).status, OK);
    }
    let cookie = first.entries[11].cookie;
    let rest = t.alice.readdirplus(&t.dir, cookie, first.verifier, 65_536, 65_536);
    assert_eq!(rest.entries, first.entries[12..]);
}

fn removing_page_by_page_empties_the_directory(t: &Fs) {
    fill(t, 40);
    pages(t, 4096, 1500, |page| {
        for entry in page.entries.iter().filter(|entry| !is_dots(entry)) {
            assert_eq!(t.alice.remove(&t.dir, &entry.name).status, OK);
        }
    });
    assert!(t.alice.list(&t.dir).is_empty(), "one scan meets every entry");
}

fn end_is_said(t: &Fs) {
    fill(t, 3);
    let full = t.alice.readdirplus(&t.dir, 0, [0; 8], 65_536, 65_536);
    assert!(full.eof);
    let last = full.entries.last().unwrap().cookie;
    let behind = t.alice.readdirplus(&t.dir, last, full.verifier, 4096, 4096);
    assert_eq!((behind.status, behind.entries.len(), behind.eof), (OK, 0, true));
    let page = t.alice.readdirplus(&t.dir, 0, [0; 8], 65_536, full.bytes as u32 - 1);
    assert!(!page.eof);
}

fn readdirplus_of_a_file(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o777);
    assert_eq!(t.alice.readdirplus(&file, 0, [0; 8], 4096, 8192).status, NOTDIR);
}

fn readdirplus_needs_read_permission(t: &Fs) {
    let dir = t.alice.dir_of(&t.dir, b"d", 0o733);
    let page = t.bob.readdirplus(&dir, 0, [0; 8], 4096, 8192);
    assert_eq!((page.status, page.directory), (ACCES, Some(t.alice.attr(&dir))));
}

fn readdirplus_does_not_need_search_permission(t: &Fs) {
    let dir = t.alice.dir_of(&t.dir, b"d", 0o744);
    t.alice.file(&dir, b"f");
    let page = t.bob.readdirplus(&dir, 0, [0; 8], 4096, 8192);
    assert_eq!((page.status, page.entries.len()), (OK, 3));
    let all = t.alice.readdirplus(&dir, 0, [0; 8], 4096, 8192);
    for (entry, known) in page.entries.iter().zip(all.entries) {
        let (name, fileid, cookie) = (&known.name, known.fileid, known.cookie);
        assert_eq!((&entry.name, entry.fileid, entry.cookie), (name, fileid, cookie));
    }
}

fn what_lookup_would_refuse_is_not_shown(t: &Fs) {
    let dir = t.alice.dir_of(&t.dir, b"d", 0o744);
    t.alice.file(&dir, b"f");
    assert_eq!(t.bob.lookup(&dir, b"f").status, ACCES);
    for entry in t.bob.readdirplus(&dir, 0, [0; 8], 4096, 8192).entries {
        assert_eq!((entry.handle, entry.attr), (None, None), "{:?}", entry.name);
    }
}

fn a_page_of_large_entries(t: &Fs) {
    for n in 0..10 {
        t.alice.file(&t.dir, &[b'a' + n; 255]);
    }
    assert_eq!(all(t, 600, 1024).len(), 12);
}

fn directory_attributes_come_along(t: &Fs) {
    let page = t.alice.readdirplus(&t.dir, 0, [0; 8], 4096, 8192);
    let (shown, now) = (page.directory.unwrap(), t.alice.attr(&t.dir));
    assert_eq!((shown.fileid, shown.mtime, shown.ctime), (now.fileid, now.mtime, now.ctime));
}

fn kinds_of_every_object(t: &Fs) {
    t.alice.file(&t.dir, b"1");
    t.alice.dir(&t.dir, b"2");
    t.alice.symlink(&t.dir, b"5", b"x").handle();
    for (name, kind) in [(b"3", BLK), (b"4", CHR), (b"6", SOCK), (b"7", FIFO)] {
        t.root.mknod(&t.dir, name, kind, &mode(0o600), (0, 0)).handle();
    }
    let entries = all(t, 4096, 8192);
    for entry in entries.iter().filter(|entry| !is_dots(entry)) {
        let kind = u32::from(entry.name[0] - b'0');
        assert_eq!(entry.attr.as_ref().unwrap().kind, kind);
    }
    assert_eq!(entries.len(), 9);
}

fn handles_work(t: &Fs) {
    let file = t.alice.file_with(&t.dir, b"f", b"bytes");
    let entries = all(t, 4096, 8192);
    let entry = entries.iter().find(|entry| entry.name == b"f").unwrap();
    assert_eq!(entry.handle.as_ref(), Some(&file));
    assert_eq!(t.alice.get(entry.handle.as_ref().unwrap()), b"bytes");
}
