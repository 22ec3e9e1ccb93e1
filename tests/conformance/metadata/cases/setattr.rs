//! SETATTR, except who may do it: that is in `permissions`.

use trunkfs::metadata::{Change, Error, SetAttributes, SetTime};
use trunkfs::types::{Attributes, FileType, Timestamp};

use crate::metadata::world::{ALICE, World, mode, owner, refused, size, times, written};

pub(crate) async fn each_attribute_is_set_by_itself(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let now = file.ctime.0;
    let sets = [
        mode(0o7531),
        owner(Some(ALICE), None),
        owner(None, Some(77)),
        times(SetTime::To(Timestamp(11)), SetTime::Keep),
        times(SetTime::Keep, SetTime::To(Timestamp(22))),
        SetAttributes { mode: Some(0o640), ..times(SetTime::To(Timestamp(0)), SetTime::Now) },
    ];
    let mut before = file;
    for (step, set) in (1..).zip(sets) {
        let now = Timestamp(now + step * 1_000);
        let done = root.at(now.0).setattr(before.id, set.clone()).await.unwrap();
        assert_eq!(done.freed, None);
        let Change { before: was, after } = done.change;
        assert_eq!(was.unwrap(), before);
        let chosen = |time, old| match time {
            SetTime::Keep => old,
            SetTime::Now => now,
            SetTime::To(time) => time,
        };
        let gives_away = set.uid.is_some() || set.gid.is_some();
        let kept = if gives_away { before.mode & !0o6000 } else { before.mode };
        let expected = Attributes {
            mode: set.mode.unwrap_or(kept),
            uid: set.uid.unwrap_or(before.uid),
            gid: set.gid.unwrap_or(before.gid),
            atime: chosen(set.atime, before.atime),
            mtime: chosen(set.mtime, before.mtime),
            ctime: now,
            mtime_version: after.mtime_version,
            ..before.clone()
        };
        assert_eq!(after, expected, "{set:?}");
        assert_eq!(after.mtime_version != before.mtime_version, set.mtime != SetTime::Keep);
        assert_eq!(root.attributes(after.id).await, after);
        before = after;
    }
}

pub(crate) async fn every_kind_has_a_mode_an_owner_and_times(world: World) {
    let root = world.superuser();
    let set = SetAttributes {
        mode: Some(0o451),
        uid: Some(u32::MAX - 1),
        gid: Some(u32::MAX),
        atime: SetTime::To(Timestamp(1)),
        mtime: SetTime::To(Timestamp(2)),
        ..SetAttributes::default()
    };
    for (name, object) in root.one_of_each(world.root).await {
        let Change { before, after } = root.setattr(object.id, set.clone()).await.unwrap().change;
        assert_eq!(before.unwrap(), object, "{name}");
        let expected = Attributes {
            mode: 0o451,
            uid: u32::MAX - 1,
            gid: u32::MAX,
            atime: Timestamp(1),
            mtime: Timestamp(2),
            ctime: after.ctime,
            mtime_version: after.mtime_version,
            ..object
        };
        assert_eq!(after, expected, "{name}");
        assert_eq!(root.attributes(after.id).await, after);
    }
}

pub(crate) async fn mode_bits_beyond_the_twelve_are_ignored(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let after = root.setattr(file.id, mode(0o177_0644)).await.unwrap().change.after;
    assert_eq!(after.mode, 0o644);
    let after = root.setattr(file.id, mode(u32::MAX)).await.unwrap().change.after;
    assert_eq!(after.mode, 0o7777);
}

pub(crate) async fn a_guard_must_equal_the_ctime(world: World) {
    let root = world.superuser();
    for (name, object) in root.one_of_each(world.root).await {
        let guarded = |guard| SetAttributes { guard: Some(guard), ..mode(0o600) };
        let ctime = object.ctime;
        for wrong in [Timestamp(ctime.0 - 1), Timestamp(ctime.0 + 1), Timestamp(0)] {
            let refusal = refused(root.setattr(object.id, guarded(wrong)).await, Error::NotSync);
            assert_eq!(refusal.first.as_deref(), Some(&object), "{name}");
        }
        assert_eq!(root.attributes(object.id).await, object);
        root.setattr(object.id, guarded(ctime)).await.unwrap();
        // It held once.
        refused(root.setattr(object.id, guarded(ctime)).await, Error::NotSync);
    }
}

pub(crate) async fn a_size_of_zero_takes_new_content(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let old = file.content.unwrap();
    root.setattr(file.id, size(100)).await.unwrap();
    let done = root.setattr(file.id, size(0)).await.unwrap();
    assert_eq!(done.freed, Some(old.id));
    let after = done.change.after;
    assert_eq!(after.size, 0);
    assert_ne!(after.content.unwrap().id, old.id);
    assert_eq!(root.attributes(file.id).await, after);
}

/// A shorter file takes no more than its size in whole blocks, and a longer one nothing for the hole.
pub(crate) async fn a_size_cuts_the_used_bytes(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    root.wrote(file.id, 20_000).await;
    for (to, used) in [
        (20_001, 20_000),
        (17_000, 20_000),
        (8_193, 12_288),
        (8_192, 8_192),
        (1 << 40, 8_192),
        (i64::MAX as u64, 8_192),
        (1, 4_096),
        (0, 0),
        (5_000, 0),
    ] {
        let after = root.setattr(file.id, size(to)).await.unwrap().change.after;
        assert_eq!((after.size, after.used), (to, used));
        assert_eq!(root.attributes(file.id).await, after);
    }
    let other = root.setattr(file.id, mode(0o600)).await.unwrap().change.after;
    assert_eq!(other.used, 0);
}

