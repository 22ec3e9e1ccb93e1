//! Calls that are over before they are done: nothing is changed, or all of it.

use std::time::Duration;

use rand::Rng as _;
use tokio::task::JoinSet;
use tokio::time::Instant;
use trunkfs::metadata::{Answer, Error};
use trunkfs::types::Timestamp;

use crate::metadata::world::{Caller, World, mode, refused, size, stale, written};
use crate::operations::{Expected, Operation, Scene};
use crate::steps::{Giving, Left, every_wait, give};

/// What every call names.
async fn prepare(world: &World) -> Caller {
    let root = world.superuser();
    root.one_of_each(world.root).await;
    root
}

async fn every_call_is_cancelled(world: World, over: Caller) {
    let root = prepare(&world).await;
    let before = world.snapshot().await;
    let top = world.root;
    let file = root.find(top, "file").await.unwrap();
    let link = root.find(top, "symlink").await.unwrap().id;
    let flush = written(&file, 10, Timestamp::now());

    assert!(matches!(over.getattr(top).await, Err(Error::Cancelled)));
    refused(over.lookup(top, "file").await, Error::Cancelled);
    refused(over.parent(top).await, Error::Cancelled);
    refused(over.readlink(link).await, Error::Cancelled);
    refused(over.page(top, 0, 10).await, Error::Cancelled);
    refused(over.setattr(file.id, size(5)).await, Error::Cancelled);
    refused(over.create(top, "new").await, Error::Cancelled);
    refused(over.unchecked(top, "new").await, Error::Cancelled);
    refused(over.exclusive(top, "new", 1).await, Error::Cancelled);
    refused(over.mkdir(top, "new").await, Error::Cancelled);
    refused(over.symlink(top, "new", "x").await, Error::Cancelled);
    refused(over.fifo(top, "new").await, Error::Cancelled);
    refused(over.remove(top, "file").await, Error::Cancelled);
    refused(over.rmdir(top, "dir").await, Error::Cancelled);
    refused(over.rename(top, "file", top, "new").await, Error::Cancelled);
    refused(over.link(file.id, top, "new").await, Error::Cancelled);
    refused(over.flush(file.id, &flush).await, Error::Cancelled);
    refused(over.begin_zeroing(file.id, file.content.unwrap()).await, Error::Cancelled);

    assert_eq!(world.snapshot().await, before);
}

pub(crate) async fn a_cancelled_call_changes_nothing(world: World) {
    let over = world.superuser();
    over.cancel.cancel();
    every_call_is_cancelled(world, over).await;
}

pub(crate) async fn a_call_past_its_deadline_changes_nothing(world: World) {
    let mut over = world.superuser();
    over.deadline = Some(Instant::now().checked_sub(Duration::from_millis(1)).unwrap());
    every_call_is_cancelled(world, over).await;
}

/// Which of the two an answer means; anything else is wrong.
#[track_caller]
fn done<T: std::fmt::Debug>(answer: Answer<T>) -> bool {
    match answer {
        Ok(_) => true,
        Err(refusal) => {
            assert!(matches!(refusal.error, Error::Cancelled), "{refusal:?}");
            false
        }
    }
}

/// Up to a time in which some calls end and some do not.
fn moment() -> Duration {
    Duration::from_micros(rand::rng().random_range(0..3_000))
}

fn ending(world: &World) -> Caller {
    let caller = world.superuser();
    let cancel = caller.cancel.clone();
    let moment = moment();
    tokio::spawn(async move {
        tokio::time::sleep(moment).await;
        cancel.cancel();
    });
    caller
}

/// The answer says what became of the operation.
pub(crate) async fn a_call_cancelled_under_way_is_done_or_not(world: World) {
    let root = world.superuser();
    let top = world.root;
    for _ in 0..25 {
        let made = done(ending(&world).create(top, "a").await);
        assert_eq!(root.find(top, "a").await.is_some(), made);
        let file =
            if made { root.find(top, "a").await.unwrap() } else { root.file(top, "a").await };
        let linked = done(ending(&world).link(file.id, top, "b").await);
        assert_eq!(root.attributes(file.id).await.nlink == 2, linked);
        let set = done(ending(&world).setattr(file.id, mode(0o111)).await);
        assert_eq!(root.attributes(file.id).await.mode == 0o111, set);
        let flush = written(&file, 10, Timestamp::now());
        let flushed = done(ending(&world).flush(file.id, &flush).await);
        assert_eq!(root.attributes(file.id).await.size == 10, flushed);
        let renamed = done(ending(&world).rename(top, "a", top, "c").await);
        let name = if renamed { "c" } else { "a" };
        assert_eq!(root.find(top, name).await.unwrap().id, file.id);
        let removed = done(ending(&world).remove(top, name).await);
        assert_eq!(root.find(top, name).await.is_none(), removed);
        for entry in root.list(top).await {
            root.remove(top, entry.name.as_bytes()).await.unwrap();
        }
        stale(root.getattr(file.id).await);
    }
}

