//! Dumps of one store, loaded into another: nothing that a client can see is another afterwards.

use std::sync::Arc;

use tokio::sync::mpsc;
use trunkfs::metadata::{
    EntryRecord, Error, Invariants, LoadError, LoadHow, Loaded, ObjectRecord, Portion, Record,
    SetTime, Share,
};
use trunkfs::types::{Cookie, ObjectId, ShareName, Timestamp};

use super::stores::{self, Kept, KeptStore};
use super::world::{ALICE, Caller, World, name, share_spec, size, times, written};

/// A store in memory would grow faster than the dump of it is loaded.
const MOST_CHANGES: u32 = 3_000;
const VERIFIER: u64 = u64::MAX - 7;

fn share_name(it: &str) -> ShareName {
    ShareName::parse(it).unwrap()
}

fn world_of(kept: &Kept, share: Share) -> World {
    let store: Arc<dyn Invariants> = kept.store.clone();
    World { store, root: share.root, share }
}

async fn world(kept: &Kept, it: &str) -> World {
    world_of(kept, kept.store.open_share(&share_spec(it)).await.unwrap())
}

async fn dumped(store: &Arc<dyn KeptStore>, share: Option<&str>) -> Vec<Record> {
    let (to, mut from) = mpsc::channel(4);
    let share = share.map(share_name);
    let store = store.clone();
    let dump = tokio::spawn(async move { store.dump(share.as_ref(), to).await });
    let mut records = Vec::new();
    while let Some(portion) = from.recv().await {
        records.extend(portion);
    }
    dump.await.unwrap().unwrap();
    records
}

async fn load(
    store: &Arc<dyn KeptStore>,
    how: &LoadHow,
    records: &[Record],
    whole: bool,
) -> Result<Loaded, LoadError> {
    let (to, from) = mpsc::channel(4);
    let portions: Vec<_> = records.chunks(3).map(<[Record]>::to_vec).collect();
    let sending = tokio::spawn(async move {
        for portion in portions {
            if to.send(Portion::Records(portion)).await.is_err() {
                return;
            }
        }
        if whole {
            let _refused_already = to.send(Portion::End).await;
        }
    });
    let outcome = store.load(how, from).await;
    sending.await.unwrap();
    outcome
}

async fn loaded(store: &Arc<dyn KeptStore>, records: &[Record]) -> Loaded {
    load(store, &LoadHow::default(), records, true).await.unwrap()
}

/// A tree with everything that a store can hold.
async fn furnish(world: &World) -> Caller {
    let root = world.superuser();
    root.one_of_each(world.root).await;
    let deep = root.dir(world.root, "deep").await;
    let deeper = root.dir(deep.id, [0xff, 0xfe, b'"', b'\\']).await;
    root.one_of_each(deeper.id).await;
    let linked = root.file(deep.id, "linked").await;
    for number in 0..3 {
        root.link(linked.id, deeper.id, format!("link-{number}")).await.unwrap();
    }
    let big = root.file(world.root, "big").await;
    root.flush(big.id, &written(&big, i64::MAX as u64, Timestamp(77))).await.unwrap();
    let dated = root.file(world.root, "dated").await;
    let set = times(SetTime::To(Timestamp(-5)), SetTime::To(Timestamp(i64::MAX)));
    root.setattr(dated.id, set).await.unwrap();
    root.setattr(dated.id, size(99)).await.unwrap();
    world.user(ALICE).exclusive(world.root, "exclusive", VERIFIER).await.unwrap();
    root.rename(world.root, "fifo", deep.id, "moved").await.unwrap();
    root.remove(world.root, "socket").await.unwrap();
    root
}

/// Objects and entries by share, in an order of their own.
fn sorted(mut records: Vec<Record>) -> Vec<String> {
    for record in &mut records {
        if let Record::Share(share) = record {
            share.id = trunkfs::types::ShareId(0);
        }
    }
    let mut lines: Vec<_> = records.iter().map(|record| format!("{record:?}")).collect();
    lines.sort();
    lines
}

async fn sound(kept: Kept) {
    assert_eq!(kept.store.inconsistencies().await.unwrap(), [""; 0]);
    kept.store.close().await;
    drop(kept.guard);
}

