//! The connections that may be open: in all, of each client, and of peers that have not used a valid handle.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::counters::Level;
use crate::rpc::Standing;
use crate::types::ClientAddress;

/// The connections that are open. They are counted when a connection begins and ends, and at no other time.
#[derive(Debug)]
pub(super) struct ConnectionLimits {
    held: Mutex<Held>,
    /// Told where the last connection is closed.
    emptied: Notify,
    /// Where it is said how many clients there are.
    clients: OnceLock<Level>,
}

/// How many connections may be open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) all: usize,
    pub(super) per_client: usize,
    /// For peers that have not used a valid handle yet, of all clients together.
    pub(super) unproven: usize,
}

#[derive(Debug)]
struct Held {
    limits: Limits,
    /// Clients with open connections, and how many each.
    by_client: HashMap<ClientAddress, usize>,
    /// Every connection by its number: the oldest first.
    connections: BTreeMap<u64, Holder>,
    next: u64,
}

/// An open connection.
#[derive(Debug)]
struct Holder {
    peer: IpAddr,
    local: IpAddr,
    standing: Standing,
    end: CancellationToken,
}

/// One connection's permit, given back when dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    connections: Arc<ConnectionLimits>,
    client: ClientAddress,
    number: u64,
}

/// Why no more connection is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// `max_connections` are open.
    Server,
    /// The client has `max_connections_per_client`.
    Client,
}

