//! A file system under the store that is full, or takes no changes.

use std::path::PathBuf;

use bytes::Bytes;
use trunkfs::content::{
    ContentStore as _, CreateMode, Error, FilesystemContent, FilesystemSettings, OpenError,
};

use super::support::{call, id, put, whole};
use crate::small_disk::small_disk;

async fn open(base_path: PathBuf) -> FilesystemContent {
    let settings = FilesystemSettings { base_path, max_open_files: Some(4) };
    FilesystemContent::open(settings).await.unwrap()
}

#[test]
#[ignore = "mounts a small file system: tests/run.sh runs it where that may be"]
fn a_full_file_system_is_no_space() {
    let test = "content::full_disk::a_full_file_system_is_no_space";
    if let Some(disk) = small_disk(test, "256k") {
        tokio::runtime::Runtime::new().unwrap().block_on(fill_up(disk));
    }
}

async fn fill_up(base_path: PathBuf) {
    let store = open(base_path.clone()).await;
    let (first, second) = (id(), id());
    put(&store, first, 0, &[1; 200_000]).await;
    let answer = store.write(&call(), second, 0, Bytes::from(vec![2; 200_000])).await;
    assert!(matches!(answer, Err(Error::NoSpace(_))), "{answer:?}");
    let capacity = store.capacity().await.unwrap().unwrap();
    assert_eq!((capacity.total, capacity.available), (256 << 10, 0));
    // What was there is untouched, can be rewritten, and its space is had again.
    put(&store, first, 0, &[3; 200_000]).await;
    assert_eq!(whole(&store, first).await, vec![3; 200_000]);
    // A server that starts now serves it, so that its clients can make room.
    drop(store);
    let store = open(base_path).await;
    assert_eq!(whole(&store, first).await, vec![3; 200_000]);
    let answer = store.write(&call(), id(), 0, Bytes::from(vec![2; 200_000])).await;
    assert!(matches!(answer, Err(Error::NoSpace(_))), "{answer:?}");
    store.remove(first).await.unwrap();
    put(&store, second, 0, &[4; 200_000]).await;
    store.commit(&call(), second).await.unwrap();
    assert_eq!(whole(&store, second).await, vec![4; 200_000]);
}

#[test]
#[ignore = "mounts a small file system: tests/run.sh runs it where that may be"]
fn a_read_only_file_system_is_read_until_it_takes_changes_again() {
    let test = "content::full_disk::a_read_only_file_system_is_read_until_it_takes_changes_again";
    if let Some(disk) = small_disk(test, "1m") {
        tokio::runtime::Runtime::new().unwrap().block_on(take_no_changes(disk));
    }
}

async fn take_no_changes(disk: PathBuf) {
    let remount = |how: &str| {
        let done = std::process::Command::new("mount").args(["-o", how]).arg(&disk).status();
        assert!(done.unwrap().success(), "{how}");
    };
    let first = id();
    {
        let store = open(disk.clone()).await;
        put(&store, first, 0, b"here").await;
        store.commit(&call(), first).await.unwrap();
    }
    // What is open for writing would keep it from being mounted read-only.
    let store = open(disk.clone()).await;
    remount("remount,ro");
    for id in [first, id()] {
        let answer = store.write(&call(), id, 0, Bytes::from_static(b"gone")).await;
        assert!(matches!(answer, Err(Error::ReadOnly(_))), "{answer:?}");
        let answer = store.truncate(&call(), id, 1).await;
        assert!(matches!(answer, Err(Error::ReadOnly(_))), "{answer:?}");
    }
    assert!(matches!(store.remove(first).await, Err(Error::ReadOnly(_))));
    assert_eq!(whole(&store, first).await, b"here"[..]);
    store.commit(&call(), first).await.unwrap();
    // A backup or a check reads it; whatever would write is refused before it begins.
    let opened = |making| {
        let settings = FilesystemSettings { base_path: disk.clone(), max_open_files: Some(4) };
        FilesystemContent::open_or_make(settings, making)
    };
    let reader = opened(CreateMode::ReadOnly).await.unwrap();
    assert_eq!(whole(&reader, first).await, b"here"[..]);
    assert_eq!(reader.list(None, 10).await.unwrap(), [first]);
    assert_eq!(reader.identity(), store.identity());
    let refused = opened(CreateMode::Never).await.unwrap_err();
    assert!(matches!(refused, OpenError::NotWritable { .. }), "{refused:?}");
    drop(reader);
    remount("remount,rw");
    put(&store, first, 4, b" again").await;
    store.commit(&call(), first).await.unwrap();
    assert_eq!(whole(&store, first).await, b"here again"[..]);
    store.remove(first).await.unwrap();
}
