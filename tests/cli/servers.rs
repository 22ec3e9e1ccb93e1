//! `trunkfs servers`: who shares a database.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use super::database::TestDatabase;
use super::process::{PATIENCE, folder, run, trunkfs};
use super::scene::{Scene, started};

async fn listed(folder: &tempfile::TempDir) -> Vec<Value> {
    let command = trunkfs(folder.path(), &["servers", "--config", "t.yaml", "--json"]);
    let done = run(command).await;
    assert_eq!(done.status, Some(0), "{done:?}");
    serde_json::from_str(&done.out).unwrap()
}

#[tokio::test]
async fn servers_of_one_database_are_listed() {
    let database = TestDatabase::create().await;
    let folder = Scene::of(&database).folder();
    let (first, _one) = started(&folder).await;
    let found = listed(&folder).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let server = &found[0];
    assert_eq!(server["version"], env!("CARGO_PKG_VERSION"));
    assert!(server["pid"].as_i64().unwrap() > 1, "{server}");
    assert!(server["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{server}");
    assert_eq!(server["alive"], true);
    assert!(server["since"].as_u64().unwrap() > 1_700_000_000, "{server}");
    let (second, _two) = started(&folder).await;
    // The first has said that it is alone for a while yet.
    let until = Instant::now() + PATIENCE;
    let found = loop {
        let found = listed(&folder).await;
        assert_eq!(found.len(), 2, "{found:?}");
        // Each has a connection of the test's, and says so at its next renewal.
        if found.iter().all(|server| server["mode"] == "shared" && server["clients"] == 1) {
            break found;
        }
        assert!(Instant::now() < until, "{found:?}");
        sleep(Duration::from_millis(50)).await;
    };
    assert_ne!(found[0]["pid"], found[1]["pid"]);
    let command = trunkfs(folder.path(), &["servers", "--config", "t.yaml"]);
    let table = run(command).await;
    assert_eq!(table.status, Some(0), "{table:?}");
    assert_eq!(table.out.lines().count(), 3, "{table:?}");
    assert!(table.out.starts_with("store"), "{table:?}");
    first.stop().await;
    assert_eq!(listed(&folder).await.len(), 1, "who has ended is not listed");
    second.stop().await;
    assert_eq!(listed(&folder).await.len(), 0);
}

#[tokio::test]
async fn a_store_of_one_process_has_no_list() {
    let folder = folder(
        "
server: { listen: '127.0.0.1:0' }
metadata: { stores: { m: { type: memory } } }
content: { stores: { c: { type: memory } } }
shares: [ { name: /e, metadata_store: m, content_store: c, clients: [ { network: 127.0.0.0/8 } ] } ]
",
    );
    for more in [&[][..], &["--store", "m"]] {
        let words = [&["servers", "--config", "t.yaml"], more].concat();
        let command = trunkfs(folder.path(), &words);
        run(command).await.failed_with(2, &["of type postgres"]);
    }
}
