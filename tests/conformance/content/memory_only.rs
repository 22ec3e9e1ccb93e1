//! What the memory store alone promises.

use bytes::Bytes;
use trunkfs::content::{ContentStore as _, Error, MemoryContent};

use super::support::{call, cut, get, id, length, put, whole};

/// Room for some pages and what belongs to them.
const LIMIT: u64 = 40_000;
const PAGE: usize = 4096;

async fn free(store: &MemoryContent) -> u64 {
    store.capacity().await.unwrap().unwrap().free
}

#[tokio::test]
async fn writes_far_out_are_cheap() {
    let store = MemoryContent::with_limit(LIMIT);
    let id = id();
    put(&store, id, 1 << 62, b"far").await;
    put(&store, id, 0, b"near").await;
    assert_eq!(length(&store, id).await, (1 << 62) + 3);
    assert_eq!(get(&store, id, (1 << 62) - 2, 10).await, b"\0\0far"[..]);
    assert_eq!(get(&store, id, 1 << 50, 3).await, b"\0\0\0"[..]);
    assert!(free(&store).await > LIMIT - 10_000);
}

#[tokio::test]
async fn a_full_store_refuses_and_recovers() {
    let store = MemoryContent::with_limit(LIMIT);
    let (first, second) = (id(), id());
    put(&store, first, 0, &[1; 6 * PAGE]).await;
    let answer = store.write(&call(), second, 0, Bytes::from(vec![2; 4 * PAGE])).await;
    assert!(matches!(answer, Err(Error::NoSpace(_))), "{answer:?}");
    put(&store, first, 0, &[3; 6 * PAGE]).await;
    put(&store, second, 0, &[2; 3 * PAGE]).await;
    assert!(free(&store).await < PAGE as u64);
    cut(&store, first, 100).await;
    put(&store, second, 3 * PAGE as u64, &[4; 5 * PAGE]).await;
    store.remove(first).await.unwrap();
    store.remove(second).await.unwrap();
    assert_eq!(free(&store).await, LIMIT);
}

/// A byte in each of many blocks, and contents without any: what they cost is counted, not what they hold.
#[tokio::test]
async fn small_writes_fill_a_store_by_what_they_cost() {
    let store = MemoryContent::with_limit(LIMIT);
    let (scattered, mut written) = (id(), 0);
    while store.write(&call(), scattered, written << 20, Bytes::from_static(b"x")).await.is_ok() {
        written += 1;
        assert!(written <= LIMIT / PAGE as u64);
    }
    store.remove(scattered).await.unwrap();
    let mut empty = Vec::new();
    while store.truncate(&call(), id(), 0).await.is_ok() {
        empty.push(());
        assert!((empty.len() as u64) < LIMIT / 100);
    }
    assert!(free(&store).await < 1_000);
}

#[tokio::test]
async fn a_refused_write_leaves_the_bytes() {
    let store = MemoryContent::with_limit(5_000);
    let id = id();
    put(&store, id, 0, b"12345").await;
    store.write(&call(), id, 3, Bytes::from(vec![7; PAGE])).await.unwrap_err();
    assert_eq!(whole(&store, id).await, b"12345"[..]);
}
