//! Notices to systemd (sd_notify(3)): that the server is ready, reloads, stops, and lives. They are sent
//! where `NOTIFY_SOCKET` names a socket, and are nothing elsewhere.

use std::net::SocketAddr;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::rpc::null_probe::{Service, probe};
use crate::types::Chain;

/// How long the receiver may take to have room for a notice.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends notices, or drops them where systemd did not ask for any.
#[derive(Clone, Debug)]
pub(super) struct Notifier {
    socket: Option<UnixAddress>,
}

impl Notifier {
    /// To the socket that `NOTIFY_SOCKET` names: a path, or `@` and an abstract name (unix(7)).
    pub(super) fn from_environment() -> Self {
        let name = std::env::var("NOTIFY_SOCKET").unwrap_or_default();
        if name.is_empty() {
            return Self { socket: None };
        }
        let socket = socket(&name).inspect_err(|error| {
            tracing::warn!(%error, name, "NOTIFY_SOCKET: cannot notify systemd");
        });
        Self { socket: socket.ok() }
    }

    /// The server answers on its port.
    pub(super) fn ready(&self, status: &str) {
        self.send(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// The configuration is read again; [`Notifier::ready`] is to follow, whatever comes of it.
    pub(super) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[
                NotifyState::Reloading,
                now,
                NotifyState::Status("reloading the configuration"),
            ]),
            Err(error) => {
                tracing::warn!(%error, "cannot notify systemd of the reload: the clock cannot be read")
            }
        }
    }

    /// The server stops, which may take `bound`.
    pub(super) fn stopping(&self, bound: Duration) {
        // Whatever TimeoutStopSec= is, requests have their drain_timeout.
        let extend = format!("EXTEND_TIMEOUT_USEC={}", bound.as_micros());
        let status = "draining requests and flushing data";
        let states =
            [NotifyState::Stopping, NotifyState::Custom(&extend), NotifyState::Status(status)];
        self.send(&states);
    }

    /// A line for `systemctl status`.
    pub(super) fn status(&self, status: &str) {
        self.send(&[NotifyState::Status(status)]);
    }

    /// Tells the watchdog (`WatchdogSec=`) that the server lives, for as long as it does: four times in the
    /// watchdog's period it is called on its own port, which takes its listener, the tasks of a connection
    /// and dispatch. While it drains it takes no calls, and it lives as long as its tasks are run.
    pub(super) async fn watch(self, address: SocketAddr, draining: CancellationToken) {
        let Some(period) = sd_notify::watchdog_enabled().filter(|period| !period.is_zero()) else {
            return;
        };
        if self.socket.is_none() {
            return;
        }
        let mut ticks = interval(period / 4);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if draining.is_cancelled()
                || lives(address, period / 2).await
                || draining.is_cancelled()
            {
                self.send(&[NotifyState::Watchdog]);
            }
        }
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        let Some(address) = &self.socket else { return };
        let mut message = String::new();
        for state in states {
            // Each is one line.
            message.push_str(&state.to_string().replace('\n', " "));
            message.push('\n');
        }
        let sent = UnixDatagram::unbound().and_then(|socket| {
            socket.set_write_timeout(Some(PATIENCE))?;
            socket.send_to_addr(message.as_bytes(), address)
        });
        if let Err(error) = sent {
            tracing::warn!(%error, "systemd does not accept notifications");
        }
    }
}

/// Whether the server at `address` answers, or at least takes a connection, within `patience`.
async fn lives(address: SocketAddr, patience: Duration) -> bool {
    match probe(address, Service::Nfs, patience).await {
        Ok(()) => true,
        Err(error) if error.is_alive() => true,
        Err(error) => {
            tracing::error!(%address, error = %Chain(&error),
                "the server does not answer on its own port; skipping the keep-alive for systemd's watchdog");
            false
        }
    }
}

fn socket(name: &str) -> std::io::Result<UnixAddress> {
    if let Some(name) = name.strip_prefix('@') {
        return abstract_socket(name);
    }
    if !name.starts_with('/') {
        let kind = std::io::ErrorKind::Unsupported;
        return Err(std::io::Error::new(kind, "neither a path nor an abstract socket"));
    }
    UnixAddress::from_pathname(name)
}

#[cfg(target_os = "linux")]
fn abstract_socket(name: &str) -> std::io::Result<UnixAddress> {
    use std::os::linux::net::SocketAddrExt as _;
    UnixAddress::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_socket(_: &str) -> std::io::Result<UnixAddress> {
    let text = "abstract sockets are Linux's alone";
    Err(std::io::Error::new(std::io::ErrorKind::Unsupported, text))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_port_that_nobody_serves_is_no_life() {
        let patience = Duration::from_millis(100);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // The kernel takes the connection; the program does not.
        assert!(!lives(address, patience).await);
        tokio::spawn(async move {
            loop {
                drop(listener.accept().await);
            }
        });
        assert!(lives(address, Duration::from_secs(120)).await, "a full server lives");
        // Bound, without a listener.
        let closed = tokio::net::TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(!lives(closed.local_addr().unwrap(), Duration::from_secs(120)).await);
    }

    #[test]
    fn sockets_are_paths_or_abstract() {
        assert!(socket("/run/notify").unwrap().as_pathname().is_some());
        assert!(cfg!(not(target_os = "linux")) || !socket("@/a/b").unwrap().is_unnamed());
        assert!(socket("vsock:2:1").is_err());
    }
}
