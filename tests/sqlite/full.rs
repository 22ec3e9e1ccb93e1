//! A disk that is full to its last block: what is there can be read, changed and removed, whatever filled it.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkfs::metadata::{Answer, Error, MetadataStore as _, Namespace as _};
use trunkfs::types::SymlinkTarget;

use crate::small_disk::small_disk;
use crate::support::{Fixture, mode, name};

/// No test waits longer.
const PATIENCE: Duration = Duration::from_secs(60);

fn database(disk: &Path) -> PathBuf {
    disk.join("metadata.sqlite")
}

/// Leaves not a block.
fn fill(disk: &Path) {
    let mut ballast = File::options().append(true).create(true).open(disk.join("ballast")).unwrap();
    for piece in [1 << 20, 4096] {
        while ballast.write_all(&vec![1; piece]).is_ok() {}
    }
    let left = rustix::fs::statvfs(disk).unwrap().f_bavail;
    assert_eq!(left, 0, "blocks are left");
}

fn make_room(disk: &Path) {
    std::fs::remove_file(disk.join("ballast")).unwrap();
}

#[track_caller]
fn no_space<T: std::fmt::Debug>(answer: Answer<T>) {
    let error = answer.unwrap_err().error;
    assert!(matches!(error, Error::NoSpace(_)), "{error:?}");
}

fn run<F: Future<Output = ()>>(work: F) {
    tokio::runtime::Runtime::new().unwrap().block_on(work);
}

async fn remove(fixture: &Fixture, entry: &str) {
    let removed = fixture.store.remove(&fixture.cx(), fixture.root(), &name(entry)).await;
    removed.unwrap_or_else(|refusal| panic!("{entry}: {:?}", refusal.error));
}

#[test]
#[ignore = "mounts a small file system: tests/run.sh runs it where that may be"]
fn what_is_there_goes_on_and_nothing_is_made() {
    let test = "full::what_is_there_goes_on_and_nothing_is_made";
    let Some(disk) = small_disk(test, "16m") else { return };
    run(async move {
        let fixture = Fixture::at(&database(&disk)).await;
        for number in 0..400 {
            fixture.file(fixture.root(), &format!("file-{number}")).await;
        }
        let below = fixture.directory(fixture.root(), "below").await;
        fill(&disk);
        nothing_is_made(&fixture).await;
        let file = fixture.find(fixture.root(), "file-0").await.unwrap();
        fixture.store.setattr(&fixture.cx(), file.id, &mode(0o600)).await.unwrap();
        let (root, from, to) = (fixture.root(), name("file-0"), name("moved"));
        fixture.store.rename(&fixture.cx(), root, &from, below.id, &to).await.unwrap();
        fixture.store.remove(&fixture.cx(), below.id, &to).await.unwrap();
        fixture.store.rmdir(&fixture.cx(), root, &name("below")).await.unwrap();
        for number in 1..200 {
            remove(&fixture, &format!("file-{number}")).await;
        }
        fixture.sound().await;

        // So is it after a start on the full disk.
        fixture.store.close().await;
        drop(fixture);
        let fixture = Fixture::at(&database(&disk)).await;
        fill(&disk);
        nothing_is_made(&fixture).await;
        for number in 200..400 {
            remove(&fixture, &format!("file-{number}")).await;
        }
        make_room(&disk);
        fixture.file(fixture.root(), "after").await;
        fixture.sound().await;
        fixture.store.close().await;
        let fixture = Fixture::at(&database(&disk)).await;
        assert!(fixture.find(fixture.root(), "after").await.is_some());
        assert!(fixture.find(fixture.root(), "file-399").await.is_none());
        fixture.sound().await;
    });
}

/// Every way to make something, again and again: whatever it took would be missing for removing.
async fn nothing_is_made(fixture: &Fixture) {
    let (root, new) = (fixture.root(), name("new"));
    let file = fixture.find(root, "file-300").await.unwrap();
    let target = SymlinkTarget::parse(b"target").unwrap();
    for _ in 0..50 {
        no_space(fixture.create(root, "new").await);
        no_space(fixture.store.mkdir(&fixture.cx(), root, &new, &mode(0o755)).await);
        no_space(fixture.store.symlink(&fixture.cx(), root, &new, &target, &mode(0o777)).await);
        no_space(fixture.store.link(&fixture.cx(), file.id, root, &new).await);
    }
    // What needs none is answered as ever.
    let error = fixture.create(root, "file-300").await.unwrap_err().error;
    assert!(matches!(error, Error::Exists), "{error:?}");
    assert!(fixture.find(root, "new").await.is_none());
}

#[test]
#[ignore = "mounts a small file system: tests/run.sh runs it where that may be"]
fn a_disk_that_names_alone_fill_gives_all_of_them_back() {
    let test = "full::a_disk_that_names_alone_fill_gives_all_of_them_back";
    let Some(disk) = small_disk(test, "4m") else { return };
    run(async move {
        let fixture = Arc::new(Fixture::at(&database(&disk)).await);
        let made = fill_with_names(&fixture).await;
        assert!(made.len() > 500, "{} names filled it", made.len());
        // One after the other: each takes pages of the log, far more in all than are reserved.
        for entry in &made {
            remove(&fixture, entry).await;
        }
        fixture.sound().await;
        // The file keeps its length, and uses it again.
        let start = Instant::now();
        while let Err(refusal) = fixture.create(fixture.root(), "after").await {
            assert!(matches!(refusal.error, Error::NoSpace(_)), "{:?}", refusal.error);
            assert!(start.elapsed() < PATIENCE, "there is never room again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        fixture.sound().await;
    });
}

/// Makes files until none of many is made. Answers which were.
async fn fill_with_names(fixture: &Arc<Fixture>) -> Vec<String> {
    let (mut made, mut tried) = (Vec::new(), 0);
    loop {
        let calls: Vec<_> = (0..64)
            .map(|_| {
                let (fixture, entry) = (fixture.clone(), format!("{tried:0>200}"));
                tried += 1;
                tokio::spawn(async move {
                    let created = fixture.create(fixture.root(), &entry).await;
                    created.map(|_| entry)
                })
            })
            .collect();
        let before = made.len();
        for call in calls {
            match call.await.unwrap() {
                Ok(entry) => made.push(entry),
                Err(refusal) => {
                    assert!(matches!(refusal.error, Error::NoSpace(_)), "{:?}", refusal.error);
                }
            }
        }
        if made.len() == before {
            return made;
        }
    }
}
