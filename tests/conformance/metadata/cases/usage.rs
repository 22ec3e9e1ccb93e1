//! What a share uses. An answer may be five seconds old, so each case asks when it is done.

use crate::metadata::world::{World, refused, size, written};

pub(crate) async fn a_new_share_has_its_root(world: World) {
    world.usage_becomes(1, 0).await;
}

pub(crate) async fn every_kind_counts_and_links_have_bytes(world: World) {
    let root = world.superuser();
    root.one_of_each(world.root).await;
    // "symlink" leads to "file".
    world.usage_becomes(8, 4).await;
}

pub(crate) async fn used_bytes_count_as_they_come_and_go(world: World) {
    let root = world.superuser();
    let a = root.file(world.root, "a").await;
    let b = root.file(world.root, "b").await;
    root.wrote(a.id, 100_000).await;
    root.setattr(a.id, size(300)).await.unwrap();
    // A hole takes nothing.
    root.setattr(a.id, size(1 << 40)).await.unwrap();
    root.flush(b.id, &written(&b, 70, b.ctime)).await.unwrap();
    root.flush(b.id, &written(&b, 50, b.ctime)).await.unwrap();
    world.usage_becomes(3, 4096 + 70).await;
}

pub(crate) async fn refused_and_superseded_changes_do_not_count(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let late = written(&file, 5000, file.ctime);
    root.wrote(file.id, 8).await;
    root.setattr(file.id, size(8)).await.unwrap();
    root.flush(file.id, &late).await.unwrap();
    let sets = root.setattr(file.id, size(u64::MAX)).await;
    refused(sets, trunkfs::metadata::Error::TooLarge);
    root.create(world.root, "file").await.unwrap_err();
    root.unchecked(world.root, "file").await.unwrap();
    root.rmdir(world.root, "file").await.unwrap_err();
    world.usage_becomes(2, 8).await;
}

pub(crate) async fn further_names_cost_nothing(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "one").await;
    root.wrote(file.id, 10).await;
    root.link(file.id, world.root, "two").await.unwrap();
    root.link(file.id, world.root, "three").await.unwrap();
    root.remove(world.root, "one").await.unwrap();
    root.rename(world.root, "two", world.root, "three").await.unwrap();
    world.usage_becomes(2, 10).await;
}

pub(crate) async fn what_goes_is_given_back(world: World) {
    let root = world.superuser();
    for (name, object) in root.one_of_each(world.root).await {
        if object.content.is_some() {
            root.wrote(object.id, 1 << 40).await;
        }
        if object.file_type.is_directory() {
            root.rmdir(world.root, name).await.unwrap();
        } else {
            root.remove(world.root, name).await.unwrap();
        }
    }
    world.usage_becomes(1, 0).await;
}

pub(crate) async fn what_is_replaced_is_given_back(world: World) {
    let root = world.superuser();
    let old = root.file(world.root, "old").await;
    root.wrote(old.id, 500).await;
    root.symlink(world.root, "new", "seven 7").await.unwrap();
    root.rename(world.root, "new", world.root, "old").await.unwrap();
    root.dir(world.root, "dir").await;
    root.dir(world.root, "empty").await;
    root.rename(world.root, "dir", world.root, "empty").await.unwrap();
    // A replaced name of an object that has another.
    let kept = root.file(world.root, "kept").await;
    root.wrote(kept.id, 30).await;
    root.link(kept.id, world.root, "other").await.unwrap();
    root.rename(world.root, "old", world.root, "other").await.unwrap();
    world.usage_becomes(4, 37).await;
}

/// Three files of the largest size are more than 64 bits can say.
pub(crate) async fn the_largest_answer(world: World) {
    let root = world.superuser();
    for name in ["a", "b", "c"] {
        let file = root.file(world.root, name).await;
        root.wrote(file.id, i64::MAX as u64).await;
    }
    world.usage_becomes(4, u64::MAX).await;
}

pub(crate) async fn more_than_can_be_said_is_given_back_to_the_byte(world: World) {
    let root = world.superuser();
    for name in ["a", "b", "c"] {
        let file = root.file(world.root, name).await;
        root.flush(file.id, &written(&file, i64::MAX as u64, file.ctime)).await.unwrap();
    }
    for name in ["a", "b"] {
        root.remove(world.root, name).await.unwrap();
    }
    world.usage_becomes(2, i64::MAX as u64).await;
}

pub(crate) async fn shares_count_apart(world: World) {
    let other = world.another().await;
    let root = other.superuser();
    let file = root.file(other.root, "file").await;
    root.wrote(file.id, 99).await;
    world.usage_becomes(1, 0).await;
    other.usage_becomes(2, 99).await;
}
