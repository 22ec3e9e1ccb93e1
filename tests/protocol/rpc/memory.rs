//! Memory for records, calls and replies, and who waits for it.

use tokio::task::JoinSet;

use super::program::{BYTES, ECHO, NULL, WAIT_FOR_BYTES};
use super::{A_WHILE, Fixture, call};
use crate::client::{Connection, PATIENCE, Writer};

const MIB: usize = 1 << 20;
/// The longest record is a little longer, and that much is kept for records under way.
const BUDGET: usize = 16 * MIB;

async fn fixture() -> Fixture {
    Fixture::with(|settings| {
        settings.memory_budget = BUDGET;
        // No other limit ends anything.
        settings.record_timeout = PATIENCE * 60;
        settings.write_timeout = PATIENCE * 60;
    })
    .await
}

fn bytes(procedure: u32, bytes: usize) -> crate::client::Call {
    call(procedure).arguments(Writer::new().u32(bytes.try_into().unwrap()))
}

/// Has a MiB brought back.
async fn echo(connection: &mut Connection) {
    let data = vec![7; MIB];
    let echo = call(ECHO).arguments(data.clone());
    assert!(connection.call(echo).await.results().fixed(data.len()) == data);
}

#[tokio::test]
async fn calls_begin_when_there_is_memory_for_their_replies() {
    let fixture = fixture().await;
    let (mut first, mut second) = (fixture.connect().await, fixture.connect().await);
    for connection in [&mut first, &mut second] {
        for _ in 0..10 {
            connection.send(&bytes(WAIT_FOR_BYTES, MIB)).await;
        }
    }
    // A quarter of the budget, but for the longest record.
    fixture.script.begun(2).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(fixture.script.begun_now(), 2, "of one client");
    // Other clients, and calls that take little, go on.
    let mut others = Vec::new();
    for last in 1..=30 {
        let mut other = fixture.connect_as(last).await;
        other.call(call(NULL)).await.results().end();
        for _ in 0..2 {
            other.send(&bytes(WAIT_FOR_BYTES, MIB)).await;
        }
        others.push(other);
    }
    fixture.script.begun(12).await;
    tokio::time::sleep(A_WHILE).await;
    assert!(fixture.script.begun_now() < 16, "{} MiB of all clients", fixture.script.begun_now());
    // All that waits is served in the end.
    fixture.script.open_gate(80);
    let mut replies = JoinSet::new();
    let counts = others.into_iter().map(|other| (other, 2)).chain([(first, 10), (second, 10)]);
    for (mut connection, count) in counts {
        replies.spawn(async move {
            for _ in 0..count {
                assert_eq!(connection.reply().await.results().opaque().len(), MIB);
            }
        });
    }
    replies.join_all().await;
}

#[tokio::test]
async fn calls_that_wait_for_memory_end_with_their_connection() {
    let fixture = fixture().await;
    let mut first = fixture.connect().await;
    for _ in 0..2 {
        first.send(&bytes(WAIT_FOR_BYTES, MIB)).await;
    }
    fixture.script.begun(2).await;
    for _ in 0..20 {
        let mut leaving = fixture.connect().await;
        leaving.send(&bytes(WAIT_FOR_BYTES, MIB)).await;
        leaving.leave().await;
    }
    assert_eq!(fixture.script.begun_now(), 2);
    fixture.script.open_gate(3);
    for _ in 0..2 {
        assert_eq!(first.reply().await.results().opaque().len(), MIB);
    }
    echo(&mut first).await;
    assert_eq!(fixture.script.begun_now(), 2, "calls of connections that have ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_records_whose_replies_are_large_do_not_wait_for_each_other() {
    let fixture = Fixture::with(|settings| settings.memory_budget = 0).await;
    let mut tasks = JoinSet::new();
    for last in 0..24 {
        let mut connection = fixture.connect_as(last % 5).await;
        tasks.spawn(async move {
            // Bytes behind the arguments are ignored.
            let mut padded = bytes(BYTES, MIB);
            padded.arguments.resize(MIB, 0);
            for _ in 0..3 {
                let reply = connection.call(padded.clone()).await;
                assert_eq!(reply.results().opaque().len(), MIB);
            }
        });
    }
    tasks.join_all().await;
}

/// The mark of the longest record, and `sent` bytes of it.
async fn half_record(connection: &mut Connection, sent: usize) {
    let length = u32::try_from(MIB).unwrap();
    let begin = [&(0x8000_0000 | length).to_be_bytes()[..], &vec![0; sent]].concat();
    // What the server does not take stays in the sockets' buffers, or is not sent.
    let _ = tokio::time::timeout(A_WHILE, connection.try_send_bytes(&begin)).await;
}

#[tokio::test]
async fn half_records_of_one_client_hold_up_no_other() {
    let fixture = fixture().await;
    let mut halves = Vec::new();
    for sent in [17 << 10, 100_000, 1_000_000].into_iter().cycle().take(60) {
        let mut half = fixture.connect_as(1).await;
        half_record(&mut half, sent).await;
        halves.push(half);
    }
    let mut bystander = fixture.connect_as(2).await;
    echo(&mut bystander).await;
    // Its own client's half records give way.
    let mut same = fixture.connect_as(1).await;
    echo(&mut same).await;
    bystander.call(call(NULL)).await.results().end();
}

#[tokio::test]
async fn half_records_of_many_clients_give_way() {
    let fixture = fixture().await;
    let mut idle = fixture.connect_as(1).await;
    idle.call(call(NULL)).await.results().end();
    let mut halves = Vec::new();
    for last in 1..=60 {
        let mut half = fixture.connect_as(last).await;
        half_record(&mut half, 1_000_000).await;
        halves.push(half);
    }
    let mut bystander = fixture.connect_as(200).await;
    echo(&mut bystander).await;
    halves[0].closed().await;
    idle.call(call(NULL)).await.results().end();
}

#[tokio::test]
async fn receivers_that_take_nothing_give_way() {
    let fixture = fixture().await;
    let mut greedy = Vec::new();
    for last in 1..=40 {
        let mut connection = fixture.connect_as(last).await;
        for _ in 0..16 {
            connection.send(&bytes(BYTES, MIB)).await;
        }
        greedy.push(connection);
    }
    let mut bystander = fixture.connect_as(200).await;
    for _ in 0..20 {
        echo(&mut bystander).await;
    }
}
