//! The rates of the last hour, and those of every client now: the counters are read every few seconds, and
//! what came in between is kept.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::seconds;
use super::subject::Subject;
use crate::counters::{ClientReading, HistogramReading};
use crate::types::ClientAddress;

/// The time between two readings.
pub(super) const PERIOD: Duration = Duration::from_secs(5);
/// How far back the rates go.
pub(super) const SPAN: Duration = Duration::from_secs(3600);
/// Points of that time.
const POINTS: usize = (SPAN.as_secs() / PERIOD.as_secs()) as usize;

/// The rates of one period.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Point {
    /// When it ended.
    #[serde(serialize_with = "seconds")]
    pub(super) at: SystemTime,
    pub(super) calls_per_second: f64,
    pub(super) failures_per_second: f64,
    pub(super) read_bytes_per_second: f64,
    pub(super) written_bytes_per_second: f64,
    /// Half of all calls took at most so long; none where there was no call.
    pub(super) median_ms: Option<f64>,
    /// 99 of 100 took at most so long.
    pub(super) p99_ms: Option<f64>,
}

/// What a client does to a share now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) calls: f64,
    pub(super) failures: f64,
    pub(super) read: f64,
    pub(super) written: f64,
    /// The mean of its calls.
    pub(super) latency: Duration,
}

/// A client and a share.
pub(super) type Pair = (ClientAddress, Option<u32>);

/// Sums of counters.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    calls: u64,
    failures: u64,
    read: u64,
    written: u64,
    took: Duration,
}

struct Reading {
    at: Instant,
    latency: HistogramReading,
    failures: u64,
    bytes: (u64, u64),
    pairs: HashMap<Pair, Sums>,
}

#[derive(Default)]
struct State {
    last: Option<Reading>,
    points: VecDeque<Point>,
    now: BTreeMap<Pair, Rates>,
}

/// The readings of a server.
#[derive(Default)]
pub(super) struct History(Mutex<State>);

impl History {
    /// Reads the counters, for ever.
    pub(super) async fn watch(&self, subject: &dyn Subject) -> std::convert::Infallible {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.add(read(subject));
        }
    }

    fn add(&self, reading: Reading) {
        let mut state = self.0.lock();
        if let Some(last) = &state.last {
            let seconds = reading.at.duration_since(last.at).as_secs_f64().max(f64::EPSILON);
            let rate = |now: u64, then: u64| per(now.saturating_sub(then), seconds);
            let calls = reading.latency.since(&last.latency);
            let quantile = |part| calls.quantile(part).map(|seconds| seconds * 1000.0);
            let point = Point {
                at: SystemTime::now(),
                calls_per_second: per(calls.total(), seconds),
                failures_per_second: rate(reading.failures, last.failures),
                read_bytes_per_second: rate(reading.bytes.0, last.bytes.0),
                written_bytes_per_second: rate(reading.bytes.1, last.bytes.1),
                median_ms: quantile(0.5),
                p99_ms: quantile(0.99),
            };
            let now = reading.pairs.iter().filter_map(|(pair, sums)| {
                let then = last.pairs.get(pair).copied().unwrap_or_default();
                let calls = sums.calls.saturating_sub(then.calls);
                let count = u32::try_from(calls).ok().filter(|calls| *calls > 0)?;
                let rates = Rates {
                    calls: per(calls, seconds),
                    failures: rate(sums.failures, then.failures),
                    read: rate(sums.read, then.read),
                    written: rate(sums.written, then.written),
                    latency: sums.took.saturating_sub(then.took) / count,
                };
                Some((*pair, rates))
            });
            let now = now.collect();
            if state.points.len() == POINTS {
                state.points.pop_front();
            }
            state.points.push_back(point);
            state.now = now;
        }
        state.last = Some(reading);
    }

    /// The last hour, the oldest period first.
    pub(super) fn points(&self) -> Vec<Point> {
        self.0.lock().points.iter().copied().collect()
    }

    /// What clients did in the last period.
    pub(super) fn now(&self) -> BTreeMap<Pair, Rates> {
        self.0.lock().now.clone()
    }
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn per(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

fn read(subject: &dyn Subject) -> Reading {
    let clients = subject.clients();
    let calls = clients.calls();
    let mut latency = HistogramReading::default();
    for procedure in calls.latencies() {
        latency.add(&procedure.latency);
    }
    let failures = calls.failures().into_iter().map(|(.., count)| count).sum();
    let mut pairs = HashMap::<Pair, Sums>::new();
    for ClientReading { client, uses, .. } in clients.read() {
        for it in uses {
            let sums = pairs.entry((client, it.share)).or_default();
            sums.calls += it.calls;
            sums.failures += it.failures;
            sums.read += it.read;
            sums.written += it.written;
            sums.took += it.took;
        }
    }
    Reading { at: Instant::now(), latency, failures, bytes: calls.bytes(), pairs }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(at: Instant, calls: u64, read: u64) -> Reading {
        let latency = HistogramReading { bounds: vec![0.001], counts: vec![calls, 0], sum: 0.0 };
        let took = Duration::from_millis(calls);
        let sums = Sums { calls, failures: 1, read, written: 0, took };
        let pairs = HashMap::from([((ClientAddress::of([10, 0, 0, 1].into()), Some(1)), sums)]);
        Reading { at, latency, failures: 1, bytes: (read, 0), pairs }
    }

    #[test]
    fn rates_are_what_came_between_two_readings() {
        let history = History::default();
        let start = Instant::now();
        history.add(reading(start, 10, 1000));
        assert!(history.points().is_empty(), "there is no rate of one reading");
        history.add(reading(start + Duration::from_secs(5), 60, 6000));
        let points = history.points();
        let [point] = &points[..] else { panic!("{points:?}") };
        assert_eq!((point.calls_per_second, point.read_bytes_per_second), (10.0, 1000.0));
        assert_eq!((point.failures_per_second, point.p99_ms.is_some()), (0.0, true));
        let now: Vec<_> = history.now().into_values().collect();
        let latency = Duration::from_millis(1);
        assert_eq!(
            now,
            [Rates { calls: 10.0, failures: 0.0, read: 1000.0, written: 0.0, latency }]
        );
        history.add(reading(start + Duration::from_secs(10), 60, 6000));
        assert!(history.now().is_empty(), "an idle client does nothing now");
        for number in 0..2 * POINTS as u64 {
            history.add(reading(start + Duration::from_secs(number + 20), 60, 6000));
        }
        assert_eq!(history.points().len(), POINTS);
        assert_eq!(history.points()[0].median_ms, None);
    }
}
