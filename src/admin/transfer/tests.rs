//! Contents of memory from store to store.

#[path = "../../../tests/support/altered.rs"]
mod altered;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Barrier;
use tokio_util::sync::CancellationToken;

use self::altered::{Alter, Altered};
use super::*;
use crate::admin::Unit;
use crate::content::{ContentStore, Error as ContentError, MemoryContent};
use crate::types::Call;

/// Memory that answers no read before so many are under way.
#[derive(Debug)]
struct Together(MemoryContent, Barrier);

#[async_trait::async_trait]
impl Alter for Together {
    fn inner(&self) -> &dyn ContentStore {
        &self.0
    }

    async fn read(
        &self,
        call: &Call,
        id: ContentId,
        at: u64,
        size: usize,
    ) -> Result<Bytes, ContentError> {
        self.1.wait().await;
        self.0.read(call, id, at, size).await
    }
}

fn stores(from: &Arc<dyn ContentStore>, to: &Arc<dyn ContentStore>) -> [Store; 2] {
    [("from", from), ("to", to)].map(|(name, content)| Store::new(name, content, 1 << 20))
}

fn transfers(total: u64) -> Transfers {
    let progress = Arc::new(Progress::default());
    progress.begin("copy", Unit::Bytes, Some(total));
    Transfers::new(&progress)
}

#[tokio::test]
async fn a_large_content_is_read_ahead_of_what_is_written() {
    let (call, id) = (internal(&CancellationToken::new()), ContentId::generate());
    let from = Arc::new(Altered(Together(MemoryContent::new(), Barrier::new(AHEAD))));
    let size = AHEAD as u64 * BLOCK - 7;
    assert!(size < SPARSE, "all of it is read");
    for at in [5, BLOCK, 3 * BLOCK + 1, size - 3] {
        from.write(&call, id, at, Bytes::from_static(b"abc")).await.unwrap();
    }
    let to: Arc<dyn ContentStore> = Arc::new(MemoryContent::new());
    let store: Arc<dyn ContentStore> = from.clone();
    let ([here, there], transfers) = (stores(&store, &to), transfers(size));
    let copied = transfers.copy(&here, &there, id, size, false);
    // One after the other would wait for ever.
    tokio::time::timeout(Duration::from_secs(60), copied).await.unwrap().unwrap();
    let length = size as usize;
    let whole = from.inner().read(&call, id, 0, length).await.unwrap();
    assert_eq!(to.read(&call, id, 0, length + 1).await.unwrap(), whole);
}

#[tokio::test]
async fn the_holes_of_a_large_content_are_not_read() {
    let (call, id) = (internal(&CancellationToken::new()), ContentId::generate());
    let [from, to] = [(); 2].map(|()| Arc::new(MemoryContent::new()) as Arc<dyn ContentStore>);
    let size = 1 << 50;
    for at in [5, BLOCK - 1, 1 << 40, size - 3] {
        from.write(&call, id, at, Bytes::from_static(b"abc")).await.unwrap();
    }
    let ([here, there], transfers) = (stores(&from, &to), transfers(size));
    let copied = transfers.copy(&here, &there, id, size, false);
    tokio::time::timeout(Duration::from_secs(60), copied).await.unwrap().unwrap();
    let reading = transfers.progress().reading();
    assert_eq!(reading.total, Some(reading.done), "all that is no hole is done");
    let compare = transfers.is_same(&here, &there, id, size);
    let same = tokio::time::timeout(Duration::from_secs(60), compare).await.unwrap().unwrap();
    assert!(same);
    // A byte in a hole of the one that it is compared with.
    for (store, at) in [(&from, 1 << 41), (&to, 1 << 42)] {
        store.write(&call, id, at, Bytes::from_static(b"x")).await.unwrap();
        assert!(!transfers.is_same(&here, &there, id, size).await.unwrap(), "{at}");
        store.write(&call, id, at, Bytes::from_static(b"\0")).await.unwrap();
        assert!(transfers.is_same(&here, &there, id, size).await.unwrap(), "{at}");
    }
    assert_eq!(to.length(&call, id).await.unwrap(), size);
    for at in [0, BLOCK - 4, (1 << 40) - 1, size - 5] {
        let [one, other] = [&from, &to].map(|store| store.read(&call, id, at, 20));
        assert_eq!(one.await.unwrap(), other.await.unwrap(), "at {at}");
    }
}

#[tokio::test]
async fn a_content_that_is_too_short_is_not_copied() {
    let (call, id) = (internal(&CancellationToken::new()), ContentId::generate());
    let [from, to] = [(); 2].map(|()| Arc::new(MemoryContent::new()) as Arc<dyn ContentStore>);
    from.write(&call, id, 0, Bytes::from_static(b"short")).await.unwrap();
    to.write(&call, id, 0, Bytes::from_static(b"what was there")).await.unwrap();
    let ([here, there], transfers) = (stores(&from, &to), transfers(9));
    let copied = transfers.copy(&here, &there, id, 9, true).await;
    assert!(matches!(copied, Err(Error::Short { length: 5, size: 9 })), "{copied:?}");
    assert_eq!(to.read(&call, id, 0, 99).await.unwrap(), "what was there");
}
