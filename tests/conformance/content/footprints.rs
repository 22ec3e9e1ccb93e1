//! What a content takes and when it was changed, and what a store's own work left.

use std::fs::File;
use std::time::{Duration, SystemTime};

use hyper::Method;
use trunkfs::content::{ContentStore, Error, ObjectContent};
use trunkfs::types::{ContentId, Timestamp};

use super::support::{assert_missing, call, cut, id, open_filesystem, pattern, put};
use crate::s3::{Fate, S3Server};

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3_600 * SECOND;

fn later(by: i64) -> Timestamp {
    Timestamp(Timestamp::now().0 + by)
}

async fn modified(store: &dyn ContentStore, id: ContentId) -> Timestamp {
    store.footprint(id).await.unwrap().modified
}

pub(crate) async fn a_footprint_is_of_what_is_there(store: &dyn ContentStore) {
    let (id, other) = (id(), id());
    let missing = store.footprint(id).await;
    assert!(matches!(missing, Err(Error::Missing(it)) if it == id), "{missing:?}");
    // Clocks of file systems and buckets are coarse.
    let before = later(-2 * SECOND);
    put(store, id, 0, &pattern(1, 100_000)).await;
    assert!(modified(store, id).await >= before, "what is not stored yet counts too");
    put(store, other, 0, b"other").await;
    store.commit(&call(), id).await.unwrap();
    let footprint = store.footprint(id).await.unwrap();
    assert!((before..later(2 * SECOND)).contains(&footprint.modified), "{footprint:?}");
    assert!((100_000..400_000).contains(&footprint.bytes), "{footprint:?}");
    store.remove(id).await.unwrap();
    assert_missing(store, id).await;
    let removed = store.footprint(id).await;
    assert!(matches!(removed, Err(Error::Missing(it)) if it == id), "{removed:?}");
}

pub(crate) async fn every_change_makes_content_younger(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 0, &pattern(1, 20_000)).await;
    store.commit(&call(), id).await.unwrap();
    for change in 0..3_u64 {
        let before = modified(store, id).await;
        let mut round = 0;
        while modified(store, id).await <= before {
            tokio::time::sleep(Duration::from_millis(20)).await;
            round += 1;
            match change {
                0 => put(store, id, 5_000, &pattern(round, 100)).await,
                1 => put(store, id, 20_000 + round, b"further").await,
                _ => cut(store, id, 10_000 + round).await,
            }
            store.commit(&call(), id).await.unwrap();
        }
    }
}

pub(crate) async fn allocated_bytes_are_those_that_were_written(store: &dyn ContentStore) {
    const LENGTH: u64 = 256 << 20;
    let allocated = async |id, length, holes| {
        store.commit(&call(), id).await.unwrap();
        store.allocated(&call(), id, length, holes).await.unwrap()
    };
    let sparse = id();
    put(store, sparse, 0, b"x").await;
    cut(store, sparse, LENGTH).await;
    let one = allocated(sparse, LENGTH, true).await;
    assert!((1..=64 << 10).contains(&one), "{one} bytes for one");
    put(store, sparse, 128 << 20, &pattern(1, 1 << 20)).await;
    let more = allocated(sparse, LENGTH, true).await;
    assert!((1 << 20..(1 << 20) + (256 << 10)).contains(&more), "{more} bytes for a mebibyte");
    // Zeros that were written are no hole.
    let zeros = id();
    put(store, zeros, 0, &vec![0; 3 << 20]).await;
    for holes in [false, true] {
        let all = allocated(zeros, 3 << 20, holes).await;
        assert!((3 << 20..(3 << 20) + (256 << 10)).contains(&all), "{all} bytes of zeros");
    }
    let small = id();
    put(store, small, 0, b"x").await;
    for holes in [false, true] {
        let one = allocated(small, 1, holes).await;
        assert!((1..=64 << 10).contains(&one), "{one} bytes for one");
    }
}

pub(crate) async fn holes_take_nothing(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 1 << 30, b"far out").await;
    cut(store, id, 2 << 30).await;
    store.commit(&call(), id).await.unwrap();
    let footprint = store.footprint(id).await.unwrap();
    assert!(footprint.bytes < 1 << 20, "{footprint:?}");
}

#[tokio::test]
async fn a_folder_knows_files_that_never_got_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_filesystem(&folder, 4).await;
    assert_eq!(store.leftovers(later(HOUR), true).await.unwrap(), 0);
    let base = folder.path().join("content");
    let names = [
        ".trunkfs-content.01930000-0000-7000-8000-000000000001.tmp",
        ".trunkfs-content.01930000-0000-7000-8000-000000000002.tmp",
        "mine.tmp",
        ".trunkfs-content.tmp",
    ];
    let old = SystemTime::now() - Duration::from_secs(7_200);
    for name in names {
        let file = File::create_new(base.join(name)).unwrap();
        file.set_modified(old).unwrap();
    }
    File::open(base.join(names[1])).unwrap().set_modified(SystemTime::now()).unwrap();
    assert_eq!(store.leftovers(later(-HOUR), false).await.unwrap(), 1);
    assert!(base.join(names[0]).exists(), "it is counted alone");
    assert_eq!(store.leftovers(later(-HOUR), true).await.unwrap(), 1);
    let there = names.map(|name| base.join(name).exists());
    assert_eq!(there, [false, true, true, true]);
    assert!(base.join(".trunkfs-content.id").exists());
}

#[tokio::test]
async fn a_bucket_knows_what_a_start_has_left() {
    let server = S3Server::start().await;
    let store = ObjectContent::open(server.settings()).await.unwrap();
    let kept = id();
    put(&store, kept, 0, b"kept").await;
    store.commit(&call(), kept).await.unwrap();
    assert_eq!(store.leftovers(later(HOUR), false).await.unwrap(), 0);
    // A start that may not delete leaves the object that it has made. Objects are deleted by POST.
    server.plan(|method, _| match *method {
        Method::POST | Method::DELETE => Fate::Refused(403),
        _ => Fate::Normal,
    });
    ObjectContent::open(server.settings()).await.unwrap_err();
    server.heal();
    assert_eq!(store.leftovers(later(-HOUR), true).await.unwrap(), 0, "it is young");
    for (remove, found) in [(false, 1), (true, 1), (true, 0)] {
        assert_eq!(store.leftovers(later(HOUR), remove).await.unwrap(), found);
    }
    assert_eq!(store.list(None, 10).await.unwrap(), [kept]);
    ObjectContent::open(server.settings()).await.unwrap();
}
