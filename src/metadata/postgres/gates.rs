//! How many changes of one object may be decided on at once in this process.
//!
//! Changes of one object wait for each other's row lock, each on a connection. Without a limit an object that
//! another session keeps locked would take every connection that changes may use, and all other objects'
//! changes would wait with it. Where changes conflict, or wait for a lock in vain, they go one after the
//! other: of those that are decided on at the same time one succeeds, and all others' decisions are out of
//! date.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::types::{Bounds, Claimant, FairPermits, NoPermit, ObjectId, Permit};
use parking_lot::Mutex;

/// Open gates by their objects.
type Open = Arc<Mutex<HashMap<ObjectId, Arc<Gate>>>>;

/// The objects that are being changed. An object without a change has no entry, so there are at most as many
/// as calls.
#[derive(Debug)]
pub(super) struct Gates {
    /// Changes of one object at once, where they do not conflict.
    width: usize,
    open: Open,
}

#[derive(Debug)]
struct Gate {
    places: FairPermits,
    /// Places that end with the pass that holds them.
    surplus: AtomicUsize,
    /// All places but one, until the gate is narrow.
    spare: AtomicUsize,
}

/// The right to change an object, given back when dropped.
#[derive(Debug)]
pub(super) struct Pass {
    open: Open,
    object: ObjectId,
    gate: Arc<Gate>,
    permit: Option<Permit>,
}

impl Gates {
    /// Gates for a process that changes at most `changes` objects at once: a third of them may be of one
    /// object.
    pub(super) fn new(changes: usize) -> Self {
        Self { width: (changes / 3).max(1), open: Arc::default() }
    }

    /// Waits until one more change of `object` may begin. Clients take turns.
    pub(super) async fn pass(
        &self,
        claimant: Claimant,
        object: ObjectId,
    ) -> Result<Pass, NoPermit> {
        let gate = Arc::clone(self.open.lock().entry(object).or_insert_with(|| {
            Arc::new(Gate {
                places: FairPermits::new(self.width, Bounds::CALLS),
                surplus: AtomicUsize::new(0),
                spare: AtomicUsize::new(self.width - 1),
            })
        }));
        let places = gate.places.clone();
        // Made first: a call that gives up while it waits closes the gate behind it.
        let mut pass = Pass { open: Arc::clone(&self.open), object, gate, permit: None };
        pass.permit = Some(places.acquire(claimant, 1).await?);
        Ok(pass)
    }
}

impl Pass {
    /// From now on, and for as long as changes of the object are waiting, only one may begin at a time.
    pub(super) fn narrow(&self) {
        let spare = self.gate.spare.swap(0, Ordering::Relaxed);
        let free = (0..spare).map_while(|_| self.gate.places.try_acquire(1));
        let free = free.map(Permit::forget).count();
        self.gate.surplus.fetch_add(spare - free, Ordering::Relaxed);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            let one_less = |surplus: usize| surplus.checked_sub(1);
            match self.gate.surplus.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) {
                Ok(_) => permit.forget(),
                Err(_) => drop(permit),
            }
        }
        let mut open = self.open.lock();
        // The map's and this one: no other change holds the gate or waits at it, and none comes while the map
        // is locked.
        if Arc::strong_count(&self.gate) == 2 {
            open.remove(&self.object);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    async fn pass(gates: &Gates, object: ObjectId) -> Pass {
        gates.pass(None, object).await.unwrap()
    }

    #[tokio::test]
    async fn one_object_leaves_connections_to_others() {
        let gates = Gates::new(6);
        let (busy, other) = (ObjectId::generate(), ObjectId::generate());
        let first = pass(&gates, busy).await;
        let second = pass(&gates, busy).await;
        let mut third = Box::pin(pass(&gates, busy));
        assert!((&mut third).now_or_never().is_none());
        assert!(pass(&gates, other).now_or_never().is_some());
        drop(first);
        drop((third.await, second));
        assert!(gates.open.lock().is_empty());
    }

    #[tokio::test]
    async fn changes_that_conflict_go_one_after_the_other() {
        let gates = Gates::new(12);
        let object = ObjectId::generate();
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(pass(&gates, object).await);
        }
        held[0].narrow();
        held[1].narrow();
        // The free place is gone, and so are two of the three that are held.
        let mut next = Box::pin(pass(&gates, object));
        for _ in 0..2 {
            assert!((&mut next).now_or_never().is_none());
            held.pop();
        }
        assert!((&mut next).now_or_never().is_none());
        held.pop();
        let next = next.await;
        assert!(pass(&gates, object).now_or_never().is_none());
        drop(next);
        assert!(gates.open.lock().is_empty());
        let wide = [pass(&gates, object).await, pass(&gates, object).await];
        drop(wide);
    }

    #[tokio::test]
    async fn a_call_that_gives_up_leaves_nothing() {
        let gates = Gates::new(1);
        let object = ObjectId::generate();
        let held = pass(&gates, object).await;
        assert!(pass(&gates, object).now_or_never().is_none());
        drop(held);
        assert!(gates.open.lock().is_empty());
    }
}
