use super::*;
use crate::metadata::{Capabilities, DirectoryEntry, rules};
use crate::types::{Fileid, Fsid, ShareId, ShareName, SymlinkTarget, Timestamp};

fn share(fsid: u64) -> Share {
    Share {
        id: ShareId(1),
        name: ShareName::parse("/e").unwrap(),
        root: ObjectId::generate(),
        fsid: Fsid(fsid),
        chunk_size: 1,
        capabilities: Capabilities::default(),
    }
}

fn object(share: &Share) -> Attributes {
    let spec = crate::metadata::RootSpec { uid: 0, gid: 0, mode: 0o755 };
    rules::root(ObjectId::generate(), Fileid(1), share.fsid, spec, Timestamp(1))
}

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

/// A share, a directory of it and what lies in the directory.
fn scene() -> (Cache, Share, Attributes, Attributes) {
    let share = share(7);
    let (directory, child) = (object(&share), object(&share));
    (Cache::default(), share, directory, child)
}

fn found(directory: &Attributes, object: Option<&Attributes>) -> Lookup {
    Lookup { directory: directory.clone(), object: object.cloned() }
}

fn touched(objects: &[&Attributes], entries: &[(&Attributes, &str)]) -> Touched {
    Touched {
        objects: objects.iter().map(|it| it.id).collect(),
        entries: entries.iter().map(|(it, text)| (it.id, name(text))).collect(),
    }
}

#[test]
fn what_was_read_is_found_in_its_share_alone() {
    let (cache, share, directory, child) = scene();
    let since = cache.object(&share, child.id).unwrap_err();
    cache.keep_object(since, &child);
    assert_eq!(cache.object(&share, child.id).unwrap(), child);
    cache.object(&self::share(8), child.id).unwrap_err();
    for (text, it) in [("a", Some(&child)), ("b", None)] {
        let since = cache.lookup(&share, directory.id, &name(text)).unwrap_err();
        cache.keep_lookup(since, &name(text), &found(&directory, it));
        let known = cache.lookup(&share, directory.id, &name(text)).unwrap();
        assert_eq!(known, found(&directory, it));
    }
}

#[test]
fn a_commit_takes_what_it_changes_and_puts_it_back_as_it_is_then() {
    let (cache, share, directory, child) = scene();
    let since = cache.lookup(&share, directory.id, &name("a")).unwrap_err();
    cache.keep_lookup(since, &name("a"), &found(&directory, Some(&child)));
    let touched = touched(&[&directory], &[(&directory, "b")]);
    let begun = cache.begin(&touched);
    cache.lookup(&share, directory.id, &name("a")).unwrap_err();
    cache.object(&share, directory.id).unwrap_err();
    assert_eq!(cache.object(&share, child.id).unwrap(), child);
    let after = Attributes { nlink: 9, ..directory.clone() };
    cache.end(&begun, &touched, [&after].into_iter());
    let known = cache.lookup(&share, directory.id, &name("a")).unwrap();
    assert_eq!(known, found(&after, Some(&child)));
}

#[test]
fn what_was_read_before_or_during_a_commit_is_not_kept_after_it() {
    let (cache, share, directory, child) = scene();
    let all = touched(&[&directory, &child], &[(&directory, "a")]);
    let read = || {
        let object = cache.object(&share, child.id).unwrap_err();
        (object, cache.lookup(&share, directory.id, &name("a")).unwrap_err())
    };
    let keep = |(object, entry): (Since, Since)| {
        cache.keep_object(object, &child);
        cache.keep_lookup(entry, &name("a"), &found(&directory, Some(&child)));
    };
    let nothing = || {
        for id in [directory.id, child.id] {
            cache.object(&share, id).unwrap_err();
        }
        cache.lookup(&share, directory.id, &name("a")).unwrap_err();
    };
    let before = read();
    let begun = cache.begin(&all);
    let during = read();
    keep(before);
    nothing();
    keep(during);
    nothing();
    let during = read();
    cache.end(&begun, &all, std::iter::empty());
    keep(during);
    nothing();
    let before = read();
    let begun = cache.begin(&all);
    cache.end(&begun, &all, std::iter::empty());
    keep(before);
    nothing();
    keep(read());
    assert_eq!(cache.object(&share, child.id).unwrap(), child);
}

