//! `trunkfs status`: whether a server is well, for people, health checks and probes.

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use indicatif::HumanDuration;
use serde::{Deserialize, Serialize};
use tokio::net::lookup_host;

use super::Failure;
use super::admin_port::{self, AskError, Target};
use super::job::{run_async, run_error, write};
use crate::rpc::null_probe::{Service, probe};
use crate::types::Chain;

/// What `status` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    server: admin_port::Server,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// `/api/v1/status`, as far as it is shown.
#[derive(Debug, Deserialize, Serialize)]
struct Status {
    ready: bool,
    version: String,
    commit: String,
    nfs: String,
    started: u64,
    parts: Vec<Part>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Part {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    ok: bool,
    since: u64,
    took_ms: f64,
    error: Option<String>,
}

/// Asks the server and shows what it says of itself. Fails where a part of it does not work.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let target = options.server.target()?;
    let timeout = options.server.timeout;
    run_async(async {
        let port = match &target {
            Target::Admin(port) => port,
            Target::NfsOnly(address) => return nfs(address, timeout).await,
        };
        let status: Status = match port.get("/api/v1/status").await {
            Ok(status) => status,
            // It may be the port of NFS, of a server whose admin port is out of reach.
            Err(AskError::NotHttp) => return nfs(&port.shown, timeout).await,
            Err(error) => return Err(port.failure(&error)),
        };
        if options.json {
            write(&format!("{}\n", serde_json::to_string(&status).map_err(run_error)?))?;
        } else {
            write(&shown(&port.shown, &status))?;
        }
        if status.ready { Ok(()) } else { Err(Failure::Said(super::FAILED)) }
    })
}

/// A line for the server, and one for each part.
fn shown(address: &str, status: &Status) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let since = |then: u64| HumanDuration(Duration::from_secs(now.saturating_sub(then)));
    let Status { ready, version, commit, nfs, started, parts } = status;
    let word = if *ready { "ready" } else { "NOT READY" };
    let mut text = format!(
        "{address}: trunkfs {version} ({commit}) serves NFS on {nfs}, up {}: {word}\n",
        since(*started)
    );
    let names = parts.iter().map(|part| part.name.len()).max().unwrap_or_default();
    let kinds = parts.iter().map(|part| part.kind.len()).max().unwrap_or_default();
    for Part { name, kind, ok, since: then, took_ms, error } in parts {
        let word = if *ok { "ok" } else { "FAILED" };
        _ = write!(text, "{name:names$}  {kind:kinds$}  {word} for {}", since(*then));
        _ = match error {
            None => writeln!(text, " ({took_ms:.1} ms)"),
            Some(error) => writeln!(text, ": {error}"),
        };
    }
    text
}

/// Calls NULL of each program and says how long it took.
async fn nfs(address: &str, timeout: Duration) -> Result<(), Failure> {
    let failed = |text: &dyn std::fmt::Display| Failure::Run(format!("{address}: {text}").into());
    let found = lookup_host(address).await.map_err(|error| failed(&error))?.next();
    let found = found.ok_or_else(|| failed(&"the name has no address"))?;
    for service in Service::ALL {
        let name = service.name();
        let start = Instant::now();
        probe(found, service, timeout)
            .await
            .map_err(|error| failed(&format!("{name}: {}", Chain(&error))))?;
        let took = start.elapsed().as_secs_f64() * 1000.0;
        write(&format!("{address}: {name} answers ({took:.1} ms)\n"))?;
    }
    Ok(())
}
