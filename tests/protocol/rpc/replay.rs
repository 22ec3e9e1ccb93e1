//! The duplicate request cache.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::program::{
    BYTES, COUNT, COUNT_STUBBORNLY, COUNT_TRANSIENTLY, ECHO, WAIT, WAIT_AND_COUNT, WAIT_AND_PANIC,
};
use super::{A_WHILE, Fixture, call};
use crate::client::{Auth, Call, Connection, Outcome, PATIENCE, Writer};

/// From this time on a connection without a word from its client counts as silent.
const SILENCE: Duration = Duration::from_millis(1100);

fn count(xid: u32) -> Call {
    call(COUNT).xid(xid)
}

#[tokio::test]
async fn a_repeat_gets_the_recorded_reply() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect().await;
    let first = connection.call(count(1)).await;
    assert_eq!(first.outcome, Outcome::Success(vec![0, 0, 0, 1]));
    for _ in 0..3 {
        assert_eq!(connection.call(count(1)).await, first);
    }
    assert_eq!(connection.call(count(2)).await.results().u32(), 2);
    assert_eq!(fixture.script.count(), 2);
}

#[tokio::test]
async fn a_program_that_begins_with_the_same_xid_gets_its_calls_done() {
    let fixture = Fixture::new().await;
    for run in 0..4 {
        let mut program = fixture.connect().await;
        for xid in 1..=3 {
            assert_eq!(program.call(count(xid)).await.results().u32(), 3 * run + xid);
        }
        // It ends by itself, or by a signal once it has read everything, or it closes one half first.
        if run % 2 == 0 {
            program.leave().await;
        }
    }
    assert_eq!(fixture.script.count(), 12);
}

#[tokio::test]
async fn a_program_that_closes_one_half_and_reads_to_the_end_has_read_everything() {
    let fixture = Fixture::new().await;
    for run in 1..=3 {
        let mut program = fixture.connect().await;
        program.send(&count(1)).await;
        if run == 2 {
            program.arrived().await;
        }
        program.finish().await;
        assert_eq!(program.reply().await.results().u32(), run);
        program.closed().await;
    }
}

#[tokio::test]
async fn two_connections_of_one_host_each_get_their_calls_done() {
    let fixture = Fixture::new().await;
    let (mut one, mut two) = (fixture.connect().await, fixture.connect().await);
    tokio::time::sleep(SILENCE).await;
    for round in 0..20 {
        assert_eq!(one.call(count(round)).await.results().u32(), 2 * round + 1);
        assert_eq!(two.call(count(round)).await.results().u32(), 2 * round + 2);
    }
    // Each has its own replies.
    assert_eq!(one.call(count(3)).await.results().u32(), 7);
    assert_eq!(two.call(count(3)).await.results().u32(), 8);
}

#[tokio::test]
async fn calls_in_progress_on_two_connections_that_both_speak_are_two_calls() {
    let fixture = Fixture::new().await;
    for xid in 0.. {
        let (mut one, mut two) = (fixture.connect().await, fixture.connect().await);
        let begun = fixture.script.begun_now();
        let began = Instant::now();
        one.send(&call(WAIT_AND_COUNT).xid(xid)).await;
        fixture.script.begun(begun + 1).await;
        two.send(&call(WAIT_AND_COUNT).xid(xid)).await;
        // A busy machine may have made the first one silent.
        let both = timeout(SILENCE, fixture.script.begun(begun + 2)).await.is_ok();
        fixture.script.open_gate(2);
        if both {
            let replies = [one.reply().await.results().u32(), two.reply().await.results().u32()];
            assert_eq!(replies[0].abs_diff(replies[1]), 1);
            return;
        }
        assert!(began.elapsed() >= SILENCE);
        two.reply().await.results().u32();
        fixture.script.close_gate();
    }
}

#[tokio::test]
async fn a_reply_that_a_reset_left_unread_is_replayed_to_another_port() {
    let fixture = Fixture::new().await;
    for xid in 1..=20 {
        let mut first = fixture.connect().await;
        first.send(&count(xid)).await;
        if xid % 2 == 0 {
            first.arrived().await;
        }
        first.reset();
        assert_eq!(fixture.connect().await.call(count(xid)).await.results().u32(), xid);
    }
    assert_eq!(fixture.script.count(), 20);
}

