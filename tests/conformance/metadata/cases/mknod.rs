//! MKNOD.

use trunkfs::metadata::Error;
use trunkfs::types::{DeviceNumbers, FileType};

use crate::metadata::world::{ALICE, World, refused};

pub(crate) async fn device_numbers_come_back(world: World) {
    let root = world.superuser();
    let numbers =
        [(0, 0), (8, 1), (u32::MAX, 0), (0, u32::MAX), (u32::MAX, u32::MAX), (1 << 31, 1 << 31)];
    for kind in [FileType::BlockDevice, FileType::CharacterDevice] {
        for (major, minor) in numbers {
            let name = format!("{kind:?}-{major}-{minor}");
            let made = root.mknod(world.root, &name, kind, (major, minor)).await.unwrap().object;
            assert_eq!((made.file_type, made.rdev), (kind, DeviceNumbers { major, minor }));
            assert_eq!((made.mode, made.size, made.nlink), (0o600, 0, 1));
            assert_eq!(root.attributes(made.id).await, made);
        }
    }
}

pub(crate) async fn only_devices_have_device_numbers(world: World) {
    let alice = world.user(ALICE);
    for (name, kind) in [("fifo", FileType::Fifo), ("socket", FileType::Socket)] {
        let made = alice.mknod(world.root, name, kind, (3, 4)).await.unwrap().object;
        assert_eq!((made.file_type, made.rdev), (kind, DeviceNumbers::default()));
        assert_eq!((made.uid, made.gid), (ALICE, ALICE));
    }
}

pub(crate) async fn devices_are_made_by_the_superuser_alone(world: World) {
    let alice = world.user(ALICE);
    let before = world.snapshot().await;
    for kind in [FileType::BlockDevice, FileType::CharacterDevice] {
        let answer = alice.mknod(world.root, "device", kind, (1, 2)).await;
        let refusal = refused(answer, Error::NotPermitted);
        assert_eq!(*refusal.first.unwrap(), before[&Vec::new()].1);
    }
    assert_eq!(world.snapshot().await, before);
}

pub(crate) async fn other_kinds_are_no_nodes(world: World) {
    let before = world.snapshot().await;
    for caller in [world.user(ALICE), world.superuser()] {
        for kind in [FileType::Regular, FileType::Directory, FileType::Symlink] {
            let answer = caller.mknod(world.root, "node", kind, (0, 0)).await;
            let refusal = refused(answer, Error::BadType);
            assert_eq!(*refusal.first.unwrap(), before[&Vec::new()].1);
        }
    }
    assert_eq!(world.snapshot().await, before);
}

pub(crate) async fn a_parent_that_is_no_directory_comes_first(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let answer = world.user(ALICE).mknod(file.id, "node", FileType::BlockDevice, (0, 0)).await;
    refused(answer, Error::NotDirectory);
    root.remove(world.root, "file").await.unwrap();
    refused(root.mknod(file.id, "node", FileType::Fifo, (0, 0)).await, Error::Stale);
}
