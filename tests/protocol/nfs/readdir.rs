//! READDIR (RFC 1813 section 3.3.16).

use std::collections::BTreeSet;

use super::client::Client;
use super::fixture::{Fs, shared_cases};
use super::results::Listing;
use super::types::*;

shared_cases! {
    an_empty_directory_has_dot_and_dot_dot, dot_dot_of_the_root, entries_have_their_fileids,
    every_entry_comes_once_in_pages_of_any_size, count_is_obeyed_to_the_byte, count_is_used_up,
    too_small_for_one_entry, too_small_in_the_middle, an_enormous_count,
    cookies_survive_removal_of_everything_before, cookies_survive_removal_of_their_entry,
    cookies_survive_additions, cookies_survive_renames, cookies_are_durable,
    removing_page_by_page_empties_the_directory, end_of_directory_is_said,
    a_page_that_ends_with_the_last_entry, readdir_of_a_file, readdir_needs_read_permission,
    readdir_does_not_need_search_permission, cookies_out_of_the_blue,
    the_cookie_verifier_is_constant, readdir_has_attributes,
    a_cookie_behind_everything_shows_later_entries, long_names_and_bytes, two_scans_at_once,
    a_replaced_entry_comes_once, a_scan_during_many_changes, any_cookie_verifier_is_answered,
    cookies_of_dot_and_dot_dot;
}

/// Names in the order of a scan in pages of `count` bytes.
fn scan(client: &Client, dir: &[u8], count: u32) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    pages(client, dir, count, |page| names.extend(page.names()));
    names
}

fn pages(client: &Client, dir: &[u8], count: u32, mut each: impl FnMut(&Listing)) {
    let (mut cookie, mut verifier) = (0, [0; 8]);
    loop {
        let page = client.readdir(dir, cookie, verifier, count);
        assert_eq!(page.status, OK);
        assert!(page.bytes <= count as usize, "{} bytes where {count} may be", page.bytes);
        each(&page);
        if page.eof {
            return;
        }
        verifier = page.verifier;
        cookie = page.entries.last().expect("entries or an end").cookie;
    }
}

fn fill(t: &Fs, count: usize) -> BTreeSet<Vec<u8>> {
    let name = |n: usize| format!("{}{n}", "x".repeat(n * 7 % 23)).into_bytes();
    let names: BTreeSet<_> = (0..count).map(name).collect();
    assert_eq!(names.len(), count);
    for name in &names {
        t.alice.file(&t.dir, name);
    }
    names
}

fn with_dots(names: &BTreeSet<Vec<u8>>) -> Vec<Vec<u8>> {
    let dots = [b".".to_vec(), b"..".to_vec()];
    let mut all: Vec<_> = names.iter().cloned().chain(dots).collect();
    all.sort();
    all
}

fn an_empty_directory_has_dot_and_dot_dot(t: &Fs) {
    let dir = t.alice.dir(&t.dir, b"d");
    let page = t.alice.readdir(&dir, 0, [0; 8], 4096);
    assert_eq!((page.status, page.eof, page.names().len()), (OK, true, 2));
    for entry in &page.entries {
        let expected = if entry.name == b"." { &dir } else { &t.dir };
        assert_eq!(entry.fileid, t.alice.attr(expected).fileid, "{entry:?}");
        assert!(entry.cookie != 0, "{entry:?}");
    }
}

fn dot_dot_of_the_root(t: &Fs) {
    let page = t.root.readdir(&t.share, 0, [0; 8], 4096);
    let fileid = t.root.attr(&t.share).fileid;
    let dots: Vec<_> = page.entries.iter().filter(|entry| entry.name[0] == b'.').collect();
    assert_eq!(dots.len(), 2);
    assert!(dots.iter().all(|entry| entry.fileid == fileid), "{dots:?}");
}

fn entries_have_their_fileids(t: &Fs) {
    fill(t, 10);
    t.alice.dir(&t.dir, b"dir");
    t.alice.symlink(&t.dir, b"link", b"x").handle();
    for entry in t.alice.list(&t.dir) {
        let object = t.alice.find(&t.dir, &entry.name);
        assert_eq!(entry.fileid, t.alice.attr(&object).fileid, "{entry:?}");
    }
}

fn every_entry_comes_once_in_pages_of_any_size(t: &Fs) {
    let expected = with_dots(&fill(t, 80));
    for count in [160, 172, 256, 500, 512, 1000, 4096, 65_536] {
        let mut names = scan(&t.alice, &t.dir, count);
        names.sort();
        assert_eq!(names, expected, "pages of {count}");
    }
}