#[tokio::test]
async fn a_replayed_reply_that_was_read_is_replayed_to_its_ports_only() {
    let fixture = Fixture::new().await;
    let client = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 45));
    let connect = || Connection::open_from(client, fixture.address);
    let mut first = connect().await;
    let local = first.local();
    first.send(&count(1)).await;
    first.arrived().await;
    first.reset();
    let mut second = connect().await;
    assert_eq!(second.call(count(1)).await.results().u32(), 1);
    assert_eq!(connect().await.call(count(1)).await.results().u32(), 2);
    assert_eq!(second.call(count(1)).await.results().u32(), 1);
    let mut again = Connection::open_at(local, fixture.address).await;
    assert_eq!(again.call(count(1)).await.results().u32(), 1);
}

#[tokio::test]
async fn a_client_that_connects_again_by_its_port_gets_the_recorded_reply() {
    let fixture = Fixture::new().await;
    // Another case's client may take a port of 127.0.0.1 meanwhile.
    let client = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 44));
    let mut connection = Connection::open_from(client, fixture.address).await;
    let local = connection.local();
    for read in [true, false, true] {
        if read {
            assert_eq!(connection.call(count(1)).await.results().u32(), 1);
        } else {
            connection.send(&count(1)).await;
        }
        connection.reset();
        connection = Connection::open_at(local, fixture.address).await;
    }
    assert_eq!(fixture.script.count(), 1);
}

/// The client takes nothing: its replies wait in the server.
#[tokio::test]
async fn a_reply_that_waits_in_the_server_is_replayed_to_another_port_after_a_second() {
    let fixture = Fixture::new().await;
    for reset in [false, true] {
        let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut first = Connection::open_narrow(client, fixture.address, 4096).await;
        // Its first bytes show that the rest cannot be far.
        first.send(&call(BYTES).arguments(Writer::new().u32(8 << 20))).await;
        first.arrived().await;
        let expected = fixture.script.count() + 1;
        first.send(&count(1)).await;
        fixture.script.counted_to(expected).await;
        if reset {
            first.reset();
        } else {
            tokio::time::sleep(SILENCE).await;
        }
        let mut second = fixture.connect().await;
        assert_eq!(second.call(count(1)).await.results().u32(), expected);
        let mut third = fixture.connect().await;
        assert_eq!(third.call(count(1)).await.results().u32(), expected + 1);
    }
}

#[tokio::test]
async fn a_client_that_is_not_admitted_any_more_gets_no_recorded_reply() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect().await;
    assert_eq!(connection.call(count(1)).await.results().u32(), 1);
    fixture.script.admit(false);
    assert_eq!(connection.call(count(1)).await.results().u32(), 2, "the program is asked");
    fixture.script.admit(true);
    assert_eq!(connection.call(count(1)).await.results().u32(), 1);
}

#[tokio::test]
async fn another_client_is_another_call() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.connect().await.call(count(1)).await.results().u32(), 1);
    let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let mut other = Connection::open_from(other, fixture.address).await;
    assert_eq!(other.call(count(1)).await.results().u32(), 2);
}

#[tokio::test]
async fn the_same_xid_with_anything_else_is_another_call() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect().await;
    let long = |last| [&[0; 8000][..], &[0, 0, 0, last], &[0; 180]].concat();
    let longer = |last| [&[0; 1 << 16][..], &[0, 0, 0, last]].concat();
    let different = [
        count(1),
        count(1).arguments(Writer::new().u32(1)),
        count(1).arguments(Writer::new().u32(2)),
        count(1).arguments(Writer::new().u32(1).u32(0)),
        count(1).arguments(long(1)),
        count(1).arguments(long(2)),
        count(1).arguments(longer(1)),
        count(1).arguments(longer(2)),
        call(COUNT_STUBBORNLY).xid(1),
        count(1).credentials(Auth::none()),
        count(1).credentials(Auth::sys(1, 0)),
        count(1).credentials(Auth::sys(0, 1)),
        count(1).credentials(Auth::sys_with(b"another", 0, 0, &[])),
    ];
    fixture.script.open_gate(1);
    let mut expected = 0;
    for call in &different {
        expected += 1;
        assert_eq!(connection.call(call.clone()).await.results().u32(), expected, "{call:?}");
    }
    for (call, first) in different.iter().zip(1..) {
        assert_eq!(connection.call(call.clone()).await.results().u32(), first, "{call:?}");
    }
}

