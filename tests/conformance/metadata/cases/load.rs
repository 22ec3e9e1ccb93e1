//! Many calls on few objects: what holds throughout, and at the end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use trunkfs::metadata::{Answer, Change, Error, FlushOutcome, SetAttributes, SetTime};
use trunkfs::types::{Attributes, ObjectId, Timestamp};

use crate::metadata::world::{Caller, World, mode, size, written};

fn before(change: &Change) -> &Attributes {
    change.before.as_ref().unwrap()
}

/// That the changes, sorted, lead from `first` to `last` without a gap or a fork: no two operations show the
/// same pair.
#[track_caller]
fn chain(mut changes: Vec<Change>, first: &Attributes, last: &Attributes) {
    changes.retain(|change| before(change) != &change.after);
    changes.sort_by_key(|change| before(change).ctime);
    let mut present = first;
    for change in &changes {
        assert_eq!(before(change), present, "a gap or a fork");
        assert!(change.after.ctime > before(change).ctime);
        present = &change.after;
    }
    assert_eq!(present, last);
}

/// Runs tasks of a number each and gathers what they give.
async fn gather<T: Send + 'static, F: Future<Output = Vec<T>> + Send + 'static>(
    count: u64,
    task: impl Fn(u64) -> F,
) -> Vec<T> {
    let tasks: Vec<_> = (0..count).map(|number| tokio::spawn(task(number))).collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    all
}

pub(crate) async fn creates_in_one_directory_form_one_chain(world: World) {
    let root = world.superuser();
    let directory = root.dir(world.root, "dir").await;
    let changes = gather(8, |task| {
        let (root, directory) = (root.clone(), directory.id);
        async move {
            let mut changes = Vec::new();
            for number in 0..15 {
                let name = format!("{task}-{number}");
                let made = if number % 5 == 0 {
                    root.mkdir(directory, name).await
                } else {
                    root.create(directory, name).await
                };
                changes.push(made.unwrap().directory);
            }
            changes
        }
    })
    .await;
    let last = root.attributes(directory.id).await;
    assert_eq!(last.nlink, 2 + 8 * 3);
    assert_eq!(changes.len(), 120);
    chain(changes, &directory, &last);
    assert_eq!(root.list(directory.id).await.len(), 120);
}

/// The clocks of two instances are never equal: here, one is behind by an hour.
pub(crate) async fn every_kind_of_change_joins_the_chain(world: World) {
    let root = world.superuser();
    let directory = root.dir(world.root, "dir").await;
    let file = root.file(world.root, "file").await.id;
    let changes = gather(8, |task| {
        let (d, top) = (directory.id, world.root);
        let behind = if task % 2 == 0 { 0 } else { 3_600_000_000_000 };
        let root = root.at(Timestamp::now().0 - behind);
        async move {
            let mut changes = Vec::new();
            for number in 0..4 {
                let (a, b) = (format!("a{task}-{number}"), format!("b{task}-{number}"));
                changes.push(root.create(d, &a).await.unwrap().directory);
                changes.push(root.rename(d, &a, d, &b).await.unwrap().from);
                changes.push(root.rename(d, &b, top, &b).await.unwrap().from);
                changes.push(root.rename(top, &b, d, &a).await.unwrap().to);
                changes.push(root.link(file, d, &b).await.unwrap().directory);
                changes.push(root.rename(d, &a, d, &b).await.unwrap().to);
                changes.push(root.mkdir(d, &a).await.unwrap().directory);
                let set = SetAttributes { atime: SetTime::Now, ..mode(0o700 + number) };
                changes.push(root.setattr(d, set).await.unwrap().change);
                changes.push(root.remove(d, &b).await.unwrap().directory);
                changes.push(root.rmdir(d, &a).await.unwrap().directory);
            }
            changes
        }
    })
    .await;
    chain(changes, &directory, &root.attributes(directory.id).await);
    assert_eq!(root.list(directory.id).await.len(), 0);
}

/// Writes, truncations and settings of one file. What a flush records rests on the content it was made for.
pub(crate) async fn changes_of_one_file_form_one_chain(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let changes = gather(6, |task| {
        let (root, id) = (root.clone(), file.id);
        async move {
            let mut changes = Vec::new();
            for number in 0..12_u64 {
                if task % 3 == 0 && number % 4 == 0 {
                    let bytes = if number == 8 { 0 } else { number };
                    changes.push(root.setattr(id, size(bytes)).await.unwrap().change);
                    continue;
                }
                let seen = root.attributes(id).await;
                let flush = written(&seen, task * 100 + number, Timestamp::now());
                match root.flush(id, &flush).await.unwrap() {
                    FlushOutcome::Recorded(change) => {
                        assert_eq!(before(&change).content, seen.content);
                        assert!(change.after.size >= task * 100 + number);
                        changes.push(change);
                    }
                    FlushOutcome::Superseded(present) => assert_ne!(present.content, seen.content),
                }
            }
            changes
        }
    })
    .await;
    chain(changes, &file, &root.attributes(file.id).await);
}

