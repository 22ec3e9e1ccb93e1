//! Calls that meet: every outcome is that of one order of them.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use trunkfs::metadata::{Answer, Change, Error, SetAttributes};
use trunkfs::types::{Attributes, ObjectId, Timestamp};

use crate::metadata::world::{ALICE, Caller, World, mode, refused, same_kind, stale};

const ROUNDS: usize = 12;

/// Runs two calls at a time.
async fn both<A: Send + 'static, B: Send + 'static>(
    a: impl Future<Output = A> + Send + 'static,
    b: impl Future<Output = B> + Send + 'static,
) -> (A, B) {
    let (a, b) = (tokio::spawn(a), tokio::spawn(b));
    (a.await.unwrap(), b.await.unwrap())
}

/// Runs a call many times at once.
async fn many<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    count: usize,
    call: impl Fn(usize) -> F,
) -> Vec<T> {
    let calls: Vec<_> = (0..count).map(|number| tokio::spawn(call(number))).collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    answers
}

/// Those that were done; all others must have been refused with `error`.
#[track_caller]
fn winners<T: std::fmt::Debug>(answers: Vec<Answer<T>>, error: &Error) -> Vec<T> {
    let mut winners = Vec::new();
    for answer in answers {
        match answer {
            Ok(answer) => winners.push(answer),
            Err(refusal) => assert!(same_kind(&refusal.error, error), "{refusal:?}"),
        }
    }
    winners
}

pub(crate) async fn one_of_many_creates_makes_the_file(world: World) {
    let root = world.superuser();
    for round in 0..ROUNDS {
        let answers = many(12, |number| {
            let (root, top, name) = (root.clone(), world.root, format!("{round}"));
            async move {
                match number % 4 {
                    0 => root.create(top, name).await,
                    1 => root.mkdir(top, name).await,
                    2 => root.symlink(top, name, "x").await,
                    _ => root.exclusive(top, name, number as u64).await,
                }
            }
        })
        .await;
        let made = winners(answers, &Error::Exists);
        assert_eq!(made.len(), 1);
        assert_eq!(root.find(world.root, format!("{round}")).await.unwrap().id, made[0].object.id);
    }
}

/// A call and its retransmissions, which another instance may get.
pub(crate) async fn repeats_of_an_exclusive_create_find_one_file(world: World) {
    let alice = world.user(ALICE);
    for round in 0..ROUNDS {
        let answers = many(8, |_| {
            let (alice, top, name) = (alice.clone(), world.root, format!("{round}"));
            async move { alice.exclusive(top, name, 7).await.unwrap() }
        })
        .await;
        assert_eq!(answers.iter().filter(|answer| answer.made).count(), 1);
        assert!(answers.iter().all(|answer| answer.object == answers[0].object));
    }
}

pub(crate) async fn unchecked_creates_find_one_file(world: World) {
    let root = world.superuser();
    for round in 0..ROUNDS {
        let answers = many(8, |_| {
            let (root, top, name) = (root.clone(), world.root, format!("{round}"));
            async move { root.unchecked(top, name).await.unwrap() }
        })
        .await;
        assert_eq!(answers.iter().filter(|answer| answer.made).count(), 1);
        assert!(answers.iter().all(|answer| answer.object.id == answers[0].object.id));
    }
}

pub(crate) async fn a_name_is_removed_once(world: World) {
    let root = world.superuser();
    for round in 0..ROUNDS {
        let name = format!("{round}");
        let file = root.file(world.root, &name).await;
        let answers = many(8, |_| {
            let (root, top, name) = (root.clone(), world.root, name.clone());
            async move { root.remove(top, name).await }
        })
        .await;
        let removed = winners(answers, &Error::NotFound);
        assert_eq!(removed.len(), 1);
        assert_eq!(removed[0].object.freed, file.content.map(|content| content.id));
    }
}

