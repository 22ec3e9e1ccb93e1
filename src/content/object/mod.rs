//! Content as objects of a bucket: Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure.
//!
//! A content is objects of a fixed size, its chunks; see [`layout`] for where they lie and how their states
//! are told apart.
//!
//! - What is written waits in bounded memory, exact to the byte, and is stored by `commit`, or before when a
//!   chunk is complete or memory is short; then writers wait.
//! - A chunk is changed by reading it, changing it and putting it back if it is still what was read
//!   (If-Match, If-None-Match). So writers of different ranges of one chunk lose nothing, in one process or
//!   in several, and a request that was held up changes nothing when it arrives at last.
//! - Reads are of ranges, or of whole chunks where a reader goes on from chunk to chunk; those are cached.
//!   Where other processes write to the bucket too, a cached chunk is used for as long as the file's state is
//!   the one that [`ContentStore::observed`] told of before the chunk was read, and then the bucket is asked
//!   whether it still holds.
//! - A request that may succeed later is repeated, with growing pauses, for as long as the call has time.
//!   Data that could not be stored stays in memory.
//! - `list` gives contents that are not stored yet too. `remove` lists a content's objects first.

mod bucket;
mod budget;
mod cache;
mod dirty_ranges;
mod disk_cache;
mod error;
mod figures;
mod http;
mod layout;
mod leftovers;
mod open;
mod owners;
mod queue;
mod read;
mod service;
mod settings;
mod state;
mod truncate;
mod update;
mod upload;

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use self::bucket::Bucket;
use self::budget::Budget;
use self::cache::{Cache, Image};
use self::disk_cache::DiskCache;
pub use self::open::{Keys as ObjectKeys, ObjectOpenError};
pub use self::settings::{Azure, Encryption, Gcs, ObjectSettings, S3, Service};
use self::state::{File, Files};
use self::upload::Trouble;
use super::{Capacity, ContentStore, Error, Footprint, MAX_LENGTH, copy, end_of, still_wanted};
use crate::types::{Call, ContentId, ContentIdentity, FairPermits, FilePages, Timestamp};

/// A content store in a bucket. See the module.
#[derive(Clone, Debug)]
pub struct ObjectContent {
    shared: Arc<Shared>,
    chunk_size: u32,
    identity: ContentIdentity,
}

#[derive(Debug)]
struct Shared {
    bucket: Bucket,
    files: Files,
    budget: Budget,
    cache: Cache,
    disk: Option<Arc<DiskCache>>,
    /// Whether no other process writes to the bucket's folder.
    exclusive: bool,
    /// How many chunks are read ahead.
    read_ahead: u64,
    prefetches: Arc<Semaphore>,
    /// Bounds the uploads that hold a chunk's bytes; clients take turns.
    uploads: FairPermits,
    /// Uploads begun and not over.
    under_way: AtomicUsize,
    /// Writers that wait for memory.
    waiting: AtomicUsize,
    /// Why the last upload was refused for good, where it was.
    trouble: Mutex<Option<Trouble>>,
    /// Held while chunks go from memory to the disk, so that an old one does not get there after a newer one.
    moving: Mutex<()>,
}

impl Shared {
    /// The longest content, in bytes.
    fn max_length(&self, chunk_size: u32) -> u64 {
        // A chunk's number must fit its name: no bound for chunks of 2 KiB and more.
        MAX_LENGTH.min(u64::from(chunk_size).saturating_mul(1 << 52))
    }

    /// Whether chunks are kept after they were read or stored.
    fn caches(&self) -> bool {
        self.cache.capacity() > 0 || self.disk.is_some()
    }

    /// Keeps a chunk that was what the bucket had at `checked` or after, in place of what was kept of it.
    fn cache_chunk(&self, file: &File, number: u64, image: Image, checked: u64) {
        let _alone = self.moving.lock();
        let gone = self.cache.put(file.id, number, image, checked);
        let Some(disk) = &self.disk else { return };
        disk.forget((file.id, number));
        for (key, image, checked) in gone {
            if let Image::Present(stored) = image {
                disk.put(key, stored, checked);
            }
        }
    }

    /// Forgets what is kept of a content's chunks `numbers`.
    fn forget_chunks(&self, id: ContentId, numbers: RangeInclusive<u64>) {
        let _alone = self.moving.lock();
        self.cache.forget(id, numbers.clone());
        if let Some(disk) = &self.disk {
            disk.forget_all(id, numbers);
        }
    }
}

impl ObjectContent {
    fn file(&self, id: ContentId) -> Arc<File> {
        self.shared.files.get(id, self.chunk_size)
    }
}

