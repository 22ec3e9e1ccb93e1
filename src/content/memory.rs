//! Content in memory: for tests, and for shares whose bytes may go with the process.
//!
//! Each content is a map of blocks, and a block is as long as what was written into it, rounded up to pages:
//! memory goes to what was written, wherever it lies. What a limit counts is what contents cost: pages, and
//! the maps' entries. The lock on the map of contents is held to find one; bytes are copied under that
//! content's own lock.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use super::data_extents::DataExtents;
use super::{Capacity, ContentStore, Error, Footprint, MAX_LENGTH, copy, end_of, still_wanted};
use crate::types::{Call, ContentId, ContentIdentity, FilePages, Timestamp};

/// Bytes in a full block.
const BLOCK_BYTES: u64 = 64 * 1024;
/// Blocks grow by so many bytes.
const PAGE_BYTES: usize = 4096;
/// What a block costs beside its pages: its place in the map, and what the allocator keeps beside it.
const BLOCK_COST: u64 = 96;
/// What a content costs beside its blocks.
const CONTENT_COST: u64 = 256;

/// A content store in memory. `commit` makes nothing durable: all is gone with the process.
#[derive(Debug)]
pub struct MemoryContent {
    contents: RwLock<BTreeMap<ContentId, Arc<RwLock<Content>>>>,
    /// What all contents cost, in bytes.
    used: AtomicU64,
    limit: Option<u64>,
}

#[derive(Debug)]
struct Content {
    length: u64,
    /// By number; what a block lacks up to [`BLOCK_BYTES`] is zeros.
    blocks: BTreeMap<u64, Vec<u8>>,
    /// Whether it was removed while a call waited for its lock.
    removed: bool,
    modified: Timestamp,
}

impl Default for Content {
    fn default() -> Self {
        let modified = Timestamp::now();
        Self { length: 0, blocks: BTreeMap::new(), removed: false, modified }
    }
}

impl MemoryContent {
    /// An empty store without a bound.
    #[must_use]
    pub fn new() -> Self {
        Self { contents: RwLock::default(), used: AtomicU64::new(0), limit: None }
    }

    /// An empty store that takes at most `bytes` bytes of memory and answers [`Error::NoSpace`] beyond them.
    #[must_use]
    pub fn with_limit(bytes: u64) -> Self {
        Self { limit: Some(bytes), ..Self::new() }
    }

    fn find(&self, id: ContentId) -> Result<Arc<RwLock<Content>>, Error> {
        self.contents.read().get(&id).cloned().ok_or(Error::Missing(id))
    }

    /// The content of `id`, made where it is missing.
    fn find_or_make(&self, id: ContentId) -> Result<Arc<RwLock<Content>>, Error> {
        if let Ok(found) = self.find(id) {
            return Ok(found);
        }
        let mut contents = self.contents.write();
        if let Some(found) = contents.get(&id) {
            return Ok(Arc::clone(found));
        }
        self.reserve(CONTENT_COST)?;
        Ok(Arc::clone(contents.entry(id).or_default()))
    }

    /// Runs `change` on the content of `id`, made where it is missing.
    fn change<T>(
        &self,
        id: ContentId,
        change: impl FnOnce(&mut Content) -> Result<T, Error>,
    ) -> Result<T, Error> {
        loop {
            let found = self.find_or_make(id)?;
            let mut content = found.write();
            if !content.removed {
                content.modified = Timestamp::now();
                return change(&mut content);
            }
        }
    }

    fn reserve(&self, bytes: u64) -> Result<(), Error> {
        let limit = self.limit.unwrap_or(u64::MAX);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= limit)
            })
            .map(drop)
            .map_err(|_| Error::NoSpace(std::io::ErrorKind::StorageFull.into()))
    }

    fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Default for MemoryContent {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait::async_trait]
