//! The machine's rpcbind(8), which tells clients the ports of the programs that are registered with it.
//!
//! An entry outlives its process, and a rpcbind that was restarted may have forgotten all. So what is
//! registered is looked up now and then, and a stale entry of a program that is served gives way.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UdpSocket, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{MAX_STRING_BYTES, Mapping, OWNER, PORT, PROGRAM, Registration};
use crate::rpc::client::{CallError, Procedure, call, call_by_datagram};
use crate::rpc::null_probe::own_address;
use crate::types::Chain;
use crate::xdr::{DecodeError, Decoder, Encoder, Message};

/// The version of rpcbind's protocol that is spoken.
const VERSION: u32 = 4;
const NULL: u32 = 0;
const SET: u32 = 1;
const UNSET: u32 = 2;
const DUMP: u32 = 4;
/// The longest reply, and the most entries in one.
const MAX_REPLY_BYTES: u32 = 256 << 10;
const MAX_ENTRIES: usize = 1024;
/// How long rpcbind may take for a call.
const CALL_TIME: Duration = Duration::from_secs(2);
/// How often the entries are looked up, and how soon after a failure.
const LOOK_UP: Duration = Duration::from_secs(60);
const LOOK_UP_AGAIN: Duration = Duration::from_secs(10);

/// The lock manager and the status monitor. The kernel of a machine that mounts NFS itself has registered its
/// own lock manager, and with it comes rpc.statd(8): those stay, and everything else is registered all the
/// same.
const LOCK_MANAGER: u32 = 100_021;
const STATUS_MONITOR: u32 = 100_024;

/// What is not registered, since another program of the machine serves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// The lock manager.
    pub(super) locks: bool,
    /// The status monitor.
    pub(super) status: bool,
    /// Where it takes datagrams.
    pub(super) statd: Option<SocketAddr>,
}

impl Elsewhere {
    fn note(&mut self, program: u32, entry: Option<&Entry>) -> bool {
        match program {
            LOCK_MANAGER => self.locks = true,
            STATUS_MONITOR => {
                self.status = true;
                let datagrams = entry.filter(|entry| entry.netid == "udp");
                let address = datagrams.and_then(|entry| socket_address(&entry.address));
                self.statd = self.statd.or(address.map(own_address));
            }
            _ => return false,
        }
        true
    }

    /// Says what has changed since `before`.
    pub(crate) fn log(self, before: Self) {
        if self.locks && !before.locks {
            tracing::error!(
                "another lock manager is registered with rpcbind, and clients' locks go there: this machine's kernel \
                 registers its own where it mounts NFS; mount with nolock here, or run the server in a network \
                 namespace with an address of its own"
            );
        }
        if before.locks && !self.locks {
            tracing::info!("the lock manager is registered with rpcbind");
        }
        if self.status && !before.status {
            tracing::info!(
                "rpc.statd of this machine stays registered with rpcbind: clients that reboot tell it, and it tells \
                 this server"
            );
        }
    }
}

/// Why a program is not registered.
#[derive(Debug, thiserror::Error)]
pub enum RpcbindError {
    /// There is no rpcbind, or it does not answer.
    #[error("rpcbind does not answer; start it, or set server.portmap to serve or off")]
    Unavailable(#[source] CallError),
    /// Another program serves it.
    #[error(
        "program {program} version {version} ({netid}) is registered with rpcbind at {address} by {owner}, where it is served"
    )]
    Taken {
        /// The program's number.
        program: u32,
        /// Its version.
        version: u32,
        /// How it is reached.
        netid: &'static str,
        /// Its universal address.
        address: String,
        /// Who has registered it.
        owner: String,
    },
    /// It refuses the entry.
    #[error("rpcbind refuses to register program {program} version {version} ({netid})")]
    Refused {
        /// The program's number.
        program: u32,
        /// Its version.
        version: u32,
        /// How it is reached.
        netid: &'static str,
    },
}

impl From<CallError> for RpcbindError {
    fn from(error: CallError) -> Self {
        Self::Unavailable(error)
    }
}

