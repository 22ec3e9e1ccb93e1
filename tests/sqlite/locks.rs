//! Locks outlive the process: a close, a kill; and another process sees and breaks them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use trunkfs::metadata::sqlite::SqliteFile;
use trunkfs::metadata::{
    Error, LockBytes, LockClient, LockFilter, LockKind, LockOutcome, LockOwner, LockRange,
    LockRecord, LockRecords as _, LockRequest, LockStanding, Locks as _, MetadataStore as _,
    Settled, ShareOutcome, ShareRequest, Transport, WaitHow,
};
use trunkfs::types::{Call, ObjectId};

use crate::again::{again, given};
use crate::support::{Fixture, file};

const LIMIT: Duration = Duration::from_secs(120);
const KILLS: usize = 20;
/// The most calls that a process may acknowledge before it is killed.
const MOST_CALLS: u64 = 60;

fn call() -> Call {
    Call::internal(LIMIT)
}

fn bytes(text: &str) -> LockBytes {
    LockBytes::new(text.as_bytes()).unwrap()
}

fn owner(svid: i32) -> LockOwner {
    let address = IpAddr::from([192, 0, 2, 1]);
    LockOwner { client: Arc::new(LockClient::new(address, bytes("c"), "s".into())), svid }
}

fn request(file: ObjectId, svid: i32, first: u64, last: u64) -> LockRequest {
    LockRequest {
        file,
        owner: owner(svid),
        range: LockRange::new(first, last).unwrap(),
        kind: LockKind::Exclusive,
        oh: bytes("oh"),
        state: 7,
    }
}

fn how() -> WaitHow {
    let local = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
    WaitHow { handle: bytes("handle"), version: 3, transport: Transport::Tcp, local }
}

async fn records(store: &dyn trunkfs::metadata::LockRecords) -> Vec<LockRecord> {
    store.list_locks(&LockFilter::default(), None, 1000).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::in_folder(&folder).await;
    let (store, f) = (&fixture.store, fixture.file(fixture.root(), "f").await.id);
    for (svid, first, last) in [(1, 0, 9), (2, 20, 29), (5, 40, 49)] {
        let locked = store.lock(&call(), &request(f, svid, first, last), None).await.unwrap();
        assert_eq!(locked, LockOutcome::Granted);
    }
    for (svid, first) in [(3, 0), (4, 20)] {
        let waits = request(f, svid, first, first);
        let locked = store.lock(&call(), &waits, Some(&how())).await.unwrap();
        assert_eq!(locked, LockOutcome::Blocked);
    }
    let share =
        ShareRequest { file: f, client: owner(0).client, oh: bytes("o"), mode: 1, access: 3 };
    assert_eq!(store.share_file(&call(), &share).await.unwrap(), ShareOutcome::Granted);
    store.unlock(&call(), f, &owner(2), LockRange::WHOLE).await.unwrap();
    assert_eq!(store.woken().await, [f]);
    let reserved = store.reserve(&call(), f, 10).await.unwrap().remove(0);
    assert_eq!(reserved.owner, owner(4));
    let before = records(store).await;
    store.close().await;
    assert_eq!(store.woken().await, [], "a closed store says so");

    let fixture = Fixture::in_folder(&folder).await;
    let store = &fixture.store;
    // The process before is gone: what it had reserved its client may have taken.
    let local = how().local;
    assert_eq!(store.abandoned(&call()).await.unwrap(), [local]);
    let elsewhere = [IpAddr::from([192, 0, 2, 7])];
    assert_eq!(store.take_over(&call(), &elsewhere).await.unwrap(), []);
    assert_eq!(store.take_over(&call(), &[local]).await.unwrap(), std::slice::from_ref(&reserved));
    assert!(store.abandoned(&call()).await.unwrap().is_empty());
    let after = records(store).await;
    assert_eq!(after.len(), before.len());
    for record in &before {
        match record.standing {
            // Its process is gone: the client may have taken it.
            LockStanding::Reserved => {
                let held = after.iter().find(|it| it.owner == owner(4)).unwrap();
                assert_eq!(held.standing, LockStanding::Held);
                assert_eq!((held.range, held.state), (record.range, 7));
            }
            // It waits by this process.
            LockStanding::Waiting => {
                let waits = after.iter().find(|it| it.owner == record.owner).unwrap();
                assert_ne!(waits.instance, record.instance);
                assert_eq!(LockRecord { instance: record.instance, ..waits.clone() }, *record);
            }
            LockStanding::Held | LockStanding::Share { .. } => {
                assert!(after.contains(record), "{record:?} is not in {after:?}");
            }
        }
    }
    let settled = store.settle(&call(), reserved.cookie, false).await.unwrap();
    assert_eq!(settled, Settled::Unknown);
    // A poll finds the waiter.
    let poll = request(f, 3, 0, 0);
    assert_eq!(store.lock(&call(), &poll, Some(&how())).await.unwrap(), LockOutcome::Blocked);
    assert_eq!(records(store).await.len(), after.len());
    store.unlock(&call(), f, &owner(1), LockRange::WHOLE).await.unwrap();
    assert_eq!(store.woken().await, [f]);
    let reserved = store.reserve(&call(), f, 10).await.unwrap().remove(0);
    assert_eq!((reserved.owner, reserved.how), (owner(3), how()));
    store.close().await;
}

