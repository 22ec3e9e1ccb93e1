//! What all counters are at one moment, by the names of Prometheus.

use super::{Histogram, HistogramReading, HitRate};

/// A part that counts.
pub trait Measured: Send + Sync + 'static {
    /// Writes what it has counted.
    fn read(&self, to: &mut Readings);
}

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It rises and falls.
    Gauge,
    /// A distribution.
    Histogram,
}

/// A figure.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a counter.
    Count(u64),
    /// Of a gauge, or of a counter of seconds.
    Level(f64),
    /// Of a histogram.
    Distribution(HistogramReading),
}

/// The figures of one name.
#[derive(Clone, Debug)]
pub struct Family {
    /// The name; that of a counter without `_total`.
    pub name: &'static str,
    /// What the figures are.
    pub help: &'static str,
    /// What kind they are.
    pub kind: Kind,
    /// Each with its labels.
    pub samples: Vec<(Vec<(&'static str, String)>, Value)>,
}

/// Figures of many parts.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// By name, in the order in which they came first.
    pub families: Vec<Family>,
    common: Vec<(&'static str, String)>,
}

/// Labels of a figure.
type Labels<'a> = &'a [(&'static str, &'a str)];

impl Readings {
    /// Reads a part of a store, whose figures have its name as a label.
    pub fn of_store(&mut self, store: &str, part: &dyn Measured) {
        self.common = vec![("store", store.to_owned())];
        part.read(self);
        self.common.clear();
    }

    /// A number that only grows.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels<'_>,
        count: u64,
    ) {
        self.put(name, help, Kind::Counter, labels, Value::Count(count));
    }

    /// Seconds that only grow.
    pub fn seconds(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels<'_>,
        time: std::time::Duration,
    ) {
        self.put(name, help, Kind::Counter, labels, Value::Level(time.as_secs_f64()));
    }

    /// A number that rises and falls.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels<'_>,
        level: f64,
    ) {
        self.put(name, help, Kind::Gauge, labels, Value::Level(level));
    }

    /// The same for a number of things or bytes.
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn level(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels<'_>,
        level: u64,
    ) {
        self.gauge(name, help, labels, level as f64);
    }

    /// A distribution.
    pub fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels<'_>,
        histogram: &Histogram,
    ) {
        self.distribution(name, help, labels, histogram.read());
    }

    /// The same, read already.
    pub fn distribution(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels<'_>,
        reading: HistogramReading,
    ) {
        self.put(name, help, Kind::Histogram, labels, Value::Distribution(reading));
    }

    /// What a cache was asked, had and had not.
    pub fn cache(&mut self, cache: &str, rate: &HitRate) {
        const NAME: &str = "trunkfs_cache_requests";
        const HELP: &str = "What was looked for in a cache, by whether it was there";
        let (hits, misses) = rate.totals();
        self.counter(NAME, HELP, &[("cache", cache), ("result", "hit")], hits);
        self.counter(NAME, HELP, &[("cache", cache), ("result", "miss")], misses);
    }

    /// How much a cache holds.
    pub fn cache_entries(&mut self, cache: &str, entries: usize) {
        let help = "Entries of a cache";
        self.level("trunkfs_cache_entries", help, &[("cache", cache)], entries as u64);
    }

    fn put(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: Kind,
        labels: Labels<'_>,
        value: Value,
    ) {
        let own = labels.iter().map(|(label, text)| (*label, (*text).to_owned()));
        let labels: Vec<_> = self.common.iter().cloned().chain(own).collect();
        match self.families.iter_mut().find(|family| family.name == name) {
            Some(family) => family.samples.push((labels, value)),
            None => self.families.push(Family { name, help, kind, samples: vec![(labels, value)] }),
        }
    }
}
