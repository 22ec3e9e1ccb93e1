//! GETATTR, and what identifies an object.

use std::collections::HashSet;

use trunkfs::metadata::Error;
use trunkfs::types::{DeviceNumbers, FileType, ObjectId, ShareId};

use crate::metadata::world::{World, refused, stale};

pub(crate) async fn every_kind_reads_back_as_it_was_made(world: World) {
    let root = world.superuser();
    for (name, object) in root.one_of_each(world.root).await {
        assert_eq!(root.attributes(object.id).await, object, "{name}");
        assert_eq!(object.fsid, world.share.fsid);
        assert_eq!(object.content.is_some(), object.file_type == FileType::Regular);
        let is_device =
            matches!(object.file_type, FileType::BlockDevice | FileType::CharacterDevice);
        let rdev =
            if is_device { DeviceNumbers { major: 7, minor: 9 } } else { DeviceNumbers::default() };
        assert_eq!(object.rdev, rdev, "{name}");
        let (nlink, parent, size) = match object.file_type {
            FileType::Directory => (2, Some(world.root), object.size),
            FileType::Symlink => (1, None, 4),
            FileType::Regular
            | FileType::BlockDevice
            | FileType::CharacterDevice
            | FileType::Socket
            | FileType::Fifo => (1, None, 0),
        };
        assert_eq!((object.nlink, object.parent, object.size), (nlink, parent, size), "{name}");
    }
}

pub(crate) async fn what_never_was_is_stale(world: World) {
    stale(world.superuser().getattr(ObjectId::generate()).await);
}

pub(crate) async fn a_removed_object_is_stale_at_once(world: World) {
    let root = world.superuser();
    for (name, object) in root.one_of_each(world.root).await {
        if object.file_type.is_directory() {
            root.rmdir(world.root, name).await.unwrap();
        } else {
            root.remove(world.root, name).await.unwrap();
        }
        stale(root.getattr(object.id).await);
        refused(root.readlink(object.id).await, Error::Stale);
        refused(root.lookup(object.id, "x").await, Error::Stale);
        refused(root.page(object.id, 0, 1).await, Error::Stale);
        refused(root.setattr(object.id, Default::default()).await, Error::Stale);
        refused(root.create(object.id, "x").await, Error::Stale);
        refused(root.link(object.id, world.root, "x").await, Error::Stale);
    }
    assert_eq!(root.names(world.root).await, [""; 0]);
}

pub(crate) async fn a_share_that_is_not_there_is_stale(world: World) {
    let mut lost = world.superuser();
    lost.share.id = ShareId(i16::MAX);
    stale(lost.getattr(world.root).await);
    refused(lost.create(world.root, "x").await, Error::Stale);
    assert!(matches!(world.store.usage(lost.share.id).await, Err(Error::Stale)));
}

/// Over two shares, and also after what had one was removed.
pub(crate) async fn fileids_are_distinct_and_not_zero(world: World) {
    let other = world.another().await;
    let mut seen = HashSet::new();
    for world in [&world, &other] {
        let root = world.superuser();
        seen.insert(root.attributes(world.root).await.fileid);
        for _ in 0..20 {
            seen.insert(root.file(world.root, "again").await.fileid);
            root.remove(world.root, "again").await.unwrap();
        }
    }
    assert_eq!(seen.len(), 42);
    assert!(seen.iter().all(|fileid| fileid.0 != 0 && fileid.0 <= i64::MAX as u64));
}
