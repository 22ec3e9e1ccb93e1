//! MKDIR.

use trunkfs::metadata::{SetAttributes, SetTime};
use trunkfs::types::{Attributes, FileType, Timestamp};

use crate::metadata::world::{ALICE, World, mode, name, owner};

pub(crate) async fn a_new_directory_is_empty_and_the_callers(world: World) {
    let now = Timestamp::now();
    let alice = world.user_in(ALICE, 8, &[]).at(now.0);
    let made = alice.mkdir_with(world.root, "dir", mode(0o1750)).await.unwrap();
    assert!(made.made);
    let expected = Attributes {
        file_type: FileType::Directory,
        mode: 0o1750,
        nlink: 2,
        uid: ALICE,
        gid: 8,
        atime: now,
        mtime: now,
        ctime: now,
        content: None,
        parent: Some(world.root),
        ..made.object.clone()
    };
    assert_eq!(made.object, expected);
    let page = alice.page(made.object.id, 0, 10).await.unwrap();
    assert_eq!(page.directory, made.object);
    assert_eq!((page.entries.len(), page.eof), (0, true));
    assert_eq!(page.parent_fileid, made.directory.after.fileid);
}

pub(crate) async fn subdirectories_count_as_links_and_files_do_not(world: World) {
    let root = world.superuser();
    let dir = root.dir(world.root, "dir").await.id;
    for count in 1..=5 {
        let sub = root.dir(dir, format!("sub{count}")).await;
        root.file(dir, format!("file{count}")).await;
        root.file(sub.id, "file").await;
        assert_eq!(root.attributes(dir).await.nlink, 2 + count);
        assert_eq!(root.attributes(sub.id).await.nlink, 2);
    }
    root.rmdir(dir, "sub1").await.expect_err("it has a file");
    assert_eq!(root.attributes(dir).await.nlink, 7);
    assert_eq!(root.attributes(world.root).await.nlink, 3);
}

pub(crate) async fn directories_nest_deeply(world: World) {
    let root = world.superuser();
    let mut path = vec![world.root];
    for depth in 0..100 {
        path.push(root.dir(path[depth], "d").await.id);
    }
    // Up again.
    for pair in path.windows(2).rev() {
        assert_eq!(root.parent(pair[1]).await.unwrap().object.unwrap().id, pair[0]);
    }
}

pub(crate) async fn the_superuser_makes_directories_for_others(world: World) {
    let set = SetAttributes {
        mtime: SetTime::To(Timestamp(1)),
        ..owner(Some(u32::MAX - 1), Some(u32::MAX))
    };
    let root = world.superuser();
    let made = root.mkdir_with(world.root, "dir", set.clone()).await.unwrap().object;
    assert_eq!((made.uid, made.gid, made.mtime), (u32::MAX - 1, u32::MAX, Timestamp(1)));
    let made = world.user(ALICE).mkdir_with(world.root, "mine", set).await.unwrap().object;
    assert_eq!((made.uid, made.gid, made.mtime), (ALICE, ALICE, Timestamp(1)));
}

/// A name of a directory is a name like others, and each directory has its own.
pub(crate) async fn one_name_in_many_directories(world: World) {
    let root = world.superuser();
    let long = [0xff; 255];
    let mut seen = std::collections::HashSet::new();
    for parent in ["a", "b", "c"] {
        let parent = root.dir(world.root, parent).await.id;
        let child = root.dir(parent, long).await;
        assert_eq!(root.list(parent).await[0].name, name(long));
        assert!(seen.insert(child.id));
    }
}
