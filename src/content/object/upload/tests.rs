//! Uploads that end without an answer.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use futures_util::stream::BoxStream;
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};

use super::*;
use crate::content::object::ObjectSettings;
use crate::content::object::bucket::Bucket;
use crate::types::ContentId;

/// A bucket in memory, of which the next PUT panics where that is set.
#[derive(Debug, Default)]
struct Brittle {
    store: InMemory,
    panics: AtomicBool,
    puts: AtomicUsize,
}

impl fmt::Display for Brittle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("brittle")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Brittle {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        self.puts.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics.swap(false, Ordering::SeqCst), "as by a fault in a library");
        self.store.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.store.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.store.copy_opts(from, to, options).await
    }
}

#[async_trait::async_trait]
impl PaginatedListStore for Brittle {
    async fn list_paginated(
        &self,
        _: Option<&str>,
        _: PaginatedListOptions,
    ) -> StoreResult<PaginatedListResult> {
        let result = ListResult {
            common_prefixes: Vec::new(),
            objects: Vec::new(),
            extensions: Default::default(),
        };
        Ok(PaginatedListResult { result, page_token: None })
    }
}

const CHUNK: u32 = 4096;

fn shared(bucket: &Arc<Brittle>, write_buffer: usize, concurrency: usize) -> Arc<Shared> {
    let settings = ObjectSettings {
        request_timeout: Duration::from_secs(60),
        retries: 0,
        max_concurrency: concurrency,
        write_buffer,
        cache: 0,
        read_ahead: 0,
        exclusive: true,
        chunk_size: CHUNK,
        ..ObjectSettings::default()
    };
    let bucket = Bucket::new(Arc::clone(bucket) as _, "brittle", "", settings.limits(), None);
    Arc::new(Shared::new(bucket, None, &settings, CHUNK))
}

fn call() -> Call {
    Call::internal(Duration::from_secs(60))
}

#[tokio::test]
async fn a_chunk_whose_upload_panicked_is_stored_by_the_next() {
    let bucket = Arc::new(Brittle::default());
    let shared = shared(&bucket, 1 << 20, 4);
    let (call, file) = (call(), shared.files.get(ContentId::generate(), CHUNK));
    let data = Bytes::from(vec![7; 3 * CHUNK as usize]);
    bucket.panics.store(true, Ordering::SeqCst);
    shared.write(&call, &file, 5, &data).await.unwrap();
    let mut failures = 0;
    while let Err(error) = shared.commit(&call, &file).await {
        assert!(matches!(error, Error::Io(_)), "{error:?}");
        failures += 1;
        assert!(failures < 9, "the chunk is frozen");
    }
    assert_eq!(shared.under_way.load(Ordering::SeqCst), 0);
    assert!(file.state.lock().is_clean());
    assert!(!bucket.panics.load(Ordering::SeqCst), "no upload panicked");
    assert!(shared.files.due(9).is_empty());
}

#[tokio::test]
async fn an_upload_that_is_dropped_leaves_its_chunk_to_the_next() {
    let bucket = Arc::new(Brittle::default());
    let shared = shared(&bucket, 1 << 20, 4);
    let (call, file) = (call(), shared.files.get(ContentId::generate(), CHUNK));
    shared.write(&call, &file, 1, &Bytes::from_static(b"bytes")).await.unwrap();
    for begun in [false, true] {
        assert!(file.state.lock().claim(0));
        let mut uploading = Uploading::new(&shared, &file, 0);
        if begun {
            uploading.phase = Phase::Storing(file.state.lock().begin(0).unwrap());
        }
        assert!(!file.state.lock().claim(0));
        drop(uploading);
        assert_eq!(shared.under_way.load(Ordering::SeqCst), 0);
        assert!(!file.state.lock().is_clean());
    }
    shared.commit(&call, &file).await.unwrap();
    assert!(file.state.lock().is_clean());
    assert_eq!(bucket.puts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn writers_that_wait_for_memory_have_the_oldest_chunks_stored() {
    let bucket = Arc::new(Brittle::default());
    let shared = shared(&bucket, 64 << 10, 2);
    let call = call();
    let files: Vec<_> = (0..1000).map(|_| shared.files.get(ContentId::generate(), CHUNK)).collect();
    let data = Bytes::from_static(&[7; 1000]);
    for file in &files {
        let write = shared.write(&call, file, 1, &data);
        tokio::time::timeout(Duration::from_secs(60), write).await.unwrap().unwrap();
    }
    let clean: Vec<_> = files.iter().map(|file| file.state.lock().is_clean()).collect();
    let stored = clean.iter().filter(|clean| **clean).count();
    assert!((800..1000).contains(&stored), "{stored}");
    assert!(
        clean[..stored - 8].iter().all(|clean| *clean),
        "younger chunks went before older ones"
    );
}
