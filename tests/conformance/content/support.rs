//! What the cases share: stores to run on, contexts, and shorter calls.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use trunkfs::content::{
    ContentStore, Error, FilesystemContent, FilesystemSettings, MemoryContent, ObjectContent,
    ObjectSettings,
};
use trunkfs::types::{Call, ContentId};

use crate::s3::S3Server;

/// How long a case may take.
pub(crate) const CASE_LIMIT: Duration = Duration::from_secs(600);

/// A fresh store, and what has to live as long as it.
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn ContentStore>,
    _folder: Option<TempDir>,
    _server: Option<S3Server>,
}

pub(crate) async fn memory() -> Fixture {
    Fixture { store: Arc::new(MemoryContent::new()), _folder: None, _server: None }
}

pub(crate) async fn filesystem() -> Fixture {
    filesystem_with(64).await
}

pub(crate) async fn filesystem_crowded() -> Fixture {
    filesystem_with(2).await
}

async fn filesystem_with(max_open_files: u64) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = open_filesystem(&folder, max_open_files).await;
    Fixture { store: Arc::new(store), _folder: Some(folder), _server: None }
}

pub(crate) async fn object() -> Fixture {
    object_with(64 << 10, 64 << 20).await
}

pub(crate) async fn object_crowded() -> Fixture {
    object_with(4096, 128 << 10).await
}

async fn object_with(chunk_size: u32, memory: usize) -> Fixture {
    let server = S3Server::start().await;
    let settings =
        ObjectSettings { chunk_size, write_buffer: memory, cache: memory, ..server.settings() };
    let store = ObjectContent::open(settings).await.unwrap();
    Fixture { store: Arc::new(store), _folder: None, _server: Some(server) }
}

pub(crate) async fn open_filesystem(folder: &TempDir, max_open_files: u64) -> FilesystemContent {
    let base_path = folder.path().join("content");
    FilesystemContent::open(FilesystemSettings { base_path, max_open_files: Some(max_open_files) })
        .await
        .unwrap()
}

/// A call that nothing ends.
pub(crate) fn call() -> Call {
    Call::internal(CASE_LIMIT)
}

/// A call whose token has fired.
pub(crate) fn cancelled() -> Call {
    let call = call();
    call.cancel.cancel();
    call
}

pub(crate) fn id() -> ContentId {
    ContentId::generate()
}

pub(crate) async fn put(store: &dyn ContentStore, id: ContentId, offset: u64, data: &[u8]) {
    store.write(&call(), id, offset, Bytes::copy_from_slice(data)).await.unwrap();
}

pub(crate) async fn get(
    store: &dyn ContentStore,
    id: ContentId,
    offset: u64,
    length: usize,
) -> Bytes {
    store.read(&call(), id, offset, length).await.unwrap()
}

/// The whole content, asked for with room to spare.
pub(crate) async fn whole(store: &dyn ContentStore, id: ContentId) -> Bytes {
    let length = length(store, id).await;
    get(store, id, 0, usize::try_from(length).unwrap() + 100).await
}

pub(crate) async fn length(store: &dyn ContentStore, id: ContentId) -> u64 {
    store.length(&call(), id).await.unwrap()
}

pub(crate) async fn cut(store: &dyn ContentStore, id: ContentId, length: u64) {
    store.truncate(&call(), id, length).await.unwrap();
}

/// Asserts that every way to look at the content says that it is missing.
pub(crate) async fn assert_missing(store: &dyn ContentStore, wanted: ContentId) {
    let read = store.read(&call(), wanted, 0, 10).await;
    assert!(matches!(read, Err(Error::Missing(id)) if id == wanted), "{read:?}");
    let nothing = store.read(&call(), wanted, 0, 0).await;
    assert!(matches!(nothing, Err(Error::Missing(id)) if id == wanted), "{nothing:?}");
    let length = store.length(&call(), wanted).await;
    assert!(matches!(length, Err(Error::Missing(id)) if id == wanted), "{length:?}");
    let listed = store.list(None, 10_000).await.unwrap();
    assert!(!listed.contains(&wanted), "a missing id is listed");
}

/// `length` bytes that differ between places and between seeds.
pub(crate) fn pattern(seed: u64, length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|at| {
            let mixed = (at / 8 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed.rotate_left(17);
            mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9).to_be_bytes()[(at % 8) as usize] | 1
        })
        .collect()
}
