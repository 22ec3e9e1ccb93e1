//! Which body of content a folder says it holds.

use std::fs;
use std::path::PathBuf;

use tempfile::{TempDir, tempdir};
use trunkfs::content::{
    ContentStore as _, CreateMode, FilesystemContent, FilesystemSettings, MemoryContent, OpenError,
};
use trunkfs::types::ContentIdentity;

fn base(folder: &TempDir) -> PathBuf {
    folder.path().join("content")
}

async fn open(base_path: PathBuf, making: CreateMode) -> Result<ContentIdentity, OpenError> {
    let settings = FilesystemSettings { base_path, max_open_files: Some(4) };
    let store = FilesystemContent::open_or_make(settings, making).await?;
    Ok(store.identity().unwrap())
}

#[tokio::test]
async fn a_folder_keeps_its_identity_and_takes_it_along() {
    let folder = tempdir().unwrap();
    let made = open(base(&folder), CreateMode::Allowed).await.unwrap();
    let moved = folder.path().join("moved");
    fs::rename(base(&folder), &moved).unwrap();
    for making in
        [CreateMode::Allowed, CreateMode::Never, CreateMode::As(ContentIdentity::generate())]
    {
        assert_eq!(open(moved.clone(), making).await.unwrap(), made);
    }
    assert_ne!(open(base(&folder), CreateMode::Allowed).await.unwrap(), made, "another folder");
    assert_eq!(MemoryContent::new().identity(), None);
}

#[tokio::test]
async fn several_that_make_a_folder_agree() {
    let folder = tempdir().unwrap();
    let making = (0..8).map(|_| tokio::spawn(open(base(&folder), CreateMode::Allowed)));
    let mut found = Vec::new();
    for each in making.collect::<Vec<_>>() {
        found.push(each.await.unwrap().unwrap());
    }
    assert!(found.iter().all(|identity| *identity == found[0]), "{found:?}");
    let names = fs::read_dir(base(&folder)).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().ends_with(".tmp")));
}

#[tokio::test]
async fn a_new_folder_takes_the_identity_that_it_is_given() {
    let folder = tempdir().unwrap();
    let given = ContentIdentity::generate();
    assert_eq!(open(base(&folder), CreateMode::As(given)).await.unwrap(), given);
    assert_eq!(open(base(&folder), CreateMode::Never).await.unwrap(), given);
}

/// A disk that is not mounted leaves an empty folder, in which nothing is to be made.
#[tokio::test]
async fn nothing_is_made_where_content_must_be() {
    let folder = tempdir().unwrap();
    for _ in 0..2 {
        let absent = open(base(&folder), CreateMode::Never).await.unwrap_err();
        assert!(matches!(absent, OpenError::Absent { .. }), "{absent}");
        let there = fs::read_dir(base(&folder)).map_or(0, Iterator::count);
        assert_eq!(there, 0);
        fs::create_dir_all(base(&folder)).unwrap();
    }
}

#[tokio::test]
async fn content_of_an_earlier_version_gets_an_identity() {
    let folder = tempdir().unwrap();
    let first = open(base(&folder), CreateMode::Allowed).await.unwrap();
    let file = base(&folder).join(".trunkfs-content.id");
    fs::remove_file(&file).unwrap();
    let second = open(base(&folder), CreateMode::Allowed).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(open(base(&folder), CreateMode::Never).await.unwrap(), second);
    for damage in ["", "no identity\n"] {
        fs::write(&file, damage).unwrap();
        let error = open(base(&folder), CreateMode::Allowed).await.unwrap_err();
        assert!(matches!(error, OpenError::Identity { .. }), "{error}");
        assert!(error.to_string().contains(".trunkfs-content.id"), "{error}");
    }
}