/// The process that is killed: locks a byte more with each call, and then gives them back.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn work(given: &str) {
    let (path, id) = given.split_once('|').unwrap();
    let fixture = Fixture::at(Path::new(path)).await;
    let file = ObjectId(id.parse().unwrap());
    // The test harness has begun a line.
    std::io::stdout().write_all(b"\n").unwrap();
    for number in 0.. {
        let at = number % 40;
        // Every other byte, so that each is a row.
        let range = LockRange::new(at % 20 * 2, at % 20 * 2).unwrap();
        if at < 20 {
            let lock = request(file, 1, range.first(), range.last());
            let locked = fixture.store.lock(&call(), &lock, None).await.unwrap();
            assert_eq!(locked, LockOutcome::Granted);
        } else {
            fixture.store.unlock(&call(), file, &owner(1), range).await.unwrap();
        }
        std::io::stdout().write_all(format!("done {}\n", number + 1).as_bytes()).unwrap();
    }
}

/// The bytes that are locked after so many calls of [`work`].
fn model(done: u64) -> Vec<u64> {
    let at = done % 40;
    let locked = if at <= 20 { 0..at } else { at - 20..20 };
    locked.map(|byte| byte * 2).collect()
}

#[test]
fn a_killed_process_leaves_what_it_has_acknowledged() {
    if let Some(given) = given() {
        return work(&given);
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let id = runtime.block_on(async {
        let fixture = Fixture::in_folder(&folder).await;
        let id = fixture.file(fixture.root(), "f").await.id;
        fixture.store.close().await;
        id
    });
    for _ in 0..KILLS {
        let given = format!("{}|{id}", file(&folder).display());
        let mut child = again("locks::a_killed_process_leaves_what_it_has_acknowledged", &given)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (most, mut done) = (rand::random_range(1..=MOST_CALLS), 0);
        while done < most {
            let line = lines.next().expect("the process works on").unwrap();
            if let Some(number) = line.strip_prefix("done ") {
                done = number.parse().unwrap();
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it has said before it was killed.
        for line in lines.map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("done ") {
                done = number.parse().unwrap_or(done);
            }
        }
        runtime.block_on(async {
            let fixture = Fixture::in_folder(&folder).await;
            let held = records(&fixture.store).await;
            let held: Vec<_> = held.iter().map(|record| record.range.first()).collect();
            let expected = [model(done), model(done + 1)];
            assert!(expected.contains(&held), "{held:?} after {done} calls: {expected:?}");
            let store = &fixture.store;
            store.unlock(&call(), id, &owner(1), LockRange::WHOLE).await.unwrap();
            store.close().await;
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_lists_and_breaks_locks() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::in_folder(&folder).await;
    let (store, f) = (&fixture.store, fixture.file(fixture.root(), "f").await.id);
    store.lock(&call(), &request(f, 1, 0, 9), None).await.unwrap();
    store.lock(&call(), &request(f, 2, 20, 29), None).await.unwrap();
    store.lock(&call(), &request(f, 3, 0, 5), Some(&how())).await.unwrap();
    let beside = SqliteFile::open(file(&folder)).await.unwrap();
    let listed = records(&beside).await;
    assert_eq!(listed, records(store).await);
    assert!(listed.iter().all(|record| record.share == Some(fixture.share.id)));
    assert_eq!(beside.lock_totals().await.unwrap(), store.lock_totals().await.unwrap());
    let everything = beside.break_locks(&LockFilter::default()).await;
    assert!(matches!(everything, Err(Error::Invalid)));
    let filter = LockFilter { file: Some(f), svid: Some(1), ..LockFilter::default() };
    let freed = beside.break_locks(&filter).await.unwrap();
    assert_eq!((freed.clients, freed.locks), (1, 1));
    // The server sees it with its next call, and tries who waits.
    let locked = store.lock(&call(), &request(f, 4, 7, 9), None).await.unwrap();
    assert_eq!(locked, LockOutcome::Granted);
    let woken = tokio::time::timeout(LIMIT, store.woken()).await.unwrap();
    assert_eq!(woken, [f]);
    assert_eq!(store.reserve(&call(), f, 10).await.unwrap()[0].owner, owner(3));
    assert_eq!(records(&beside).await, records(store).await);
    store.close().await;
}
