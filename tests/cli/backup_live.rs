//! Backups under clients that never rest, and what is left where backup or restore is killed or told to end.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::time::{Instant, sleep};

use super::backup::{Machine, SQLITE, bucket, contents, same, verify, went_well};
use super::client::Connection;
use super::process::{Finished, PATIENCE, patiently, trunkfs};
use super::s3::{Fate, S3Server};
use super::scene::{of, ok, root};
use super::tree::{create, furnish, mkdir, remove, resize, tree, write};

/// Files that are never touched again, and of how many bytes.
const QUIET: usize = 40;
const BLOCK: usize = 64 << 10;

/// Changes files for as long as it may: writes over them in place, all at once, with bytes that are all the
/// same; makes them longer and shorter; makes new ones and removes old ones.
async fn restless(server: std::net::SocketAddr, number: u8, going: Arc<AtomicBool>) {
    let mut connection = Connection::open(server).await;
    let top = root(&mut connection).await;
    let dir = mkdir(&mut connection, &top, &format!("busy {number}")).await;
    let mut files = Vec::new();
    for name in ["a", "b", "c"] {
        files.push(create(&mut connection, &dir, name).await);
    }
    let mut round = 0_u32;
    while going.load(Ordering::Relaxed) {
        round += 1;
        let byte = u8::try_from(1 + round % 255).unwrap();
        write(&mut connection, &files[0], 0, &[byte; BLOCK]).await;
        // Grows, and begins anew.
        let end = u64::from(round % 20) * 1000;
        write(&mut connection, &files[1], end, &[byte; 1000]).await;
        if end == 0 {
            resize(&mut connection, &files[1], 0).await;
        }
        resize(&mut connection, &files[2], u64::from(round % 7) * 5000).await;
        let name = format!("short-lived {round}");
        let file = create(&mut connection, &dir, &name).await;
        write(&mut connection, &file, 0, &[byte; 3000]).await;
        remove(&mut connection, &dir, &name).await;
    }
}

#[tokio::test]
async fn under_load_everything_that_rests_is_whole_and_the_rest_is_served() {
    let (one, other) = (Machine::local(), Machine::local());
    let (server, mut connection) = one.serve().await;
    let top = root(&mut connection).await;
    let quiet = mkdir(&mut connection, &top, "quiet").await;
    for number in 0..QUIET {
        let file = create(&mut connection, &quiet, &format!("{number}")).await;
        write(&mut connection, &file, 0, &vec![u8::try_from(number).unwrap() + 1; BLOCK]).await;
    }
    let going = Arc::new(AtomicBool::new(true));
    let writers: Vec<_> = (0..3)
        .map(|number| tokio::spawn(restless(server.address, number, Arc::clone(&going))))
        .collect();
    let folder = one.path().join("backup");
    let taken = one.backup(&folder, &[]).await;
    went_well(&taken);
    // What rests since then is in a later one without being copied.
    let later = one.path().join("later");
    went_well(&one.backup(&later, &["--base", folder.to_str().unwrap()]).await);
    going.store(false, Ordering::Relaxed);
    for writer in writers {
        patiently(writer).await.unwrap();
    }
    let before = tree(&mut connection).await;
    server.stop().await;
    for folder in [folder, later] {
        went_well(&verify(&folder).await);
        went_well(&other.restore(&folder, &["--replace"]).await);
        let (server, mut connection) = other.serve().await;
        // Every read succeeds: no file has more than its content.
        let now = tree(&mut connection).await;
        let of_quiet = |path: &&String| path.starts_with("/quiet");
        assert_eq!(now.keys().filter(of_quiet).count(), QUIET + 1);
        for (path, seen) in before.iter().filter(|(path, _)| path.starts_with("/quiet/")) {
            assert!(*seen == now[path], "{path}");
        }
        for (path, seen) in now.iter().filter(|(path, _)| path.ends_with("/a")) {
            assert!([0, BLOCK].contains(&seen.data.len()), "{path}: {} bytes", seen.data.len());
            assert!(seen.data.iter().all(|byte| *byte != 0), "{path} has bytes that nobody wrote");
        }
        server.stop().await;
    }
}

/// A share with so much in it that a backup takes a while.
async fn much(machine: &Machine) {
    let (server, mut connection) = machine.serve().await;
    furnish(&mut connection).await;
    let top = root(&mut connection).await;
    for number in 0..250_u32 {
        let file = create(&mut connection, &top, &format!("much {number}")).await;
        let arguments = of(&file).u64(0).u32(100_000).u32(0);
        ok(&mut connection, 7, arguments.opaque(&vec![(number % 255) as u8 + 1; 100_000])).await;
    }
    server.stop().await;
}