pub(crate) async fn everything_survives(from: Kept, to: Kept) {
    let before = world(&from, "/export").await;
    let root = furnish(&before).await;
    world(&from, "/other").await;
    let records = dumped(&from.store, None).await;
    let counts = loaded(&to.store, &records).await;
    assert_eq!(counts.shares, 2);
    assert_eq!(sorted(dumped(&to.store, None).await), sorted(records));
    let after = world(&to, "/export").await;
    assert_eq!(after.share.fsid, before.share.fsid);
    assert_eq!(after.snapshot().await, before.snapshot().await);
    let usage = from.store.usage(before.share.id).await.unwrap();
    after.usage_becomes(usage.objects, usage.bytes).await;
    let deep = root.find(before.root, "deep").await.unwrap();
    let there = after.superuser();
    let link = there.find(after.root, "symlink").await.unwrap();
    assert_eq!(there.readlink(link.id).await.unwrap().target.as_bytes(), b"file");
    assert_eq!(there.parent(deep.id).await.unwrap().object.unwrap().id, after.root);
    // A repeat of the exclusive create is still known as one.
    let again = after.user(ALICE).exclusive(after.root, "exclusive", VERIFIER).await.unwrap();
    assert!(!again.made);
    sound(from).await;
    sound(to).await;
}

pub(crate) async fn what_is_made_afterwards_is_new(from: Kept, to: Kept) {
    let before = world(&from, "/export").await;
    furnish(&before).await;
    loaded(&to.store, &dumped(&from.store, None).await).await;
    let after = world(&to, "/export").await;
    let old = after.snapshot().await;
    let made = after.superuser().file(after.root, "made-afterwards").await;
    let entries = after.superuser().list(after.root).await;
    let entry = entries.iter().find(|entry| entry.object == made.id).unwrap();
    assert!(old.values().all(|(cookie, it)| *cookie < entry.cookie.0 && it.fileid < made.fileid));
    // Whatever can be done to a tree can be done to this one.
    let root = after.superuser();
    root.rename(after.root, "deep", after.root, "renamed").await.unwrap();
    let renamed = root.find(after.root, "renamed").await.unwrap();
    root.remove(renamed.id, "linked").await.unwrap();
    root.rmdir(after.root, "dir").await.unwrap();
    sound(from).await;
    sound(to).await;
}

pub(crate) async fn a_share_that_is_there_is_kept_or_replaced(from: Kept, to: Kept) {
    let before = world(&from, "/export").await;
    furnish(&before).await;
    let records = dumped(&from.store, None).await;
    let old = world(&to, "/export").await;
    old.superuser().file(old.root, "old").await;
    let other = world(&to, "/other").await;
    let kept = other.superuser().file(other.root, "kept").await;
    let refused = load(&to.store, &LoadHow::default(), &records, true).await.unwrap_err();
    assert!(
        matches!(&refused, LoadError::Present(name) if name.as_str() == "/export"),
        "{refused}"
    );
    assert_eq!(old.superuser().names(old.root).await, ["old"]);
    let replace = LoadHow { replace: true, name: None };
    load(&to.store, &replace, &records, true).await.unwrap();
    assert!(old.superuser().getattr(old.root).await.is_err());
    assert_eq!(world(&to, "/export").await.snapshot().await, before.snapshot().await);
    assert_eq!(other.superuser().attributes(kept.id).await, kept);
    // And once more, over itself.
    load(&to.store, &replace, &records, true).await.unwrap();
    assert_eq!(world(&to, "/export").await.snapshot().await, before.snapshot().await);
    sound(from).await;
    sound(to).await;
}

pub(crate) async fn one_share_goes_alone_and_under_another_name(from: Kept, to: Kept) {
    let before = world(&from, "/export").await;
    furnish(&before).await;
    world(&from, "/other").await;
    let records = dumped(&from.store, Some("/export")).await;
    assert_eq!(dumped(&from.store, Some("/nowhere")).await, []);
    let how = LoadHow { name: Some(share_name("/copy")), replace: false };
    load(&to.store, &how, &records, true).await.unwrap();
    let shares = to.store.shares().await.unwrap();
    let names: Vec<_> = shares.into_iter().map(|share| share.name).collect();
    assert_eq!(names, [share_name("/copy")]);
    assert_eq!(world(&to, "/copy").await.snapshot().await, before.snapshot().await);
    // The same objects cannot belong to two shares of one store.
    let how = LoadHow { name: Some(share_name("/copy2")), replace: true };
    let refused = load(&to.store, &how, &records, true).await.unwrap_err();
    assert!(matches!(refused, LoadError::Collides), "{refused}");
    let both = dumped(&from.store, None).await;
    let refused = load(&to.store, &how, &both, true).await.unwrap_err();
    assert!(matches!(refused, LoadError::NotOne(_) | LoadError::Collides), "{refused}");
    sound(from).await;
    sound(to).await;
}

