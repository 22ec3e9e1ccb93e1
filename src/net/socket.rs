//! A connection's socket, and what the kernel knows of its peer.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::ioctl::{Getter, Opcode, ioctl};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::connection_limits::ConnectionPermit;
use crate::rpc::{PeerState, ReplyStream, Transport};

/// A socket and its permit, which is given back as soon as the socket is closed, whatever the connection's
/// calls do.
#[derive(Debug)]
pub(super) struct Socket {
    // Dropped in this order.
    stream: Arc<TcpStream>,
    end: CancellationToken,
    _permit: ConnectionPermit,
    replies: Arc<ReplyStream>,
}

impl Socket {
    pub(super) fn new(
        stream: TcpStream,
        end: CancellationToken,
        permit: ConnectionPermit,
    ) -> Arc<Self> {
        let stream = Arc::new(stream);
        let replies = Arc::new(ReplyStream::new(Box::new(Arc::clone(&stream))));
        Arc::new(Self { stream, end, _permit: permit, replies })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Fires when the connection is to end.
    pub(super) fn end(&self) -> &CancellationToken {
        &self.end
    }

    /// The account of the replies that are written to it.
    pub(super) fn replies(&self) -> &Arc<ReplyStream> {
        &self.replies
    }

    /// Whether the peer is there.
    pub(super) fn peer(&self) -> PeerState {
        peer_state(&self.stream)
    }
}

/// Whatever way the connection ends, the replies that the peer may not have read are known.
impl Drop for Socket {
    fn drop(&mut self) {
        self.replies.close();
    }
}

impl Transport for Arc<TcpStream> {
    fn unacknowledged(&self) -> u64 {
        unacknowledged(self)
    }

    fn peer(&self) -> PeerState {
        peer_state(self)
    }
}

/// SIOCOUTQ of tcp(7), which has TIOCOUTQ's number.
const SIOCOUTQ: Opcode = libc::TIOCOUTQ as Opcode;

/// The bytes that wait in the socket's send queue, sent or not; 0 on a system without this call.
#[allow(
    unsafe_code,
    reason = "no crate has a safe wrapper; the kernel writes one int, for which a Getter of an int has room"
)]
fn unacknowledged(socket: impl AsFd) -> u64 {
    // SAFETY: SIOCOUTQ writes an int, and reads nothing.
    let bytes = unsafe { ioctl(socket, Getter::<SIOCOUTQ, libc::c_int>::new()) };
    bytes.ok().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0)
}

/// Whether the peer is there, without reading from the socket.
fn peer_state(socket: impl AsFd) -> PeerState {
    let mut polled = [PollFd::new(&socket, PollFlags::RDHUP)];
    // A failure is of the call, and says nothing about the socket.
    let _ = poll(&mut polled, Some(&Timespec::default()));
    let state = polled[0].revents();
    if state.intersects(PollFlags::HUP | PollFlags::ERR) {
        PeerState::Reset
    } else if state.contains(PollFlags::RDHUP) {
        PeerState::Finished
    } else {
        PeerState::Connected
    }
}
