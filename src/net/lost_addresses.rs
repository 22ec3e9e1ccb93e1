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
use super::connection_limits::ConnectionLimits;
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
        before = look(&shared.connections, &before, is_own_address);
    }
}

/// The addresses of connections that are away now. Connections by those that were away before end.
fn look(
    connections: &ConnectionLimits,
    before: &HashSet<IpAddr>,
    is_own: impl Fn(IpAddr) -> bool,
) -> HashSet<IpAddr> {
    let mut away = connections.local_addresses();
    away.retain(|address| !is_own(*address));
    for &address in away.intersection(before) {
        let ended = connections.end_by(address);
        if ended > 0 {
            limited!(info, address, "an address is not this machine's any more: its connections are closed",
                %address, connections = ended);
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::super::connection_limits::Limits;
    use super::*;
    use crate::rpc::Standing;

    #[test]
    fn connections_end_when_their_address_is_away_twice() {
        let connections = ConnectionLimits::new(Limits { all: 3, per_client: 3, unproven: 3 });
        let [kept, moved] = [1, 2].map(|last| IpAddr::from([10, 0, 1, last]));
        let ends = [kept, moved].map(|local| {
            let end = CancellationToken::new();
            let peer = [10, 0, 0, 1].into();
            (connections.take(peer, local, Standing::default(), end.clone()).unwrap(), end)
        });
        let is_ended = || ends.each_ref().map(|(_, end)| end.is_cancelled());
        let look = |before: &HashSet<IpAddr>, is_away: bool| {
            look(&connections, before, |address| !is_away || address == kept)
        };
        let away = look(&HashSet::new(), true);
        assert_eq!((&away, is_ended()), (&HashSet::from([moved]), [false, false]));
        // The address comes back and goes away again.
        let away = look(&away, false);
        let away = look(&away, true);
        assert_eq!(is_ended(), [false, false]);
        look(&away, true);
        assert_eq!(is_ended(), [false, true]);
    }

    #[tokio::test]
    async fn a_connection_by_an_own_address_is_closed_as_usual() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert!(!leave_nothing_if_lost(&stream));
    }
}
