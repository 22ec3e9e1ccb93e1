//! CREATE, GUARDED and UNCHECKED.

use trunkfs::metadata::{Change, CreateHow, Error, SetAttributes, SetTime};
use trunkfs::types::{Attributes, FileType, Timestamp};

use crate::metadata::world::{
    ALICE, BOB, World, entries_changed, mode, owner, refused, size, target,
};

pub(crate) async fn a_new_file_is_empty_and_the_callers(world: World) {
    let now = Timestamp::now().0;
    let alice = world.user_in(ALICE, 77, &[5, 6]).at(now);
    let made = alice.create(world.root, "file").await.unwrap();
    assert!(made.made);
    let file = made.object;
    let at = Timestamp(now);
    let expected = Attributes {
        file_type: FileType::Regular,
        fsid: world.share.fsid,
        mode: 0o644,
        nlink: 1,
        uid: ALICE,
        gid: 77,
        size: 0,
        used: 0,
        atime: at,
        mtime: at,
        ctime: at,
        rdev: Default::default(),
        parent: None,
        ..file.clone()
    };
    assert_eq!(file, expected);
    assert!(file.content.is_some());
    assert_eq!(alice.attributes(file.id).await, file);
    assert_eq!(alice.find(world.root, "file").await, Some(file));
}

pub(crate) async fn every_creation_changes_the_directory(world: World) {
    let root = world.superuser();
    let directory = world.root;
    let mut before = root.attributes(directory).await;
    for kind in 0..5 {
        let made = match kind {
            0 => root.create(directory, "file").await,
            1 => root.mkdir(directory, "dir").await,
            2 => root.symlink(directory, "symlink", "to").await,
            3 => root.fifo(directory, "fifo").await,
            _ => root.exclusive(directory, "exclusive", 1).await,
        };
        let made = made.unwrap();
        assert_eq!(made.directory.before.as_ref(), Some(&before));
        entries_changed(&made.directory, i32::from(made.object.file_type.is_directory()));
        before = made.directory.after;
        assert_eq!(root.attributes(directory).await, before);
    }
}

pub(crate) async fn a_taken_name_is_refused(world: World) {
    let root = world.superuser();
    let kinds = root.one_of_each(world.root).await;
    let before = world.snapshot().await;
    for (name, _) in kinds {
        for caller in [world.user(ALICE), root.clone()] {
            let dir = world.root;
            let (make, set) = (&caller.store, SetAttributes::default());
            let it = crate::metadata::world::name(name);
            let refusals = [
                refused(caller.create(dir, name).await, Error::Exists),
                refused(caller.exclusive(dir, name, 3).await, Error::Exists),
                refused(caller.mkdir(dir, name).await, Error::Exists),
                refused(
                    make.symlink(&caller.cx(), dir, &it, &target("x"), &set).await,
                    Error::Exists,
                ),
                refused(caller.fifo(dir, name).await, Error::Exists),
            ];
            for refusal in refusals {
                assert_eq!(refusal.first.as_deref(), Some(&before[&Vec::new()].1));
            }
        }
    }
    assert_eq!(world.snapshot().await, before);
}

pub(crate) async fn unchecked_answers_with_the_file_that_is_there(world: World) {
    let alice = world.user(ALICE);
    let file = alice.file(world.root, "file").await;
    alice.setattr(file.id, size(10)).await.unwrap();
    let before = world.snapshot().await;
    let directory = alice.attributes(world.root).await;
    // The size is the caller's to set, in an operation of its own.
    let set = SetAttributes { size: Some(0), ..mode(0o777) };
    for caller in [alice, world.user(BOB)] {
        let how = CreateHow::Unchecked(set.clone());
        let answer = caller.create_how(world.root, "file", how).await.unwrap();
        assert!(!answer.made);
        assert_eq!(answer.directory, Change::none(directory.clone()));
        assert_eq!((answer.object.id, answer.object.size), (file.id, 10));
    }
    assert_eq!(world.snapshot().await, before);
}

