//! Record marking (RFC 5531 section 11), kept to and not.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::program::{ECHO, NULL};
use super::{Fixture, call};
use crate::client::{Connection, Reply};

/// A WRITE of wtmax and 8 KiB of headers.
const MAX_RECORD: usize = (1 << 20) + (8 << 10);

#[tokio::test]
async fn several_fragments_make_one_record() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect().await;
    let record = call(ECHO).arguments(*b"12345678").encode(7);
    for size in 1..record.len() {
        let fragments: Vec<_> = record.chunks(size).collect();
        connection.send_fragments(&fragments).await;
        connection.send_fragments(&[&[], &record[..size], &[], &record[size..], &[]]).await;
        for _ in 0..2 {
            assert_eq!(connection.reply().await.results().fixed(8), b"12345678");
        }
    }
}

#[tokio::test]
async fn a_record_may_come_byte_by_byte() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect().await;
    let record = call(NULL).encode(7);
    let mark = u32::try_from(record.len()).unwrap() | 0x8000_0000;
    for byte in mark.to_be_bytes().iter().chain(&record) {
        connection.send_bytes(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(connection.reply().await.xid, 7);
}

#[tokio::test]
async fn the_longest_record_is_taken_whole_and_in_fragments() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.connect().await;
    let header = call(ECHO).encode(0).len();
    let data: Vec<u8> = (0..MAX_RECORD - header).map(|index| (index % 251) as u8).collect();
    let record = call(ECHO).arguments(data.clone()).encode(7);
    assert_eq!(record.len(), MAX_RECORD);
    connection.send_record(&record).await;
    assert!(connection.reply().await.results().fixed(data.len()) == data);
    for size in [MAX_RECORD - 1, 100_000, 8_191, 4_096, 7] {
        let fragments: Vec<_> = record.chunks(size).collect();
        connection.send_fragments(&fragments).await;
        assert!(connection.reply().await.results().fixed(data.len()) == data);
    }
}

/// Sends bytes that end the connection, and nothing else.
async fn ends(bytes: &[u8]) {
    let fixture = Fixture::new().await;
    let mut other = fixture.connect().await;
    let mut connection = fixture.connect().await;
    // The server may close before all is sent.
    let _ = connection.try_send_bytes(bytes).await;
    connection.closed().await;
    other.call(call(NULL)).await.results().end();
}

#[tokio::test]
async fn a_record_over_the_limit_ends_the_connection() {
    ends(&(0x8000_0000 | u32::try_from(MAX_RECORD + 1).unwrap()).to_be_bytes()).await;
}

#[tokio::test]
async fn two_gibibytes_end_the_connection() {
    ends(&u32::MAX.to_be_bytes()).await;
    ends(&(u32::MAX >> 1).to_be_bytes()).await;
}

#[tokio::test]
async fn fragments_over_the_limit_together_end_the_connection() {
    let mut bytes = Vec::new();
    for length in [MAX_RECORD - 10, 11] {
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        bytes.resize(bytes.len() + length, 0);
    }
    ends(&bytes).await;
}

#[tokio::test]
async fn empty_fragments_without_end_end_the_connection() {
    ends(&vec![0; 4 * 100_000]).await;
}

#[tokio::test]
async fn half_a_record_is_waited_for_and_then_not() {
    let fixture = Fixture::with(|settings| {
        settings.record_timeout = Duration::from_secs(1);
    })
    .await;
    let mut whole = fixture.connect().await;
    for partial in [&[0x80][..], &[0x80, 0, 0, 40], &[0x80, 0, 0, 40, 1, 2, 3]] {
        let mut connection = fixture.connect().await;
        connection.send_bytes(partial).await;
        connection.closed().await;
    }
    // A connection that is idle between records is not half a record.
    whole.call(call(NULL)).await.results().end();
}

#[tokio::test]
async fn a_connection_that_ends_within_a_record_harms_nobody() {
    let fixture = Fixture::new().await;
    let record = call(NULL).encode(7);
    for length in 0..record.len() + 4 {
        let mut connection = fixture.connect().await;
        let mark = u32::try_from(record.len()).unwrap() | 0x8000_0000;
        let bytes = [&mark.to_be_bytes()[..], &record].concat();
        connection.send_bytes(&bytes[..length]).await;
    }
    fixture.connect().await.call(call(NULL)).await.results().end();
}

#[tokio::test]
async fn random_bytes_harm_nobody() {
    let fixture = Fixture::new().await;
    let mut random = StdRng::seed_from_u64(0x5eed);
    for _ in 0..100 {
        let mut bytes = vec![0; random.random_range(1..2000)];
        random.fill(&mut bytes[..]);
        let mut connection = fixture.connect().await;
        let _ = connection.try_send_bytes(&bytes).await;
        // The same, as a record that is marked well.
        let mut connection = fixture.connect().await;
        connection.send_record(&bytes).await;
    }
    fixture.connect().await.call(call(NULL)).await.results().end();
}

#[tokio::test]
async fn headers_with_flipped_bits_harm_nobody() {
    let fixture = Fixture::new().await;
    let record = call(ECHO).arguments(*b"1234").encode(7);
    for bit in 0..record.len() * 8 {
        let mut flipped = record.clone();
        flipped[bit / 8] ^= 0x80 >> (bit % 8);
        let mut connection: Connection = fixture.connect().await;
        connection.send_record(&flipped).await;
        connection.send(&call(NULL)).await;
        // Each is answered, dropped, or ends its connection; a reply, if any, is well-formed.
        if let Some(record) = connection.record_or_end().await {
            Reply::decode(record);
        }
    }
    fixture.connect().await.call(call(NULL)).await.results().end();
}
