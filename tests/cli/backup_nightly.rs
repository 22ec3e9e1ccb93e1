//! `trunkfs backup --into`, night after night: complete, interrupted, killed, damaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::backup::{Machine, SQLITE, bucket, contents, same, went_well};
use super::process::{Finished, PATIENCE, patiently, run, trunkfs};
use super::s3::{Fate, S3Server};
use super::scene::root;
use super::tree::{create, furnish, write};

/// Keeps the newest backups alone.
const NONE_BY_AGE: [&str; 6] = ["--keep-daily", "0", "--keep-weekly", "0", "--keep-monthly", "0"];
/// Contents that [`furnish`] makes.
const FURNISHED: usize = 3;
const FILES: usize = 60;

/// A machine and the folder of its backups.
struct Nights {
    machine: Machine,
    backups: TempDir,
}

impl Nights {
    async fn of(machine: Machine) -> Self {
        let (server, mut connection) = machine.serve().await;
        furnish(&mut connection).await;
        server.stop().await;
        Self { machine, backups: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.backups.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Command {
        let into = self.backups.path().to_str().unwrap();
        let command = ["backup", "--config", "t.yaml", "--into", into];
        let kept: &[&str] =
            if arguments.contains(&"--keep-last") { &[] } else { &["--keep-last", "14"] };
        trunkfs(self.machine.path(), &[&command, &NONE_BY_AGE[..], kept, arguments].concat())
    }

    async fn night(&self, arguments: &[&str]) -> Finished {
        run(self.run(arguments)).await
    }

    /// A night that brings a complete backup, and no leftovers: the name of the newest.
    async fn good(&self, arguments: &[&str]) -> String {
        let night = self.night(arguments).await;
        went_well(&night);
        assert!(night.out.contains("complete and verified"), "{night:?}");
        assert!(!self.names().iter().any(|name| name.contains("unfinished")), "{:?}", self.names());
        self.complete().pop().unwrap()
    }

    /// The names of everything beside the hidden files.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.backups.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }

    /// The complete backups, oldest first.
    fn complete(&self) -> Vec<String> {
        self.names()
            .into_iter()
            .filter(|name| name.starts_with("20") && name.ends_with('Z'))
            .collect()
    }

    async fn add(&self, name: &str, bytes: &[u8]) {
        let (server, mut connection) = self.machine.serve().await;
        let top = root(&mut connection).await;
        let file = create(&mut connection, &top, name).await;
        write(&mut connection, &file, 0, bytes).await;
        server.stop().await;
    }

    /// Begins a night that has copied some contents. The bucket is slow from then on.
    async fn begun(&self, bucket: &S3Server) -> Child {
        let below = self.path("unfinished/db/contents");
        let there = || if below.exists() { contents(&below).len() } else { 0 };
        let before = there();
        let child = self.run(&[]).spawn().unwrap();
        let start = Instant::now();
        while there() < before + 4 {
            assert!(start.elapsed() < PATIENCE, "nothing is copied");
            sleep(Duration::from_millis(1)).await;
        }
        bucket.plan(|_, _| Fate::Slow(Duration::from_millis(300)));
        child
    }

    /// A night that is killed in the middle, as by the loss of power.
    async fn killed(&self, bucket: &S3Server) {
        let child = self.begun(bucket).await;
        kill_process(pid(&child), Signal::KILL).unwrap();
        assert!(!ended(child).await.success());
        bucket.heal();
        assert!(!self.path("unfinished/backup.json").exists(), "it was killed in the middle");
    }

    /// The backup has everything that the machine has.
    async fn restores(&self, name: &str) {
        let other = Machine::local();
        went_well(&other.restore(&self.path(name), &[]).await);
        same(&self.machine.tree().await, &other.tree().await);
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap()
}

/// Waits for a program and for whatever has its standard output.
async fn ended(child: Child) -> ExitStatus {
    patiently(child.wait_with_output()).await.unwrap().status
}

fn inode(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(path).unwrap().ino()
}

/// A machine whose backups take a while.
async fn slow(server: &S3Server) -> Nights {
    let nights = Nights::of(Machine::new(SQLITE, &bucket(server))).await;
    let (running, mut connection) = nights.machine.serve().await;
    let top = root(&mut connection).await;
    for number in 0..FILES {
        let file = create(&mut connection, &top, &format!("much {number}")).await;
        write(&mut connection, &file, 0, &[u8::try_from(number).unwrap() + 1; 3000]).await;
    }
    running.stop().await;
    nights
}

#[tokio::test]
async fn each_night_costs_its_changes_and_the_newest_are_kept() {
    let nights = Nights::of(Machine::local()).await;
    let first = nights.good(&[]).await;
    nights.add("second night", b"more").await;
    let second = nights.good(&[]).await;
    assert!(second > first, "{second} {first}");
    let shared = contents(&nights.path(&first).join("db/contents"));
    assert_eq!(shared.len(), FURNISHED);
    for content in shared {
        let again = nights.path(&second).join(content.strip_prefix(nights.path(&first)).unwrap());
        assert_eq!(inode(&content), inode(&again), "an unchanged content is a hard link");
    }
    nights.restores(&second).await;
    // An interrupted removal leaves no half of a backup, and other folders are not its own to remove.
    fs::rename(nights.path(&first), nights.path(&format!("removing.{first}"))).unwrap();
    for other in ["2001-01-01", "2001-01-01T000000Z-before-the-upgrade", "notes"] {
        fs::create_dir(nights.path(other)).unwrap();
        fs::write(nights.path(other).join("backup.json"), "{}").unwrap();
    }
    let mut expected = vec![second];
    for _ in 0..2 {
        expected.push(nights.good(&["--keep-last", "2"]).await);
    }
    assert_eq!(nights.complete(), expected[1..]);
    let others = ["2001-01-01", "2001-01-01T000000Z-before-the-upgrade", "notes"];
    assert!(others.iter().all(|other| nights.path(other).join("backup.json").exists()));
    assert_eq!(nights.names().len(), 2 + others.len(), "{:?}", nights.names());
}

#[tokio::test]
async fn killed_nights_are_resumed_as_often_as_it_takes() {
    let server = S3Server::start().await;
    let nights = slow(&server).await;
    let first = nights.good(&[]).await;
    let (running, mut connection) = nights.machine.serve().await;
    let top = root(&mut connection).await;
    for number in 0..FILES {
        let file = create(&mut connection, &top, &format!("new {number}")).await;
        write(&mut connection, &file, 0, &[u8::try_from(number).unwrap() + 1; 3000]).await;
    }
    running.stop().await;
    for _ in 0..2 {
        nights.killed(&server).await;
        assert_eq!(nights.complete(), [first.as_str()], "an unfinished backup has no date");
    }
    let copied = contents(&nights.path("unfinished/db/contents"));
    let inodes: Vec<_> = copied.iter().map(|content| inode(content)).collect();
    let second = nights.good(&[]).await;
    let now = contents(&nights.path(&second).join("db/contents"));
    let reused = now.iter().filter(|content| inodes.contains(&inode(content))).count();
    assert!(reused >= 8, "{reused} contents of the killed nights are in the backup");
    assert_eq!(nights.complete(), [first, second.clone()]);
    nights.restores(&second).await;
}

#[tokio::test]
async fn two_runs_do_not_meet() {
    let server = S3Server::start().await;
    let nights = slow(&server).await;
    let child = nights.begun(&server).await;
    let second = nights.night(&[]).await;
    second.failed_with(75, &["another trunkfs backup is writing"]);
    server.heal();
    assert!(ended(child).await.success());
    nights.good(&[]).await;
    let complete = nights.complete();
    assert_eq!(complete.len(), 2, "twice a day makes two: {complete:?}");
    nights.restores(&complete[0]).await;
}

#[tokio::test]
async fn a_stopped_night_is_resumed() {
    let server = S3Server::start().await;
    let nights = slow(&server).await;
    let child = nights.begun(&server).await;
    kill_process(pid(&child), Signal::TERM).unwrap();
    server.heal();
    assert_eq!(ended(child).await.code(), Some(1));
    assert!(nights.path("unfinished/unfinished").exists());
    let name = nights.good(&[]).await;
    nights.restores(&name).await;
}

/// Files that no earlier backup has are verified each time, the others by turns.
#[tokio::test]
async fn a_part_of_the_old_files_is_verified() {
    let nights = Nights::of(Machine::local()).await;
    let first = nights.good(&[]).await;
    nights.add("new", b"new").await;
    let content = contents(&nights.path(&first).join("db/contents")).remove(0);
    let mut bytes = fs::read(&content).unwrap();
    bytes[0] ^= 1;
    damage(&content, &bytes);
    // One file of so many parts has no turn before its day.
    let night = nights.night(&["--verify-parts", "4294967295"]).await;
    went_well(&night);
    assert!(night.out.contains("1 files, 3 B read"), "{night:?}");
    let verified = nights.night(&["--json"]).await;
    assert_eq!(verified.status, Some(1), "{verified:?}");
    let summary: serde_json::Value = serde_json::from_str(&verified.out).unwrap();
    assert_eq!((&summary["damaged"], &summary["verified"]["wrong"]), (&true.into(), &1.into()));
}

/// An interruption between any two steps of a run leaves one of these.
#[tokio::test]
async fn every_leftover_is_resumed_or_removed() {
    let nights = Nights::of(Machine::local()).await;
    // Made, and not yet marked as a backup; or with nothing that says what it is.
    fs::create_dir(nights.path("unfinished")).unwrap();
    nights.good(&[]).await;
    fs::create_dir(nights.path("unfinished")).unwrap();
    fs::write(nights.path("unfinished/thesis"), "").unwrap();
    nights.good(&[]).await;
    // Finished, and not yet named; its mark perhaps still there.
    for mark in [false, true] {
        let folder = nights.path("unfinished");
        went_well(&nights.machine.backup(&folder, &[]).await);
        if mark {
            fs::write(folder.join("unfinished"), "").unwrap();
        }
        let before = nights.complete().len();
        let name = nights.good(&[]).await;
        assert_eq!(nights.complete().len(), before + 2);
        assert!(!nights.path(&name).join("unfinished").exists());
    }
    nights.restores(nights.complete().last().unwrap()).await;
}

#[tokio::test]
async fn damage_and_failures_end_with_a_whole_backup() {
    let nights = Nights::of(Machine::local()).await;
    let first = nights.good(&[]).await;
    // A content of the base is damaged, and so it would be in each backup that shares it.
    let content = contents(&nights.path(&first).join("db/contents")).remove(0);
    let mut bytes = fs::read(&content).unwrap();
    bytes[0] ^= 1;
    damage(&content, &bytes);
    let damaged = nights.night(&[]).await;
    assert_eq!(damaged.status, Some(1), "{damaged:?}");
    assert!(damaged.err.contains("failed its verification"), "{damaged:?}");
    assert_eq!(nights.complete(), [first.as_str()], "it is no base");
    let second = nights.good(&[]).await;
    assert_eq!(nights.complete(), [first, second.clone()]);
    nights.restores(&second).await;
    // A list of the base is damaged: the backup fails, and the third night does without it.
    let list = nights.path(&second).join("db/contents.list");
    damage(&list, b"nothing");
    for night in 0..2 {
        let failed = nights.night(&[]).await;
        assert_eq!(failed.status, Some(1), "night {night}: {failed:?}");
        assert_eq!(nights.complete().last(), Some(&second));
    }
    let third = nights.good(&[]).await;
    nights.restores(&third).await;
    // A wrong configuration fails, and counts for nothing.
    fs::rename(nights.machine.path().join("t.yaml"), nights.machine.path().join("away")).unwrap();
    for _ in 0..3 {
        let failed = nights.night(&[]).await;
        assert!(failed.status.is_some_and(|status| status != 0), "{failed:?}");
    }
    fs::rename(nights.machine.path().join("away"), nights.machine.path().join("t.yaml")).unwrap();
    let fourth = nights.good(&[]).await;
    let shared = contents(&nights.path(&third).join("db/contents")).remove(0);
    let again = nights.path(&fourth).join(shared.strip_prefix(nights.path(&third)).unwrap());
    assert_eq!(inode(&shared), inode(&again), "the base is used again");
}

/// A file that the content store lost is named each night, and stops no backup.
#[tokio::test]
async fn a_lost_content_is_an_error_and_no_end_of_backups() {
    let nights = Nights::of(Machine::local()).await;
    let first = nights.good(&[]).await;
    nights.add("lost", b"lost").await;
    let content = contents(&nights.machine.path().join("content"));
    let lost = content.iter().find(|path| fs::read(path).unwrap() == b"lost").unwrap();
    fs::remove_file(lost).unwrap();
    for night in 2..4 {
        let short = nights.night(&[]).await;
        assert_eq!(short.status, Some(1), "{short:?}");
        assert!(short.err.contains("/e/lost") && short.err.contains("1 files"), "{short:?}");
        assert_eq!(nights.complete().len(), night, "{:?}", nights.names());
    }
    let shared = contents(&nights.path(&first).join("db/contents")).remove(0);
    let last = nights.path(nights.complete().last().unwrap());
    let again = last.join(shared.strip_prefix(nights.path(&first)).unwrap());
    assert_eq!(inode(&shared), inode(&again));
}

#[tokio::test]
async fn wrong_usage_is_refused_before_anything_is_touched() {
    let nights = Nights::of(Machine::local()).await;
    for (arguments, word) in [
        (&["--keep-last", "0"][..], "--keep-last"),
        (&["--keep-daily", "many"], "--keep-daily"),
        (&["--verify-parts", "0"], "--verify-parts"),
        (&["more"], "DIR"),
        (&["--base", "more"], "--base"),
        (&["--resume"], "--resume"),
    ] {
        let refused = nights.night(arguments).await;
        assert_eq!(refused.status, Some(2), "{refused:?}");
        assert!(refused.err.contains(word), "{refused:?}");
    }
    let command = nights.run(&[]);
    fs::remove_dir(nights.backups.path()).unwrap();
    run(command).await.failed_with(1, &["create it, and give it to the server's user with chown"]);
    fs::create_dir(nights.backups.path()).unwrap();
    assert_eq!(nights.names(), [""; 0]);
}

fn damage(file: &Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(file, bytes).unwrap();
}
