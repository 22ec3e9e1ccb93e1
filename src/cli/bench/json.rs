//! The figures for programs. docs/benchmarking.md has the fields.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Failure, Options};
use crate::bench::{Comparison, Histogram, Measurement, Spread, Target};

pub(super) fn print(value: &Value) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}").map_err(|error| Failure::Run(error.into()))
}

fn load(options: &Options) -> Value {
    let settings = options.settings();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "connections": options.connections,
        "depth": options.depth,
        "seconds": options.time.as_secs_f64(),
        "warm_up_seconds": options.warm_up.as_secs_f64(),
        "files": options.files,
        "file_bytes": settings.file_bytes,
        "uid": settings.credentials.uid,
        "gid": settings.credentials.gid,
    })
}

/// One server.
pub(super) fn measured(
    options: &Options,
    url: &Target,
    address: SocketAddr,
    all: &[Measurement],
) -> Value {
    json!({
        "url": url.to_string(),
        "address": address.to_string(),
        "load": load(options),
        "workloads": all.iter().map(measurement).collect::<Vec<_>>(),
    })
}

/// Two servers.
pub(super) fn compared(options: &Options, urls: [&Target; 2], all: &[Comparison]) -> Value {
    let of = |it: &Comparison| {
        let server = |server: usize| {
            let rounds = it.rounds.iter().filter_map(|round| round.get(server));
            json!({
                "per_second": spread(it.rates(server)),
                "rounds": rounds.map(measurement).collect::<Vec<_>>(),
            })
        };
        json!({
            "workload": it.workload.name(),
            "rate_ratio": spread(it.rate_ratio()),
            "p50_ratio": spread(it.latency_ratio(50.0)),
            "p99_ratio": spread(it.latency_ratio(99.0)),
            "a": server(0),
            "b": server(1),
        })
    };
    json!({
        "a": urls[0].to_string(),
        "b": urls[1].to_string(),
        "load": load(options),
        "comparisons": all.iter().map(of).collect::<Vec<_>>(),
    })
}

fn spread(spread: Option<Spread>) -> Option<Value> {
    spread.map(|it| json!({ "median": it.median, "least": it.least, "most": it.most }))
}

fn measurement(it: &Measurement) -> Value {
    let errors: serde_json::Map<_, _> =
        it.errors.iter().map(|(fault, count)| (fault.to_string(), (*count).into())).collect();
    let procedures = it.procedures.iter().map(|(name, latencies)| {
        let figures = json!({ "calls": latencies.count(), "latency_us": latency(latencies) });
        ((*name).to_owned(), figures)
    });
    let each_call = |used| it.for_each_call(used).map(micros);
    json!({
        "workload": it.workload.name(),
        "seconds": it.time.as_secs_f64(),
        "operations": it.operations.count(),
        "per_second": it.rate(),
        "calls": it.calls(),
        "bytes": it.bytes,
        "bytes_per_second": it.bytes_per_second(),
        "entries": it.entries,
        "latency_us": latency(&it.operations),
        "server_cpu_us_per_call": each_call(it.server_cpu),
        "client_cpu_us_per_call": each_call(it.client_cpu),
        "error_count": it.error_count(),
        "errors": errors,
        "procedures": procedures.collect::<serde_json::Map<_, _>>(),
    })
}

fn latency(latencies: &Histogram) -> Value {
    json!({
        "p50": micros(latencies.percentile(50.0)),
        "p95": micros(latencies.percentile(95.0)),
        "p99": micros(latencies.percentile(99.0)),
        "p99.9": micros(latencies.percentile(99.9)),
        "max": micros(latencies.longest()),
    })
}

fn micros(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e8).round() / 100.0
}
