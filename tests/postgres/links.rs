//! The largest number of names, which the share says.

use std::sync::Arc;

use trunkfs::metadata::postgres::PostgresStore;
use trunkfs::metadata::{Error, Namespace as _};

use crate::database::connect;
use crate::support::{Fixture, name};

/// Also by calls that meet: of which each alone would be within it.
#[tokio::test(flavor = "multi_thread")]
async fn the_link_limit_is_obeyed() {
    let fixture = Fixture::new().await;
    let (root, file) = (fixture.root(), fixture.file(fixture.root(), "0").await.id);
    let client = connect(&fixture.database.settings()).await;
    client.batch_execute("UPDATE filesystem_capabilities SET max_links = 8").await.unwrap();
    drop(client);
    // What a process knows of a share never changes: only one that starts now sees it.
    let store = Arc::new(PostgresStore::connect(fixture.database.settings()).await.unwrap());
    let mut calls = Vec::new();
    for number in 1..=12 {
        let (store, cx, name) = (store.clone(), fixture.cx(), name(&format!("{number}")));
        calls.push(tokio::spawn(async move { store.link(&cx, file, root, &name).await }));
    }
    let mut linked = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => linked += 1,
            Err(refusal) => {
                assert!(matches!(refusal.error, Error::TooManyLinks), "{refusal:?}");
                assert_eq!(refusal.first.unwrap().nlink, 8);
            }
        }
    }
    assert_eq!(linked, 7);
    fixture.sound().await;
}