pub(crate) async fn what_is_cut_or_unsound_changes_nothing(from: Kept, to: Kept) {
    let before = world(&from, "/export").await;
    furnish(&before).await;
    let there = world(&to, "/export").await;
    there.superuser().file(there.root, "there").await;
    let present = dumped(&to.store, None).await;
    let records = dumped(&from.store, None).await;
    let replace = LoadHow { replace: true, name: None };
    for length in [0, 1, records.len() / 2, records.len()] {
        let outcome = load(&to.store, &replace, &records[..length], false).await;
        assert!(matches!(outcome, Err(LoadError::Incomplete)), "{outcome:?}");
    }
    for (what, records) in spoilt(&records) {
        let outcome = load(&to.store, &replace, &records, true).await;
        assert!(
            matches!(outcome, Err(LoadError::Unsound(_) | LoadError::Collides)),
            "{what}: {outcome:?}"
        );
    }
    assert_eq!(sorted(dumped(&to.store, None).await), sorted(present));
    assert_eq!(there.superuser().names(there.root).await, ["there"]);
    sound(from).await;
    sound(to).await;
}

/// Dumps that no store can have written.
fn spoilt(records: &[Record]) -> Vec<(&'static str, Vec<Record>)> {
    let entry = |it: &str| {
        let found = records.iter().find_map(|record| match record {
            Record::Entry(entry) if entry.name == name(it) => Some(entry.clone()),
            Record::Entry(_) | Record::Share(_) | Record::Object(_) => None,
        });
        found.unwrap()
    };
    let changed = |change: &dyn Fn(&mut ObjectRecord)| {
        let child = entry("linked").child;
        let mut records = records.to_vec();
        for record in &mut records {
            match record {
                Record::Object(object) if object.attributes.id == child => change(object),
                Record::Object(_) | Record::Share(_) | Record::Entry(_) => {}
            }
        }
        records
    };
    let with = |more: EntryRecord| [records, &[Record::Entry(more)]].concat();
    let without = |lost: &EntryRecord| {
        let lost = Record::Entry(lost.clone());
        records.iter().filter(|record| **record != lost).cloned().collect::<Vec<_>>()
    };
    let stray =
        |it: &str| EntryRecord { name: name("stray"), cookie: Cookie(1 << 40), ..entry(it) };
    let twice = records.iter().find(|record| matches!(record, Record::Object(_))).unwrap().clone();
    vec![
        ("an object without a name", without(&entry("big"))),
        ("a name too many", with(stray("linked"))),
        (
            "an entry that leads nowhere",
            with(EntryRecord { child: ObjectId::generate(), ..stray("big") }),
        ),
        (
            "an entry of no directory",
            with(EntryRecord { directory: entry("big").child, ..stray("big") }),
        ),
        ("a name twice", with(EntryRecord { cookie: Cookie(1 << 40), ..entry("big") })),
        ("a cookie twice", with(EntryRecord { name: name("stray"), ..entry("big") })),
        ("a wrong count of links", changed(&|object| object.attributes.nlink += 1)),
        ("an object twice", [records, &[twice]].concat()),
        ("an object before its share", records[1..].to_vec()),
    ]
}

/// The dump is of one moment, whatever goes on: a load that finds it sound proves it.
pub(crate) async fn a_dump_during_changes_is_sound(from: Kept, to: Kept) {
    let before = world(&from, "/export").await;
    let root = furnish(&before).await;
    let one = root.dir(before.root, "one").await;
    let other = root.dir(before.root, "two").await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let (begins, begun) = tokio::sync::oneshot::channel();
    let busy = tokio::spawn(async move {
        let mut number = 0_u32;
        begins.send(()).unwrap();
        while !*stopped.borrow() && number < MOST_CHANGES {
            number += 1;
            let it = format!("{number}");
            let file = root.file(one.id, &it).await;
            root.link(file.id, other.id, &it).await.unwrap();
            root.rename(one.id, &it, other.id, format!("{it}-moved")).await.unwrap();
            if number.is_multiple_of(3) {
                root.remove(other.id, &it).await.unwrap();
            }
        }
    });
    let replace = LoadHow { replace: true, name: None };
    begun.await.unwrap();
    for _ in 0..5 {
        let records = dumped(&from.store, None).await;
        load(&to.store, &replace, &records, true).await.unwrap();
    }
    stop.send_replace(true);
    busy.await.unwrap();
    sound(from).await;
    sound(to).await;
}

