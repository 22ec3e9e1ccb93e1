//! Content is copied to another store, and the share is served from there: the steps of docs/moving.md.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::database::TestDatabase;
use super::files::{Files, pattern};
use super::gc::{SQLITE, bucket, postgres};
use super::process::{Finished, Running, Watched, run, trunkfs};
use super::s3::{Fate, S3Server};

const ELSEWHERE: &str = "type: filesystem, filesystem: { base_path: elsewhere }";

/// Writes the configuration of a share whose content is in `store`, with `more` under it.
fn write(folder: &TempDir, metadata: &str, other: &str, store: &str, more: &str) {
    let text = format!(
        "server: {{ listen: '127.0.0.1:0' }}
metadata: {{ stores: {{ {metadata} }} }}
content:
  stores:
    here: {{ type: filesystem, filesystem: {{ base_path: here }} }}
    there: {{ {other} }}
shares:
  - name: /e
    metadata_store: db
    content_store: {store}
    root: {{ mode: '0777' }}
    clients: [ {{ network: 127.0.0.0/8, squash: no_root_squash }} ]
{more}
"
    );
    fs::write(folder.path().join("t.yaml"), text).unwrap();
}

async fn serve(folder: &TempDir) -> Running {
    Running::start(folder.path(), &["--config", "t.yaml"], 1).await
}

const COPY: [&str; 8] =
    ["content", "copy", "--config", "t.yaml", "--from", "here", "--to", "there"];

async fn copy(folder: &TempDir, more: &[&str]) -> Finished {
    run(trunkfs(folder.path(), &[&COPY[..], more].concat())).await
}

async fn copied(folder: &TempDir, more: &[&str]) -> Value {
    let finished = copy(folder, &[&["--json"], more].concat()).await;
    assert_eq!(finished.status, Some(0), "{finished:?}");
    assert_eq!(finished.err, "", "JSON comes alone");
    serde_json::from_str(&finished.out).unwrap()
}

/// Files of all kinds.
async fn furnish(files: &mut Files) {
    for number in 0..30 {
        files.make(&format!("small-{number}"), &pattern(number, 1 + number as usize * 700)).await;
    }
    files.make("large", &pattern(99, 9_000_001)).await;
    files.make("empty", b"").await;
    files.make("cut", &pattern(5, 300_000)).await;
    files.resize("cut", 100_001).await;
    files.make("holes", b"front").await;
    files.write("holes", 6_000_000, b"behind").await;
    files.resize("holes", 7_000_000).await;
    files.make("zeros", b"").await;
    files.resize("zeros", 5_000_000).await;
}

/// The contents of a folder.
fn contents(folder: &Path) -> Vec<PathBuf> {
    let parts = fs::read_dir(folder).unwrap().map(|part| part.unwrap().path());
    let parts = parts.filter(|part| part.is_dir());
    parts.flat_map(|part| fs::read_dir(part).unwrap()).map(|file| file.unwrap().path()).collect()
}

