//! Large offsets, and those that are too large.

use bytes::Bytes;
use trunkfs::content::{ContentStore, Error};

use super::support::{assert_missing, call, cut, get, id, length, put, whole};

const GIB: u64 = 1 << 30;

pub(crate) async fn offsets_beyond_4_gib_are_apart(store: &dyn ContentStore) {
    let id = id();
    for (offset, data) in [(0, b"low."), (4 * GIB, b"high"), (40 * GIB + 1, b"far.")] {
        put(store, id, offset, data).await;
    }
    assert_eq!(get(store, id, 0, 8).await, b"low.\0\0\0\0"[..]);
    assert_eq!(get(store, id, 4 * GIB - 2, 8).await, b"\0\0high\0\0"[..]);
    assert_eq!(get(store, id, 40 * GIB, 100).await, b"\0far."[..]);
    assert_eq!(length(store, id).await, 40 * GIB + 5);
}

pub(crate) async fn an_extended_length_beyond_4_gib_is_all_zeros(store: &dyn ContentStore) {
    let id = id();
    cut(store, id, 1_000 * GIB).await;
    assert_eq!(length(store, id).await, 1_000 * GIB);
    for offset in [0, 4 * GIB - 5, 999 * GIB] {
        assert_eq!(get(store, id, offset, 10).await, [0; 10][..]);
    }
    assert_eq!(get(store, id, 1_000 * GIB - 3, 10).await, [0; 3][..]);
}

pub(crate) async fn a_write_beyond_the_largest_offset_is_too_large(store: &dyn ContentStore) {
    let id = id();
    for offset in [u64::MAX, u64::MAX - 4, i64::MAX as u64, 1 << 63] {
        let answer = store.write(&call(), id, offset, Bytes::from_static(b"01234")).await;
        assert!(matches!(answer, Err(Error::TooLarge)), "at {offset}: {answer:?}");
    }
    assert_missing(store, id).await;
}

pub(crate) async fn a_truncate_beyond_the_largest_offset_is_too_large(store: &dyn ContentStore) {
    let id = id();
    for length in [u64::MAX, 1 << 63] {
        let answer = store.truncate(&call(), id, length).await;
        assert!(matches!(answer, Err(Error::TooLarge)), "to {length}: {answer:?}");
    }
    assert_missing(store, id).await;
}

pub(crate) async fn a_refused_write_changes_nothing(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 0, b"kept").await;
    store.write(&call(), id, u64::MAX - 1, Bytes::from_static(b"lost")).await.unwrap_err();
    store.truncate(&call(), id, u64::MAX).await.unwrap_err();
    assert_eq!(whole(store, id).await, b"kept"[..]);
    store.commit(&call(), id).await.unwrap();
}

pub(crate) async fn a_read_at_the_largest_offset_is_empty(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 0, b"kept").await;
    for offset in [u64::MAX, u64::MAX - 1, 1 << 63, i64::MAX as u64] {
        assert!(get(store, id, offset, 1_000).await.is_empty());
    }
}

pub(crate) async fn capacity_is_consistent(store: &dyn ContentStore) {
    put(store, id(), 0, b"x").await;
    if let Some(capacity) = store.capacity().await.unwrap() {
        assert!(capacity.total > 0);
        assert!(capacity.free <= capacity.total);
        assert!(capacity.available <= capacity.free);
    }
}
