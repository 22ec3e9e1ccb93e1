//! What COMMIT promises.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use trunkfs::content::ContentStore as _;
use trunkfs::metadata::{CreateHow, MetadataStore as _, RootSpec, SetAttributes, Share, ShareSpec};
use trunkfs::types::{Component, Cookie, FileHandle, Name, ShareName};
use trunkfs::vfs::{Error, ExportSettings, GroupSource, Stability, Vfs, WriteBehind};

use crate::faulty::FaultyContent;
use crate::fixture::{Fixture, caller, commit, read, rule, set_size, unstable, write};

#[tokio::test]
async fn unstable_writes_are_seen_at_once_and_flushed_as_seen() {
    let fixture = Fixture::new().await;
    let file = fixture.file("f").await;
    let before = fixture.committed(&file).await;
    let written = unstable(&fixture.one, &file, 0, b"hello").await;
    assert_eq!(written.stability, Stability::Unstable);
    assert_eq!(written.change.before.as_ref(), Some(&before));
    assert_eq!(written.change.after.size, 5);
    assert!(written.change.after.ctime > before.ctime);
    assert_eq!(fixture.committed(&file).await, before);

    let name = Component::Name(Name::parse(b"f").unwrap());
    let looked = fixture.one.lookup(&caller(0), &fixture.root(), &name).await.unwrap();
    assert_eq!(looked.object, Some(written.change.after.clone()));
    let done =
        fixture.one.readdir(&caller(0), &fixture.root(), Cookie::START, 10, true).await.unwrap();
    assert_eq!(done.page.entries[0].attributes, Some(written.change.after.clone()));

    let done = commit(&fixture.one, &file).await.unwrap();
    assert_eq!(done.verifier, written.verifier);
    assert_eq!(done.change.after, written.change.after);
    assert_eq!(fixture.committed(&file).await, written.change.after);
}

#[tokio::test]
async fn stable_writes_are_on_the_store_when_they_return() {
    let fixture = Fixture::new().await;
    let file = fixture.file("f").await;
    for (round, stability) in [Stability::DataSync, Stability::FileSync].into_iter().enumerate() {
        let end = 4 * (round as u64 + 1);
        let done = write(&fixture.one, &file, end - 4, b"data", stability).await.unwrap();
        assert_eq!(done.stability, stability);
        assert_eq!(fixture.committed(&file).await.size, end);
        assert_eq!(fixture.content.commits.load(Ordering::SeqCst), round + 1);
    }
}

#[tokio::test]
async fn a_failed_commit_changes_the_verifier() {
    let fixture = Fixture::new().await;
    let file = fixture.file("f").await;
    let written = unstable(&fixture.one, &file, 0, b"hello").await;
    fixture.content.fail_commit.store(true, Ordering::SeqCst);
    let failed = commit(&fixture.one, &file).await.unwrap_err();
    assert!(matches!(failed.error, Error::Content(_)));
    fixture.content.fail_commit.store(false, Ordering::SeqCst);
    let again = unstable(&fixture.one, &file, 0, b"hello").await;
    assert_ne!(again.verifier, written.verifier);
    assert_eq!(commit(&fixture.one, &file).await.unwrap().verifier, again.verifier);
    assert_eq!(fixture.committed(&file).await.size, 5);
}

/// The fixture's instance one has a durable file `f` of eight bytes, and its commits wait from now on.
async fn committed_file_with_held_commits(fixture: &Fixture) -> FileHandle {
    let file = fixture.file("f").await;
    write(&fixture.one, &file, 0, b"old data", Stability::FileSync).await.unwrap();
    fixture.content.hold_commits.store(true, Ordering::SeqCst);
    file
}

/// Waits until `done` holds; a call that is never made lets the test's time run out.
async fn until(mut done: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it does not happen");
}

