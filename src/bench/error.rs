//! Why a measurement ends early.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::fault::Fault;
use crate::xdr::DecodeError;

/// Why a measurement ends early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host's name has no address.
    #[error("{host}: no address found")]
    Resolve {
        host: String,
        #[source]
        source: io::Error,
    },
    /// No connection.
    #[error("{address}: connecting failed")]
    Connect {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// The portmapper cannot be asked for a port that the URL does not have.
    #[error("the URL has no port and the portmapper cannot be asked; write nfs://host:port/export")]
    Portmapper(#[source] Box<Error>),
    /// The portmapper knows no such program.
    #[error("the portmapper at {address} has no {program} over TCP")]
    Unregistered { address: SocketAddr, program: &'static str },
    /// The connection broke.
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// The server closed the connection while calls were in flight.
    #[error("the server closed the connection")]
    Closed,
    /// No reply for a long time.
    #[error("no reply within {0:?}")]
    Silent(Duration),
    /// A reply that is none to a call in flight, or longer than any may be.
    #[error("{0}")]
    Protocol(&'static str),
    /// A reply that cannot be decoded.
    #[error("a reply cannot be decoded")]
    Decode(#[from] DecodeError),
    /// A call of the preparation or of the removal failed.
    #[error("{doing}: {fault}")]
    Refused { doing: &'static str, fault: Fault },
    /// MNT failed.
    #[error("mounting {path}: mountstat3 {status}{}", hint(*.status))]
    Mount { path: String, status: u32 },
    /// A thread of the load generator ended early.
    #[error("a connection's task ended early")]
    Task(#[source] tokio::task::JoinError),
}

fn hint(status: u32) -> &'static str {
    match status {
        1 => " (MNT3ERR_PERM)",
        2 => " (MNT3ERR_NOENT): no such export",
        13 => {
            " (MNT3ERR_ACCES): this address is not a client of the export, or the server asks for a reserved \
             port"
        }
        _ => "",
    }
}