/// As open(2) with O_CREAT finds a file in a directory that may only be searched.
pub(crate) async fn unchecked_finds_a_file_in_a_directory_that_is_not_writable(world: World) {
    let root = world.superuser();
    let dir = root.dir(world.root, "dir").await.id;
    let file = root.file(dir, "file").await;
    let alice = world.user(ALICE);
    assert_eq!(alice.unchecked(dir, "file").await.unwrap().object, file);
    let refusal = refused(alice.unchecked(dir, "new").await, Error::AccessDenied);
    assert_eq!(*refusal.first.unwrap(), alice.attributes(dir).await);
}

pub(crate) async fn unchecked_refuses_what_is_no_file(world: World) {
    let root = world.superuser();
    for (name, object) in root.one_of_each(world.root).await {
        if object.file_type != FileType::Regular {
            refused(root.unchecked(world.root, name).await, Error::Exists);
            assert_eq!(root.attributes(object.id).await, object);
        }
    }
}

pub(crate) async fn a_new_file_takes_all_mode_bits_and_no_others(world: World) {
    let root = world.superuser();
    for (name, bits) in [("none", 0), ("all", 0o7777), ("beyond", 0o177_7654)] {
        let how = CreateHow::Guarded(mode(bits));
        let made = root.create_how(world.root, name, how).await.unwrap();
        assert_eq!(made.object.mode, bits & 0o7777);
    }
}

/// Only the superuser's uid and gid count; both may be any 32 bits.
pub(crate) async fn the_superuser_makes_files_for_others(world: World) {
    let set = |uid, gid| CreateHow::Guarded(SetAttributes { mode: Some(0o600), ..owner(uid, gid) });
    let root = world.superuser();
    for (name, uid, gid) in
        [("a", Some(u32::MAX - 1), Some(u32::MAX)), ("b", Some(4), None), ("c", None, Some(9))]
    {
        let made = root.create_how(world.root, name, set(uid, gid)).await.unwrap().object;
        assert_eq!((made.uid, made.gid), (uid.unwrap_or(0), gid.unwrap_or(0)));
        assert_eq!(root.attributes(made.id).await, made);
    }
    let alice = world.user(ALICE);
    let made = alice.create_how(world.root, "d", set(Some(BOB), Some(BOB))).await.unwrap().object;
    assert_eq!((made.uid, made.gid), (ALICE, ALICE));
}

pub(crate) async fn callers_with_the_largest_numbers(world: World) {
    let nobody = world.user_in(u32::MAX - 1, u32::MAX - 1, &[u32::MAX]);
    let file = nobody.file(world.root, "file").await;
    assert_eq!((file.uid, file.gid), (u32::MAX - 1, u32::MAX - 1));
    let set = owner(None, Some(u32::MAX));
    let after = nobody.setattr(file.id, set).await.unwrap().change.after;
    assert_eq!((after.uid, after.gid), (u32::MAX - 1, u32::MAX));
    assert_eq!(world.superuser().attributes(file.id).await, after);
}

pub(crate) async fn a_new_file_takes_the_callers_times(world: World) {
    let alice = world.user(ALICE);
    let (atime, mtime) = (Timestamp(5), Timestamp(i64::from(u32::MAX) * 1_000_000_000));
    let set = SetAttributes {
        atime: SetTime::To(atime),
        mtime: SetTime::To(mtime),
        ..SetAttributes::default()
    };
    let now = Timestamp::now();
    let made = alice.at(now.0).create_how(world.root, "file", CreateHow::Guarded(set)).await;
    let file = made.unwrap().object;
    assert_eq!((file.atime, file.mtime, file.ctime), (atime, mtime, now));
    assert_eq!(alice.attributes(file.id).await, file);
}

pub(crate) async fn a_setgid_directory_gives_its_group(world: World) {
    let root = world.superuser();
    let dir = root.dir_of(world.root, "dir", 0o2777).await.id;
    root.setattr(dir, owner(None, Some(500))).await.unwrap();
    assert_eq!(root.attributes(dir).await.mode, 0o2777);
    let alice = world.user(ALICE);
    let file = alice.file(dir, "file").await;
    assert_eq!((file.uid, file.gid), (ALICE, 500));
    let sub = alice.dir(dir, "sub").await;
    assert_eq!((sub.uid, sub.gid, sub.mode), (ALICE, 500, 0o2755));
    let link = alice.symlink(dir, "link", "x").await.unwrap().object;
    let fifo = alice.fifo(dir, "fifo").await.unwrap().object;
    assert_eq!((link.gid, fifo.gid), (500, 500));
    // The bit goes on, and only the superuser names another group.
    assert_eq!(alice.dir(sub.id, "sub").await.mode, 0o2755);
    let how = CreateHow::Guarded(owner(None, Some(9)));
    assert_eq!(root.create_how(dir, "nine", how).await.unwrap().object.gid, 9);
}

