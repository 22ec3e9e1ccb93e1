//! Shares.

use std::collections::BTreeSet;

use trunkfs::metadata::{Capabilities, RootSpec, ShareSpec};
use trunkfs::types::FileType;

use crate::metadata::world::{ALICE, World, fresh_share_name, mode, share_spec};

pub(crate) async fn a_new_share_has_the_root_that_was_asked_for(world: World) {
    let spec = ShareSpec {
        root: RootSpec { uid: u32::MAX - 1, gid: u32::MAX, mode: 0o2751 },
        chunk_size: 65_536,
        ..share_spec(&fresh_share_name())
    };
    let share = world.store.open_share(&spec).await.unwrap();
    assert_eq!((&share.name, share.chunk_size), (&spec.name, 65_536));
    assert_eq!(share.capabilities, Capabilities::default());
    assert!(share.id.0 > 0);
    let root = World { root: share.root, share, ..world }.superuser();
    let top = root.attributes(root.share.root).await;
    assert_eq!((top.uid, top.gid, top.mode, top.nlink), (u32::MAX - 1, u32::MAX, 0o2751, 2));
    assert_eq!((top.file_type, top.parent), (FileType::Directory, Some(top.id)));
    assert_eq!(top.fsid, root.share.fsid);
    assert_eq!(root.names(top.id).await, [""; 0]);
}

/// What the configuration says later changes nothing silently.
pub(crate) async fn a_share_is_made_once(world: World) {
    let root = world.superuser();
    root.setattr(world.root, mode(0o711)).await.unwrap();
    root.file(world.root, "file").await;
    let before = world.snapshot().await;
    let other = ShareSpec {
        root: RootSpec { uid: ALICE, gid: ALICE, mode: 0o700 },
        chunk_size: 1 << 12,
        name: world.share.name.clone(),
    };
    assert_eq!(world.store.open_share(&other).await.unwrap(), world.share);
    assert_eq!(world.snapshot().await, before);
}

pub(crate) async fn shares_are_apart(world: World) {
    let other = world.another().await;
    assert_ne!(world.share.id, other.share.id);
    assert_ne!(world.root, other.root);
    assert_ne!(world.share.fsid, other.share.fsid);
    assert!(world.share.fsid.0 != 0 && other.share.fsid.0 != 0);
    let (here, there) = (world.superuser(), other.superuser());
    let mine = here.file(world.root, "name").await;
    assert_eq!(there.find(other.root, "name").await, None);
    let yours = there.file(other.root, "name").await;
    assert_ne!(mine.fileid, yours.fileid);
    assert_eq!((mine.fsid, yours.fsid), (world.share.fsid, other.share.fsid));
    there.remove(other.root, "name").await.unwrap();
    assert_eq!(here.find(world.root, "name").await, Some(mine));
}

pub(crate) async fn the_list_names_every_share(world: World) {
    let longest = format!("/{:-<31}", fresh_share_name().trim_start_matches('/'));
    assert_eq!(longest.len(), 32);
    let longest = world.store.open_share(&share_spec(&longest)).await.unwrap();
    let listed = world.store.shares().await.unwrap();
    let distinct: BTreeSet<&str> = listed.iter().map(|share| share.name.as_str()).collect();
    assert_eq!(distinct.len(), listed.len());
    for share in [&world.share, &longest] {
        assert!(listed.contains(share), "{} is not listed", share.name);
    }
}

/// Instances that start together.
pub(crate) async fn one_share_is_made_by_many(world: World) {
    let spec = share_spec(&fresh_share_name());
    let openings = (0..12).map(|_| {
        let (store, spec) = (world.store.clone(), spec.clone());
        tokio::spawn(async move { store.open_share(&spec).await.unwrap() })
    });
    let openings: Vec<_> = openings.collect();
    let mut shares = Vec::new();
    for opening in openings {
        shares.push(opening.await.unwrap());
    }
    assert!(shares.iter().all(|share| *share == shares[0]), "{shares:?}");
    let listed = world.store.shares().await.unwrap();
    assert_eq!(listed.iter().filter(|share| share.name == spec.name).count(), 1);
}
