//! Reads and writes are positional: each touches its range alone.

use trunkfs::content::ContentStore;

use super::support::{get, id, length, pattern, put, whole};

pub(crate) async fn a_read_gives_what_was_written(store: &dyn ContentStore) {
    let (id, data) = (id(), pattern(1, 10_000));
    put(store, id, 0, &data).await;
    assert_eq!(get(store, id, 0, 10_000).await, data);
    assert_eq!(get(store, id, 4_000, 123).await, data[4_000..4_123]);
    assert_eq!(get(store, id, 9_999, 1).await, data[9_999..]);
}

pub(crate) async fn pages_are_what_a_read_gives(store: &dyn ContentStore) {
    let (id, data) = (id(), pattern(3, 500_000));
    put(store, id, 0, &data).await;
    for (offset, length) in [(0, 500_000), (1, 70_000), (65_535, 65_537), (434_464, 65_536)] {
        if let Some(pages) = store.pages(id, offset as u64, length) {
            assert!(pages.copy().unwrap() == data[offset..offset + length]);
        }
    }
    assert!(store.pages(id, 1, 500_000).is_none(), "they are not all there");
    put(store, id, 100_000, &[7; 10]).await;
    let mut data = data;
    data[100_000..100_010].fill(7);
    if let Some(pages) = store.pages(id, 0, 500_000) {
        assert!(pages.copy().unwrap() == data);
    }
}

pub(crate) async fn a_write_replaces_its_range_alone(store: &dyn ContentStore) {
    let (id, mut data) = (id(), pattern(2, 200_000));
    put(store, id, 0, &data).await;
    for (offset, length) in [(0, 1), (65_535, 2), (65_536, 65_536), (199_999, 1), (100_000, 50_000)]
    {
        let new = pattern(offset as u64 + 99, length);
        data[offset..offset + length].copy_from_slice(&new);
        put(store, id, offset as u64, &new).await;
        assert_eq!(whole(store, id).await, data, "after {length} bytes at {offset}");
    }
}

pub(crate) async fn a_write_past_the_end_leaves_zeros(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 0, b"begin").await;
    put(store, id, 300_000, b"end").await;
    assert_eq!(length(store, id).await, 300_003);
    let mut expected = vec![0; 300_003];
    expected[..5].copy_from_slice(b"begin");
    expected[300_000..].copy_from_slice(b"end");
    assert_eq!(whole(store, id).await, expected);
}

pub(crate) async fn a_read_across_the_end_is_short(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 0, b"0123456789").await;
    assert_eq!(get(store, id, 7, 100).await, b"789"[..]);
    assert_eq!(get(store, id, 0, 1 << 20).await, b"0123456789"[..]);
}

pub(crate) async fn a_read_past_the_end_is_empty(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 0, b"0123456789").await;
    assert!(get(store, id, 10, 1).await.is_empty());
    assert!(get(store, id, 1 << 40, 1_000).await.is_empty());
}

pub(crate) async fn a_read_of_nothing_is_empty(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 0, b"0123456789").await;
    for offset in [0, 5, 10, 11] {
        assert!(get(store, id, offset, 0).await.is_empty());
    }
}

pub(crate) async fn a_write_of_nothing_leaves_the_length(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 0, b"0123456789").await;
    for offset in [0, 5, 10, 1_000] {
        put(store, id, offset, b"").await;
        assert_eq!(whole(store, id).await, b"0123456789"[..]);
    }
}

pub(crate) async fn writes_across_blocks_read_whole(store: &dyn ContentStore) {
    let (id, data) = (id(), pattern(3, 3 << 20));
    let mut at = 0;
    for step in [1, 4_095, 65_536, 65_537, 1_000_000, 70_000].into_iter().cycle() {
        let end = data.len().min(at + step);
        put(store, id, at as u64, &data[at..end]).await;
        at = end;
        if at == data.len() {
            break;
        }
    }
    assert_eq!(whole(store, id).await, data);
    assert_eq!(get(store, id, 65_530, 131_090).await, data[65_530..196_620]);
}

pub(crate) async fn holes_between_writes_are_zeros(store: &dyn ContentStore) {
    let id = id();
    let mut expected = vec![0; 2_000_100];
    for offset in [2_000_000, 0, 1_000_000, 400_000] {
        put(store, id, offset as u64, &[7; 100]).await;
        expected[offset..offset + 100].fill(7);
    }
    assert_eq!(whole(store, id).await, expected);
    assert_eq!(get(store, id, 399_990, 20).await, expected[399_990..400_010]);
}

pub(crate) async fn every_byte_value_survives(store: &dyn ContentStore) {
    let (id, data) = (id(), (0..=255).collect::<Vec<u8>>());
    put(store, id, 255, &data).await;
    assert_eq!(get(store, id, 255, 256).await, data);
}

pub(crate) async fn the_last_write_of_a_range_stays(store: &dyn ContentStore) {
    let id = id();
    for round in 1..=50_u8 {
        put(store, id, 100, &[round; 5_000]).await;
        assert_eq!(get(store, id, 100, 5_000).await, [round; 5_000][..]);
    }
    assert_eq!(length(store, id).await, 5_100);
}