#[async_trait::async_trait]
impl ContentStore for ObjectContent {
    async fn read(
        &self,
        call: &Call,
        id: ContentId,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, Error> {
        still_wanted(call)?;
        self.shared.read(call, &self.file(id), offset, length).await
    }

    fn pages(&self, _id: ContentId, _offset: u64, _length: usize) -> Option<FilePages> {
        None
    }

    async fn write(
        &self,
        call: &Call,
        id: ContentId,
        offset: u64,
        data: Bytes,
    ) -> Result<(), Error> {
        still_wanted(call)?;
        if end_of(offset, data.len())? > self.max_length() {
            return Err(Error::TooLarge);
        }
        self.shared.write(call, &self.file(id), offset, &data).await
    }

    async fn truncate(&self, call: &Call, id: ContentId, length: u64) -> Result<(), Error> {
        still_wanted(call)?;
        if length > self.max_length() {
            return Err(Error::TooLarge);
        }
        self.shared.truncate(call, &self.file(id), length).await
    }

    async fn extend(&self, call: &Call, id: ContentId, length: u64) -> Result<bool, Error> {
        still_wanted(call)?;
        if length > self.max_length() {
            return Err(Error::TooLarge);
        }
        let charge = self.shared.budget.nothing();
        self.file(id).state.lock().extend(self.chunk_size, length, charge);
        Ok(true)
    }

    async fn copy(
        &self,
        call: &Call,
        from: ContentId,
        to: ContentId,
        length: u64,
    ) -> Result<u64, Error> {
        copy::through(self, call, from, to, length).await
    }

    fn max_length(&self) -> u64 {
        self.shared.max_length(self.chunk_size)
    }

    async fn length(&self, call: &Call, id: ContentId) -> Result<u64, Error> {
        still_wanted(call)?;
        let end = self.shared.end(call, &self.file(id), u64::MAX).await?;
        end.ok_or(Error::Missing(id))
    }

    async fn data_extents(&self, call: &Call, id: ContentId) -> Result<Vec<Range<u64>>, Error> {
        still_wanted(call)?;
        self.shared.data_extents(call, &self.file(id)).await
    }

    async fn commit(&self, call: &Call, id: ContentId) -> Result<(), Error> {
        still_wanted(call)?;
        match self.shared.files.existing(id) {
            Some(file) => self.shared.commit(call, &file).await,
            None => Ok(()),
        }
    }

    async fn remove(&self, id: ContentId) -> Result<(), Error> {
        self.shared.remove(&self.file(id)).await
    }

    async fn list(&self, after: Option<ContentId>, limit: usize) -> Result<Vec<ContentId>, Error> {
        self.shared.list(after, limit).await
    }

    async fn allocated(
        &self,
        call: &Call,
        id: ContentId,
        length: u64,
        holes: bool,
    ) -> Result<u64, Error> {
        still_wanted(call)?;
        if !holes || length <= u64::from(self.chunk_size) {
            return Ok(length);
        }
        self.shared.allocated(call, &self.file(id), length).await
    }

    async fn footprint(&self, id: ContentId) -> Result<Footprint, Error> {
        self.shared.footprint(id).await
    }

    async fn leftovers(&self, before: Timestamp, remove: bool) -> Result<u64, Error> {
        self.shared.leftovers(before, remove).await
    }

    fn identity(&self) -> Option<ContentIdentity> {
        Some(self.identity)
    }

    async fn owners(&self) -> Result<Option<String>, Error> {
        Ok(self.shared.bucket.owners().await?.map(|(text, _)| text))
    }

    async fn set_owners(&self, seen: Option<&str>, text: &str) -> Result<bool, Error> {
        self.shared.bucket.set_owners(seen, text).await
    }

    async fn capacity(&self) -> Result<Option<Capacity>, Error> {
        Ok(None)
    }

    fn observed(&self, id: ContentId, state: Timestamp) {
        if self.shared.exclusive {
            return;
        }
        let file = self.file(id);
        let mut known = file.state.lock();
        if known.seen.is_none_or(|(seen, _)| seen != state) {
            known.seen = Some((state, self.shared.cache.now()));
        }
    }

    fn has_dirty(&self, id: ContentId) -> bool {
        let file = if self.shared.exclusive { None } else { self.shared.files.existing(id) };
        file.is_some_and(|file| !file.state.lock().is_clean())
    }

    fn shares_uncommitted(&self) -> bool {
        false
    }

    fn discard_dirty(&self, id: ContentId) {
        if let Some(file) = self.shared.files.existing(id) {
            self.shared.discard_dirty(&file);
        }
    }

    fn with_chunk_size(&self, chunk_size: u32) -> Option<Arc<dyn ContentStore>> {
        Some(Arc::new(Self { chunk_size, ..self.clone() }))
    }
}
