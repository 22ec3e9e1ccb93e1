//! Distributions: how many values were at most so large.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts of values by their size, for what happens at most a few thousand times a second. Latencies of
/// calls are in [`super::Calls`].
#[derive(Debug)]
pub struct Histogram {
    /// The largest value of each bucket but the last.
    bounds: &'static [u64],
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
    /// What a bound of 1 is in the unit of the readings.
    scale: f64,
}

/// Bounds of waits in nanoseconds: 100 µs to 10 s.
const WAITS: &[u64] = &[
    100_000,
    1_000_000,
    5_000_000,
    10_000_000,
    50_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    10_000_000_000,
];
/// Bounds of numbers of calls that are done together.
const BATCHES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

impl Histogram {
    fn new(bounds: &'static [u64], scale: f64) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, buckets, sum: AtomicU64::new(0), scale }
    }

    /// For waits, in seconds.
    #[must_use]
    pub fn of_waits() -> Self {
        Self::new(WAITS, 1e-9)
    }

    /// For the sizes of batches.
    #[must_use]
    pub fn of_batches() -> Self {
        Self::new(BATCHES, 1.0)
    }

    /// Counts a wait.
    pub fn wait(&self, took: Duration) {
        self.count(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts a value.
    pub fn count(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// The counts now.
    #[must_use]
    pub fn read(&self) -> HistogramReading {
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        #[allow(clippy::cast_precision_loss, reason = "figures for people")]
        let (bounds, sum) = (
            self.bounds.iter().map(|bound| *bound as f64 * self.scale).collect(),
            self.sum.load(Ordering::Relaxed) as f64 * self.scale,
        );
        HistogramReading { bounds, counts: counts.collect(), sum }
    }
}

/// What a histogram has counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramReading {
    /// The largest value of each bucket but the last.
    pub bounds: Vec<f64>,
    /// Values in each bucket, those of the ones before it not counted.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: f64,
}

impl HistogramReading {
    /// How many values there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What came since `earlier`, a reading of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.counts.iter().chain(std::iter::repeat(&0));
        Self {
            bounds: self.bounds.clone(),
            counts: self.counts.iter().zip(before).map(|(now, then)| now - then.min(now)).collect(),
            sum: (self.sum - earlier.sum).max(0.0),
        }
    }

    /// Adds another of the same bounds.
    pub fn add(&mut self, other: &Self) {
        if self.counts.is_empty() {
            self.clone_from(other);
            return;
        }
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
        self.sum += other.sum;
    }

    /// The value that a part of all values (0 to 1) is at most, between the bounds of its bucket in
    /// proportion; none where there is no value.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        #[allow(clippy::cast_precision_loss, reason = "figures for people")]
        let wanted = total as f64 * part;
        let (mut below, mut least) = (0.0, 0.0);
        for (index, count) in self.counts.iter().enumerate() {
            #[allow(clippy::cast_precision_loss, reason = "figures for people")]
            let count = *count as f64;
            let Some(most) = self.bounds.get(index) else { return Some(least) };
            if below + count >= wanted && count > 0.0 {
                return Some(least + (most - least) * (wanted - below) / count);
            }
            below += count;
            least = *most;
        }
        Some(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_where_they_belong() {
        let histogram = Histogram::of_batches();
        [1, 2, 3, 4, 512, 513].into_iter().for_each(|value| histogram.count(value));
        let reading = histogram.read();
        assert_eq!(reading.counts, [1, 1, 2, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((reading.total(), reading.sum), (6, 1035.0));
        histogram.count(3);
        let since = histogram.read().since(&reading);
        assert_eq!((since.total(), since.sum), (1, 3.0));
        assert_eq!(since.quantile(1.0), Some(4.0));
        assert_eq!(since.quantile(0.5), Some(3.0), "in the middle of 2 to 4");
        assert_eq!(HistogramReading::default().quantile(0.5), None);
        let waits = Histogram::of_waits();
        waits.wait(Duration::from_secs(1));
        assert_eq!(waits.read().quantile(1.0), Some(1.0));
    }
}