#[tokio::test]
async fn the_stamp_of_auth_sys_makes_no_difference() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect().await;
    let mut stamped = count(1);
    assert_eq!(connection.call(stamped.clone()).await.results().u32(), 1);
    stamped.credentials.body[..4].copy_from_slice(&[9; 4]);
    assert_eq!(connection.call(stamped).await.results().u32(), 1);
}

#[tokio::test]
async fn a_copy_of_a_call_in_progress_waits_and_gets_the_reply() {
    let fixture = Fixture::new().await;
    let mut first = fixture.connect().await;
    let mut second = fixture.connect().await;
    let mut third = fixture.connect().await;
    let call = call(WAIT_AND_COUNT).xid(1);
    first.send(&call).await;
    fixture.script.begun(1).await;
    first.silent_for(SILENCE).await;
    second.send(&call).await;
    second.silent_for(A_WHILE).await;
    third.send(&call).await;
    third.silent_for(A_WHILE).await;
    fixture.script.open_gate(1);
    // The newest connection is answered, once, and no other.
    assert_eq!(third.reply().await.results().u32(), 1);
    first.silent_for(A_WHILE).await;
    second.silent_for(A_WHILE).await;
    assert_eq!(second.call(call).await.results().u32(), 1);
    assert_eq!((fixture.script.begun_now(), fixture.script.count()), (1, 1));
}

#[tokio::test]
async fn a_copy_on_the_same_connection_makes_one_reply() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect().await;
    let call = call(WAIT_AND_COUNT).xid(1);
    connection.send(&call).await;
    fixture.script.begun(1).await;
    connection.send(&call).await;
    connection.silent_for(A_WHILE).await;
    fixture.script.open_gate(1);
    assert_eq!(connection.reply().await.results().u32(), 1);
    connection.silent_for(A_WHILE).await;
    assert_eq!(fixture.script.count(), 1);
}

#[tokio::test]
async fn the_reply_goes_back_where_the_copys_connection_ends_first() {
    let fixture = Fixture::new().await;
    let mut first = fixture.connect().await;
    let call = call(WAIT_AND_COUNT).xid(1);
    first.send(&call).await;
    fixture.script.begun(1).await;
    first.silent_for(SILENCE).await;
    let mut second = fixture.connect().await;
    second.send(&call).await;
    second.silent_for(A_WHILE).await;
    second.leave().await;
    fixture.script.open_gate(1);
    assert_eq!(first.reply().await.results().u32(), 1);
}

#[tokio::test]
async fn a_cancelled_call_leaves_the_cache_and_the_copy_that_waits_runs() {
    let fixture = Fixture::new().await;
    let mut first = fixture.connect().await;
    let mut second = fixture.connect().await;
    let call = call(WAIT_AND_COUNT).xid(1);
    first.send(&call).await;
    fixture.script.begun(1).await;
    first.silent_for(SILENCE).await;
    second.send(&call).await;
    second.silent_for(A_WHILE).await;
    drop(first);
    fixture.script.cancelled(1).await;
    fixture.script.begun(2).await;
    fixture.script.open_gate(1);
    assert_eq!(second.reply().await.results().u32(), 1);
    assert_eq!(second.call(call).await.results().u32(), 1);
    assert_eq!(fixture.script.count(), 1);
}

#[tokio::test]
async fn a_call_that_is_cancelled_without_a_copy_may_be_made_again() {
    let fixture = Fixture::new().await;
    let mut first = fixture.connect().await;
    let call = call(WAIT_AND_COUNT).xid(1);
    first.send(&call).await;
    fixture.script.begun(1).await;
    drop(first);
    fixture.script.cancelled(1).await;
    fixture.script.open_gate(1);
    assert_eq!(fixture.connect().await.call(call).await.results().u32(), 1);
}

#[tokio::test]
async fn a_call_past_the_point_of_no_return_is_recorded_although_its_connection_is_gone() {
    let fixture = Fixture::new().await;
    let mut first = fixture.connect().await;
    let call = call(COUNT_STUBBORNLY).xid(1);
    first.send(&call).await;
    fixture.script.begun(1).await;
    drop(first);
    let mut second = fixture.connect().await;
    second.send(&call).await;
    second.silent_for(A_WHILE).await;
    fixture.script.open_gate(1);
    assert_eq!(second.reply().await.results().u32(), 1);
    assert_eq!(second.call(call).await.results().u32(), 1);
    assert_eq!(fixture.script.count(), 1);
}

