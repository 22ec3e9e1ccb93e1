//! Where a content has bytes: what is not told is zeros.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use trunkfs::content::{ContentStore, Error};
use trunkfs::types::ContentId;

use super::support::{call, cancelled, cut, id, pattern, put, whole};

/// Asserts that all bytes other than zeros lie in a extent; how many bytes the extents have.
async fn told(store: &dyn ContentStore, id: ContentId) -> u64 {
    let extents = store.data_extents(&call(), id).await.unwrap();
    assert!(extents.iter().all(|extent| !extent.is_empty()), "{extents:?}");
    assert!(extents.is_sorted_by(|one, next| one.end < next.start), "{extents:?}");
    let mut bytes = whole(store, id).await.to_vec();
    for extent in &extents {
        let [start, end] = [extent.start, extent.end]
            .map(|at| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len()));
        bytes[start..end].fill(0);
    }
    let stray = bytes.iter().position(|byte| *byte != 0);
    assert_eq!(stray, None, "{extents:?}");
    extents.iter().map(|extent| extent.end - extent.start).sum()
}

pub(crate) async fn what_was_written_lies_in_a_region(store: &dyn ContentStore) {
    let id = id();
    let mut random = StdRng::seed_from_u64(5);
    put(store, id, 0, b"the first").await;
    for round in 0..18_u64 {
        let at = random.random_range(0..300_000);
        match round % 6 {
            5 => cut(store, id, at).await,
            _ => put(store, id, at, &pattern(round, random.random_range(1..20_000))).await,
        }
        if round % 4 == 0 {
            store.commit(&call(), id).await.unwrap();
        }
        told(store, id).await;
    }
}

pub(crate) async fn holes_lie_in_none(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 1 << 30, b"far out").await;
    cut(store, id, 1 << 40).await;
    for _ in 0..2 {
        let extents = store.data_extents(&call(), id).await.unwrap();
        assert!(extents.iter().any(|it| it.start <= 1 << 30 && it.end >= (1 << 30) + 7));
        let bytes: u64 = extents.iter().map(|extent| extent.end - extent.start).sum();
        assert!(bytes < 1 << 20, "{extents:?}");
        store.commit(&call(), id).await.unwrap();
    }
    cut(store, id, 0).await;
    assert_eq!(told(store, id).await, 0);
}

pub(crate) async fn what_is_missing_has_no_regions(store: &dyn ContentStore) {
    let id = id();
    let missing = |found| matches!(found, Err(Error::Missing(it)) if it == id);
    assert!(missing(store.data_extents(&call(), id).await));
    put(store, id, 0, b"there").await;
    assert_eq!(told(store, id).await.min(5), 5);
    let late = store.data_extents(&cancelled(), id).await;
    assert!(matches!(late, Err(Error::Cancelled)), "{late:?}");
    store.commit(&call(), id).await.unwrap();
    store.remove(id).await.unwrap();
    assert!(missing(store.data_extents(&call(), id).await));
}
