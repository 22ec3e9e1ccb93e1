//! Chunks that wait to be stored, by age: where writers wait for memory, the oldest go first.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::types::ContentId;

/// A chunk of a content.
pub(super) type ChunkId = (ContentId, u64);

/// The chunks with bytes that are not stored and that no upload has taken. Each has bytes in memory, which
/// bounds them.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// By when they may be stored, and by when they came.
    chunks: BTreeMap<(Instant, u64), ChunkId>,
    /// Counts those that came.
    arrivals: u64,
}

/// A chunk's place in the queue, left where it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    queue: Arc<Queue>,
    chunk: ChunkId,
    key: Option<(Instant, u64)>,
}

impl Queue {
    /// Up to `most` chunks that may be stored now, the oldest first.
    pub(super) fn due(&self, most: usize) -> Vec<ChunkId> {
        let end = (Instant::now(), u64::MAX);
        self.0.lock().chunks.range(..=end).take(most).map(|(_, chunk)| *chunk).collect()
    }
}

impl Place {
    /// A place for a chunk that does not wait yet.
    pub(super) fn new(queue: &Arc<Queue>, chunk: ChunkId) -> Self {
        Self { queue: Arc::clone(queue), chunk, key: None }
    }

    /// Another place for the same chunk.
    pub(super) fn another(&self) -> Self {
        Self::new(&self.queue, self.chunk)
    }

    /// The chunk waits from now on, and is not due before `due`.
    pub(super) fn enter(&mut self, due: Instant) {
        let mut waiting = self.queue.0.lock();
        if let Some(key) = self.key {
            waiting.chunks.remove(&key);
        }
        waiting.arrivals += 1;
        let key = (due, waiting.arrivals);
        waiting.chunks.insert(key, self.chunk);
        self.key = Some(key);
    }

    /// The chunk waits no longer.
    pub(super) fn leave(&mut self) {
        if let Some(key) = self.key.take() {
            self.queue.0.lock().chunks.remove(&key);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_chunk_that_may_be_stored_comes_first() {
        let (queue, id) = (Arc::new(Queue::default()), ContentId::generate());
        let due = |most| queue.due(most).into_iter().map(|(_, number)| number).collect::<Vec<_>>();
        let now = Instant::now();
        let mut places: Vec<_> = (0..5).map(|number| Place::new(&queue, (id, number))).collect();
        for number in [3, 1, 4, 0, 2] {
            places[number].enter(now);
        }
        assert_eq!(due(3), [3, 1, 4]);
        places[3].leave();
        places[1].enter(now);
        places[4].enter(now + Duration::from_secs(3600));
        drop(places.remove(0));
        assert_eq!(due(9), [2, 1]);
        drop(places);
        assert!(queue.0.lock().chunks.is_empty());
    }
}
