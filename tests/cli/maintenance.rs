//! The jobs that a server runs by itself.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;

use super::admin::{ask, get};
use super::client::Connection;
use super::database::TestDatabase;
use super::port::Reserved;
use super::process::{ADMIN, PATIENCE, Running, folder, trunkfs};
use super::scene::root;
use super::tree::{create, write};

const TOKEN: &str = "a token of the tests";
const SQLITE: &str = "type: sqlite, sqlite: { path: names.db }";

/// A server that begins no round by itself, unless it has a time for that.
struct Served {
    server: Running,
    admin: SocketAddr,
    _port: Reserved,
}

impl Served {
    async fn start(place: &Path, metadata: &str, maintenance: &str) -> Self {
        Self::at("off", place, metadata, maintenance).await
    }

    /// One that begins its rounds at a time of day.
    async fn at(start: &str, place: &Path, metadata: &str, maintenance: &str) -> Self {
        let port = Reserved::new();
        let admin = port.address();
        let file = format!("{}.yaml", admin.port());
        let text = format!(
            "
server: {{ listen: '127.0.0.1:0' }}
admin: {{ listen: '{admin}', token: {TOKEN} }}
maintenance: {{ start: {start}, {maintenance} }}
metadata: {{ stores: {{ names: {{ {metadata} }} }} }}
content: {{ stores: {{ bytes: {{ type: filesystem, filesystem: {{ base_path: bytes }} }} }} }}
shares:
  - name: /e
    metadata_store: names
    content_store: bytes
    root: {{ mode: '1777' }}
    clients: [ {{ network: 127.0.0.0/8, squash: no_root_squash }} ]
"
        );
        fs::write(place.join(&file), text).unwrap();
        let mut command = trunkfs(place, &["serve", "--config", &file]);
        command.env_remove(ADMIN);
        let server = Running::spawn(command, 1).await;
        Self { server, admin, _port: port }
    }

    async fn begin(&self) {
        let headers = format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n");
        let (status, answer) = ask(self.admin, "POST /api/v1/maintenance", &headers).await;
        assert_eq!(status, 202, "{answer}");
    }

