//! Measures a server over the wire: NULL, GETATTR, LOOKUP, CREATE, WRITE (unstable, with a COMMIT after each 64 MiB of a
//! connection) and READ, one call at a time and with calls in flight on several connections.
//!
//! `cargo bench --bench wire -- --address HOST:PORT --export /export`
//!
//! Without an address it measures a server of its own in the same process, over memory stores: what
//! the wire and the procedures cost without a database. What it makes, in a directory of its own
//! below the export's root, it removes.

mod calls;
mod client;
mod memory;
mod scene;

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use clap::Parser;

use self::client::{Caller, Measured};
use self::scene::{Procedure, Scene};

/// What goes wrong is printed and ends the measurement.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Measures an NFSv3 server over the wire.
#[derive(Debug, Parser)]
struct Options {
    /// The server's address and port; without it a server over memory stores is measured.
    #[arg(long)]
    address: Option<String>,
    /// Where MOUNT is served, if not at the same address.
    #[arg(long)]
    mount_address: Option<String>,
    /// The path to mount.
    #[arg(long, default_value = "/export")]
    export: String,
    /// Seconds per measurement.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Connections of the loaded measurement.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Calls in flight on each of them.
    #[arg(long, default_value_t = 8)]
    in_flight: usize,
    /// Only these procedures.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Procedure>,
    /// Bytes of a WRITE and of a READ.
    #[arg(long, default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    bytes: u32,
    /// Address to call from, such as 127.0.0.2: another client than a generator at another address.
    #[arg(long)]
    from: Option<IpAddr>,
    /// User to call as; the process's own if not given.
    #[arg(long)]
    uid: Option<u32>,
    /// Group to call as; the process's own if not given.
    #[arg(long)]
    gid: Option<u32>,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn resolve(address: &str) -> Result<SocketAddr> {
    let mut addresses = address.to_socket_addrs().map_err(|error| format!("{address}: {error}"))?;
    Ok(addresses.next().ok_or_else(|| io::Error::other(format!("{address} has no address")))?)
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let address = match &options.address {
        Some(address) => resolve(address)?,
        // `cargo test --all-targets` runs this too, and wants no measurement.
        None if !options.bench => {
            println!("run it with `cargo bench --bench wire`");
            return Ok(());
        }
        None => memory::serve(&options.export).await?,
    };
    let mount = options.mount_address.as_deref().map_or(Ok(address), resolve)?;
    let uid = options.uid.unwrap_or_else(|| rustix::process::getuid().as_raw());
    let gid = options.gid.unwrap_or_else(|| rustix::process::getgid().as_raw());
    let connections = options.connections.max(1);
    let caller = Caller { user: (uid, gid), from: options.from };
    let bytes = usize::try_from(options.bytes)?;
    let scene = Scene::set(address, mount, &options.export, caller, connections, bytes).await?;
    println!("procedure  connections x in flight      calls/s     p50 µs     p99 µs      MiB/s");
    let time = Duration::from_secs_f64(options.seconds);
    let mut outcome = Ok(());
    let is_wanted = |it: &Procedure| options.only.is_empty() || options.only.contains(it);
    for procedure in Procedure::ALL.into_iter().filter(is_wanted) {
        for (connections, in_flight) in [(1, 1), (connections, options.in_flight.max(1))] {
            scene.prepare(procedure).await?;
            match scene.measure(procedure, connections, in_flight, time).await {
                Ok(measured) => report(procedure, connections, in_flight, measured),
                Err(error) => outcome = Err(error),
            }
        }
    }
    scene.clear().await?;
    outcome
}

fn report(procedure: Procedure, connections: usize, in_flight: usize, mut measured: Measured) {
    let rate = measured.rate();
    let (p50, p99) = (measured.percentile(50.0), measured.percentile(99.0));
    let throughput = match measured.bytes {
        0 => String::new(),
        _ => format!("{:.0}", measured.throughput() / f64::from(1 << 20)),
    };
    println!(
        "{:<9}  {:>23}  {rate:>11.0}  {:>9.1}  {:>9.1}  {throughput:>9}",
        procedure.name(),
        format!("{connections} x {in_flight}"),
        p50.as_secs_f64() * 1e6,
        p99.as_secs_f64() * 1e6,
    );
}
