//! What the server says of itself: log lines on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Sends log lines to standard error, coloured on a terminal. `RUST_LOG` says which, in the form
/// `level` or `module=level,…`; without it those of level info and above.
///
/// # Errors
/// A `RUST_LOG` of another form, or logging that is set up already.
pub fn start() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => {
            EnvFilter::try_new(&directives).map_err(|error| format!("RUST_LOG: {error}"))?
        }
        Ok(_) | Err(_) => EnvFilter::default().add_directive(LevelFilter::INFO.into()),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
}