#[tokio::test]
async fn transient_replies_are_not_recorded() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect().await;
    let call = call(COUNT_TRANSIENTLY).xid(1);
    for expected in 1..4 {
        assert_eq!(connection.call(call.clone()).await.results().u32(), expected);
    }
}

#[tokio::test]
async fn a_panic_is_not_recorded_and_reaches_the_copy_that_waits() {
    let fixture = Fixture::new().await;
    let mut first = fixture.connect().await;
    let mut second = fixture.connect().await;
    let call = call(WAIT_AND_PANIC).xid(1);
    first.send(&call).await;
    fixture.script.begun(1).await;
    first.silent_for(SILENCE).await;
    second.send(&call).await;
    second.silent_for(A_WHILE).await;
    fixture.script.open_gate(2);
    assert_eq!(second.reply().await.outcome, Outcome::SystemError);
    assert_eq!(first.call(call).await.outcome, Outcome::SystemError);
    assert_eq!(fixture.script.begun_now(), 2);
}

#[tokio::test]
async fn calls_that_may_be_repeated_just_run() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect().await;
    connection.send(&call(WAIT).xid(1)).await;
    connection.send(&call(WAIT).xid(1)).await;
    fixture.script.begun(2).await;
    fixture.script.open_gate(2);
    connection.reply().await.results().end();
    connection.reply().await.results().end();
    let echo = |value| call(ECHO).xid(2).arguments(Writer::new().u32(value));
    assert_eq!(connection.call(echo(1)).await.results().u32(), 1);
    assert_eq!(connection.call(echo(2)).await.results().u32(), 2);
}

#[tokio::test]
async fn a_client_keeps_its_newest_1024_calls_and_evicts_no_others() {
    let fixture = Fixture::new().await;
    let quiet = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
    let mut quiet = Connection::open_from(quiet, fixture.address).await;
    assert_eq!(quiet.call(count(1)).await.results().u32(), 1);
    let mut busy = fixture.connect().await;
    for xid in 1..=1100 {
        assert_eq!(busy.call(count(xid)).await.results().u32(), xid + 1);
    }
    assert_eq!(busy.call(count(1100 - 1023)).await.results().u32(), 1100 - 1023 + 1);
    assert_eq!(busy.call(count(1100 - 1024)).await.results().u32(), 1102);
    assert_eq!(quiet.call(count(1)).await.results().u32(), 1);
}

#[tokio::test]
async fn a_copy_outlives_the_time_of_the_call_it_waits_for() {
    let fixture = Fixture::with(|settings| settings.request_timeout = SILENCE * 2).await;
    let mut first = fixture.connect().await;
    let mut second = fixture.connect().await;
    let call = call(WAIT_AND_COUNT).xid(1);
    first.send(&call).await;
    fixture.script.begun(1).await;
    first.silent_for(SILENCE).await;
    fixture.handle.set_times(PATIENCE, PATIENCE, PATIENCE);
    second.send(&call).await;
    fixture.script.cancelled(1).await;
    fixture.script.open_gate(1);
    assert_eq!(second.reply().await.results().u32(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_of_clients_that_lose_their_connections_count_once_each() {
    let fixture = Fixture::new().await;
    let calls = 100;
    let script = fixture.script.clone();
    let opening = tokio::spawn(async move {
        loop {
            script.open_gate(1);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let mut clients = Vec::new();
    for uid in 0..4_u32 {
        let address = fixture.address;
        clients.push(tokio::spawn(async move {
            let mut connection = Connection::open(address).await;
            for xid in 0..calls {
                let call = call(COUNT_STUBBORNLY).xid(xid).credentials(Auth::sys(uid, 0));
                // Before the reply comes, when it comes, or when it is there; in order or not.
                for attempt in 0..(xid + uid) % 5 {
                    connection.send(&call).await;
                    match attempt {
                        0 => {}
                        1 => tokio::time::sleep(Duration::from_millis(1)).await,
                        _ => connection.arrived().await,
                    }
                    if attempt % 2 == 0 {
                        connection.reset();
                    }
                    connection = Connection::open(address).await;
                }
                assert_eq!(connection.call(call).await.xid, xid);
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    opening.abort();
    assert_eq!(fixture.script.count(), 4 * calls);
}