fn count_is_obeyed_to_the_byte(t: &Fs) {
    fill(t, 12);
    for count in 160..420 {
        let page = t.alice.readdir(&t.dir, 0, [0; 8], count);
        assert_eq!(page.status, OK, "{count}");
        assert!(page.bytes <= count as usize, "{} bytes where {count} may be", page.bytes);
    }
}

fn count_is_used_up(t: &Fs) {
    fill(t, 12);
    let all = t.alice.readdir(&t.dir, 0, [0; 8], 65_536);
    assert!(all.eof);
    let frame = all.bytes - all.entries.iter().map(|entry| entry.bytes).sum::<usize>();
    let mut count = frame;
    for (index, entry) in all.entries.iter().enumerate() {
        count += entry.bytes;
        let page = t.alice.readdir(&t.dir, 0, [0; 8], count as u32);
        assert_eq!(page.entries, all.entries[..=index], "{count} bytes are enough");
        assert_eq!(page.bytes, count);
    }
}

fn too_small_for_one_entry(t: &Fs) {
    let all = t.alice.readdir(&t.dir, 0, [0; 8], 65_536);
    let frame = all.bytes - all.entries.iter().map(|entry| entry.bytes).sum::<usize>();
    let enough = frame + all.entries[0].bytes;
    assert_eq!(t.alice.readdir(&t.dir, 0, [0; 8], enough as u32).entries.len(), 1);
    for count in [enough - 1, enough - 4, frame, 100, 1, 0] {
        let page = t.alice.readdir(&t.dir, 0, [0; 8], count as u32);
        assert_eq!((page.status, page.directory), (TOOSMALL, Some(t.alice.attr(&t.dir))));
    }
}

fn too_small_in_the_middle(t: &Fs) {
    t.alice.file(&t.dir, &[b'n'; 250]);
    let all = t.alice.readdir(&t.dir, 0, [0; 8], 65_536);
    let cookie = all.entries[1].cookie;
    let rest = t.alice.readdir(&t.dir, cookie, all.verifier, 65_536);
    assert_eq!(rest.entries.len(), 1);
    let page = t.alice.readdir(&t.dir, cookie, all.verifier, rest.bytes as u32 - 1);
    assert_eq!(page.status, TOOSMALL);
    let page = t.alice.readdir(&t.dir, cookie, all.verifier, rest.bytes as u32);
    assert_eq!(page.names(), rest.names());
}

fn an_enormous_count(t: &Fs) {
    let names = fill(t, 20);
    for count in [1 << 20, 1 << 24, u32::MAX] {
        let mut scanned = scan(&t.alice, &t.dir, count);
        scanned.sort();
        assert_eq!(scanned, with_dots(&names));
    }
}

fn cookies_survive_removal_of_everything_before(t: &Fs) {
    fill(t, 30);
    let all = t.alice.list(&t.dir);
    let verifier = t.alice.readdir(&t.dir, 0, [0; 8], 4096).verifier;
    for entry in &all[..15] {
        assert_eq!(t.alice.remove(&t.dir, &entry.name).status, OK);
    }
    let rest = t.alice.readdir(&t.dir, all[14].cookie, verifier, 65_536);
    assert_eq!((rest.status, rest.eof), (OK, true));
    assert_eq!(rest.entries, all[15..]);
}

fn cookies_survive_removal_of_their_entry(t: &Fs) {
    fill(t, 20);
    let all = t.alice.list(&t.dir);
    let verifier = t.alice.readdir(&t.dir, 0, [0; 8], 4096).verifier;
    for index in [3, 4, 10] {
        assert_eq!(t.alice.remove(&t.dir, &all[index].name).status, OK);
    }
    for index in [3, 4, 10] {
        let page = t.alice.readdir(&t.dir, all[index].cookie, verifier, 65_536);
        assert_eq!(page.status, OK);
        let gone = [3, 4, 10].map(|gone| all[gone].name.clone());
        let expected: Vec<_> = all[index + 1..]
            .iter()
            .map(|entry| entry.name.clone())
            .filter(|name| !gone.contains(name))
            .collect();
        assert_eq!(page.names(), expected);
    }
}

