//! Stores, contexts, and shorter calls.

use std::time::Duration;

use bytes::Bytes;
use trunkfs::content::{ContentStore as _, Error, ObjectContent, ObjectSettings};
use trunkfs::types::{Call, ContentId};

use crate::s3::S3Server;

/// The size of chunks in [`S3Server::settings`].
pub(crate) const CHUNK: usize = 64 << 10;

/// A store of the server's bucket, as another process would have it.
pub(crate) async fn store(server: &S3Server) -> ObjectContent {
    ObjectContent::open(server.settings()).await.unwrap()
}

/// The same with other settings.
pub(crate) async fn store_with(
    server: &S3Server,
    change: impl FnOnce(&mut ObjectSettings),
) -> ObjectContent {
    let mut settings = server.settings();
    change(&mut settings);
    // Some have so little patience that a busy machine is too slow for them.
    for _ in 0..100 {
        match ObjectContent::open(settings.clone()).await {
            Err(error) if error.is_away() => {}
            opened => return opened.unwrap(),
        }
    }
    panic!("the bucket cannot be opened")
}

/// A call with a minute of time.
pub(crate) fn call() -> Call {
    call_of(Duration::from_secs(60))
}

/// A call with so much time.
pub(crate) fn call_of(time: Duration) -> Call {
    Call::internal(time)
}

pub(crate) async fn put(store: &ObjectContent, id: ContentId, offset: usize, data: &[u8]) {
    store.write(&call(), id, offset as u64, Bytes::copy_from_slice(data)).await.unwrap();
}

pub(crate) async fn get(
    store: &ObjectContent,
    id: ContentId,
    offset: usize,
    length: usize,
) -> Bytes {
    store.read(&call(), id, offset as u64, length).await.unwrap()
}

/// Commits until it succeeds, as a client does that is asked for patience.
pub(crate) async fn commit(store: &ObjectContent, id: ContentId) {
    patiently(|| async move { store.commit(&call(), id).await }).await;
}

/// Calls until the answer is not to try again.
pub(crate) async fn patiently<T, F: Future<Output = Result<T, Error>>>(call: impl Fn() -> F) -> T {
    for _ in 0..100 {
        match call().await {
            Ok(answer) => return answer,
            Err(Error::Unavailable(_) | Error::Cancelled) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("still not available");
}

/// `length` bytes that differ between places and between seeds; none is 0.
pub(crate) fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let byte = |at: u64| (at.wrapping_mul(31) ^ (at >> 8) ^ seed.wrapping_mul(167)) as u8 | 1;
    (0..length as u64).map(byte).collect()
}
