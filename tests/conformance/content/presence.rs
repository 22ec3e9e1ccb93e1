//! Missing is one thing, empty another, a hole a third.

use trunkfs::content::ContentStore;

use super::support::{assert_missing, call, cut, get, id, length, put, whole};

pub(crate) async fn what_was_never_written_is_missing(store: &dyn ContentStore) {
    assert_missing(store, id()).await;
    let other = id();
    put(store, other, 0, b"x").await;
    assert_missing(store, id()).await;
}

pub(crate) async fn a_hole_is_not_missing(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 1_000_000, b"x").await;
    assert_eq!(get(store, id, 500_000, 10).await, [0; 10][..]);
}

pub(crate) async fn a_write_makes_the_content(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 0, b"made").await;
    assert_eq!(whole(store, id).await, b"made"[..]);
    assert_eq!(store.list(None, 10).await.unwrap(), [id]);
}

pub(crate) async fn a_write_of_nothing_makes_the_content(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 100, b"").await;
    assert_eq!(length(store, id).await, 0);
    assert_eq!(store.list(None, 10).await.unwrap(), [id]);
}

pub(crate) async fn a_truncate_makes_the_content(store: &dyn ContentStore) {
    let (empty, zeros) = (id(), id());
    cut(store, empty, 0).await;
    assert_eq!(length(store, empty).await, 0);
    cut(store, zeros, 70_000).await;
    assert_eq!(whole(store, zeros).await, vec![0; 70_000]);
}

pub(crate) async fn what_was_removed_is_missing(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 0, b"gone soon").await;
    store.commit(&call(), id).await.unwrap();
    get(store, id, 0, 4).await;
    store.remove(id).await.unwrap();
    assert_missing(store, id).await;
}

pub(crate) async fn a_removed_content_can_be_made_again(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 0, &[0xee; 100_000]).await;
    store.remove(id).await.unwrap();
    put(store, id, 3, b"new").await;
    assert_eq!(whole(store, id).await, b"\0\0\0new"[..]);
    cut(store, id, 100).await;
    assert_eq!(get(store, id, 6, 94).await, [0; 94][..]);
    store.commit(&call(), id).await.unwrap();
}

pub(crate) async fn removing_what_is_missing_is_no_error(store: &dyn ContentStore) {
    let id = id();
    store.remove(id).await.unwrap();
    put(store, id, 0, b"x").await;
    store.remove(id).await.unwrap();
    store.remove(id).await.unwrap();
    assert_missing(store, id).await;
}

pub(crate) async fn committing_what_is_missing_is_no_error(store: &dyn ContentStore) {
    let id = id();
    store.commit(&call(), id).await.unwrap();
    assert_missing(store, id).await;
}

pub(crate) async fn committing_what_was_removed_is_no_error(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 0, b"x").await;
    store.remove(id).await.unwrap();
    store.commit(&call(), id).await.unwrap();
    assert_missing(store, id).await;
}

pub(crate) async fn committing_changes_nothing(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 10, b"kept").await;
    for _ in 0..3 {
        store.commit(&call(), id).await.unwrap();
        assert_eq!(whole(store, id).await, b"\0\0\0\0\0\0\0\0\0\0kept"[..]);
    }
}

pub(crate) async fn contents_are_apart(store: &dyn ContentStore) {
    let ids: Vec<_> = (0..20).map(|_| id()).collect();
    for (number, id) in ids.iter().enumerate() {
        put(store, *id, number as u64, &[number as u8 + 1; 50]).await;
    }
    store.remove(ids[7]).await.unwrap();
    cut(store, ids[8], 10).await;
    for (number, id) in ids.iter().enumerate() {
        match number {
            7 => assert_missing(store, *id).await,
            8 => assert_eq!(whole(store, *id).await, b"\0\0\0\0\0\0\0\0\x09\x09"[..]),
            _ => {
                assert_eq!(get(store, *id, number as u64, 100).await, [number as u8 + 1; 50][..]);
            }
        }
    }
}
