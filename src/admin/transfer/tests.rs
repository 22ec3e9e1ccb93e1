//! Contents of memory from store to store.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Barrier;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::admin::Unit;
use crate::content::{Capacity, ContentStore, Error as ContentError, Footprint, MemoryContent};
use crate::types::{Call, ContentIdentity, Timestamp};

/// Memory that answers no read before so many are under way.
#[derive(Debug)]
struct Together(MemoryContent, Barrier);

#[async_trait::async_trait]
impl ContentStore for Together {
    async fn read(
        &self,
        call: &Call,
        id: ContentId,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, ContentError> {
        self.1.wait().await;
        self.0.read(call, id, offset, length).await
    }

    async fn write(
        &self,
        call: &Call,
        id: ContentId,
        offset: u64,
        data: Bytes,
    ) -> Result<(), ContentError> {
        self.0.write(call, id, offset, data).await
    }

    async fn truncate(&self, call: &Call, id: ContentId, length: u64) -> Result<(), ContentError> {
        self.0.truncate(call, id, length).await
    }

    async fn length(&self, call: &Call, id: ContentId) -> Result<u64, ContentError> {
        self.0.length(call, id).await
    }

    fn max_length(&self) -> u64 {
        self.0.max_length()
    }

    async fn commit(&self, call: &Call, id: ContentId) -> Result<(), ContentError> {
        self.0.commit(call, id).await
    }

    async fn remove(&self, id: ContentId) -> Result<(), ContentError> {
        self.0.remove(id).await
    }

    async fn list(
        &self,
        after: Option<ContentId>,
        limit: usize,
    ) -> Result<Vec<ContentId>, ContentError> {
        self.0.list(after, limit).await
    }

    async fn footprint(&self, id: ContentId) -> Result<Footprint, ContentError> {
        self.0.footprint(id).await
    }

    async fn allocated(
        &self,
        call: &Call,
        id: ContentId,
        length: u64,
        holes: bool,
    ) -> Result<u64, ContentError> {
        self.0.allocated(call, id, length, holes).await
    }

    fn identity(&self) -> Option<ContentIdentity> {
        self.0.identity()
    }

    async fn owners(&self) -> Result<Option<String>, ContentError> {
        self.0.owners().await
    }

    async fn set_owners(&self, seen: Option<&str>, text: &str) -> Result<bool, ContentError> {
        self.0.set_owners(seen, text).await
    }

    async fn capacity(&self) -> Result<Option<Capacity>, ContentError> {
        self.0.capacity().await
    }

    async fn data_extents(
        &self,
        call: &Call,
        id: ContentId,
    ) -> Result<Vec<Range<u64>>, ContentError> {
        self.0.data_extents(call, id).await
    }

    async fn leftovers(&self, before: Timestamp, remove: bool) -> Result<u64, ContentError> {
        self.0.leftovers(before, remove).await
    }

    fn observed(&self, id: ContentId, state: Timestamp) {
        self.0.observed(id, state);
    }

    fn has_dirty(&self, id: ContentId) -> bool {
        self.0.has_dirty(id)
    }

    fn discard_dirty(&self, id: ContentId) {
        self.0.discard_dirty(id);
    }

    fn with_chunk_size(&self, chunk_size: u32) -> Option<Arc<dyn ContentStore>> {
        self.0.with_chunk_size(chunk_size)
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
    let from = Arc::new(Together(MemoryContent::new(), Barrier::new(AHEAD)));
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
    let whole = from.0.read(&call, id, 0, length).await.unwrap();
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