pub(crate) async fn a_create_meets_rmdir(world: World) {
    let root = world.superuser();
    for round in 0..ROUNDS * 2 {
        let dir = root.dir(world.root, "dir").await.id;
        let (maker, remover, top) = (root.clone(), root.clone(), world.root);
        let (made, removed) = both(
            async move {
                match round % 4 {
                    0 => maker.create(dir, "x").await,
                    1 => maker.mkdir(dir, "x").await,
                    2 => maker.symlink(dir, "x", "to").await,
                    _ => maker.exclusive(dir, "x", 1).await,
                }
            },
            async move { remover.rmdir(top, "dir").await },
        )
        .await;
        if let Ok(made) = made {
            refused(removed, Error::NotEmpty);
            assert_eq!(root.find(dir, "x").await.unwrap().id, made.object.id);
            root.rename(world.root, "dir", world.root, format!("full{round}")).await.unwrap();
        } else {
            refused(made, Error::Stale);
            removed.unwrap();
            stale(root.getattr(dir).await);
        }
    }
}

pub(crate) async fn a_link_meets_the_removal_of_the_last_name(world: World) {
    let root = world.superuser();
    for round in 0..ROUNDS * 2 {
        let (old, new) = (format!("old{round}"), format!("new{round}"));
        let file = root.file(world.root, &old).await.id;
        let (linker, remover, top) = (root.clone(), root.clone(), world.root);
        let (linked, removed) =
            both(async move { linker.link(file, top, new).await }, async move {
                remover.remove(top, old).await.unwrap()
            })
            .await;
        if linked.is_ok() {
            assert_eq!((removed.object.attributes.nlink, removed.object.freed), (1, None));
            assert_eq!(root.attributes(file).await.nlink, 1);
        } else {
            refused(linked, Error::Stale);
            assert!(removed.object.freed.is_some());
            stale(root.getattr(file).await);
        }
    }
}

/// Their content is freed by one of them, and only by one.
pub(crate) async fn the_last_two_names_go_at_once(world: World) {
    let root = world.superuser();
    for _ in 0..ROUNDS * 2 {
        let file = root.file(world.root, "a").await;
        root.link(file.id, world.root, "b").await.unwrap();
        let (one, two, top) = (root.clone(), root.clone(), world.root);
        let (a, b) = both(async move { one.remove(top, "a").await.unwrap().object }, async move {
            two.remove(top, "b").await.unwrap().object
        })
        .await;
        assert_eq!(a.freed.is_some() as u8 + b.freed.is_some() as u8, 1);
        let mut left = [a.attributes.nlink, b.attributes.nlink];
        left.sort_unstable();
        assert_eq!(left, [0, 1]);
    }
}

pub(crate) async fn a_rename_meets_the_removal_of_its_target(world: World) {
    let root = world.superuser();
    for _ in 0..ROUNDS * 2 {
        let old = root.file(world.root, "target").await;
        let new = root.file(world.root, "source").await;
        let (mover, remover, top) = (root.clone(), root.clone(), world.root);
        let (renamed, removed) = both(
            async move { mover.rename(top, "source", top, "target").await.unwrap() },
            async move { remover.remove(top, "target").await.unwrap() },
        )
        .await;
        // Either order, and each content is freed once.
        if let Some(replaced) = renamed.replaced {
            assert_eq!(replaced.attributes.id, old.id);
            assert_eq!(removed.object.attributes.id, new.id);
            assert_eq!(root.names(world.root).await, [""; 0]);
        } else {
            assert_eq!(removed.object.attributes.id, old.id);
            assert_eq!(root.find(world.root, "target").await.unwrap().id, new.id);
            root.remove(world.root, "target").await.unwrap();
        }
    }
}

pub(crate) async fn a_rename_meets_the_removal_of_its_source(world: World) {
    let root = world.superuser();
    let other = root.dir(world.root, "other").await.id;
    for _ in 0..ROUNDS * 2 {
        let file = root.file(world.root, "source").await;
        let (mover, remover, top) = (root.clone(), root.clone(), world.root);
        let (renamed, removed) =
            both(async move { mover.rename(top, "source", other, "x").await }, async move {
                remover.remove(top, "source").await
            })
            .await;
        if renamed.is_ok() {
            refused(removed, Error::NotFound);
            assert_eq!(root.find(other, "x").await.unwrap().id, file.id);
            root.remove(other, "x").await.unwrap();
        } else {
            refused(renamed, Error::NotFound);
            removed.unwrap();
            stale(root.getattr(file.id).await);
        }
    }
}

