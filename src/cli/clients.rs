//! `trunkfs clients`: who uses a server, and how much now.

use clap::Args;
use serde::{Deserialize, Serialize};

use super::Failure;
use super::admin_port::{self, AdminPort, Target};
use super::job::{human, run_async, run_error, write};

/// What `clients` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    server: admin_port::Server,
    /// Print a list of JSON, as /api/v1/clients answers it
    #[arg(long)]
    json: bool,
}

/// One of `/api/v1/clients`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Client {
    pub(super) client: String,
    pub(super) connections: usize,
    pub(super) now: Vec<Now>,
    pub(super) uses: Vec<Use>,
}

/// The last seconds of a client on one share.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Now {
    share: Option<String>,
    calls_per_second: f64,
    failures_per_second: f64,
    read_bytes_per_second: f64,
    written_bytes_per_second: f64,
    latency_ms: f64,
}

/// All calls of a client of one procedure to one share.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Use {
    pub(super) share: Option<String>,
    pub(super) procedure: String,
    pub(super) calls: u64,
    pub(super) failures: u64,
    pub(super) read_bytes: u64,
    pub(super) written_bytes: u64,
    pub(super) took_seconds: f64,
}

/// Asks a server for its clients.
pub(super) async fn read(port: &AdminPort) -> Result<Vec<Client>, Failure> {
    port.get("/api/v1/clients").await.map_err(|error| port.failure(&error))
}

/// The admin port of the server, which must have one.
pub(super) fn port(options: &admin_port::Server) -> Result<AdminPort, Failure> {
    match options.target()? {
        Target::Admin(port) => Ok(port),
        Target::NfsOnly(_) => Err(Failure::Wrong(
            "admin.listen is off: a server without the admin port does not say who uses it"
                .to_owned(),
        )),
    }
}

/// Prints a table of the clients that are connected.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let port = port(&options.server)?;
    run_async(async {
        let clients = read(&port).await?;
        if options.json {
            let text = serde_json::to_string(&clients).map_err(run_error)?;
            return write(&format!("{text}\n"));
        }
        write(&table(&clients))
    })
}

fn table(clients: &[Client]) -> String {
    let head = [
        "client",
        "connections",
        "share",
        "calls/s",
        "failures/s",
        "read/s",
        "written/s",
        "latency",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    for client in clients.iter().filter(|client| client.connections > 0) {
        let name = || client.client.clone();
        let connections = || client.connections.to_string();
        if client.now.is_empty() {
            let none = || "-".to_owned();
            let idle = "idle".to_owned();
            rows.push([name(), connections(), idle, none(), none(), none(), none(), none()]);
        }
        rows.extend(client.now.iter().map(|now| {
            [
                name(),
                connections(),
                now.share.clone().unwrap_or_else(|| "-".to_owned()),
                format!("{:.1}", now.calls_per_second),
                format!("{:.1}", now.failures_per_second),
                human(whole(now.read_bytes_per_second)),
                human(whole(now.written_bytes_per_second)),
                format!("{:.2} ms", now.latency_ms),
            ]
        }));
    }
    aligned(&rows)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate for people")]
pub(super) fn whole(rate: f64) -> u64 {
    rate.max(0.0).round() as u64
}

/// Rows with columns of one width, the first with their heads. Figures end where their head does.
pub(super) fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or_default());
    let is_name = |column: usize| {
        !matches!(rows[0][column].as_str(), "connections" | "latency")
            && !rows[0][column].ends_with("/s")
    };
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if is_name(column) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_one_width() {
        let rows = [["client", "calls/s", "share"], ["10.0.0.1", "12", "/e"]];
        let rows = rows.map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&rows), "client    calls/s  share\n10.0.0.1       12  /e\n");
    }
}
