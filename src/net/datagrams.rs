//! Calls as datagrams (RFC 5531 section 11): each has one call, without a record mark, and gets one reply,
//! from the address that it came to.
//!
//! The sender of a datagram may be forged. So only addresses that may connect are answered, a reply is short,
//! and calls in flight are few. What is not served is dropped: clients repeat a call over UDP.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Shared;
use super::listener::Pauses;
use crate::log_limit::{About, limited};
use crate::rpc::{Arrival, Dispatcher, Origin, Protocol, Standing};
use crate::types::ClientPlaces;

/// The longest call that is taken, in bytes.
const MAX_CALL_BYTES: usize = 8 << 10;
/// The longest reply that is sent.
const MAX_REPLY_BYTES: usize = 8800;
/// The most bytes that are received at once: several datagrams of one sender, or one of any length.
const INPUT_BYTES: usize = 64 << 10;
/// Calls in flight of a socket, in all and of one client.
const MAX_CALLS: usize = 64;
const MAX_CALLS_PER_CLIENT: usize = 8;

/// A socket that knows to which address a datagram came.
#[derive(Debug)]
pub(super) struct DatagramSocket {
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

/// One or several datagrams of a length from one sender.
struct Received {
    peer: SocketAddr,
    local: IpAddr,
    bytes: usize,
    stride: usize,
}

impl DatagramSocket {
    /// Listens at an address.
    ///
    /// # Errors
    /// Those of bind(2).
    pub(super) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address).await?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let local = socket.local_addr()?;
        Ok(Self { socket, state, local })
    }

    /// Where it listens, with the port that it was given.
    pub(super) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    async fn receive(&self, input: &mut [u8]) -> io::Result<Received> {
        let mut meta = [RecvMeta::default()];
        let receive = || {
            let mut buffers = [IoSliceMut::new(&mut *input)];
            self.state.recv(UdpSockRef::from(&self.socket), &mut buffers, &mut meta)
        };
        self.socket.async_io(Interest::READABLE, receive).await?;
        let [RecvMeta { addr, len, stride, dst_ip, .. }] = meta;
        let local = dst_ip.unwrap_or(self.local.ip());
        Ok(Received { peer: addr, local, bytes: len, stride: stride.max(1) })
    }

    /// Sends a reply; one that cannot be sent is lost, as any datagram may be.
    async fn send(&self, from: IpAddr, to: SocketAddr, reply: &[u8]) {
        let (destination, src_ip) = (to, Some(from).filter(|from| !from.is_unspecified()));
        let transmit =
            Transmit { destination, ecn: None, contents: reply, segment_size: None, src_ip };
        let send = || self.state.try_send(UdpSockRef::from(&self.socket), &transmit);
        if let Err(error) = self.socket.async_io(Interest::WRITABLE, send).await {
            tracing::debug!(client = %to, %error, "a reply as a datagram was not sent");
        }
    }
}

/// Answers calls until the server drains. Calls in flight are dropped then.
pub(super) async fn serve(
    socket: DatagramSocket,
    dispatcher: Arc<Dispatcher>,
    shared: Arc<Shared>,
) {
    let (socket, places) = (Arc::new(socket), ClientPlaces::new(MAX_CALLS, MAX_CALLS_PER_CLIENT));
    let mut calls = JoinSet::new();
    let mut input = vec![0; INPUT_BYTES];
    let mut pauses = Pauses::default();
    loop {
        let received = tokio::select! {
            biased;
            () = shared.drain.cancelled() => return,
            received = socket.receive(&mut input) => received,
        };
        while calls.try_join_next().is_some() {}
        let received = match received {
            Ok(received) => received,
            // An earlier reply did not reach its client (ICMP).
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => {
                limited!(error, About::default(), "datagrams cannot be received", %error);
                tokio::select! {
                    () = shared.drain.cancelled() => return,
                    () = sleep(pauses.next()) => {}
                }
                continue;
            }
        };
        pauses = Pauses::default();
        let Received { peer, local, bytes, stride } = received;
        if !is_answered(&received, &shared) {
            continue;
        }
        for call in input[..bytes].chunks(stride).filter(|call| call.len() <= MAX_CALL_BYTES) {
            let Some(place) = places.take(peer.ip()) else {
                limited!(warn, peer, "calls over UDP are dropped: too many are in flight", client = %peer);
                break;
            };
            let origin = Origin {
                peer,
                arrival: Arrival { address: local, protocol: Protocol::Udp },
                standing: Standing::default(),
                cancel: shared.abort.child_token(),
            };
            let (socket, dispatcher) = (socket.clone(), dispatcher.clone());
            let call = Bytes::copy_from_slice(call);
            calls.spawn(async move {
                let _place = place;
                let Some(answer) = dispatcher.datagram(&origin, call).await else { return };
                let Ok(reply) = answer.datagram() else { return };
                if reply.len() <= MAX_REPLY_BYTES {
                    socket.send(local, peer, &reply).await;
                }
            });
        }
    }
}

/// Whether a datagram's sender may be answered, from the address that it came to.
fn is_answered(received: &Received, shared: &Shared) -> bool {
    let (peer, local) = (received.peer, received.local.to_canonical());
    let everybody = match local {
        IpAddr::V4(local) => local.is_broadcast() || local.is_multicast(),
        IpAddr::V6(local) => local.is_multicast(),
    };
    let answered =
        peer.port() != 0 && !everybody && shared.admission.read().admits(peer.ip(), local);
    if !answered {
        tracing::debug!(client = %peer, %local, "a datagram was dropped: no share admits its sender");
    }
    answered
}