pub(crate) async fn a_deadline_that_comes_under_way(world: World) {
    let root = world.superuser();
    for number in 0..60 {
        let mut caller = world.superuser();
        caller.deadline = Some(Instant::now() + moment());
        let name = format!("{number}");
        let made = done(caller.mkdir(world.root, &name).await);
        assert_eq!(root.find(world.root, &name).await.is_some(), made);
    }
}

/// Whoever waits goes away, and what was sent may still come through; then all of it does.
pub(crate) async fn a_dropped_call_leaves_the_store_usable(world: World) {
    let root = world.superuser();
    let dir = root.dir(world.root, "dir").await.id;
    for number in 0..60 {
        let name = format!("{number}");
        for _ in 0..3 {
            tokio::time::timeout(moment(), root.unchecked(world.root, &name)).await.ok();
            tokio::time::timeout(moment(), root.rename(world.root, &name, dir, &name)).await.ok();
            tokio::time::timeout(moment(), root.page(dir, 0, 10)).await.ok();
            tokio::time::timeout(moment(), root.remove(dir, &name)).await.ok();
        }
        if number % 10 == 0 {
            assert_eq!(world.store.inconsistencies().await.unwrap(), [""; 0]);
        }
    }
    assert!(root.create(world.root, "last").await.unwrap().made);
}

/// More callers than connections, of whom half give up.
pub(crate) async fn callers_that_give_up_hold_nobody_up(world: World) {
    let mut calls = Vec::new();
    for number in 0..120 {
        let patient = number % 2 == 0;
        let caller = if patient { world.superuser() } else { ending(&world) };
        let top = world.root;
        calls.push(tokio::spawn(async move {
            let made = done(caller.create(top, format!("{number}")).await);
            assert!(made || !patient);
            made
        }));
    }
    let mut made = 0;
    for call in calls {
        made += usize::from(call.await.unwrap());
    }
    assert_eq!(world.superuser().list(world.root).await.len(), made);
}

/// Gives the operation up at its first wait, at its second, and so on; scenes are looked at again at the end,
/// when whatever was still on its way has come through.
async fn given_up_wherever_it_waits(world: World, operation: Operation, giving: Giving) {
    let World { store, share, .. } = &world;
    let expected = Expected::of(operation, store, share).await;
    let mut scenes = Vec::new();
    for waits in every_wait() {
        let scene = Scene::make(store, share).await;
        let cx = scene.cx();
        let (outcome, given_up) =
            match give(giving, scene.call(operation, &cx), waits, &cx.call.cancel).await {
                Left::Dropped => (expected.settle(&scene).await, true),
                Left::Ended(answer) => {
                    (expected.check(&answer, &scene.state().await.unwrap()), true)
                }
                Left::Done(answer) => {
                    (expected.check(&answer, &scene.state().await.unwrap()), false)
                }
            };
        scenes.push((scene, outcome));
        if !given_up {
            break;
        }
    }
    for (scene, outcome) in scenes {
        expected.recheck(&scene, outcome, giving == Giving::Away).await;
    }
}

async fn every_one(world: World, operations: &[Operation], giving: Giving) {
    let mut calls = JoinSet::new();
    for &operation in operations {
        calls.spawn(given_up_wherever_it_waits(world.clone(), operation, giving));
    }
    calls.join_all().await;
}

pub(crate) async fn every_operation_is_cancelled_wherever_it_waits(world: World) {
    let operations = [&Operation::READING[..], &Operation::CHANGING].concat();
    every_one(world, &operations, Giving::Up).await;
}

pub(crate) async fn every_operation_is_dropped_wherever_it_waits(world: World) {
    let with_context = [&Operation::READING[..], &Operation::CHANGING].concat();
    let operations = [&with_context[..], &Operation::WITHOUT_CONTEXT].concat();
    every_one(world, &operations, Giving::Away).await;
}
