//! Several stores over one bucket.

use std::time::Duration;

use trunkfs::content::{ContentStore as _, Error, ObjectContent};
use trunkfs::types::ContentId;

use crate::s3::{Fate, S3Server};
use crate::support::{CHUNK, call, commit, get, patiently, pattern, put, store, store_with};

/// Interleaved pieces: writer `w` of `writers` owns every so many-th. Each is written several times, with
/// commits in between; what is there at the end is the last of each.
async fn write_own_pieces(
    store: ObjectContent,
    id: ContentId,
    writer: usize,
    writers: usize,
    rounds: u64,
) {
    for round in 1..=rounds {
        for piece in (writer..PIECES).step_by(writers) {
            let data = pattern(round * 1_000 + piece as u64, PIECE);
            let offset = piece * PIECE;
            let (store, data) = (&store, &data);
            patiently(|| async move {
                store.write(&call(), id, offset as u64, data.clone().into()).await
            })
            .await;
            if piece % 7 == 0 {
                commit(store, id).await;
            }
        }
        commit(&store, id).await;
    }
}

const PIECE: usize = 3_001;
const PIECES: usize = 3 * CHUNK / PIECE;

async fn assert_last_round(store: &ObjectContent, id: ContentId, rounds: u64) {
    for piece in 0..PIECES {
        let found = get(store, id, piece * PIECE, PIECE).await;
        assert_eq!(found, pattern(rounds * 1_000 + piece as u64, PIECE), "piece {piece}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_different_ranges_of_one_chunk_lose_nothing() {
    let server = S3Server::start().await;
    let id = ContentId::generate();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        writers.spawn(write_own_pieces(store(&server).await, id, writer, 4, 3));
    }
    writers.join_all().await;
    assert_last_round(&store(&server).await, id, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_behind_a_network_that_fails_and_reorders_lose_nothing() {
    let server = S3Server::start().await;
    let id = ContentId::generate();
    let mut stores = Vec::new();
    for _ in 0..3 {
        let patient = |settings: &mut trunkfs::content::ObjectSettings| {
            settings.request_timeout = Duration::from_millis(400);
        };
        stores.push(store_with(&server, patient).await);
    }
    server.unreliable(5, 0.25);
    let mut writers = tokio::task::JoinSet::new();
    for (writer, store) in stores.into_iter().enumerate() {
        writers.spawn(write_own_pieces(store, id, writer, 3, 2));
    }
    writers.join_all().await;
    server.calm().await;
    assert_last_round(&store(&server).await, id, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_arrives_late_changes_nothing() {
    let server = S3Server::start().await;
    let (store, id) = (store(&server).await, ContentId::generate());
    put(&store, id, 0, b"one").await;
    commit(&store, id).await;
    // A first attempt to write "two" stays on its way while the content becomes "one" again, byte for byte.
    let mut first = true;
    server.plan(move |method, _| {
        let late = first && method == "PUT";
        first &= !late;
        if late { Fate::RefusedAndLate(Duration::from_millis(300)) } else { Fate::Normal }
    });
    put(&store, id, 0, b"two").await;
    commit(&store, id).await;
    put(&store, id, 0, b"one").await;
    commit(&store, id).await;
    server.calm().await;
    let other = crate::support::store(&server).await;
    assert_eq!(get(&other, id, 0, 10).await, b"one"[..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_that_arrives_late_takes_nothing_away() {
    let server = S3Server::start().await;
    let (store, id) = (store(&server).await, ContentId::generate());
    put(&store, id, 0, &pattern(1, 4 * CHUNK)).await;
    commit(&store, id).await;
    let mut late = 6;
    server.plan(move |method, _| {
        if method == "GET" || late == 0 {
            return Fate::Normal;
        }
        late -= 1;
        Fate::RefusedAndLate(Duration::from_millis(300))
    });
    store.truncate(&call(), id, 100).await.unwrap();
    put(&store, id, CHUNK, &pattern(2, 3 * CHUNK)).await;
    commit(&store, id).await;
    server.calm().await;
    let other = crate::support::store(&server).await;
    let found = get(&other, id, 0, 5 * CHUNK).await;
    assert_eq!(found[..100], pattern(1, 100));
    assert!(found[100..CHUNK].iter().all(|byte| *byte == 0));
    assert_eq!(found[CHUNK..], pattern(2, 3 * CHUNK));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_grows_a_content_grows_it_for_all() {
    let server = S3Server::start().await;
    let (one, two) = (store(&server).await, store(&server).await);
    let id = ContentId::generate();
    for round in 0..6 {
        let (writer, reader) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let offset = round * 20_000;
        put(writer, id, offset, &pattern(round as u64, 20_000)).await;
        commit(writer, id).await;
        assert_eq!(reader.length(&call(), id).await.unwrap(), offset as u64 + 20_000);
        assert_eq!(get(reader, id, offset, 30_000).await, pattern(round as u64, 20_000));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_what_another_process_removes_never_sees_zeros() {
    let server = S3Server::start().await;
    let (remover, reader) = (store(&server).await, store(&server).await);
    let length = 8 * CHUNK;
    for round in 0..40 {
        let (id, data) = (ContentId::generate(), pattern(round, length));
        put(&remover, id, 0, &data).await;
        commit(&remover, id).await;
        // The reader knows how long the content is, and keeps no chunk.
        assert_eq!(get(&reader, id, length - 1, 1).await, data[length - 1..]);
        let read = async {
            loop {
                match reader.read(&call(), id, 0, length).await {
                    Ok(found) => assert_eq!(found, data, "round {round}"),
                    Err(Error::Missing(_)) => return,
                    Err(error) => panic!("round {round}: {error:?}"),
                }
            }
        };
        let (removed, ()) = tokio::join!(remover.remove(id), read);
        removed.unwrap();
    }
    assert!(reader.list(None, 100).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_removed_half_way_is_missing_and_can_be_removed() {
    let server = S3Server::start().await;
    let (remover, reader) = (store(&server).await, store(&server).await);
    let id = ContentId::generate();
    put(&remover, id, 0, &pattern(1, 3 * CHUNK)).await;
    commit(&remover, id).await;
    let marked = format!("{id}/-removed");
    // First no chunk is removed, then the mark is not.
    for mut deletes in [0, 1] {
        let marked = marked.clone();
        server.plan(move |method, key| {
            if method == "GET" || method == "PUT" && key.contains(&marked) {
                return Fate::Normal;
            }
            if deletes == 0 {
                return Fate::Refused(403);
            }
            deletes -= 1;
            Fate::Normal
        });
        let removed = remover.remove(id).await;
        assert!(removed.is_err());
        server.heal();
        assert!(matches!(reader.length(&call(), id).await, Err(Error::Missing(_))));
        assert_eq!(reader.list(None, 100).await.unwrap(), [id], "what is left is found");
    }
    reader.remove(id).await.unwrap();
    assert!(reader.list(None, 100).await.unwrap().is_empty());
}
