//! Where a client's lock manager listens: asked of the port mapper at the client's own address, and of nobody
//! else. No name and no address of a message is ever followed.
//!
//! A client that has no port mapper, or one that is silent, costs others nothing: look-ups are few at a time,
//! of one address fewer, and a failure is remembered.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::Mutex as Turn;
use tokio::time::{Instant, timeout};

use super::wire::Version;
use crate::rpc::Protocol;
use crate::rpc::client::{CallError, Procedure, call, call_by_datagram};
use crate::types::ClientPlaces;
use crate::xdr::{Encoder, Message};

/// NLM's number.
pub(super) const NLM: u32 = 100_021;
/// NSM's, at clients.
pub(super) const NSM: u32 = 100_024;
/// The port of port mappers (RFC 1833).
pub(super) const MAPPER_PORT: u16 = 111;
/// The port mapper's number, its version with GETPORT, and the one with GETADDR for every netid.
const MAPPER: u32 = 100_000;
const GETPORT_VERSION: u32 = 2;
const GETADDR_VERSION: u32 = 4;
const GETPORT: u32 = 3;
const GETADDR: u32 = 3;
/// The longest universal address, and the longest reply.
const MAX_ADDRESS_BYTES: usize = 256;
const MAX_REPLY_BYTES: u32 = 1024;

/// Look-ups at once, in all and of one address.
const MOST_AT_ONCE: usize = 64;
const MOST_OF_CLIENT: usize = 2;
/// How long a look-up may take, and the part of it that the port mapper's datagram has.
const TIME: Duration = Duration::from_secs(3);
const DATAGRAM_TIME: Duration = Duration::from_millis(1500);
const DATAGRAM_INTERVAL: Duration = Duration::from_millis(500);
/// How long a port is known, and a failure.
const KEPT: Duration = Duration::from_secs(60);
const FAILURE_KEPT: Duration = Duration::from_secs(10);
/// The most that is known of at a time.
const MOST_KNOWN: usize = 4096;

/// A client's lock manager, as a call of its client asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Destination {
    /// The client's address.
    pub(super) client: IpAddr,
    /// The address of ours that it called, from which it is called back.
    pub(super) local: IpAddr,
    pub(super) version: Version,
    pub(super) protocol: Protocol,
}

/// A program of a client, and the address of ours that asks for it.
#[derive(Clone, Copy, Debug)]
struct Asked {
    client: IpAddr,
    local: IpAddr,
    program: u32,
    version: u32,
    protocol: Protocol,
}

impl Asked {
    fn lock_manager(to: Destination) -> Self {
        let Destination { client, local, version, protocol } = to;
        Self { client, local, program: NLM, version: version.number(), protocol }
    }
}

/// Why there is no port.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum NoPort {
    /// The client's port mapper did not answer.
    #[error("its port mapper (port {mapper}) does not answer: {reason}")]
    Silent { mapper: u16, reason: String },
    /// It knows of no lock manager.
    #[error("no lock manager is registered with its port mapper")]
    NotRegistered,
    /// Too many look-ups are under way.
    #[error("too many look-ups are under way")]
    Busy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    client: IpAddr,
    version: Version,
    protocol: Protocol,
}

#[derive(Debug)]
struct Known {
    /// Held while it is asked for, so that one look-up answers all who want it.
    answer: Arc<Turn<Option<Found>>>,
    at: Instant,
}

#[derive(Clone, Debug)]
struct Found {
    port: Result<u16, NoPort>,
    at: Instant,
}

impl Found {
    fn is_fresh(&self) -> bool {
        self.at.elapsed() < if self.port.is_ok() { KEPT } else { FAILURE_KEPT }
    }
}

/// The ports of clients' lock managers.
#[derive(Debug)]
pub(super) struct Ports {
    /// The port mappers' port.
    mapper: u16,
    known: Mutex<HashMap<Key, Known>>,
    places: Arc<ClientPlaces>,
}

impl Ports {
    pub(super) fn new(mapper: u16) -> Self {
        let places = ClientPlaces::new(MOST_AT_ONCE, MOST_OF_CLIENT);
        Self { mapper, known: Mutex::default(), places }
    }