/// Begins a command, and goes on as soon as enough is done. It cannot get far from there on: its bucket is in
/// this process, whose only thread goes on here, and is slow when that signal comes which lets the command go
/// on.
async fn begun(machine: &Machine, arguments: &[&str], enough: impl Fn() -> bool) -> Child {
    let mut command = trunkfs(machine.path(), arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while !enough() {
        assert!(start.elapsed() < PATIENCE, "nothing is copied");
        sleep(Duration::from_millis(1)).await;
    }
    child
}

fn holds(below: &Path, many: usize) -> bool {
    below.exists() && contents(below).len() >= many
}

async fn told(child: Child, signal: Signal, bucket: &S3Server) -> Finished {
    bucket.plan(|_, _| Fate::Slow(Duration::from_millis(500)));
    let id = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    let output = patiently(child.wait_with_output()).await.unwrap();
    bucket.heal();
    Finished {
        status: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test]
async fn a_backup_that_ends_early_is_none_and_goes_on() {
    let server = S3Server::start().await;
    let (one, other) = (Machine::new(SQLITE, &bucket(&server)), Machine::local());
    much(&one).await;
    let before = one.tree().await;
    let folder = one.path().join("backup");
    let below = folder.join("db/contents");
    let place = folder.to_str().unwrap();
    let arguments = ["backup", place, "--config", "t.yaml"];
    let child = begun(&one, &arguments, || holds(&below, 40)).await;
    let killed = told(child, Signal::KILL, &server).await;
    assert_eq!(killed.status, None, "{killed:?}");
    assert!(!folder.join("backup.json").exists());
    let refused = one.backup(&folder, &[]).await;
    refused.failed_with(1, &["contains an unfinished backup", "--resume"]);
    let refused = other.restore(&folder, &[]).await;
    refused.failed_with(1, &["not a backup", "unfinished"]);
    // What was copied in part, or changed since, is not believed.
    let first = contents(&below).remove(0);
    fs::remove_file(&first).unwrap();
    fs::write(&first, [0; 100_000]).unwrap();
    let arguments = ["backup", place, "--resume", "--config", "t.yaml"];
    let count = contents(&below).len();
    let child = begun(&one, &arguments, || holds(&below, count + 40)).await;
    let ended = told(child, Signal::INT, &server).await;
    ended.failed_with(1, &["interrupted", "incomplete", "--resume"]);
    assert!(!folder.join("backup.json").exists());
    let resumed = one.backup(&folder, &["--resume", "--json"]).await;
    went_well(&resumed);
    let summary: serde_json::Value = serde_json::from_str(&resumed.out).unwrap();
    assert_ne!(summary["kept"], 0, "{summary}");
    went_well(&verify(&folder).await);
    went_well(&other.restore(&folder, &[]).await);
    same(&before, &other.tree().await);
}

#[tokio::test]
async fn a_restore_that_ends_early_has_changed_no_name_and_goes_on() {
    let server = S3Server::start().await;
    let (one, other) = (Machine::local(), Machine::new(SQLITE, &bucket(&server)));
    much(&one).await;
    let before = one.tree().await;
    let folder = one.path().join("backup");
    went_well(&one.backup(&folder, &[]).await);
    let place = folder.to_str().unwrap();
    let arguments = ["restore", place, "--config", "t.yaml"];
    // Contents have a request for each of their two chunks; one has some more.
    let child = begun(&other, &arguments, || server.counts().puts > 60).await;
    let killed = told(child, Signal::KILL, &server).await;
    assert_eq!(killed.status, None, "{killed:?}");
    let count = server.counts().puts;
    let child = begun(&other, &arguments, || server.counts().puts > count + 60).await;
    let ended = told(child, Signal::TERM, &server).await;
    ended.failed_with(1, &["interrupted", "trunkfs gc"]);
    let shares = other.command(&["dump", "--store", "db", "names"]).await;
    assert!(shares.out.contains("0 shares"), "{shares:?}");
    let restored = other.restore(&folder, &["--json"]).await;
    went_well(&restored);
    let summary: serde_json::Value = serde_json::from_str(&restored.out).unwrap();
    assert_ne!(summary["present"], 0, "{summary}");
    same(&before, &other.tree().await);
}
