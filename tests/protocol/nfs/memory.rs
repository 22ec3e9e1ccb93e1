//! What a server holds of memory while its content is slow, measured in a process of its own.

use std::fs::read_to_string;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use trunkfs::content::{ContentStore, Error, MemoryContent};
use trunkfs::types::{Call, ContentId};

use super::args::{self, READ};
use super::fixture::{Stores, TestServer};
use super::rpc::{NFS, wait};
use super::types::Sattr;
use crate::again::{again, given};
use crate::altered::{Alter, Altered};
use crate::client::{Connection, PATIENCE};

const MIB: usize = 1 << 20;
const BUDGET: usize = 64 * MIB;
/// What a server may hold beside its budget while a few connections are open.
const SLACK: usize = 64 * MIB;
const CLIENTS: u8 = 10;
const CONNECTIONS: usize = 40;
const READS: usize = 24;

/// Content whose reads have their bytes at once, and wait for a gate with them.
#[derive(Debug)]
struct SlowContent {
    inner: MemoryContent,
    gate: Semaphore,
    held: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait::async_trait]
impl Alter for SlowContent {
    fn inner(&self) -> &dyn ContentStore {
        &self.inner
    }

    async fn read(&self, _: &Call, _: ContentId, _: u64, size: usize) -> Result<Bytes, Error> {
        let bytes = Bytes::from(vec![7; size]);
        let held = self.held.fetch_add(size, Ordering::Relaxed) + size;
        self.most.fetch_max(held, Ordering::Relaxed);
        self.gate.acquire().await.unwrap().forget();
        self.held.fetch_sub(size, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// A number of /proc/self/status, in bytes.
fn status(key: &str) -> usize {
    let status = read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

#[test]
fn reads_of_slow_content_stay_within_the_memory_budget() {
    let test = "nfs::memory::reads_of_slow_content_stay_within_the_memory_budget";
    if given().is_some() {
        return many_reads();
    }
    let ran = again(test, "alone").output().unwrap();
    let out = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && out.contains("1 passed"), "{ran:?}");
}

fn many_reads() {
    let content = Arc::new(Altered(SlowContent {
        inner: MemoryContent::new(),
        gate: Semaphore::new(0),
        held: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    }));
    let server = wait(TestServer::start_with(Stores::with_content(content.clone()), |settings| {
        settings.memory_budget = BUDGET;
    }));
    let root = server.client(0);
    let file = root.file_with(&server.root_of("/t"), b"file", b"");
    root.setattr(&file, &Sattr { size: Some(READS as u64 * MIB as u64), ..Sattr::default() });
    let before = status("VmRSS");
    wait(async {
        let mut connections = Vec::new();
        for index in 0..CONNECTIONS {
            let last = u8::try_from(index).unwrap() % CLIENTS;
            let client = [127, 0, 1, last].into();
            let mut connection = Connection::open_from(client, server.address).await;
            for read in 0..READS {
                let read = args::read(&file, (read * MIB) as u64, MIB as u32);
                connection.send(&root.prepare(NFS, 3, READ, &read.bytes)).await;
            }
            connections.push(connection);
        }
        // As many reads as there is memory for have begun.
        let mut held = 0;
        while held == 0 || held != content.held.load(Ordering::Relaxed) {
            held = content.held.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert!(held > BUDGET / 2, "{held} bytes wait");
        content.gate.add_permits(CONNECTIONS * READS);
        let mut receiving = JoinSet::new();
        for mut connection in connections {
            receiving.spawn(async move {
                for _ in 0..READS {
                    assert!(connection.skip_record().await > MIB);
                }
            });
        }
        tokio::time::timeout(PATIENCE, receiving.join_all()).await.expect("all in time");
    });
    let most = content.most.load(Ordering::Relaxed);
    assert!(most <= BUDGET, "{} MiB were read at once", most / MIB);
    let grown = status("VmHWM") - before;
    assert!(grown <= BUDGET + SLACK, "the server grew by {} MiB", grown / MIB);
    // What is freed goes back to the system while nothing happens.
    let began = Instant::now();
    while status("VmRSS") > before + BUDGET / 4 {
        assert!(began.elapsed() < PATIENCE, "{} MiB are kept", status("VmRSS") / MIB);
        std::thread::sleep(Duration::from_millis(100));
    }
}
