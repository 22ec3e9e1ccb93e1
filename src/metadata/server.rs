//! Servers that share a store.

use std::time::Duration;

use uuid::Uuid;

/// A server, or a tool that changes rows, which has listed itself in the database.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    pub instance: Uuid,
    /// The machine's name.
    pub host: String,
    /// Unknown of older versions, as what follows.
    pub pid: Option<i32>,
    /// Where it serves NFS; none of a tool.
    pub address: Option<String>,
    pub version: String,
    /// Whether it decides all changes.
    pub alone: bool,
    /// Since when it is there, in seconds since 1970.
    pub since: f64,
    /// How long ago it last renewed its row.
    pub silent: Duration,
    /// How many clients it had then.
    pub clients: Option<u32>,
    /// How many seconds its clock was ahead of the database's then.
    pub ahead: Option<f64>,
}
