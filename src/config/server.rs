//! `server`: how the server listens and what it bounds.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::error::Error;
use super::section::Field;
use super::tree::Value;
use super::values::{MOST, Size, address, count, duration, network, size};
use crate::net::ServerSettings;

/// The port that is listened on where the configuration names none.
pub const DEFAULT_PORT: u16 = 12049;

/// How the server listens and what it bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where NFS and MOUNT are served.
    pub listen: SocketAddr,
    /// How long a request may take before it is given up.
    pub request_timeout: Duration,
    /// How long running requests may take after the signal to stop.
    pub drain_timeout: Duration,
    /// How many connections may be open at once.
    pub max_connections: usize,
    /// How many of them may come from one client.
    pub max_connections_per_client: usize,
    /// How long a connection may be without a request before it is closed.
    pub idle_timeout: Duration,
    /// Networks that no share admits and that may connect all the same, to see whether the server answers.
    pub probe_networks: Vec<IpNet>,
    /// How many bytes the large requests and replies of all connections may take.
    pub memory_budget: u64,
}

/// The least and the most of `memory_budget`, in bytes: some of the longest requests, and more than any
/// machine has.
const BUDGETS: (u64, u64) = (16 << 20, 16 << 40);

pub(super) fn server(field: &Field<'_>) -> Result<Server, Error> {
    let section = field.section(&[
        "listen",
        "request_timeout",
        "drain_timeout",
        "max_connections",
        "max_connections_per_client",
        "idle_timeout",
        "probe_networks",
        "memory_budget",
    ])?;
    let listen = section.or(
        "listen",
        SocketAddr::from(([0, 0, 0, 0], DEFAULT_PORT)).to_string(),
        address,
    )?;
    let defaults = ServerSettings::new(vec![listen]);
    let connections = |key, default: usize| section.or(key, default, |field| count(field, MOST));
    Ok(Server {
        listen,
        request_timeout: section.or("request_timeout", defaults.request_timeout, duration)?,
        drain_timeout: section.or("drain_timeout", defaults.drain_timeout, duration)?,
        max_connections: connections("max_connections", defaults.max_connections)?,
        max_connections_per_client: connections(
            "max_connections_per_client",
            defaults.max_connections_per_client,
        )?,
        idle_timeout: section.or("idle_timeout", defaults.idle_timeout, duration)?,
        probe_networks: section.or("probe_networks", Value::List(Vec::new()), |field| {
            field.list()?.iter().map(network).collect()
        })?,
        memory_budget: section.or("memory_budget", Size::of(defaults.memory_budget), |field| {
            size(field, BUDGETS.0, BUDGETS.1)
        })?,
    })
}