fn cookies_survive_additions(t: &Fs) {
    let names = fill(t, 20);
    let mut seen = Vec::new();
    let mut added = 0;
    pages(&t.alice, &t.dir, 300, |page| {
        seen.extend(page.names());
        if added < 20 {
            t.alice.file(&t.dir, format!("added-{added}").as_bytes());
            added += 1;
        }
    });
    let mut old: Vec<_> = seen.iter().filter(|name| !name.starts_with(b"added")).cloned().collect();
    old.sort();
    assert_eq!(old, with_dots(&names), "each entry that was there comes once");
    let distinct: BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "no entry comes twice");
}

fn cookies_survive_renames(t: &Fs) {
    let names = fill(t, 20);
    let mut seen = Vec::new();
    let mut step = 0;
    pages(&t.alice, &t.dir, 300, |page| {
        seen.extend(page.names());
        let (from, to) = (format!("moving-{step}"), format!("moving-{}", step + 1));
        if step == 0 {
            t.alice.file(&t.dir, b"moving-0");
        }
        assert_eq!(t.alice.rename(&t.dir, from.as_bytes(), &t.dir, to.as_bytes()).status, OK);
        step += 1;
    });
    seen.retain(|name| !name.starts_with(b"moving"));
    seen.sort();
    assert_eq!(seen, with_dots(&names), "who is not renamed comes once");
}

fn cookies_are_durable(t: &Fs) {
    fill(t, 10);
    let first = t.alice.list(&t.dir);
    assert_eq!(t.alice.reconnect().list(&t.dir), first);
    assert_eq!(t.alice.remove(&t.dir, &first[0].name).status, OK);
    t.alice.file(&t.dir, b"new");
    let again: Vec<_> =
        t.alice.list(&t.dir).into_iter().filter(|entry| entry.name != b"new").collect();
    assert_eq!(again, first[1..]);
    let distinct: BTreeSet<_> = first.iter().map(|entry| entry.cookie).collect();
    assert_eq!(distinct.len(), first.len());
}

fn removing_page_by_page_empties_the_directory(t: &Fs) {
    fill(t, 60);
    pages(&t.alice, &t.dir, 400, |page| {
        for name in page.names().iter().filter(|name| !name.starts_with(b".")) {
            assert_eq!(t.alice.remove(&t.dir, name).status, OK);
        }
    });
    assert!(t.alice.list(&t.dir).is_empty(), "one scan meets every entry");
}

fn end_of_directory_is_said(t: &Fs) {
    fill(t, 5);
    let all = t.alice.readdir(&t.dir, 0, [0; 8], 65_536);
    assert!(all.eof);
    let last = all.entries.last().unwrap().cookie;
    let behind = t.alice.readdir(&t.dir, last, all.verifier, 4096);
    assert_eq!((behind.status, behind.entries.len(), behind.eof), (OK, 0, true));
}

fn a_page_that_ends_with_the_last_entry(t: &Fs) {
    fill(t, 5);
    let all = t.alice.readdir(&t.dir, 0, [0; 8], 65_536);
    let page = t.alice.readdir(&t.dir, 0, [0; 8], all.bytes as u32);
    assert_eq!((page.entries.len(), page.eof), (7, true));
    let page = t.alice.readdir(&t.dir, 0, [0; 8], all.bytes as u32 - 1);
    assert_eq!((page.entries.len(), page.eof), (6, false));
}

fn readdir_of_a_file(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0o777);
    let link = t.alice.symlink(&t.dir, b"l", b".").handle();
    for object in [&file, &link] {
        assert_eq!(t.alice.readdir(object, 0, [0; 8], 4096).status, NOTDIR);
    }
}

fn readdir_needs_read_permission(t: &Fs) {
    let dir = t.alice.dir_of(&t.dir, b"d", 0o733);
    let page = t.bob.readdir(&dir, 0, [0; 8], 4096);
    assert_eq!((page.status, page.directory), (ACCES, Some(t.alice.attr(&dir))));
    t.alice.set(&dir, &mode(0));
    assert_eq!(
        t.alice.readdir(&dir, 0, [0; 8], 4096).status,
        ACCES,
        "an owner has no override here"
    );
    assert_eq!(t.root.readdir(&dir, 0, [0; 8], 4096).status, OK);
}

fn readdir_does_not_need_search_permission(t: &Fs) {
    let dir = t.alice.dir_of(&t.dir, b"d", 0o744);
    t.alice.file(&dir, b"f");
    assert_eq!(t.bob.names(&dir), [b"f"]);
}

