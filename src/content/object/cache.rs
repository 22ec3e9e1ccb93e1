//! Chunks as they are stored, kept in bounded memory: the one that was used longest ago goes first.
//!
//! Each has the time, on the cache's own clock, at which it was surely what the bucket had. Who reads says
//! how new it must be.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::bucket::Stored;
use crate::content::lru::LruMap;
use crate::types::ContentId;

/// What an entry costs beside its bytes.
const OVERHEAD: usize = 512;

/// A chunk as the bucket has it.
#[derive(Clone, Debug)]
pub(super) enum Image {
    /// There is no object.
    Absent,
    /// With all its bytes.
    Present(Stored),
}

impl Image {
    fn weight(&self) -> usize {
        OVERHEAD
            + match self {
                Self::Absent => 0,
                Self::Present(stored) => stored.data.len(),
            }
    }
}

/// A bounded cache of chunks.
#[derive(Debug)]
pub(super) struct Cache {
    /// Each with the time at which it was surely what the bucket had.
    entries: Mutex<LruMap<Key, (Image, u64)>>,
    capacity: usize,
    clock: AtomicU64,
}

/// A content and the number of a chunk.
pub(super) type Key = (ContentId, u64);

impl Cache {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: Mutex::default(), capacity, clock: AtomicU64::new(1) }
    }

    /// Bytes of memory that it may take.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The time. No two calls get the same.
    pub(super) fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// A chunk, and when it was surely what the bucket had.
    pub(super) fn get(&self, id: ContentId, number: u64) -> Option<(Image, u64)> {
        self.entries.lock().get((id, number)).cloned()
    }

    /// Keeps a chunk that was what the bucket had at `checked` or after; those that went for it.
    pub(super) fn put(
        &self,
        id: ContentId,
        number: u64,
        image: Image,
        checked: u64,
    ) -> Vec<(Key, Image, u64)> {
        let (key, weight) = ((id, number), image.weight());
        let mut entries = self.entries.lock();
        // One that would take most of the room is not worth all others.
        if weight > self.capacity / 2 {
            entries.remove(key);
            return vec![(key, image, checked)];
        }
        entries.insert(key, (image, checked), weight as u64);
        let evicted = entries.evict(self.capacity as u64).into_iter();
        evicted.map(|(key, (image, checked))| (key, image, checked)).collect()
    }

    /// Forgets a content's chunks `numbers`.
    pub(super) fn forget(&self, id: ContentId, numbers: RangeInclusive<u64>) {
        self.entries.lock().remove_range((id, *numbers.start())..=(id, *numbers.end()));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use object_store::UpdateVersion;
    use uuid::Uuid;

    use super::*;

    fn image(bytes: usize) -> Image {
        Image::Present(Stored {
            data: Bytes::from(vec![1; bytes]),
            length: bytes as u32,
            nonce: Uuid::nil(),
            version: UpdateVersion { e_tag: None, version: None },
        })
    }

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let cache = Cache::new(10 * 1024);
        let id = ContentId::generate();
        for number in 0..3 {
            cache.put(id, number, image(2_500), cache.now());
        }
        assert!(cache.get(id, 0).is_some());
        cache.put(id, 3, image(2_500), cache.now());
        assert!(cache.get(id, 1).is_none());
        assert!([0, 2, 3].into_iter().all(|number| cache.get(id, number).is_some()));
        cache.put(id, 4, image(6_000), cache.now());
        assert!(cache.get(id, 4).is_none(), "too large");
        cache.forget(id, 2..=u64::MAX);
        assert!(cache.get(id, 0).is_some() && cache.get(id, 2).is_none());
        cache.forget(id, 0..=u64::MAX);
        assert_eq!(cache.entries.lock().weight(), 0);
    }
}
