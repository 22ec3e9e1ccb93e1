//! SIGHUP, or the admin port: the configuration is read again, and what can change while the server runs is
//! taken over.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

use super::systemd::Notifier;
use super::{descriptors, ready, serve};
use crate::config::{Loaded, Source};
use crate::daemon::{Applied, ApplyError, Control};
use crate::http::Reloaded;
use crate::telemetry;
use crate::types::{AtomicDuration, Chain};

/// What a running server is configured by.
#[derive(Debug)]
pub(super) struct Reload {
    /// What is read again.
    pub(super) source: Source,
    /// What `--listen` says, in place of what is read.
    pub(super) listen: Option<SocketAddr>,
    /// Whether standard input was a terminal when the server was started.
    pub(super) in_foreground: bool,
    pub(super) control: Control,
    pub(super) log: telemetry::Handle,
    /// How long draining may take, as who stops the server is told.
    pub(super) drain: Arc<AtomicDuration>,
    pub(super) notifier: Notifier,
    /// Where the server serves.
    pub(super) address: SocketAddr,
    /// What systemd is told when the server serves.
    pub(super) status: String,
}

impl Reload {
    /// Reads the configuration again on every SIGHUP, and where the admin port is asked to: one reload after
    /// the other, and none once `shutdown` has fired. A SIGHUP that comes because the terminal of a server in
    /// the foreground is gone fires `shutdown`.
    pub(super) async fn on_hangups(mut self, hangups: Signal, shutdown: CancellationToken) {
        self.until_shutdown(hangups, shutdown).await;
        self.control.end_reloads().await;
    }

    async fn until_shutdown(&mut self, mut hangups: Signal, shutdown: CancellationToken) {
        loop {
            let asked = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(()) = hangups.recv() => {
                    if self.in_foreground && !std::io::stdin().is_terminal() {
                        tracing::info!("the terminal is gone");
                        return shutdown.cancel();
                    }
                    Vec::new()
                }
                asked = self.control.reload_asked() => asked,
            };
            self.notifier.reloading();
            let done = self.reload(&shutdown).await;
            if shutdown.is_cancelled() {
                // Whoever stops the server was told so meanwhile.
                return;
            }
            let wrong = if done.errors.is_empty() {
                ""
            } else {
                "; the configuration is invalid, see the log"
            };
            self.notifier.ready(&format!("{}{wrong}", self.status));
            for waits in asked {
                // It may wait no more.
                let _ = waits.send(done.clone());
            }
        }
    }

    async fn reload(&mut self, shutdown: &CancellationToken) -> Reloaded {
        let source = self.source.clone();
        match tokio::task::spawn_blocking(move || source.load()).await {
            Ok(Ok(new)) => self.take_over(new, shutdown).await,
            Ok(Err(errors)) => self.refuse(errors.iter().map(ToString::to_string).collect()),
            Err(error) => {
                tracing::error!(%error, "SIGHUP: the configuration cannot be read");
                Reloaded { errors: vec![error.to_string()], ..Reloaded::default() }
            }
        }
    }

    fn refuse(&self, errors: Vec<String>) -> Reloaded {
        for error in &errors {
            tracing::error!("{error}");
        }
        tracing::error!("SIGHUP: {} is invalid; nothing was changed", self.source);
        Reloaded { errors, ..Reloaded::default() }
    }

    async fn take_over(&mut self, mut new: Loaded, shutdown: &CancellationToken) -> Reloaded {
        if let Some(listen) = self.listen {
            new.config.server.listener.listen = listen;
        }
        for warning in &new.warnings {
            tracing::warn!("{warning}");
        }
        let applied = self.control.apply(&new, descriptors::raise, shutdown).await;
        let Applied { config, taken, waits } = match applied {
            Ok(applied) => applied,
            Err(ApplyError::Stops) => return Reloaded::default(),
            Err(error) => return self.refuse(vec![Chain(&error).to_string()]),
        };
        self.drain.set(config.server.settings.drain_timeout);
        self.status = ready::status(&config, self.address);
        let levels = self.log.set_levels(&config.logging.levels);
        let source = &self.source;
        let mut done = Reloaded::default();
        for change in &taken {
            if change.key == "logging.levels" && !levels {
                tracing::warn!("SIGHUP: {source}: {change}, but RUST_LOG overrides it");
                done.restart.push(change.to_string());
                continue;
            }
            tracing::info!("SIGHUP: {source}: {change}");
            done.applied.push(change.to_string());
        }
        let is_new = |name: &str| taken.iter().any(|it| it.key == format!("shares[{name}]"));
        serve::warn_of_loss(&config, is_new);
        for change in &waits {
            if change.is_of_making() {
                tracing::warn!(
                    "SIGHUP: {source}: {change}; it applies only when the share is created: use chown and \
                     chmod on a mount"
                );
            } else {
                tracing::warn!("SIGHUP: {source}: {change}; it takes effect at the next restart");
            }
            done.restart.push(change.to_string());
        }
        if taken.is_empty() && waits.is_empty() {
            tracing::info!("SIGHUP: {source}: no changes");
        }
        done
    }
}
