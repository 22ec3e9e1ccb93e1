//! The port mapper (RFC 1833), versions 2, 3 and 4: it tells clients at which port a program is served, so
//! that `mount -t nfs host:/share /mnt` needs no options. It speaks for this server alone, and changes
//! nothing for anybody.

mod registration;
mod rpcbind;

use std::net::{IpAddr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub use self::registration::Registration;
pub use self::rpcbind::{Elsewhere, Rpcbind, RpcbindError};
use crate::rpc::{Arrival, CallMessage, Program, Protocol, Reply};
use crate::xdr::{DecodeError, Decoder, Encoder};

/// The program's number (PMAPPROG, RPCBPROG).
pub const PROGRAM: u32 = 100_000;
/// The port that clients know (PMAPPORT, RPCB_PORT).
pub const PORT: u16 = 111;
/// The versions that are served; 2 is the port mapper, 3 and 4 are rpcbind.
const VERSIONS: [u32; 3] = [2, 3, 4];
/// The longest string of a call, in bytes.
const MAX_STRING_BYTES: usize = 128;
/// Whose the entries of a list are.
const OWNER: &[u8] = b"trunkfs";

/// How clients learn the server's ports.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PortmapMode {
    /// From the machine's rpcbind where there is one, else from the server itself where it may listen on the
    /// port; clients name the ports otherwise. A server that listens on a loopback address is `off`.
    #[default]
    Auto,
    /// From the machine's rpcbind.
    Rpcbind,
    /// From the server itself.
    Serve,
    /// Clients name the ports.
    Off,
}

/// A program, and where it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The program's number.
    pub program: u32,
    /// Its version.
    pub version: u32,
    /// How calls come.
    pub protocol: Protocol,
    /// The address that is listened on.
    pub address: SocketAddr,
}

impl Mapping {
    /// The netids by which the service is reached (netconfig(5)). An IPv6 socket for every address serves
    /// IPv4 too.
    fn netids(&self) -> impl Iterator<Item = Netid> + use<> {
        let (protocol, ip) = (self.protocol, self.address.ip());
        let versions = match ip {
            IpAddr::V4(_) => [Some(false), None],
            IpAddr::V6(ip) if ip.is_unspecified() => [Some(false), Some(true)],
            IpAddr::V6(_) => [Some(true), None],
        };
        versions.into_iter().flatten().map(move |v6| Netid { protocol, v6 })
    }

    /// The universal address that rpcbind knows, which puts in the address that it is asked by where every
    /// address is listened on.
    fn address_for(&self, netid: Netid) -> String {
        let ip = match (self.address.ip(), netid.v6) {
            (IpAddr::V6(ip), false) if ip.is_unspecified() => IpAddr::V4([0, 0, 0, 0].into()),
            (ip, _) => ip,
        };
        universal_address(ip, self.address.port())
    }
}

/// A transport's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Netid {
    protocol: Protocol,
    v6: bool,
}

impl Netid {
    const ALL: [Self; 4] = [
        Self { protocol: Protocol::Tcp, v6: false },
        Self { protocol: Protocol::Udp, v6: false },
        Self { protocol: Protocol::Tcp, v6: true },
        Self { protocol: Protocol::Udp, v6: true },
    ];

    fn name(self) -> &'static str {
        match (self.protocol, self.v6) {
            (Protocol::Tcp, false) => "tcp",
            (Protocol::Udp, false) => "udp",
            (Protocol::Tcp, true) => "tcp6",
            (Protocol::Udp, true) => "udp6",
        }
    }
}

/// An address and a port as RFC 5665 section 5.2.3.3 writes them: `10.0.0.1.8.1`, `2001:db8::1.8.1`.
fn universal_address(ip: IpAddr, port: u16) -> String {
    format!("{}.{}.{}", ip.to_canonical(), port >> 8, port & 0xff)
}

/// One version of the port mapper.
#[derive(Debug)]
pub struct PortMapper {
    version: u32,
    mappings: Vec<Mapping>,
}

/// The procedures, whose numbers differ by version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Procedure {
    Null,
    Set,
    Unset,
    GetPort,
    GetAddress,
    GetVersionAddress,
    Dump,
    CallIt,
    GetTime,
}

impl Procedure {
    fn of(version: u32, number: u32) -> Option<Self> {
        Some(match (version, number) {
            (_, 0) => Self::Null,
            (_, 1) => Self::Set,
            (_, 2) => Self::Unset,
            (2, 3) => Self::GetPort,
            (_, 3) => Self::GetAddress,
            (_, 4) => Self::Dump,
            (_, 5) | (4, 10) => Self::CallIt,
            (3 | 4, 6) => Self::GetTime,
            (4, 9) => Self::GetVersionAddress,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Set => "SET",
            Self::Unset => "UNSET",
            Self::GetPort => "GETPORT",
            Self::GetAddress => "GETADDR",
            Self::GetVersionAddress => "GETVERSADDR",
            Self::Dump => "DUMP",
            Self::CallIt => "CALLIT",
            Self::GetTime => "GETTIME",
        }
    }
}

impl PortMapper {
    /// Every version, for these programs; the port mapper itself, at `own`, is listed beside them.
    #[must_use]
    pub fn versions(programs: &[Mapping], own: &[(Protocol, SocketAddr)]) -> Vec<Self> {
        let mut mappings = Vec::with_capacity(programs.len() + VERSIONS.len() * own.len());
        for version in VERSIONS.into_iter().rev() {
            let own = own.iter().copied();
            mappings.extend(own.map(|(protocol, address)| Mapping {
                program: PROGRAM,
                version,
                protocol,
                address,
            }));
        }
        mappings.extend_from_slice(programs);
        let mapper = |version| Self { version, mappings: mappings.clone() };
        VERSIONS.into_iter().map(mapper).collect()
    }

