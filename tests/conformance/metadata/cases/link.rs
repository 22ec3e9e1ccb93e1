//! LINK.

use trunkfs::metadata::Error;
use trunkfs::types::{Attributes, ObjectId};

use crate::metadata::world::{ALICE, World, entries_changed, refused, stale};

pub(crate) async fn every_kind_but_directories_takes_names(world: World) {
    let root = world.superuser();
    let dir = root.dir(world.root, "other").await.id;
    for (name, object) in root.one_of_each(world.root).await {
        if object.file_type.is_directory() {
            continue;
        }
        let before = root.attributes(dir).await;
        let linked = root.link(object.id, dir, name).await.unwrap();
        assert_eq!(linked.directory.before.as_ref(), Some(&before));
        entries_changed(&linked.directory, 0);
        assert_eq!(root.attributes(dir).await, linked.directory.after);
        let expected = Attributes { nlink: 2, ctime: linked.object.ctime, ..object.clone() };
        assert_eq!(linked.object, expected, "{name}");
        assert!(linked.object.ctime > object.ctime);
        assert_eq!(root.find(dir, name).await, Some(linked.object.clone()));
        assert_eq!(root.find(world.root, name).await, Some(linked.object));
    }
}

pub(crate) async fn directories_take_no_second_name(world: World) {
    let root = world.superuser();
    let dir = root.dir(world.root, "dir").await;
    let before = world.snapshot().await;
    for object in [dir.id, world.root] {
        let refusal = refused(root.link(object, world.root, "x").await, Error::IsDirectory);
        assert_eq!(refusal.first.unwrap().id, object);
        assert_eq!(*refusal.second.unwrap(), before[&Vec::new()].1);
    }
    assert_eq!(world.snapshot().await, before);
}

pub(crate) async fn a_taken_name_is_refused(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    root.file(world.root, "taken").await;
    root.dir(world.root, "dir").await;
    let before = world.snapshot().await;
    for name in ["file", "taken", "dir"] {
        let refusal = refused(root.link(file.id, world.root, name).await, Error::Exists);
        assert_eq!(refusal.first.as_deref(), Some(&file));
        assert_eq!(*refusal.second.unwrap(), before[&Vec::new()].1);
    }
    assert_eq!(world.snapshot().await, before);
}

pub(crate) async fn names_live_in_directories_only(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let fifo = root.fifo(world.root, "fifo").await.unwrap().object;
    let refusal = refused(root.link(file.id, fifo.id, "x").await, Error::NotDirectory);
    assert_eq!(refusal.first.as_deref(), Some(&file));
    assert_eq!(refusal.second.as_deref(), Some(&fifo));
}

pub(crate) async fn what_is_gone_is_stale_and_what_is_there_is_shown(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let dir = root.dir(world.root, "dir").await;
    root.rmdir(world.root, "dir").await.unwrap();
    let refusal = refused(root.link(file.id, dir.id, "x").await, Error::Stale);
    assert_eq!((refusal.first.as_deref(), refusal.second), (Some(&file), None));
    root.remove(world.root, "file").await.unwrap();
    let refusal = refused(root.link(file.id, world.root, "x").await, Error::Stale);
    assert_eq!(refusal.first, None);
    assert_eq!(*refusal.second.unwrap(), root.attributes(world.root).await);
    let never = ObjectId::generate();
    let refusal = refused(root.link(never, never, "x").await, Error::Stale);
    assert_eq!((refusal.first, refusal.second), (None, None));
}

pub(crate) async fn names_come_and_go_in_any_order(world: World) {
    let alice = world.user(ALICE);
    let file = alice.file(world.root, "0").await.id;
    let mut directories = vec![world.root];
    for number in 1..20_usize {
        if number % 5 == 0 {
            directories.push(alice.dir(world.root, format!("d{number}")).await.id);
        }
        let directory = directories[number % directories.len()];
        let linked = alice.link(file, directory, format!("{number}")).await.unwrap();
        assert_eq!(linked.object.nlink as usize, number + 1);
    }
    let mut names = Vec::new();
    for directory in directories {
        for entry in alice.list(directory).await {
            if entry.object == file {
                names.push((directory, entry.name));
            }
        }
    }
    assert_eq!(names.len(), 20);
    for (removed, (directory, name)) in (1..).zip(names.iter().rev()) {
        let lost = alice.remove(*directory, name.as_bytes()).await.unwrap().object;
        assert_eq!(lost.attributes.nlink, 20 - removed);
        assert_eq!(lost.freed.is_some(), removed == 20);
    }
    stale(alice.getattr(file).await);
}
