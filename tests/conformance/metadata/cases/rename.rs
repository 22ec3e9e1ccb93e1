//! RENAME of what is no directory, and what holds for all.

use trunkfs::metadata::{Change, Error};
use trunkfs::types::{Attributes, ObjectId};

use crate::metadata::world::{ALICE, World, entries_changed, name, refused, stale};

pub(crate) async fn every_kind_takes_another_name(world: World) {
    let root = world.superuser();
    for (name, object) in root.one_of_each(world.root).await {
        let before = root.attributes(world.root).await;
        let new = format!("new-{name}");
        let renamed = root.rename(world.root, name, world.root, &new).await.unwrap();
        assert_eq!(renamed.from.before.as_ref(), Some(&before));
        entries_changed(&renamed.from, 0);
        assert_eq!(renamed.to, renamed.from);
        assert_eq!(renamed.replaced, None);
        let expected = Attributes { ctime: renamed.object.ctime, ..object.clone() };
        assert_eq!(renamed.object, expected, "{name}");
        assert!(renamed.object.ctime > object.ctime);
        assert_eq!(root.attributes(object.id).await, renamed.object);
        assert_eq!(root.attributes(world.root).await, renamed.from.after);
        assert_eq!(root.find(world.root, name).await, None);
        assert_eq!(root.find(world.root, new).await, Some(renamed.object));
    }
}

pub(crate) async fn into_another_directory(world: World) {
    let root = world.superuser();
    let to = root.dir(world.root, "to").await.id;
    for (name, object) in root.one_of_each(world.root).await {
        let dirs = i32::from(object.file_type.is_directory());
        let before = (root.attributes(world.root).await, root.attributes(to).await);
        let renamed = root.rename(world.root, name, to, name).await.unwrap();
        let shown = [&renamed.from.before, &renamed.to.before].map(Option::as_ref);
        assert_eq!(shown, [Some(&before.0), Some(&before.1)]);
        entries_changed(&renamed.from, -dirs);
        entries_changed(&renamed.to, dirs);
        assert_eq!(root.attributes(world.root).await, renamed.from.after);
        assert_eq!(root.attributes(to).await, renamed.to.after);
        let parent = (dirs == 1).then_some(to);
        assert_eq!((renamed.object.id, renamed.object.parent), (object.id, parent), "{name}");
        assert_eq!(root.find(to, name).await, Some(renamed.object));
        assert_eq!(root.find(world.root, name).await, None);
    }
}

pub(crate) async fn what_has_the_name_is_replaced(world: World) {
    let root = world.superuser();
    let other = root.dir(world.root, "other").await.id;
    for to in [world.root, other] {
        let old = root.file(to, "old").await;
        let new = root.symlink(world.root, "new", "x").await.unwrap().object;
        let renamed = root.rename(world.root, "new", to, "old").await.unwrap();
        entries_changed(&renamed.from, 0);
        entries_changed(&renamed.to, 0);
        let replaced = renamed.replaced.unwrap();
        assert_eq!((replaced.attributes.id, replaced.attributes.nlink), (old.id, 0));
        assert_eq!(replaced.freed, old.content.map(|content| content.id));
        assert!(replaced.attributes.ctime > old.ctime);
        stale(root.getattr(old.id).await);
        assert_eq!(root.find(to, "old").await.unwrap().id, new.id);
        assert_eq!(root.find(world.root, "new").await, None);
    }
}

pub(crate) async fn a_replaced_object_with_other_names_stays(world: World) {
    let root = world.superuser();
    let old = root.file(world.root, "old").await;
    root.link(old.id, world.root, "kept").await.unwrap();
    root.file(world.root, "new").await;
    let renamed = root.rename(world.root, "new", world.root, "old").await.unwrap();
    let replaced = renamed.replaced.unwrap();
    assert_eq!((replaced.attributes.nlink, replaced.freed), (1, None));
    assert!(replaced.attributes.ctime > old.ctime);
    assert_eq!(root.find(world.root, "kept").await, Some(replaced.attributes));
}

/// POSIX: where both names lead to one object, rename does nothing and succeeds.
pub(crate) async fn two_names_of_one_object_stay_both(world: World) {
    let root = world.superuser();
    let dir = root.dir(world.root, "dir").await.id;
    let file = root.file(world.root, "one").await;
    root.link(file.id, world.root, "two").await.unwrap();
    let file = root.link(file.id, dir, "three").await.unwrap().object;
    let before = world.snapshot().await;
    for (to, name) in [(world.root, "one"), (world.root, "two"), (dir, "three")] {
        let renamed = root.rename(world.root, "one", to, name).await.unwrap();
        assert_eq!(renamed.object, file);
        assert_eq!(renamed.replaced, None);
        assert_eq!(renamed.from, Change::none(root.attributes(world.root).await));
        assert_eq!(renamed.to, Change::none(root.attributes(to).await));
    }
    let folder = root.rename(world.root, "dir", world.root, "dir").await.unwrap();
    assert_eq!(folder.object.id, dir);
    assert_eq!(world.snapshot().await, before);
}

