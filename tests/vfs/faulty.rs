//! A content store that fails, or waits, where a test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::Semaphore;
use trunkfs::content::MemoryContent;
use trunkfs::content::{Capacity, ContentStore, Error, Footprint};
use trunkfs::types::{Call, ContentId, ContentIdentity};

/// Memory content with switches.
#[derive(Debug)]
pub(crate) struct FaultyContent {
    pub(crate) inner: MemoryContent,
    /// Commits fail.
    pub(crate) fail_commit: AtomicBool,
    /// Writes store half of their data and fail.
    pub(crate) fail_write: AtomicBool,
    /// Writes wait for a permit of `gate` after half of their data.
    pub(crate) hold_writes: AtomicBool,
    /// Commits wait for a permit of `gate` first.
    pub(crate) hold_commits: AtomicBool,
    /// Removals wait for a permit of `gate` first.
    pub(crate) hold_removals: AtomicBool,
    pub(crate) gate: Semaphore,
    /// Commits so far.
    pub(crate) commits: AtomicUsize,
}

impl FaultyContent {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryContent::new(),
            fail_commit: AtomicBool::new(false),
            fail_write: AtomicBool::new(false),
            hold_writes: AtomicBool::new(false),
            hold_commits: AtomicBool::new(false),
            hold_removals: AtomicBool::new(false),
            gate: Semaphore::new(0),
            commits: AtomicUsize::new(0),
        })
    }
}

fn broken() -> Error {
    Error::Io(std::io::Error::other("broken on purpose"))
}

#[async_trait::async_trait]
impl ContentStore for FaultyContent {
    async fn read(
        &self,
        call: &Call,
        id: ContentId,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, Error> {
        self.inner.read(call, id, offset, length).await
    }

    async fn write(
        &self,
        call: &Call,
        id: ContentId,
        offset: u64,
        data: Bytes,
    ) -> Result<(), Error> {
        let half = data.len() / 2;
        if self.fail_write.load(Ordering::SeqCst) {
            self.inner.write(call, id, offset, data.slice(..half)).await?;
            return Err(broken());
        }
        if self.hold_writes.load(Ordering::SeqCst) {
            self.inner.write(call, id, offset, data.slice(..half)).await?;
            self.gate.acquire().await.unwrap().forget();
        }
        self.inner.write(call, id, offset, data).await
    }

    async fn truncate(&self, call: &Call, id: ContentId, length: u64) -> Result<(), Error> {
        self.inner.truncate(call, id, length).await
    }

    fn max_length(&self) -> u64 {
        self.inner.max_length()
    }

    async fn length(&self, call: &Call, id: ContentId) -> Result<u64, Error> {
        self.inner.length(call, id).await
    }

    async fn commit(&self, call: &Call, id: ContentId) -> Result<(), Error> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        if self.hold_commits.load(Ordering::SeqCst) {
            self.gate.acquire().await.unwrap().forget();
        }
        if self.fail_commit.load(Ordering::SeqCst) {
            return Err(broken());
        }
        self.inner.commit(call, id).await
    }

    async fn remove(&self, id: ContentId) -> Result<(), Error> {
        if self.hold_removals.load(Ordering::SeqCst) {
            self.gate.acquire().await.unwrap().forget();
        }
        self.inner.remove(id).await
    }

    async fn list(&self, after: Option<ContentId>, limit: usize) -> Result<Vec<ContentId>, Error> {
        self.inner.list(after, limit).await
    }

    fn identity(&self) -> Option<ContentIdentity> {
        self.inner.identity()
    }

    async fn allocated(
        &self,
        call: &Call,
        id: ContentId,
        length: u64,
        holes: bool,
    ) -> Result<u64, Error> {
        self.inner.allocated(call, id, length, holes).await
    }

    async fn footprint(&self, id: ContentId) -> Result<Footprint, Error> {
        self.inner.footprint(id).await
    }

    async fn owners(&self) -> Result<Option<String>, Error> {
        self.inner.owners().await
    }

    async fn set_owners(&self, seen: Option<&str>, text: &str) -> Result<bool, Error> {
        self.inner.set_owners(seen, text).await
    }

    async fn capacity(&self) -> Result<Option<Capacity>, Error> {
        self.inner.capacity().await
    }

    async fn data_extents(
        &self,
        call: &Call,
        id: ContentId,
    ) -> Result<Vec<std::ops::Range<u64>>, Error> {
        self.inner.data_extents(call, id).await
    }

    async fn leftovers(
        &self,
        before: trunkfs::types::Timestamp,
        remove: bool,
    ) -> Result<u64, Error> {
        self.inner.leftovers(before, remove).await
    }

    fn observed(&self, id: ContentId, state: trunkfs::types::Timestamp) {
        self.inner.observed(id, state);
    }

    fn has_dirty(&self, id: ContentId) -> bool {
        self.inner.has_dirty(id)
    }

    fn discard_dirty(&self, id: ContentId) {
        self.inner.discard_dirty(id);
    }

    fn with_chunk_size(&self, chunk_size: u32) -> Option<Arc<dyn ContentStore>> {
        self.inner.with_chunk_size(chunk_size)
    }
}
