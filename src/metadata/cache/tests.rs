use super::*;
use std::slice::Iter;

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

/// Objects and removed entries that a commit changes.
fn touched(objects: &[&Attributes], entries: &[(&Attributes, &str)]) -> Touched {
    let removed = |(directory, text): &(&Attributes, &str)| changed(directory, text, None, None);
    Touched {
        objects: objects.iter().map(|it| it.id).collect(),
        entries: entries.iter().map(removed).collect(),
    }
}

fn changed(
    directory: &Attributes,
    text: &str,
    before: Option<u64>,
    after: Option<(&Attributes, u64)>,
) -> ChangedEntry {
    ChangedEntry {
        place: (directory.id, name(text)),
        before: before.map(Cookie),
        after: after.map(|(child, cookie)| Edge { child: child.id, cookie: Cookie(cookie) }),
    }
}

const FAILED: Option<Iter<'static, Attributes>> = None;

#[test]
fn beside_others_a_commit_is_hidden_for_a_while_only() {
    let (_, share, directory, child) = scene();
    for (cache, hides) in [(Cache::default(), true), (Cache::beside_others(), false)] {
        [&directory, &child].into_iter().for_each(|it| cache.keep_object(cache.since(), it));
        let begun = cache.begin(touched(&[&directory], &[]));
        assert!(hides || cache.state.read().under_way[0].began > Duration::ZERO);
        std::thread::sleep(HIDDEN);
        assert_eq!(cache.object(&share, directory.id).is_ok(), hides);
        assert_eq!(cache.object(&share, child.id).unwrap(), child);
        cache.end(&begun, Some([&directory].into_iter()));
        assert_eq!(cache.object(&share, directory.id).unwrap(), directory);
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
fn a_commit_is_seen_at_its_end_all_at_once() {
    let (cache, share, directory, child) = scene();
    let new = object(&share);
    let since = cache.lookup(&share, directory.id, &name("a")).unwrap_err();
    cache.keep_lookup(since, &name("a"), &found(&directory, Some(&child)));
    let since = cache.lookup(&share, directory.id, &name("b")).unwrap_err();
    cache.keep_lookup(since, &name("b"), &found(&directory, None));
    let touched = Touched {
        objects: vec![directory.id, new.id, child.id],
        entries: vec![
            changed(&directory, "b", None, Some((&new, 4))),
            changed(&directory, "a", Some(3), None),
        ],
    };
    let begun = cache.begin(touched);
    let known = cache.lookup(&share, directory.id, &name("a")).unwrap();
    assert_eq!(known, found(&directory, Some(&child)));
    let known = cache.lookup(&share, directory.id, &name("b")).unwrap();
    assert_eq!(known, found(&directory, None));
    let after = Attributes { nlink: 9, ..directory.clone() };
    cache.end(&begun, Some([&after, &new].into_iter()));
    assert_eq!(cache.object(&share, directory.id).unwrap(), after);
    cache.object(&share, child.id).unwrap_err();
    let known = cache.lookup(&share, directory.id, &name("a")).unwrap();
    assert_eq!(known, found(&after, None));
    let known = cache.lookup(&share, directory.id, &name("b")).unwrap();
    assert_eq!(known, found(&after, Some(&new)));
}

#[test]
fn a_commit_that_failed_or_is_in_doubt_takes_its_keys_along() {
    for is_doubtful in [false, true] {
        let (cache, share, directory, child) = scene();
        let since = cache.lookup(&share, directory.id, &name("a")).unwrap_err();
        cache.keep_lookup(since, &name("a"), &found(&directory, Some(&child)));
        let begun = cache.begin(touched(&[&child], &[(&directory, "a")]));
        if is_doubtful {
            cache.doubt(&begun);
        } else {
            cache.end(&begun, FAILED);
        }
        cache.object(&share, child.id).unwrap_err();
        let entry = cache.lookup(&share, directory.id, &name("a")).unwrap_err();
        cache.keep_lookup(entry, &name("a"), &found(&directory, Some(&child)));
        // Whether the commit is still to take place is not known while it is in doubt.
        assert_eq!(cache.object(&share, child.id).is_err(), is_doubtful);
        assert_eq!(cache.lookup(&share, directory.id, &name("a")).is_err(), is_doubtful);
        if is_doubtful {
            cache.end(&begun, FAILED);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reading_waits_for_the_commits_that_touch_its_result() {
    let (cache, _, directory, child) = scene();
    let cx = Context::internal(ShareId(1), std::time::Duration::from_secs(1));
    let reading = |id: ObjectId| cache.settle(&cx, [id].into_iter());
    let now = std::time::Duration::ZERO;
    let first = cache.begin(touched(&[&child], &[]));
    let second = cache.begin(touched(&[&directory, &child], &[]));
    tokio::time::timeout(now, reading(ObjectId::generate())).await.unwrap().unwrap();
    let mut of_child = std::pin::pin!(reading(child.id));
    let mut of_directory = std::pin::pin!(reading(directory.id));
    tokio::time::timeout(now, &mut of_child).await.unwrap_err();
    tokio::time::timeout(now, &mut of_directory).await.unwrap_err();
    cache.end(&first, FAILED);
    tokio::time::timeout(now, &mut of_child).await.unwrap_err();
    // A commit that begins later is none of theirs.
    let third = cache.begin(touched(&[&child], &[]));
    cache.doubt(&second);
    tokio::time::timeout(now, of_child).await.unwrap().unwrap();
    tokio::time::timeout(now, of_directory).await.unwrap().unwrap();
    assert!(matches!(reading(child.id).await, Err(Error::Cancelled)));
    cache.end(&second, FAILED);
    cache.end(&third, FAILED);
    reading(child.id).await.unwrap();
}

#[test]
fn what_was_read_before_or_during_a_commit_is_not_kept_after_it() {
    let (cache, share, directory, child) = scene();
    let all = || touched(&[&directory, &child], &[(&directory, "a")]);
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
    let begun = cache.begin(all());
    let during = read();
    keep(before);
    nothing();
    keep(during);
    nothing();
    let during = read();
    cache.end(&begun, FAILED);
    keep(during);
    nothing();
    let before = read();
    let begun = cache.begin(all());
    cache.end(&begun, FAILED);
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
    // One whose mark is none of theirs.
    let mut others = std::iter::repeat_with(|| object(&share));
    let other = others.find(|it| !slots.contains(&cache.slot(&it.id))).unwrap();
    let other = touched(&[&other], &[]);
    let entry = cache.lookup(&share, directory.id, &name("a")).unwrap_err();
    let begun = cache.begin(other);
    cache.keep_lookup(entry, &name("a"), &found(&directory, Some(&child)));
    cache.end(&begun, FAILED);
    assert_eq!(cache.object(&share, child.id).unwrap(), child);
    let known = cache.lookup(&share, directory.id, &name("a")).unwrap();
    assert_eq!(known, found(&directory, Some(&child)));
}

#[test]
fn commits_that_touch_the_same_object_are_seen_one_after_the_other() {
    let (cache, share, _, child) = scene();
    let first = cache.begin(touched(&[&child], &[]));
    let second = cache.begin(touched(&[&child], &[]));
    let before = cache.since();
    cache.end(&first, Some([&child].into_iter()));
    assert_eq!(cache.object(&share, child.id).unwrap(), child);
    let later = Attributes { nlink: 9, ..child.clone() };
    cache.end(&second, Some([&later].into_iter()));
    cache.keep_object(before, &child);
    assert_eq!(cache.object(&share, child.id).unwrap(), later);
}

fn listed(text: &str, cookie: u64, object: &Attributes) -> DirectoryEntry {
    DirectoryEntry {
        cookie: Cookie(cookie),
        name: name(text),
        fileid: object.fileid,
        object: object.id,
        attributes: Some(object.clone()),
    }
}

fn page(directory: &Attributes, entries: &[DirectoryEntry], eof: bool) -> Page {
    Page {
        directory: directory.clone(),
        parent_fileid: directory.fileid,
        entries: entries.to_vec(),
        eof,
    }
}

#[test]
fn a_listing_is_found_page_by_page_and_its_entries_one_by_one() {
    let (cache, share, directory, child) = scene();
    let entries: Vec<_> =
        [3, 5, 9].map(|cookie| listed(&cookie.to_string(), cookie, &child)).to_vec();
    let at = |after, most| cache.page(&share, directory.id, Cookie(after), most, true);
    let since = at(0, 2).unwrap_err();
    // Behind what is known nothing is kept.
    cache.keep_page(since, Cookie(5), &page(&directory, &entries[2..], true));
    at(5, 2).unwrap_err();
    cache.keep_page(since, Cookie(0), &page(&directory, &entries[..2], false));
    at(0, 2).unwrap_err();
    assert_eq!(at(0, 1).unwrap(), page(&directory, &entries[..1], false));
    cache.keep_page(since, Cookie(5), &page(&directory, &entries[2..], true));
    assert_eq!(at(0, 3).unwrap(), page(&directory, &entries, true));
    assert_eq!(at(2, 2).unwrap(), page(&directory, &entries[..2], false));
    assert_eq!(at(4, 9).unwrap(), page(&directory, &entries[1..], true));
    assert_eq!(at(9, 9).unwrap(), page(&directory, &[], true));
    cache.page(&self::share(8), directory.id, Cookie(0), 3, true).unwrap_err();
    let known = cache.lookup(&share, directory.id, &name("5")).unwrap();
    assert_eq!(known, found(&directory, Some(&child)));
    let mut names = cache.page(&share, directory.id, Cookie(0), 3, false).unwrap();
    assert!(names.entries.iter().all(|entry| entry.attributes.is_none()));
    names.entries.iter_mut().for_each(|entry| entry.attributes = Some(child.clone()));
    assert_eq!(names, page(&directory, &entries, true));
}

#[test]
fn a_listing_follows_the_commits_of_its_entries() {
    let (cache, share, directory, child) = scene();
    let (second, new) = (object(&share), object(&share));
    let entries = [listed("a", 3, &child), listed("b", 5, &second)];
    cache.keep_page(cache.since(), Cookie(0), &page(&directory, &entries, true));
    let before = cache.since();
    let shown = || {
        let page = cache.page(&share, directory.id, Cookie(0), 9, true).unwrap();
        assert!(page.eof);
        let entries = page.entries.into_iter();
        entries.map(|it| (it.cookie.0, it.name.to_string(), it.object)).collect::<Vec<_>>()
    };
    let commit = |entries: Vec<ChangedEntry>, left: &[&Attributes]| {
        let objects = vec![directory.id, child.id, second.id, new.id];
        let begun = cache.begin(Touched { objects, entries });
        let during = shown();
        cache.end(&begun, Some(left.iter().copied()));
        during
    };
    let of = |cookie, text: &str, object: &Attributes| (cookie, text.to_owned(), object.id);
    let start = shown();
    let made = vec![changed(&directory, "c", None, Some((&new, 8)))];
    assert_eq!(commit(made, &[&directory, &child, &second, &new]), start);
    assert_eq!(shown(), [of(3, "a", &child), of(5, "b", &second), of(8, "c", &new)]);
    // An entry that is renamed over another takes the other's place, in whatever order the changes come.
    for order in [[0, 1], [1, 0]] {
        let moved = [
            changed(&directory, "c", Some(8), None),
            changed(&directory, "b", Some(5), Some((&new, 5))),
        ];
        let moved = order.map(|index: usize| moved[index].clone()).to_vec();
        commit(moved, &[&directory, &child, &new]);
        assert_eq!(shown(), [of(3, "a", &child), of(5, "b", &new)]);
    }
    // An entry that gets another name keeps its place.
    for order in [[0, 1], [1, 0]] {
        let moved = [
            changed(&directory, "a", Some(3), None),
            changed(&directory, "d", None, Some((&child, 3))),
        ];
        let moved = order.map(|index: usize| moved[index].clone()).to_vec();
        commit(moved, &[&directory, &child, &new]);
        assert_eq!(shown(), [of(3, "d", &child), of(5, "b", &new)]);
        commit(vec![changed(&directory, "d", Some(3), None)], &[&directory, &child, &new]);
        commit(
            vec![changed(&directory, "a", None, Some((&child, 3)))],
            &[&directory, &child, &new],
        );
    }
    cache.keep_page(before, Cookie(0), &page(&directory, &entries, true));
    assert_eq!(shown(), [of(3, "a", &child), of(5, "b", &new)]);
    let begun = cache.begin(touched(&[&directory], &[(&directory, "a")]));
    cache.end(&begun, FAILED);
    cache.page(&share, directory.id, Cookie(0), 9, true).unwrap_err();
}

#[test]
fn a_directory_that_moved_is_listed_with_its_new_parent() {
    let (cache, share, directory, child) = scene();
    let entries = [listed("a", 3, &child)];
    cache.keep_page(cache.since(), Cookie(0), &page(&directory, &entries, true));
    let moved = Attributes { parent: Some(child.id), ..directory.clone() };
    let begun = cache.begin(touched(&[&directory], &[]));
    cache.end(&begun, Some([&moved].into_iter()));
    cache.page(&share, directory.id, Cookie(0), 9, true).unwrap_err();
    cache.keep_page(cache.since(), Cookie(0), &page(&moved, &entries, true));
    let known = cache.page(&share, directory.id, Cookie(0), 9, true).unwrap();
    assert_eq!(known, page(&moved, &entries, true));
}

#[test]
fn a_scan_takes_no_room_from_what_is_asked_for_and_is_bounded() {
    let (cache, share, directory, child) = scene();
    let since = cache.object(&share, directory.id).unwrap_err();
    cache.keep_object(since, &directory);
    let mut other = object(&share);
    for start in (3..2 * KEPT as u64).step_by(1024) {
        let entries: Vec<_> = (start..start + 1024)
            .map(|cookie| {
                let object = Attributes { id: ObjectId::generate(), ..child.clone() };
                listed(&cookie.to_string(), cookie, &object)
            })
            .collect();
        cache.keep_page(cache.since(), Cookie(start - 1), &page(&other, &entries, false));
    }
    assert_eq!(cache.object(&share, directory.id).unwrap(), directory);
    // Of a long directory the first entries are kept.
    let names = |after, most| cache.page(&share, other.id, Cookie(after), most, false);
    assert_eq!(names(2, 16_000).unwrap().entries.len(), 16_000);
    names(2, 17_000).unwrap_err();
    names(20_000, 1).unwrap_err();
    let first = other.id;
    for _ in 0..8 {
        other = object(&share);
        let entries: Vec<_> =
            (3..10_000).map(|cookie| listed(&cookie.to_string(), cookie, &child)).collect();
        cache.keep_page(cache.since(), Cookie(0), &page(&other, &entries, true));
    }
    cache.page(&share, first, Cookie(0), 1, false).unwrap_err();
    cache.page(&share, other.id, Cookie(0), 1, false).unwrap();
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
    let before = cache.since();
    let begun = cache.begin(touched(&[&child], &[]));
    cache.end(&begun, Some([].iter()));
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
