//! Places for connections: so many in all, and so many for each client.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::types::ClientAddress;

/// Every place there is. Held places are counted when connections begin and end, and at no other time.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    all: usize,
    per_client: usize,
    /// Clients that hold a place, and how many each.
    held: Mutex<HashMap<ClientAddress, usize>>,
}

/// One connection's place, free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    client: ClientAddress,
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
    /// `all` places, of which one client may hold `per_client`.
    pub(super) fn new(all: usize, per_client: usize) -> Arc<Self> {
        let all = all.min(Semaphore::MAX_PERMITS);
        let free = Arc::new(Semaphore::new(all));
        Arc::new(Self { free, all, per_client, held: Mutex::default() })
    }

    /// Takes a place for a connection of `client`.
    pub(super) fn take(self: &Arc<Self>, client: ClientAddress) -> Result<Place, Full> {
        let permit = self.free.clone().try_acquire_owned().map_err(|_| Full::Server)?;
        let mut held = self.held.lock();
        let count = held.entry(client).or_default();
        if *count >= self.per_client {
            // An entry of a client that holds nothing is there only where nobody may hold anything.
            return Err(Full::Client);
        }
        *count += 1;
        drop(held);
        Ok(Place { places: self.clone(), client, _permit: permit })
    }

    /// How many are held.
    pub(super) fn taken(&self) -> usize {
        self.all - self.free.available_permits()
    }

    /// Waits until none is held. Meanwhile none is given.
    pub(super) async fn all_free(&self) {
        let all = u32::try_from(self.all).unwrap_or(u32::MAX);
        // It fails only where the semaphore is closed, which it never is.
        drop(self.free.acquire_many(all).await);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.held.lock();
        if let Some(count) = held.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(places: &Arc<Places>, client: &str) -> Result<Place, Full> {
        places.take(ClientAddress::of(client.parse().unwrap()))
    }

    #[test]
    fn a_client_leaves_places_to_others() {
        let places = Places::new(3, 2);
        let one = taken(&places, "10.0.0.1").unwrap();
        let _two = taken(&places, "::ffff:10.0.0.1").unwrap();
        assert_eq!(taken(&places, "10.0.0.1").unwrap_err(), Full::Client);
        let _other = taken(&places, "10.0.0.2").unwrap();
        assert_eq!(taken(&places, "10.0.0.3").unwrap_err(), Full::Server);
        assert_eq!(places.taken(), 3);
        drop(one);
        let _again = taken(&places, "10.0.0.1").unwrap();
    }

    #[test]
    fn clients_that_went_are_forgotten() {
        let places = Places::new(2, 1);
        drop(taken(&places, "10.0.0.1").unwrap());
        assert!(places.held.lock().is_empty());
        assert_eq!(places.taken(), 0);
    }
}
