//! GRANTED: telling clients that a lock they wait for is theirs.
//!
//! A reservation is called about until the client's word ends it. GRANTED goes first; where no reply comes,
//! GRANTED_MSG and GRANTED by turns, since some clients know only one of them. Each attempt has a cookie of
//! its own, so that an answer is known for the attempt that it is about.
//!
//! - GRANTED makes the reservation a lock.
//! - DENIED drops it, unless another attempt had no answer: a client that took that one refuses the next, and
//!   holds the lock. Then nothing is sent any more, and the reservation stays until the client's poll,
//!   CANCEL, UNLOCK or reboot.
//! - An UNLOCK of more than the reservation asks anew: of the attempts before it GRANTED still counts, DENIED
//!   does not. An answer that came before the UNLOCK is settled before it.
//! - DENIED_GRACE_PERIOD: again in a while.
//! - Where nothing reached the client the reservation is dropped, and others have their turn; the client's
//!   poll takes its place among the waiters anew.
//! - Where this server has lost the address that the client has called, the reservation is a waiter again, of
//!   the server that has the address.
//!
//! The clients of reservations that a server has left, and that are locks now, are told in the same way.
//! Their word changes nothing: one that took the lock from that server refuses it now.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ports::Destination;
use super::sender::Sender;
use super::task::{Settle, Task};
use crate::counters::{Counter, Measured, Readings};
use crate::metadata::{LockKind, LockOwner, LockRange, Locks, Reservation, ReservationCookie};
use crate::types::{ClientPlaces, ObjectId};

/// How long after BLOCKED a call may follow, so that it does not overtake that reply.
const AFTER_BLOCKED: Duration = Duration::from_millis(30);

/// Reservations that are called about at a time, in all and of one client.
const MOST: usize = 4096;
const MOST_OF_CLIENT: usize = 256;
/// Calls on their way at a time, in all and of one client.
const MOST_CALLS: usize = 256;
const MOST_CALLS_OF_CLIENT: usize = 8;
/// The most recent BLOCKED that are remembered.
const MOST_BLOCKED: usize = 4096;

/// A lock that is waited for, as its client names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Waited {
    pub(super) file: ObjectId,
    pub(super) owner: LockOwner,
    pub(super) range: LockRange,
    pub(super) kind: LockKind,
}

/// What a reservation's task is told.
#[derive(Debug)]
pub(super) enum Told {
    /// GRANTED_RES of an attempt.
    Answer { attempt: u16, status: u32, turn: Turn },
    /// The owner has given back bytes of it: all of them, or some.
    Again { whole: bool },
}

/// Held from an answer until it is settled, and by calls of the owner that meet the reservation: what came
/// first is done first.
pub(super) type Turn = OwnedMutexGuard<()>;

#[derive(Debug)]
struct Active {
    waited: Waited,
    tell: mpsc::Sender<Told>,
    turn: Arc<AsyncMutex<()>>,
    /// It is a lock already.
    is_lock: bool,
    /// Fires when the reservation was settled otherwise.
    over: CancellationToken,
}

/// Calls to clients about their reservations.
#[derive(Debug)]
pub(super) struct Callbacks {
    pub(super) sender: Arc<Sender>,
    active: Mutex<HashMap<u128, Active>>,
    blocked: Mutex<HashMap<Waited, Instant>>,
    reservations: Arc<ClientPlaces>,
    pub(super) calls: Arc<ClientPlaces>,
    tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) counted: Counted,
}

#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) sent: Counter,
    pub(super) accepted: Counter,
    pub(super) refused: Counter,
    pub(super) unanswered: Counter,
    pub(super) unreachable: Counter,
    pub(super) moved: Counter,
}

impl Callbacks {
    pub(super) fn new(sender: Arc<Sender>, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self {
            sender,
            active: Mutex::default(),
            blocked: Mutex::default(),
            reservations: ClientPlaces::new(MOST, MOST_OF_CLIENT),
            calls: ClientPlaces::new(MOST_CALLS, MOST_CALLS_OF_CLIENT),
            tasks,
            stop,
            counted: Counted::default(),
        }
    }