impl ContentStore for MemoryContent {
    async fn read(
        &self,
        call: &Call,
        id: ContentId,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, Error> {
        still_wanted(call)?;
        let content = self.find(id)?;
        let content = content.read();
        if content.removed {
            return Err(Error::Missing(id));
        }
        Ok(content.read(offset, length).into())
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
        let end = end_of(offset, data.len())?;
        self.change(id, |content| {
            self.reserve(content.growth(offset, end))?;
            content.write(offset, &data);
            Ok(())
        })
    }

    async fn truncate(&self, call: &Call, id: ContentId, length: u64) -> Result<(), Error> {
        still_wanted(call)?;
        if length > MAX_LENGTH {
            return Err(Error::TooLarge);
        }
        let freed = self.change(id, |content| Ok(content.truncate(length)))?;
        self.release(freed);
        Ok(())
    }

    async fn extend(&self, call: &Call, id: ContentId, length: u64) -> Result<bool, Error> {
        still_wanted(call)?;
        if length > MAX_LENGTH {
            return Err(Error::TooLarge);
        }
        self.change(id, |content| {
            content.length = content.length.max(length);
            Ok(true)
        })
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
        MAX_LENGTH
    }

    async fn length(&self, call: &Call, id: ContentId) -> Result<u64, Error> {
        still_wanted(call)?;
        let content = self.find(id)?;
        let content = content.read();
        if content.removed { Err(Error::Missing(id)) } else { Ok(content.length) }
    }

    async fn data_extents(&self, call: &Call, id: ContentId) -> Result<Vec<Range<u64>>, Error> {
        still_wanted(call)?;
        let content = self.find(id)?;
        let content = content.read();
        if content.removed {
            return Err(Error::Missing(id));
        }
        let mut extents = DataExtents::default();
        for (number, block) in &content.blocks {
            let start = number * BLOCK_BYTES;
            extents.add(start..start + block.len() as u64);
        }
        Ok(extents.all())
    }

    async fn commit(&self, call: &Call, _id: ContentId) -> Result<(), Error> {
        still_wanted(call)
    }

    async fn remove(&self, id: ContentId) -> Result<(), Error> {
        let Some(content) = self.contents.write().remove(&id) else {
            return Ok(());
        };
        let freed = {
            let mut content = content.write();
            content.removed = true;
            content.truncate(0)
        };
        self.release(freed + CONTENT_COST);
        Ok(())
    }

    async fn list(&self, after: Option<ContentId>, limit: usize) -> Result<Vec<ContentId>, Error> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let contents = self.contents.read();
        Ok(contents.range((start, Bound::Unbounded)).map(|(id, _)| *id).take(limit).collect())
    }

    async fn footprint(&self, id: ContentId) -> Result<Footprint, Error> {
        let content = self.find(id)?;
        let content = content.read();
        if content.removed {
            return Err(Error::Missing(id));
        }
        let bytes = content.blocks.values().map(|block| pages(block.len())).sum();
        Ok(Footprint { modified: content.modified, bytes })
    }

    async fn allocated(
        &self,
        call: &Call,
        id: ContentId,
        length: u64,
        _holes: bool,
    ) -> Result<u64, Error> {
        still_wanted(call)?;
        let content = self.find(id)?;
        let content = content.read();
        if content.removed {
            return Err(Error::Missing(id));
        }
        let within = content.blocks.range(..length.div_ceil(BLOCK_BYTES));
        Ok(within.map(|(_, block)| block.len() as u64).sum())
    }

    fn identity(&self) -> Option<ContentIdentity> {
        None
    }

    /// It goes with the process, and so does its owner.
    async fn owners(&self) -> Result<Option<String>, Error> {
        Ok(None)
    }

    async fn set_owners(&self, _seen: Option<&str>, _text: &str) -> Result<bool, Error> {
        Ok(true)
    }

    async fn capacity(&self) -> Result<Option<Capacity>, Error> {
        Ok(self.limit.map(|total| {
            let free = total.saturating_sub(self.used.load(Ordering::Relaxed));
            Capacity { total, free, available: free }
        }))
    }

    /// All that it has goes with the process.
    async fn leftovers(&self, _before: Timestamp, _remove: bool) -> Result<u64, Error> {
        Ok(0)
    }

    /// Reads show every committed write at once: all are in this process.
    fn observed(&self, _id: ContentId, _state: Timestamp) {}

    fn has_dirty(&self, _id: ContentId) -> bool {
        false
    }

    fn shares_uncommitted(&self) -> bool {
        true
    }

    fn discard_dirty(&self, _id: ContentId) {}

    fn with_chunk_size(&self, _chunk_size: u32) -> Option<Arc<dyn ContentStore>> {
        None
    }
}

/// A range's part in one block.
struct Part {
    block: u64,
    /// Within the block.
    within: Range<usize>,
    /// Within the range.
    at: usize,
}

/// Cuts `length` bytes from `offset` into the blocks they lie in.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = Part> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == length {
            return None;
        }
        let position = offset + at as u64;
        let start = position % BLOCK_BYTES;
        let count = (BLOCK_BYTES - start).min((length - at) as u64);
        let part = Part {
            block: position / BLOCK_BYTES,
            within: start as usize..(start + count) as usize,
            at,
        };
        at += count as usize;
        Some(part)
    })
}

