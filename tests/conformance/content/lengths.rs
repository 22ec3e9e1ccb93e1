//! `truncate` and `length`: cutting forgets, extending adds zeros.

use trunkfs::content::ContentStore;

use super::support::{call, cut, get, id, length, pattern, put, whole};

pub(crate) async fn the_length_is_the_furthest_write(store: &dyn ContentStore) {
    let id = id();
    for (offset, expected) in [(0, 10), (100, 110), (50, 110), (105, 115), (1_000_000, 1_000_010)] {
        put(store, id, offset, b"0123456789").await;
        assert_eq!(length(store, id).await, expected);
    }
}

pub(crate) async fn a_truncate_cuts(store: &dyn ContentStore) {
    let (id, data) = (id(), pattern(4, 200_000));
    put(store, id, 0, &data).await;
    for end in [199_999, 131_072, 131_071, 65_537, 65_536, 10, 1] {
        cut(store, id, end as u64).await;
        assert_eq!(whole(store, id).await, data[..end]);
    }
}

pub(crate) async fn a_truncate_extends_with_zeros(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 0, b"head").await;
    cut(store, id, 150_000).await;
    let mut expected = vec![0; 150_000];
    expected[..4].copy_from_slice(b"head");
    assert_eq!(whole(store, id).await, expected);
}

pub(crate) async fn a_truncate_to_the_same_length_changes_nothing(store: &dyn ContentStore) {
    let (id, data) = (id(), pattern(5, 70_001));
    put(store, id, 0, &data).await;
    cut(store, id, 70_001).await;
    assert_eq!(whole(store, id).await, data);
}

pub(crate) async fn what_was_cut_never_comes_back(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 0, &[0xff; 300_000]).await;
    cut(store, id, 0).await;
    cut(store, id, 300_000).await;
    assert_eq!(whole(store, id).await, vec![0; 300_000]);
}

pub(crate) async fn a_cut_within_a_block_never_comes_back(store: &dyn ContentStore) {
    for keep in [1_u64, 511, 4_096, 4_097, 65_535, 65_537, 131_072] {
        let id = id();
        put(store, id, 0, &[0xff; 200_000]).await;
        store.commit(&call(), id).await.unwrap();
        cut(store, id, keep).await;
        cut(store, id, 200_000).await;
        let keep = keep as usize;
        let mut expected = vec![0; 200_000];
        expected[..keep].fill(0xff);
        assert_eq!(whole(store, id).await, expected, "cut at {keep}");
    }
}

pub(crate) async fn a_write_past_a_cut_shows_zeros_between(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 0, &[0xff; 200_000]).await;
    cut(store, id, 100).await;
    put(store, id, 150_000, b"tail").await;
    assert_eq!(get(store, id, 100, 149_900).await, vec![0; 149_900]);
    assert_eq!(get(store, id, 150_000, 100_000).await, b"tail"[..]);
}

pub(crate) async fn a_truncate_to_nothing_leaves_empty_content(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 0, b"0123456789").await;
    cut(store, id, 0).await;
    assert_eq!(length(store, id).await, 0);
    assert!(get(store, id, 0, 10).await.is_empty());
    assert_eq!(store.list(None, 10).await.unwrap(), [id]);
}
