//! `/metrics`: readings in the text format of OpenMetrics 1.0, which Prometheus reads.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::counters::{Kind, Readings, Value};

/// The type of the answer.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Readings as text.
pub(super) fn text(readings: Readings) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(readings)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Snapshot(Readings);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &self.0.families {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, value) in &family.samples {
                if labels.is_empty() {
                    put(&mut metric, family.kind, value)?;
                } else {
                    let labels: Vec<_> =
                        labels.iter().map(|(label, text)| (*label, escaped(text))).collect();
                    put(&mut metric.encode_family(&labels)?, family.kind, value)?;
                }
            }
        }
        Ok(())
    }
}

/// A label's text as it stands between quotes (OpenMetrics 1.0, "Escaping"): the encoder writes it as it is.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn put(metric: &mut MetricEncoder<'_>, kind: Kind, value: &Value) -> Result<(), fmt::Error> {
    match (kind, value) {
        (_, Value::Count(count)) => metric.encode_counter::<NoLabelSet, _, f64>(count, None),
        (Kind::Counter, Value::Level(level)) => {
            metric.encode_counter::<NoLabelSet, _, f64>(level, None)
        }
        (Kind::Gauge | Kind::Histogram, Value::Level(level)) => metric.encode_gauge(level),
        (_, Value::Distribution(reading)) => {
            let bounds = reading.bounds.iter().copied().chain([f64::MAX]);
            let buckets: Vec<_> = bounds.zip(reading.counts.iter().copied()).collect();
            metric.encode_histogram::<NoLabelSet>(reading.sum, reading.total(), &buckets, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{Histogram, HitRate};

    #[test]
    fn readings_are_text_of_openmetrics() {
        let mut readings = Readings::default();
        let batches = Histogram::of_batches();
        batches.count(1);
        batches.count(1000);
        readings.counter("trunkfs_things", "Things", &[("kind", "a\"b")], 7);
        readings.histogram("trunkfs_batch_calls", "Calls of a batch", &[], &batches);
        readings.gauge("trunkfs_age_seconds", "Age", &[], 1.5);
        readings.cache("metadata", &HitRate::default());
        let text = text(readings).unwrap();
        for line in [
            "# TYPE trunkfs_things counter",
            "trunkfs_things_total{kind=\"a\\\"b\"} 7",
            "trunkfs_batch_calls_bucket{le=\"1.0\"} 1",
            "trunkfs_batch_calls_bucket{le=\"+Inf\"} 2",
            "trunkfs_batch_calls_sum 1001.0",
            "trunkfs_batch_calls_count 2",
            "trunkfs_age_seconds 1.5",
            "trunkfs_cache_requests_total{cache=\"metadata\",result=\"hit\"} 0",
        ] {
            assert!(text.lines().any(|it| it == line), "no {line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