pub(crate) async fn a_name_is_renamed_once(world: World) {
    let root = world.superuser();
    for round in 0..ROUNDS {
        let file = root.file(world.root, "source").await;
        let answers = many(8, |number| {
            let (root, top) = (root.clone(), world.root);
            async move { root.rename(top, "source", top, format!("{round}-{number}")).await }
        })
        .await;
        assert_eq!(winners(answers, &Error::NotFound).len(), 1);
        let listed = root.list(world.root).await;
        assert_eq!(listed.iter().filter(|entry| entry.object == file.id).count(), 1);
    }
}

pub(crate) async fn renames_over_one_name_leave_one(world: World) {
    let root = world.superuser();
    for _ in 0..ROUNDS {
        for number in 0..6 {
            root.file(world.root, format!("{number}")).await;
        }
        let old = root.file(world.root, "target").await;
        let answers = many(6, |number| {
            let (root, top) = (root.clone(), world.root);
            async move { root.rename(top, format!("{number}"), top, "target").await.unwrap() }
        })
        .await;
        let mut gone: Vec<_> =
            answers.iter().map(|it| it.replaced.as_ref().unwrap().attributes.id).collect();
        gone.sort_unstable();
        gone.dedup();
        assert_eq!(gone.len(), 6);
        assert!(gone.contains(&old.id));
        assert_eq!(root.names(world.root).await, ["target"]);
        root.remove(world.root, "target").await.unwrap();
    }
}

/// Each alone is legal; both would cut a cycle loose.
pub(crate) async fn crossing_directory_renames_never_make_a_cycle(world: World) {
    let root = world.superuser();
    for round in 0..ROUNDS * 2 {
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        let a_id = root.dir(world.root, &a).await.id;
        let b_id = root.dir(world.root, &b).await.id;
        // With something between, the cycle is longer than the rows that the renames name.
        let a_deep = root.dir(a_id, "deep").await.id;
        let b_deep = root.dir(b_id, "deep").await.id;
        let (one, two, top) = (root.clone(), root.clone(), world.root);
        let (first, second) =
            both(async move { one.rename(top, &a, b_deep, "in").await }, async move {
                two.rename(top, &b, a_deep, "in").await
            })
            .await;
        let renamed = winners(vec![first, second], &Error::Invalid);
        assert_eq!(renamed.len(), 1);
        // All of it is still reached from the root.
        let paths = world.snapshot().await;
        assert!(paths.values().any(|(_, it)| it.id == a_deep));
        assert!(paths.values().any(|(_, it)| it.id == b_deep));
    }
}

pub(crate) async fn rmdir_meets_a_rename_into_the_directory(world: World) {
    let root = world.superuser();
    for round in 0..ROUNDS * 2 {
        let dir = root.dir(world.root, "dir").await.id;
        if round % 2 == 0 {
            root.file(world.root, "moving").await;
        } else {
            root.dir(world.root, "moving").await;
        }
        let (mover, remover, top) = (root.clone(), root.clone(), world.root);
        let (renamed, removed) =
            both(async move { mover.rename(top, "moving", dir, "x").await }, async move {
                remover.rmdir(top, "dir").await
            })
            .await;
        if renamed.is_ok() {
            refused(removed, Error::NotEmpty);
            root.rename(world.root, "dir", world.root, format!("full{round}")).await.unwrap();
        } else {
            refused(renamed, Error::Stale);
            removed.unwrap();
            root.rename(world.root, "moving", world.root, format!("left{round}")).await.unwrap();
        }
    }
}

pub(crate) async fn a_guard_lets_one_through(world: World) {
    let root = world.superuser();
    for round in 0..ROUNDS {
        let file = root.file(world.root, format!("{round}")).await;
        let answers = many(8, |number| {
            let (root, id, guard) = (root.clone(), file.id, Some(file.ctime));
            let set = SetAttributes { guard, ..mode(0o100 + number as u32) };
            async move { root.setattr(id, set).await }
        })
        .await;
        let set = winners(answers, &Error::NotSync);
        assert_eq!(set.len(), 1);
        assert_eq!(root.attributes(file.id).await, set[0].change.after);
    }
}