    async fn jobs(&self) -> Vec<Value> {
        let (status, answer) = get(self.admin, "/api/v1/maintenance").await;
        assert_eq!(status, 200, "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let state: Value = serde_json::from_str(body).unwrap();
        state["jobs"].as_array().unwrap().clone()
    }

    /// The jobs when as many have ended.
    async fn ended(&self, count: usize) -> Vec<Value> {
        self.until(|jobs| jobs.iter().filter(|job| !job["outcome"].is_null()).count() == count)
            .await
    }

    async fn until(&self, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let jobs = self.jobs().await;
            if wanted(&jobs) {
                return jobs;
            }
            assert!(Instant::now() < until, "{jobs:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn add(&self, name: &str, bytes: &[u8]) {
        let mut connection = Connection::open(self.server.address).await;
        let top = root(&mut connection).await;
        let file = create(&mut connection, &top, name).await;
        write(&mut connection, &file, 0, bytes).await;
    }
}

fn place() -> TempDir {
    let place = folder("");
    fs::create_dir(place.path().join("backups")).unwrap();
    place
}

fn into(place: &Path) -> String {
    format!("backup: {{ into: '{}' }}", place.join("backups").display())
}

fn backups(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.join("backups")).unwrap().map(|it| it.unwrap().path());
    entries.filter(|path| path.join("backup.json").exists()).collect()
}

fn outcomes(jobs: &[Value]) -> Vec<(&str, &str)> {
    jobs.iter()
        .map(|job| (job["job"].as_str().unwrap(), job["outcome"].as_str().unwrap_or("runs")))
        .collect()
}

#[tokio::test]
async fn the_jobs_of_a_round_run_once_and_are_shown() {
    let place = place();
    let served = Served::start(place.path(), SQLITE, &into(place.path())).await;
    served.add("file", b"bytes").await;
    assert_eq!(served.jobs().await, [Value::Null; 0]);
    served.begin().await;
    let jobs = served.ended(3).await;
    assert_eq!(outcomes(&jobs), [("backup", "done"), ("fsck", "done"), ("gc", "done")]);
    assert!(jobs.iter().all(|job| job["last_success"] == job["begun"]), "{jobs:?}");
    let [backup] = &backups(place.path())[..] else { panic!("{jobs:?}") };
    let text = format!("{}: 1 files copied, 0 reused", backup.display());
    assert_eq!(jobs[0]["text"], text);
    assert_eq!(jobs[1]["text"], "2 objects, 1 contents; errors: 0");
    let (_, page) = get(served.admin, "/").await;
    assert!(
        page.contains("Maintenance <span class=\"soft\">off") && page.contains(&text),
        "{page}"
    );
    let (_, metrics) = get(served.admin, "/metrics").await;
    for job in ["backup", "fsck", "gc"] {
        for line in [
            format!("trunkfs_job_last_failed{{job=\"{job}\"}} 0"),
            format!("trunkfs_job_running{{job=\"{job}\"}} 0"),
        ] {
            assert!(metrics.contains(&line), "{line}\n{metrics}");
        }
    }
    // None is due again, also after another start.
    served.begin().await;
    let finished = served.server.stop().await;
    assert!(finished.err.contains("maintenance: fsck: 2 objects"), "{finished:?}");
    let again = Served::start(place.path(), SQLITE, &into(place.path())).await;
    assert_eq!(again.until(|jobs| jobs.len() == 3).await, jobs);
    again.server.stop().await;
    assert_eq!(backups(place.path()).len(), 1);
}

#[tokio::test]
async fn a_round_begins_at_its_time() {
    let place = place();
    // The next minute, and not one that is over before the server has started.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let minute = (since + 20) / 60 + 1;
    let start = format!("{:02}:{:02}", minute / 60 % 24, minute % 60);
    let served = Served::at(&start, place.path(), SQLITE, "gc_days: 0").await;
    let (_, answer) = get(served.admin, "/api/v1/maintenance").await;
    assert!(answer.contains(&format!("{{\"next\":{}", minute * 60)), "{answer}");
    let jobs = served.ended(1).await;
    assert_eq!(outcomes(&jobs), [("fsck", "done")]);
    assert!(jobs[0]["begun"].as_u64().unwrap() >= minute * 60, "{jobs:?}");
    served.server.stop().await;
}

#[tokio::test]
async fn failures_and_findings_are_told() {
    let place = place();
    let none = "backup: { into: none-such }, gc_days: 0";
    let served = Served::start(place.path(), SQLITE, none).await;
    served.add("file", b"bytes").await;
    let [content] = &files(&place.path().join("bytes"), b"bytes")[..] else { panic!("one") };
    fs::remove_file(content).unwrap();
    served.begin().await;
    let jobs = served.ended(2).await;
    assert_eq!(outcomes(&jobs), [("backup", "failed"), ("fsck", "findings")]);
    assert!(jobs[0]["text"].as_str().unwrap().contains("none-such is not a folder"), "{jobs:?}");
    assert_eq!((&jobs[0]["last_success"], &jobs[1]["findings"]), (&Value::Null, &1.into()));
    let (_, metrics) = get(served.admin, "/metrics").await;
    assert!(metrics.contains("trunkfs_job_last_failed{job=\"backup\"} 1"), "{metrics}");
    assert!(metrics.contains("trunkfs_job_last_findings{job=\"fsck\"} 1"), "{metrics}");
    let finished = served.server.stop().await;
    assert!(finished.err.contains("maintenance: fsck: /e/file: "), "{finished:?}");
}

/// A server that stops does not wait for its job, and the next one goes on with it.
#[tokio::test]
async fn a_job_is_interrupted_by_the_end_of_its_server() {
    let place = place();
    let slow = format!("rate: 64KiB, fsck: false, gc_days: 0, {}", into(place.path()));
    let served = Served::start(place.path(), SQLITE, &slow).await;
    for number in 0..64 {
        served.add(&format!("file {number}"), &vec![number; 64 << 10]).await;
    }
    served.begin().await;
    let running = served.until(|jobs| jobs.iter().any(|job| job["running"] == true)).await;
    assert_eq!(running[0]["job"], "backup");
    let unfinished = place.path().join("backups/unfinished/names/contents");
    let until = Instant::now() + PATIENCE;
    while files(&unfinished, &[0; 64 << 10]).is_empty() {
        assert!(Instant::now() < until, "nothing is copied");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    served.server.stop().await;
    assert!(backups(place.path()).is_empty());
    let fast = format!("fsck: false, gc_days: 0, {}", into(place.path()));
    let served = Served::start(place.path(), SQLITE, &fast).await;
    assert_eq!(outcomes(&served.ended(1).await), [("backup", "interrupted")]);
    served.begin().await;
    served.until(|jobs| jobs[0]["outcome"] == "done").await;
    assert_eq!(backups(place.path()).len(), 1);
    served.server.stop().await;
}

#[tokio::test]
async fn servers_of_one_database_share_the_jobs() {
    let place = place();
    let database = TestDatabase::create().await;
    let server = std::env::var("TRUNKFS_TEST_DATABASE_URL").unwrap();
    let (before, _) = server.rsplit_once('/').unwrap();
    let name = database.settings().target.database;
    let metadata =
        format!("type: postgres, postgres: {{ url: '{before}/{name}', auto_migrate: true }}");
    let one = Served::start(place.path(), &metadata, &into(place.path())).await;
    let other = Served::start(place.path(), &metadata, &into(place.path())).await;
    one.add("file", b"bytes").await;
    tokio::join!(one.begin(), other.begin());
    // Each runs what the other has not begun, and knows what it has seen.
    let until = Instant::now() + PATIENCE;
    loop {
        let done = |jobs: Vec<Value>| jobs.into_iter().filter(|job| job["outcome"] == "done");
        let mut jobs: Vec<_> = done(one.jobs().await).chain(done(other.jobs().await)).collect();
        jobs.sort_by_key(|job| job["job"].as_str().unwrap().to_owned());
        jobs.dedup();
        if outcomes(&jobs) == [("backup", "done"), ("fsck", "done"), ("gc", "done")] {
            break;
        }
        assert!(Instant::now() < until, "{jobs:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    one.server.stop().await;
    other.server.stop().await;
    assert_eq!(backups(place.path()).len(), 1);
}

#[tokio::test]
async fn there_is_nothing_to_maintain_in_memory() {
    let place = place();
    let served = Served::start(place.path(), "type: memory", "").await;
    let headers = format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n");
    let (status, answer) = ask(served.admin, "POST /api/v1/maintenance", &headers).await;
    assert_eq!(status, 409, "{answer}");
    assert_eq!(ask(served.admin, "POST /api/v1/maintenance", "Host: localhost\r\n").await.0, 401);
    served.server.stop().await;
}

/// The files below a folder that have these bytes.
fn files(folder: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(files(&path, bytes));
        } else if fs::read(&path).is_ok_and(|it| it == bytes) {
            found.push(path);
        }
    }
    found
}
