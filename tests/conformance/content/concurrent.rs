//! Operations that run at the same time.

use std::future::Future;

use bytes::Bytes;
use tokio::runtime::Handle;
use trunkfs::content::{ContentStore, Error};

use super::support::{call, get, id, length, pattern, put, whole};

/// Runs all futures at once, each on a thread of its own.
async fn together<F>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: Send> + Send,
{
    let runtime = &Handle::current();
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let start = |future| scope.spawn(move || runtime.block_on(future));
            let threads: Vec<_> = futures.into_iter().map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    })
}

pub(crate) async fn writers_of_different_ranges_do_not_disturb_each_other(
    store: &dyn ContentStore,
) {
    // Ranges interleave: writer w owns every 16th piece, and pieces share pages and blocks.
    const PIECE: usize = 1_234;
    let (id, data) = (id(), pattern(6, 16 * 20 * PIECE));
    let data = &data;
    together((0..16).map(|writer| async move {
        for round in 0..20 {
            let at = (round * 16 + writer) * PIECE;
            put(store, id, at as u64, &data[at..at + PIECE]).await;
        }
    }))
    .await;
    assert_eq!(whole(store, id).await, *data);
}

pub(crate) async fn writers_of_different_contents_do_not_disturb_each_other(
    store: &dyn ContentStore,
) {
    let ids = together((0..32_u64).map(|writer| async move {
        let id = id();
        for round in 0..5 {
            put(store, id, round * 1_000, &pattern(writer * 10 + round, 1_000)).await;
        }
        store.commit(&call(), id).await.unwrap();
        id
    }))
    .await;
    for (writer, id) in ids.into_iter().enumerate() {
        for round in 0..5 {
            let expected = pattern(writer as u64 * 10 + round, 1_000);
            assert_eq!(get(store, id, round * 1_000, 1_000).await, expected);
        }
    }
}

pub(crate) async fn growing_writers_lose_no_bytes(store: &dyn ContentStore) {
    let id = id();
    // From the far end down, so that every write but the first lies below the length.
    together((0..64_u64).rev().map(|part| put_owned(store, id, part * 5_000, part))).await;
    assert_eq!(length(store, id).await, 64 * 5_000);
    for part in 0..64 {
        assert_eq!(get(store, id, part * 5_000, 5_000).await, pattern(part, 5_000));
    }
}

async fn put_owned(
    store: &dyn ContentStore,
    id: trunkfs::types::ContentId,
    offset: u64,
    seed: u64,
) {
    put(store, id, offset, &pattern(seed, 5_000)).await;
}

pub(crate) async fn commits_and_writes_run_together(store: &dyn ContentStore) {
    let id = id();
    together((0..40_u64).map(|part| async move {
        put(store, id, part * 100, &[part as u8 + 1; 100]).await;
        store.commit(&call(), id).await.unwrap();
    }))
    .await;
    for part in 0..40 {
        assert_eq!(get(store, id, part * 100, 100).await, [part as u8 + 1; 100][..]);
    }
}

pub(crate) async fn readers_see_a_write_that_returned(store: &dyn ContentStore) {
    let id = id();
    together((0..8_u64).map(|part| async move {
        for round in 1..=30_u8 {
            put(store, id, part * 70_000, &[round; 300]).await;
            assert_eq!(get(store, id, part * 70_000, 300).await, [round; 300][..]);
        }
    }))
    .await;
}

pub(crate) async fn removing_under_writers_leaves_one_or_the_other(store: &dyn ContentStore) {
    for _ in 0..20 {
        let id = id();
        put(store, id, 0, b"old").await;
        together((0..4).map(|part| async move {
            if part == 2 {
                store.remove(id).await.unwrap();
            } else {
                store.write(&call(), id, 0, Bytes::from_static(b"new")).await.unwrap();
            }
        }))
        .await;
        match store.read(&call(), id, 0, 10).await {
            Ok(data) => assert_eq!(data, b"new"[..]),
            Err(Error::Missing(_)) => assert!(store.list(None, 10).await.unwrap().is_empty()),
            Err(error) => panic!("{error:?}"),
        }
        store.remove(id).await.unwrap();
    }
}
