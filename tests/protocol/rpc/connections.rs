//! Many connections, and what they may cost.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use super::program::{BYTES, ECHO, NULL};
use super::{Fixture, alone, call};
use crate::client::{Auth, Call, Connection, PATIENCE, Writer};

/// Each has two descriptors in this process.
const MANY: usize = 1000;

fn allow_many_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    assert!(limit.current.is_none_or(|current| current > 2 * MANY as u64 + 200), "{limit:?}");
}

/// The process's resident memory, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

async fn many(fixture: &Fixture) -> Vec<Connection> {
    let mut connections = Vec::with_capacity(MANY);
    for _ in 0..MANY {
        connections.push(fixture.connect().await);
    }
    connections
}

#[test]
fn a_thousand_idle_connections_cost_little() {
    let test = "rpc::connections::a_thousand_idle_connections_cost_little";
    alone(test, thousand_idle);
}

async fn thousand_idle() {
    allow_many_descriptors();
    let fixture = Fixture::new().await;
    fixture.connect().await.call(call(NULL)).await.results().end();
    let before = resident();
    let mut connections = many(&fixture).await;
    for connection in &mut connections {
        connection.call(call(NULL)).await.results().end();
    }
    let grown = resident().saturating_sub(before);
    // With a buffer for a record each it would be a gigabyte.
    assert!(grown < 64 << 20, "{} KiB", grown >> 10);
    for connection in &mut connections {
        connection.call(call(NULL)).await.results().end();
    }
}

#[test]
fn a_thousand_half_sent_records_claim_little_and_lock_nobody_out() {
    let test = "rpc::connections::a_thousand_half_sent_records_claim_little_and_lock_nobody_out";
    alone(test, thousand_half_sent);
}

async fn thousand_half_sent() {
    allow_many_descriptors();
    let fixture = Fixture::new().await;
    let before = resident();
    let mut connections = many(&fixture).await;
    // A mark of the longest record, and enough of it that the rest has to be reserved.
    let begin = [&(0x8000_0000_u32 | (1 << 20)).to_be_bytes()[..], &[0; 20 << 10]].concat();
    for connection in &mut connections {
        connection.send_bytes(&begin).await;
    }
    let mut other = fixture.connect().await;
    other.call(call(NULL)).await.results().end();
    let data = vec![7; 1 << 20];
    let echo = call(ECHO).arguments(data.clone());
    assert!(other.call(echo).await.results().fixed(data.len()) == data);
    let grown = resident().saturating_sub(before);
    assert!(grown < 200 << 20, "{} KiB", grown >> 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn more_large_records_than_memory_are_all_served() {
    let fixture = Fixture::with(|settings| settings.memory_budget = 0).await;
    let mut tasks = Vec::new();
    for _ in 0..32 {
        let mut connection = fixture.connect().await;
        tasks.push(tokio::spawn(async move {
            let data = vec![7; 1 << 20];
            for _ in 0..4 {
                let echo = call(ECHO).arguments(data.clone());
                assert!(connection.call(echo).await.results().fixed(data.len()) == data);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_others_take_their_places() {
    let fixture = Fixture::with(|settings| settings.max_connections = 2).await;
    let mut first = fixture.connect().await;
    let mut second = fixture.connect().await;
    first.call(call(NULL)).await.results().end();
    second.call(call(NULL)).await.results().end();
    fixture.connect().await.closed().await;
    first.call(call(NULL)).await.results().end();
    drop(second);
    free_again(&fixture).await;
}

/// Waits until a connection from 127.0.0.1 is served.
async fn free_again(fixture: &Fixture) {
    let began = Instant::now();
    loop {
        let mut another = fixture.connect().await;
        if another.try_send_bytes(&record(&call(NULL))).await.is_ok()
            && another.record_or_end().await.is_some()
        {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "the place is free again");
    }
}

#[tokio::test]
async fn one_client_leaves_places_to_others() {
    let fixture = Fixture::with(|settings| settings.max_connections_per_client = 2).await;
    let mut first = fixture.connect().await;
    let mut second = fixture.connect().await;
    first.call(call(NULL)).await.results().end();
    second.call(call(NULL)).await.results().end();
    fixture.connect().await.closed().await;
    let other = [127, 0, 0, 2].into();
    let mut other = Connection::open_from(other, fixture.address).await;
    other.call(call(NULL)).await.results().end();
    second.call(call(NULL)).await.results().end();
    drop(first);
    free_again(&fixture).await;
}

/// A record of a call, with its mark.
fn record(call: &Call) -> Vec<u8> {
    let record = call.encode(1);
    let mark = 0x8000_0000 | u32::try_from(record.len()).unwrap();
    [&mark.to_be_bytes()[..], &record].concat()
}

/// Waits until so many connections of a client are served beside each other.
async fn all_free(fixture: &Fixture, client: IpAddr, places: usize) {
    let began = Instant::now();
    let mut open: Vec<Connection> = Vec::new();
    while open.len() < places {
        let mut next = Connection::open_from(client, fixture.address).await;
        let sent = next.try_send_bytes(&record(&call(NULL))).await;
        if sent.is_ok() && next.record_or_end().await.is_some() {
            open.push(next);
        }
        assert!(began.elapsed() < PATIENCE, "{} of {places} places are free", open.len());
    }
}

#[tokio::test]
async fn peers_that_pipeline_and_read_nothing_leave_their_places() {
    let fixture = Fixture::with(|settings| settings.max_connections_per_client = 2).await;
    let calls = record(&Call { credentials: Auth::none(), ..call(NULL) }).repeat(100);
    let clients = [2, 3].map(|last| IpAddr::from([127, 0, 0, last]));
    for client in clients {
        for _ in 0..3 {
            all_free(&fixture, client, 1).await;
            let mut peer = Connection::open_narrow(client, fixture.address, 2048).await;
            peer.send_until_blocked(&calls, Duration::from_millis(50)).await;
        }
    }
    for client in clients {
        all_free(&fixture, client, 2).await;
    }
    fixture.shutdown.cancel();
    fixture.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_readers_that_are_killed_leave_their_places() {
    let fixture = Fixture::with(|settings| settings.max_connections_per_client = 64).await;
    let ask = record(&call(BYTES).arguments(Writer::new().u32(1 << 20)));
    let clients = [2, 3, 4, 5].map(|last| IpAddr::from([127, 0, 0, last]));
    for reader in 0..1000 {
        let mut reader = Connection::open_from(clients[reader % 4], fixture.address).await;
        // Of many at once some are refused.
        if reader.try_send_bytes(&ask.repeat(1 + reader.local().port() as usize % 3)).await.is_ok()
        {
            reader.something_came_or_end().await;
        }
    }
    for client in clients {
        all_free(&fixture, client, 64).await;
    }
    fixture.shutdown.cancel();
    fixture.ended().await;
}