#[test]
fn what_an_entry_leads_to_is_kept_beside_commits_of_other_keys() {
    let (cache, share, directory, child) = scene();
    let place = (directory.id, name("a"));
    let slots = [cache.slot(&directory.id), cache.slot(&child.id), cache.slot(&place)];
    // One whose epoch is none of theirs.
    let mut others = std::iter::repeat_with(|| object(&share));
    let other = others.find(|it| !slots.contains(&cache.slot(&it.id))).unwrap();
    let other = touched(&[&other], &[]);
    let entry = cache.lookup(&share, directory.id, &name("a")).unwrap_err();
    let begun = cache.begin(&other);
    cache.keep_lookup(entry, &name("a"), &found(&directory, Some(&child)));
    cache.end(&begun, &other, std::iter::empty());
    assert_eq!(cache.object(&share, child.id).unwrap(), child);
    let known = cache.lookup(&share, directory.id, &name("a")).unwrap();
    assert_eq!(known, found(&directory, Some(&child)));
}

/// Of two commits that overlap, neither knows which value is the later one.
#[test]
fn an_object_that_two_commits_touch_at_once_is_kept_by_neither() {
    let (cache, share, _, child) = scene();
    let touched = touched(&[&child], &[]);
    let first = cache.begin(&touched);
    let second = cache.begin(&touched);
    let later = Attributes { nlink: 9, ..child.clone() };
    cache.end(&second, &touched, [&later].into_iter());
    cache.object(&share, child.id).unwrap_err();
    cache.end(&first, &touched, [&child].into_iter());
    let since = cache.object(&share, child.id).unwrap_err();
    cache.keep_object(since, &later);
    assert_eq!(cache.object(&share, child.id).unwrap(), later);
}

#[test]
fn a_listing_is_found_and_takes_no_room_from_what_is_asked_for() {
    let (cache, share, directory, child) = scene();
    let since = cache.object(&share, directory.id).unwrap_err();
    cache.keep_object(since, &directory);
    let entry = |text: &str, object: &Attributes| DirectoryEntry {
        cookie: crate::types::Cookie(3),
        name: name(text),
        fileid: object.fileid,
        object: object.id,
        attributes: Some(object.clone()),
    };
    let page = |entry| Page {
        directory: directory.clone(),
        parent_fileid: directory.fileid,
        entries: vec![entry],
        eof: true,
    };
    cache.keep_page(cache.since(), &page(entry("a", &child)));
    let known = cache.lookup(&share, directory.id, &name("a")).unwrap();
    assert_eq!(known, found(&directory, Some(&child)));
    let before = cache.since();
    let all = touched(&[&child], &[(&directory, "a")]);
    let begun = cache.begin(&all);
    cache.lookup(&share, directory.id, &name("a")).unwrap_err();
    cache.end(&begun, &all, std::iter::empty());
    cache.keep_page(before, &page(entry("a", &child)));
    cache.object(&share, child.id).unwrap_err();
    for number in 0..2 * KEPT {
        let other = Attributes { id: ObjectId::generate(), ..child.clone() };
        cache.keep_page(cache.since(), &page(entry(&number.to_string(), &other)));
    }
    assert_eq!(cache.object(&share, directory.id).unwrap(), directory);
}

#[test]
fn a_link_is_found_with_its_target_until_it_changes() {
    let (cache, share, _, child) = scene();
    let target = |text: &str| SymlinkTarget::parse(text.as_bytes()).unwrap();
    let link = Link { attributes: child.clone(), target: target("elsewhere") };
    let since = cache.link(&share, child.id).unwrap_err();
    cache.keep_link(since, &link);
    assert_eq!(cache.link(&share, child.id).unwrap(), link);
    cache.link(&self::share(8), child.id).unwrap_err();
    let touched = touched(&[&child], &[]);
    let before = cache.since();
    let begun = cache.begin(&touched);
    cache.link(&share, child.id).unwrap_err();
    cache.end(&begun, &touched, std::iter::empty());
    cache.keep_link(before, &link);
    cache.link(&share, child.id).unwrap_err();
    let long = Link { target: target(&"x".repeat(LONGEST_TARGET + 1)), ..link };
    cache.keep_link(cache.since(), &long);
    cache.link(&share, child.id).unwrap_err();
}

#[test]
fn while_nobody_knows_what_changes_nothing_is_kept() {
    let (cache, share, _, child) = scene();
    let read = || cache.object(&share, child.id).unwrap_err();
    cache.keep_object(read(), &child);
    let forgetting = cache.forget();
    let during = read();
    cache.keep_object(during, &child);
    let during = read();
    drop(forgetting);
    cache.keep_object(during, &child);
    cache.keep_object(read(), &child);
    assert_eq!(cache.object(&share, child.id).unwrap(), child);
}

#[test]
fn it_is_bounded() {
    let mut halves = TwoGenerationMap::default();
    for number in 0..2 * KEPT {
        halves.put(number, number);
        assert!(halves.newer.len() + halves.older.len() <= KEPT);
    }
    assert!(halves.get(&(2 * KEPT - 1)).is_some() && halves.get(&0).is_none());
}
