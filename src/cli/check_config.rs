//! `trunkfs check-config`: whether a configuration is right, what counts, and whether its stores answer.

use std::io::Write;

use clap::Args;

use super::job::run_async;
use super::{Configured, FAILED, Failure, ready};
use crate::config::{Config, Loaded, Source};
use crate::stores::try_stores;

/// What `check-config` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    configured: Configured,
    /// Also connect to the stores, without changing them: exit status 1 if a start would fail
    #[arg(long)]
    connect: bool,
}

/// Prints the configuration that counts as YAML, which can be used as a file again once its secrets are
/// filled in, with all else in comments.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let source = options.configured.source();
    let loaded = source.load()?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    print(&described(&source, &loaded))?;
    if options.connect { connect(&options.configured, &loaded.config) } else { Ok(()) }
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::Run(error.into()))
}

fn described(source: &Source, loaded: &Loaded) -> String {
    let config = &loaded.config;
    let hostname = rustix::system::uname();
    let hostname = hostname.nodename().to_string_lossy();
    let mut text = format!(
        "# {source} is valid. Effective configuration (defaults and environment applied):\n"
    );
    text.push_str(&loaded.effective);
    text.push_str("# To mount, on a client as root:\n");
    let address = config.server.listener.listen;
    // Whether a port mapper knows the ports turns out at the start.
    let place = ready::Place { address, hostname: &hostname, ports_are_known: false };
    for command in ready::mount_commands(config, place) {
        text.push_str(&format!("# {command}\n"));
    }
    if address.port() == 0 {
        text.push_str("# Port 0: the server picks a free port and prints it when it starts.\n");
    }
    text
}

/// A line for each store that a share names, and for each share.
fn connect(configured: &Configured, config: &Config) -> Result<(), Failure> {
    let mut failed = false;
    for (store, outcome) in run_async(async { Ok(try_stores(config).await) })? {
        match outcome {
            Ok(found) => print(&format!("# {store}: ok, {found}\n"))?,
            Err(error) => {
                failed = true;
                print(&format!("# {store}: failed\n"))?;
                let name = store.rsplit('.').next().unwrap_or_default();
                eprintln!("error: {}", configured.explained(name, &error));
            }
        }
    }
    if failed { Err(Failure::Said(FAILED)) } else { Ok(()) }
}
