//! Places for connections: so many in all, so many for each client, and few for peers that are not known to be clients.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::rpc::Standing;
use crate::types::ClientAddress;

/// Every place there is. Held places are counted when connections begin and end, and at no other time.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    limits: PlaceLimits,
    held: Mutex<Held>,
}

/// How many places there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlaceLimits {
    pub(super) all: usize,
    pub(super) per_client: usize,
    /// For peers that have not used a valid handle yet, of all clients together.
    pub(super) unproven: usize,
}

#[derive(Debug, Default)]
struct Held {
    /// Clients that hold a place, and how many each.
    by_client: HashMap<ClientAddress, usize>,
    /// Every place by its number: the oldest first.
    places: BTreeMap<u64, Holder>,
    next: u64,
}

/// Who holds a place.
#[derive(Debug)]
struct Holder {
    peer: IpAddr,
    standing: Standing,
    end: CancellationToken,
}

/// One connection's place, free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    client: ClientAddress,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// All are held.
    Server,
    /// The client holds as many as one may.
    Client,
}

impl Places {
    pub(super) fn new(limits: PlaceLimits) -> Arc<Self> {
        let limits = PlaceLimits { all: limits.all.min(Semaphore::MAX_PERMITS), ..limits };
        Arc::new(Self {
            free: Arc::new(Semaphore::new(limits.all)),
            limits,
            held: Mutex::default(),
        })
    }

    /// Takes a place for a connection. Its `end` fires when its place is needed for a newer peer, or its address is
    /// not admitted any more.
    pub(super) fn take(
        self: &Arc<Self>,
        peer: IpAddr,
        standing: Standing,
        end: CancellationToken,
    ) -> Result<Place, Full> {
        let client = ClientAddress::of(peer);
        let permit = self.free.clone().try_acquire_owned().map_err(|_| Full::Server)?;
        let mut held = self.held.lock();
        let count = held.by_client.entry(client).or_default();
        if *count >= self.limits.per_client {
            // An entry of a client that holds nothing is there only where nobody may hold anything.
            return Err(Full::Client);
        }
        *count += 1;
        let number = held.next;
        held.next += 1;
        held.places.insert(number, Holder { peer, standing, end });
        drop(held);
        Ok(Place { places: self.clone(), client, number, _permit: permit })
    }

    /// Ends the oldest connections of peers that have not used a valid handle, where these are too many, and gives
    /// their number.
    pub(super) fn end_oldest_unproven(&self) -> usize {
        let held = self.held.lock();
        let unproven = || {
            let holders = held.places.values();
            holders.filter(|it| !it.standing.is_proven() && !it.end.is_cancelled())
        };
        let too_many = unproven().count().saturating_sub(self.limits.unproven);
        unproven().take(too_many).for_each(|holder| holder.end.cancel());
        too_many
    }

    /// Ends the connections of peers that `stays` is not true of, and gives their number.
    pub(super) fn end_others(&self, stays: impl Fn(IpAddr) -> bool) -> usize {
        let held = self.held.lock();
        let others = held.places.values().filter(|it| !stays(it.peer));
        others.map(|holder| holder.end.cancel()).count()
    }

    /// How many are held.
    pub(super) fn taken(&self) -> usize {
        self.limits.all - self.free.available_permits()
    }

    /// Waits until none is held. Meanwhile none is given.
    pub(super) async fn all_free(&self) {
        let all = u32::try_from(self.limits.all).unwrap_or(u32::MAX);
        // It fails only where the semaphore is closed, which it never is.
        drop(self.free.acquire_many(all).await);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.held.lock();
        held.places.remove(&self.number);
        if let Some(count) = held.by_client.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                held.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(all: usize, per_client: usize, unproven: usize) -> Arc<Places> {
        Places::new(PlaceLimits { all, per_client, unproven })
    }

    fn taken(places: &Arc<Places>, peer: &str) -> Result<Place, Full> {
        places.take(peer.parse().unwrap(), Standing::default(), CancellationToken::new())
    }

    #[test]
    fn a_client_leaves_places_to_others() {
        let places = places(3, 2, 3);
        let one = taken(&places, "2001:db8::1").unwrap();
        let _two = taken(&places, "2001:db8::ffff:2").unwrap();
        assert_eq!(taken(&places, "2001:db8::3").unwrap_err(), Full::Client);
        let _other = taken(&places, "2001:db8:0:1::1").unwrap();
        assert_eq!(taken(&places, "10.0.0.3").unwrap_err(), Full::Server);
        assert_eq!(places.taken(), 3);
        drop(one);
        let _again = taken(&places, "2001:db8::3").unwrap();
    }

    #[test]
    fn clients_that_went_are_forgotten() {
        let places = places(2, 1, 2);
        drop(taken(&places, "10.0.0.1").unwrap());
        let held = places.held.lock();
        assert!(held.by_client.is_empty() && held.places.is_empty());
        assert_eq!(places.taken(), 0);
    }

    #[test]
    fn the_oldest_peer_without_a_valid_handle_gives_way() {
        let places = places(10, 10, 2);
        let peers: Vec<_> =
            (0..5).map(|_| (Standing::default(), CancellationToken::new())).collect();
        let peer: IpAddr = [10, 0, 0, 1].into();
        let mut held = Vec::new();
        for (index, (standing, end)) in peers.iter().enumerate() {
            held.push(places.take(peer, standing.clone(), end.clone()).unwrap());
            if index == 0 {
                standing.prove();
            }
            // Those that end do not count again while they end.
            assert_eq!(places.end_oldest_unproven(), usize::from(index > 2));
        }
        let ended: Vec<_> = peers.iter().map(|(_, end)| end.is_cancelled()).collect();
        assert_eq!(ended, [false, true, true, false, false]);
    }

    #[test]
    fn connections_of_addresses_that_are_not_admitted_end() {
        let places = places(3, 3, 3);
        let (one, other) = (CancellationToken::new(), CancellationToken::new());
        let take = |last, end: &CancellationToken| {
            places.take([10, 0, 0, last].into(), Standing::default(), end.clone()).unwrap()
        };
        let _held = [take(1, &one), take(2, &other)];
        assert_eq!(places.end_others(|peer| peer == IpAddr::from([10, 0, 0, 1])), 1);
        assert!(!one.is_cancelled() && other.is_cancelled());
    }
}