    /// The port of a client's lock manager.
    pub(super) async fn of(&self, to: Destination) -> Result<u16, NoPort> {
        let key = Key { client: to.client, version: to.version, protocol: to.protocol };
        let answer = self.entry(key);
        let mut answer = answer.lock().await;
        if let Some(found) = answer.as_ref().filter(|found| found.is_fresh()) {
            return found.port.clone();
        }
        let Some(_place) = self.places.take(to.client) else { return Err(NoPort::Busy) };
        let port = self.find(Asked::lock_manager(to)).await;
        *answer = Some(Found { port: port.clone(), at: Instant::now() });
        port
    }

    /// The port where a client's status monitor takes datagrams; it is not remembered.
    pub(super) async fn of_status_monitor(
        &self,
        client: IpAddr,
        local: IpAddr,
    ) -> Result<u16, NoPort> {
        let Some(_place) = self.places.take(client) else { return Err(NoPort::Busy) };
        let (program, version, protocol) = (NSM, 1, Protocol::Udp);
        self.find(Asked { client, local, program, version, protocol }).await
    }

    async fn find(&self, asked: Asked) -> Result<u16, NoPort> {
        timeout(TIME, self.ask(asked)).await.unwrap_or_else(|_| {
            let reason = "no answer in time".to_owned();
            Err(NoPort::Silent { mapper: self.mapper, reason })
        })
    }

    /// The lock manager is not where it was said to be.
    pub(super) async fn forget(&self, to: Destination) {
        let key = Key { client: to.client, version: to.version, protocol: to.protocol };
        let answer = self.known.lock().get(&key).map(|known| known.answer.clone());
        if let Some(answer) = answer {
            answer.lock().await.take_if(|found| found.port.is_ok());
        }
    }

    fn entry(&self, key: Key) -> Arc<Turn<Option<Found>>> {
        let mut known = self.known.lock();
        if known.len() >= MOST_KNOWN && !known.contains_key(&key) {
            known.retain(|_, it| it.at.elapsed() < KEPT);
            if known.len() >= MOST_KNOWN {
                // Ports are soon asked for again.
                known.clear();
            }
        }
        let now = Instant::now();
        let entry = known.entry(key).or_insert_with(|| Known { answer: Arc::default(), at: now });
        entry.at = now;
        entry.answer.clone()
    }

    /// GETPORT by a datagram, then over TCP, and GETADDR, which knows the netids of IPv6 too.
    async fn ask(&self, to: Asked) -> Result<u16, NoPort> {
        let mapper = SocketAddr::new(to.client, self.mapper);
        let mut reason = String::new();
        if to.client.is_ipv4() {
            match timeout(DATAGRAM_TIME, get_port_by_datagram(to, mapper)).await {
                Ok(Ok(port)) if port != 0 => return Ok(port),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => reason = error.to_string(),
                Err(_) => reason = "no answer over UDP".to_owned(),
            }
        }
        match get_port_over_tcp(to, mapper).await {
            Ok(Some(port)) => Ok(port),
            Ok(None) => Err(NoPort::NotRegistered),
            // It answered over UDP, and said that there is none.
            Err(_) if to.client.is_ipv4() && reason.is_empty() => Err(NoPort::NotRegistered),
            Err(error) => Err(NoPort::Silent {
                mapper: self.mapper,
                reason: if reason.is_empty() {
                    error.to_string()
                } else {
                    format!("{reason}; {error}")
                },
            }),
        }
    }
}

async fn get_port_by_datagram(to: Asked, mapper: SocketAddr) -> Result<u16, CallError> {
    let socket = UdpSocket::bind(SocketAddr::new(to.local, 0)).await?;
    socket.connect(mapper).await?;
    let mut results = call_by_datagram(&socket, GET_PORT, get_port(to), DATAGRAM_INTERVAL).await?;
    Ok(port_of(results.u32()?))
}

/// `None` where no lock manager is registered.
async fn get_port_over_tcp(to: Asked, mapper: SocketAddr) -> Result<Option<u16>, CallError> {
    if to.client.is_ipv4() {
        let mut stream = connect(to.local, mapper).await?;
        // A server of the newer versions alone refuses this one.
        if let Ok(mut results) = call(&mut stream, GET_PORT, get_port(to), MAX_REPLY_BYTES).await {
            let port = port_of(results.u32()?);
            if port != 0 {
                return Ok(Some(port));
            }
        }
    }
    let mut stream = connect(to.local, mapper).await?;
    let procedure = Procedure { program: MAPPER, version: GETADDR_VERSION, number: GETADDR };
    let mut results = call(&mut stream, procedure, get_address(to), MAX_REPLY_BYTES).await?;
    let address = results.opaque(MAX_ADDRESS_BYTES)?;
    Ok(port_in(&address).filter(|port| *port != 0))
}