impl ConnectionLimits {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        let (by_client, connections) = (HashMap::new(), BTreeMap::new());
        let held = Held { limits, by_client, connections, next: 0 };
        Arc::new(Self { held: Mutex::new(held), emptied: Notify::new(), clients: OnceLock::new() })
    }

    /// Takes a permit for a connection by an address of ours. Its `end` fires when the permit is needed for a
    /// newer peer, or its address is not admitted any more.
    pub(super) fn take(
        self: &Arc<Self>,
        peer: IpAddr,
        local: IpAddr,
        standing: Standing,
        end: CancellationToken,
    ) -> Result<ConnectionPermit, Full> {
        let client = ClientAddress::of(peer);
        let mut held = self.held.lock();
        if held.connections.len() >= held.limits.all {
            return Err(Full::Server);
        }
        let count = held.by_client.get(&client).copied().unwrap_or_default();
        if count >= held.limits.per_client {
            return Err(Full::Client);
        }
        held.by_client.insert(client, count + 1);
        let number = held.next;
        held.next += 1;
        held.connections.insert(number, Holder { peer, local, standing, end });
        self.tell(&held);
        drop(held);
        Ok(ConnectionPermit { connections: self.clone(), client, number })
    }

    /// Sets how many connections may be open in all, and of a client. What is open stays: a lower limit holds
    /// for what comes.
    pub(super) fn set(&self, all: usize, per_client: usize) {
        let limits = &mut self.held.lock().limits;
        *limits = Limits { all, per_client, ..*limits };
    }

    /// How many connections may be open.
    pub(super) fn limits(&self) -> Limits {
        self.held.lock().limits
    }

    /// Ends the oldest connections of peers that have not used a valid handle, where these are too many, and
    /// gives their number.
    pub(super) fn end_oldest_unproven(&self) -> usize {
        let held = self.held.lock();
        let unproven = || {
            let holders = held.connections.values();
            holders.filter(|it| !it.standing.is_proven() && !it.end.is_cancelled())
        };
        let too_many = unproven().count().saturating_sub(held.limits.unproven);
        unproven().take(too_many).for_each(|holder| holder.end.cancel());
        too_many
    }

    /// Ends the connections of peers that `stays` is not true of, and gives their number.
    pub(super) fn end_others(&self, stays: impl Fn(IpAddr) -> bool) -> usize {
        let held = self.held.lock();
        let others = held.connections.values().filter(|it| !stays(it.peer));
        others.map(|holder| holder.end.cancel()).count()
    }

    /// The addresses of ours that connections are by.
    pub(super) fn local_addresses(&self) -> HashSet<IpAddr> {
        self.held.lock().connections.values().map(|holder| holder.local).collect()
    }

    /// Ends the connections by an address of ours, and gives their number.
    pub(super) fn end_by(&self, local: IpAddr) -> usize {
        let held = self.held.lock();
        let open = |holder: &&Holder| holder.local == local && !holder.end.is_cancelled();
        held.connections.values().filter(open).map(|holder| holder.end.cancel()).count()
    }

    /// How many connections are open.
    pub(super) fn taken(&self) -> usize {
        self.held.lock().connections.len()
    }

    /// How many clients have open connections.
    pub(super) fn clients(&self) -> usize {
        self.held.lock().by_client.len()
    }

    /// Names where it is said how many clients have open connections. The first one counts.
    pub(super) fn count_clients(&self, level: Level) {
        let level = self.clients.get_or_init(|| level);
        level.set(self.held.lock().by_client.len());
    }

    fn tell(&self, held: &Held) {
        if let Some(level) = self.clients.get() {
            level.set(held.by_client.len());
        }
    }

    /// Waits until no connection is open, where none is accepted any more.
    pub(super) async fn all_free(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.taken() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut held = self.connections.held.lock();
        held.connections.remove(&self.number);
        if let Some(count) = held.by_client.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                held.by_client.remove(&self.client);
            }
        }
        self.connections.tell(&held);
        if held.connections.is_empty() {
            self.connections.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn connections(all: usize, per_client: usize, unproven: usize) -> Arc<ConnectionLimits> {
        ConnectionLimits::new(Limits { all, per_client, unproven })
    }

    fn taken(connections: &Arc<ConnectionLimits>, peer: &str) -> Result<ConnectionPermit, Full> {
        connections.take(peer.parse().unwrap(), OWN, Standing::default(), CancellationToken::new())
    }

    #[test]
    fn a_client_leaves_places_to_others() {
        let connections = connections(3, 2, 3);
        let one = taken(&connections, "2001:db8::1").unwrap();
        let _two = taken(&connections, "2001:db8::ffff:2").unwrap();
        assert_eq!(taken(&connections, "2001:db8::3").unwrap_err(), Full::Client);
        let _other = taken(&connections, "2001:db8:0:1::1").unwrap();
        assert_eq!(taken(&connections, "10.0.0.3").unwrap_err(), Full::Server);
        assert_eq!(connections.taken(), 3);
        drop(one);
        let _again = taken(&connections, "2001:db8::3").unwrap();
    }

    #[tokio::test]
    async fn limits_change_while_connections_are_open() {
        let connections = connections(1, 1, 3);
        let one = taken(&connections, "10.0.0.1").unwrap();
        assert_eq!(taken(&connections, "10.0.0.2").unwrap_err(), Full::Server);
        connections.set(3, 2);
        let held =
            [taken(&connections, "10.0.0.1").unwrap(), taken(&connections, "10.0.0.2").unwrap()];
        connections.set(2, 1);
        assert_eq!((connections.taken(), connections.limits().all), (3, 2));
        drop(one);
        assert_eq!(taken(&connections, "10.0.0.3").unwrap_err(), Full::Server);
        let free = connections.all_free();
        let mut free = std::pin::pin!(free);
        assert!(futures_util::poll!(free.as_mut()).is_pending());
        drop(held);
        free.await;
        let _again = taken(&connections, "10.0.0.3").unwrap();
        assert_eq!(taken(&connections, "10.0.0.3").unwrap_err(), Full::Client);
    }

    #[test]
    fn clients_that_went_are_forgotten() {
        let (connections, level) = (connections(2, 1, 2), Level::default());
        let early = taken(&connections, "10.0.0.2").unwrap();
        connections.count_clients(level.clone());
        let one = taken(&connections, "10.0.0.1").unwrap();
        assert_eq!(level.now(), 2);
        drop((early, one));
        assert_eq!((level.now(), connections.taken()), (0, 0));
        assert!(connections.held.lock().by_client.is_empty());
    }

    #[test]
    fn the_oldest_peer_without_a_valid_handle_gives_way() {
        let connections = connections(10, 10, 2);
        let peers: Vec<_> =
            (0..5).map(|_| (Standing::default(), CancellationToken::new())).collect();
        let peer: IpAddr = [10, 0, 0, 1].into();
        let mut held = Vec::new();
        for (index, (standing, end)) in peers.iter().enumerate() {
            held.push(connections.take(peer, OWN, standing.clone(), end.clone()).unwrap());
            if index == 0 {
                standing.prove();
            }
            // Those that end do not count again while they end.
            assert_eq!(connections.end_oldest_unproven(), usize::from(index > 2));
        }
        let ended: Vec<_> = peers.iter().map(|(_, end)| end.is_cancelled()).collect();
        assert_eq!(ended, [false, true, true, false, false]);
    }

    #[test]
    fn connections_of_addresses_that_are_not_admitted_end() {
        let connections = connections(3, 3, 3);
        let (one, other) = (CancellationToken::new(), CancellationToken::new());
        let take = |last, end: &CancellationToken| {
            connections
                .take([10, 0, 0, last].into(), OWN, Standing::default(), end.clone())
                .unwrap()
        };
        let _held = [take(1, &one), take(2, &other)];
        assert_eq!(connections.end_others(|peer| peer == IpAddr::from([10, 0, 0, 1])), 1);
        assert!(!one.is_cancelled() && other.is_cancelled());
    }
    #[test]
    fn connections_by_one_address_end() {
        let connections = connections(3, 3, 3);
        let (one, other) = (CancellationToken::new(), CancellationToken::new());
        let take = |local: u8, end: &CancellationToken| {
            let (peer, local) = ([10, 0, 0, 1].into(), [10, 0, 1, local].into());
            connections.take(peer, local, Standing::default(), end.clone()).unwrap()
        };
        let _held = [take(1, &one), take(2, &other), take(2, &other)];
        let [first, second] = [1, 2].map(|last| IpAddr::from([10, 0, 1, last]));
        assert_eq!(connections.local_addresses(), HashSet::from([first, second]));
        assert_eq!((connections.end_by(first), connections.end_by(first)), (1, 0));
        assert!(one.is_cancelled() && !other.is_cancelled());
    }
}
