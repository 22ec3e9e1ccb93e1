//! Accepting connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::Shared;
use super::connection::serve;
use super::connection_limits::Full;
use super::socket::Socket;
use crate::log_limit::{About, limited};
use crate::rpc::{Arrival, Dispatcher, Origin, Protocol, Standing};

/// A silent peer is asked for a sign of life after this time, and every [`KEEPALIVE_INTERVAL`].
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered probes after which a peer is gone.
const KEEPALIVE_PROBES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Pauses after errors such as EMFILE, which go on until another file is closed.
#[derive(Debug)]
pub(super) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pauses {
    /// The next one, twice as long as the last.
    pub(super) fn next(&mut self) -> Duration {
        let longer = (self.0 * 2).min(LONGEST_PAUSE);
        std::mem::replace(&mut self.0, longer)
    }
}

/// Accepts connections until the server drains.
pub(super) async fn accept(
    listener: TcpListener,
    dispatcher: Arc<Dispatcher>,
    shared: Arc<Shared>,
) {
    let mut pauses = Pauses::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.drain.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pauses = Pauses::default();
                admit(stream, peer, &dispatcher, &shared);
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                limited!(error, About::default(), "connections cannot be accepted", %error);
                tokio::select! {
                    () = shared.drain.cancelled() => return,
                    () = sleep(pauses.next()) => {}
                }
            }
        }
    }
}

/// Whether accept(2) only passes on that a connection failed before it was accepted.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Serves a connection where the limits leave room for it, and closes it otherwise.
fn admit(stream: TcpStream, peer: SocketAddr, dispatcher: &Arc<Dispatcher>, shared: &Arc<Shared>) {
    let (standing, end) = (Standing::default(), shared.drain.child_token());
    // An address that cannot be had is of a connection that has ended.
    let Ok(local) = stream.local_addr() else { return };
    let local = local.ip();
    let taken = {
        // Held until the permit is taken, so that a reload that admits the peer no more finds it.
        let admission = shared.admission.read();
        admission
            .admits(peer.ip(), local)
            .then(|| shared.connections.take(peer.ip(), local, standing.clone(), end.clone()))
    };
    let permit = match taken {
        Some(Ok(permit)) => permit,
        Some(Err(full)) => return refuse(peer, full, shared),
        None => {
            shared.refused.not_admitted.increment();
            return reject(&stream, peer);
        }
    };
    let displaced = shared.connections.end_oldest_unproven();
    if displaced > 0 {
        shared.refused.unproven.add(displaced as u64);
        let limit = shared.settings.unproven_connections;
        limited!(warn, peer, "too many connections without a valid handle: the oldest are closed",
            newest = %peer, limit);
    }
    if let Err(error) = prepare(&stream) {
        // The peer may be gone already; serving it finds out.
        tracing::debug!(%peer, %error, "socket options");
    }
    let cancel = shared.abort.child_token();
    // Begun here, and not in the task, sessions are in the order of their connections.
    let socket = Socket::new(stream, end, permit);
    let replies = socket.replies().clone();
    let arrival = Arrival { address: local, protocol: Protocol::Tcp };
    let origin = Origin { peer, arrival, standing, cancel: cancel.clone() };
    let session = dispatcher.session(origin, replies);
    tokio::spawn(serve(socket, session, cancel, shared.clone()));
}

/// Resets a connection from an address that is not admitted, which leaves nothing behind here.
fn reject(stream: &TcpStream, peer: SocketAddr) {
    limited!(warn, peer, "refused: no share's clients and no server.probe_networks admit this address", %peer);
    if let Err(error) = sockopt::set_socket_linger(stream, Some(Duration::ZERO)) {
        tracing::debug!(%peer, %error, "socket options");
    }
}

/// Says that a connection is closed because of a limit, and by which.
fn refuse(peer: SocketAddr, full: Full, shared: &Shared) {
    match full {
        Full::Server => {
            shared.refused.server_full.increment();
            let limit = shared.connections.limits().all;
            limited!(warn, peer, "refused: server.max_connections are open", %peer, limit);
        }
        Full::Client => {
            shared.refused.client_full.increment();
            let limit = shared.connections.limits().per_client;
            limited!(warn, peer,
                "refused: server.max_connections_per_client are open from this address", %peer, limit);
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}
