//! SYMLINK and READLINK.

use trunkfs::metadata::{Error, SetAttributes, SetTime};
use trunkfs::types::{FileType, Timestamp};

use crate::metadata::world::{ALICE, World, mode, name, refused, target};

pub(crate) async fn targets_are_any_bytes(world: World) {
    let root = world.superuser();
    let every: Vec<u8> = (1..=255).collect();
    let longest = vec![b'/'; 4095];
    let targets: [&[u8]; 7] =
        [b"x", b"..", b"/a//b/../c", b"\xff\xfe", b"not there", &every, &longest];
    for (number, to) in targets.into_iter().enumerate() {
        let link = root.symlink(world.root, format!("{number}"), to).await.unwrap().object;
        assert_eq!(link.size, to.len() as u64);
        let read = root.readlink(link.id).await.unwrap();
        assert_eq!(read.target, target(to));
        assert_eq!(read.attributes, link);
    }
}

/// A symbolic link's mode means nothing; what was sent is not kept.
pub(crate) async fn a_new_link_shows_mode_0777(world: World) {
    let alice = world.user(ALICE);
    let set = SetAttributes { mtime: SetTime::To(Timestamp(3)), ..mode(0o600) };
    let made = alice
        .store
        .symlink(&alice.cx(), world.root, &name("link"), &target("x"), &set)
        .await
        .unwrap()
        .object;
    assert_eq!(made.file_type, FileType::Symlink);
    assert_eq!((made.mode, made.uid, made.gid, made.nlink), (0o777, ALICE, ALICE, 1));
    assert_eq!(made.mtime, Timestamp(3));
}

pub(crate) async fn only_links_have_targets(world: World) {
    let root = world.superuser();
    for (name, object) in root.one_of_each(world.root).await {
        if object.file_type != FileType::Symlink {
            let refusal = refused(root.readlink(object.id).await, Error::Invalid);
            assert_eq!(refusal.first.as_deref(), Some(&object), "{name}");
        }
    }
    refused(root.readlink(world.root).await, Error::Invalid);
}

pub(crate) async fn a_link_keeps_its_target_wherever_it_goes(world: World) {
    let root = world.superuser();
    let dir = root.dir(world.root, "dir").await.id;
    let link = root.symlink(world.root, "link", "to").await.unwrap().object;
    root.rename(world.root, "link", dir, "moved").await.unwrap();
    root.link(link.id, world.root, "second").await.unwrap();
    root.remove(dir, "moved").await.unwrap();
    root.setattr(link.id, crate::metadata::world::owner(Some(ALICE), None)).await.unwrap();
    let read = root.readlink(link.id).await.unwrap();
    assert_eq!((read.target, read.attributes.nlink), (target("to"), 1));
    root.remove(world.root, "second").await.unwrap();
    refused(root.readlink(link.id).await, Error::Stale);
}