async fn moves(metadata: &str, other: &str) {
    let folder = tempfile::tempdir().unwrap();
    write(&folder, metadata, other, "here", "");
    let server = serve(&folder).await;
    let mut files = Files::open(server.address).await;
    furnish(&mut files).await;

    // 1. While clients go on.
    let over = CancellationToken::new();
    let (address, done) = (server.address, over.clone());
    let busy = tokio::spawn(async move {
        let mut files = Files::open(address).await;
        let mut round = 0;
        while !done.is_cancelled() || round < 40 {
            round += 1;
            let name = format!("busy-{}", rand::random_range(0..12));
            let bytes = pattern(round, rand::random_range(1..60_000));
            if !files.kept.contains_key(&name) {
                files.make(&name, &bytes).await;
                continue;
            }
            match rand::random_range(0..4) {
                0 => files.remove(&name).await,
                1 => files.resize(&name, 0).await,
                2 => files.resize(&name, 777).await,
                _ => files.write(&name, 100, &bytes).await,
            }
        }
        files
    });
    files.make("gone soon", b"bytes").await;
    let before = copied(&folder, &[]).await;
    assert!(before["copied"].as_u64().unwrap() >= 34, "{before}");
    let during = copied(&folder, &[]).await;
    assert!(during["present"].as_u64().unwrap() >= 34, "what did not change is there: {during}");
    over.cancel();
    let busy = busy.await.unwrap();
    files.remove("gone soon").await;
    files.write("large", 5_000_000, &pattern(7, 100)).await;
    files.all_there().await;
    server.stop().await;

    // 2. Behind the end of the servers.
    let after = copied(&folder, &[]).await;
    assert_eq!(after["changed"], 0, "{after}");
    let again = copied(&folder, &["--verify"]).await;
    assert_eq!((&again["copied"], &again["differed"]), (&0.into(), &0.into()), "{again}");
    assert_eq!(again["compared"], again["files"], "{again}");
    let text = copy(&folder, &[]).await;
    let identity = again["content_identity"].as_str().unwrap();
    for words in ["stop the servers", "- name: /e", "content_store: there", identity] {
        assert!(text.out.contains(words), "no {words:?} in {text:?}");
    }

    // 3. Nothing of the first store is needed any more.
    fs::rename(folder.path().join("here"), folder.path().join("gone")).unwrap();
    write(&folder, metadata, other, "there", &format!("    content_identity: {identity}"));
    let server = serve(&folder).await;
    let mut files = files.go_on(server.address).await;
    let mut busy = busy.go_on(server.address).await;
    files.all_there().await;
    busy.all_there().await;
    files.write("large", 1_000_000, &pattern(8, 100)).await;
    files.write("holes", 3_000_000, b"filled").await;
    files.make("new", &pattern(9, 50_000)).await;
    server.stop().await;

    // 4. The key is not needed any more either.
    write(&folder, metadata, other, "there", "");
    let server = serve(&folder).await;
    let mut files = files.go_on(server.address).await;
    files.all_there().await;
    busy.go_on(server.address).await.all_there().await;
    // What was copied and is no file's any more goes; so does the record of what was copied.
    let gc = ["gc", "--config", "t.yaml", "--content", "there", "--older-than", "0s", "--json"];
    let gc = run(trunkfs(folder.path(), &gc)).await;
    let gc: Value = serde_json::from_str(&gc.out).unwrap();
    assert!(gc["stores"][0]["removed"].as_u64().unwrap() >= 1, "{gc}");
    assert_eq!(gc["stores"][0]["undated"], 0, "{gc}");
    files.all_there().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_moves_to_another_folder() {
    moves(SQLITE, ELSEWHERE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_moves_to_a_bucket() {
    let s3 = S3Server::start().await;
    moves(SQLITE, &bucket(&s3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_of_postgresql_moves_to_a_bucket() {
    let (s3, database) = (S3Server::start().await, TestDatabase::create().await);
    moves(&postgres(&database), &bucket(&s3)).await;
}

/// A folder with a share of many files that nobody serves any more.
async fn at_rest(other: &str, count: u64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder, SQLITE, other, "here", "");
    let server = serve(&folder).await;
    let mut files = Files::open(server.address).await;
    for number in 0..count {
        files.make(&format!("{number}"), &pattern(number, 3_000)).await;
    }
    server.stop().await;
    folder
}

/// Stops a copy in its middle, and another one ends it.
async fn stopped_by(signal: Signal) -> Finished {
    const FILES: u64 = 500;
    const MANY: usize = 330;
    let s3 = S3Server::start().await;
    let folder = at_rest(&bucket(&s3), FILES).await;
    // Where the signal comes, it has all the time in the world.
    let mut puts = 0;
    s3.plan(move |method, _| match *method {
        hyper::Method::PUT => {
            puts += 1;
            Fate::Slow(Duration::from_millis(if puts <= MANY { 20 } else { 3_000 }))
        }
        _ => Fate::Normal,
    });
    let copying = Watched::start(trunkfs(folder.path(), &COPY));
    while s3.counts().puts < MANY {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    copying.signal(signal);
    let stopped = copying.finish().await;
    s3.heal();
    let rest = copied(&folder, &[]).await;
    let (present, copied_now) =
        (rest["present"].as_u64().unwrap(), rest["copied"].as_u64().unwrap());
    assert_eq!(present + copied_now, FILES, "{rest}");
    assert!(present >= 256 && copied_now > 0, "{rest}");
    let same = copied(&folder, &["--verify"]).await;
    assert_eq!((&same["compared"], &same["differed"]), (&FILES.into(), &0.into()), "{same}");
    stopped
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_killed_goes_on() {
    assert_eq!(stopped_by(Signal::KILL).await.status, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_interrupted_goes_on() {
    let stopped = stopped_by(Signal::INT).await;
    assert_eq!(stopped.status, Some(1), "{stopped:?}");
    assert!(stopped.err.contains("interrupted; run it again for the rest"), "{stopped:?}");
    assert!(!stopped.out.contains("content_identity"), "{stopped:?}");
}

#[tokio::test]
async fn holes_stay_holes() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder, SQLITE, ELSEWHERE, "here", "");
    let server = serve(&folder).await;
    let mut files = Files::open(server.address).await;
    files.make("sparse", b"front").await;
    files.resize("sparse", 1 << 30).await;
    files.write("sparse", 700 << 20, b"middle").await;
    server.stop().await;
    copied(&folder, &[]).await;
    let all = contents(&folder.path().join("here")).into_iter();
    let all = all.chain(contents(&folder.path().join("elsewhere")));
    let blocks: u64 = all.map(|file| fs::metadata(file).unwrap().blocks()).sum();
    assert!(blocks < 200, "{blocks} blocks of 512 bytes");
    let same = copied(&folder, &["--verify"]).await;
    assert_eq!((&same["compared"], &same["differed"]), (&1.into(), &0.into()), "{same}");
}

#[tokio::test]
async fn what_is_not_the_same_or_not_there_is_said() {
    let folder = at_rest(ELSEWHERE, 12).await;
    let all = copied(&folder, &[]).await;
    assert_eq!(all["copied"], 12, "{all}");
    let here = contents(&folder.path().join("here"));
    assert_eq!(here.len(), 12);
    let other = |path: &Path| {
        let below = path.strip_prefix(folder.path().join("here")).unwrap();
        folder.path().join("elsewhere").join(below)
    };
    let mut spoilt = fs::read(&here[0]).unwrap();
    spoilt[1_500] ^= 1;
    fs::write(other(&here[0]), &spoilt).unwrap();
    fs::write(other(&here[1]), &fs::read(&here[1]).unwrap()[..100]).unwrap();
    fs::remove_file(other(&here[2])).unwrap();
    let missing = copied(&folder, &[]).await;
    assert_eq!((&missing["copied"], &missing["present"]), (&1.into(), &11.into()), "{missing}");
    let mended = copied(&folder, &["--verify"]).await;
    assert_eq!((&mended["compared"], &mended["differed"]), (&12.into(), &2.into()), "{mended}");
    for file in &here {
        assert!(fs::read(file).unwrap() == fs::read(other(file)).unwrap(), "{}", file.display());
    }

    let id = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    fs::remove_dir_all(folder.path().join("elsewhere")).unwrap();
    fs::remove_file(&here[3]).unwrap();
    fs::write(&here[4], b"short").unwrap();
    let damaged = copy(&folder, &[]).await;
    assert_eq!(damaged.status, Some(1), "{damaged:?}");
    let lost = format!("/e: the content {} of a file: content {0} is missing", id(&here[3]));
    let short = format!(
        "/e: the content {} of a file: it has 5 bytes, and the file has 3000",
        id(&here[4])
    );
    for said in [&lost, &short] {
        assert!(damaged.err.contains(said.as_str()), "no {said:?} in {damaged:?}");
    }
    assert!(damaged.out.contains("12 files: 10 copied"), "{damaged:?}");
    assert!(!damaged.out.contains("content_identity"), "{damaged:?}");
}

#[tokio::test]
async fn what_cannot_be_copied_is_refused() {
    let folder = at_rest(ELSEWHERE, 1).await;
    let content = |arguments: &[&str]| {
        run(trunkfs(
            folder.path(),
            &[&["content", "copy", "--config", "t.yaml"], arguments].concat(),
        ))
    };
    content(&["--from", "here", "--to", "here"])
        .await
        .failed_with(1, &["the content stores here and here are the same"]);
    content(&["--from", "here", "--to", "nowhere"])
        .await
        .failed_with(1, &["no content store nowhere; it has here, there"]);
    content(&["--from", "there", "--to", "here"]).await.failed_with(1, &["content.stores.there"]);
    assert!(!folder.path().join("elsewhere").exists(), "what is copied from is never made");
    content(&["--from", "here", "--to", "there", "--share", "/other"]).await.failed_with(
        1,
        &["no share /other has its content in here", "searched the metadata stores db"],
    );
}

/// A folder that another database serves from is no place for a copy: that one's `trunkfs gc` does not know
/// of it.
#[tokio::test]
async fn content_of_another_database_is_not_copied_to() {
    let folder = at_rest(ELSEWHERE, 3).await;
    let second = fs::read_to_string(folder.path().join("t.yaml")).unwrap();
    let second = second.replace("names.db", "second.db");
    let second = second.replace("content_store: here", "content_store: there");
    fs::write(folder.path().join("second.yaml"), second).unwrap();
    let server = Running::start(folder.path(), &["--config", "second.yaml"], 1).await;
    let mut files = Files::open(server.address).await;
    files.make("of-the-second", b"bytes").await;
    server.stop().await;
    let elsewhere = folder.path().join("elsewhere");
    let before = contents(&elsewhere);
    copy(&folder, &[])
        .await
        .failed_with(1, &["content.stores.there", "another database", "empty folder"]);
    assert_eq!(contents(&elsewhere), before, "nothing was copied");
    // Where the configuration names that database too, both may share the folder.
    let both = fs::read_to_string(folder.path().join("t.yaml")).unwrap();
    let second = "second: { type: sqlite, sqlite: { path: second.db } }, db:";
    fs::write(folder.path().join("t.yaml"), both.replacen("db:", second, 1)).unwrap();
    assert_eq!(copied(&folder, &[]).await["copied"], 3);
}
