//! What is cached, and for how long it is used.

use trunkfs::content::ContentStore as _;
use trunkfs::types::{ContentId, Timestamp};

use crate::s3::S3Server;
use crate::support::{CHUNK, call, commit, get, pattern, put, store, store_with};

fn at(nanoseconds: i64) -> Timestamp {
    Timestamp(nanoseconds)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_state_of_the_file_shows_what_others_committed() {
    let server = S3Server::start().await;
    let (writer, reader) = (store(&server).await, store(&server).await);
    let id = ContentId::generate();
    for round in 1..=5 {
        put(&writer, id, 10, &pattern(round, CHUNK)).await;
        commit(&writer, id).await;
        reader.observed(id, at(round as i64));
        assert_eq!(get(&reader, id, 10, CHUNK).await, pattern(round, CHUNK), "round {round}");
        let before = server.counts();
        for _ in 0..3 {
            reader.observed(id, at(round as i64));
            assert_eq!(get(&reader, id, 10, CHUNK).await, pattern(round, CHUNK));
        }
        assert_eq!(server.counts(), before, "the same state costs no request");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_is_not_told_of_is_asked_for() {
    let server = S3Server::start().await;
    let (writer, reader) = (store(&server).await, store(&server).await);
    let id = ContentId::generate();
    for round in 1..=3 {
        put(&writer, id, 0, &pattern(round, 1_000)).await;
        commit(&writer, id).await;
        assert_eq!(get(&reader, id, 0, 1_000).await, pattern(round, 1_000));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_alone_never_asks_again() {
    let server = S3Server::start().await;
    let store = store_with(&server, |settings| settings.exclusive = true).await;
    let id = ContentId::generate();
    // Not to the end of a chunk, behind which a reader would look ahead.
    let data = pattern(1, 3 * CHUNK - 100);
    put(&store, id, 0, &data).await;
    commit(&store, id).await;
    let before = server.counts();
    for _ in 0..3 {
        assert_eq!(get(&store, id, 0, data.len()).await, data);
    }
    assert_eq!(server.counts(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_their_own_writes_whatever_is_under_way() {
    let server = S3Server::start().await;
    let store = store(&server).await;
    let id = ContentId::generate();
    let mut expected = vec![0; 4 * CHUNK];
    for round in 1..=40_u64 {
        let offset = (round as usize * 13_337) % (3 * CHUNK);
        let data = pattern(round, 9_000);
        put(&store, id, offset, &data).await;
        expected[offset..offset + data.len()].copy_from_slice(&data);
        let (read, committed) = tokio::join!(get(&store, id, offset, 9_000), async {
            if round % 3 == 0 {
                store.commit(&call(), id).await.unwrap();
            }
        });
        let () = committed;
        assert_eq!(read, data, "round {round}");
    }
    let length = store.length(&call(), id).await.unwrap() as usize;
    assert_eq!(get(&store, id, 0, length).await, expected[..length]);
}

/// Memory for hardly a chunk: what is read again comes from the disk, and is as new as what memory would have
/// had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_on_the_disk_are_as_new_as_those_in_memory() {
    let server = S3Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let writer = store(&server).await;
    let on_disk = |settings: &mut trunkfs::content::ObjectSettings| {
        settings.cache = 3 * CHUNK;
        settings.cache_folder = Some(folder.path().to_owned());
        settings.cache_folder_size = 1 << 20;
    };
    let reader = store_with(&server, on_disk).await;
    let id = ContentId::generate();
    for round in 1..=4 {
        put(&writer, id, 0, &pattern(round, 8 * CHUNK)).await;
        commit(&writer, id).await;
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let before = server.counts();
            reader.observed(id, at(round as i64));
            for number in 0..8 {
                let found = get(&reader, id, number * CHUNK, CHUNK).await;
                assert_eq!(found, pattern(round, 8 * CHUNK)[number * CHUNK..(number + 1) * CHUNK]);
            }
            let gets = server.counts().gets - before.gets;
            if gets < 3 {
                break;
            }
            // What was not on the disk in time is read again; what memory has no room for would be read again
            // for ever.
            assert!(std::time::Instant::now() < limit, "{gets} GETs for 8 chunks");
        }
        // This process writes too: the disk must not bring back what was there before.
        put(&reader, id, 5, b"mine").await;
        commit(&reader, id).await;
        assert_eq!(get(&reader, id, 5, 4).await, b"mine"[..]);
    }
}