pub(crate) async fn used_bytes_without_content_are_the_size(world: World) {
    let root = world.superuser();
    assert_eq!(root.attributes(world.root).await.used, 4096);
    for (name, object) in root.one_of_each(world.root).await {
        assert_eq!(object.used, object.size, "{name}");
        assert_eq!(root.attributes(object.id).await.used, object.size, "{name}");
    }
}

pub(crate) async fn another_size_takes_a_new_version(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let mut version = file.content.unwrap().version;
    let largest = i64::MAX as u64;
    for bytes in [100, 50, 4096, (1 << 32) + 1, largest, 1] {
        let done = root.setattr(file.id, size(bytes)).await.unwrap();
        assert_eq!(done.freed, None);
        let after = done.change.after;
        assert_eq!(after.size, bytes);
        let content = after.content.unwrap();
        assert_eq!(content.id, file.content.unwrap().id);
        assert!(content.version > version);
        version = content.version;
        assert_eq!(root.attributes(file.id).await, after);
    }
}

pub(crate) async fn a_size_beyond_63_bits_is_too_large(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let largest = world.share.capabilities.max_file_size;
    assert_eq!(largest, i64::MAX as u64);
    for bytes in [largest + 1, u64::MAX] {
        let refusal = refused(root.setattr(file.id, size(bytes)).await, Error::TooLarge);
        assert_eq!(refusal.first.as_deref(), Some(&file));
    }
    assert_eq!(root.attributes(file.id).await, file);
}

pub(crate) async fn a_size_moves_mtime_unless_one_is_given(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "file").await;
    let now = Timestamp(file.ctime.0 + 1_000_000);
    let after = root.at(now.0).setattr(file.id, size(5)).await.unwrap().change.after;
    assert_eq!((after.mtime, after.ctime, after.atime), (now, now, file.atime));
    let set = SetAttributes { size: Some(7), mtime: SetTime::To(Timestamp(9)), ..mode(0o600) };
    let after = root.setattr(file.id, set).await.unwrap().change.after;
    assert_eq!((after.size, after.mtime, after.mode), (7, Timestamp(9), 0o600));
}

pub(crate) async fn only_regular_files_have_a_size_to_set(world: World) {
    let root = world.superuser();
    for (name, object) in root.one_of_each(world.root).await {
        let error = match object.file_type {
            FileType::Regular => continue,
            FileType::Directory => Error::IsDirectory,
            FileType::BlockDevice
            | FileType::CharacterDevice
            | FileType::Symlink
            | FileType::Socket
            | FileType::Fifo => Error::Invalid,
        };
        // Not a part of it is done.
        let set = SetAttributes { size: Some(0), ..mode(0o111) };
        let refusal = refused(root.setattr(object.id, set).await, error);
        assert_eq!(refusal.first.as_deref(), Some(&object), "{name}");
        assert_eq!(root.attributes(object.id).await, object);
    }
}

pub(crate) async fn all_is_set_or_nothing(world: World) {
    let alice = world.user(ALICE);
    let file = alice.file(world.root, "file").await;
    let mut sets = vec![
        (owner(Some(5), None), Error::NotPermitted),
        (size(u64::MAX), Error::TooLarge),
        (SetAttributes { guard: Some(Timestamp(3)), ..SetAttributes::default() }, Error::NotSync),
    ];
    for (set, _) in &mut sets {
        set.mode = Some(0o777);
        set.mtime = SetTime::To(Timestamp(4));
    }
    let before = world.snapshot().await;
    for (set, error) in sets {
        let refusal = refused(alice.setattr(file.id, set).await, error);
        assert_eq!(refusal.first.as_deref(), Some(&file));
    }
    assert_eq!(world.snapshot().await, before);
}

pub(crate) async fn the_root_is_a_directory_like_others(world: World) {
    let root = world.superuser();
    let set = SetAttributes { mode: Some(0o1750), ..owner(Some(ALICE), Some(4)) };
    let after = root.setattr(world.root, set).await.unwrap().change.after;
    assert_eq!((after.mode, after.uid, after.gid, after.nlink), (0o1750, ALICE, 4, 2));
    assert_eq!(after.parent, Some(world.root));
    assert_eq!(root.attributes(world.root).await, after);
}

/// A name elsewhere shows the same object.
pub(crate) async fn every_name_shows_the_change(world: World) {
    let root = world.superuser();
    let file = root.file(world.root, "one").await;
    root.link(file.id, world.root, "two").await.unwrap();
    let after = root.setattr(file.id, size(12)).await.unwrap().change.after;
    root.flush(file.id, &written(&after, 40, Timestamp::now())).await.unwrap();
    let one = root.find(world.root, "one").await.unwrap();
    assert_eq!((one.size, one.nlink), (40, 2));
    assert_eq!(root.find(world.root, "two").await.unwrap(), one);
}