/// The entry keeps its cookie, so that a scan under way neither misses nor repeats it.
pub(crate) async fn the_entry_keeps_its_cookie(world: World) {
    let root = world.superuser();
    let to = root.dir(world.root, "to").await.id;
    let cookies = |listed: Vec<trunkfs::metadata::DirectoryEntry>| {
        listed.into_iter().map(|entry| (entry.cookie, entry.object)).collect::<Vec<_>>()
    };
    for name in ["a", "b", "c", "d"] {
        root.file(world.root, name).await;
    }
    let before = cookies(root.list(world.root).await);
    root.rename(world.root, "b", world.root, "z").await.unwrap();
    root.rename(world.root, "d", world.root, "0").await.unwrap();
    assert_eq!(cookies(root.list(world.root).await), before);
    root.rename(world.root, "c", to, "c").await.unwrap();
    let moved = cookies(root.list(to).await);
    assert_eq!(moved.len(), 1);
    assert!(before.contains(&moved[0]));
}

/// A scan between the two shows the name once.
pub(crate) async fn a_replaced_entry_keeps_its_cookie(world: World) {
    let root = world.superuser();
    for name in ["a", "b", "c"] {
        root.file(world.root, name).await;
    }
    let before = root.list(world.root).await;
    let entry = |it: &str| before.iter().find(|entry| entry.name == name(it)).unwrap();
    let shown = async || {
        let listed = root.list(world.root).await;
        let found: Vec<_> = listed.iter().filter(|entry| entry.name == name("b")).collect();
        assert_eq!(found.len(), 1);
        (listed.len(), found[0].cookie, found[0].object)
    };
    root.rename(world.root, "c", world.root, "b").await.unwrap();
    assert_eq!(shown().await, (2, entry("b").cookie, entry("c").object));
    root.rename(world.root, "a", world.root, "b").await.unwrap();
    assert_eq!(shown().await, (1, entry("b").cookie, entry("a").object));
}

pub(crate) async fn what_is_not_there_is_not_found(world: World) {
    let root = world.superuser();
    let dir = root.dir(world.root, "dir").await;
    root.file(dir.id, "file").await;
    let before = world.snapshot().await;
    for (to, name) in [(world.root, "x"), (dir.id, "x"), (dir.id, "file")] {
        let answer = root.rename(world.root, "missing", to, name).await;
        let refusal = refused(answer, Error::NotFound);
        assert_eq!(refusal.first.unwrap().id, world.root);
        assert_eq!(*refusal.second.unwrap(), root.attributes(to).await);
    }
    assert_eq!(world.snapshot().await, before);
}

pub(crate) async fn directories_on_both_sides(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let here = root.attributes(world.root).await;
    let refusal = refused(root.rename(world.root, "file", file.id, "x").await, Error::NotDirectory);
    assert_eq!((refusal.first.as_deref(), refusal.second.as_deref()), (Some(&here), Some(&file)));
    let refusal = refused(root.rename(file.id, "x", world.root, "y").await, Error::NotDirectory);
    assert_eq!((refusal.first.as_deref(), refusal.second.as_deref()), (Some(&file), Some(&here)));
    let never = ObjectId::generate();
    let refusal = refused(root.rename(world.root, "file", never, "x").await, Error::Stale);
    assert_eq!((refusal.first.as_deref(), refusal.second), (Some(&here), None));
    let refusal = refused(root.rename(never, "file", world.root, "x").await, Error::Stale);
    assert_eq!((refusal.first, refusal.second.as_deref()), (None, Some(&here)));
}

pub(crate) async fn names_of_any_bytes(world: World) {
    let alice = world.user(ALICE);
    let long = [0xff; 255];
    let file = alice.file(world.root, long).await.id;
    let other = [&[1; 254][..], b"\xfe"].concat();
    alice.rename(world.root, long, world.root, &other).await.unwrap();
    assert_eq!(alice.find(world.root, long).await, None);
    assert_eq!(alice.find(world.root, &other).await.unwrap().id, file);
    alice.rename(world.root, &other, world.root, "\n").await.unwrap();
    assert_eq!(alice.list(world.root).await[0].name.as_bytes(), b"\n");
}

/// What was once in a name's place does not matter later.
pub(crate) async fn names_go_round(world: World) {
    let root = world.superuser();
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(root.file(world.root, name).await.id);
    }
    for (from, to) in [("a", "tmp"), ("b", "a"), ("c", "b"), ("tmp", "c")] {
        root.rename(world.root, from, world.root, to).await.unwrap();
    }
    for (name, id) in [("a", ids[1]), ("b", ids[2]), ("c", ids[0])] {
        assert_eq!(root.find(world.root, name).await.unwrap().id, id);
    }
}
