//! `trunkfs du`, `find`, `top-files` and `report`, beside the server that has the store open.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::client::{Connection, Writer};
use super::database::TestDatabase;
use super::process::{Finished, Running, folder, run, trunkfs};
use super::scene::{Scene, of, ok, root};

pub(crate) const SQLITE: &str = "
server: { listen: '127.0.0.1:0' }
metadata: { stores: { db: { type: sqlite, sqlite: { path: names/metadata.sqlite } } } }
content: { stores: { disk: { type: filesystem, filesystem: { base_path: content } } } }
shares:
  - name: /e
    metadata_store: db
    content_store: disk
    clients: [ { network: 127.0.0.0/8, squash: no_root_squash } ]
";

/// sattr3 with an owner and, where there is one, an mtime in seconds.
fn attributes(arguments: Writer, uid: u32, mtime: Option<u32>) -> Writer {
    let arguments = arguments.u32(1).u32(0o755).u32(1).u32(uid).u32(0).u32(0).u32(0);
    match mtime {
        Some(seconds) => arguments.u32(2).u32(seconds).u32(0),
        None => arguments.u32(0),
    }
}

struct Client(Connection);

impl Client {
    async fn directory(&mut self, parent: &[u8], name: &str) -> Vec<u8> {
        let arguments = attributes(of(parent).opaque(name.as_bytes()), 0, None);
        let mut made = ok(&mut self.0, 9, arguments).await;
        assert!(made.boolean());
        made.opaque()
    }

    async fn file(&mut self, parent: &[u8], name: &str, size: usize, uid: u32) -> Vec<u8> {
        let arguments = attributes(of(parent).opaque(name.as_bytes()).u32(0), uid, None);
        let mut made = ok(&mut self.0, 8, arguments).await;
        assert!(made.boolean());
        let handle = made.opaque();
        let bytes = vec![7; size];
        ok(&mut self.0, 7, of(&handle).u64(0).u32(size as u32).u32(2).opaque(&bytes)).await;
        handle
    }
}

/// The share `/e`:
/// ```text
/// a/            1,000 and 300,000 bytes (one.TXT, two.log), a hard link to b/deep/three.log
/// b/deep/       20,000 bytes (three.log), of uid 7, a symbolic link
/// b/empty/
/// old.dat       10 bytes, of 1980
/// ```
pub(crate) async fn fill(server: &Running) {
    let mut connection = Connection::open(server.address).await;
    let root = root(&mut connection).await;
    let mut client = Client(connection);
    let a = client.directory(&root, "a").await;
    let b = client.directory(&root, "b").await;
    let deep = client.directory(&b, "deep").await;
    client.directory(&b, "empty").await;
    client.file(&a, "one.TXT", 1000, 0).await;
    client.file(&a, "two.log", 300_000, 0).await;
    let three = client.file(&deep, "three.log", 20_000, 7).await;
    ok(&mut client.0, 15, of(&three).opaque(&a).opaque(b"link.log")).await;
    let link = attributes(of(&deep).opaque(b"symbolic"), 0, None).opaque(b"three.log");
    ok(&mut client.0, 10, link).await;
    let old = client.file(&root, "old.dat", 10, 0).await;
    let times = of(&old).u32(0).u32(0).u32(0).u32(0).u32(0).u32(2).u32(315_532_800).u32(0);
    ok(&mut client.0, 2, times.u32(0)).await;
}

async fn ask(folder: &Path, arguments: &[&str]) -> Finished {
    let configured = [arguments, &["--config", "t.yaml"]].concat();
    let finished = run(trunkfs(folder, &configured)).await;
    assert_eq!(finished.status, Some(0), "{arguments:?}: {finished:?}");
    finished
}

