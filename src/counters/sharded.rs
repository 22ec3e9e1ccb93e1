//! Counters of which every thread has its own part.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Parts: as many threads count without meeting each other.
pub(super) const SHARDS: usize = 8;

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The calling thread's part.
pub(super) fn shard() -> usize {
    SHARD.with(|shard| {
        if shard.get() == usize::MAX {
            shard.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        shard.get()
    })
}

/// A value on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Apart<T>(pub(super) T);

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter([Apart<AtomicU64>; SHARDS]);

impl Counter {
    /// Counts one more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts so many more.
    pub fn add(&self, number: u64) {
        self.0[shard()].0.fetch_add(number, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|part| part.0.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }
}

/// How often a cache had what was asked of it.
#[derive(Debug, Default)]
pub struct HitRate {
    hits: Counter,
    misses: Counter,
}

impl HitRate {
    /// Counts an answer: whether it was there.
    pub fn count(&self, hit: bool) {
        if hit { self.hits.increment() } else { self.misses.increment() }
    }

    /// Hits and misses.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        (self.hits.total(), self.misses.total())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_count_together() {
        let counter = Counter::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| (0..1000).for_each(|_| counter.increment()));
            }
        });
        assert_eq!(counter.total(), 2000 * SHARDS as u64);
        let rate = HitRate::default();
        rate.count(true);
        rate.count(false);
        rate.count(true);
        assert_eq!(rate.totals(), (2, 1));
    }
}
