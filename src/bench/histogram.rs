//! Latencies in bounded memory: buckets whose width grows with the latency, so that a percentile is off by
//! less than one percent (the form of HdrHistogram).

use std::time::Duration;

/// Buckets of each power of two, as a power of two.
const PRECISION: u32 = 7;
const PER_POWER: usize = 1 << PRECISION;
/// Longer latencies (over an hour) are counted as this long, in powers of two of nanoseconds.
const POWERS: usize = 42;
const BUCKETS: usize = (POWERS - PRECISION as usize + 1) * PER_POWER;

/// Counts of latencies.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// Empty until the first latency.
    buckets: Vec<u64>,
    count: u64,
    longest: Duration,
}

impl Histogram {
    /// Counts one latency.
    pub fn record(&mut self, latency: Duration) {
        if self.buckets.is_empty() {
            self.buckets = vec![0; BUCKETS];
        }
        let index = bucket(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        if let Some(bucket) = self.buckets.get_mut(index.min(BUCKETS - 1)) {
            *bucket += 1;
        }
        self.count += 1;
        self.longest = self.longest.max(latency);
    }

    /// Adds the latencies of another one.
    pub fn add(&mut self, other: &Self) {
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
        } else {
            for (mine, others) in self.buckets.iter_mut().zip(&other.buckets) {
                *mine += others;
            }
        }
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }

    /// How many latencies were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest latency.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// The latency that `percent` of all did not exceed, rounded up to its bucket's end; zero where there is
    /// none.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Duration {
        let rank = ((self.count as f64 * percent / 100.0).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(end_of(index)).min(self.longest);
            }
        }
        self.longest
    }
}

/// The bucket of a number of nanoseconds.
fn bucket(nanoseconds: u64) -> usize {
    let power = (u64::BITS - nanoseconds.leading_zeros()).saturating_sub(PRECISION + 1);
    power as usize * PER_POWER + (nanoseconds >> power) as usize
}

/// The largest number of nanoseconds in a bucket.
fn end_of(index: usize) -> u64 {
    let power = (index / PER_POWER).saturating_sub(1);
    let first = ((index - power * PER_POWER) as u64) << power;
    first + (1 << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_in_a_bucket_that_is_close() {
        let mut before = 0;
        for shift in 0..POWERS {
            for nanoseconds in [1_u64 << shift, (1 << shift) + (1 << shift) / 3, (2 << shift) - 1] {
                let index = bucket(nanoseconds);
                assert!(index < BUCKETS && index >= before, "{nanoseconds}: {index}");
                before = index;
                let end = end_of(index);
                assert!(end >= nanoseconds, "{nanoseconds}: {end}");
                assert!(end - nanoseconds <= nanoseconds / 100 + 1, "{nanoseconds}: {end}");
            }
        }
    }

    #[test]
    fn percentiles_are_those_of_all_connections() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        (1..=500).for_each(|micros| one.record(Duration::from_micros(micros)));
        (501..=1000).for_each(|micros| other.record(Duration::from_micros(micros)));
        let mut all = Histogram::default();
        all.add(&one);
        all.add(&other);
        assert_eq!((all.count(), all.longest()), (1000, Duration::from_millis(1)));
        for (percent, micros) in [(50.0, 500), (95.0, 950), (99.0, 990), (99.9, 999), (100.0, 1000)]
        {
            let exact = Duration::from_micros(micros);
            let told = all.percentile(percent);
            assert!(told >= exact && told <= exact + exact / 100, "{percent}: {told:?}");
        }
        assert_eq!(Histogram::default().percentile(99.0), Duration::ZERO);
    }

    #[test]
    fn the_longest_latencies_have_a_bucket() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::MAX);
        assert_eq!(histogram.count(), 1);
        assert!(histogram.percentile(50.0) > Duration::from_secs(3600));
    }
}
