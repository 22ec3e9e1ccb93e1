//! READDIR: pages, and cookies that last.

use std::collections::{BTreeMap, BTreeSet};

use trunkfs::metadata::{DirectoryEntry, Error};
use trunkfs::types::{Attributes, Cookie, FileType, ObjectId};

use crate::metadata::world::{ALICE, Caller, World, mode, refused};

async fn fill(caller: &Caller, directory: ObjectId, count: usize) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for number in 0..count {
        let name = format!("{number:03}");
        caller.file(directory, &name).await;
        names.insert(name);
    }
    names
}

fn names(entries: &[DirectoryEntry]) -> BTreeSet<String> {
    let set: BTreeSet<_> = entries.iter().map(|entry| entry.name.to_string()).collect();
    assert_eq!(set.len(), entries.len(), "a name is repeated");
    set
}

pub(crate) async fn entries_show_their_objects(world: World) {
    let root = world.superuser();
    let made: BTreeMap<_, _> = root
        .one_of_each(world.root)
        .await
        .into_iter()
        .map(|(name, it)| (name.to_owned(), it))
        .collect();
    for with_attributes in [true, false] {
        let page = world
            .store
            .readdir(&root.cx(), world.root, Cookie::START, 100, with_attributes)
            .await
            .unwrap();
        assert_eq!(page.directory, root.attributes(world.root).await);
        assert_eq!(page.parent_fileid, page.directory.fileid);
        assert!(page.eof);
        assert_eq!(page.entries.len(), made.len());
        for entry in page.entries {
            let object = &made[&entry.name.to_string()];
            assert_eq!((entry.object, entry.fileid), (object.id, object.fileid));
            assert_eq!(entry.attributes.as_ref(), with_attributes.then_some(object));
            assert!(entry.cookie >= Cookie::FIRST_ENTRY);
            assert!(entry.cookie.0 <= i64::MAX as u64);
        }
    }
}

pub(crate) async fn pages_cover_every_entry_once(world: World) {
    let root = world.superuser();
    let expected = fill(&root, world.root, 50).await;
    for most in [1, 2, 3, 7, 25, 49, 50, 51, 1000] {
        let (mut seen, mut after) = (Vec::new(), 0);
        loop {
            let page = root.page(world.root, after, most).await.unwrap();
            assert!(page.entries.len() <= most);
            assert!(page.entries.is_sorted_by(|a, b| a.cookie < b.cookie));
            assert!(page.entries.iter().all(|entry| entry.cookie.0 > after));
            seen.extend(page.entries);
            // The end is known with the last entry, not a page later.
            assert_eq!(page.eof, seen.len() == 50);
            if page.eof {
                break;
            }
            after = seen.last().unwrap().cookie.0;
        }
        assert_eq!(names(&seen), expected);
    }
}

pub(crate) async fn a_page_of_nothing_says_whether_something_follows(world: World) {
    let root = world.superuser();
    let page = root.page(world.root, 0, 0).await.unwrap();
    assert!(page.eof && page.entries.is_empty());
    root.file(world.root, "file").await;
    let page = root.page(world.root, 0, 0).await.unwrap();
    assert!(!page.eof && page.entries.is_empty());
}

/// Linux sends cookies back as they came; others may send any number.
pub(crate) async fn any_cookie_is_a_place(world: World) {
    let root = world.superuser();
    fill(&root, world.root, 3).await;
    let all = root.list(world.root).await;
    for early in 0..3 {
        assert_eq!(root.page(world.root, early, 10).await.unwrap().entries, all);
    }
    let last = all[2].cookie.0;
    for late in [last, last + 1, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        let page = root.page(world.root, late, 10).await.unwrap();
        assert!(page.eof && page.entries.is_empty(), "{late}");
    }
    assert_eq!(root.page(world.root, last - 1, usize::MAX).await.unwrap().entries, all[2..]);
}

/// A scan that removes what it finds, as rm -r does, finds all.
pub(crate) async fn a_scan_that_removes_as_it_goes(world: World) {
    let root = world.superuser();
    let expected = fill(&root, world.root, 40).await;
    let (mut seen, mut after) = (Vec::new(), 0);
    loop {
        let page = root.page(world.root, after, 6).await.unwrap();
        for entry in &page.entries {
            root.remove(world.root, entry.name.as_bytes()).await.unwrap();
        }
        after = page.entries.last().map_or(after, |entry| entry.cookie.0);
        seen.extend(page.entries);
        if page.eof {
            break;
        }
    }
    assert_eq!(names(&seen), expected);
    assert_eq!(root.names(world.root).await, [""; 0]);
}

