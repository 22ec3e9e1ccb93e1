//! Clients take turns at the bucket.

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use trunkfs::content::{ContentStore as _, Error};
use trunkfs::types::{Call, ContentId};

use crate::s3::S3Server;
use crate::support::{commit, pattern, put, store, store_with};

const CALLS: usize = 60;

fn from(host: u8) -> Call {
    Call::of_client(([10, 0, 0, host], 700).into(), std::time::Duration::from_secs(60))
}

/// Polls all calls once, in their order, and counts those that end from then on and before the last one does.
async fn before_the_last<T>(calls: Vec<impl Future<Output = Result<T, Error>> + Unpin>) -> usize {
    let last = calls.len() - 1;
    let mut waiting = FuturesUnordered::new();
    for (number, call) in calls.into_iter().enumerate() {
        let mut call = call.map(move |done| done.map(|_| number));
        // A machine that stands still meanwhile gives the bucket time for some.
        match (&mut call).now_or_never() {
            Some(done) => assert!(done.unwrap() != last, "the last one waits for no other"),
            None => waiting.push(call),
        }
    }
    assert!(waiting.len() > CALLS / 2, "{} calls wait for the bucket", waiting.len());
    let mut before = 0;
    while let Some(done) = waiting.next().await {
        if done.unwrap() == last {
            break;
        }
        before += 1;
    }
    while let Some(done) = waiting.next().await {
        done.unwrap();
    }
    before
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_waits_for_one_turn_of_each_other_client() {
    let server = S3Server::start().await;
    let writer = store(&server).await;
    let mut contents = Vec::new();
    for number in 0..=CALLS {
        let id = ContentId::generate();
        put(&writer, id, 0, &pattern(number as u64, 3_000)).await;
        commit(&writer, id).await;
        contents.push(id);
    }
    let reader = store_with(&server, |settings| settings.max_concurrency = 1).await;
    let (crowd, single) = (from(1), from(2));
    let reads = contents.iter().enumerate().map(|(number, id)| {
        let call = if number == CALLS { &single } else { &crowd };
        reader.read(call, *id, 0, 3_000)
    });
    let before = before_the_last(reads.collect()).await;
    assert!(before < 10, "after {before} calls of the other client");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_waits_for_one_turn_of_each_other_client() {
    let server = S3Server::start().await;
    let store = store_with(&server, |settings| settings.max_concurrency = 1).await;
    let (crowd, single) = (from(1), from(2));
    let mut contents = Vec::new();
    for number in 0..=CALLS {
        let id = ContentId::generate();
        let call = if number == CALLS { &single } else { &crowd };
        store.write(call, id, 0, Bytes::from(pattern(number as u64, 3_000))).await.unwrap();
        contents.push(id);
    }
    let commits = contents.iter().enumerate().map(|(number, id)| {
        let call = if number == CALLS { &single } else { &crowd };
        store.commit(call, *id)
    });
    let before = before_the_last(commits.collect()).await;
    assert!(before < 10, "after {before} calls of the other client");
}
