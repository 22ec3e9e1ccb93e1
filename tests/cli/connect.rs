//! `check-config --connect`: stores are tried, and nothing is changed in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::database::{TestDatabase, connect};
use super::process::{Finished, Running, folder, run, trunkfs};
use super::scene::Scene;

const LOCAL: &str = "
server: { listen: '127.0.0.1:0' }
metadata: { stores: { db: { type: sqlite, sqlite: { path: 'meta/?# db' } } } }
content: { stores: { disk: { type: filesystem, filesystem: { base_path: content } } } }
shares:
  - { name: /e, metadata_store: db, content_store: disk, clients: [ { network: 127.0.0.0/8 } ] }
";

async fn tried(folder: &Path) -> Finished {
    run(trunkfs(folder, &["check-config", "--config", "t.yaml", "--connect"])).await
}

/// Every file below a folder and its length.
fn files(folder: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.path().display().to_string();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        }
        found.insert(name, entry.metadata().unwrap().len());
    }
    found
}

#[tokio::test]
async fn local_stores_are_looked_at_and_left_alone() {
    let folder = folder(LOCAL);
    let at = folder.path();
    let fresh = tried(at).await;
    assert_eq!(fresh.status, Some(0), "{fresh:?}");
    assert!(
        fresh.out.contains("# metadata.stores.db: ok, meta/?# db is created at the start\n"),
        "{fresh:?}"
    );
    assert!(
        fresh.out.contains("# content.stores.disk: ok, content is created at the start\n"),
        "{fresh:?}"
    );
    assert!(fresh.out.contains("# share /e: ok, is created at the start\n"), "{fresh:?}");
    assert_eq!(files(at).len(), 1, "nothing but the configuration");

    let server = Running::start(at, &["--config", "t.yaml"], 1).await;
    let running = tried(at).await;
    server.stop().await;
    let before = files(at);
    let stopped = tried(at).await;
    assert_eq!(files(at), before, "nothing is left behind");
    for found in [running, stopped] {
        assert_eq!(found.status, Some(0), "{found:?}");
        assert!(
            found.out.contains("# metadata.stores.db: ok, meta/?# db has schema version 5\n"),
            "{found:?}"
        );
        assert!(
            found.out.contains("# content.stores.disk: ok, content holds the content "),
            "{found:?}"
        );
        assert!(
            found.out.contains("# share /e: ok, exists, with its content in disk\n"),
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn local_stores_that_cannot_be_used_are_named() {
    let folder = folder(LOCAL);
    let at = folder.path();
    fs::create_dir_all(at.join("content")).unwrap();
    fs::write(at.join("content/other"), "").unwrap();
    fs::write(at.join("meta"), "").unwrap();
    let both = tried(at).await;
    assert_eq!(both.status, Some(1), "{both:?}");
    assert!(
        both.out.contains("# metadata.stores.db: failed\n# content.stores.disk: failed\n"),
        "{both:?}"
    );
    for words in [
        "error: metadata.stores.db: cannot open meta/?# db",
        "error: content.stores.disk: content holds files but no TrunkFS content",
    ] {
        assert!(both.err.contains(words), "no {words:?} in\n{}", both.err);
    }
    fs::remove_file(at.join("meta")).unwrap();
    fs::create_dir(at.join("meta")).unwrap();
    fs::write(at.join("meta/?# db"), "no database, but a text that is long enough to be one")
        .unwrap();
    let one = tried(at).await;
    assert_eq!(one.status, Some(1), "{one:?}");
    assert!(one.err.contains("metadata.stores.db: cannot open meta/?# db: "), "{one:?}");
}

#[tokio::test]
async fn databases_are_asked_for_their_version() {
    let database = TestDatabase::create().await;
    let folder = Scene::of(&database).folder();
    let empty = tried(folder.path()).await;
    assert_eq!(empty.status, Some(0), "{empty:?}");
    assert!(empty.out.contains("has schema version 0, which the start upgrades to "), "{empty:?}");
    let client = connect(&database.settings()).await;
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(client.query_one(tables, &[]).await.unwrap().get::<_, i64>(0), 0, "nothing is made");

    Running::start(folder.path(), &["--config", "t.yaml"], 1).await.stop().await;
    let made = tried(folder.path()).await;
    assert_eq!(made.status, Some(0), "{made:?}");
    assert!(made.out.contains("# metadata.stores.db: ok, the database trunkfs_test_"), "{made:?}");
    assert!(!made.out.contains("which the start upgrades to"), "{made:?}");

    drop(client);
    drop(database);
    let gone = tried(folder.path()).await;
    assert_eq!(gone.status, Some(1), "{gone:?}");
    assert!(
        gone.err.contains("error: metadata.stores.db: cannot open the database trunkfs_test_"),
        "{gone:?}"
    );
    assert!(gone.err.contains("does not exist"), "{gone:?}");
    assert!(gone.out.contains("# content.stores.disk: ok"), "the others are tried too: {gone:?}");
}
