//! Calls beside each other on one connection, and peers that do not read.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::program::{BYTES, COUNT, ECHO, NULL, PANIC, WAIT, WAIT_AND_COUNT};
use super::{A_WHILE, Fixture, call};
use crate::client::{Outcome, PATIENCE, Writer};

#[tokio::test]
async fn a_slow_call_holds_up_no_other() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect().await;
    let slow = connection.send(&call(WAIT)).await;
    for _ in 0..100 {
        connection.call(call(NULL)).await.results().end();
    }
    fixture.script.open_gate(1);
    assert_eq!(connection.reply().await.xid, slow);
}

#[tokio::test]
async fn pipelined_calls_are_all_answered() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect().await;
    let mut bytes = Vec::new();
    for xid in 0..1000 {
        let record = call(ECHO).arguments(Writer::new().u32(xid)).encode(xid);
        bytes.extend((u32::try_from(record.len()).unwrap() | 0x8000_0000).to_be_bytes());
        bytes.extend(record);
    }
    connection.send_bytes(&bytes).await;
    let mut answered = BTreeSet::new();
    for _ in 0..1000 {
        let reply = connection.reply().await;
        let xid = reply.xid;
        assert_eq!(reply.results().u32(), xid);
        assert!(answered.insert(xid));
    }
}

#[tokio::test]
async fn calls_in_flight_are_capped_by_not_reading_on() {
    let fixture = Fixture::with(|settings| settings.calls_per_connection = 8).await;
    let mut connection = fixture.connect().await;
    for _ in 0..20 {
        connection.send(&call(WAIT)).await;
    }
    fixture.script.begun(8).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(fixture.script.begun_now(), 8);
    // The cap is each connection's own.
    fixture.connect().await.call(call(NULL)).await.results().end();
    fixture.script.open_gate(20);
    for _ in 0..20 {
        connection.reply().await.results().end();
    }
}

#[tokio::test]
async fn a_panic_harms_no_call_beside_it() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect().await;
    let slow = connection.send(&call(WAIT)).await;
    for _ in 0..3 {
        assert_eq!(connection.call(call(PANIC)).await.outcome, Outcome::SystemError);
    }
    fixture.script.open_gate(1);
    assert_eq!(connection.reply().await.xid, slow);
}

#[tokio::test]
async fn large_replies_come_whole_and_in_any_number() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect().await;
    for length in [0, 1, 2047, 2048, 2049, 16 << 10, 1 << 20] {
        connection.send(&call(BYTES).arguments(Writer::new().u32(length))).await;
        connection.send(&call(NULL)).await;
    }
    let mut lengths = Vec::new();
    for _ in 0..14 {
        if let Outcome::Success(results) = connection.reply().await.outcome
            && !results.is_empty()
        {
            let data = crate::client::Reader::new(results).opaque();
            assert!(data.iter().all(|&byte| byte == 0x5a));
            lengths.push(data.len());
        }
    }
    lengths.sort_unstable();
    assert_eq!(lengths, [0, 1, 2047, 2048, 2049, 16 << 10, 1 << 20]);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off() {
    let fixture = Fixture::with(|settings| {
        settings.write_timeout = Duration::from_secs(1);
        settings.memory_budget = 8 << 20;
    })
    .await;
    let mut greedy = fixture.connect().await;
    // 400 MiB are asked for; far less may be made, since nobody takes it.
    for _ in 0..400 {
        let ask = call(BYTES).arguments(Writer::new().u32(1 << 20));
        let record = ask.encode(1);
        let mark = u32::try_from(record.len()).unwrap() | 0x8000_0000;
        if greedy.try_send_bytes(&[&mark.to_be_bytes()[..], &record].concat()).await.is_err() {
            break;
        }
    }
    let mut other = fixture.connect().await;
    other.call(call(NULL)).await.results().end();
    // Whoever sends to a connection that is cut off hears of it.
    let began = Instant::now();
    while greedy.try_send_bytes(&[0]).await.is_ok() {
        assert!(began.elapsed() < PATIENCE, "it is not cut off");
        tokio::time::sleep(A_WHILE).await;
    }
    // What is in the socket's buffers comes, then the end.
    let mut replies = 0;
    while greedy.record_or_end().await.is_some() {
        replies += 1;
    }
    assert!(replies < 100, "{replies} MiB were made for nobody");
    // The budget is whole again.
    let data = vec![1; 1 << 20];
    let echo = call(ECHO).arguments(data.clone());
    assert!(other.call(echo).await.results().fixed(data.len()) == data);
}

#[tokio::test]
async fn a_disconnect_cancels_the_connections_calls_and_no_others() {
    let fixture = Fixture::new().await;
    let mut other = fixture.connect().await;
    let waits = other.send(&call(WAIT)).await;
    let mut connection = fixture.connect().await;
    connection.send(&call(WAIT)).await;
    connection.send(&call(WAIT_AND_COUNT)).await;
    fixture.script.begun(3).await;
    drop(connection);
    fixture.script.cancelled(2).await;
    fixture.script.open_gate(1);
    assert_eq!(other.reply().await.xid, waits);
    assert_eq!(fixture.script.count(), 0);
}

#[tokio::test]
async fn a_call_is_cancelled_when_its_time_is_over() {
    let fixture =
        Fixture::with(|settings| settings.request_timeout = Duration::from_millis(100)).await;
    let mut connection = fixture.connect().await;
    let slow = connection.send(&call(WAIT)).await;
    fixture.script.cancelled(1).await;
    assert_eq!(connection.reply().await.xid, slow);
    assert_eq!(connection.call(call(COUNT)).await.results().u32(), 1);
}

#[tokio::test]
async fn calls_have_the_time_that_is_set_when_they_begin() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect().await;
    let before = connection.send(&call(WAIT)).await;
    fixture.script.begun(1).await;
    let second = Duration::from_secs(1);
    fixture.handle.set_times(Duration::from_millis(100), second, second);
    let after = connection.send(&call(WAIT)).await;
    fixture.script.cancelled(1).await;
    assert_eq!(connection.reply().await.xid, after);
    fixture.script.open_gate(1);
    assert_eq!(connection.reply().await.xid, before);
}
