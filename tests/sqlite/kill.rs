//! A process with the store is killed under load, over and over: what it has acknowledged is there, at most
//! one further change of each caller too, and no invariant is broken.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rand::Rng as _;
use tempfile::TempDir;
use trunkfs::metadata::{Flush, FlushOutcome, MetadataStore as _, Namespace as _, Written};
use trunkfs::types::{Cookie, ObjectId, SymlinkTarget, Timestamp};

use crate::again::{again, given};
use crate::support::{Fixture, file, mode, name};

const KILLS: usize = 250;
/// After so many kills it begins with an empty folder, so that the making of the file is met too.
const KILLS_A_FOLDER: usize = 25;
const WORKERS: usize = 8;
/// The longest that a process may live.
const MOST: Duration = Duration::from_millis(80);
/// When this is over, what was done must do,
const TIME: Duration = Duration::from_secs(120);
/// unless it is less than this, which would prove little.
const LEAST_KILLS: usize = 100;
/// The most changes that a process may acknowledge, where it is killed by their number and not by its age: on
/// a slow machine the others may be killed before they have begun.
const MOST_CHANGES: u64 = 40;
/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// The changes that a worker makes in its directory, in turn, before it begins anew: each needs what those
/// before it left.
const STEPS: u64 = 10;

/// An entry as the model and the store show it: kind, links and size.
type Entry = (i16, u32, u64);

/// What a worker's directory holds after `done` changes: a few entries, whatever the number.
fn model(done: u64) -> BTreeMap<String, Entry> {
    let round = done / STEPS;
    let mut entries = BTreeMap::new();
    let size = |step| if done % STEPS > step { round + 1 } else { 0 };
    let links = if (3..8).contains(&(done % STEPS)) { 2 } else { 1 };
    let present = |from: u64, to: u64| (from + 1..to + 1).contains(&(done % STEPS));
    if present(0, 3) {
        entries.insert(format!("a{round}"), (1, links, 0));
    }
    if present(1, 9) {
        entries.insert(format!("d{round}"), (2, 2, 4096));
    }
    if present(2, 8) {
        entries.insert(format!("l{round}"), (1, links, size(4)));
    }
    if present(3, 7) {
        entries.insert(format!("d{round}/r"), (1, links, size(4)));
    }
    if present(5, 6) {
        entries.insert(format!("s{round}"), (5, 1, 6));
    }
    entries
}

/// Makes change number `done` of a worker.
async fn step(fixture: &Fixture, home: ObjectId, done: u64) {
    let (store, cx) = (&fixture.store, fixture.cx());
    let round = done / STEPS;
    let named = |letter: char| name(&format!("{letter}{round}"));
    match done % STEPS {
        0 => {
            let _made = fixture.file(home, &format!("a{round}")).await;
        }
        1 => drop(store.mkdir(&cx, home, &named('d'), &mode(0o755)).await.unwrap()),
        2 => {
            let object = fixture.find(home, &format!("a{round}")).await.unwrap().id;
            store.link(&cx, object, home, &named('l')).await.unwrap();
        }
        3 => {
            let to = fixture.find(home, &format!("d{round}")).await.unwrap().id;
            store.rename(&cx, home, &named('a'), to, &name("r")).await.unwrap();
        }
        4 => {
            let object = fixture.find(home, &format!("l{round}")).await.unwrap();
            let written = Written {
                content: object.content.unwrap(),
                end: round + 1,
                mtime: Timestamp::now(),
                mtime_version: object.mtime_version,
                replaced_mtime: object.mtime,
                ctime: Timestamp::now(),
                clear_mode: 0,
                used: round + 1,
                seen: object.ctime,
            };
            let flush = Flush { written: Some(written), ..Flush::default() };
            let flushed = store.flush(&cx, object.id, &flush).await.unwrap();
            assert!(matches!(flushed, FlushOutcome::Recorded(_)));
        }
        5 => {
            let target = SymlinkTarget::parse(b"target").unwrap();
            store.symlink(&cx, home, &named('s'), &target, &mode(0)).await.unwrap();
        }
        6 => drop(store.remove(&cx, home, &named('s')).await.unwrap()),
        7 => {
            let of = fixture.find(home, &format!("d{round}")).await.unwrap().id;
            store.remove(&cx, of, &name("r")).await.unwrap();
        }
        8 => drop(store.remove(&cx, home, &named('l')).await.unwrap()),
        _ => drop(store.rmdir(&cx, home, &named('d')).await.unwrap()),
    }
}