/// Files go both ways between two directories, which take the directories' locks in either order.
pub(crate) async fn renames_both_ways_lose_nothing(world: World) {
    let root = world.superuser();
    let mut both = Vec::new();
    for name in ["left", "right"] {
        both.push(root.dir(world.root, name).await);
    }
    let changes = gather(8, |task| {
        let root = root.clone();
        let mut ways = [both[0].id, both[1].id];
        async move {
            if task % 2 == 1 {
                ways.reverse();
            }
            let name = format!("{task}");
            let mut changes = vec![(ways[0], root.create(ways[0], &name).await.unwrap().directory)];
            for _ in 0..12 {
                let [from, to] = ways;
                let renamed = root.rename(from, &name, to, &name).await.unwrap();
                changes.push((from, renamed.from));
                changes.push((to, renamed.to));
                ways.reverse();
            }
            changes
        }
    })
    .await;
    for directory in &both {
        let own = changes.iter().filter(|(id, _)| *id == directory.id);
        let own = own.map(|(_, change)| change.clone()).collect();
        chain(own, directory, &root.attributes(directory.id).await);
        assert_eq!(root.list(directory.id).await.len(), 4);
    }
}

/// Entries that are there throughout are in every scan, once.
pub(crate) async fn scans_during_changes(world: World) {
    let root = world.superuser();
    let directory = root.dir(world.root, "dir").await.id;
    for number in 0..60 {
        root.file(directory, format!("{number}")).await;
    }
    let lasting: BTreeSet<_> =
        root.list(directory).await.iter().map(|entry| entry.object).collect();
    let (over, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut changers = Vec::new();
    for task in 0..3 {
        let (root, over, rounds) = (root.clone(), over.clone(), rounds.clone());
        changers.push(tokio::spawn(async move {
            let mut round = 0;
            while !over.load(Ordering::Relaxed) {
                // A lasting one takes another name, a passing one comes and goes.
                let (lasting, passing) = (task * 20 + round % 20, format!("x{task}-{round}"));
                let (old, new) = (format!("{lasting}"), format!("renamed{lasting}"));
                root.create(directory, &passing).await.unwrap();
                root.rename(directory, &old, directory, &new).await.unwrap();
                root.rename(directory, &new, directory, &old).await.unwrap();
                root.remove(directory, &passing).await.unwrap();
                round += 1;
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let mut scan = 0;
    while scan < 12 || rounds.load(Ordering::Relaxed) < 30 {
        let (mut seen, mut after) = (Vec::new(), 0);
        loop {
            let page = root.page(directory, after, 5 + scan % 12).await.unwrap();
            seen.extend(page.entries.iter().map(|entry| entry.object));
            after = page.entries.last().map_or(after, |entry| entry.cookie.0);
            if page.eof {
                break;
            }
        }
        seen.retain(|object| lasting.contains(object));
        let distinct: BTreeSet<_> = seen.iter().copied().collect();
        assert_eq!((distinct.len(), seen.len()), (60, 60));
        scan += 1;
    }
    over.store(true, Ordering::Relaxed);
    for changer in changers {
        changer.await.unwrap();
    }
}

/// What can come of a call that meets any others.
#[track_caller]
fn expected<T>(answer: Answer<T>) {
    if let Err(refusal) = answer {
        let expected = matches!(
            refusal.error,
            Error::NotFound
                | Error::Exists
                | Error::NotEmpty
                | Error::Stale
                | Error::Invalid
                | Error::IsDirectory
                | Error::NotDirectory
        );
        assert!(expected, "{refusal:?}");
    }
}

/// Any call on a few names in a few directories, from many sides. The check of the invariants follows.
pub(crate) async fn anything_at_once_leaves_the_store_sound(world: World) {
    let root = world.superuser();
    let seed: u64 = rand::random();
    println!("seed {seed}");
    gather(8, |task| {
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(task));
        let (root, top) = (root.clone(), world.root);
        async move {
            let mut known = vec![top];
            for _ in 0..60 {
                one_of_any(&root, &mut random, &mut known).await;
            }
            vec![()]
        }
    })
    .await;
    // Still the root's, all of it.
    world.snapshot().await;
}

async fn one_of_any(root: &Caller, random: &mut StdRng, known: &mut Vec<ObjectId>) {
    let mut pick = || known[random.random_range(0..known.len())];
    let (here, there) = (pick(), pick());
    let mut name = || format!("{}", random.random_range(0..5));
    let (a, b) = (name(), name());
    match random.random_range(0..12) {
        0 | 1 => expected(root.create(here, &a).await),
        2..=4 => {
            let made = root.mkdir(here, &a).await;
            known.extend(made.as_ref().ok().map(|made| made.object.id));
            expected(made);
        }
        5 => expected(root.remove(here, &a).await),
        6 => expected(root.rmdir(here, &a).await),
        7..=9 => expected(root.rename(here, &a, there, &b).await),
        10 => {
            if let Ok(found) = root.lookup(here, &a).await
                && let Some(object) = found.object
            {
                expected(root.link(object.id, there, &b).await);
            }
        }
        _ => expected(root.setattr(here, SetAttributes::default()).await),
    }
}
