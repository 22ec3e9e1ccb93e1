//! Ctrl-C, and SIGTERM, where a command ends what it has begun before it stops.

use std::io::{self, Write as _};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that fires at the first SIGINT or SIGTERM, which is told. A second one ends the process at once,
/// with `status`.
pub(super) fn token(status: u8) -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut interrupts, mut ends) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let fired = token.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = ends.recv() => {}
            }
            if fired.is_cancelled() {
                std::process::exit(i32::from(status));
            }
            fired.cancel();
            let told = "stopping: finishing what is in progress; a second signal stops at once";
            writeln!(io::stderr(), "{told}").ok();
        }
    });
    Ok(token)
}
