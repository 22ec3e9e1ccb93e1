//! Bytes beyond a file's end are never shown.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use trunkfs::content::ContentStore as _;
use trunkfs::types::{FileHandle, Name};
use trunkfs::vfs::Stability;

use crate::fixture::{Fixture, caller, commit, read, set_size, unstable, write};

/// Leaves old bytes beyond the end, as a crash between a write and its flush does.
async fn with_old_tail(fixture: &Fixture) -> FileHandle {
    let file = fixture.file("f").await;
    write(&fixture.one, &file, 0, b"abc", Stability::FileSync).await.unwrap();
    let content = fixture.committed(&file).await.content.unwrap();
    let tail = Bytes::from_static(b"old old old");
    fixture.content.write(&fixture.context().call, content.id, 3, tail).await.unwrap();
    file
}

#[tokio::test]
async fn a_read_ends_at_the_size() {
    let fixture = Fixture::new().await;
    let file = with_old_tail(&fixture).await;
    assert_eq!(read(&fixture.two, &file).await, b"abc");
}

#[tokio::test]
async fn a_write_behind_a_gap_zeroes_it() {
    let fixture = Fixture::new().await;
    let file = with_old_tail(&fixture).await;
    unstable(&fixture.two, &file, 6, b"xyz").await;
    assert_eq!(read(&fixture.two, &file).await, b"abc\0\0\0xyz");
    unstable(&fixture.two, &file, 12, b"!").await;
    commit(&fixture.two, &file).await.unwrap();
    assert_eq!(read(&fixture.one, &file).await, b"abc\0\0\0xyz\0\0\0!");
}

#[tokio::test]
async fn an_extension_by_setattr_zeroes_it() {
    let fixture = Fixture::new().await;
    let file = with_old_tail(&fixture).await;
    set_size(&fixture.two, &file, 8).await;
    assert_eq!(read(&fixture.one, &file).await, b"abc\0\0\0\0\0");
}

/// Extends a file to 100 bytes. `meanwhile` comes when its content has them and its size has not changed.
async fn extended_around(fixture: &Fixture, file: &FileHandle, meanwhile: impl Future) {
    fixture.content.hold_commits.store(true, Ordering::SeqCst);
    let commits = fixture.content.commits.load(Ordering::SeqCst);
    let (server, extended) = (Arc::clone(&fixture.one), file.clone());
    let extending = tokio::spawn(async move { set_size(&server, &extended, 100).await });
    while fixture.content.commits.load(Ordering::SeqCst) == commits {
        tokio::task::yield_now().await;
    }
    meanwhile.await;
    fixture.content.hold_commits.store(false, Ordering::SeqCst);
    fixture.content.gate.add_permits(1);
    extending.await.unwrap();
}

/// A server that stood still was taken for dead meanwhile, and another one cut off what it had added.
#[tokio::test]
async fn an_extension_by_setattr_that_another_server_has_cut_off_is_made_again() {
    let fixture = Fixture::new().await;
    let file = with_old_tail(&fixture).await;
    extended_around(&fixture, &file, unstable(&fixture.two, &file, 6, b"xyz")).await;
    let found = read(&fixture.one, &file).await;
    assert_eq!((&found[..6], found.len()), (&b"abc\0\0\0"[..], 100));
    assert_eq!(found[9..], [0; 91]);
}

#[tokio::test]
async fn a_file_that_gets_a_name_while_it_is_extended_is_not_copied() {
    let fixture = Fixture::new().await;
    let file = with_old_tail(&fixture).await;
    let before = fixture.committed(&file).await;
    let name = Name::parse(b"another").unwrap();
    let (caller, root) = (caller(0), fixture.root());
    let link = async { fixture.two.link(&caller, &file, &root, &name).await.unwrap() };
    extended_around(&fixture, &file, link).await;
    let after = fixture.committed(&file).await;
    assert_eq!((after.size, after.nlink), (100, 2));
    assert_eq!(after.content.map(|it| it.id), before.content.map(|it| it.id));
    assert_eq!(read(&fixture.one, &file).await, [&b"abc"[..], &[0; 97]].concat());
}

/// The first call recorded the size and died with the server before it cut the content; the client repeats
/// it.
#[tokio::test]
async fn a_truncation_that_is_repeated_after_a_crash_leaves_nothing_to_see() {
    let fixture = Fixture::new().await;
    let file = with_old_tail(&fixture).await;
    set_size(&fixture.two, &file, 3).await;
    unstable(&fixture.two, &file, 6, b"xyz").await;
    assert_eq!(read(&fixture.two, &file).await, b"abc\0\0\0xyz");
}

#[tokio::test]
async fn shrinking_and_growing_shows_zeros() {
    let fixture = Fixture::new().await;
    let file = fixture.file("f").await;
    unstable(&fixture.one, &file, 0, b"abcdefgh").await;
    set_size(&fixture.one, &file, 2).await;
    set_size(&fixture.one, &file, 5).await;
    assert_eq!(read(&fixture.one, &file).await, b"ab\0\0\0");
}

#[tokio::test]
async fn a_failed_write_leaves_nothing_to_see() {
    let fixture = Fixture::new().await;
    let file = fixture.file("f").await;
    unstable(&fixture.one, &file, 0, b"abc").await;
    fixture.content.fail_write.store(true, Ordering::SeqCst);
    write(&fixture.one, &file, 3, b"garbage!", Stability::Unstable).await.unwrap_err();
    fixture.content.fail_write.store(false, Ordering::SeqCst);
    unstable(&fixture.one, &file, 8, b"x").await;
    assert_eq!(read(&fixture.one, &file).await, b"abc\0\0\0\0\0x");
}

#[tokio::test]
async fn a_write_whose_call_is_dropped_leaves_nothing_to_see() {
    let fixture = Arc::new(Fixture::new().await);
    let file = fixture.file("f").await;
    unstable(&fixture.one, &file, 0, b"abc").await;
    fixture.content.hold_writes.store(true, Ordering::SeqCst);
    let held = tokio::spawn({
        let (fixture, file) = (Arc::clone(&fixture), file.clone());
        async move { write(&fixture.one, &file, 3, b"garbage!", Stability::Unstable).await.map(|_| ()) }
    });
    let content = fixture.committed(&file).await.content.unwrap().id;
    while fixture.content.length(&fixture.context().call, content).await.unwrap() == 3 {
        tokio::task::yield_now().await;
    }
    held.abort();
    held.await.unwrap_err();
    fixture.content.hold_writes.store(false, Ordering::SeqCst);
    unstable(&fixture.one, &file, 8, b"x").await;
    assert_eq!(read(&fixture.one, &file).await, b"abc\0\0\0\0\0x");
    let eof = fixture.one.read(&caller(0), &file, 8, 10).await.unwrap();
    assert!(eof.eof);
}
