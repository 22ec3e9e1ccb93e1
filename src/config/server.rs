//! `server`: how the server listens and what it bounds.

use std::fmt;
use std::net::SocketAddr;

use ipnet::IpNet;
use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

use crate::net::ServerSettings;
use crate::portmap::{self, PortmapMode};
use crate::types::settings::{Flat, Network, Number};

/// The port that is listened on where the configuration names none.
pub const DEFAULT_PORT: u16 = 12049;

/// How the server listens and what it bounds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(from = "Flat<Listener, ServerSettings>")]
pub struct Server {
    /// Where it listens, and for whom.
    #[serde(flatten)]
    pub listener: Listener,
    /// What it bounds.
    #[serde(flatten)]
    pub settings: ServerSettings,
}

/// Where the server listens, and for whom.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Listener {
    /// Where NFS and MOUNT are served.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// Networks that no share admits and that may connect all the same, to see whether the server answers.
    #[serde(deserialize_with = "networks")]
    pub probe_networks: Vec<IpNet>,
    /// How clients learn the ports.
    pub portmap: PortmapMode,
    /// Where the server is asked for them, with `portmap: serve` or `auto`.
    #[serde(with = "Number::<1, { u16::MAX as u64 }>")]
    pub portmap_port: u16,
}

impl From<Flat<Listener, ServerSettings>> for Server {
    fn from(Flat(listener, settings): Flat<Listener, ServerSettings>) -> Self {
        Self { listener, settings }
    }
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            listen: ([0, 0, 0, 0], DEFAULT_PORT).into(),
            probe_networks: Vec::new(),
            portmap: PortmapMode::default(),
            portmap_port: portmap::PORT,
        }
    }
}

/// An address and a port; port 0 takes one that is free.
pub(super) fn address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    from.deserialize_any(Address)
}

struct Address;

impl Visitor<'_> for Address {
    type Value = SocketAddr;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an address; write an IP address and a port, such as 0.0.0.0:12049 or [::]:12049",
        )
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SocketAddr, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    let networks = Vec::<Network>::deserialize(from)?;
    Ok(networks.into_iter().map(|Network(network)| network).collect())
}