/// A decision never rests on permissions that have changed.
pub(crate) async fn creates_meet_a_directory_that_closes(world: World) {
    let root = world.superuser();
    let dir = root.dir_of(world.root, "dir", 0o777).await.id;
    let alice = world.user(ALICE);
    for round in 0..ROUNDS {
        root.setattr(dir, mode(0o777)).await.unwrap();
        let closer = root.clone();
        let closing = tokio::spawn(async move { closer.setattr(dir, mode(0o755)).await.unwrap() });
        let answers = many(6, |number| {
            let alice: Caller = alice.clone();
            async move { alice.create(dir, format!("{round}-{number}")).await }
        })
        .await;
        let closed = closing.await.unwrap().change.after;
        for made in winners(answers, &Error::AccessDenied) {
            let Change { before, .. } = made.directory;
            let before = before.unwrap();
            assert_eq!(before.mode, 0o777);
            assert!(before.ctime < closed.ctime, "made after it was closed");
        }
    }
}

/// Names come and go; at the end nlink is their number.
pub(crate) async fn links_and_removals_of_one_object(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "first").await.id;
    many(12, |number| {
        let (root, top) = (root.clone(), world.root);
        async move {
            for round in 0..6 {
                let name = format!("{number}-{round}");
                root.link(file, top, &name).await.unwrap();
                if round % 3 != 0 {
                    root.remove(top, &name).await.unwrap();
                }
            }
        }
    })
    .await;
    let Attributes { nlink, .. } = root.attributes(file).await;
    assert_eq!(nlink, 1 + 12 * 2);
    assert_eq!(root.list(world.root).await.len(), 25);
}

/// What is shared by those who read a directory while it changes.
#[derive(Clone)]
struct Watched {
    directory: ObjectId,
    /// The newest ctime that anybody has seen or was answered.
    newest: Arc<AtomicI64>,
    over: Arc<AtomicBool>,
}

impl Watched {
    fn seen(&self, ctime: Timestamp) {
        self.newest.fetch_max(ctime.0, Ordering::SeqCst);
    }

    /// Reads until it is over; gives what was there under the name at which ctime of the directory.
    async fn read(self, root: Caller) -> Vec<(Timestamp, Option<ObjectId>)> {
        let mut states = Vec::new();
        while !self.over.load(Ordering::SeqCst) {
            let newest = self.newest.load(Ordering::SeqCst);
            let found = root.lookup(self.directory, "x").await.unwrap();
            assert!(found.directory.ctime.0 >= newest, "LOOKUP shows an older state");
            self.seen(found.directory.ctime);
            let state = (found.directory.ctime, found.object.map(|object| object.id));
            if states.last() != Some(&state) {
                states.push(state);
            }
            let newest = self.newest.load(Ordering::SeqCst);
            let ctime = root.attributes(self.directory).await.ctime;
            assert!(ctime.0 >= newest, "GETATTR shows an older state");
            self.seen(ctime);
            tokio::task::yield_now().await;
        }
        states
    }
}

/// And a directory is seen with what it held then.
pub(crate) async fn nobody_sees_a_state_before_one_that_was_seen(world: World) {
    let root = world.superuser();
    let Attributes { id, ctime, .. } = root.dir(world.root, "dir").await;
    let (newest, over) = (Arc::new(AtomicI64::new(ctime.0)), Arc::default());
    let watched = Watched { directory: id, newest, over };
    let readers: Vec<_> =
        (0..4).map(|_| tokio::spawn(watched.clone().read(root.clone()))).collect();
    let mut states = HashMap::from([(ctime, None)]);
    for _ in 0..ROUNDS * 8 {
        let made = root.create(id, "x").await.unwrap();
        watched.seen(made.directory.after.ctime);
        states.insert(made.directory.after.ctime, Some(made.object.id));
        let removed = root.remove(id, "x").await.unwrap();
        watched.seen(removed.directory.after.ctime);
        states.insert(removed.directory.after.ctime, None);
    }
    watched.over.store(true, Ordering::SeqCst);
    for reader in readers {
        for (ctime, object) in reader.await.unwrap() {
            assert_eq!(states.get(&ctime), Some(&object));
        }
    }
}
