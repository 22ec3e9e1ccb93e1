//! What the memory store alone promises.

use bytes::Bytes;
use trunkfs::content::{Capacity, ContentStore as _, Error, MemoryContent};

use super::support::{cut, cx, get, id, length, put, whole};

#[tokio::test]
async fn writes_far_out_are_cheap() {
    let store = MemoryContent::with_limit(100);
    let id = id();
    put(&store, id, 1 << 62, b"far").await;
    put(&store, id, 0, b"near").await;
    assert_eq!(length(&store, id).await, (1 << 62) + 3);
    assert_eq!(get(&store, id, (1 << 62) - 2, 10).await, b"\0\0far"[..]);
    assert_eq!(get(&store, id, 1 << 50, 3).await, b"\0\0\0"[..]);
}

#[tokio::test]
async fn a_full_store_refuses_and_recovers() {
    let store = MemoryContent::with_limit(1_000);
    let (first, second) = (id(), id());
    put(&store, first, 0, &[1; 600]).await;
    let answer = store.write(&cx(), second, 0, Bytes::from(vec![2; 401])).await;
    assert!(matches!(answer, Err(Error::NoSpace(_))), "{answer:?}");
    put(&store, first, 0, &[3; 600]).await;
    put(&store, second, 0, &[2; 400]).await;
    let full = Capacity { total: 1_000, free: 0, available: 0 };
    assert_eq!(store.capacity().await.unwrap(), Some(full));
    cut(&store, first, 100).await;
    put(&store, second, 400, &[4; 500]).await;
    store.remove(first).await.unwrap();
    store.remove(second).await.unwrap();
    assert_eq!(store.capacity().await.unwrap().unwrap().free, 1_000);
}

#[tokio::test]
async fn a_refused_write_leaves_the_bytes() {
    let store = MemoryContent::with_limit(10);
    let id = id();
    put(&store, id, 0, b"12345").await;
    store.write(&cx(), id, 3, Bytes::from_static(b"too much")).await.unwrap_err();
    assert_eq!(whole(&store, id).await, b"12345"[..]);
}
