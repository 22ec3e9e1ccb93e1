//! A content store whose operations are counted: how many, how long they take, how many bytes they move.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::content::{Capacity, ContentStore, Error, Footprint};
use crate::counters::{Counter, Histogram, Measured, Readings};
use crate::types::{Call, ContentId, ContentIdentity, FilePages, Timestamp};

/// A store, and what was counted of it.
#[derive(Debug)]
pub(super) struct MeteredContent {
    inner: Arc<dyn ContentStore>,
    counted: Arc<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    read: Operation,
    write: Operation,
    truncate: Operation,
    copy: Operation,
    commit: Operation,
    remove: Operation,
    bytes_read: Counter,
    bytes_written: Counter,
}

#[derive(Debug)]
struct Operation {
    took: Histogram,
    failed: Counter,
}

impl Default for Operation {
    fn default() -> Self {
        Self { took: Histogram::of_waits(), failed: Counter::default() }
    }
}

impl Operation {
    async fn timed<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let began = Instant::now();
        let done = work.await;
        self.took.wait(began.elapsed());
        // Neither is the store's fault: a file whose content is missing is read as one where none was
        // written.
        if done.as_ref().is_err_and(|error| !matches!(error, Error::Cancelled | Error::Missing(_)))
        {
            self.failed.increment();
        }
        done
    }
}

impl MeteredContent {
    pub(super) fn around(inner: Arc<dyn ContentStore>) -> Self {
        Self { inner, counted: Arc::default() }
    }
}

impl Measured for MeteredContent {
    fn read(&self, to: &mut Readings) {
        let Counted { read, write, truncate, copy, commit, remove, bytes_read, bytes_written } =
            &*self.counted;
        for (name, operation) in [
            ("read", read),
            ("write", write),
            ("truncate", truncate),
            ("copy", copy),
            ("commit", commit),
            ("remove", remove),
        ] {
            let labels = [("operation", name)];
            let help = "How long operations of a content store took";
            to.histogram("trunkfs_content_duration_seconds", help, &labels, &operation.took);
            let help = "Operations of a content store that failed";
            to.counter("trunkfs_content_failures", help, &labels, operation.failed.total());
        }
        let help = "Bytes that a content store gave";
        to.counter("trunkfs_content_read_bytes", help, &[], bytes_read.total());
        let help = "Bytes that a content store took";
        to.counter("trunkfs_content_written_bytes", help, &[], bytes_written.total());
    }
}

#[async_trait::async_trait]
impl ContentStore for MeteredContent {
    async fn read(
        &self,
        call: &Call,
        id: ContentId,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, Error> {
        let done = self.counted.read.timed(self.inner.read(call, id, offset, length)).await;
        if let Ok(bytes) = &done {
            self.counted.bytes_read.add(bytes.len() as u64);
        }
        done
    }

    fn pages(&self, id: ContentId, offset: u64, length: usize) -> Option<FilePages> {
        let began = Instant::now();
        let pages = self.inner.pages(id, offset, length)?;
        self.counted.read.took.wait(began.elapsed());
        self.counted.bytes_read.add(pages.len() as u64);
        Some(pages)
    }

    async fn write(
        &self,
        call: &Call,
        id: ContentId,
        offset: u64,
        data: Bytes,
    ) -> Result<(), Error> {
        let length = data.len() as u64;
        let done = self.counted.write.timed(self.inner.write(call, id, offset, data)).await;
        if done.is_ok() {
            self.counted.bytes_written.add(length);
        }
        done
    }

    async fn truncate(&self, call: &Call, id: ContentId, length: u64) -> Result<(), Error> {
        self.counted.truncate.timed(self.inner.truncate(call, id, length)).await
    }

    async fn extend(&self, call: &Call, id: ContentId, length: u64) -> Result<bool, Error> {
        self.counted.truncate.timed(self.inner.extend(call, id, length)).await
    }

    async fn copy(
        &self,
        call: &Call,
        from: ContentId,
        to: ContentId,
        length: u64,
    ) -> Result<u64, Error> {
        self.counted.copy.timed(self.inner.copy(call, from, to, length)).await
    }

    async fn length(&self, call: &Call, id: ContentId) -> Result<u64, Error> {
        self.inner.length(call, id).await
    }

    async fn data_extents(&self, call: &Call, id: ContentId) -> Result<Vec<Range<u64>>, Error> {
        self.inner.data_extents(call, id).await
    }

    fn max_length(&self) -> u64 {
        self.inner.max_length()
    }

    async fn commit(&self, call: &Call, id: ContentId) -> Result<(), Error> {
        self.counted.commit.timed(self.inner.commit(call, id)).await
    }

    async fn remove(&self, id: ContentId) -> Result<(), Error> {
        self.counted.remove.timed(self.inner.remove(id)).await
    }

    async fn list(&self, after: Option<ContentId>, limit: usize) -> Result<Vec<ContentId>, Error> {
        self.inner.list(after, limit).await
    }

    async fn footprint(&self, id: ContentId) -> Result<Footprint, Error> {
        self.inner.footprint(id).await
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

    async fn leftovers(&self, before: Timestamp, remove: bool) -> Result<u64, Error> {
        self.inner.leftovers(before, remove).await
    }

    fn identity(&self) -> Option<ContentIdentity> {
        self.inner.identity()
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

    fn observed(&self, id: ContentId, state: Timestamp) {
        self.inner.observed(id, state);
    }

    fn has_dirty(&self, id: ContentId) -> bool {
        self.inner.has_dirty(id)
    }

    fn shares_uncommitted(&self) -> bool {
        self.inner.shares_uncommitted()
    }

    fn discard_dirty(&self, id: ContentId) {
        self.inner.discard_dirty(id);
    }

    fn with_chunk_size(&self, chunk_size: u32) -> Option<Arc<dyn ContentStore>> {
        let inner = self.inner.with_chunk_size(chunk_size)?;
        Some(Arc::new(Self { inner, counted: self.counted.clone() }))
    }
}
