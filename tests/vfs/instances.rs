//! Two instances over one store.

use trunkfs::metadata::{SetAttributes, SetTime};
use trunkfs::types::Timestamp;
use trunkfs::vfs::Stability;

use crate::fixture::{Fixture, caller, commit, read, set_size, unstable, write};

#[tokio::test]
async fn a_truncation_elsewhere_makes_clients_send_their_data_again() {
    let fixture = Fixture::new().await;
    let file = fixture.file("f").await;
    let written = unstable(&fixture.one, &file, 0, b"unstable").await;
    set_size(&fixture.two, &file, 0).await;
    let done = commit(&fixture.one, &file).await.unwrap();
    assert_ne!(done.verifier, written.verifier);
    assert_eq!(fixture.committed(&file).await.size, 0);
    let again = unstable(&fixture.one, &file, 0, b"unstable").await;
    assert_eq!(commit(&fixture.one, &file).await.unwrap().verifier, again.verifier);
    assert_eq!(read(&fixture.two, &file).await, b"unstable");
}

#[tokio::test]
async fn a_stable_write_is_done_over_where_the_content_was_replaced() {
    let fixture = Fixture::new().await;
    let file = fixture.file("f").await;
    let unflushed = unstable(&fixture.one, &file, 0, b"lost").await;
    set_size(&fixture.two, &file, 0).await;
    let done = write(&fixture.one, &file, 0, b"kept", Stability::FileSync).await.unwrap();
    assert_ne!(commit(&fixture.one, &file).await.unwrap().verifier, unflushed.verifier);
    assert_eq!(done.change.after.size, 4);
    assert_eq!(read(&fixture.two, &file).await, b"kept");
}

#[tokio::test]
async fn zeroing_a_gap_elsewhere_makes_clients_send_their_data_again() {
    let fixture = Fixture::new().await;
    let file = fixture.file("f").await;
    let written = unstable(&fixture.one, &file, 0, b"unstable").await;
    write(&fixture.two, &file, 10, b"!", Stability::FileSync).await.unwrap();
    assert_ne!(commit(&fixture.one, &file).await.unwrap().verifier, written.verifier);
    unstable(&fixture.one, &file, 0, b"unstable").await;
    commit(&fixture.one, &file).await.unwrap();
    assert_eq!(read(&fixture.two, &file).await, b"unstable\0\0!");
}

#[tokio::test]
async fn a_commit_where_nothing_was_written_has_its_own_verifier() {
    let fixture = Fixture::new().await;
    let file = fixture.file("f").await;
    let written = unstable(&fixture.one, &file, 0, b"unstable").await;
    assert_ne!(commit(&fixture.two, &file).await.unwrap().verifier, written.verifier);
}

#[tokio::test]
async fn a_newer_write_elsewhere_keeps_its_mtime() {
    let fixture = Fixture::new().await;
    let file = fixture.file("f").await;
    let future = Timestamp(Timestamp::now().0 + 3_600_000_000_000);
    let set = SetAttributes { mtime: SetTime::To(future), ..SetAttributes::default() };
    fixture.one.setattr(&caller(0), &file, &set).await.unwrap();
    let older = unstable(&fixture.one, &file, 0, b"older").await.change.after.mtime;
    assert!(older < future);
    let newer = write(&fixture.two, &file, 0, b"newer", Stability::FileSync).await.unwrap();
    let newer = newer.change.after.mtime;
    assert!(older <= newer && newer < future);
    assert_eq!(commit(&fixture.one, &file).await.unwrap().change.after.mtime, newer);
    assert_eq!(fixture.committed(&file).await.mtime, newer);
}