const GET_PORT: Procedure =
    Procedure { program: MAPPER, version: GETPORT_VERSION, number: GETPORT };

/// A connection from one of our addresses.
pub(super) async fn connect(local: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(local, 0))?;
    socket.connect(to).await
}

/// GETPORT's arguments (struct mapping): program, version, IPPROTO_TCP or IPPROTO_UDP, and no port.
fn get_port(to: Asked) -> Message {
    let protocol = match to.protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    };
    let mut arguments = Encoder::new();
    [to.program, to.version, protocol, 0].into_iter().for_each(|item| arguments.u32(item));
    arguments.finish()
}

/// GETADDR's arguments (struct rpcb).
fn get_address(to: Asked) -> Message {
    let netid = match (to.protocol, to.client.is_ipv6()) {
        (Protocol::Tcp, false) => "tcp",
        (Protocol::Udp, false) => "udp",
        (Protocol::Tcp, true) => "tcp6",
        (Protocol::Udp, true) => "udp6",
    };
    let mut arguments = Encoder::new();
    arguments.u32(to.program);
    arguments.u32(to.version);
    arguments.opaque(netid.as_bytes());
    arguments.opaque(b"");
    arguments.opaque(b"");
    arguments.finish()
}

fn port_of(port: u32) -> u16 {
    u16::try_from(port).unwrap_or(0)
}

/// The port at the end of a universal address (RFC 5665 section 5.2.3.3); the address before it is not looked
/// at.
fn port_in(universal: &[u8]) -> Option<u16> {
    let mut parts = universal.rsplit(|byte| *byte == b'.');
    let mut part = || std::str::from_utf8(parts.next()?).ok()?.parse::<u8>().ok();
    let (low, high) = (part()?, part()?);
    Some(u16::from_be_bytes([high, low]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_universal_address_the_port_is_taken() {
        assert_eq!(port_in(b"10.0.0.1.8.1"), Some(2049));
        assert_eq!(port_in(b"2001:db8::1.0.111"), Some(111));
        assert_eq!(port_in(b""), None);
        assert_eq!(port_in(b"10.0.0.1.8.256"), None);
    }

    fn destination() -> Destination {
        let here = "127.0.0.1".parse().unwrap();
        let (version, protocol) = (Version::Four, Protocol::Udp);
        Destination { client: here, local: here, version, protocol }
    }

    /// A port mapper that answers over UDP with `port`, and counts.
    async fn mapper(port: u32) -> (u16, Arc<std::sync::atomic::AtomicU32>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let own = socket.local_addr().unwrap().port();
        let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            let mut call = [0; 256];
            loop {
                let (_, from) = socket.recv_from(&mut call).await.unwrap();
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let mut reply = call[..4].to_vec();
                for word in [1, 0, 0, 0, 0, port] {
                    reply.extend(word.to_be_bytes());
                }
                socket.send_to(&reply, from).await.unwrap();
            }
        });
        (own, asked)
    }

    #[tokio::test]
    async fn a_port_is_asked_for_once_however_many_want_it() {
        let (port, asked) = mapper(4045).await;
        let ports = Arc::new(Ports::new(port));
        let wanted = (0..8).map(|_| {
            let ports = ports.clone();
            tokio::spawn(async move { ports.of(destination()).await })
        });
        for found in wanted.collect::<Vec<_>>() {
            assert_eq!(found.await.unwrap().unwrap(), 4045);
        }
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
        ports.forget(destination()).await;
        assert_eq!(ports.of(destination()).await.unwrap(), 4045);
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_failure_is_remembered() {
        let (port, asked) = mapper(0).await;
        let ports = Ports::new(port);
        for _ in 0..3 {
            assert!(matches!(ports.of(destination()).await, Err(NoPort::NotRegistered)));
        }
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn of_one_address_few_are_looked_up_at_once() {
        let ports = Ports::new(1);
        let held: Vec<_> =
            (0..MOST_OF_CLIENT).map(|_| ports.places.take(destination().client).unwrap()).collect();
        assert!(matches!(ports.of(destination()).await, Err(NoPort::Busy)));
        drop(held);
        assert!(matches!(ports.of(destination()).await, Err(NoPort::Silent { .. })));
    }
}
