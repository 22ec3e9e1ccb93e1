//! A disk that is full, fails or takes no writes: a library before the C library (`disk.c`) says so to a
//! process with the store.

use std::path::PathBuf;
use std::process::Command;

use trunkfs::metadata::{Answer, Created, Error, MetadataStore as _, Namespace as _};

use crate::again::{again, given};
use crate::support::{Fixture, name};

/// Runs `work` in a process whose disk does what is written to a file; the process gets a folder.
fn with_disk<F: Future<Output = ()>>(test: &str, work: impl FnOnce(Disk) -> F) {
    if let Some(folder) = given() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(work(Disk { folder: folder.into() }));
    }
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("disk.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sqlite/disk.c");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .args([source, "-ldl"])
        .output()
        .expect("a C compiler, which the build needs too");
    assert!(made.status.success(), "{made:?}");
    let ran = again(test, folder.path().to_str().unwrap())
        .env("LD_PRELOAD", &library)
        .env("TRUNKFS_TEST_DISK", Disk { folder: folder.path().into() }.control())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && out.contains("1 passed"), "{ran:?}");
}

struct Disk {
    folder: PathBuf,
}

impl Disk {
    fn control(&self) -> PathBuf {
        self.folder.join("control")
    }

    /// What it does from now on: `full`, `write`, `read-only`, `sync`; nothing wrong where it is empty.
    fn does(&self, word: &str) {
        std::fs::write(self.control(), word).unwrap();
    }

    fn database(&self) -> PathBuf {
        self.folder.join("metadata.sqlite")
    }
}

#[track_caller]
fn error(answer: Answer<Created>) -> Error {
    answer.expect_err("a change on a disk that fails").error
}

/// Only what was acknowledged, or what is told as unknown, is there.
async fn holds(fixture: &Fixture, names: &[&str]) {
    for name in names {
        assert!(fixture.find(fixture.root(), name).await.is_some(), "{name}");
    }
    fixture.sound().await;
}

#[test]
fn a_full_disk_costs_the_changes_that_need_it() {
    with_disk("disk::a_full_disk_costs_the_changes_that_need_it", |disk| async move {
        let fixture = Fixture::at(&disk.database()).await;
        fixture.file(fixture.root(), "before").await;
        disk.does("full");
        for _ in 0..3 {
            let error = error(fixture.create(fixture.root(), "during").await);
            assert!(matches!(error, Error::NoSpace(_)), "{error:?}");
        }
        // Several at once too, and what changes nothing is still answered.
        let many = (0..20).map(|number| {
            let name = format!("many-{number}");
            let fixture = &fixture;
            async move { fixture.create(fixture.root(), &name).await }
        });
        for answer in join_all(many).await {
            assert!(matches!(error(answer), Error::NoSpace(_)));
        }
        assert!(matches!(error(fixture.create(fixture.root(), "before").await), Error::Exists));
        holds(&fixture, &["before"]).await;
        assert!(fixture.find(fixture.root(), "during").await.is_none());
        disk.does("");
        fixture.file(fixture.root(), "after").await;
        holds(&fixture, &["before", "after"]).await;
        fixture.store.close().await;
        holds(&Fixture::at(&disk.database()).await, &["before", "after"]).await;
    });
}

#[test]
fn a_write_that_fails_is_undone() {
    with_disk("disk::a_write_that_fails_is_undone", |disk| async move {
        let fixture = Fixture::at(&disk.database()).await;
        fixture.file(fixture.root(), "before").await;
        disk.does("write");
        let error = error(fixture.create(fixture.root(), "during").await);
        assert!(matches!(error, Error::Backend(_)), "{error:?}");
        holds(&fixture, &["before"]).await;
        disk.does("");
        fixture.file(fixture.root(), "during").await;
        holds(&fixture, &["before", "during"]).await;
    });
}

#[test]
fn a_disk_that_became_read_only_is_read() {
    with_disk("disk::a_disk_that_became_read_only_is_read", |disk| async move {
        let fixture = Fixture::at(&disk.database()).await;
        fixture.file(fixture.root(), "before").await;
        disk.does("read-only");
        let error = error(fixture.create(fixture.root(), "during").await);
        assert!(matches!(error, Error::ReadOnly(_)), "{error:?}");
        holds(&fixture, &["before"]).await;
        disk.does("");
        fixture.file(fixture.root(), "after").await;
        holds(&fixture, &["before", "after"]).await;
    });
}

#[test]
fn nothing_is_acknowledged_after_a_sync_that_failed() {
    with_disk("disk::nothing_is_acknowledged_after_a_sync_that_failed", |disk| async move {
        let fixture = Fixture::at(&disk.database()).await;
        fixture.file(fixture.root(), "before").await;
        disk.does("sync");
        let first = error(fixture.create(fixture.root(), "during").await);
        assert!(matches!(first, Error::Backend(_)), "{first:?}");
        // The disk works again, but nobody knows what it has lost.
        disk.does("");
        for number in 0..3 {
            let later = error(fixture.create(fixture.root(), &format!("after-{number}")).await);
            assert!(matches!(later, Error::Backend(_)), "{later:?}");
        }
        let removed = fixture.store.remove(&fixture.cx(), fixture.root(), &name("before")).await;
        assert!(matches!(removed.unwrap_err().error, Error::Backend(_)));
        holds(&fixture, &["before"]).await;
        fixture.store.close().await;

        let fixture = Fixture::at(&disk.database()).await;
        holds(&fixture, &["before"]).await;
        assert!(fixture.find(fixture.root(), "after-0").await.is_none());
        fixture.file(fixture.root(), "after-0").await;
    });
}

async fn join_all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut answers: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, answer) in futures.iter_mut().zip(&mut answers) {
            if answer.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(cx)
            {
                *answer = Some(value);
            }
        }
        if answers.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    answers.into_iter().flatten().collect()
}
