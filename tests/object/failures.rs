//! A server that fails: what is told, and that nothing is lost.

use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use trunkfs::content::{ContentStore as _, Error, ObjectContent};
use trunkfs::types::ContentId;

use crate::s3::{Fate, S3Server};
use crate::support::{
    CHUNK, call, call_of, commit, get, patiently, pattern, put, store, store_with,
};

const LARGEST: usize = 5 * CHUNK;
/// The time of a call.
const PATIENCE: Duration = Duration::from_secs(5);

/// Random operations behind a network that fails, stalls and reorders, against a vector.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_is_what_was_written() {
    let seed = match std::env::var("TRUNKFS_TEST_SEED") {
        Ok(seed) => seed.parse().expect("TRUNKFS_TEST_SEED is a number"),
        Err(_) => rand::random(),
    };
    println!("TRUNKFS_TEST_SEED={seed}");
    let server = S3Server::start().await;
    let impatient = |settings: &mut trunkfs::content::ObjectSettings| {
        settings.request_timeout = Duration::from_millis(400);
        settings.retries = 3;
        settings.write_buffer = 3 * CHUNK;
        settings.cache = 3 * CHUNK;
    };
    let mut store = store_with(&server, impatient).await;
    server.unreliable(seed, 0.15);
    let mut random = StdRng::seed_from_u64(seed);
    let id = ContentId::generate();
    let mut expected = Vec::new();
    patiently(|| async { store.truncate(&call_of(PATIENCE), id, 0).await }).await;
    for step in 0..150 {
        step_of(&store, id, &mut random, &mut expected, step).await;
        if step % 50 == 49 {
            // Another process goes on with what was committed.
            commit(&store, id).await;
            server.heal();
            store = store_with(&server, impatient).await;
            server.unreliable(seed ^ step, 0.15);
        }
    }
    commit(&store, id).await;
    server.calm().await;
    let other = crate::support::store(&server).await;
    assert_eq!(other.length(&call(), id).await.unwrap(), expected.len() as u64);
    assert_eq!(get(&other, id, 0, LARGEST + 1).await, expected);
}

async fn step_of(
    store: &ObjectContent,
    id: ContentId,
    random: &mut StdRng,
    expected: &mut Vec<u8>,
    step: u64,
) {
    let offset = random.random_range(0..LARGEST - 1);
    let length = random.random_range(1..=(LARGEST - offset).min(40_000));
    match random.random_range(0..100) {
        0..50 => {
            let data = Bytes::from(pattern(step, length));
            patiently(|| async {
                store.write(&call_of(PATIENCE), id, offset as u64, data.clone()).await
            })
            .await;
            expected.resize(expected.len().max(offset + length), 0);
            expected[offset..offset + length].copy_from_slice(&data);
        }
        50..60 => {
            patiently(|| async { store.truncate(&call_of(PATIENCE), id, offset as u64).await })
                .await;
            expected.resize(offset, 0);
        }
        60..75 => commit(store, id).await,
        _ => {
            let found = patiently(|| async {
                store.read(&call_of(PATIENCE), id, offset as u64, length).await
            })
            .await;
            let end = expected.len().min(offset + length);
            assert_eq!(found, expected.get(offset..end).unwrap_or_default(), "step {step}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_told_apart_and_lose_nothing() {
    let server = S3Server::start().await;
    let store = store_with(&server, |settings| settings.retries = 1).await;
    let id = ContentId::generate();
    put(&store, id, 0, b"kept").await;
    for (fate, told) in [
        (Fate::Refused(403), "AccessDenied"),
        (Fate::Refused(507), "QuotaExceeded"),
        (Fate::Refused(503), "SlowDown"),
        (Fate::Cut, ""),
    ] {
        server.plan(move |_, _| fate);
        let error = store.commit(&call(), id).await.unwrap_err();
        match (&error, fate) {
            (Error::Io(source), Fate::Refused(403))
            | (Error::NoSpace(source), Fate::Refused(507))
            | (Error::Unavailable(source), Fate::Refused(503) | Fate::Cut) => {
                assert!(source.to_string().contains(told), "{source}");
            }
            other => panic!("{other:?}"),
        }
        let unread = crate::support::get(&store, id, 0, 4).await;
        assert_eq!(unread, b"kept"[..], "what is not stored is read from memory");
    }
    server.heal();
    commit(&store, id).await;
    let other = crate::support::store(&server).await;
    assert_eq!(get(&other, id, 0, 4).await, b"kept"[..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_ends_when_its_time_does() {
    let server = S3Server::start().await;
    let (store, id) = (store(&server).await, ContentId::generate());
    put(&store, id, 0, b"x").await;
    server.plan(|_, _| Fate::Lost);
    // Whoever waited for the server's answer would find it away, which is another error.
    let time = Duration::from_millis(200);
    let committed = store.commit(&call_of(time), id).await;
    assert!(matches!(committed, Err(Error::Cancelled)), "{committed:?}");
    let read = store.read(&call_of(time), ContentId::generate(), 0, 10).await;
    assert!(matches!(read, Err(Error::Cancelled)), "{read:?}");
    let cut = store.truncate(&call_of(time), ContentId::generate(), 10).await;
    assert!(matches!(cut, Err(Error::Cancelled)), "{cut:?}");
}

/// A process that dies within a truncate leaves a content that is too long, or as it shall be: never one that
/// is too short, nor one whose end hides old bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncate_that_is_cut_short_is_seen() {
    let data = pattern(9, 6 * CHUNK);
    for allowed in 0..6 {
        let server = S3Server::start().await;
        let (writer, id) = (store(&server).await, ContentId::generate());
        put(&writer, id, 0, &data).await;
        commit(&writer, id).await;
        let mut left = allowed;
        server.plan(move |method, _| {
            if method != "PUT" {
                return Fate::Normal;
            }
            left -= 1;
            if left >= 0 { Fate::Normal } else { Fate::Refused(403) }
        });
        let keep = 2 * CHUNK + 100;
        let cut = writer.truncate(&call(), id, keep as u64).await;
        server.heal();
        drop(writer);
        let next = store(&server).await;
        let length = next.length(&call(), id).await.unwrap() as usize;
        match cut {
            Ok(()) => assert_eq!(length, keep),
            Err(error) => {
                assert!(length > keep, "{allowed} requests, then {error:?}: {length} bytes");
                next.truncate(&call(), id, keep as u64).await.unwrap();
            }
        }
        next.truncate(&call(), id, data.len() as u64).await.unwrap();
        let found = get(&next, id, 0, data.len()).await;
        assert_eq!(found[..keep], data[..keep]);
        assert!(found[keep..].iter().all(|byte| *byte == 0), "old bytes came back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_committed_may_go_and_the_rest_stays() {
    let server = S3Server::start().await;
    let (writer, id) = (store(&server).await, ContentId::generate());
    put(&writer, id, 0, &pattern(1, 1_000)).await;
    commit(&writer, id).await;
    put(&writer, id, 500, &pattern(2, 1_000)).await;
    drop(writer);
    let next = store(&server).await;
    assert_eq!(get(&next, id, 0, 2_000).await, pattern(1, 1_000));
}
