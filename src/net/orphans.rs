//! Calls whose connection has ended: a change that is under way is awaited, and another call ends within
//! seconds. Their connections' permits are free, so that these calls have a bound of their own.
//!
//! While a client has `per_client` orphaned calls, or the server has `all`, the client's connections begin no
//! call. At most the bound and the calls of every open connection are in flight together.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::types::ClientAddress;

/// The orphaned calls of every client.
#[derive(Debug)]
pub(super) struct Orphans {
    all: usize,
    per_client: usize,
    total: AtomicUsize,
    /// Clients that have any. Its sum is the total.
    by_client: Mutex<HashMap<ClientAddress, usize>>,
    fewer: Notify,
}

/// One client's orphaned calls.
#[derive(Debug)]
pub(super) struct ClientOrphans {
    orphans: Arc<Orphans>,
    client: ClientAddress,
}

impl Orphans {
    pub(super) fn new(all: usize, per_client: usize) -> Arc<Self> {
        let (total, by_client) = (AtomicUsize::new(0), Mutex::default());
        Arc::new(Self { all, per_client, total, by_client, fewer: Notify::new() })
    }

    pub(super) fn of(self: &Arc<Self>, client: ClientAddress) -> ClientOrphans {
        ClientOrphans { orphans: self.clone(), client }
    }

    pub(super) fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Waits until every orphaned call has ended.
    pub(super) async fn ended(&self) {
        self.wait_until(|| self.total() == 0).await;
    }

    async fn wait_until(&self, reached: impl Fn() -> bool) {
        loop {
            // Before the look, so that no change is missed.
            let fewer = self.fewer.notified();
            if reached() {
                return;
            }
            fewer.await;
        }
    }
}

impl ClientOrphans {
    /// Counts calls in.
    pub(super) fn add(&self, calls: usize) {
        if calls == 0 {
            return;
        }
        let mut by_client = self.orphans.by_client.lock();
        *by_client.entry(self.client).or_default() += calls;
        self.orphans.total.fetch_add(calls, Ordering::Relaxed);
    }

    /// Counts one call out.
    pub(super) fn remove_one(&self) {
        let mut by_client = self.orphans.by_client.lock();
        if let Some(calls) = by_client.get_mut(&self.client) {
            *calls -= 1;
            if *calls == 0 {
                by_client.remove(&self.client);
            }
        }
        self.orphans.total.fetch_sub(1, Ordering::Relaxed);
        drop(by_client);
        self.orphans.fewer.notify_waiters();
    }

    /// Whether the client may begin another call.
    pub(super) fn has_room(&self) -> bool {
        let Orphans { all, per_client, by_client, .. } = &*self.orphans;
        let total = self.orphans.total();
        let of_client = || by_client.lock().get(&self.client).copied().unwrap_or_default();
        total < *all && (total < *per_client || of_client() < *per_client)
    }

    /// Waits until the client may begin another call.
    pub(super) async fn room(&self) {
        self.orphans.wait_until(|| self.has_room()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::*;

    fn client(last: u8) -> ClientAddress {
        ClientAddress::of([10, 0, 0, last].into())
    }

    #[test]
    fn a_client_waits_for_its_own_calls_and_every_client_for_all() {
        let orphans = Orphans::new(5, 3);
        let (one, other) = (orphans.of(client(1)), orphans.of(client(2)));
        one.add(3);
        assert!(!one.has_room() && other.has_room());
        let mut room = pin!(one.room());
        assert!(room.as_mut().now_or_never().is_none());
        one.remove_one();
        assert!(room.now_or_never().is_some());
        other.add(3);
        let third = orphans.of(client(3));
        assert!(!third.has_room());
        other.remove_one();
        assert!(third.has_room());
    }

    #[test]
    fn clients_without_orphaned_calls_are_forgotten() {
        let orphans = Orphans::new(5, 3);
        let one = orphans.of(client(1));
        one.add(2);
        let mut ended = pin!(orphans.ended());
        assert!(ended.as_mut().now_or_never().is_none());
        one.remove_one();
        one.remove_one();
        assert!(ended.now_or_never().is_some());
        assert!(orphans.by_client.lock().is_empty());
    }
}