    /// A program's service. Another version of a program that is served is as good: its caller learns from
    /// PROG_MISMATCH which there are.
    fn find(&self, program: u32, version: u32, protocol: Protocol) -> Option<&Mapping> {
        let of_program = |it: &&Mapping| (it.program, it.protocol) == (program, protocol);
        let exact = self.mappings.iter().filter(of_program).find(|it| it.version == version);
        exact.or_else(|| self.mappings.iter().find(of_program))
    }

    fn answer(
        &self,
        procedure: Procedure,
        arrival: Arrival,
        mut arguments: Decoder,
    ) -> Result<Reply, DecodeError> {
        let mut reply = Encoder::new();
        match procedure {
            Procedure::Null => {}
            // What others serve is not listed here.
            Procedure::Set | Procedure::Unset => reply.boolean(false),
            Procedure::GetPort => {
                let (program, version) = (arguments.u32()?, arguments.u32()?);
                let protocol = protocol(arguments.u32()?);
                arguments.u32()?;
                let found = protocol.and_then(|protocol| self.find(program, version, protocol));
                reply.u32(found.map_or(0, |mapping| mapping.address.port().into()));
            }
            Procedure::GetAddress | Procedure::GetVersionAddress => {
                let asked = Asked::decode(&mut arguments)?;
                let protocol = asked.netid.map_or(arrival.protocol, |netid| netid.protocol);
                let found = self
                    .find(asked.program, asked.version, protocol)
                    .filter(|it| procedure == Procedure::GetAddress || it.version == asked.version)
                    .filter(|it| asked.netid.is_none_or(|netid| it.netids().any(|of| of == netid)));
                let address = found.map(|it| universal_address(arrival.address, it.address.port()));
                reply.opaque(address.unwrap_or_default().as_bytes());
            }
            Procedure::Dump => self.list(&mut reply),
            // It would lend the server's address to anybody, and over UDP send more than it was sent.
            Procedure::CallIt => {
                return Ok(match arrival.protocol {
                    Protocol::Tcp => Reply::ProcedureUnavailable,
                    Protocol::Udp => Reply::Dropped,
                });
            }
            Procedure::GetTime => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                reply.u32(u32::try_from(now.as_secs()).unwrap_or(u32::MAX));
            }
        }
        Ok(Reply::Success(reply.finish()))
    }

    /// Writes DUMP's results: pmaplist of version 2, rpcblist of the others.
    fn list(&self, reply: &mut Encoder) {
        for mapping in &self.mappings {
            if self.version == 2 {
                reply.boolean(true);
                reply.u32(mapping.program);
                reply.u32(mapping.version);
                reply.u32(number(mapping.protocol));
                reply.u32(mapping.address.port().into());
                continue;
            }
            for netid in mapping.netids() {
                reply.boolean(true);
                reply.u32(mapping.program);
                reply.u32(mapping.version);
                reply.opaque(netid.name().as_bytes());
                reply.opaque(mapping.address_for(netid).as_bytes());
                reply.opaque(OWNER);
            }
        }
        reply.boolean(false);
    }
}

/// A protocol by its number in a mapping of version 2 (IPPROTO_TCP, IPPROTO_UDP).
fn protocol(number: u32) -> Option<Protocol> {
    match number {
        6 => Some(Protocol::Tcp),
        17 => Some(Protocol::Udp),
        _ => None,
    }
}

fn number(protocol: Protocol) -> u32 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

/// What GETADDR asks for (struct rpcb).
struct Asked {
    program: u32,
    version: u32,
    /// `None` for one that is not known.
    netid: Option<Netid>,
}

impl Asked {
    fn decode(arguments: &mut Decoder) -> Result<Self, DecodeError> {
        let (program, version) = (arguments.u32()?, arguments.u32()?);
        let netid = arguments.opaque(MAX_STRING_BYTES)?;
        // r_addr and r_owner.
        arguments.opaque(MAX_STRING_BYTES)?;
        arguments.opaque(MAX_STRING_BYTES)?;
        let netid = Netid::ALL.into_iter().find(|known| known.name().as_bytes() == &netid[..]);
        Ok(Self { program, version, netid })
    }
}

#[async_trait::async_trait]
impl Program for PortMapper {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn procedure_name(&self, number: u32) -> Option<&'static str> {
        Procedure::of(self.version, number).map(Procedure::name)
    }

    fn is_replayed(&self, _number: u32) -> bool {
        false
    }

    async fn call(&self, call: CallMessage) -> Reply {
        let Some(procedure) = Procedure::of(self.version, call.procedure) else {
            return Reply::ProcedureUnavailable;
        };
        match self.answer(procedure, call.arrival, call.arguments) {
            Ok(reply) => reply,
            Err(DecodeError::Truncated | DecodeError::TooLong | DecodeError::Value) => {
                Reply::GarbageArguments
            }
        }
    }
}

#[cfg(test)]
mod tests;
