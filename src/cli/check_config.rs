//! `trunkfs check-config`: whether a configuration is right, and what counts.

use std::io::Write;

use super::{Configured, Failure, ready};
use crate::config::{Loaded, Source};

/// Prints the configuration that counts as YAML, which can be used as a file again once its secrets are filled in, with
/// all else in comments.
pub(super) fn run(configured: &Configured) -> Result<(), Failure> {
    let source = configured.source();
    let loaded = source.load()?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    print(&described(&source, &loaded))
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
    let mut text = format!("# {source} is right. With defaults and environment it says:\n");
    text.push_str(&loaded.effective);
    text.push_str("# On a client, as root:\n");
    for command in ready::mount_commands(config, config.server.listen, &hostname) {
        text.push_str(&format!("# {command}\n"));
    }
    if config.server.listen.port() == 0 {
        text.push_str("# The port is a free one that the server says when it starts.\n");
    }
    text
}
