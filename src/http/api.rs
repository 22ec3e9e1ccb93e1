//! The objects of `/api/v1`.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;

use super::health::PartHealth;
use super::history::{History, Rates};
use super::seconds;
use super::subject::{About, Subject};
use crate::counters::{ClientReading, ClientUse, SlowCall};

/// `/api/v1/status`.
#[derive(Serialize)]
pub(super) struct Status<'a> {
    pub(super) ready: bool,
    #[serde(flatten)]
    pub(super) about: &'a About,
    pub(super) parts: Vec<PartHealth>,
}

/// One of `/api/v1/clients`.
#[derive(Debug, Serialize)]
pub(super) struct Client {
    pub(super) client: String,
    pub(super) connections: usize,
    /// The last five seconds, by share.
    pub(super) now: Vec<Now>,
    /// All since the client was first seen, by share and procedure.
    pub(super) uses: Vec<Use>,
}

#[derive(Debug, Serialize)]
pub(super) struct Now {
    pub(super) share: Option<String>,
    pub(super) calls_per_second: f64,
    pub(super) failures_per_second: f64,
    pub(super) read_bytes_per_second: f64,
    pub(super) written_bytes_per_second: f64,
    pub(super) latency_ms: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Use {
    pub(super) share: Option<String>,
    pub(super) procedure: &'static str,
    pub(super) calls: u64,
    pub(super) failures: u64,
    pub(super) read_bytes: u64,
    pub(super) written_bytes: u64,
    pub(super) took_seconds: f64,
}

/// One of `/api/v1/slow-calls`.
#[derive(Debug, Serialize)]
pub(super) struct Slow {
    #[serde(serialize_with = "seconds")]
    pub(super) at: SystemTime,
    pub(super) client: String,
    pub(super) procedure: &'static str,
    pub(super) handle: Option<String>,
    pub(super) took_ms: f64,
    pub(super) connection_ms: f64,
    pub(super) database_ms: f64,
    pub(super) content_ms: f64,
    pub(super) away_ms: f64,
}

/// Every client, the busiest first.
pub(super) fn clients(subject: &dyn Subject, history: &History) -> Vec<Client> {
    let mut now = BTreeMap::<_, Vec<_>>::new();
    for ((client, share), rates) in history.now() {
        let share = share.and_then(|number| subject.share_name(number));
        now.entry(client).or_default().push(current(share, rates));
    }
    let clients = subject.clients().read().into_iter();
    let mut clients: Vec<_> = clients
        .map(|ClientReading { client, connections, uses }| Client {
            client: client.to_string(),
            connections,
            now: now.remove(&client).unwrap_or_default(),
            uses: uses.into_iter().map(|it| used(subject, it)).collect(),
        })
        .collect();
    let busy = |client: &Client| client.now.iter().map(|now| now.calls_per_second).sum::<f64>();
    clients.sort_by(|one, other| busy(other).total_cmp(&busy(one)));
    clients
}

fn current(share: Option<String>, rates: Rates) -> Now {
    Now {
        share,
        calls_per_second: rates.calls,
        failures_per_second: rates.failures,
        read_bytes_per_second: rates.read,
        written_bytes_per_second: rates.written,
        latency_ms: rates.latency.as_secs_f64() * 1000.0,
    }
}

fn used(subject: &dyn Subject, it: ClientUse) -> Use {
    Use {
        share: it.share.and_then(|number| subject.share_name(number)),
        procedure: it.procedure,
        calls: it.calls,
        failures: it.failures,
        read_bytes: it.read,
        written_bytes: it.written,
        took_seconds: it.took.as_secs_f64(),
    }
}

/// The last slow calls, the newest first.
pub(super) fn slow_calls(calls: Vec<SlowCall>) -> Vec<Slow> {
    let shown = calls.into_iter().map(|call| {
        let [connection, database, content, away] =
            call.waits.map(|wait| wait.as_secs_f64() * 1000.0);
        Slow {
            at: call.at,
            client: call.client.to_string(),
            procedure: call.procedure,
            handle: call.subject,
            took_ms: call.took.as_secs_f64() * 1000.0,
            connection_ms: connection,
            database_ms: database,
            content_ms: content,
            away_ms: away,
        }
    });
    shown.collect()
}
