//! Calls by procedure: how many, how long they took, how they failed, and the bytes that they moved.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::sharded::{Apart, SHARDS, shard};
use super::{Counter, HistogramReading};

/// The longest call of each bucket but the last, in nanoseconds.
const BOUNDS: [u64; 15] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    10_000_000_000,
];

/// One thread's calls of one procedure.
#[derive(Debug, Default)]
struct Cell {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// The latencies of one procedure.
#[derive(Clone, Debug)]
pub struct Latency {
    /// The program: `nfs`, `mount`.
    pub program: &'static str,
    /// The procedure.
    pub procedure: &'static str,
    /// Its calls, in seconds.
    pub latency: HistogramReading,
}

/// Procedures of all programs that are told apart.
const MOST: usize = 128;

/// The calls of a server.
#[derive(Debug)]
pub struct Calls {
    /// Each with its program's name; by their index here they are counted.
    procedures: Mutex<Vec<(&'static str, &'static str)>>,
    shards: Vec<Apart<Box<[Cell]>>>,
    /// Failures are few beside calls: one lock for all.
    failures: Mutex<BTreeMap<(usize, u32), u64>>,
    read: Counter,
    written: Counter,
}

impl Default for Calls {
    fn default() -> Self {
        let cells = || (0..MOST).map(|_| Cell::default()).collect();
        Self {
            procedures: Mutex::default(),
            shards: (0..SHARDS).map(|_| Apart(cells())).collect(),
            failures: Mutex::default(),
            read: Counter::default(),
            written: Counter::default(),
        }
    }
}

impl Calls {
    /// By what a procedure is counted, from now on.
    #[must_use]
    pub fn index(&self, program: &'static str, procedure: &'static str) -> usize {
        let mut procedures = self.procedures.lock();
        let found = procedures.iter().position(|known| *known == (program, procedure));
        found.unwrap_or_else(|| {
            procedures.push((program, procedure));
            procedures.len() - 1
        })
    }

    /// Counts a call that took so long, and how it failed (0: it did not).
    pub(super) fn count(&self, procedure: usize, took: Duration, failure: u32) {
        let Some(cell) = self.shards[shard()].0.get(procedure) else { return };
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < nanoseconds);
        cell.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        cell.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        if failure != 0 {
            *self.failures.lock().entry((procedure, failure)).or_default() += 1;
        }
    }

    /// Counts bytes of files that a call has moved.
    pub(super) fn moved(&self, read: u32, written: u32) {
        if read > 0 {
            self.read.add(read.into());
        }
        if written > 0 {
            self.written.add(written.into());
        }
    }

    /// The name of a procedure by its index.
    #[must_use]
    pub fn procedure(&self, index: usize) -> &'static str {
        self.procedures.lock().get(index).map_or("", |(_, name)| name)
    }

    /// Every procedure that was called.
    #[must_use]
    pub fn latencies(&self) -> Vec<Latency> {
        let procedures = self.procedures.lock().clone().into_iter().enumerate();
        let latencies = procedures.map(|(index, (program, procedure))| {
            let mut counts = vec![0; BOUNDS.len() + 1];
            let mut nanoseconds = 0;
            for cell in self.shards.iter().filter_map(|shard| shard.0.get(index)) {
                for (sum, bucket) in counts.iter_mut().zip(&cell.buckets) {
                    *sum += bucket.load(Ordering::Relaxed);
                }
                nanoseconds += cell.nanoseconds.load(Ordering::Relaxed);
            }
            let seconds = |nanoseconds: u64| Duration::from_nanos(nanoseconds).as_secs_f64();
            let bounds = BOUNDS.iter().map(|bound| seconds(*bound)).collect();
            let latency = HistogramReading { bounds, counts, sum: seconds(nanoseconds) };
            Latency { program, procedure, latency }
        });
        latencies.filter(|it| it.latency.total() > 0).collect()
    }

    /// Failed calls: program, procedure, how they failed, and their number.
    #[must_use]
    pub fn failures(&self) -> Vec<(&'static str, &'static str, u32, u64)> {
        let procedures = self.procedures.lock().clone();
        let failures = self.failures.lock();
        let named = failures.iter().filter_map(|(&(index, failure), &count)| {
            let (program, procedure) = procedures.get(index)?;
            Some((*program, *procedure, failure, count))
        });
        named.collect()
    }

    /// Bytes that were read and written.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.read.total(), self.written.total())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_procedure() {
        let calls = Calls::default();
        let procedures = [("nfs", "NULL"), ("nfs", "READ"), ("mount", "NULL"), ("nfs", "READ")];
        let indices = procedures.map(|(program, procedure)| calls.index(program, procedure));
        assert_eq!(indices, [0, 1, 2, 1]);
        calls.count(0, Duration::from_micros(10), 0);
        calls.count(1, Duration::from_micros(100), 0);
        calls.count(1, Duration::from_secs(60), 70);
        calls.count(1, Duration::from_millis(1), 70);
        calls.count(usize::MAX, Duration::ZERO, 70);
        calls.moved(7, 0);
        let latencies = calls.latencies();
        let [null, read] = &latencies[..] else { panic!("{latencies:?}") };
        assert_eq!((null.procedure, null.latency.total()), ("NULL", 1));
        assert_eq!((read.latency.counts[0], read.latency.counts[3]), (1, 1));
        assert_eq!(read.latency.counts.last(), Some(&1));
        assert!((read.latency.sum - 60.0011).abs() < 1e-9);
        assert_eq!(calls.failures(), [("nfs", "READ", 70, 2)]);
        assert_eq!((calls.bytes(), calls.procedure(2)), ((7, 0), "NULL"));
    }
}
