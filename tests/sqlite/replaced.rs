//! A database whose files are replaced or removed while a server has them open.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use trunkfs::metadata::{Error, MetadataStore as _, Namespace as _};

use crate::support::{Fixture, file, told};

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Another file of the same bytes, renamed to the place of the first as a restore does.
fn replace(path: &Path) {
    let copy = path.with_extension("copy");
    fs::copy(path, &copy).unwrap();
    fs::rename(copy, path).unwrap();
}

#[track_caller]
fn assert_ended<T: std::fmt::Debug>(answer: Result<T, Error>, words: &[&str]) {
    let error = answer.unwrap_err();
    let said = told(&error);
    assert!(matches!(error, Error::Backend(_)), "{error:?}");
    for word in words {
        assert!(said.contains(word), "no {word:?} in {said}");
    }
}

#[tokio::test]
async fn a_change_is_not_written_to_a_file_without_a_name() {
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Fixture::in_folder(&folder).await;
        fixture.file(fixture.root(), "before").await;
        // The orphans, under other names.
        let database = file(&folder);
        for suffix in ["", "-wal"] {
            let path = beside(&database, suffix);
            fs::hard_link(&path, beside(&database, &format!("{suffix}.kept"))).unwrap();
        }
        let orphans =
            || ["", "-wal"].map(|it| fs::read(beside(&database, &format!("{it}.kept"))).unwrap());
        let path = beside(&database, suffix);
        replace(&path);
        let before = orphans();
        let name = path.file_name().unwrap().to_str().unwrap();
        let words = [name, "was replaced by another file", "stop the server"];
        assert_ended(fixture.create(fixture.root(), "after").await.map_err(|it| it.error), &words);
        assert_ended(fixture.store.getattr(&fixture.cx(), fixture.root()).await, &words);
        fixture.store.close().await;
        let after = orphans();
        assert!(before == after, "{suffix:?}: an orphan was written to");
    }
}

/// No call comes: maintenance looks by itself.
#[tokio::test]
async fn a_removal_is_noticed_without_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::in_folder(&folder).await;
    fixture.store.getattr(&fixture.cx(), fixture.root()).await.unwrap();
    fs::remove_file(file(&folder)).unwrap();
    let noticed = async {
        // Reads do not look: until maintenance does they are answered.
        while fixture.store.getattr(&fixture.cx(), fixture.root()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), noticed).await.unwrap();
    let answer = fixture.store.getattr(&fixture.cx(), fixture.root()).await;
    assert_ended(answer, &["was removed or renamed"]);
}
