//! Calls to clients' lock managers: GRANTED and GRANTED_MSG, and the `_RES` of what came as `_MSG`.
//!
//! A call leaves from the address that the client called, since Linux takes GRANTED from no other, and from a
//! port below 1024 where the process may bind one. It goes to the client's own address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::ports::{Destination, NLM, NSM, NoPort, Ports};
use crate::rpc::client::{CallError, Procedure, call, call_by_datagram};
use crate::rpc::{Protocol, is_own_address};
use crate::xdr::{Decoder, Encoder, Message};

/// Ports below 1024 that are tried, as bindresvport(3) has them, and how many of them.
const LOW_PORTS: std::ops::RangeInclusive<u16> = 600..=1023;
const LOW_PORT_TRIES: usize = 4;
/// The longest reply.
const MAX_REPLY_BYTES: u32 = 4096;
/// How long a connection to a client may take.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// SM_STAT, and how long a client may take to answer.
const SM_STAT: u32 = 1;
const STATE_TIME: Duration = Duration::from_secs(3);

/// What became of a call.
#[derive(Debug)]
pub(super) enum Sent {
    /// The results.
    Answered(Decoder),
    /// The client does not have the procedure.
    Refused,
    /// Nothing reached the client.
    Unsent(Unsent),
    /// The client may have it.
    Silent,
}

/// Why nothing reached a client.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsent {
    /// Its port is not known.
    #[error("the port of its lock manager is not known")]
    NoPort(#[source] NoPort),
    /// Its lock manager cannot be reached.
    #[error("its lock manager cannot be reached")]
    Unreachable(#[source] io::Error),
    /// The address that it has called is not this machine's (any more).
    #[error("the address that it has called is not this machine's")]
    Moved,
}

/// Every address of ours of the family of a client's.
pub(super) fn any_address(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// Calls lock managers.
#[derive(Debug)]
pub(super) struct Sender {
    ports: Ports,
    /// Whether ports below 1024 can be bound, as far as is known.
    low_ports: AtomicBool,
}

impl Sender {
    /// `mapper` is the port of the clients' port mappers.
    pub(super) fn new(mapper: u16) -> Self {
        Self { ports: Ports::new(mapper), low_ports: AtomicBool::new(true) }
    }

    /// Looks a client's port up before it is needed.
    pub(super) async fn prepare(&self, to: Destination) {
        // Where it is needed, a failure is told.
        self.ports.of(to).await.ok();
    }

    /// Calls a procedure, and waits for the reply for at most `patience` after the look-up of the port.
    pub(super) async fn call(
        &self,
        to: Destination,
        number: u32,
        arguments: Message,
        patience: Duration,
    ) -> Sent {
        if !is_own_address(to.local) {
            return Sent::Unsent(Unsent::Moved);
        }
        let port = match self.ports.of(to).await {
            Ok(port) => port,
            Err(reason) => return Sent::Unsent(Unsent::NoPort(reason)),
        };
        let address = SocketAddr::new(to.client, port);
        let procedure = Procedure { program: NLM, version: to.version.number(), number };
        let sent = match to.protocol {
            Protocol::Udp => {
                self.by_datagram(to.local, address, procedure, arguments, patience).await
            }
            Protocol::Tcp => self.over_tcp(to.local, address, procedure, arguments, patience).await,
        };
        if matches!(sent, Sent::Unsent(_) | Sent::Refused) {
            // It may have been started again, at another port.
            self.ports.forget(to).await;
        }
        sent
    }

    /// The state of a client's status monitor (SM_STAT); `None` where it does not say.
    pub(super) async fn state_of(&self, client: IpAddr) -> Option<i32> {
        let local = any_address(client);
        let port = self.ports.of_status_monitor(client, local).await.ok()?;
        let procedure = Procedure { program: NSM, version: 1, number: SM_STAT };
        let mut arguments = Encoder::new();
        // Of whom it is asked makes no difference to the state.
        arguments.opaque(client.to_string().as_bytes());
        let sent = self.by_datagram(
            local,
            SocketAddr::new(client, port),
            procedure,
            arguments.finish(),
            STATE_TIME,
        );
        let Sent::Answered(mut results) = sent.await else { return None };
        results.u32().ok()?;
        Some(i32::from_be_bytes(results.fixed().ok()?))
    }

    async fn by_datagram(
        &self,
        local: IpAddr,
        to: SocketAddr,
        procedure: Procedure,
        arguments: Message,
        patience: Duration,
    ) -> Sent {
        let socket = match self.socket(local, to).await {
            Ok(socket) => socket,
            Err(error) => return Sent::Unsent(Unsent::Unreachable(error)),
        };
        // Sent once: a second copy of GRANTED is refused by a client that took the first.
        let called = call_by_datagram(&socket, procedure, arguments, patience * 2);
        match timeout(patience, called).await {
            Err(_) => Sent::Silent,
            Ok(Err(CallError::Connection(error))) => Sent::Unsent(Unsent::Unreachable(error)),
            Ok(answer) => answered(answer),
        }
    }

    async fn over_tcp(
        &self,
        local: IpAddr,
        to: SocketAddr,
        procedure: Procedure,
        arguments: Message,
        patience: Duration,
    ) -> Sent {
        let connected = timeout(CONNECT_TIME, self.connect(local, to)).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let mut stream = match connected {
            Ok(stream) => stream,
            Err(error) => return Sent::Unsent(Unsent::Unreachable(error)),
        };
        match timeout(patience, call(&mut stream, procedure, arguments, MAX_REPLY_BYTES)).await {
            Err(_) => Sent::Silent,
            Ok(answer) => answered(answer),
        }
    }

    /// A connected socket for datagrams.
    async fn socket(&self, local: IpAddr, to: SocketAddr) -> io::Result<UdpSocket> {
        for port in self.source_ports() {
            match UdpSocket::bind(SocketAddr::new(local, port)).await {
                Ok(socket) => {
                    socket.connect(to).await?;
                    return Ok(socket);
                }
                Err(error) => self.is_refused(port, error)?,
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    async fn connect(&self, local: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
        for port in self.source_ports() {
            let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            if port != 0 {
                // Earlier calls may have left it in TIME_WAIT.
                socket.set_reuseaddr(true)?;
            }
            let connected = match socket.bind(SocketAddr::new(local, port)) {
                Ok(()) => socket.connect(to).await,
                Err(error) => Err(error),
            };
            match connected {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => self.is_refused(port, error)?,
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// Source ports in the order in which they are tried; 0 is any.
    fn source_ports(&self) -> Vec<u16> {
        let mut ports = Vec::with_capacity(LOW_PORT_TRIES + 1);
        if self.low_ports.load(Ordering::Relaxed) {
            ports.extend((0..LOW_PORT_TRIES).map(|_| rand::random_range(LOW_PORTS)));
        }
        ports.push(0);
        ports
    }

    /// Whether another source port may do; else the error.
    fn is_refused(&self, port: u16, error: io::Error) -> io::Result<()> {
        match error.kind() {
            io::ErrorKind::PermissionDenied if port != 0 => {
                self.low_ports.store(false, Ordering::Relaxed);
                Ok(())
            }
            io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable if port != 0 => Ok(()),
            _ => Err(error),
        }
    }
}

fn answered(answer: Result<Decoder, CallError>) -> Sent {
    match answer {
        Ok(results) => Sent::Answered(results),
        Err(CallError::Refused) => Sent::Refused,
        // The call went out before the connection ended.
        Err(CallError::Connection(_) | CallError::Foreign) => Sent::Silent,
    }
}
