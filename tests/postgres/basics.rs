//! The store as one process sees it.

use trunkfs::metadata::{
    CreateHow, Error, Flush, FlushOutcome, Namespace as _, SetAttributes, SetTime, Written,
    ZeroingOutcome,
};
use trunkfs::types::{Cookie, DeviceNumbers, FileType, SymlinkTarget, Timestamp};

use crate::support::{Fixture, mode, name};

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_leaves_the_store_sound() {
    let fixture = Fixture::new().await;
    let (store, root) = (&fixture.store, fixture.root());
    let file = fixture.file(root, "file").await;
    let directory = fixture.directory(root, "directory").await;
    assert_eq!(store.getattr(&fixture.cx(), file.id).await.unwrap(), file);
    assert_eq!(store.getattr(&fixture.cx(), root).await.unwrap().nlink, 3);

    let target = SymlinkTarget::parse(b"somewhere/else").unwrap();
    let cx = fixture.cx();
    let set = SetAttributes::default();
    let link = store.symlink(&cx, root, &name("link"), &target, &set).await.unwrap().object;
    assert_eq!(link.size, 14);
    assert_eq!(store.readlink(&fixture.cx(), link.id).await.unwrap().target, target);

    let rdev = DeviceNumbers { major: u32::MAX, minor: 7 };
    let kind = FileType::BlockDevice;
    let device = store.mknod(&cx, root, &name("disk"), kind, rdev, &mode(0o600)).await.unwrap();
    assert_eq!(device.object.rdev, rdev);

    let linked = store.link(&fixture.cx(), file.id, directory.id, &name("second")).await.unwrap();
    assert_eq!(linked.object.nlink, 2);
    fixture.sound().await;

    let page = store.readdir(&fixture.cx(), root, Cookie::START, 3, true).await.unwrap();
    assert!(!page.eof);
    assert_eq!(page.entries.len(), 3);
    let last = page.entries[2].cookie;
    let rest = store.readdir(&fixture.cx(), root, last, 3, false).await.unwrap();
    assert!(rest.eof);
    assert_eq!(rest.entries.len(), 1);
    assert_eq!(rest.entries[0].fileid, device.object.fileid);

    let renamed = store
        .rename(&fixture.cx(), root, &name("link"), directory.id, &name("second"))
        .await
        .unwrap();
    let replaced = renamed.replaced.unwrap();
    assert_eq!((replaced.attributes.nlink, replaced.freed), (1, None));
    fixture.sound().await;

    let removed = store.remove(&fixture.cx(), root, &name("file")).await.unwrap();
    assert_eq!(removed.object.freed, file.content.map(|content| content.id));
    let refused = store.rmdir(&fixture.cx(), root, &name("directory")).await.unwrap_err();
    assert!(matches!(refused.error, Error::NotEmpty), "{refused:?}");
    store.remove(&fixture.cx(), directory.id, &name("second")).await.unwrap();
    store.rmdir(&fixture.cx(), root, &name("directory")).await.unwrap();
    let gone = store.getattr(&fixture.cx(), directory.id).await;
    assert!(matches!(gone, Err(Error::Stale)), "{gone:?}");
    fixture.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flushes_grow_and_truncation_supersedes_them() {
    let fixture = Fixture::new().await;
    let (store, root) = (&fixture.store, fixture.root());
    let file = fixture.file(root, "file").await;
    let written = Written {
        content: file.content.unwrap(),
        end: 100,
        mtime: Timestamp(5),
        mtime_version: 0,
        replaced_mtime: file.mtime,
        ctime: Timestamp(6),
        clear_mode: 0o4,
        used: 100,
        seen: file.ctime,
    };
    let flush = Flush { atime: None, written: Some(written) };
    let outcome = store.flush(&fixture.cx(), file.id, &flush).await.unwrap();
    let FlushOutcome::Recorded(change) = outcome else { panic!("{outcome:?}") };
    assert_eq!(
        (change.after.size, change.after.mtime, change.after.mode),
        (100, Timestamp(5), 0o640)
    );
    assert_eq!(change.after.ctime, Timestamp(file.ctime.0 + 1));

    let begun = store.begin_zeroing(&fixture.cx(), file.id, written.content).await.unwrap();
    let ZeroingOutcome::Begun(content) = begun else { panic!("{begun:?}") };
    let outcome = store.flush(&fixture.cx(), file.id, &flush).await.unwrap();
    assert!(matches!(outcome, FlushOutcome::Superseded(_)), "{outcome:?}");

    let explicit = SetAttributes { mtime: SetTime::To(Timestamp(77)), ..SetAttributes::default() };
    store.setattr(&fixture.cx(), file.id, &explicit).await.unwrap();
    let late = Flush { atime: None, written: Some(Written { content, end: 200, ..written }) };
    let outcome = store.flush(&fixture.cx(), file.id, &late).await.unwrap();
    let FlushOutcome::Recorded(change) = outcome else { panic!("{outcome:?}") };
    assert_eq!((change.after.size, change.after.mtime), (200, Timestamp(77)));

    let empty = SetAttributes { size: Some(0), ..SetAttributes::default() };
    let done = store.setattr(&fixture.cx(), file.id, &empty).await.unwrap();
    assert_eq!(done.freed, Some(content.id));
    assert_ne!(done.change.after.content.unwrap().id, content.id);
    let outcome = store.flush(&fixture.cx(), file.id, &late).await.unwrap();
    assert!(matches!(outcome, FlushOutcome::Superseded(_)), "{outcome:?}");
    fixture.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_create_is_recognised_by_another_instance() {
    let fixture = Fixture::new().await;
    let other = trunkfs::metadata::postgres::PostgresStore::connect(fixture.database.settings())
        .await
        .unwrap();
    let how = CreateHow::Exclusive(u64::MAX);
    let (root, name) = (fixture.root(), name("file"));
    let made = fixture.store.create(&fixture.cx(), root, &name, &how).await.unwrap();
    assert!(made.made);
    let again = other.create(&fixture.cx(), root, &name, &how).await.unwrap();
    assert!(!again.made);
    assert_eq!(again.object, made.object);
    other.setattr(&fixture.cx(), made.object.id, &mode(0o600)).await.unwrap();
    let refused = fixture.store.create(&fixture.cx(), root, &name, &how).await.unwrap_err();
    assert!(matches!(refused.error, Error::Exists), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_counts_what_is_there_beyond_64_bits() {
    let fixture = Fixture::new().await;
    for name in ["a", "b", "c"] {
        let file = fixture.file(fixture.root(), name).await;
        let written = Written {
            content: file.content.unwrap(),
            end: i64::MAX as u64,
            mtime: file.mtime,
            mtime_version: file.mtime_version,
            ctime: file.ctime,
            replaced_mtime: file.mtime,
            clear_mode: 0,
            used: u64::MAX,
            seen: file.ctime,
        };
        let flush = Flush { atime: None, written: Some(written) };
        fixture.store.flush(&fixture.cx(), file.id, &flush).await.unwrap();
    }
    let usage = fixture.store.usage(fixture.share.id).await.unwrap();
    assert_eq!((usage.objects, usage.bytes), (4, u64::MAX));
    fixture.sound().await;
}