/// Where rpcbind is asked: by its socket, which tells it the caller's user, else over loopback.
#[derive(Clone, Debug)]
pub struct Rpcbind {
    socket: PathBuf,
    address: SocketAddr,
}

impl Default for Rpcbind {
    fn default() -> Self {
        Self { socket: "/run/rpcbind.sock".into(), address: (Ipv4Addr::LOCALHOST, PORT).into() }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection to rpcbind.
struct Connection(Box<dyn Stream>);

/// An entry of rpcbind's list (struct rpcb).
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    program: u32,
    version: u32,
    netid: String,
    address: String,
    owner: String,
}

impl Rpcbind {
    /// Whether rpcbind answers.
    pub async fn answers(&self) -> bool {
        let asked = async { self.connect().await?.call(NULL, Message::default()).await };
        asked.await.is_ok()
    }

    async fn connect(&self) -> Result<Connection, CallError> {
        let connect = async {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => Ok(Connection(Box::new(stream))),
                Err(_) => Ok(Connection(Box::new(TcpStream::connect(self.address).await?))),
            }
        };
        timeout(CALL_TIME, connect).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// Registers programs, all or none but those of [`Elsewhere`]. Entries that are there already stay; one
    /// whose program is not served any more is replaced.
    ///
    /// # Errors
    /// [`RpcbindError`].
    pub async fn register(&self, mappings: &[Mapping]) -> Result<Elsewhere, RpcbindError> {
        let registered = self.set(mappings).await;
        if registered.is_err() {
            // Where rpcbind does not answer there is nothing to take back.
            self.unregister(mappings).await.ok();
        }
        registered
    }

    async fn set(&self, mappings: &[Mapping]) -> Result<Elsewhere, RpcbindError> {
        let mut elsewhere = Elsewhere::default();
        let mut connection = self.connect().await?;
        let entries = connection.dump().await?;
        for (Service { program, version, netid }, address) in each(mappings) {
            let known = entries.iter().find(|it| it.is(program, version, netid));
            if let Some(known) = known.filter(|known| known.address != address) {
                if is_served(known).await {
                    if elsewhere.note(program, Some(known)) {
                        continue;
                    }
                    let (address, owner) = (known.address.clone(), known.owner.clone());
                    return Err(RpcbindError::Taken { program, version, netid, address, owner });
                }
                connection.change(UNSET, program, version, netid, "").await?;
            }
            let set = connection.change(SET, program, version, netid, &address).await?;
            if !set && !elsewhere.note(program, known) {
                return Err(RpcbindError::Refused { program, version, netid });
            }
        }
        Ok(elsewhere)
    }

    /// Takes the entries of programs back, those of the server alone.
    ///
    /// # Errors
    /// [`RpcbindError::Unavailable`].
    pub async fn unregister(&self, mappings: &[Mapping]) -> Result<(), RpcbindError> {
        let mut connection = self.connect().await?;
        let entries = connection.dump().await?;
        for (Service { program, version, netid }, address) in each(mappings) {
            let own = |it: &Entry| it.is(program, version, netid) && it.address == address;
            if entries.iter().any(own) {
                connection.change(UNSET, program, version, netid, "").await?;
            }
        }
        Ok(())
    }

    /// Keeps programs registered until `stop` fires, and takes their entries back then. `registered` says
    /// what of them is elsewhere, where they are so; `registration` is told what becomes of it.
    pub async fn keep(
        self,
        mappings: Vec<Mapping>,
        registered: Option<Elsewhere>,
        registration: &Registration,
        stop: CancellationToken,
    ) {
        let mut elsewhere = registered.unwrap_or_default();
        let mut registered = registered.is_some();
        loop {
            let pause = if registered { LOOK_UP } else { LOOK_UP_AGAIN };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep(pause) => {}
            }
            let result = self.register(&mappings).await;
            if result.is_ok() != registered {
                match &result {
                    Ok(_) => tracing::info!("the programs are registered with rpcbind"),
                    Err(error) => {
                        let error = Chain(error);
                        tracing::error!(%error, "clients cannot find the server's ports");
                    }
                }
            }
            registered = result.is_ok();
            match result {
                Ok(now) => {
                    now.log(elsewhere);
                    registration.registered(now);
                    elsewhere = now;
                }
                Err(error) => registration.lost(Chain(&error).to_string()),
            }
        }
        if let Err(error) = self.unregister(&mappings).await {
            let error = Chain(&error);
            tracing::warn!(%error, "the programs may still be registered with rpcbind");
        }
    }
}

