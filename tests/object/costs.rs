//! What calls cost in requests and in memory.

use std::time::Duration;

use bytes::Bytes;
use trunkfs::content::{ContentStore as _, Error};
use trunkfs::types::{ContentId, Timestamp};

use crate::s3::{Counts, Fate, S3Server};
use crate::support::{CHUNK, call, call_of, commit, get, pattern, put, store, store_with};

/// Requests since `before`.
fn since(server: &S3Server, before: Counts) -> Counts {
    let now = server.counts();
    Counts {
        gets: now.gets - before.gets,
        puts: now.puts - before.puts,
        others: now.others - before.others,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_file_is_one_request_to_write_and_one_to_read() {
    let server = S3Server::start().await;
    let (writer, reader) = (store(&server).await, store(&server).await);
    let id = ContentId::generate();
    let before = server.counts();
    put(&writer, id, 0, &pattern(1, 5_000)).await;
    assert_eq!(since(&server, before), Counts { gets: 0, puts: 0, others: 0 });
    commit(&writer, id).await;
    commit(&writer, id).await;
    assert_eq!(since(&server, before), Counts { gets: 0, puts: 1, others: 0 });
    assert_eq!(get(&reader, id, 0, 5_000).await, pattern(1, 5_000));
    assert_eq!(since(&server, before), Counts { gets: 1, puts: 1, others: 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sequential_copy_is_one_request_for_each_chunk() {
    let server = S3Server::start().await;
    let (writer, reader) = (store(&server).await, store(&server).await);
    let id = ContentId::generate();
    let data = pattern(3, 20 * CHUNK);
    let before = server.counts();
    for (number, piece) in data.chunks(CHUNK / 4).enumerate() {
        put(&writer, id, number * CHUNK / 4, piece).await;
    }
    commit(&writer, id).await;
    assert_eq!(since(&server, before), Counts { gets: 0, puts: 20, others: 0 });
    reader.observed(id, trunkfs::types::Timestamp(1));
    for (number, piece) in data.chunks(CHUNK / 4).enumerate() {
        assert_eq!(get(&reader, id, number * CHUNK / 4, CHUNK / 4).await, piece);
    }
    let Counts { gets, .. } = since(&server, before);
    // Each chunk, and at most what was read ahead behind the end.
    assert!((20..=24).contains(&gets), "{gets} GETs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holes_cost_nothing() {
    let server = S3Server::start().await;
    let store = store(&server).await;
    let id = ContentId::generate();
    let before = server.counts();
    store.truncate(&call(), id, 1 << 40).await.unwrap();
    put(&store, id, 1 << 30, b"x").await;
    commit(&store, id).await;
    let Counts { puts, .. } = since(&server, before);
    assert_eq!(puts, 2, "the last chunk, and the one with a byte");
    store.observed(id, Timestamp(1));
    for most in [2, 0] {
        // The chunk that is not there, and the content that is; both are known then.
        let before = server.counts();
        assert!(get(&store, id, 5 * CHUNK, CHUNK).await.iter().all(|byte| *byte == 0));
        let Counts { gets, .. } = since(&server, before);
        assert!(gets <= most, "{gets} GETs");
    }
    assert_eq!(store.length(&call(), id).await.unwrap(), 1 << 40);
}

/// What is kept of a write, unstored or cached, is not more than is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_a_write_does_not_hold_the_whole() {
    let server = S3Server::start().await;
    let (store, id) = (store(&server).await, ContentId::generate());
    let data = Bytes::from(pattern(1, 4 * CHUNK + 20_000));
    store.write(&call(), id, 0, data.clone()).await.unwrap();
    assert!(data.is_unique(), "it waits in its chunks alone");
    commit(&store, id).await;
    assert_eq!(get(&store, id, 0, data.len()).await, data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_wait_for_memory_and_go_on() {
    let server = S3Server::start().await;
    let store = store_with(&server, |settings| settings.write_buffer = 4 * CHUNK).await;
    let id = ContentId::generate();
    server.plan(|_, _| Fate::Refused(503));
    // One page of each chunk: no chunk is complete, so that nothing is stored before memory is short.
    let write = |number: usize, time| {
        let data = Bytes::from(pattern(number as u64, 4_096));
        let store = &store;
        async move { store.write(&call_of(time), id, (number * CHUNK) as u64, data).await }
    };
    let (mut written, mut refusals) = (0, 0);
    // On a busy machine a call's time may be over though there is room: then the next one has it.
    while refusals < 3 {
        match write(written, Duration::from_millis(200)).await {
            Ok(()) => (written, refusals) = (written + 1, 0),
            Err(Error::Cancelled | Error::Unavailable(_)) => refusals += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!((48..=64).contains(&written), "{written} pages in {} bytes", 4 * CHUNK);
    server.heal();
    for number in written..200 {
        write(number, Duration::from_secs(60)).await.unwrap();
    }
    commit(&store, id).await;
    let other = crate::support::store(&server).await;
    for number in 0..200 {
        assert_eq!(get(&other, id, number * CHUNK, 4_096).await, pattern(number as u64, 4_096));
    }
}