    /// A lock waits from now on: its client is about to hear so. Its port is looked up meanwhile.
    pub(super) fn blocked(&self, waited: Waited, to: Destination) {
        {
            let mut blocked = self.blocked.lock();
            if blocked.len() >= MOST_BLOCKED {
                blocked.retain(|_, since| since.elapsed() < AFTER_BLOCKED);
            }
            if blocked.len() < MOST_BLOCKED {
                blocked.insert(waited, Instant::now());
            }
        }
        let (Some(place), sender) = (self.calls.take(to.client), self.sender.clone()) else {
            return;
        };
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let _place = place;
            stop.run_until_cancelled(sender.prepare(to)).await;
        });
    }

    /// Calls about a reservation until it is settled.
    pub(super) fn begin(self: &Arc<Self>, store: Arc<dyn Locks>, reservation: Reservation) {
        self.start(store, reservation, false);
    }

    /// Tells a client of a lock that was a reservation of a server that has ended.
    pub(super) fn tell(self: &Arc<Self>, store: Arc<dyn Locks>, lock: Reservation) {
        self.start(store, lock, true);
    }

    fn start(self: &Arc<Self>, store: Arc<dyn Locks>, reservation: Reservation, is_lock: bool) {
        if self.stop.is_cancelled() {
            return;
        }
        let place = self.reservations.take(reservation.owner.client.address());
        let (tell, told) = mpsc::channel(8);
        let (over, turn) = (CancellationToken::new(), Arc::<AsyncMutex<()>>::default());
        let waited = Waited::of(&reservation);
        let key = base(reservation.cookie);
        if place.is_some() {
            let (waited, turn, over) = (waited.clone(), turn.clone(), over.clone());
            self.active.lock().insert(key, Active { waited, tell, turn, is_lock, over });
        }
        let after = self.blocked.lock().remove(&waited).map(|since| since + AFTER_BLOCKED);
        let callbacks = self.clone();
        self.tasks.spawn(async move {
            let task =
                Task { callbacks: callbacks.clone(), reservation, is_lock, over, turn, told };
            if let Some(place) = place {
                task.run(&*store, place, after).await;
                callbacks.active.lock().remove(&key);
            } else {
                // Of so many the client's polls are soon due.
                callbacks.counted.unreachable.increment();
                task.settle(&*store, Settle::Drop).await;
            }
        });
    }

    /// A reservation was settled by a call of its owner: LOCK, or CANCEL.
    pub(super) fn forget(&self, waited: &Waited) {
        self.end(|it| it.waited == *waited);
    }

    /// The same for UNLOCK, which has no kind, and which takes of a lock whatever overlaps.
    pub(super) fn forget_range(&self, file: ObjectId, owner: &LockOwner, range: LockRange) {
        self.end(|Active { waited, is_lock, .. }| {
            let is_meant = waited.range == range || *is_lock && waited.range.overlaps(range);
            is_meant && waited.file == file && waited.owner == *owner
        });
    }

    fn end(&self, is_meant: impl Fn(&Active) -> bool) {
        let active = self.active.lock();
        active.values().filter(|it| is_meant(it)).for_each(|it| it.over.cancel());
    }

    /// UNLOCK has given back bytes that a reservation has too: its client is asked at once.
    pub(super) fn again(
        self: &Arc<Self>,
        store: &Arc<dyn Locks>,
        reservation: Reservation,
        unlocked: LockRange,
    ) {
        let whole = unlocked.holds(reservation.range);
        let told = {
            let active = self.active.lock();
            active.get(&base(reservation.cookie)).map(|it| it.tell.try_send(Told::Again { whole }))
        };
        match told {
            Some(Ok(()) | Err(mpsc::error::TrySendError::Full(_))) => {}
            // Nobody calls about it (any more).
            Some(Err(mpsc::error::TrySendError::Closed(_))) | None => {
                self.begin(store.clone(), reservation);
            }
        }
    }

    /// GRANTED_RES of a client. One that is about nothing, or about another client's lock, is nothing.
    pub(super) async fn answered(&self, client: IpAddr, cookie: &[u8], status: u32) {
        let Ok(cookie) = <[u8; 16]>::try_from(cookie) else { return };
        let cookie = u128::from_be_bytes(cookie);
        let (tell, turn) = {
            let active = self.active.lock();
            let Some(it) = active.get(&(cookie & BASE)) else { return };
            if it.waited.owner.client.address() != client.to_canonical() {
                return;
            }
            (it.tell.clone(), it.turn.clone())
        };
        let turn = turn.lock_owned().await;
        let attempt = u16::try_from(cookie & !BASE).unwrap_or(0);
        // A task that is told so much has something to act on.
        tell.try_send(Told::Answer { attempt, status, turn }).ok();
    }

    /// The turns of the reservations that a call of their owner meets: answers that came before the call are
    /// settled then.
    pub(super) async fn turns(
        &self,
        file: ObjectId,
        owner: &LockOwner,
        range: LockRange,
    ) -> Vec<Turn> {
        let mut met: Vec<_> = {
            let active = self.active.lock();
            let meets =
                |it: &Waited| it.file == file && it.range.overlaps(range) && it.owner == *owner;
            let met = active.iter().filter(|(_, it)| meets(&it.waited));
            met.map(|(key, it)| (*key, it.turn.clone())).collect()
        };
        // All who take several do so in one order.
        met.sort_unstable_by_key(|(key, _)| *key);
        let mut turns = Vec::with_capacity(met.len());
        for (_, turn) in met {
            turns.push(turn.lock_owned().await);
        }
        turns
    }

    /// How many reservations are called about.
    pub(super) fn active(&self) -> usize {
        self.active.lock().len()
    }
}

impl Measured for Callbacks {
    fn read(&self, to: &mut Readings) {
        let Counted { sent, accepted, refused, unanswered, unreachable, moved } = &self.counted;
        let help = "Calls of GRANTED to clients whose lock was waited for";
        to.counter("trunkfs_lock_callbacks", help, &[], sent.total());
        for (result, count) in [
            ("accepted", accepted),
            ("refused", refused),
            ("unanswered", unanswered),
            ("unreachable", unreachable),
            ("moved", moved),
        ] {
            let help = "Locks that were waited for, by what their client said to GRANTED";
            to.counter("trunkfs_lock_callback_results", help, &[("result", result)], count.total());
        }
        let help = "Locks whose client is being told that it has them";
        to.level("trunkfs_lock_callbacks_active", help, &[], self.active() as u64);
    }
}

impl Waited {
    fn of(reservation: &Reservation) -> Self {
        let Reservation { file, owner, range, kind, .. } = reservation;
        Self { file: *file, owner: owner.clone(), range: *range, kind: *kind }
    }
}

/// A cookie without the number of its attempt.
pub(super) const BASE: u128 = !0xffff;

pub(super) fn base(cookie: ReservationCookie) -> u128 {
    cookie.0.as_u128() & BASE
}
