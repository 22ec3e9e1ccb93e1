//! How many locks there are, as they were counted last.

use parking_lot::Mutex;

use crate::counters::{Measured, Readings};
use crate::metadata::LockTotals;

/// Of all stores.
#[derive(Debug, Default)]
pub(super) struct Totals(Mutex<LockTotals>);

impl Totals {
    pub(super) fn set(&self, totals: LockTotals) {
        *self.0.lock() = totals;
    }
}

impl Measured for Totals {
    fn read(&self, to: &mut Readings) {
        let LockTotals { clients, locks, waiters, reservations, shares } = *self.0.lock();
        for (kind, count) in [
            ("held", locks),
            ("waiting", waiters),
            ("unconfirmed", reservations),
            ("share", shares),
        ] {
            let help = "Locks of clients, counted once a minute";
            to.level("trunkfs_locks", help, &[("state", kind)], count);
        }
        let help = "Clients with locks, counted once a minute";
        to.level("trunkfs_lock_clients", help, &[], clients);
    }
}