#[tokio::test(start_paused = true)]
async fn a_write_inside_a_file_is_synced_and_recorded_side_by_side_and_answered_after_both() {
    let fixture = Fixture::new().await;
    let file = committed_file_with_held_commits(&fixture).await;
    let before = fixture.committed(&file).await;
    let writing = write(&fixture.one, &file, 2, b"new", Stability::FileSync);
    let mut writing = std::pin::pin!(writing);
    let recorded = until(async || fixture.committed(&file).await.mtime > before.mtime);
    tokio::select! {
        done = &mut writing => panic!("answered before its sync: {done:?}"),
        () = recorded => {}
    }
    assert!(tokio::time::timeout(Duration::from_secs(5), &mut writing).await.is_err());
    fixture.content.gate.add_permits(1);
    let after = writing.await.unwrap().change.after;
    assert_eq!(fixture.committed(&file).await, after);
    assert_eq!((after.size, after.used), (before.size, before.used));
    assert_eq!(read(&fixture.one, &file).await, b"olnewata");
}

/// A write that grows the file, one into a hole, and one after either that waits to be flushed with it.
#[tokio::test(start_paused = true)]
async fn what_changes_size_or_blocks_is_recorded_after_its_sync() {
    for (earlier, offset) in [(None, 6), (None, 8), (Some(100), 2), (Some(8), 2)] {
        let fixture = Fixture::new().await;
        let file = committed_file_with_held_commits(&fixture).await;
        if let Some(earlier) = earlier {
            unstable(&fixture.one, &file, earlier, b"x").await;
        }
        holds_record_until_synced(&fixture, &file, offset).await;
    }
    let fixture = Fixture::new().await;
    let file = fixture.file("f").await;
    set_size(&fixture.one, &file, 1 << 20).await;
    assert!(fixture.committed(&file).await.used < 1 << 20, "it has a hole");
    fixture.content.hold_commits.store(true, Ordering::SeqCst);
    holds_record_until_synced(&fixture, &file, 5000).await;
}

async fn holds_record_until_synced(fixture: &Fixture, file: &FileHandle, offset: u64) {
    let before = fixture.committed(file).await;
    let commits = fixture.content.commits.load(Ordering::SeqCst);
    let mut writing =
        std::pin::pin!(write(&fixture.one, file, offset, b"new", Stability::FileSync));
    // Time goes on where everything waits: for the gate.
    assert!(tokio::time::timeout(Duration::from_secs(5), &mut writing).await.is_err());
    assert_eq!(fixture.content.commits.load(Ordering::SeqCst), commits + 1);
    assert_eq!(fixture.committed(file).await, before);
    fixture.content.gate.add_permits(1);
    let after = writing.await.unwrap().change.after;
    assert_eq!(fixture.committed(file).await, after);
}

#[tokio::test]
async fn a_sync_that_fails_beside_its_record_keeps_the_write_and_changes_the_verifier() {
    let fixture = Fixture::new().await;
    let file = fixture.file("f").await;
    let first = write(&fixture.one, &file, 0, b"old data", Stability::FileSync).await.unwrap();
    let waiting = unstable(&fixture.one, &file, 2, b"new").await;
    assert_eq!(waiting.verifier, first.verifier);
    fixture.content.fail_commit.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let failed = write(&fixture.one, &file, 0, b"OL", Stability::FileSync).await.unwrap_err();
        assert!(matches!(failed.error, Error::Content(_)), "{failed:?}");
        let failed = commit(&fixture.one, &file).await.unwrap_err();
        assert!(matches!(failed.error, Error::Content(_)), "{failed:?}");
    }
    let commits = fixture.content.commits.load(Ordering::SeqCst);
    assert_eq!(commits, 5, "each sync was tried anew");
    fixture.content.fail_commit.store(false, Ordering::SeqCst);
    let seen = fixture.one.getattr(&caller(0), &file).await.unwrap();
    let done = commit(&fixture.one, &file).await.unwrap();
    assert_ne!(done.verifier, waiting.verifier, "clients send their unstable data again");
    assert_eq!(done.change.after.mtime, seen.mtime);
    assert_eq!(fixture.content.commits.load(Ordering::SeqCst), commits + 1, "it had waited");
    assert_eq!(fixture.committed(&file).await, done.change.after);
    assert_eq!(read(&fixture.one, &file).await, b"OLnewata");
}

#[tokio::test]
async fn many_unflushed_bytes_are_flushed_by_the_write_that_brings_them() {
    let limits = WriteBehind { max_bytes: 10, ..WriteBehind::default() };
    let fixture = Fixture::with(rule(), limits).await;
    let file = fixture.file("f").await;
    assert_eq!(unstable(&fixture.one, &file, 0, b"hello").await.stability, Stability::Unstable);
    assert!(unstable(&fixture.one, &file, 5, b"world").await.stability > Stability::Unstable);
    assert_eq!(fixture.committed(&file).await.size, 10);
}