pub(crate) async fn a_hold_names_all_content_and_keeps_loads_away(from: Kept, to: Kept) {
    let before = world(&from, "/export").await;
    let root = furnish(&before).await;
    let other = world(&from, "/other").await;
    let far = other.superuser().file(other.root, "far").await;
    let records = dumped(&from.store, None).await;
    loaded(&to.store, &records).await;
    let mut expected: Vec<_> = records
        .iter()
        .filter_map(|record| match record {
            Record::Object(object) => object.attributes.content.map(|content| content.id),
            Record::Share(_) | Record::Entry(_) => None,
        })
        .collect();
    expected.sort_unstable();
    let shares = from.store.shares().await.unwrap();
    assert_eq!(shares, [before.share.clone(), other.share.clone()]);
    assert_eq!(to.store.shares().await.unwrap().len(), 2);
    for store in [&from.store, &to.store] {
        let hold = store.fence_loads().await.unwrap();
        let mut named = hold.named().await.unwrap();
        named.sort_unstable();
        assert_eq!(named, expected);
        hold.confirm().await.unwrap();
    }
    // What was removed is not named, and what was made is.
    root.remove(before.root, "big").await.unwrap();
    let made = root.file(before.root, "made").await.content.unwrap().id;
    let far = far.content.unwrap().id;
    let first = from.store.fence_loads().await.unwrap();
    let named = first.named().await.unwrap();
    assert_eq!(named.len(), expected.len());
    assert!(named.contains(&made) && named.contains(&far));
    // Two may hold at once, and no load comes in before both are gone.
    let second = from.store.fence_loads().await.unwrap();
    let replace = LoadHow { replace: true, name: None };
    for hold in [first, second] {
        let refused = load(&from.store, &replace, &records, true).await.unwrap_err();
        let said = trunkfs::types::Chain(&refused).to_string();
        assert!(matches!(refused, LoadError::Store(Error::Unavailable(_))), "{refused:?}");
        assert!(said.contains("trunkfs gc"), "{said}");
        hold.confirm().await.unwrap();
        drop(hold);
    }
    load_patiently(&from.store, &replace, &records).await;
    sound(from).await;
    sound(to).await;
}

/// A hold of a database ends when the database has noticed it.
async fn load_patiently(store: &Arc<dyn KeptStore>, how: &LoadHow, records: &[Record]) {
    loop {
        match load(store, how, records, true).await {
            Err(LoadError::Store(Error::Unavailable(_))) => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            outcome => {
                outcome.unwrap();
                return;
            }
        }
    }
}

/// A load that is under way keeps holds away in turn.
pub(crate) async fn nothing_is_held_while_a_dump_comes_in(from: Kept, to: Kept) {
    let before = world(&from, "/export").await;
    furnish(&before).await;
    let records = dumped(&from.store, None).await;
    let (send, receive) = mpsc::channel(1);
    let store = to.store.clone();
    let how = LoadHow::default();
    let loading = tokio::spawn(async move { store.load(&how, receive).await });
    // The second portion is taken when the load has begun.
    for record in &records[..3] {
        send.send(Portion::Records(vec![record.clone()])).await.unwrap();
    }
    let refused = to.store.fence_loads().await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    send.send(Portion::Records(records[3..].to_vec())).await.unwrap();
    send.send(Portion::End).await.unwrap();
    loading.await.unwrap().unwrap();
    assert!(!to.store.fence_loads().await.unwrap().named().await.unwrap().is_empty());
    sound(from).await;
    sound(to).await;
}

macro_rules! transfer_cases {
    ($from:ident, $to:ident) => {
        transfer_cases! { $from, $to:
            everything_survives
            what_is_made_afterwards_is_new
            a_share_that_is_there_is_kept_or_replaced
            one_share_goes_alone_and_under_another_name
            what_is_cut_or_unsound_changes_nothing
            a_dump_during_changes_is_sound
            a_hold_names_all_content_and_keeps_loads_away
            nothing_is_held_while_a_dump_comes_in
        }
    };
    ($from:ident, $to:ident: $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let case = super::$case(super::stores::$from().await, super::stores::$to().await);
                tokio::time::timeout(crate::metadata::LIMIT, case).await.expect("the case ends in time");
            }
        )*
    };
}

mod memory_to_memory {
    transfer_cases!(kept_memory, kept_memory);
}

mod memory_to_postgres {
    transfer_cases!(kept_memory, kept_postgres);
}

mod postgres_to_memory {
    transfer_cases!(kept_postgres, kept_memory);
}

mod sqlite_to_postgres {
    transfer_cases!(kept_sqlite, kept_postgres);
}

mod postgres_to_sqlite {
    transfer_cases!(kept_postgres, kept_sqlite);
}