/// What the store holds for a worker; nothing where its directory is not made.
async fn held(fixture: &Fixture, worker: usize) -> Option<BTreeMap<String, Entry>> {
    let home = fixture.find(fixture.root(), &format!("w{worker}")).await?.id;
    let mut entries = BTreeMap::new();
    let mut pending = vec![(String::new(), home)];
    while let Some((prefix, directory)) = pending.pop() {
        let cx = fixture.cx();
        let page = fixture.store.readdir(&cx, directory, Cookie::START, 100, true).await;
        for entry in page.unwrap().entries {
            let path = format!("{prefix}{}", entry.name);
            let it = entry.attributes.unwrap();
            if it.file_type.is_directory() {
                pending.push((format!("{path}/"), it.id));
            }
            let size = if it.file_type.is_directory() { 4096 } else { it.size };
            entries.insert(path, (it.file_type.number(), it.nlink, size));
        }
    }
    Some(entries)
}

/// The process that is killed: works on, and says of each worker how many changes are done.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn work(given: &str) {
    let (path, starts) = given.split_once('|').unwrap();
    let starts: Vec<u64> = starts.split(',').map(|start| start.parse().unwrap()).collect();
    let fixture = std::sync::Arc::new(Fixture::at(Path::new(path)).await);
    // The test harness has begun a line.
    std::io::stdout().write_all(b"\n").unwrap();
    let mut workers = Vec::new();
    for (worker, start) in starts.into_iter().enumerate() {
        let fixture = fixture.clone();
        workers.push(tokio::spawn(async move {
            let home = format!("w{worker}");
            let home = match fixture.find(fixture.root(), &home).await {
                Some(home) => home.id,
                None => fixture.directory(fixture.root(), &home).await.id,
            };
            for done in start.. {
                step(&fixture, home, done).await;
                let line = format!("done {worker} {}\n", done + 1);
                std::io::stdout().write_all(line.as_bytes()).unwrap();
            }
        }));
    }
    for worker in workers {
        worker.await.unwrap();
    }
}

/// Lets a process work for a while and kills it; answers what it has acknowledged.
fn kill_one(path: &Path, starts: &[u64]) -> Vec<u64> {
    let numbers: Vec<_> = starts.iter().map(u64::to_string).collect();
    let given = format!("{}|{}", path.display(), numbers.join(","));
    let mut child = again("kill::nothing_acknowledged_is_lost", &given)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let (acknowledged, acknowledgements) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut done = BTreeMap::new();
        let mut line = String::new();
        // The last line may be cut.
        while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
            let words: Vec<_> = line.trim_end().split(' ').collect();
            if let (["done", worker, number], true) = (&words[..], line.ends_with('\n')) {
                done.insert(worker.parse::<usize>().unwrap(), number.parse::<u64>().unwrap());
                acknowledged.send(()).ok();
            }
            line.clear();
        }
        done
    });
    if rand::random() {
        std::thread::sleep(MOST.mul_f64(rand::rng().random()));
    } else {
        for _ in 0..rand::random_range(1..=MOST_CHANGES) {
            acknowledgements.recv_timeout(PATIENCE).expect("a change in time");
        }
    }
    drop(acknowledgements);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "it failed before it was killed");
    let done = reader.join().unwrap();
    starts.iter().enumerate().map(|(at, start)| *done.get(&at).unwrap_or(start)).collect()
}

/// What is there after a kill: each worker's changes up to what was acknowledged, or one more.
#[tokio::main(flavor = "current_thread")]
async fn verify(path: &Path, acknowledged: &[u64]) -> Vec<u64> {
    let fixture = Fixture::at(path).await;
    let mut there = Vec::new();
    for (worker, done) in acknowledged.iter().enumerate() {
        let Some(held) = held(&fixture, worker).await else {
            assert_eq!(*done, 0, "the directory of worker {worker} is lost");
            there.push(0);
            continue;
        };
        let found = [*done, *done + 1].into_iter().find(|done| model(*done) == held);
        there.push(found.unwrap_or_else(|| {
            panic!("worker {worker} was told of {done}, {:?}: {held:?}", model(*done))
        }));
    }
    fixture.sound().await;
    fixture.store.close().await;
    there
}

#[test]
fn nothing_acknowledged_is_lost() {
    if let Some(given) = given() {
        return work(&given);
    }
    let start = Instant::now();
    let (mut kills, mut changes) = (0, 0);
    while kills < LEAST_KILLS || kills < KILLS && start.elapsed() < TIME {
        let folder: TempDir = tempfile::tempdir().unwrap();
        let mut done = vec![0; WORKERS];
        for _ in 0..KILLS_A_FOLDER {
            let acknowledged = kill_one(&file(&folder), &done);
            done = verify(&file(&folder), &acknowledged);
            kills += 1;
        }
        changes += done.iter().sum::<u64>();
    }
    assert!(changes > kills as u64, "{kills} kills met {changes} changes");
    println!("{kills} kills, {changes} changes, {:?}", start.elapsed());
}
