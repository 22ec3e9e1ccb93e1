//! `trunkfs servers`: which servers share a database.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use indicatif::HumanDuration;
use serde::Serialize;

use super::clients::aligned;
use super::job::{run_async, run_error, write};
use super::{Configured, Failure};
use crate::config::Config;
use crate::metadata;
use crate::stores;

/// A server that has not renewed its row for so long may be taken for dead.
const SILENT: Duration = Duration::from_secs(6);

/// What `servers` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    configured: Configured,
    /// Metadata store, by its name in the configuration [default: all of type postgres]
    #[arg(long, value_name = "NAME")]
    store: Option<String>,
    /// Print a list of JSON
    #[arg(long)]
    json: bool,
}

/// A server of a store.
#[derive(Debug, Serialize)]
struct Server {
    store: String,
    instance: String,
    host: String,
    pid: Option<i32>,
    address: Option<String>,
    version: String,
    /// Clients with a connection, when it last renewed its row.
    clients: Option<u32>,
    /// `alone`, `shared`, or `tool`: a command that changes rows.
    mode: &'static str,
    /// Seconds since 1970.
    since: u64,
    /// Seconds since it last renewed its row.
    silent_seconds: f64,
    alive: bool,
    /// Its clock, against the database's.
    clock_ahead_seconds: Option<f64>,
}

impl Server {
    fn of(store: &str, server: metadata::Server) -> Self {
        let metadata::Server { instance, host, pid, address, version, clients, .. } = server;
        let mode = match (server.alone, pid.is_some() && address.is_none()) {
            (true, _) => "alone",
            (false, true) => "tool",
            (false, false) => "shared",
        };
        Self {
            store: store.to_owned(),
            instance: instance.to_string(),
            host,
            pid,
            address,
            version,
            clients,
            mode,
            since: Duration::try_from_secs_f64(server.since).unwrap_or_default().as_secs(),
            silent_seconds: server.silent.as_secs_f64(),
            alive: server.silent < SILENT,
            clock_ahead_seconds: server.ahead,
        }
    }
}

/// Asks the databases of the configuration, and prints who uses them.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let config = options.configured.load_for_stores()?;
    run_async(async {
        let servers = servers(&config, options).await?;
        if options.json {
            let text = serde_json::to_string(&servers).map_err(run_error)?;
            return write(&format!("{text}\n"));
        }
        write(&table(&servers))
    })
}

async fn servers(config: &Config, options: &Options) -> Result<Vec<Server>, Failure> {
    let (mut found, mut shared) = (Vec::new(), false);
    for name in options.store.iter().chain(config.metadata.keys()) {
        let listed = stores::servers(config, name)
            .await
            .map_err(|error| Failure::Run(options.configured.explained(name, &error).into()))?;
        if let Some(servers) = listed {
            shared = true;
            found.extend(servers.into_iter().map(|server| Server::of(name, server)));
        }
        if options.store.is_some() {
            break;
        }
    }
    if shared {
        return Ok(found);
    }
    let what = match &options.store {
        Some(name) => format!("the metadata store {name} is not of type postgres"),
        None => "no metadata store of type postgres is configured".to_owned(),
    };
    Err(Failure::Wrong(format!("{what}: a store of another type has one server")))
}

fn table(servers: &[Server]) -> String {
    let head =
        ["store", "server", "address", "version", "mode", "clients", "up", "last seen", "clock"];
    let mut rows = vec![head.map(str::to_owned)];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let time = |seconds| HumanDuration(Duration::from_secs(seconds)).to_string();
    for server in servers {
        let unknown = || "-".to_owned();
        let pid = server.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
        rows.push([
            server.store.clone(),
            format!("{}{pid}", server.host),
            server.address.clone().unwrap_or_else(unknown),
            server.version.clone(),
            server.mode.to_owned(),
            server.clients.map_or_else(unknown, |count| count.to_string()),
            time(now.saturating_sub(server.since)),
            match server.alive {
                true => "now".to_owned(),
                false => {
                    let silent = Duration::try_from_secs_f64(server.silent_seconds);
                    format!("{} ago", time(silent.unwrap_or_default().as_secs()))
                }
            },
            server.clock_ahead_seconds.map_or_else(unknown, |ahead| format!("{ahead:+.1} s")),
        ]);
    }
    aligned(&rows)
}
