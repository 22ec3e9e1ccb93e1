//! A content store that fails, or waits, where a test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::Semaphore;
use trunkfs::content::{ContentStore, Error, MemoryContent};
use trunkfs::types::{Call, ContentId};

use crate::altered::{Alter, Altered};

/// Memory content with switches.
pub(crate) type FaultyContent = Altered<Switches>;

#[derive(Debug)]
pub(crate) struct Switches {
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
        Arc::new(Altered(Switches {
            inner: MemoryContent::new(),
            fail_commit: AtomicBool::new(false),
            fail_write: AtomicBool::new(false),
            hold_writes: AtomicBool::new(false),
            hold_commits: AtomicBool::new(false),
            hold_removals: AtomicBool::new(false),
            gate: Semaphore::new(0),
            commits: AtomicUsize::new(0),
        }))
    }
}

fn broken() -> Error {
    Error::Io(std::io::Error::other("broken on purpose"))
}

#[async_trait::async_trait]
impl Alter for Switches {
    fn inner(&self) -> &dyn ContentStore {
        &self.inner
    }

    async fn write(&self, call: &Call, id: ContentId, at: u64, data: Bytes) -> Result<(), Error> {
        let half = data.len() / 2;
        if self.fail_write.load(Ordering::SeqCst) {
            self.inner.write(call, id, at, data.slice(..half)).await?;
            return Err(broken());
        }
        if self.hold_writes.load(Ordering::SeqCst) {
            self.inner.write(call, id, at, data.slice(..half)).await?;
            self.gate.acquire().await.unwrap().forget();
        }
        self.inner.write(call, id, at, data).await
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
}