/// One object a line.
async fn rows(folder: &Path, arguments: &[&str]) -> Vec<Value> {
    let finished = ask(folder, &[arguments, &["--json"]].concat()).await;
    finished.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(row: &Value, key: &str) -> String {
    row[key].as_str().unwrap_or_else(|| panic!("no {key} in {row}")).to_owned()
}

pub(crate) async fn paths(folder: &Path, arguments: &[&str]) -> Vec<String> {
    rows(folder, arguments).await.iter().map(|row| text(row, "path")).collect()
}

/// Path, files, directories and size.
pub(crate) async fn usage(folder: &Path, arguments: &[&str]) -> Vec<(String, u64, u64, u64)> {
    let rows = rows(folder, &[&["du"], arguments].concat()).await;
    let number = |row: &Value, key: &str| row[key].as_u64().unwrap();
    let row = |row: &Value| {
        (text(row, "path"), number(row, "files"), number(row, "directories"), number(row, "size"))
    };
    rows.iter().map(row).collect()
}

async fn questions(folder: &TempDir) {
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    fill(&server).await;
    let folder = folder.path();

    // A file with two names counts once, in one of its directories.
    let all = usage(folder, &["--depth", "0"]).await;
    assert_eq!(all, [("/e".into(), 5, 5, 321_019)]);
    let deep = usage(folder, &["/e/b", "--depth", "2"]).await;
    let names: Vec<_> = deep.iter().map(|row| row.0.as_str()).collect();
    assert_eq!(names, ["/e/b", "/e/b/deep", "/e/b/empty"]);
    assert_eq!((deep[0].2, deep[2].1, deep[2].3), (3, 0, 0));
    let level = usage(folder, &[]).await;
    assert_eq!(level.iter().map(|row| row.0.as_str()).collect::<Vec<_>>(), ["/e", "/e/a", "/e/b"]);
    assert_eq!(level[1].3 + level[2].3 + 10, 321_019);

    let logs = ["/e/a/link.log", "/e/a/two.log", "/e/b/deep/three.log"];
    assert_eq!(paths(folder, &["find", "--name", "*.log"]).await, logs);
    assert_eq!(paths(folder, &["find", "/e/b", "--name", "*.log"]).await, logs[2..]);
    assert_eq!(paths(folder, &["find", "--owner", "7"]).await, ["/e/a/link.log", logs[2]]);
    assert_eq!(paths(folder, &["find", "--size", "+200KiB"]).await, ["/e/a/two.log"]);
    assert_eq!(paths(folder, &["find", "--type", "l"]).await, ["/e/b/deep/symbolic"]);
    assert_eq!(paths(folder, &["find", "--type", "d", "--name", "e*"]).await, ["/e/b/empty"]);
    assert_eq!(paths(folder, &["find", "--mtime", "+1000"]).await, ["/e/old.dat"]);
    let small = ["find", "--type", "f", "--size", "-1000", "--mtime", "-1"];
    assert_eq!(paths(folder, &small).await, ["/e/a/one.TXT"]);
    let plain = ask(folder, &["find", "--mtime", "+1000"]).await;
    assert_eq!(plain.out, "/e/old.dat\n");

    let largest = paths(folder, &["top-files", "--count", "2"]).await;
    assert_eq!(largest[0], "/e/a/two.log");
    assert!(logs.contains(&largest[1].as_str()) && largest.len() == 2, "{largest:?}");
    assert_eq!(paths(folder, &["top-files", "/e/b"]).await, ["/e/b/deep/three.log"]);

    let groups = async |by: &str| {
        let rows = rows(folder, &["report", "--by", by]).await;
        let group = |row: &Value| (text(row, "group"), row["files"].as_u64().unwrap());
        rows.iter().map(group).collect::<Vec<_>>()
    };
    assert_eq!(groups("owner").await, [("0".into(), 4), ("7".into(), 1)]);
    let extensions = groups("extension").await;
    assert_eq!(extensions[0], ("log".into(), 2));
    assert!(extensions.contains(&("txt".into(), 1)), "{extensions:?}");
    assert!(groups("age").await.contains(&("3 years and older".into(), 1)));

    let table = ask(folder, &["report", "--by", "owner", "--csv"]).await;
    let lines: Vec<_> = table.out.lines().collect();
    assert!(lines[0] == "group,files,size,used" && lines[1].starts_with("0,4,"), "{lines:?}");

    let wrong = run(trunkfs(folder, &["du", "/other", "--config", "t.yaml"])).await;
    wrong.failed_with(2, &["/other", "share"]);
    let wrong = run(trunkfs(folder, &["du", "/e/none", "--config", "t.yaml"])).await;
    wrong.failed_with(1, &["there is no directory /e/none"]);
    server.stop().await;
}

#[tokio::test]
async fn sqlite_is_asked_beside_its_server() {
    questions(&folder(SQLITE)).await;
}

#[tokio::test]
async fn postgresql_is_asked_beside_its_server() {
    let database = TestDatabase::create().await;
    questions(&Scene::of(&database).folder()).await;
}

#[tokio::test]
async fn metadata_in_memory_cannot_be_asked() {
    let text = SQLITE.replace("sqlite, sqlite: { path: names/metadata.sqlite }", "memory");
    let folder = folder(&text);
    let finished = run(trunkfs(folder.path(), &["du", "--config", "t.yaml"])).await;
    finished.failed_with(2, &["in memory"]);
}
