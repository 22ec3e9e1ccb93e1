//! `server`: how the server listens and what it bounds.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::error::Error;
use super::section::Field;
use super::values::{MOST, address, count, duration};

/// The port that is listened on where the configuration names none.
pub const DEFAULT_PORT: u16 = 12049;

/// How the server listens and what it bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where NFS and MOUNT are served.
    pub listen: SocketAddr,
    /// How long a request may take before it is given up.
    pub request_timeout: Duration,
    /// How long running requests may take after the signal to stop.
    pub drain_timeout: Duration,
    /// How many connections may be open at once.
    pub max_connections: usize,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), DEFAULT_PORT),
            request_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(20),
            max_connections: 1024,
        }
    }
}

pub(super) fn server(field: &Field<'_>) -> Result<Server, Error> {
    let section =
        field.section(&["listen", "request_timeout", "drain_timeout", "max_connections"])?;
    let default = Server::default();
    Ok(Server {
        listen: section.or("listen", default.listen, address)?,
        request_timeout: section.or("request_timeout", default.request_timeout, duration)?,
        drain_timeout: section.or("drain_timeout", default.drain_timeout, duration)?,
        max_connections: section
            .or("max_connections", default.max_connections, |field| count(field, MOST))?,
    })
}
