//! Connections by an address that has moved from this machine to another one.
//!
//! Their clients call the machine that has the address now, and use the same port there: Linux keeps it. Were
//! the address to come back, the kernel's end of the connection before would answer, and the client would
//! wait for minutes. So such connections are closed without anything left of them.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval};

use super::Shared;
use crate::log_limit::limited;
use crate::rpc::is_own_address;

/// How often addresses are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Ends the connections by addresses that are away twice in a row: those of IPv6 are for a moment where a
/// link comes up again.
pub(super) async fn close_by_lost_addresses(shared: &Shared) -> Infallible {
    let mut interval = interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = HashSet::new();
    loop {
        interval.tick().await;
        before = look(shared, &before, is_own_address);
    }
}

/// The addresses that are away.
fn look(
    shared: &Shared,
    before: &HashSet<IpAddr>,
    is_own: impl Fn(IpAddr) -> bool,
) -> HashSet<IpAddr> {
    let mut away = shared.connections.local_addresses();
    away.retain(|address| !is_own(*address));
    for &address in away.intersection(before) {
        let connections = shared.connections.end_by(address);
        if connections > 0 {
            limited!(info, address, "an address is not this machine's any more: its connections are closed",
                %address, connections);
        }
    }
    away
}

/// Whether a connection's address is away. Nothing is left of the connection then when it is closed.
pub(super) fn leave_nothing_if_lost(stream: &TcpStream) -> bool {
    if stream.local_addr().is_ok_and(|local| is_own_address(local.ip())) {
        return false;
    }
    if let Err(error) = sockopt::set_socket_linger(stream, Some(Duration::ZERO)) {
        tracing::debug!(%error, "socket options");
    }
    true
}
