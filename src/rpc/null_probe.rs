//! Asking a server whether it answers: a call of NULL over TCP (RFC 5531 section 11.1), which needs no
//! credentials and touches no store.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::{CallError, Procedure, call};
use crate::xdr::Message;

/// The longest reply that is read: a reply to NULL has 24 bytes, one with a verifier 424.
const MAX_REPLY_BYTES: u32 = 1024;

/// A program that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// NFS version 3 (RFC 1813).
    Nfs,
    /// MOUNT version 3 (its appendix I).
    Mount,
}

/// Why a server counts as not answering.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No connection.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// It closed the connection instead of answering, as one does that has too many.
    #[error("the connection was closed without an answer")]
    Closed,
    /// Nothing came in time.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// Something came, and it was no reply of RPC to the call.
    #[error("the service on that port does not speak ONC RPC")]
    Foreign,
    /// The program is not there in this version.
    #[error("the RPC server on that port does not have this program")]
    NoProgram,
}

impl Service {
    /// Both programs that a server has.
    pub const ALL: [Self; 2] = [Self::Nfs, Self::Mount];

    /// Its name and version.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nfs => "NFS version 3",
            Self::Mount => "MOUNT version 3",
        }
    }

    fn number(self) -> u32 {
        match self {
            Self::Nfs => 100_003,
            Self::Mount => 100_005,
        }
    }
}

impl ProbeError {
    /// Whether the server took the connection, and so lives: one that has as many as it may closes further
    /// ones.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Connect(_) | Self::Silent(_) | Self::Foreign | Self::NoProgram => false,
        }
    }
}

/// Where a server that listens on `address` is reached from its own machine.
#[must_use]
pub fn own_address(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Calls NULL of a program at `address` on a connection of its own, for at most `patience`.
pub async fn probe(
    address: SocketAddr,
    service: Service,
    patience: Duration,
) -> Result<(), ProbeError> {
    timeout(patience, call_null(address, service))
        .await
        .unwrap_or(Err(ProbeError::Silent(patience)))
}

async fn call_null(address: SocketAddr, service: Service) -> Result<(), ProbeError> {
    let mut stream = TcpStream::connect(address).await.map_err(ProbeError::Connect)?;
    let null = Procedure { program: service.number(), version: 3, number: 0 };
    match call(&mut stream, null, Message::default(), MAX_REPLY_BYTES).await {
        Ok(_) => Ok(()),
        Err(CallError::Connection(_)) => Err(ProbeError::Closed),
        Err(CallError::Foreign) => Err(ProbeError::Foreign),
        Err(CallError::Refused) => Err(ProbeError::NoProgram),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(120);

    /// What a probe finds where every connection gets `bytes` and is closed.
    async fn found(bytes: &'static [u8]) -> Result<(), ProbeError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut call = [0; 44];
            stream.read_exact(&mut call).await.unwrap();
            assert_eq!(call[..4], [0x80, 0, 0, 40]);
            stream.write_all(bytes).await.unwrap();
        });
        let found = probe(address, Service::Nfs, PATIENCE).await;
        answering.await.unwrap();
        found
    }

    #[tokio::test]
    async fn only_success_is_an_answer() {
        let reply = b"\x80\0\0\x18trun\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        assert!(found(reply).await.is_ok());
        let unavailable = b"\x80\0\0\x18trun\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01";
        assert!(matches!(found(unavailable).await, Err(ProbeError::NoProgram)));
        let denied = b"\x80\0\0\x18trun\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0";
        assert!(matches!(found(denied).await, Err(ProbeError::NoProgram)));
        assert!(matches!(found(b"HTTP/1.1 400 Bad Request").await, Err(ProbeError::Foreign)));
        assert!(matches!(found(b"\x80\0\0\x18trun\0\0").await, Err(ProbeError::Foreign)));
        let closed = found(b"").await.unwrap_err();
        assert!(matches!(closed, ProbeError::Closed) && closed.is_alive());
    }

    #[tokio::test]
    async fn who_takes_the_connection_and_says_nothing_is_not_alive() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silent = probe(address, Service::Mount, Duration::from_millis(100)).await.unwrap_err();
        assert!(matches!(silent, ProbeError::Silent(_)) && !silent.is_alive());
        // Bound, without a listener.
        let closed = tokio::net::TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = closed.local_addr().unwrap();
        let gone = probe(address, Service::Mount, PATIENCE).await.unwrap_err();
        assert!(matches!(gone, ProbeError::Connect(_)) && !gone.is_alive());
    }

    #[test]
    fn every_address_is_reached_by_loopback() {
        for (listens, reached) in [
            ("0.0.0.0:5", "127.0.0.1:5"),
            ("[::]:5", "[::1]:5"),
            ("10.0.0.1:5", "10.0.0.1:5"),
            ("127.0.0.3:5", "127.0.0.3:5"),
        ] {
            assert_eq!(own_address(listens.parse().unwrap()), reached.parse().unwrap());
        }
    }
}
