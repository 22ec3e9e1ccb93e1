//! Two instances over one bucket, whose unflushed bytes are in their own memory until they store them: none
//! of these comes after what it must not come after.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use trunkfs::content::{ContentStore, ObjectContent};
use trunkfs::metadata::{CreateHow, SetAttributes};
use trunkfs::types::{ContentId, FileHandle, Name};
use trunkfs::vfs::{ExportSettings, GroupSource, Stability, Vfs, WriteBehind};

use crate::fixture::{Fixture, caller, commit, read, rule, set_size, unstable, write};
use crate::s3::S3Server;

struct Scene {
    one: Arc<Vfs>,
    two: Arc<Vfs>,
    /// What the first instance has its content in.
    content: Arc<ObjectContent>,
    root: FileHandle,
    file: FileHandle,
    _bucket: S3Server,
}

impl Scene {
    /// A file of 1,000 bytes.
    async fn new() -> Self {
        let Fixture { metadata, share, .. } = Fixture::new().await;
        let bucket = S3Server::start().await;
        let open = || async { Arc::new(ObjectContent::open(bucket.settings()).await.unwrap()) };
        let (content, elsewhere) = (open().await, open().await);
        let export = |content: Arc<ObjectContent>| ExportSettings {
            groups: GroupSource::Client,
            share: share.clone(),
            rules: vec![rule()],
            metadata: metadata.clone(),
            content,
            write_behind: WriteBehind::default(),
        };
        let one = Vfs::new(vec![export(content.clone())]).unwrap();
        let two = Vfs::new(vec![export(elsewhere)]).unwrap();
        let root = FileHandle { share: share.name.clone(), object: share.root };
        let how = CreateHow::Guarded(SetAttributes::default());
        let made = one.create(&caller(0), &root, &name(), &how).await.unwrap();
        let file = FileHandle { object: made.object.id, ..root.clone() };
        write(&two, &file, 0, &[b'-'; 1_000], Stability::FileSync).await.unwrap();
        Self { one, two, content, root, file, _bucket: bucket }
    }

    /// What the first instance does with what has waited long enough.
    async fn flush_by_age(&self) {
        self.one.flush_all(Instant::now() + Duration::from_secs(60)).await;
    }

    /// Content that is removed goes by itself, which a busy machine may take its time for.
    async fn has_content(&self, expected: &[ContentId]) {
        let goes = async {
            while self.content.list(None, 10).await.unwrap() != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), goes).await.expect("something is left");
    }

    async fn zeros_before_700(&self) {
        unstable(&self.two, &self.file, 700, b"new").await;
        commit(&self.two, &self.file).await.unwrap();
        let found = read(&self.two, &self.file).await;
        assert_eq!((&found[..100], &found[700..]), (&[b'-'; 100][..], &b"new"[..]));
        assert!(found[100..700].iter().all(|byte| *byte == 0), "old bytes came back");
    }
}

fn name() -> Name {
    Name::parse(b"file").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cut_off_elsewhere_does_not_come_back() {
    for by_age in [false, true] {
        let scene = Scene::new().await;
        let Scene { one, two, file, .. } = &scene;
        let written = unstable(one, file, 500, b"old").await;
        set_size(two, file, 100).await;
        if by_age {
            scene.flush_by_age().await;
        }
        assert_ne!(commit(one, file).await.unwrap().verifier, written.verifier);
        scene.zeros_before_700().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_after_a_cut_elsewhere_brings_nothing_else_along() {
    let scene = Scene::new().await;
    let Scene { one, two, file, .. } = &scene;
    let old = unstable(one, file, 500, b"old").await;
    set_size(two, file, 100).await;
    let new = unstable(one, file, 90, b"----------").await;
    assert_ne!(new.verifier, old.verifier);
    assert_eq!(commit(one, file).await.unwrap().verifier, new.verifier);
    scene.zeros_before_700().await;
}

/// The client of the first instance went to the second, sent its data again there, and went on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_again_elsewhere_is_not_stored_over_what_came_after() {
    let scene = Scene::new().await;
    let Scene { one, two, file, .. } = &scene;
    let written = unstable(one, file, 10, b"first").await;
    for data in [b"first", b"later"] {
        unstable(two, file, 10, data).await;
        commit(two, file).await.unwrap();
    }
    scene.flush_by_age().await;
    assert_eq!(read(two, file).await[10..15], b"later"[..]);
    assert_ne!(commit(one, file).await.unwrap().verifier, written.verifier);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_different_ranges_need_not_send_anything_again() {
    let scene = Scene::new().await;
    let Scene { one, two, file, .. } = &scene;
    for round in 0..3 {
        let here = unstable(one, file, round * 20, b"here").await;
        let there = unstable(two, file, round * 20 + 10, b"there").await;
        assert_eq!(commit(two, file).await.unwrap().verifier, there.verifier);
        assert_eq!(commit(one, file).await.unwrap().verifier, here.verifier);
    }
    let expected = b"here------there-----here------there-----here------there";
    assert_eq!(read(two, file).await[..expected.len()], expected[..]);
    // And by age, where nobody else has changed the file.
    for data in [b"1", b"2"] {
        let written = unstable(one, file, 0, data).await;
        scene.flush_by_age().await;
        assert_eq!(read(two, file).await[..1], data[..]);
        assert_eq!(commit(one, file).await.unwrap().verifier, written.verifier);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_file_that_is_gone_elsewhere_goes_too() {
    for removed in [false, true] {
        let scene = Scene::new().await;
        let Scene { one, two, file, .. } = &scene;
        unstable(one, file, 0, b"old").await;
        if removed {
            two.remove(&caller(0), &scene.root, &name()).await.unwrap();
            scene.flush_by_age().await;
            scene.has_content(&[]).await;
        } else {
            set_size(two, file, 0).await;
            unstable(one, file, 0, b"new").await;
            commit(one, file).await.unwrap();
            let now = two.getattr(&caller(0), file).await.unwrap().content.unwrap().id;
            scene.has_content(&[now]).await;
            assert_eq!(read(two, file).await, b"new");
        }
    }
}
