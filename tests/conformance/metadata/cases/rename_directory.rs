//! RENAME of directories, and over them.

use trunkfs::metadata::Error;

use crate::metadata::world::{World, entries_changed, refused, stale};

pub(crate) async fn what_lies_below_moves_along(world: World) {
    let root = world.superuser();
    let (from, to) = (root.dir(world.root, "from").await.id, root.dir(world.root, "to").await.id);
    let dir = root.dir(from, "dir").await.id;
    let sub = root.dir(dir, "sub").await.id;
    let file = root.file(sub, "file").await;
    let renamed = root.rename(from, "dir", to, "moved").await.unwrap();
    entries_changed(&renamed.from, -1);
    entries_changed(&renamed.to, 1);
    assert_eq!((renamed.object.nlink, renamed.object.parent), (3, Some(to)));
    assert_eq!(root.find(dir, "sub").await.unwrap().id, sub);
    assert_eq!(root.find(sub, "file").await, Some(file));
    assert_eq!(root.attributes(from).await.nlink, 2);
    assert_eq!(root.attributes(to).await.nlink, 3);
    root.rmdir(world.root, "from").await.unwrap();
}

pub(crate) async fn not_into_itself_or_below(world: World) {
    let root = world.superuser();
    let dir = root.dir(world.root, "dir").await.id;
    let sub = root.dir(dir, "sub").await.id;
    let deep = root.dir(sub, "deep").await.id;
    root.file(deep, "file").await;
    let before = world.snapshot().await;
    for (to, name) in
        [(dir, "x"), (sub, "x"), (deep, "x"), (deep, "file"), (sub, "deep"), (dir, "sub")]
    {
        let refusal = refused(root.rename(world.root, "dir", to, name).await, Error::Invalid);
        assert_eq!(*refusal.first.unwrap(), before[&Vec::new()].1);
        assert_eq!(refusal.second.unwrap().id, to);
    }
    refused(root.rename(dir, "sub", deep, "x").await, Error::Invalid);
    assert_eq!(world.snapshot().await, before);
}

/// Up, down beside itself, and under what was its sibling's child.
pub(crate) async fn elsewhere_in_the_tree(world: World) {
    let root = world.superuser();
    let a = root.dir(world.root, "a").await.id;
    let b = root.dir(a, "b").await.id;
    let c = root.dir(b, "c").await.id;
    root.rename(b, "c", world.root, "c").await.unwrap();
    root.rename(world.root, "a", c, "a").await.unwrap();
    root.rename(a, "b", c, "b").await.unwrap();
    let mut names = root.names(c).await;
    names.sort();
    assert_eq!(names, ["a", "b"]);
    let count = |nlink| nlink - 2;
    assert_eq!(count(root.attributes(world.root).await.nlink), 1);
    assert_eq!(count(root.attributes(c).await.nlink), 2);
    assert_eq!(count(root.attributes(a).await.nlink), 0);
    // What was below is above now.
    refused(root.rename(world.root, "c", b, "x").await, Error::Invalid);
}

pub(crate) async fn over_an_empty_directory(world: World) {
    let root = world.superuser();
    let other = root.dir(world.root, "other").await.id;
    // In one directory the replaced one is lost; across, the target's count stays.
    for (to, from_subdirs, to_subdirs) in [(world.root, -1, -1), (other, -1, 0)] {
        let old = root.dir(to, "old").await;
        let new = root.dir(world.root, "new").await;
        root.file(new.id, "file").await;
        let renamed = root.rename(world.root, "new", to, "old").await.unwrap();
        entries_changed(&renamed.from, from_subdirs);
        entries_changed(&renamed.to, to_subdirs);
        let replaced = renamed.replaced.unwrap();
        assert_eq!((replaced.attributes.id, replaced.attributes.nlink), (old.id, 0));
        assert_eq!(replaced.freed, None);
        stale(root.getattr(old.id).await);
        assert_eq!(root.find(to, "old").await, Some(renamed.object));
    }
    assert_eq!(root.attributes(world.root).await.nlink, 4);
    assert_eq!(root.attributes(other).await.nlink, 3);
}

pub(crate) async fn not_over_a_directory_with_entries(world: World) {
    let root = world.superuser();
    let full = root.dir(world.root, "full").await.id;
    root.file(full, "file").await;
    root.dir(world.root, "dir").await;
    let sub = root.dir(world.root, "sub").await.id;
    root.dir(sub, "dir").await;
    let before = world.snapshot().await;
    for from in [world.root, sub] {
        let answer = root.rename(from, "dir", world.root, "full").await;
        let refusal = refused(answer, Error::NotEmpty);
        assert_eq!(refusal.first.unwrap().id, from);
        assert_eq!(*refusal.second.unwrap(), before[&Vec::new()].1);
    }
    assert_eq!(world.snapshot().await, before);
    root.remove(full, "file").await.unwrap();
    root.rename(sub, "dir", world.root, "full").await.unwrap();
}

pub(crate) async fn a_child_over_its_parents_name_is_not_empty(world: World) {
    let root = world.superuser();
    let dir = root.dir(world.root, "dir").await.id;
    root.dir(dir, "sub").await;
    let before = world.snapshot().await;
    refused(root.rename(dir, "sub", world.root, "dir").await, Error::NotEmpty);
    assert_eq!(world.snapshot().await, before);
}

pub(crate) async fn kinds_do_not_replace_each_other(world: World) {
    let root = world.superuser();
    let kinds = root.one_of_each(world.root).await;
    let empty = root.dir(world.root, "empty").await.id;
    root.dir(empty, "sub").await;
    let before = world.snapshot().await;
    for (name, object) in &kinds {
        if object.file_type.is_directory() {
            continue;
        }
        for target in ["dir", "empty"] {
            let answer = root.rename(world.root, name, world.root, target).await;
            refused(answer, Error::IsDirectory);
        }
        for from in [(world.root, "dir"), (empty, "sub")] {
            let answer = root.rename(from.0, from.1, world.root, name).await;
            let refusal = refused(answer, Error::NotDirectory);
            assert_eq!(refusal.first.unwrap().id, from.0);
        }
    }
    assert_eq!(world.snapshot().await, before);
}

/// A directory of a moved tree is still found from below.
pub(crate) async fn dot_dot_follows(world: World) {
    let root = world.superuser();
    let a = root.dir(world.root, "a").await.id;
    let b = root.dir(world.root, "b").await.id;
    let dir = root.dir(a, "dir").await.id;
    for (from, to) in [(a, b), (b, world.root), (world.root, a)] {
        root.rename(from, "dir", to, "dir").await.unwrap();
        let parent = root.parent(dir).await.unwrap().object.unwrap();
        assert_eq!(parent, root.attributes(to).await);
        assert_eq!(root.page(dir, 0, 1).await.unwrap().parent_fileid, parent.fileid);
    }
}
