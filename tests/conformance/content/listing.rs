//! `list` pages through the ids in their order.

use std::collections::BTreeSet;

use trunkfs::content::ContentStore;
use trunkfs::types::ContentId;
use uuid::Uuid;

use super::support::{id, put};

/// Makes contents whose ids differ at their front and at their end.
async fn fill(store: &dyn ContentStore, count: u128) -> BTreeSet<ContentId> {
    let mut ids = BTreeSet::new();
    for number in 0..count {
        let scattered = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let id = if number % 2 == 0 { ContentId(Uuid::from_u128(scattered)) } else { id() };
        put(store, id, 0, b"x").await;
        ids.insert(id);
    }
    ids
}

pub(crate) async fn an_empty_store_lists_nothing(store: &dyn ContentStore) {
    assert!(store.list(None, 100).await.unwrap().is_empty());
    assert!(store.list(Some(id()), 100).await.unwrap().is_empty());
}

pub(crate) async fn ids_are_listed_in_order(store: &dyn ContentStore) {
    let ids = fill(store, 100).await;
    assert!(store.list(None, 1_000).await.unwrap().into_iter().eq(ids));
}

pub(crate) async fn pages_cover_every_id_once(store: &dyn ContentStore) {
    let ids = fill(store, 100).await;
    for size in [1, 7, 50, 99, 100, 101] {
        let mut listed = Vec::new();
        loop {
            let page = store.list(listed.last().copied(), size).await.unwrap();
            assert!(page.len() <= size);
            if page.is_empty() {
                break;
            }
            listed.extend(page);
        }
        assert!(listed.iter().eq(&ids), "pages of {size}");
    }
}

pub(crate) async fn a_page_starts_after_what_need_not_be_there(store: &dyn ContentStore) {
    let ids: Vec<_> = fill(store, 20).await.into_iter().collect();
    store.remove(ids[9]).await.unwrap();
    assert_eq!(store.list(Some(ids[9]), 3).await.unwrap(), ids[10..13]);
    assert_eq!(store.list(Some(ContentId(Uuid::nil())), 2).await.unwrap(), ids[..2]);
    assert!(store.list(Some(ContentId(Uuid::max())), 2).await.unwrap().is_empty());
}

pub(crate) async fn a_page_of_nothing_is_empty(store: &dyn ContentStore) {
    fill(store, 3).await;
    assert!(store.list(None, 0).await.unwrap().is_empty());
}

pub(crate) async fn removed_ids_are_not_listed(store: &dyn ContentStore) {
    let mut ids = fill(store, 30).await;
    for _ in 0..10 {
        let gone = ids.pop_first().unwrap();
        store.remove(gone).await.unwrap();
        assert!(store.list(None, 100).await.unwrap().iter().eq(&ids));
    }
}
