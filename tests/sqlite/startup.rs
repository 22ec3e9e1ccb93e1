//! Starts: on nothing, on what an earlier run left, and on what is no store of this program.

use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

use trunkfs::metadata::sqlite::{Settings, SqliteStore};
use trunkfs::metadata::{Error, MetadataStore as _};

use crate::support::{Fixture, file, look, open, share_spec, told};

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a").join("b").join("metadata.sqlite");
    let first = Fixture::at(&path).await;
    let directory = first.directory(first.root(), "d").await;
    let object = first.file(directory.id, "f").await;
    first.store.close().await;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else reads names");
    let left: Vec<_> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".lock"))
        .collect();
    assert_eq!(left, ["metadata.sqlite"], "one file has everything");

    let second = Fixture::at(&path).await;
    assert_eq!(second.share, first.share);
    assert_eq!(second.find(directory.id, "f").await.unwrap(), object);
    let newer = second.file(directory.id, "g").await;
    assert!(newer.fileid > object.fileid, "numbers are not used again");
    second.sound().await;
}

#[tokio::test]
async fn a_dropped_store_gives_the_file_back() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        drop(Fixture::in_folder(&folder).await);
    }
}

#[tokio::test]
async fn a_second_server_is_told_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::in_folder(&folder).await;
    let refused = open(&folder).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_)), "{refused:?}");
    let told = told(&refused);
    let me = format!("in use by another server: process {} on ", std::process::id());
    assert!(told.contains(&me) && told.contains(" since 2"), "{told}");
    // The refused one has taken nothing from the first.
    fixture.file(fixture.root(), "f").await;
    fixture.store.close().await;
    Fixture::in_folder(&folder).await;
}

async fn refused(folder: &tempfile::TempDir, words: &[&str]) -> Error {
    let error = open(folder).await.unwrap_err();
    let told = told(&error);
    for word in words {
        assert!(told.contains(word), "no {word:?} in {told}");
    }
    error
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    open(&folder).await.unwrap().close().await;
    look(&file(&folder))
        .execute_batch(
            "INSERT INTO refinery_schema_history SELECT 99, 'later', applied_on, checksum FROM refinery_schema_history LIMIT 1",
        )
        .unwrap();
    refused(&folder, &["schema version 99", "upgrade TrunkFS"]).await;
}

#[tokio::test]
async fn a_start_that_was_cut_short_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(file(&folder), []).unwrap();
    open(&folder).await.unwrap().close().await;
    let whole = look(&file(&folder));
    let history: String = whole
        .query_row(
            "SELECT sql FROM sqlite_schema WHERE name = 'refinery_schema_history'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    drop(whole);
    let folder = tempfile::tempdir().unwrap();
    look(&file(&folder)).execute_batch(&history).unwrap();
    let store = open(&folder).await.unwrap();
    store.open_share(&share_spec()).await.unwrap();
}

#[tokio::test]
async fn other_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    look(&file(&folder)).execute_batch("CREATE TABLE files (id)").unwrap();
    refused(&folder, &["a database of another program"]).await;

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(file(&folder), "no database ".repeat(1000)).unwrap();
    let error = refused(&folder, &["not a database", "restore a backup"]).await;
    assert!(matches!(error, Error::Damaged(_)), "{error:?}");

    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(file(&folder)).unwrap();
    refused(&folder, &["unable to open"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_page_is_found_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::in_folder(&folder).await;
    for number in 0..300 {
        fixture.file(fixture.root(), &format!("a-name-that-takes-some-room-{number}")).await;
    }
    fixture.store.close().await;
    let handle = std::fs::File::options().write(true).read(true).open(file(&folder)).unwrap();
    let pages = handle.metadata().unwrap().len() / 4096;
    // The first page keeps the schema; the last ones hold entries.
    for page in pages - 3..pages {
        handle.write_all_at(&[0xff; 64], page * 4096).unwrap();
    }
    drop(handle);
    let settings = Settings { quick_check: true, ..Settings::new(file(&folder)) };
    let error = SqliteStore::open(settings).await.unwrap_err();
    assert!(matches!(error, Error::Damaged(_)), "{error:?}");
    assert!(told(&error).contains("restore a backup"), "{error:?}");
}
