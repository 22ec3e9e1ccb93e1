//! REMOVE and RMDIR.

use trunkfs::metadata::Error;
use trunkfs::types::Timestamp;

use crate::metadata::world::{World, entries_changed, refused, size, stale};

pub(crate) async fn the_last_name_takes_the_object_along(world: World) {
    let root = world.superuser();
    for (name, object) in root.one_of_each(world.root).await {
        if object.file_type.is_directory() {
            continue;
        }
        let before = root.attributes(world.root).await;
        let removed = root.remove(world.root, name).await.unwrap();
        assert_eq!(removed.directory.before.as_ref(), Some(&before));
        entries_changed(&removed.directory, 0);
        assert_eq!(root.attributes(world.root).await, removed.directory.after);
        let gone = removed.object;
        assert_eq!((gone.attributes.id, gone.attributes.nlink), (object.id, 0), "{name}");
        assert_eq!(gone.freed, object.content.map(|content| content.id));
        assert!(gone.attributes.ctime > object.ctime);
        stale(root.getattr(object.id).await);
        assert_eq!(root.find(world.root, name).await, None);
    }
}

pub(crate) async fn another_name_keeps_the_object(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "one").await;
    let linked = root.link(file.id, world.root, "two").await.unwrap().object;
    let removed = root.remove(world.root, "one").await.unwrap().object;
    assert_eq!(removed.freed, None);
    assert_eq!(removed.attributes.nlink, 1);
    assert!(removed.attributes.ctime > linked.ctime);
    assert_eq!(removed.attributes.mtime, linked.mtime);
    assert_eq!(root.attributes(file.id).await, removed.attributes);
    assert_eq!(root.find(world.root, "two").await, Some(removed.attributes));
    let removed = root.remove(world.root, "two").await.unwrap().object;
    assert_eq!(removed.freed, file.content.map(|content| content.id));
}

/// What is freed is the content that the file has now.
pub(crate) async fn the_present_content_is_freed(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let emptied = root.setattr(file.id, size(0)).await.unwrap().change.after;
    let removed = root.remove(world.root, "file").await.unwrap().object;
    assert_eq!(removed.freed, Some(emptied.content.unwrap().id));
    assert_ne!(removed.freed, Some(file.content.unwrap().id));
}

pub(crate) async fn what_is_not_there_is_not_found(world: World) {
    let root = world.superuser();
    root.file(world.root, "file").await;
    let before = world.snapshot().await;
    for name in ["missing", "fil", "file2", "File"] {
        let here = Some(&before[&Vec::new()].1);
        let refusal = refused(root.remove(world.root, name).await, Error::NotFound);
        assert_eq!(refusal.first.as_deref(), here);
        let refusal = refused(root.rmdir(world.root, name).await, Error::NotFound);
        assert_eq!(refusal.first.as_deref(), here);
    }
    assert_eq!(world.snapshot().await, before);
    root.remove(world.root, "file").await.unwrap();
    refused(root.remove(world.root, "file").await, Error::NotFound);
}

pub(crate) async fn directories_are_removed_by_rmdir_alone(world: World) {
    let root = world.superuser();
    let kinds = root.one_of_each(world.root).await;
    let before = world.snapshot().await;
    for (name, object) in kinds {
        let refusal = if object.file_type.is_directory() {
            refused(root.remove(world.root, name).await, Error::IsDirectory)
        } else {
            refused(root.rmdir(world.root, name).await, Error::NotDirectory)
        };
        assert_eq!(*refusal.first.unwrap(), before[&Vec::new()].1);
    }
    assert_eq!(world.snapshot().await, before);
}

pub(crate) async fn an_empty_directory_goes(world: World) {
    let root = world.superuser();
    let dir = root.dir(world.root, "dir").await;
    let before = root.attributes(world.root).await;
    let removed = root.rmdir(world.root, "dir").await.unwrap();
    assert_eq!(removed.directory.before.as_ref(), Some(&before));
    entries_changed(&removed.directory, -1);
    assert_eq!((removed.object.attributes.id, removed.object.attributes.nlink), (dir.id, 0));
    assert_eq!(removed.object.freed, None);
    stale(root.getattr(dir.id).await);
    assert_eq!(root.names(world.root).await, [""; 0]);
}

pub(crate) async fn a_directory_with_entries_stays(world: World) {
    let root = world.superuser();
    for kind in 0..3 {
        let dir = root.dir(world.root, "dir").await.id;
        match kind {
            0 => {
                root.file(dir, "x").await;
            }
            1 => {
                root.dir(dir, "x").await;
            }
            _ => drop(root.symlink(dir, "x", "to").await.unwrap()),
        }
        let before = world.snapshot().await;
        let refusal = refused(root.rmdir(world.root, "dir").await, Error::NotEmpty);
        assert_eq!(*refusal.first.unwrap(), before[&Vec::new()].1);
        assert_eq!(world.snapshot().await, before);
        // The last entry leaves in one way or another.
        match kind {
            0 => drop(root.rename(dir, "x", world.root, "moved").await.unwrap()),
            1 => drop(root.rmdir(dir, "x").await.unwrap()),
            _ => drop(root.remove(dir, "x").await.unwrap()),
        }
        root.rmdir(world.root, "dir").await.unwrap();
    }
}

pub(crate) async fn a_directory_that_is_gone_is_stale(world: World) {
    let root = world.superuser();
    let dir = root.dir(world.root, "dir").await.id;
    root.rmdir(world.root, "dir").await.unwrap();
    refused(root.remove(dir, "x").await, Error::Stale);
    refused(root.rmdir(dir, "x").await, Error::Stale);
    let file = root.file(world.root, "file").await;
    for answer in [root.remove(file.id, "x").await, root.rmdir(file.id, "x").await] {
        assert_eq!(refused(answer, Error::NotDirectory).first.as_deref(), Some(&file));
    }
}

pub(crate) async fn a_name_can_be_made_anew_after_it(world: World) {
    let root = world.superuser();
    let mut seen = std::collections::HashSet::new();
    for round in 0..10 {
        let object = if round % 2 == 0 {
            let object = root.file(world.root, "name").await;
            root.remove(world.root, "name").await.unwrap();
            object
        } else {
            let object = root.dir(world.root, "name").await;
            root.rmdir(world.root, "name").await.unwrap();
            object
        };
        assert!(seen.insert(object.id));
        assert!(root.attributes(world.root).await.mtime > Timestamp(0));
    }
    assert_eq!(root.attributes(world.root).await.nlink, 2);
}
