//! Bytes that were cut off or removed, and what could bring them back: requests that are done late or without
//! an answer, and what this process or another still remembers.

use std::time::Duration;

use trunkfs::content::{ContentStore as _, Error, ObjectContent};
use trunkfs::types::{ContentId, Timestamp};

use crate::s3::{Fate, S3Server};
use crate::support::{CHUNK, call, call_of, commit, get, pattern, put, store, store_with};

/// A store of the only process, which believes what it remembers.
async fn alone(server: &S3Server) -> ObjectContent {
    let alone = |settings: &mut trunkfs::content::ObjectSettings| {
        settings.exclusive = true;
        settings.retries = 1;
    };
    store_with(server, alone).await
}

async fn zeros_from(store: &ObjectContent, id: ContentId, start: usize, end: usize) {
    let found = get(store, id, start, end - start).await;
    assert_eq!(found.len(), end - start);
    let old = found.iter().position(|byte| *byte != 0);
    assert_eq!(old.map(|at| start + at), None, "old bytes came back");
}

/// Which chunk a request is for, counted from the last that has an object.
fn is_chunk(path: &str, number: u64) -> bool {
    path.ends_with(&format!("{:013x}", (1_u64 << 52) - 1 - number))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_without_an_answer_is_not_forgotten_by_memory() {
    for lost in [1, 2, 3] {
        let server = S3Server::start().await;
        let (store, id) = (alone(&server).await, ContentId::generate());
        put(&store, id, 0, &pattern(1, 4 * CHUNK)).await;
        commit(&store, id).await;
        get(&store, id, 0, 4 * CHUNK).await;
        server.plan(move |method, path| match method.as_str() {
            "PUT" if is_chunk(path, lost) => Fate::DoneAndRefused(403),
            _ => Fate::Normal,
        });
        let keep = CHUNK + 100;
        let cut = store.truncate(&call(), id, keep as u64).await;
        assert!(matches!(cut, Err(Error::Io(_))), "{cut:?}");
        server.heal();
        store.truncate(&call(), id, keep as u64).await.unwrap();
        store.truncate(&call(), id, 4 * CHUNK as u64).await.unwrap();
        assert_eq!(get(&store, id, 0, keep).await, pattern(1, keep));
        zeros_from(&store, id, keep, 4 * CHUNK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_arrives_after_a_cut_brings_nothing_back() {
    for keep in [0, 100, CHUNK, CHUNK + 100] {
        let server = S3Server::start().await;
        let (store, id) = (alone(&server).await, ContentId::generate());
        // Each chunk once as one that was never there, and once as one that was cut before.
        put(&store, id, 0, &pattern(1, 2 * CHUNK)).await;
        commit(&store, id).await;
        store.truncate(&call(), id, 0).await.unwrap();
        // Complete chunks are sent as soon as they are written.
        server.plan(|method, _| match method.as_str() {
            "PUT" => Fate::RefusedAndLate(Duration::from_millis(500)),
            _ => Fate::Normal,
        });
        put(&store, id, 0, &pattern(2, 4 * CHUNK)).await;
        let committed = store.commit(&call(), id).await;
        assert!(matches!(committed, Err(Error::Unavailable(_))), "{committed:?}");
        server.heal();
        store.truncate(&call(), id, keep as u64).await.unwrap();
        commit(&store, id).await;
        server.calm().await;
        let next = alone(&server).await;
        assert_eq!(next.length(&call(), id).await.unwrap(), keep as u64);
        next.truncate(&call(), id, 5 * CHUNK as u64).await.unwrap();
        assert_eq!(get(&next, id, 0, keep).await, pattern(2, keep));
        zeros_from(&next, id, keep, 5 * CHUNK).await;
    }
}

/// What is gone is missing or short, whatever this process knew of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_removed_or_cut_is_not_shown_as_zeros() {
    let server = S3Server::start().await;
    let small = |settings: &mut trunkfs::content::ObjectSettings| settings.cache = 0;
    let (one, two) = (store(&server).await, store_with(&server, small).await);
    let data = pattern(1, 3 * CHUNK);
    for cut in [None, Some(CHUNK as u64 + 10)] {
        let id = ContentId::generate();
        put(&one, id, 0, &data).await;
        commit(&one, id).await;
        two.observed(id, Timestamp(1));
        assert_eq!(get(&two, id, 0, data.len()).await, data);
        assert_eq!(two.length(&call(), id).await.unwrap(), data.len() as u64);
        match cut {
            None => one.remove(id).await.unwrap(),
            Some(length) => one.truncate(&call(), id, length).await.unwrap(),
        }
        for start in [2 * CHUNK, CHUNK + 5] {
            let found = two.read(&call(), id, start as u64, 100).await;
            match (&found, cut) {
                (Err(Error::Missing(_)), None) => {}
                (Ok(bytes), Some(length)) => {
                    let left = (length as usize).saturating_sub(start).min(100);
                    assert_eq!(bytes, &data[start..][..left], "at {start}");
                }
                _ => panic!("{found:?} at {start} after {cut:?}"),
            }
        }
    }
}

/// A cut or an extension is done to what is in the bucket, and not to what this process remembers of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_remembered_of_a_chunk_keeps_no_cut_from_it() {
    let server = S3Server::start().await;
    for end in [100, CHUNK + 100] {
        let (one, two, id) = (store(&server).await, store(&server).await, ContentId::generate());
        put(&two, id, 0, &pattern(1, end)).await;
        commit(&two, id).await;
        put(&one, id, end, &pattern(2, 2 * CHUNK)).await;
        commit(&one, id).await;
        two.truncate(&call(), id, end as u64).await.unwrap();
        commit(&two, id).await;
        assert_eq!(one.length(&call(), id).await.unwrap(), end as u64);
        two.truncate(&call(), id, 3 * CHUNK as u64).await.unwrap();
        zeros_from(&two, id, end, 3 * CHUNK).await;

        let (one, two, id) = (store(&server).await, store(&server).await, ContentId::generate());
        put(&two, id, 0, &pattern(1, end)).await;
        commit(&two, id).await;
        one.truncate(&call(), id, 50).await.unwrap();
        two.truncate(&call(), id, end as u64).await.unwrap();
        commit(&two, id).await;
        assert_eq!(one.length(&call(), id).await.unwrap(), end as u64, "it is extended for all");
        zeros_from(&one, id, 50, end).await;
    }
}

/// A bucket that refuses for good is told of at once, and not asked without a pause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_without_memory_hear_why_it_is_not_freed() {
    for (status, full) in [(507, true), (403, false)] {
        let server = S3Server::start().await;
        let small = |settings: &mut trunkfs::content::ObjectSettings| {
            settings.write_buffer = 4 * CHUNK;
        };
        let (store, id) = (store_with(&server, small).await, ContentId::generate());
        server.plan(move |_, _| Fate::Refused(status));
        let before = server.counts();
        let mut writes = 0;
        let refused = loop {
            let offset = (writes * CHUNK) as u64;
            let data = pattern(writes as u64, CHUNK / 2).into();
            match store.write(&call_of(Duration::from_secs(60)), id, offset, data).await {
                Ok(()) => writes += 1,
                Err(error) => break error,
            }
        };
        assert!((2..=8).contains(&writes), "{writes}");
        match refused {
            Error::NoSpace(_) if full => {}
            Error::Io(_) if !full => {}
            other => panic!("{status}: {other:?}"),
        }
        let asked = server.counts().puts - before.puts;
        assert!(asked <= 100, "{asked} PUTs for {writes} writes");
        server.heal();
        commit(&store, id).await;
        let other = crate::support::store(&server).await;
        for number in 0..writes {
            let found = get(&other, id, number * CHUNK, CHUNK / 2).await;
            assert_eq!(found, pattern(number as u64, CHUNK / 2));
        }
    }
}

/// A proxy that answers 404 by itself does not say that there is nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_found_is_believed_from_the_bucket_alone() {
    let server = S3Server::start().await;
    let small = |settings: &mut trunkfs::content::ObjectSettings| {
        (settings.cache, settings.retries) = (0, 1);
    };
    let (store, id) = (store_with(&server, small).await, ContentId::generate());
    put(&store, id, 0, &pattern(1, 2 * CHUNK)).await;
    commit(&store, id).await;
    server.plan(|_, _| Fate::Refused(404));
    for (start, length) in [(0, 2 * CHUNK), (10, 100), (CHUNK, CHUNK)] {
        let found = store.read(&call(), id, start as u64, length).await;
        assert!(matches!(found, Err(Error::Unavailable(_))), "{found:?}");
    }
    put(&store, id, 10, b"changed").await;
    let committed = store.commit(&call(), id).await;
    assert!(matches!(committed, Err(Error::Unavailable(_))), "{committed:?}");
    let length = store.length(&call(), id).await;
    assert!(matches!(length, Err(Error::Unavailable(_))), "{length:?}");
    server.heal();
    commit(&store, id).await;
    let found = get(&store, id, 0, 2 * CHUNK).await;
    assert_eq!((&found[10..17], &found[17..]), (&b"changed"[..], &pattern(1, 2 * CHUNK)[17..]));
}
