//! The figures for people.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use super::{Failure, Options};
use crate::bench::{Comparison, Measurement, Spread, Target};

fn line(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").map_err(|error| Failure::Run(error.into()))
}

fn load(options: &Options) -> String {
    let Options { connections, depth, time, warm_up, .. } = options;
    format!(
        "{connections} connections, {depth} calls in flight on each; {time:?} a run after {warm_up:?}"
    )
}

/// What is measured, and the columns.
pub(super) fn head(options: &Options, url: &Target) -> Result<(), Failure> {
    line(&format!("{url}: {}", load(options)))?;
    line(&format!(
        "{:<21} {:>11} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7}",
        "workload",
        "per second",
        "MiB/s",
        "p50 µs",
        "p95 µs",
        "p99 µs",
        "p99.9 µs",
        "CPU µs",
        "errors"
    ))
}

/// A workload's figures, and its errors.
pub(super) fn row(it: &Measurement) -> Result<(), Failure> {
    let latency = |percent| micros(it.operations.percentile(percent));
    let throughput = if it.bytes > 0 {
        format!("{:.1}", it.bytes_per_second() / f64::from(1 << 20))
    } else {
        String::new()
    };
    let server = it.for_each_call(it.server_cpu).map_or_else(|| "-".to_owned(), micros);
    line(&format!(
        "{:<21} {:>11.0} {throughput:>8} {:>9} {:>9} {:>9} {:>9} {server:>9} {:>7}",
        it.workload.name(),
        it.rate(),
        latency(50.0),
        latency(95.0),
        latency(99.0),
        latency(99.9),
        it.error_count()
    ))?;
    errors([it])
}

fn errors<'a>(all: impl IntoIterator<Item = &'a Measurement>) -> Result<(), Failure> {
    for (fault, count) in all.into_iter().flat_map(|it| &it.errors) {
        line(&format!("    {count} × {fault}"))?;
    }
    Ok(())
}

fn micros(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 100.0 { format!("{micros:.1}") } else { format!("{micros:.0}") }
}

/// What is compared, and the columns.
pub(super) fn comparison_head(options: &Options, [a, b]: [&Target; 2]) -> Result<(), Failure> {
    line(&format!("A {a}\nB {b}\n{}; {} rounds each", load(options), options.rounds))?;
    line(
        "medians of the rounds; the ratio is B's to A's, with the least and the greatest of a round",
    )?;
    line(&format!(
        "{:<21} {:>11} {:>11} {:>19} {:>19} {:>19} {:>7}",
        "workload", "A a second", "B a second", "ratio", "p50 ratio", "p99 ratio", "errors"
    ))
}

/// A workload's ratios, and its errors.
pub(super) fn comparison(it: &Comparison) -> Result<(), Failure> {
    let mut text = format!("{:<21}", it.workload.name());
    for server in [0, 1] {
        let rate = it.rates(server).map_or(0.0, |rates| rates.median);
        // Writing to a text cannot fail.
        write!(text, " {rate:>11.0}").ok();
    }
    let ratios = [it.rate_ratio(), it.latency_ratio(50.0), it.latency_ratio(99.0)];
    for ratio in ratios {
        write!(text, " {:>19}", ratio.map_or_else(|| "-".to_owned(), spread)).ok();
    }
    write!(text, " {:>7}", it.error_count()).ok();
    line(&text)?;
    errors(it.rounds.iter().flatten())
}

fn spread(it: Spread) -> String {
    format!("{:.3} ({:.2}–{:.2})", it.median, it.least, it.most)
}
