//! An orderly end.

use std::time::{Duration, Instant};

use super::program::{COUNT_STUBBORNLY, NULL, WAIT, WAIT_AND_COUNT};
use super::{A_WHILE, Fixture, call};
use crate::client::{Outcome, PATIENCE};
use crate::port::Reserved;

#[tokio::test]
async fn calls_in_flight_finish_and_nothing_new_begins() {
    // Nobody else listens there later.
    let port = Reserved::new();
    let fixture = Fixture::with(|settings| settings.listen = vec![port.address()]).await;
    let mut idle = fixture.connect().await;
    idle.call(call(NULL)).await.results().end();
    let mut connection = fixture.connect().await;
    let waits = connection.send(&call(WAIT_AND_COUNT)).await;
    fixture.script.begun(1).await;
    fixture.shutdown.cancel();
    idle.closed().await;
    // New calls of a connection that still has one in flight are not read.
    connection.send(&call(NULL)).await;
    connection.silent_for(A_WHILE).await;
    assert!(tokio::net::TcpStream::connect(fixture.address).await.is_err());
    fixture.script.open_gate(1);
    let reply = connection.reply().await;
    assert_eq!((reply.xid, reply.outcome), (waits, Outcome::Success(vec![0, 0, 0, 1])));
    connection.closed().await;
    fixture.ended().await;
}

#[tokio::test]
async fn calls_that_take_too_long_are_cancelled_and_answered() {
    let fixture = Fixture::with(|settings| settings.drain_timeout = A_WHILE).await;
    let mut connection = fixture.connect().await;
    let waits = connection.send(&call(WAIT)).await;
    fixture.script.begun(1).await;
    fixture.shutdown.cancel();
    assert_eq!(connection.reply().await.xid, waits);
    connection.closed().await;
    fixture.ended().await;
}

#[tokio::test]
async fn a_call_that_does_not_end_does_not_keep_the_server() {
    let fixture = Fixture::with(|settings| settings.drain_timeout = Duration::ZERO).await;
    let mut connection = fixture.connect().await;
    connection.send(&call(COUNT_STUBBORNLY)).await;
    fixture.script.begun(1).await;
    let began = Instant::now();
    fixture.shutdown.cancel();
    connection.closed().await;
    fixture.ended().await;
    assert!(began.elapsed() < PATIENCE / 2);
}

#[tokio::test]
async fn a_server_without_calls_ends_at_once() {
    // Without calls nobody waits for it.
    let fixture = Fixture::with(|settings| settings.drain_timeout = PATIENCE * 60).await;
    let mut connections = Vec::new();
    for _ in 0..10 {
        let mut connection = fixture.connect().await;
        connection.call(call(NULL)).await.results().end();
        connections.push(connection);
    }
    fixture.shutdown.cancel();
    for mut connection in connections {
        connection.closed().await;
    }
    fixture.ended().await;
}
