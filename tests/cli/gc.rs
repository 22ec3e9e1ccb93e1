//! Content that no file has goes, and nothing else ever does.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use trunkfs::admin::Progress;
use trunkfs::admin::gc::{GcHow, collect};
use trunkfs::config::Source;
use trunkfs::content::{ContentStore as _, CreateMode, ObjectContent};
use trunkfs::stores::{OfflineStores, lasting_content};
use trunkfs::types::{Call, ContentId};

use super::database::TestDatabase;
use super::files::{Files, pattern};
use super::process::{Finished, Running, Watched, folder, run, trunkfs};
use super::s3::{ACCESS_KEY, BUCKET, Fate, S3Server, SECRET_KEY};

/// A UUID v7 of November 2024.
const OLD: &str = "01930000-0000-7000-8000-0000000000";
pub(crate) const DISK: &str = "type: filesystem, filesystem: { base_path: content }";

pub(crate) fn config(metadata: &str, content: &str) -> String {
    format!(
        "server: {{ listen: '127.0.0.1:0' }}
metadata: {{ stores: {{ {metadata} }} }}
content: {{ stores: {{ store: {{ {content} }} }} }}
shares:
  - name: /e
    metadata_store: db
    content_store: store
    root: {{ mode: '0777' }}
    clients: [ {{ network: 127.0.0.0/8, squash: no_root_squash }} ]
"
    )
}

pub(crate) const SQLITE: &str = "db: { type: sqlite, sqlite: { path: names.db } }";

pub(crate) fn postgres(database: &TestDatabase) -> String {
    let target = database.settings().target;
    let (host, port) = (&target.hosts[0].name, target.hosts[0].port);
    let (name, user) = (target.database, target.user);
    let password = target.password.unwrap_or_default();
    format!(
        "db: {{ type: postgres, postgres: {{ host: {host:?}, port: {port}, database: {name:?}, user: {user:?}, \
         password: {password:?}, auto_migrate: true }} }}"
    )
}

pub(crate) async fn serve(folder: &TempDir) -> (Running, Files) {
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    let files = Files::open(server.address).await;
    (server, files)
}

async fn gc(folder: &Path, arguments: &[&str]) -> Finished {
    run(trunkfs(folder, &[&["gc", "--config", "t.yaml"], arguments].concat())).await
}

/// A collection that goes well, and what it says.
#[track_caller]
fn summary(finished: &Finished) -> Value {
    assert_eq!(finished.status, Some(0), "{finished:?}");
    assert_eq!(finished.err, "", "JSON comes alone");
    serde_json::from_str(&finished.out).unwrap()
}

#[track_caller]
fn counts(summary: &Value, expected: [(&str, u64); 6]) {
    for (key, count) in expected {
        assert_eq!(summary["stores"][0][key], count, "{key} of {summary}");
    }
}

/// Puts content there that no file has, as old as is said.
fn plant(folder: &TempDir, id: &str, age: Duration) -> PathBuf {
    let path = folder.path().join("content").join(&id[id.len() - 2..]).join(id);
    fs::write(&path, pattern(1, 10_000)).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
    path
}

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn what_no_file_has_goes_and_all_else_stays() {
    let folder = folder(&config(SQLITE, DISK));
    let (server, mut files) = serve(&folder).await;
    for number in 0..20 {
        files.make(&format!("{number}"), &pattern(number, 5_000)).await;
    }
    let old = plant(&folder, &format!("{OLD}aa"), 30 * HOUR);
    let touched = plant(&folder, &format!("{OLD}ab"), 20 * HOUR);
    let new = plant(&folder, &ContentId::generate().to_string(), 30 * HOUR);
    let undated = plant(&folder, "01930000-0000-4000-8000-0000000000aa", 30 * HOUR);
    let future = plant(&folder, "f1930000-0000-7000-8000-0000000000aa", 30 * HOUR);
    let temporary = format!(".trunkfs-content.{OLD}cc.tmp");
    let temporary = folder.path().join("content").join(temporary);
    File::create_new(&temporary).unwrap().set_modified(SystemTime::now() - 30 * HOUR).unwrap();

    let found = summary(&gc(folder.path(), &["--dry-run", "--json"]).await);
    let expected = |removed| {
        [
            ("listed", 25),
            ("named", 20),
            ("young", 2),
            ("undated", 2),
            ("garbage", 1),
            ("removed", removed),
        ]
    };
    counts(&found, expected(0));
    assert_eq!(found["stores"][0]["leftovers"], 1, "{found}");
    assert!(old.exists() && temporary.exists(), "a dry run removes nothing");
    let removed = summary(&gc(folder.path(), &["--json"]).await);
    counts(&removed, expected(1));
    assert!(removed["stores"][0]["removed_bytes"].as_u64().unwrap() >= 10_000, "{removed}");
    assert!(!old.exists() && !temporary.exists());
    assert!([&touched, &new, &undated, &future].iter().all(|path| path.exists()));

    let shorter = gc(folder.path(), &["--older-than", "19h"]).await;
    assert_eq!(shorter.status, Some(0), "{shorter:?}");
    assert!(shorter.out.contains("store: 24 contents; 20 in use, 1 too recent"), "{shorter:?}");
    assert!(shorter.out.contains("1 removed ("), "{shorter:?}");
    assert!(!touched.exists() && new.exists());
    let all = summary(&gc(folder.path(), &["--older-than", "0s", "--json"]).await);
    assert_eq!(all["stores"][0]["removed"], 1, "{all}");
    assert!(!new.exists() && undated.exists() && future.exists());
    files.all_there().await;
    server.stop().await;
    // Without a server too.
    counts(
        &summary(&gc(folder.path(), &["--json"]).await),
        [
            ("listed", 22),
            ("named", 20),
            ("young", 0),
            ("undated", 2),
            ("garbage", 0),
            ("removed", 0),
        ],
    );
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    files.go_on(server.address).await.all_there().await;
    server.stop().await;
}

