//! Places that clients take and give back, bounded for each client and for all.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::ClientAddress;

/// The places of each client.
#[derive(Debug)]
pub struct ClientPlaces {
    most: usize,
    most_of_client: usize,
    taken: Mutex<BTreeMap<ClientAddress, usize>>,
}

/// One place, given back when it is dropped.
#[derive(Debug)]
pub struct ClientPlace {
    places: Arc<ClientPlaces>,
    client: ClientAddress,
}

impl ClientPlaces {
    /// So many places in all, and of one client.
    #[must_use]
    pub fn new(most: usize, most_of_client: usize) -> Arc<Self> {
        Arc::new(Self { most, most_of_client, taken: Mutex::default() })
    }

    /// Takes a place for a peer, where there is one.
    #[must_use]
    pub fn take(self: &Arc<Self>, peer: IpAddr) -> Option<ClientPlace> {
        let client = ClientAddress::of(peer);
        let mut taken = self.taken.lock();
        let of_client = taken.get(&client).copied().unwrap_or(0);
        if of_client >= self.most_of_client || taken.values().sum::<usize>() >= self.most {
            return None;
        }
        taken.insert(client, of_client + 1);
        Some(ClientPlace { places: self.clone(), client })
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        if let Some(places) = taken.get_mut(&self.client) {
            *places -= 1;
            if *places == 0 {
                taken.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_for_a_client_and_for_all() {
        let places = ClientPlaces::new(5, 2);
        let client = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut held: Vec<_> = (0..2).map(|_| places.take(client(1)).unwrap()).collect();
        assert!(places.take(client(1)).is_none());
        held.extend((2..5).map(|last| places.take(client(last)).unwrap()));
        assert!(places.take(client(9)).is_none(), "five are taken");
        held.clear();
        assert!(places.taken.lock().is_empty() && places.take(client(1)).is_some());
    }
}
