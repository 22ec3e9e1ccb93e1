//! A share's content belongs to one metadata store: an old state that was moved away, and a copy of the
//! database, neither serve it nor collect in it by mistake.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use trunkfs::content::{ContentStore as _, CreateMode, ObjectContent};

use super::database::{TestDatabase, connect};
use super::files::{Files, pattern};
use super::gc::{DISK, bucket, postgres};
use super::process::{Finished, Running, folder, patiently, run, trunkfs};
use super::s3::S3Server;

const ONE: &str = "one: { type: sqlite, sqlite: { path: one/names.db } }";
const TWO: &str = "two: { type: sqlite, sqlite: { path: two/names.db } }";

/// A share in the first of the metadata stores; `more` stands under it.
fn config(metadata: &[&str], content: &str, more: &str) -> String {
    let store = metadata[0].split(':').next().unwrap();
    format!(
        "server: {{ listen: '127.0.0.1:0' }}
metadata: {{ stores: {{ {} }} }}
content: {{ stores: {{ store: {{ {content} }} }} }}
shares:
  - name: /e
    metadata_store: {store}
    content_store: store
    root: {{ mode: '0777' }}
    clients: [ {{ network: 127.0.0.0/8, squash: no_root_squash }} ]
{more}
",
        metadata.join(", ")
    )
}

fn write(folder: &TempDir, text: String) {
    fs::write(folder.path().join("t.yaml"), text).unwrap();
}

async fn serve(folder: &Path) -> Running {
    Running::start(folder, &["--config", "t.yaml"], 1).await
}

async fn refused(folder: &TempDir, words: &[&str]) -> String {
    let finished = run(trunkfs(folder.path(), &["serve", "--config", "t.yaml"])).await;
    finished.failed_with(1, words);
    finished.err
}

async fn does(folder: &TempDir, arguments: &[&str]) -> Finished {
    let mut command = trunkfs(folder.path(), arguments);
    command.args(["--config", "t.yaml"]);
    let finished = run(command).await;
    assert_eq!(finished.status, Some(0), "{arguments:?}: {finished:?}");
    finished
}

/// `content_owner: CLAIM` as an error says to write it.
fn accepting(said: &str) -> String {
    let claim = said.split("write content_owner: ").nth(1).unwrap().split_whitespace().next();
    format!("    content_owner: {}", claim.unwrap())
}