/// The bytes of the pages of a block of `length` bytes.
fn pages(length: usize) -> u64 {
    length.next_multiple_of(PAGE_BYTES) as u64
}

/// What a block of `length` bytes costs.
fn cost(length: usize) -> u64 {
    pages(length) + BLOCK_COST
}

impl Content {
    fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let rest = self.length.saturating_sub(offset);
        let mut data = vec![0; length.min(usize::try_from(rest).unwrap_or(usize::MAX))];
        if data.is_empty() {
            return data;
        }
        let first = offset / BLOCK_BYTES;
        let last = (offset + data.len() as u64 - 1) / BLOCK_BYTES;
        for (number, block) in self.blocks.range(first..=last) {
            let start = number * BLOCK_BYTES;
            let skip = offset.saturating_sub(start) as usize;
            let Some(bytes) = block.get(skip..) else { continue };
            let at = start.saturating_sub(offset) as usize;
            let count = bytes.len().min(data.len() - at);
            data[at..at + count].copy_from_slice(&bytes[..count]);
        }
        data
    }

    /// How many bytes of memory a write of `offset..end` adds.
    fn growth(&self, offset: u64, end: u64) -> u64 {
        parts(offset, (end - offset) as usize)
            .map(|part| match self.blocks.get(&part.block) {
                Some(block) => cost(part.within.end.max(block.len())) - cost(block.len()),
                None => cost(part.within.end),
            })
            .sum()
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        for part in parts(offset, data.len()) {
            let block = self.blocks.entry(part.block).or_default();
            if block.len() < part.within.end {
                block.reserve_exact(pages(part.within.end) as usize - block.len());
                block.resize(part.within.end, 0);
            }
            let source = &data[part.at..part.at + part.within.len()];
            block[part.within].copy_from_slice(source);
        }
        if !data.is_empty() {
            self.length = self.length.max(offset + data.len() as u64);
        }
    }

    /// Sets the length; answers how many bytes of memory that freed.
    fn truncate(&mut self, length: u64) -> u64 {
        self.length = length;
        let mut cut = self.blocks.split_off(&(length / BLOCK_BYTES));
        let mut freed = cut.values().map(|block| cost(block.len())).sum();
        let keep = (length % BLOCK_BYTES) as usize;
        if keep > 0
            && let Some(mut block) = cut.remove(&(length / BLOCK_BYTES))
        {
            block.truncate(keep);
            block.shrink_to(pages(block.len()) as usize);
            freed -= cost(block.len());
            self.blocks.insert(length / BLOCK_BYTES, block);
        }
        freed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_to_what_was_written_and_is_counted_in_pages() {
        let far = 1 << 62;
        let mut content = Content::default();
        let one_page = PAGE_BYTES as u64 + BLOCK_COST;
        assert_eq!(content.growth(far, far + 10), one_page);
        content.write(far, b"0123456789");
        assert_eq!(content.growth(far, far + PAGE_BYTES as u64), 0);
        assert_eq!(content.growth(far, far + PAGE_BYTES as u64 + 1), PAGE_BYTES as u64);
        // The bytes before it in its block are zeros in memory.
        assert_eq!(content.growth(BLOCK_BYTES - 1, BLOCK_BYTES), BLOCK_BYTES + BLOCK_COST);
        assert_eq!(content.length, far + 10);
        assert_eq!(content.read(far - 2, 5), b"\0\x00012");
        assert_eq!(content.truncate(far + 4), 0);
        assert_eq!(content.truncate(0), one_page);
        assert!(content.blocks.is_empty());
    }

    #[test]
    fn blocks_have_the_memory_that_is_counted() {
        let mut content = Content::default();
        let mut counted = 0;
        for at in (0..3 * BLOCK_BYTES).step_by(997) {
            counted += content.growth(at, at + 1);
            content.write(at, b"x");
        }
        counted -= content.truncate(BLOCK_BYTES + 5);
        let held = content.blocks.values().map(|block| block.capacity() as u64 + BLOCK_COST);
        assert_eq!(held.sum::<u64>(), counted);
    }

    #[test]
    fn parts_cover_a_range_without_gaps() {
        let cut: Vec<_> = parts(BLOCK_BYTES - 1, BLOCK_BYTES as usize + 2)
            .map(|part| (part.block, part.within, part.at))
            .collect();
        let whole = BLOCK_BYTES as usize;
        assert_eq!(cut, [(0, whole - 1..whole, 0), (1, 0..whole, 1), (2, 0..1, whole + 1)]);
    }
}
