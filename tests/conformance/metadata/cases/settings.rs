//! Settings that all instances share.

use crate::metadata::world::World;

/// A key of the case's own: settings are the store's, which other cases may use at the same time.
fn fresh_key(world: &World) -> String {
    format!("a key of {}", world.share.name)
}

pub(crate) async fn a_setting_changes_from_what_was_seen_only(world: World) {
    let store = &world.store;
    let key = &fresh_key(&world);
    assert_eq!(store.setting(key).await.unwrap(), None);
    assert_eq!(store.set_setting(key, Some("other"), "one").await.unwrap(), None);
    assert_eq!(store.setting(key).await.unwrap(), None, "nothing was seen there");
    let one = Some("one".to_owned());
    assert_eq!(store.set_setting(key, None, "one").await.unwrap(), one);
    assert_eq!(store.set_setting(key, None, "two").await.unwrap(), one);
    assert_eq!(store.set_setting(key, Some("two"), "three").await.unwrap(), one);
    assert_eq!(store.setting(key).await.unwrap(), one);
    let two = Some("two's \" and ä".to_owned());
    assert_eq!(store.set_setting(key, Some("one"), "two's \" and ä").await.unwrap(), two);
    assert_eq!(store.setting(key).await.unwrap(), two);
    assert_eq!(store.setting(&format!("{key}, another")).await.unwrap(), None);
}

/// Instances that set one together agree on whose it is.
pub(crate) async fn one_setting_is_made_by_many(world: World) {
    let key = fresh_key(&world);
    let settings = (0..12).map(|number| {
        let (store, key) = (world.store.clone(), key.clone());
        let value = format!("by {number}");
        tokio::spawn(async move { store.set_setting(&key, None, &value).await.unwrap() })
    });
    let mut found = Vec::new();
    for setting in settings.collect::<Vec<_>>() {
        found.push(setting.await.unwrap());
    }
    assert!(found[0].is_some());
    assert!(found.iter().all(|value| *value == found[0]), "{found:?}");
    assert_eq!(world.store.setting(&key).await.unwrap(), found[0]);
}
