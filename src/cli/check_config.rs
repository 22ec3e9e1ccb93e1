//! `trunkfs check-config`: says whether a configuration is right.

use std::io::Write;

use super::{Configured, Failure};

/// Parses the configuration and sums it up on standard output.
pub(super) fn run(configured: &Configured) -> Result<(), Failure> {
    let config = configured.load()?;
    let mut out = std::io::stdout().lock();
    let mut say = || {
        writeln!(out, "{} is right", configured.source())?;
        writeln!(out, "listens on {}", config.server.listen)?;
        for share in &config.shares {
            writeln!(
                out,
                "{}: metadata in {}, content in {}, {} client rules",
                share.name,
                share.metadata_store,
                share.content_store,
                share.clients.len()
            )?;
        }
        out.flush()
    };
    say().map_err(|error: std::io::Error| Failure::Run(error.into()))
}
