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
use crate::rpc::Standing;

/// A silent peer is asked for a sign of life after this time, and every [`KEEPALIVE_INTERVAL`].
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered probes after which a peer is gone.
const KEEPALIVE_PROBES: u32 = 4;
/// Pauses after errors such as EMFILE, which go on until another file is closed.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts connections until the server drains.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.drain.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = FIRST_PAUSE;
                admit(stream, peer, &shared);
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                limited!(error, About::default(), "connections cannot be accepted", %error);
                tokio::select! {
                    () = shared.drain.cancelled() => return,
                    () = sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
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
fn admit(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>) {
    let (standing, end) = (Standing::default(), shared.drain.child_token());
    let taken = {
        // Held until the permit is taken, so that a reload that admits the peer no more finds it.
        let admission = shared.admission.read();
        let admitted = stream.local_addr().is_ok_and(|it| admission.admits(peer.ip(), it.ip()));
        admitted.then(|| shared.connections.take(peer.ip(), standing.clone(), end.clone()))
    };
    let permit = match taken {
        Some(Ok(permit)) => permit,
        Some(Err(full)) => return refuse(peer, full, shared),
        None => return reject(&stream, peer),
    };
    if shared.connections.end_oldest_unproven() > 0 {
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
    let session = shared.dispatcher.session(peer, replies, standing, cancel.clone());
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
    let settings = &shared.settings;
    match full {
        Full::Server => {
            let limit = settings.max_connections;
            limited!(warn, peer, "refused: server.max_connections are open", %peer, limit);
        }
        Full::Client => {
            let limit = settings.max_connections_per_client;
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