/// Who is not in the group gets no file that runs as it.
pub(crate) async fn setgid_files_of_foreign_groups_are_not_made(world: World) {
    let root = world.superuser();
    let dir = root.dir_of(world.root, "dir", 0o2777).await.id;
    root.setattr(dir, owner(None, Some(500))).await.unwrap();
    let how = || CreateHow::Guarded(mode(0o6775));
    let outside = world.user(ALICE).create_how(dir, "outside", how()).await.unwrap().object;
    assert_eq!(outside.mode, 0o4775);
    let member = world.user_in(BOB, BOB, &[500]);
    let inside = member.create_how(dir, "inside", how()).await.unwrap().object;
    assert_eq!((inside.gid, inside.mode), (500, 0o6775));
}

pub(crate) async fn creating_needs_write_and_search_permission(world: World) {
    let root = world.superuser();
    let alice = world.user(ALICE);
    let dir = root.dir_of(world.root, "dir", 0).await.id;
    root.setattr(dir, owner(Some(ALICE), Some(ALICE))).await.unwrap();
    for bits in 0..8 {
        root.setattr(dir, mode(bits << 6)).await.unwrap();
        let before = world.snapshot().await;
        let made = alice.create(dir, "file").await;
        if bits & 3 == 3 {
            assert!(made.unwrap().made);
            root.remove(dir, "file").await.unwrap();
            continue;
        }
        let refusals = [
            refused(made, Error::AccessDenied),
            refused(alice.exclusive(dir, "file", 1).await, Error::AccessDenied),
            refused(alice.mkdir(dir, "dir").await, Error::AccessDenied),
            refused(alice.symlink(dir, "symlink", "x").await, Error::AccessDenied),
            refused(alice.fifo(dir, "fifo").await, Error::AccessDenied),
        ];
        for refusal in refusals {
            assert_eq!(*refusal.first.unwrap(), root.attributes(dir).await);
        }
        assert_eq!(world.snapshot().await, before);
    }
}

/// The owner's class counts alone, even where others may do more; so does the group's.
pub(crate) async fn the_first_class_that_fits_decides(world: World) {
    let root = world.superuser();
    let dir = root.dir_of(world.root, "dir", 0o077).await.id;
    root.setattr(dir, owner(Some(ALICE), Some(500))).await.unwrap();
    refused(world.user(ALICE).create(dir, "a").await, Error::AccessDenied);
    world.user_in(BOB, BOB, &[1, 2, 500]).create(dir, "b").await.unwrap();
    root.setattr(dir, mode(0o707)).await.unwrap();
    refused(world.user_in(BOB, 500, &[]).create(dir, "c").await, Error::AccessDenied);
    refused(world.user_in(BOB, BOB, &[500]).create(dir, "c").await, Error::AccessDenied);
    world.user(BOB).create(dir, "c").await.unwrap();
    // The superuser passes all.
    root.setattr(dir, mode(0)).await.unwrap();
    root.create(dir, "d").await.unwrap();
}

pub(crate) async fn objects_are_made_in_directories_only(world: World) {
    let root = world.superuser();
    for (name, object) in root.one_of_each(world.root).await {
        if object.file_type.is_directory() {
            continue;
        }
        let refusals = [
            refused(root.create(object.id, "x").await, Error::NotDirectory),
            refused(root.exclusive(object.id, "x", 1).await, Error::NotDirectory),
            refused(root.mkdir(object.id, "x").await, Error::NotDirectory),
            refused(root.symlink(object.id, "x", "to").await, Error::NotDirectory),
            refused(root.fifo(object.id, "x").await, Error::NotDirectory),
        ];
        for refusal in refusals {
            assert_eq!(refusal.first.as_deref(), Some(&object), "{name}");
        }
    }
}
