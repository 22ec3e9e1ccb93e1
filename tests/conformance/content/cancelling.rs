//! What a token that has fired stops, and what it leaves.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use trunkfs::content::{ContentStore, Error};
use trunkfs::types::Call;

use super::support::{assert_missing, call, cancelled, get, id, length, put, whole};

async fn assert_refuses(store: &dyn ContentStore, call: &Call) {
    let (kept, fresh) = (id(), id());
    put(store, kept, 0, b"kept").await;
    let data = Bytes::from_static(b"lost");
    let answers = [
        store.read(call, kept, 0, 4).await.map(drop),
        store.write(call, kept, 0, data.clone()).await,
        store.write(call, fresh, 0, data).await,
        store.truncate(call, kept, 0).await,
        store.length(call, kept).await.map(drop),
        store.commit(call, kept).await,
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        assert!(matches!(answer, Err(Error::Cancelled)), "call {number}: {answer:?}");
    }
    assert_eq!(whole(store, kept).await, b"kept"[..]);
    assert_missing(store, fresh).await;
}

pub(crate) async fn a_cancelled_call_does_nothing(store: &dyn ContentStore) {
    assert_refuses(store, &cancelled()).await;
}

pub(crate) async fn a_call_past_its_deadline_does_nothing(store: &dyn ContentStore) {
    let mut call = call();
    call.deadline = Instant::now();
    assert_refuses(store, &call).await;
}

pub(crate) async fn a_write_cancelled_on_its_way_is_there_or_not(store: &dyn ContentStore) {
    for wait in [0, 5, 20, 100, 400] {
        let (id, call) = (id(), call());
        put(store, id, 0, &[1; 1 << 20]).await;
        let stop = async {
            tokio::time::sleep(Duration::from_micros(wait)).await;
            call.cancel.cancel();
        };
        let write = store.write(&call, id, 0, Bytes::from(vec![2; 1 << 20]));
        let (answer, ()) = tokio::join!(write, stop);
        match answer {
            Ok(()) => assert_eq!(whole(store, id).await, vec![2; 1 << 20]),
            Err(Error::Cancelled) => {
                let found = whole(store, id).await;
                assert!(found.iter().all(|byte| matches!(byte, 1 | 2)));
                // What a write had begun is over when it returns: nothing of it lands later.
                put(store, id, 0, &[3; 1 << 20]).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                assert_eq!(whole(store, id).await, vec![3; 1 << 20]);
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

pub(crate) async fn a_dropped_call_leaves_the_content_usable(store: &dyn ContentStore) {
    let id = id();
    put(store, id, 0, b"first").await;
    for round in 0..50_u64 {
        let data = Bytes::from(vec![9; 100_000]);
        let limit = Duration::from_micros(round * 3);
        let _ = tokio::time::timeout(limit, store.write(&call(), id, 10, data)).await;
        let _ = tokio::time::timeout(limit, store.commit(&call(), id)).await;
        let _ = tokio::time::timeout(limit, store.read(&call(), id, 0, 50_000)).await;
    }
    put(store, id, 0, b"after").await;
    store.commit(&call(), id).await.unwrap();
    assert_eq!(get(store, id, 0, 5).await, b"after"[..]);
    assert!(matches!(length(store, id).await, 5 | 100_010));
}
