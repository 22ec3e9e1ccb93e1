//! What connections share: memory and places.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The account's unit, in bytes.
const UNIT: usize = 1 << 10;

/// The memory that large records and replies of all connections may take together.
///
/// A record is reserved whole before it grows beyond [`crate::rpc::FREE_BYTES`], so that nobody holds a
/// part while waiting for the rest: who waits for memory holds none, and simply does not read on. What
/// holds memory ends by itself: a call at its deadline, a reply at the write timeout, and a record
/// whose sender dawdles while others wait by [`Budget::is_wanted`], which closes its connection.
#[derive(Debug)]
pub(super) struct Budget {
    units: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Bytes of the budget, given back when dropped.
pub(super) type Reservation = OwnedSemaphorePermit;

impl Budget {
    /// A budget of `bytes`.
    pub(super) fn new(bytes: usize) -> Self {
        let units = (bytes / UNIT).min(Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(units)), waiting: AtomicUsize::new(0) }
    }

    /// Waits for `bytes`, first come, first served. `None` only where the budget is closed, which
    /// it never is.
    pub(super) async fn reserve(&self, bytes: usize) -> Option<Reservation> {
        if let Some(reservation) = self.try_reserve(bytes) {
            return Some(reservation);
        }
        let _waiting = Counted::new(&self.waiting);
        self.units.clone().acquire_many_owned(units(bytes)).await.ok()
    }

    /// Takes `bytes` where they are there at once.
    pub(super) fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        self.units.clone().try_acquire_many_owned(units(bytes)).ok()
    }

    /// Whether somebody waits for memory.
    pub(super) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_is_known_and_served() {
        let budget = Budget::new(8 << 10);
        let held = budget.reserve(6 << 10).await;
        assert!(held.is_some() && budget.try_reserve(3 << 10).is_none());
        assert!(!budget.is_wanted());
        let wait = async {
            assert!(budget.reserve(3 << 10).await.is_some());
        };
        let release = async {
            tokio::task::yield_now().await;
            assert!(budget.is_wanted());
            drop(held);
        };
        tokio::join!(wait, release);
        assert!(!budget.is_wanted());
        assert!(budget.try_reserve(8 << 10).is_some());
    }
}