#[tokio::test]
async fn old_writes_and_access_times_are_flushed_without_being_asked_for() {
    let limits = WriteBehind {
        max_age: Duration::from_millis(1),
        atime_max_age: Duration::from_millis(1),
        ..WriteBehind::default()
    };
    let fixture = Fixture::with(rule(), limits).await;
    let file = fixture.file("f").await;
    let seen = unstable(&fixture.one, &file, 0, b"hello").await.change.after;
    let read = fixture.one.read(&caller(0), &file, 0, 10).await.unwrap().attributes;
    assert!(read.atime > seen.atime, "a read moves the time of access");
    assert_eq!(read.ctime, seen.ctime, "and changes nothing else");
    let shutdown = tokio_util::sync::CancellationToken::new();
    let maintaining = fixture.one.maintain(shutdown.clone());
    let waiting = async {
        while fixture.committed(&file).await != read {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        shutdown.cancel();
    };
    let both = async { tokio::join!(maintaining, waiting) };
    tokio::time::timeout(Duration::from_secs(120), both).await.unwrap();
}

/// The time is not the clock's: it goes on where everything waits.
#[tokio::test(start_paused = true)]
async fn files_are_flushed_beside_each_other() {
    let fixture = Fixture::new().await;
    let files = [fixture.file("f").await, fixture.file("g").await];
    for file in &files {
        unstable(&fixture.one, file, 0, b"hello").await;
    }
    fixture.content.hold_commits.store(true, Ordering::SeqCst);
    let both = async {
        while fixture.content.commits.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        fixture.content.gate.add_permits(2);
    };
    let flushing = fixture.one.flush_all(Instant::now() + Duration::from_secs(60));
    let all = async { tokio::join!(flushing, both) };
    tokio::time::timeout(Duration::from_secs(30), all).await.expect("one waits for the other");
    for file in &files {
        assert_eq!(fixture.committed(file).await.size, 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_share_whose_content_does_not_answer_holds_up_no_other() {
    let fixture = Fixture::new().await;
    let other = FaultyContent::new();
    let spec = ShareSpec {
        name: ShareName::parse("/u").unwrap(),
        root: RootSpec { uid: 0, gid: 0, mode: 0o777 },
        chunk_size: 4 << 20,
    };
    let share = fixture.metadata.open_share(&spec).await.unwrap();
    let export = |share: &Share, content: &Arc<FaultyContent>| ExportSettings {
        groups: GroupSource::Client,
        share: share.clone(),
        rules: vec![rule()],
        metadata: fixture.metadata.clone(),
        content: content.clone(),
        write_behind: WriteBehind { max_age: Duration::ZERO, ..WriteBehind::default() },
    };
    let both = vec![export(&fixture.share, &fixture.content), export(&share, &other)];
    let vfs = Vfs::new(both).unwrap();
    let held = fixture.file("f").await;
    let root = FileHandle { share: share.name.clone(), object: share.root };
    let how = CreateHow::Guarded(SetAttributes::default());
    let name = Name::parse(b"f").unwrap();
    let made = vfs.create(&caller(0), &root, &name, &how).await.unwrap().object.id;
    let free = FileHandle { object: made, ..root };
    fixture.content.hold_commits.store(true, Ordering::SeqCst);
    unstable(&vfs, &held, 0, b"held").await;
    unstable(&vfs, &free, 0, b"free").await;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let waiting = async {
        while other.commits.load(Ordering::SeqCst) == 0
            || fixture.content.commits.load(Ordering::SeqCst) == 0
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        fixture.content.gate.add_permits(1);
        shutdown.cancel();
    };
    let all = async { tokio::join!(vfs.maintain(shutdown.clone()), waiting) };
    tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .expect("one share waits for the other");
}

#[tokio::test]
async fn setattr_and_its_guard_see_what_clients_see() {
    let fixture = Fixture::new().await;
    let file = fixture.file("f").await;
    let seen = unstable(&fixture.one, &file, 0, b"hello").await.change.after;
    let guarded =
        SetAttributes { mode: Some(0o600), guard: Some(seen.ctime), ..SetAttributes::default() };
    let change = fixture.one.setattr(&caller(0), &file, &guarded).await.unwrap();
    assert_eq!(change.before.as_ref(), Some(&seen));
    assert_eq!(change.after.size, 5);
    assert!(change.after.ctime > seen.ctime);
    let stale = fixture.one.setattr(&caller(0), &file, &guarded).await.unwrap_err();
    assert!(matches!(stale.error, Error::Metadata(trunkfs::metadata::Error::NotSync)));
}

#[tokio::test]
async fn links_renames_and_removals_leave_no_unflushed_state_behind() {
    let fixture = Fixture::new().await;
    let (root, file) = (fixture.root(), fixture.file("f").await);
    let [f, g, h] = [b"f", b"g", b"h"].map(|name| Name::parse(name).unwrap());
    unstable(&fixture.one, &file, 0, b"1").await;
    let linked = fixture.one.link(&caller(0), &file, &root, &g).await.unwrap().object;
    assert_eq!((linked.size, linked.nlink), (1, 2));
    assert_eq!(fixture.committed(&file).await, linked);
    unstable(&fixture.one, &file, 1, b"2").await;
    fixture.one.rename(&caller(0), &root, &f, &root, &h).await.unwrap();
    assert_eq!(fixture.committed(&file).await.size, 2);
    unstable(&fixture.one, &file, 2, b"3").await;
    fixture.one.remove(&caller(0), &root, &g).await.unwrap();
    assert_eq!(fixture.committed(&file).await.size, 3);
    unstable(&fixture.one, &file, 3, b"4").await;
    fixture.one.remove(&caller(0), &root, &h).await.unwrap();
    use trunkfs::content::ContentStore as _;
    assert_eq!(
        fixture.content.list(None, 10).await.unwrap(),
        [],
        "the content goes with the last name"
    );
    let stale = write(&fixture.one, &file, 0, b"5", Stability::Unstable).await.unwrap_err();
    assert!(matches!(stale.error, Error::Metadata(trunkfs::metadata::Error::Stale)));
}

#[tokio::test(start_paused = true)]
async fn a_removal_does_not_wait_for_content_that_does_not_go() {
    let fixture = Fixture::new().await;
    let file = fixture.file("f").await;
    write(&fixture.one, &file, 0, b"data", Stability::FileSync).await.unwrap();
    assert_eq!(fixture.content.list(None, 10).await.unwrap().len(), 1);
    fixture.content.hold_removals.store(true, Ordering::SeqCst);
    let name = Name::parse(b"f").unwrap();
    let (caller, root) = (caller(0), fixture.root());
    let remove = fixture.one.remove(&caller, &root, &name);
    tokio::time::timeout(Duration::from_secs(10), remove).await.expect("it waits").unwrap();
    assert_eq!(fixture.content.list(None, 10).await.unwrap().len(), 1, "it is not removed yet");
    // It goes as soon as it can.
    fixture.content.gate.add_permits(1);
    while !fixture.content.list(None, 10).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn truncation_to_nothing_frees_the_content() {
    let fixture = Fixture::new().await;
    let file = fixture.file("f").await;
    unstable(&fixture.one, &file, 0, b"hello").await;
    set_size(&fixture.one, &file, 0).await;
    assert_eq!(read(&fixture.one, &file).await, b"");
    use trunkfs::content::ContentStore as _;
    assert_eq!(fixture.content.list(None, 10).await.unwrap(), []);
    unstable(&fixture.one, &file, 3, b"new").await;
    assert_eq!(read(&fixture.one, &file).await, b"\0\0\0new");
}

#[tokio::test]
async fn missing_content_is_an_error_and_never_zeros() {
    let fixture = Fixture::new().await;
    let file = fixture.file("f").await;
    write(&fixture.one, &file, 0, b"hello", Stability::FileSync).await.unwrap();
    let content = fixture.committed(&file).await.content.unwrap();
    use trunkfs::content::ContentStore as _;
    fixture.content.remove(content.id).await.unwrap();
    let lost = fixture.one.read(&caller(0), &file, 0, 5).await.unwrap_err();
    assert!(matches!(lost.error, Error::ContentLost { .. }));
    let lost = write(&fixture.one, &file, 100, b"x", Stability::Unstable).await.unwrap_err();
    assert!(matches!(lost.error, Error::ContentLost { .. }));
}