impl Connection {
    async fn call(&mut self, number: u32, arguments: Message) -> Result<Decoder, CallError> {
        let procedure = Procedure { program: PROGRAM, version: VERSION, number };
        let call = call(&mut self.0, procedure, arguments, MAX_REPLY_BYTES);
        timeout(CALL_TIME, call).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// SET or UNSET of an entry.
    async fn change(
        &mut self,
        number: u32,
        program: u32,
        version: u32,
        netid: &str,
        address: &str,
    ) -> Result<bool, CallError> {
        let mut entry = Encoder::new();
        entry.u32(program);
        entry.u32(version);
        entry.opaque(netid.as_bytes());
        entry.opaque(address.as_bytes());
        entry.opaque(OWNER);
        Ok(self.call(number, entry.finish()).await?.boolean()?)
    }

    async fn dump(&mut self) -> Result<Vec<Entry>, CallError> {
        let mut list = self.call(DUMP, Message::default()).await?;
        let mut entries = Vec::new();
        while list.boolean()? {
            if entries.len() >= MAX_ENTRIES {
                return Err(CallError::Foreign);
            }
            entries.push(Entry::decode(&mut list)?);
        }
        Ok(entries)
    }
}

impl Entry {
    fn is(&self, program: u32, version: u32, netid: &str) -> bool {
        (self.program, self.version, self.netid.as_str()) == (program, version, netid)
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let (program, version) = (from.u32()?, from.u32()?);
        let mut text = || {
            let bytes = from.opaque(MAX_STRING_BYTES)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Self { program, version, netid: text()?, address: text()?, owner: text()? })
    }
}

fn timed_out() -> CallError {
    CallError::Connection(io::ErrorKind::TimedOut.into())
}

/// A program by one netid.
struct Service {
    program: u32,
    version: u32,
    netid: &'static str,
}

/// The mappings by each netid, with their universal addresses.
fn each(mappings: &[Mapping]) -> impl Iterator<Item = (Service, String)> {
    mappings.iter().flat_map(|mapping| {
        let Mapping { program, version, .. } = *mapping;
        mapping.netids().map(move |netid| {
            (Service { program, version, netid: netid.name() }, mapping.address_for(netid))
        })
    })
}

/// Whether an entry's program answers at its port.
async fn is_served(entry: &Entry) -> bool {
    let Some(address) = socket_address(&entry.address).map(own_address) else { return false };
    let null = Procedure { program: entry.program, version: entry.version, number: NULL };
    let asked = async {
        if entry.netid.starts_with("udp") {
            let any = if address.is_ipv4() {
                IpAddr::V4(Ipv4Addr::UNSPECIFIED)
            } else {
                IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            };
            let socket = UdpSocket::bind((any, 0)).await?;
            socket.connect(address).await?;
            return call_by_datagram(&socket, null, Message::default(), CALL_TIME / 4).await;
        }
        let mut stream = TcpStream::connect(address).await?;
        call(&mut stream, null, Message::default(), MAX_REPLY_BYTES).await
    };
    matches!(timeout(CALL_TIME, asked).await, Ok(Ok(_)))
}

/// What a universal address says.
fn socket_address(universal: &str) -> Option<SocketAddr> {
    let (rest, low) = universal.rsplit_once('.')?;
    let (ip, high) = rest.rsplit_once('.')?;
    let port = u16::from_be_bytes([high.parse().ok()?, low.parse().ok()?]);
    Some(SocketAddr::new(ip.parse().ok()?, port))
}

#[cfg(test)]
mod tests;