fn cookies_out_of_the_blue(t: &Fs) {
    fill(t, 5);
    let verifier = t.alice.readdir(&t.dir, 0, [0; 8], 4096).verifier;
    for cookie in [1 << 32, 1 << 62, (1 << 63) - 1, 1 << 63, u64::MAX] {
        let page = t.alice.readdir(&t.dir, cookie, verifier, 4096);
        let nothing = page.status == OK && page.entries.is_empty() && page.eof;
        assert!(nothing || page.status == BAD_COOKIE, "{cookie}: {page:?}");
    }
}

fn the_cookie_verifier_is_constant(t: &Fs) {
    let first = t.alice.readdir(&t.dir, 0, [0; 8], 4096).verifier;
    t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.readdir(&t.dir, 0, [0; 8], 4096).verifier, first);
    assert_eq!(t.alice.readdirplus(&t.dir, 0, [0; 8], 4096, 4096).verifier, first);
    assert_eq!(t.alice.remove(&t.dir, b"f").status, OK);
    assert_eq!(t.alice.readdir(&t.dir, 0, [0; 8], 4096).verifier, first);
}

fn readdir_has_attributes(t: &Fs) {
    let page = t.alice.readdir(&t.dir, 0, [0; 8], 4096);
    let (shown, now) = (page.directory.unwrap(), t.alice.attr(&t.dir));
    assert_eq!((shown.fileid, shown.mtime, shown.ctime), (now.fileid, now.mtime, now.ctime));
}

fn a_cookie_behind_everything_shows_later_entries(t: &Fs) {
    fill(t, 3);
    let all = t.alice.readdir(&t.dir, 0, [0; 8], 65_536);
    let last = all.entries.last().unwrap().cookie;
    t.alice.file(&t.dir, b"later");
    let page = t.alice.readdir(&t.dir, last, all.verifier, 4096);
    assert!(page.status == OK && page.names().iter().all(|name| name == b"later"), "{page:?}");
}

fn long_names_and_bytes(t: &Fs) {
    let names: Vec<Vec<u8>> = (1..=255_usize)
        .step_by(23)
        .map(|length| vec![0x80 + (length % 100) as u8; length])
        .collect();
    for name in &names {
        t.alice.file(&t.dir, name);
    }
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(t.alice.names(&t.dir), sorted);
}

fn two_scans_at_once(t: &Fs) {
    let expected = with_dots(&fill(t, 40));
    t.together(2, |number, client| {
        let mut names = scan(client, &t.dir, [200, 333][number]);
        names.sort();
        assert_eq!(names, expected);
    });
}

fn a_replaced_entry_comes_once(t: &Fs) {
    t.alice.file(&t.dir, b"a");
    t.alice.file(&t.dir, b"b");
    assert_eq!(t.alice.rename(&t.dir, b"a", &t.dir, b"b").status, OK);
    assert_eq!(t.alice.names(&t.dir), [b"b"]);
}

fn a_scan_during_many_changes(t: &Fs) {
    let names = fill(t, 40);
    let (client, dir) = (t.alice.reconnect(), t.dir.clone());
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..400 {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                let name = format!("busy-{n}");
                client.file(&dir, name.as_bytes());
                assert_eq!(client.remove(&dir, name.as_bytes()).status, OK);
            }
        });
        for _ in 0..3 {
            let mut seen = scan(&t.alice, &t.dir, 250);
            seen.retain(|name| !name.starts_with(b"busy"));
            seen.sort();
            assert_eq!(seen, with_dots(&names));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

fn any_cookie_verifier_is_answered(t: &Fs) {
    fill(t, 5);
    let first = t.alice.readdir(&t.dir, 0, [0xff; 8], 4096);
    assert_eq!(first.status, OK);
    let page = t.alice.readdir(&t.dir, 0, [0; 8], 200);
    let cookie = page.entries.last().unwrap().cookie;
    let next = t.alice.readdir(&t.dir, cookie, [0x5a; 8], 4096);
    assert_eq!(next.status, OK);
    let zero = t.alice.readdir(&t.dir, cookie, page.verifier, 4096);
    assert_eq!(zero.status, OK);
}

fn cookies_of_dot_and_dot_dot(t: &Fs) {
    fill(t, 3);
    let all = t.alice.readdir(&t.dir, 0, [0; 8], 4096);
    for (index, entry) in all.entries.iter().enumerate() {
        let rest = t.alice.readdir(&t.dir, entry.cookie, all.verifier, 4096);
        assert_eq!(rest.entries, all.entries[index + 1..]);
        let plus = t.alice.readdirplus(&t.dir, entry.cookie, all.verifier, 4096, 8192);
        assert_eq!(plus.names(), rest.names());
    }
}
