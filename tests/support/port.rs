//! Ports of this machine that are a test's own for as long as it wants.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port of 127.0.0.1 that is bound and on which nobody listens: connections to it are refused, and nobody
/// gets it who asks for any free port, whatever comes and goes on it. A server that is told this very port
/// listens on it, as both set SO_REUSEADDR (socket(7)).
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(crate) port: u16,
    _bound: TcpSocket,
}

impl Reserved {
    pub(crate) fn new() -> Self {
        let bound = TcpSocket::new_v4().unwrap();
        bound.set_reuseaddr(true).unwrap();
        bound.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self { port: bound.local_addr().unwrap().port(), _bound: bound }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}
