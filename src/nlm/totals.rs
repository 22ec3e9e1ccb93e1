//! How many locks there are, and of which clients, as they were counted last; and how many were freed.

use std::time::SystemTime;

use parking_lot::Mutex;

use crate::counters::{Counter, Measured, Readings};
use crate::metadata::{Error, Freed, LockClientUse, LockTotals, Locks};

/// Clients that are told apart.
const MOST_CLIENTS: usize = 1000;

/// What there was when it was counted.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// When that was; none: not yet.
    pub at: Option<SystemTime>,
    /// Of all stores.
    pub totals: LockTotals,
    /// Those with the most, of each store.
    pub clients: Vec<LockClientUse>,
}

impl Overview {
    /// Counts a store's.
    pub(super) async fn add(&mut self, store: &dyn Locks) -> Result<(), Error> {
        let LockTotals { clients, locks, waiters, reservations, shares } =
            store.lock_totals().await?;
        let totals = &mut self.totals;
        totals.clients += clients;
        totals.locks += locks;
        totals.waiters += waiters;
        totals.reservations += reservations;
        totals.shares += shares;
        if locks + waiters + reservations + shares > 0 {
            self.clients.extend(store.lock_clients(MOST_CLIENTS).await?);
        }
        Ok(())
    }
}

/// Of all stores.
#[derive(Debug, Default)]
pub(super) struct Totals(Mutex<Overview>);

impl Totals {
    pub(super) fn set(&self, mut overview: Overview) {
        overview.at = Some(SystemTime::now());
        overview.clients.sort_by_key(|it| std::cmp::Reverse(it.total()));
        overview.clients.truncate(MOST_CLIENTS);
        *self.0.lock() = overview;
    }

    pub(super) fn overview(&self) -> Overview {
        self.0.lock().clone()
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> u64 {
        let LockTotals { locks, waiters, reservations, shares, .. } = self.0.lock().totals;
        locks + waiters + reservations + shares
    }
}

impl Measured for Totals {
    fn read(&self, to: &mut Readings) {
        let overview = self.0.lock();
        let LockTotals { clients, locks, waiters, reservations, shares } = overview.totals;
        for (kind, count) in [
            ("held", locks),
            ("waiting", waiters),
            ("unconfirmed", reservations),
            ("share", shares),
        ] {
            let help = "Locks of clients, counted every ten seconds, many of them once a minute";
            to.level("trunkfs_locks", help, &[("state", kind)], count);
        }
        let help = "Clients with locks, counted with the locks";
        to.level("trunkfs_lock_clients", help, &[], clients);
    }
}

/// Locks, waiters and share reservations that this server has freed without an UNLOCK.
#[derive(Debug, Default)]
pub(super) struct FreedRows {
    pub(super) rebooted: Counter,
    pub(super) given_up: Counter,
    pub(super) expired: Counter,
    pub(super) unconfirmed: Counter,
}

impl Measured for FreedRows {
    fn read(&self, to: &mut Readings) {
        let Self { rebooted, given_up, expired, unconfirmed } = self;
        for (reason, count) in [
            ("rebooted", rebooted),
            ("client", given_up),
            ("expired", expired),
            ("unconfirmed", unconfirmed),
        ] {
            let help = "Locks that were freed without an UNLOCK, with what waited";
            to.counter("trunkfs_locks_freed", help, &[("reason", reason)], count.total());
        }
    }
}

impl Freed {
    /// Everything that was freed.
    pub(super) fn rows(&self) -> u64 {
        self.locks + self.waiters + self.reservations + self.shares
    }
}
