//! SIGHUP, or the admin port: the configuration is read again, and what can change while the server runs is
//! taken over.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

use super::systemd::Notifier;
use crate::config::{Errors, Loaded, Source, Takes};
use crate::daemon::Control;
use crate::telemetry;
use crate::types::AtomicDuration;

/// What a running server is configured by.
#[derive(Debug)]
pub(super) struct Reload {
    /// What is read again.
    pub(super) source: Source,
    /// What `--listen` says, in place of what is read.
    pub(super) listen: Option<SocketAddr>,
    /// What the server was started with.
    pub(super) started: Loaded,
    /// Whether standard input was a terminal then.
    pub(super) in_foreground: bool,
    /// What was taken over last.
    pub(super) applied: Loaded,
    pub(super) control: Control,
    pub(super) log: telemetry::Handle,
    /// How long draining may take, as who stops the server is told.
    pub(super) drain: Arc<AtomicDuration>,
    pub(super) notifier: Notifier,
    /// What systemd is told when the server serves.
    pub(super) status: String,
}

impl Reload {
    /// Reads the configuration again on every SIGHUP, and where the admin port is asked to. A SIGHUP that
    /// comes because the terminal of a server in the foreground is gone fires `shutdown`.
    pub(super) async fn on_hangups(mut self, mut hangups: Signal, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                Some(()) = hangups.recv() => {
                    if self.in_foreground && !std::io::stdin().is_terminal() {
                        tracing::info!("the terminal is gone");
                        return shutdown.cancel();
                    }
                }
                () = self.control.reload_asked() => {}
            }
            self.notifier.reloading();
            let source = self.source.clone();
            let read = tokio::task::spawn_blocking(move || source.load()).await;
            let wrong = match read {
                Ok(Ok(new)) => {
                    self.take_over(new);
                    ""
                }
                Ok(Err(errors)) => {
                    self.refuse(&errors);
                    "; the configuration is invalid, see the log"
                }
                Err(error) => {
                    tracing::error!(%error, "SIGHUP: the configuration cannot be read");
                    ""
                }
            };
            self.notifier.ready(&format!("{}{wrong}", self.status));
        }
    }

    fn refuse(&self, errors: &Errors) {
        for error in errors.iter() {
            tracing::error!("{error}");
        }
        tracing::error!("SIGHUP: {} is invalid; nothing was changed", self.source);
    }

    fn take_over(&mut self, mut new: Loaded) {
        if let Some(listen) = self.listen {
            new.config.server.listener.listen = listen;
        }
        for warning in &new.warnings {
            tracing::warn!("{warning}");
        }
        self.control.apply(&new.config);
        self.drain.set(new.config.server.settings.drain_timeout);
        let levels = self.log.set_levels(&new.config.logging.levels);
        let source = &self.source;
        let mut changed = false;
        for change in self.applied.changes(&new) {
            if change.takes == Takes::Effect {
                changed = true;
                if change.key == "logging.levels" && !levels {
                    tracing::warn!("SIGHUP: {source}: {change}, but RUST_LOG overrides it");
                    continue;
                }
                tracing::info!("SIGHUP: {source}: {change}");
            }
        }
        // What differs from the start waits for the next one, however often it is read.
        for change in self.started.changes(&new) {
            let listens_elsewhere = self.listen.is_some() && change.key == "server.listen";
            match change.takes {
                Takes::Restart if !listens_elsewhere => {
                    changed = true;
                    tracing::warn!(
                        "SIGHUP: {source}: {change}; it takes effect at the next restart"
                    );
                }
                Takes::Nothing => {
                    changed = true;
                    tracing::warn!(
                        "SIGHUP: {source}: {change}; it applies only when the share is created: use chown \
                         and chmod on a mount"
                    );
                }
                Takes::Restart | Takes::Effect => {}
            }
        }
        if !changed {
            tracing::info!("SIGHUP: {source}: no changes");
        }
        self.applied = new;
    }
}
