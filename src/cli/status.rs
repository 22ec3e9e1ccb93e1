//! `trunkfs status`: whether a server answers, for people, health checks and probes.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Args;

use super::job::run_async;
use super::{Configured, Failure};
use crate::rpc::null_probe::{Service, own_address, probe};
use crate::types::{Chain, settings};

/// What `status` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    configured: Configured,
    /// IP address and port of the server [default: server.listen of the configuration, on this machine]
    #[arg(value_name = "ADDRESS")]
    address: Option<SocketAddr>,
    /// Timeout for the answer of each program
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    timeout: Duration,
}

/// A time from the command line.
fn time(text: &str) -> Result<Duration, String> {
    let millis = settings::millis(text).filter(|millis| *millis > 0).map(Duration::from_millis);
    millis.ok_or_else(|| {
        "not a duration; write an integer and a unit (ms, s or m), such as 5s".to_owned()
    })
}

/// Calls NULL of each program and says how long it took.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let address = match options.address {
        Some(address) => address,
        None => own_address(options.configured.load()?.server.listener.listen),
    };
    if address.port() == 0 {
        let text = format!(
            "{address}: port 0 is not a server's port; give its address, such as 127.0.0.1:12049"
        );
        return Err(Failure::Run(text.into()));
    }
    let failed = |error: std::io::Error| Failure::Run(error.into());
    run_async(async {
        for service in Service::ALL {
            let name = service.name();
            let start = Instant::now();
            probe(address, service, options.timeout).await.map_err(|error| {
                Failure::Run(format!("{address}: {name}: {}", Chain(&error)).into())
            })?;
            let took = start.elapsed().as_secs_f64() * 1000.0;
            let mut out = std::io::stdout().lock();
            writeln!(out, "{address}: {name} answers ({took:.1} ms)").map_err(failed)?;
        }
        Ok(())
    })
}