async fn moves(content: &str) {
    let folder = folder(&config(&[ONE, TWO], content, ""));
    let server = serve(folder.path()).await;
    let mut files = Files::open(server.address).await;
    files.make("file", &pattern(1, 5_000)).await;
    server.stop().await;
    serve(folder.path()).await.stop().await;
    does(&folder, &["dump", "--store", "one", "first.dump"]).await;
    does(&folder, &["load", "--store", "two", "first.dump"]).await;
    write(&folder, config(&[TWO, ONE], content, ""));
    let server = serve(folder.path()).await;
    let mut files = files.go_on(server.address).await;
    files.all_there().await;
    files.make("new", &pattern(2, 5_000)).await;
    server.stop().await;

    // The old state, named again by mistake.
    write(&folder, config(&[ONE], content, ""));
    let words = ["the share /e was moved", "two/names.db since 2", "the metadata store one"];
    let said = refused(&folder, &words).await;
    let foreseen =
        run(trunkfs(folder.path(), &["check-config", "--connect", "--config", "t.yaml"]));
    let foreseen = foreseen.await;
    assert_eq!(foreseen.status, Some(1), "{foreseen:?}");
    assert!(foreseen.err.contains(words[0]), "{foreseen:?}");
    let collected = run(trunkfs(folder.path(), &["gc", "--config", "t.yaml"])).await;
    collected.failed_with(1, &["content of the share /e", "two/names.db", "nothing was removed"]);
    // It is meant: then the other one is refused. The key may stay, and accepts nothing more.
    write(&folder, config(&[ONE], content, &accepting(&said)));
    serve(folder.path()).await.stop().await;
    write(&folder, config(&[TWO], content, ""));
    let again = refused(&folder, &["the share /e was moved", "one/names.db since 2"]).await;
    write(&folder, config(&[TWO], content, &accepting(&again)));
    serve(folder.path()).await.stop().await;
    write(&folder, config(&[ONE], content, &accepting(&said)));
    refused(&folder, &["the share /e was moved"]).await;

    // Back, as docs/moving.md has it: no key is needed.
    write(&folder, config(&[ONE, TWO], content, ""));
    does(&folder, &["dump", "--store", "two", "second.dump"]).await;
    does(&folder, &["load", "--store", "one", "--replace", "second.dump"]).await;
    let server = serve(folder.path()).await;
    let mut files = files.go_on(server.address).await;
    files.all_there().await;
    does(&folder, &["gc", "--older-than", "0s"]).await;
    files.all_there().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_that_was_moved_is_refused_where_it_was_in_a_folder() {
    moves(DISK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_that_was_moved_is_refused_where_it_was_in_a_bucket() {
    let s3 = S3Server::start().await;
    moves(&bucket(&s3)).await;
}

/// Content that a version without marks served has none yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_without_a_mark_gets_one() {
    let folder = folder(&config(&[ONE], DISK, ""));
    serve(folder.path()).await.stop().await;
    let mark = folder.path().join("content/.trunkfs-content.owners");
    let marked = || -> Value { serde_json::from_str(&fs::read_to_string(&mark).unwrap()).unwrap() };
    let first = marked();
    fs::remove_file(&mark).unwrap();
    does(&folder, &["gc"]).await;
    assert!(!mark.exists(), "a start alone writes it");
    serve(folder.path()).await.stop().await;
    assert_eq!(marked()["shares"].as_object().unwrap().len(), 1);
    assert_eq!(
        first["shares"].as_object().unwrap().keys().collect::<Vec<_>>(),
        marked()["shares"].as_object().unwrap().keys().collect::<Vec<_>>()
    );
    fs::write(&mark, "cut o").unwrap();
    refused(&folder, &["content.stores.store", "owners is damaged"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_file_neither_serves_nor_collects() {
    let folder = folder(&config(&[ONE], DISK, ""));
    let at = |name: &str| folder.path().join(name);
    let server = serve(folder.path()).await;
    let mut files = Files::open(server.address).await;
    files.make("before", b"bytes").await;
    server.stop().await;
    fs::create_dir(at("two")).unwrap();
    fs::copy(at("one/names.db"), at("two/names.db")).unwrap();
    let server = serve(folder.path()).await;
    let mut files = files.go_on(server.address).await;
    files.make("after", &pattern(3, 7_000)).await;

    // Beside the original, which goes on.
    write(&folder, config(&[TWO], DISK, ""));
    let gc = ["gc", "--config", "t.yaml", "--older-than", "0s", "--remove-most"];
    let words = ["content of the share /e", "one/names.db since 2", "nothing was removed"];
    let said = run(trunkfs(folder.path(), &gc)).await;
    said.failed_with(1, &words);
    let words = ["is a copy of the one at", "one/names.db", "two/names.db", "content_owner: "];
    let copy = refused(&folder, &words).await;
    files.all_there().await;
    // Both in one configuration: each says what it has.
    write(&folder, config(&[ONE, TWO], DISK, ""));
    does(&folder, &gc[..1]).await;
    files.all_there().await;
    server.stop().await;

    // The copy takes over on purpose; the original is refused then.
    write(&folder, config(&[TWO], DISK, &accepting(&copy)));
    serve(folder.path()).await.stop().await;
    does(&folder, &gc[..1]).await;
    write(&folder, config(&[ONE], DISK, ""));
    refused(&folder, &["the share /e was moved", "two/names.db"]).await;
    // A claim of a store that is gone for good.
    let said = run(trunkfs(folder.path(), &["gc", "--config", "t.yaml"])).await;
    let claim = said.err.split("--forget-owner ").nth(1).unwrap().trim();
    let forgotten = ["gc", "--forget-owner", claim];
    does(&folder, &forgotten).await;
    does(&folder, &["gc"]).await;
    serve(folder.path()).await.stop().await;

    // The file is moved to another place: nobody else has it.
    fs::create_dir(at("three")).unwrap();
    fs::copy(at("one/names.db"), at("three/names.db")).unwrap();
    fs::remove_dir_all(at("one")).unwrap();
    write(&folder, config(&[&ONE.replace("one/", "three/")], DISK, ""));
    let unclaimed = run(trunkfs(folder.path(), &["gc", "--config", "t.yaml"])).await;
    unclaimed.failed_with(1, &["start the server first"]);
    serve(folder.path()).await.stop().await;
    does(&folder, &["gc"]).await;
    // It is restored in its place from a copy.
    fs::copy(at("three/names.db"), at("backup")).unwrap();
    fs::remove_file(at("three/names.db")).unwrap();
    fs::rename(at("backup"), at("three/names.db")).unwrap();
    let server = serve(folder.path()).await;
    does(&folder, &["gc"]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_of_one_database_start_together_and_a_copy_of_it_does_not() {
    let database = TestDatabase::create().await;
    let s3 = S3Server::start().await;
    let text = config(&[&postgres(&database)], &bucket(&s3), "");
    let folders: Vec<_> = (0..4).map(|_| folder(&text)).collect();
    for _ in 0..2 {
        let starts = folders.iter().map(|folder| {
            let folder = folder.path().to_owned();
            tokio::spawn(async move { serve(&folder).await })
        });
        let mut servers = Vec::new();
        for start in starts.collect::<Vec<_>>() {
            servers.push(start.await.unwrap());
        }
        let mut files = Files::open(servers[0].address).await;
        files.make("file", b"bytes").await;
        files.remove("file").await;
        for server in servers {
            server.stop().await;
        }
    }
    let store = ObjectContent::open_or_make(s3.settings(), CreateMode::Never).await.unwrap();
    let mark = store.owners().await.unwrap().unwrap();
    let mark: Value = serde_json::from_str(&mark).unwrap();
    assert_eq!(mark["shares"].as_object().unwrap().len(), 1, "{mark}");

    let (copy, third) = (TestDatabase::create().await, TestDatabase::create().await);
    let name = |database: &TestDatabase| database.settings().target.database;
    let client = connect(&third.settings()).await;
    client.batch_execute(&format!("DROP DATABASE {}", name(&copy))).await.unwrap();
    // Sessions of the servers that stopped may take a moment to end.
    let cloned = format!("CREATE DATABASE {} TEMPLATE {}", name(&copy), name(&database));
    patiently(async {
        while client.batch_execute(&cloned).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    write(&folders[0], config(&[&postgres(&copy)], &bucket(&s3), ""));
    refused(&folders[0], &["is a copy of the one at", &name(&database), &name(&copy)]).await;
    let gc = run(trunkfs(folders[0].path(), &["gc", "--config", "t.yaml"])).await;
    gc.failed_with(1, &["content of the share /e", &name(&database), "nothing was removed"]);
    serve(folders[1].path()).await.stop().await;
    // The original is dropped: the copy has taken its place.
    patiently(async {
        let drop = format!("DROP DATABASE {} WITH (FORCE)", name(&database));
        client.batch_execute(&drop).await.unwrap();
    })
    .await;
    serve(folders[0].path()).await.stop().await;
    does(&folders[0], &["gc"]).await;
}