/// Other entries come, go and change their names between two pages.
pub(crate) async fn changes_of_others_leave_the_place(world: World) {
    let root = world.superuser();
    let expected = fill(&root, world.root, 30).await;
    let other = root.dir(world.root, "dir").await.id;
    let (mut seen, mut after, mut round) = (Vec::new(), 0, 0);
    loop {
        let page = root.page(world.root, after, 4).await.unwrap();
        after = page.entries.last().map_or(after, |entry| entry.cookie.0);
        seen.extend(page.entries);
        if page.eof {
            break;
        }
        // Names that sort before, between and behind the lasting ones.
        for prefix in ["", "015-", "z"] {
            root.file(world.root, format!("{prefix}x{round}")).await;
            if round > 0 {
                let (old, older) = (format!("{prefix}x{}", round - 1), format!("{prefix}y{round}"));
                root.rename(world.root, old, world.root, &older).await.unwrap();
                if round % 2 == 0 {
                    root.remove(world.root, &older).await.unwrap();
                } else {
                    root.rename(world.root, &older, other, &older).await.unwrap();
                }
            }
        }
        round += 1;
    }
    let seen = names(&seen);
    assert!(seen.is_superset(&expected), "{seen:?}");
}

/// The cookie belongs to the entry: a renamed one stands where it stood, and is seen once.
pub(crate) async fn renamed_entries_are_seen_once(world: World) {
    let root = world.superuser();
    fill(&root, world.root, 24).await;
    let (mut seen, mut after, mut round) = (Vec::new(), 0, 0);
    loop {
        let page = root.page(world.root, after, 3).await.unwrap();
        after = page.entries.last().map_or(after, |entry| entry.cookie.0);
        seen.extend(page.entries);
        if page.eof {
            break;
        }
        for entry in root.list(world.root).await.iter().step_by(2) {
            let new = format!("{round}-{}", entry.fileid.0);
            root.rename(world.root, entry.name.as_bytes(), world.root, new).await.unwrap();
        }
        round += 1;
    }
    let objects: BTreeSet<_> = seen.iter().map(|entry| entry.object).collect();
    assert_eq!((seen.len(), objects.len()), (24, 24));
}

/// What was removed and made anew stands elsewhere: a cookie means one entry for ever.
pub(crate) async fn cookies_are_never_used_again(world: World) {
    let root = world.superuser();
    let mut seen = BTreeSet::new();
    for round in 0..30 {
        match round % 3 {
            0 => {
                root.file(world.root, "name").await;
            }
            1 => {
                root.dir(world.root, "name").await;
            }
            _ => drop(root.symlink(world.root, "name", "x").await.unwrap()),
        }
        let listed = root.list(world.root).await;
        assert_eq!(listed.len(), 1);
        assert!(seen.insert(listed[0].cookie), "{:?} again", listed[0]);
        if round % 3 == 1 {
            root.rmdir(world.root, "name").await.unwrap();
        } else {
            root.remove(world.root, "name").await.unwrap();
        }
    }
}

/// A place whose entry is gone is a place still.
pub(crate) async fn the_entry_at_the_cookie_may_go(world: World) {
    let root = world.superuser();
    fill(&root, world.root, 9).await;
    let all = root.list(world.root).await;
    for gone in &all[3..6] {
        root.remove(world.root, gone.name.as_bytes()).await.unwrap();
    }
    for at in &all[2..6] {
        let page = root.page(world.root, at.cookie.0, 100).await.unwrap();
        assert_eq!(page.entries, all[6..]);
    }
}

pub(crate) async fn what_is_no_directory_is_refused(world: World) {
    let root = world.superuser();
    for (name, object) in root.one_of_each(world.root).await {
        if object.file_type != FileType::Directory {
            let refusal = refused(root.page(object.id, 0, 1).await, Error::NotDirectory);
            assert_eq!(refusal.first.as_deref(), Some(&object), "{name}");
        }
    }
}

/// Whoever asks checks on the answer.
pub(crate) async fn the_store_asks_for_no_permission(world: World) {
    let root = world.superuser();
    let dir = root.dir_of(world.root, "dir", 0).await.id;
    root.file(dir, "file").await;
    assert_eq!(world.user(ALICE).names(dir).await, ["file"]);
}

/// Entries and attributes of a page belong to one moment: here, the attributes follow every change.
pub(crate) async fn attributes_are_present_ones(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    root.link(file.id, world.root, "second").await.unwrap();
    let after = root.setattr(file.id, mode(0o111)).await.unwrap().change.after;
    let listed = root.list(world.root).await;
    let shown: Vec<&Attributes> = listed.iter().filter_map(|it| it.attributes.as_ref()).collect();
    assert_eq!(shown, [&after, &after]);
}

/// One entry in many pages of one: a directory that is larger than any page.
pub(crate) async fn a_larger_directory(world: World) {
    let root = world.superuser();
    let expected = fill(&root, world.root, 700).await;
    assert_eq!(names(&root.list(world.root).await), expected);
    let half = root.page(world.root, 0, 350).await.unwrap();
    let rest = root.page(world.root, half.entries[349].cookie.0, 350).await.unwrap();
    assert!(!half.eof && rest.eof);
    assert_eq!(names(&[half.entries, rest.entries].concat()), expected);
}
