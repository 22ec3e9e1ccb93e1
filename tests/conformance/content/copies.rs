//! `extend` and `copy`: what several processes may do to contents that others write to.

use trunkfs::content::{ContentStore, Error};

use super::support::{call, cut, get, id, length, pattern, put, whole};

pub(crate) async fn an_extension_cuts_nothing(store: &dyn ContentStore) {
    let (id, data) = (id(), pattern(6, 150_000));
    put(store, id, 0, &data).await;
    for end in [0, 1, 4_096, 149_999, 150_000] {
        assert!(store.extend(&call(), id, end).await.unwrap());
        store.commit(&call(), id).await.unwrap();
        assert_eq!(whole(store, id).await, data, "to {end}");
    }
}

pub(crate) async fn an_extension_adds_zeros(store: &dyn ContentStore) {
    let id = id();
    assert!(store.extend(&call(), id, 10).await.unwrap());
    assert_eq!(whole(store, id).await, [0; 10][..]);
    put(store, id, 2, b"head").await;
    for end in [70_000_u64, 70_001, 200_000] {
        assert!(store.extend(&call(), id, end).await.unwrap());
        store.commit(&call(), id).await.unwrap();
        assert_eq!(length(store, id).await, end);
    }
    let mut expected = vec![0; 200_000];
    expected[2..6].copy_from_slice(b"head");
    assert_eq!(whole(store, id).await, expected);
}

/// A last byte that somebody has written just then stays.
pub(crate) async fn extensions_and_writes_run_together(store: &dyn ContentStore) {
    let id = id();
    let (extended, written) = tokio::join!(
        async {
            for end in (1..=100_u64).map(|step| step * 1_000) {
                assert!(store.extend(&call(), id, end).await.unwrap());
            }
        },
        async {
            for step in 1..=100 {
                put(store, id, step * 1_000 - 1, b"x").await;
            }
        }
    );
    let ((), ()) = (extended, written);
    let found = whole(store, id).await;
    assert_eq!(found.len(), 100_000);
    let others = found
        .iter()
        .enumerate()
        .filter(|(at, byte)| **byte != if at % 1_000 == 999 { b'x' } else { 0 });
    assert_eq!(others.count(), 0);
}

pub(crate) async fn a_copy_has_the_first_bytes(store: &dyn ContentStore) {
    let (from, data) = (id(), pattern(7, 300_000));
    put(store, from, 0, &data).await;
    for end in [1, 4_095, 4_096, 65_536, 65_537, 299_999, 300_000] {
        let to = id();
        assert_eq!(store.copy(&call(), from, to, end as u64).await.unwrap(), end as u64);
        assert_eq!(whole(store, to).await, data[..end]);
        // They are two contents.
        put(store, to, 0, b"other").await;
        cut(store, to, 2).await;
        assert_eq!(get(store, from, 0, 10).await, data[..10]);
    }
    assert_eq!(whole(store, from).await, data);
}

pub(crate) async fn a_copy_has_the_holes(store: &dyn ContentStore) {
    let (from, to) = (id(), id());
    put(store, from, 0, b"head").await;
    put(store, from, 5_000_000, b"tail").await;
    cut(store, from, 9_000_000).await;
    assert_eq!(store.copy(&call(), from, to, 8_000_000).await.unwrap(), 8_000_000);
    assert_eq!(length(store, to).await, 8_000_000);
    let found = whole(store, to).await;
    assert_eq!((&found[..4], &found[5_000_000..5_000_004]), (&b"head"[..], &b"tail"[..]));
    assert_eq!(found.iter().filter(|byte| **byte != 0).count(), 8);
    assert!(store.footprint(to).await.unwrap().bytes < 1_000_000, "holes take nothing");
}

pub(crate) async fn a_copy_of_too_little_says_so(store: &dyn ContentStore) {
    let (from, to) = (id(), id());
    put(store, from, 0, b"bytes").await;
    assert_eq!(store.copy(&call(), from, to, 100).await.unwrap(), 5);
    assert_eq!(whole(store, to).await, b"bytes"[..]);
    let copied = store.copy(&call(), id(), id(), 100).await;
    assert!(matches!(copied, Err(Error::Missing(_))), "{copied:?}");
}