#[tokio::test]
async fn what_looks_like_a_lost_database_is_refused() {
    let folder = folder(&config(SQLITE, DISK));
    let (server, mut files) = serve(&folder).await;
    for number in 0..10 {
        files.make(&format!("{number}"), b"bytes").await;
    }
    let plants: Vec<_> = (0x10..0xff)
        .map(|number| plant(&folder, &format!("{OLD}{number:02x}"), 30 * HOUR))
        .collect();
    let all_there = || plants.iter().all(|path| path.exists());
    let most = gc(folder.path(), &[]).await;
    most.failed_with(
        1,
        &["239 of 249 contents are unused, and 10 in use", "nothing was removed", "--remove-most"],
    );
    assert!(all_there());
    let dry = gc(folder.path(), &["--dry-run"]).await;
    assert!(dry.out.contains("needs --remove-most"), "{dry:?}");
    // Fewer than many, but nothing is named.
    server.stop().await;
    fs::write(folder.path().join("t.yaml"), config(SQLITE, DISK)).unwrap();
    for path in &plants[3..] {
        fs::remove_file(path).unwrap();
    }
    let (server, mut files) = serve(&folder).await;
    for number in 0..10 {
        files.kept.insert(format!("{number}"), (Vec::new(), Vec::new()));
        files.remove(&format!("{number}")).await;
    }
    let none = gc(folder.path(), &[]).await;
    none.failed_with(1, &["3 of 3 contents are unused, and 0 in use"]);
    let told = summary(&gc(folder.path(), &["--remove-most", "--json"]).await);
    assert_eq!(told["stores"][0]["removed"], 3, "{told}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_surely_the_right_database_is_refused() {
    let folder = folder(&config(SQLITE, DISK));
    let path = folder.path();
    let (server, mut files) = serve(&folder).await;
    files.make("file", b"bytes").await;
    let old = plant(&folder, &format!("{OLD}aa"), 30 * HOUR);
    let write = |text: String| fs::write(path.join("t.yaml"), text).unwrap();
    // Another database, which has the share over content of its own.
    let other = "db: { type: sqlite, sqlite: { path: other.db } }";
    write(config(other, "type: filesystem, filesystem: { base_path: elsewhere }"));
    serve(&folder).await.0.stop().await;
    write(config(other, DISK));
    gc(path, &[]).await.failed_with(
        1,
        &["which no share of the metadata stores (db) uses", "nothing was removed"],
    );
    // One that is not there.
    write(config("db: { type: sqlite, sqlite: { path: absent.db } }", DISK));
    gc(path, &[]).await.failed_with(1, &["absent.db", "nothing was removed"]);
    // All that the configuration names are asked, though no share is in them.
    let away = "away: { type: postgres, postgres: { host: 127.0.0.1, port: 1, database: x, user: x, password: x } }";
    write(config(&format!("{SQLITE}, {away}"), DISK));
    gc(path, &[]).await.failed_with(1, &["metadata.stores.away", "nothing was removed"]);
    write(config("db: { type: memory }", DISK));
    gc(path, &[])
        .await
        .failed_with(1, &["/e has its content in store", "in memory", "nothing was removed"]);
    write(config(SQLITE, "type: memory"));
    gc(path, &[]).await.failed_with(2, &["nothing to collect"]);
    gc(path, &["--content", "store"]).await.failed_with(1, &["is in memory"]);
    write(config(SQLITE, DISK));
    gc(path, &["--content", "stor"]).await.failed_with(1, &["no content store stor; it has store"]);
    gc(path, &["--older-than", "soon"]).await.failed_with(2, &["such as 24h or 7d"]);
    // A disk that is not mounted.
    fs::rename(path.join("content"), path.join("away")).unwrap();
    gc(path, &[]).await.failed_with(1, &["content.stores.store", "nothing was removed"]);
    assert!(!path.join("content").exists(), "nothing is made");
    fs::rename(path.join("away"), path.join("content")).unwrap();
    assert!(old.exists());
    // Shares that nobody is served count.
    let renamed = config(SQLITE, DISK).replace("name: /e", "name: /other");
    write(renamed);
    let kept = summary(&gc(path, &["--json"]).await);
    assert_eq!(kept["stores"][0]["named"], 1, "{kept}");
    assert!(!old.exists());
    files.all_there().await;
    server.stop().await;
}

/// A dump that comes back while content is collected finds all that it names, or is told to come later.
#[tokio::test]
async fn loads_and_collections_keep_apart() {
    let database = TestDatabase::create().await;
    let folder = folder(&config(&postgres(&database), DISK));
    let (server, mut files) = serve(&folder).await;
    files.make("file", b"bytes").await;
    server.stop().await;
    let dump = ["dump", "--store", "db", "--config", "t.yaml", "d"];
    assert_eq!(run(trunkfs(folder.path(), &dump)).await.status, Some(0));
    let (client, connection) = {
        let url = std::env::var("TRUNKFS_TEST_DATABASE_URL").unwrap();
        let (before, _) = url.rsplit_once('/').unwrap();
        let url = format!("{before}/{}", database.settings().target.database);
        tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap()
    };
    tokio::spawn(connection);
    let load = ["load", "--store", "db", "--replace", "--config", "t.yaml", "d"];
    client.batch_execute("SELECT pg_advisory_lock_shared(19791, 1)").await.unwrap();
    let refused = run(trunkfs(folder.path(), &load)).await;
    refused.failed_with(1, &["trunkfs gc", "retry when it has finished"]);
    client.batch_execute("SELECT pg_advisory_unlock_all()").await.unwrap();
    client.batch_execute("SELECT pg_advisory_lock(19791, 1)").await.unwrap();
    gc(folder.path(), &[])
        .await
        .failed_with(1, &["trunkfs load is running", "nothing was removed"]);
    client.batch_execute("SELECT pg_advisory_unlock_all()").await.unwrap();
    assert_eq!(run(trunkfs(folder.path(), &load)).await.status, Some(0));
    let (server, mut again) = serve(&folder).await;
    again.kept = files.kept;
    again.all_there().await;
    server.stop().await;
}

/// Collections with pauses between their steps, in which clients go on.
async fn slowly(folder: &TempDir) {
    // The program runs in the folder, and this test does not.
    let [old, new] =
        ["names.db", "content"].map(|name| folder.path().join(name).display().to_string());
    let text = fs::read_to_string(folder.path().join("t.yaml")).unwrap();
    let text =
        text.replace("names.db", &old).replace("base_path: content", &format!("base_path: {new}"));
    fs::write(folder.path().join("absolute.yaml"), text).unwrap();
    let config = Source::File(folder.path().join("absolute.yaml")).load().unwrap().config;
    let how = GcHow {
        older_than: Duration::ZERO,
        dry_run: false,
        remove_most: true,
        forget_owners: Vec::new(),
    };
    let pause = || std::thread::sleep(Duration::from_millis(40));
    let progress = Progress::default().observed(pause);
    for round in 0x40..0x48 {
        let planted = plant(folder, &format!("{OLD}{round:02x}"), 30 * HOUR);
        let mut offline = OfflineStores::new(&config);
        let names = lasting_content(&config);
        let outcome = collect(&mut offline, &names, &how, &progress).await;
        assert_eq!(outcome.unwrap().stores[0].failed, 0);
        assert!(!planted.exists());
    }
}

/// What each client does at least.
const LEAST_STEPS: u64 = 30;

/// Whatever clients do meanwhile, and with no age at all.
async fn under_load(metadata: &str) {
    let folder = folder(&config(metadata, DISK));
    let (server, _files) = serve(&folder).await;
    let mut clients = tokio::task::JoinSet::new();
    let over = CancellationToken::new();
    for client in 0..4_u64 {
        let (address, over) = (server.address, over.clone());
        clients.spawn(async move {
            let mut files = Files::open(address).await;
            let mut step = 0_u64;
            while !over.is_cancelled() || step < LEAST_STEPS {
                step += 1;
                let name = format!("{client}-{}", rand::random_range(0..30));
                let bytes = pattern(step, rand::random_range(1..20_000));
                if !files.kept.contains_key(&name) {
                    files.make(&name, &bytes).await;
                    continue;
                }
                let choice = rand::random_range(0..4);
                match choice {
                    0 => files.remove(&name).await,
                    1 => files.resize(&name, 0).await,
                    2 => files.write(&name, 0, &bytes).await,
                    _ => {
                        files.resize(&name, 0).await;
                        files.write(&name, 0, &bytes).await;
                    }
                }
            }
            files.all_there().await;
            files
        });
    }
    for round in 0..8 {
        let id = format!("{OLD}{round:02x}");
        let planted = plant(&folder, &id, 30 * HOUR);
        let done = gc(folder.path(), &["--older-than", "0s", "--remove-most", "--json"]).await;
        let done = summary(&done);
        assert_eq!(done["stores"][0]["failed"], 0, "{done}");
        assert!(!planted.exists(), "{done}");
    }
    slowly(&folder).await;
    over.cancel();
    for mut files in clients.join_all().await {
        files.all_there().await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_file_has_goes_under_load_on_sqlite() {
    under_load(SQLITE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_file_has_goes_under_load_on_postgresql() {
    let database = TestDatabase::create().await;
    under_load(&postgres(&database)).await;
}

pub(crate) fn bucket(server: &S3Server) -> String {
    format!(
        "type: s3, s3: {{ bucket: {BUCKET}, endpoint: {:?}, path_style: true, allow_http: true, access_key: {ACCESS_KEY:?}, \
         secret_key: {SECRET_KEY:?}, prefix: tests/share, chunk_size: 64KiB, connect_retry: 0s }}",
        server.endpoint()
    )
}

pub(crate) fn call() -> Call {
    Call::internal(HOUR)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interruption_leaves_nothing_half_removed() {
    let s3 = S3Server::start().await;
    let folder = folder(&config(SQLITE, &bucket(&s3)));
    let (server, mut files) = serve(&folder).await;
    files.make("file", &pattern(7, 200_000)).await;
    let store = ObjectContent::open_or_make(s3.settings(), CreateMode::Never).await.unwrap();
    let planted: Vec<_> = (0..60).map(|_| ContentId::generate()).collect();
    for id in &planted {
        store.write(&call(), *id, 0, pattern(3, 150_000).into()).await.unwrap();
        store.commit(&call(), *id).await.unwrap();
    }
    // Where the signal comes, it has all the time in the world.
    let mut asked = 0;
    s3.plan(move |method, _| match *method {
        hyper::Method::POST | hyper::Method::DELETE => {
            asked += 1;
            Fate::Slow(Duration::from_millis(if asked < 4 { 100 } else { 3_000 }))
        }
        _ => Fate::Normal,
    });
    let posts = s3.counts().others;
    let command = ["gc", "--config", "t.yaml", "--older-than", "0s"];
    let collecting = Watched::start(trunkfs(folder.path(), &command));
    // The first is the one that tries the bucket.
    while s3.counts().others < posts + 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    collecting.signal(Signal::INT);
    let stopped = collecting.finish().await;
    assert_eq!(stopped.status, Some(1), "{stopped:?}");
    assert!(stopped.err.contains("interrupted; run it again for the rest"), "{stopped:?}");
    s3.heal();
    let left = store.list(None, 1_000).await.unwrap();
    let gone = planted.iter().filter(|id| !left.contains(id)).count();
    assert!(gone > 0 && gone < planted.len(), "{gone} of {} are gone: {stopped:?}", planted.len());
    assert!(stopped.out.contains(&format!("{gone} removed")), "{gone}: {stopped:?}");
    let whole = ObjectContent::open_or_make(s3.settings(), CreateMode::Never).await.unwrap();
    for id in planted.iter().filter(|id| left.contains(id)) {
        assert_eq!(whole.read(&call(), *id, 0, 200_000).await.unwrap(), pattern(3, 150_000));
    }
    let rest = summary(&gc(folder.path(), &["--older-than", "0s", "--json"]).await);
    assert_eq!(rest["stores"][0]["removed"], (planted.len() - gone) as u64, "{rest}");
    assert_eq!(whole.list(None, 1_000).await.unwrap().len(), 1);
    files.all_there().await;
    server.stop().await;
}
