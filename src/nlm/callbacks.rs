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

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attempts::{Attempts, End, Outcome};
use super::ports::Destination;
use super::sender::{Sender, Sent, Unsent};
use super::wire::{self, Lock, TestArguments, Version};
use crate::counters::{Counter, Measured, Readings};
use crate::log_limit::limited;
use crate::metadata::{
    Error, LockKind, LockOwner, LockRange, Locks, Reservation, ReservationCookie, Settled,
    Transport,
};
use crate::rpc::Protocol;
use crate::types::{BoundedChain, Call, ClientPlace, ClientPlaces, ObjectId};

/// The procedures.
const GRANTED: u32 = 5;
const GRANTED_MSG: u32 = 10;

/// How long after each attempt the next one follows; the last of them goes on.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(40),
    Duration::from_secs(60),
];
/// Attempts after which a client is left to its own polls.
const MOST_ATTEMPTS: u16 = 16;
/// How long a reply is waited for; the next attempt may go out meanwhile.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long GRANTED_MSG waits for its own reply, which says nothing but that it came.
const MESSAGE_PATIENCE: Duration = Duration::from_secs(5);
/// How long the word on attempts before an UNLOCK is waited for.
const EARLIER_ANSWERS: Duration = Duration::from_secs(2);
/// After DENIED_GRACE_PERIOD.
const GRACE: Duration = Duration::from_secs(10);
/// How long after BLOCKED a call may follow, so that it does not overtake that reply.
const AFTER_BLOCKED: Duration = Duration::from_millis(30);
/// How long a store may take to settle a reservation, and how soon it is asked again.
const SETTLE_TIME: Duration = Duration::from_secs(30);
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// Reservations that are called about at a time, in all and of one client.
const MOST: usize = 4096;
const MOST_OF_CLIENT: usize = 256;
/// Calls on their way at a time, in all and of one client, and how soon one that has no place is tried again.
const MOST_CALLS: usize = 256;
const MOST_CALLS_OF_CLIENT: usize = 8;
const NO_PLACE: Duration = Duration::from_millis(200);
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
enum Told {
    /// GRANTED_RES of an attempt.
    Answer { attempt: u16, status: u32, turn: Turn },
    /// The owner has given back bytes of it: all of them, or some.
    Again { whole: bool },
}

/// Held from an answer until it is settled, and by calls of the owner that meet the reservation: what came
/// first is done first.
type Turn = OwnedMutexGuard<()>;

#[derive(Debug)]
struct Active {
    waited: Waited,
    tell: mpsc::Sender<Told>,
    turn: Arc<AsyncMutex<()>>,
    /// Fires when the reservation was settled otherwise.
    over: CancellationToken,
}

/// Calls to clients about their reservations.
#[derive(Debug)]
pub(super) struct Callbacks {
    sender: Arc<Sender>,
    active: Mutex<HashMap<u128, Active>>,
    blocked: Mutex<HashMap<Waited, Instant>>,
    reservations: Arc<ClientPlaces>,
    calls: Arc<ClientPlaces>,
    tasks: TaskTracker,
    stop: CancellationToken,
    counted: Counted,
}

#[derive(Debug, Default)]
struct Counted {
    sent: Counter,
    accepted: Counter,
    refused: Counter,
    unanswered: Counter,
    unreachable: Counter,
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
            self.active.lock().insert(key, Active { waited, tell, turn, over });
        }
        let after = self.blocked.lock().remove(&waited).map(|since| since + AFTER_BLOCKED);
        let callbacks = self.clone();
        self.tasks.spawn(async move {
            let task = Task { callbacks: callbacks.clone(), reservation, over, turn, told };
            if let Some(place) = place {
                task.run(&*store, place, after).await;
                callbacks.active.lock().remove(&key);
            } else {
                // Of so many the client's polls are soon due.
                callbacks.counted.unreachable.increment();
                task.settle(&*store, false).await;
            }
        });
    }

    /// A reservation was settled by a call of its owner: LOCK, or CANCEL.
    pub(super) fn forget(&self, waited: &Waited) {
        self.end(|it| it == waited);
    }

    /// The same for UNLOCK, which has no kind.
    pub(super) fn forget_range(&self, file: ObjectId, owner: &LockOwner, range: LockRange) {
        self.end(|it| it.file == file && it.range == range && it.owner == *owner);
    }

    fn end(&self, is_meant: impl Fn(&Waited) -> bool) {
        let active = self.active.lock();
        active.values().filter(|it| is_meant(&it.waited)).for_each(|it| it.over.cancel());
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
        let Counted { sent, accepted, refused, unanswered, unreachable } = &self.counted;
        let help = "Calls of GRANTED to clients whose lock was waited for";
        to.counter("trunkfs_lock_callbacks", help, &[], sent.total());
        for (result, count) in [
            ("accepted", accepted),
            ("refused", refused),
            ("unanswered", unanswered),
            ("unreachable", unreachable),
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
const BASE: u128 = !0xffff;

fn base(cookie: ReservationCookie) -> u128 {
    cookie.0.as_u128() & BASE
}

/// The calls about one reservation.
struct Task {
    callbacks: Arc<Callbacks>,
    reservation: Reservation,
    over: CancellationToken,
    turn: Arc<AsyncMutex<()>>,
    told: mpsc::Receiver<Told>,
}

/// An attempt's call and what became of it.
#[derive(Debug)]
struct Attempted {
    attempt: u16,
    is_message: bool,
    sent: Sent,
    /// From its reply on.
    turn: Option<Turn>,
}

impl Task {
    /// Calls until the end, and settles the reservation.
    async fn run(mut self, store: &dyn Locks, _place: ClientPlace, after: Option<Instant>) {
        let (over, stop) = (self.over.clone(), self.callbacks.stop.clone());
        let calling = async {
            if let Some(after) = after {
                sleep_until(after).await;
            }
            self.call().await
        };
        // The turn is held until the reservation is settled.
        let (end, _turn) = tokio::select! {
            biased;
            () = over.cancelled() => return,
            () = stop.cancelled() => return,
            end = calling => end,
        };
        let counted = &self.callbacks.counted;
        match end {
            End::Accepted => {
                counted.accepted.increment();
                self.settle(store, true).await;
            }
            End::Dropped => {
                counted.refused.increment();
                self.settle(store, false).await;
            }
            End::Unknown => counted.unanswered.increment(),
        }
    }

    /// Settles the reservation, once the store answers.
    async fn settle(&self, store: &dyn Locks, accepted: bool) {
        loop {
            let call = Call::internal(SETTLE_TIME);
            let cookie = self.reservation.cookie;
            let error = match store.settle(&call, cookie, accepted).await {
                Ok(Settled::Merged | Settled::Dropped | Settled::Unknown) => return,
                Err(error) => error,
            };
            match &error {
                Error::Unavailable(_) | Error::Cancelled => {}
                error => {
                    let client = self.reservation.owner.client.address();
                    limited!(error, client, "a lock that was waited for cannot be settled",
                        %client, error = %BoundedChain(error));
                }
            }
            tokio::select! {
                biased;
                () = self.over.cancelled() => return,
                () = self.callbacks.stop.cancelled() => return,
                () = sleep(SETTLE_AGAIN) => {}
            }
        }
    }

    async fn call(&mut self) -> (End, Option<Turn>) {
        let mut attempts = Attempts::default();
        let mut replies = JoinSet::new();
        // How it ends, where nothing more is sent.
        let mut last = None;
        loop {
            let place = self.place().await;
            let attempt = attempts.begin();
            let is_message = attempts.of_round() % 2 == 0;
            self.callbacks.counted.sent.increment();
            replies.spawn(self.attempt(attempt, is_message, place));
            let round = usize::from(attempts.of_round() - 1).min(PAUSES.len() - 1);
            let mut next = Instant::now() + PAUSES[round];
            loop {
                let (outcome, turn) = tokio::select! {
                    biased;
                    Some(done) = replies.join_next() => {
                        let Ok(mut done) = done else { continue };
                        let turn = done.turn.take();
                        match self.outcome(&mut attempts, done) {
                            Ok(outcome) => (outcome, turn),
                            Err(Next::AtOnce) => break,
                            Err(Next::InTime) => continue,
                        }
                    }
                    told = self.told.recv() => match told {
                        Some(Told::Answer { attempt, status, turn }) => {
                            (attempts.answered(attempt, status), Some(turn))
                        }
                        Some(Told::Again { whole }) => {
                            if whole {
                                attempts.anew();
                            }
                            last = None;
                            break;
                        }
                        None => return (End::Unknown, None),
                    },
                    () = sleep_until(next) => break,
                };
                match outcome {
                    Outcome::Nothing => {}
                    Outcome::Later => next = Instant::now() + GRACE,
                    Outcome::DroppedSoon => {
                        last = Some(End::Dropped);
                        next = Instant::now() + EARLIER_ANSWERS;
                    }
                    Outcome::End(End::Unknown) => {
                        // The word on an earlier attempt may still come.
                        last = Some(End::Unknown);
                        next = Instant::now() + PATIENCE;
                    }
                    Outcome::End(end @ (End::Accepted | End::Dropped)) => return (end, turn),
                }
            }
            if let Some(end) = last {
                return (end, None);
            }
            if attempts.of_round() >= MOST_ATTEMPTS || attempts.are_used_up() {
                return (End::Unknown, None);
            }
        }
    }

    /// What an attempt's call comes to, or when the next one follows.
    fn outcome(&self, attempts: &mut Attempts, done: Attempted) -> Result<Outcome, Next> {
        let Attempted { attempt, is_message, sent, .. } = done;
        let taken = match sent {
            // GRANTED_MSG's own reply says nothing but that it came.
            Sent::Answered(_) if is_message => return Err(Next::InTime),
            Sent::Answered(mut results) => match wire::decode_result(&mut results) {
                Ok((_, status)) => return Ok(attempts.answered(attempt, status)),
                Err(_) => return Err(Next::InTime),
            },
            Sent::Silent => return Err(Next::InTime),
            Sent::Refused => {
                let taken = attempts.failed(attempt);
                if !is_message && attempts.of_round() == 1 {
                    // One of the clients that know only the other form.
                    return Err(Next::AtOnce);
                }
                taken
            }
            Sent::Unsent(reason) => {
                self.warn(&reason);
                attempts.failed(attempt)
            }
        };
        if taken {
            return Err(Next::InTime);
        }
        self.callbacks.counted.unreachable.increment();
        Ok(Outcome::End(End::Dropped))
    }

    fn warn(&self, reason: &Unsent) {
        let client = self.reservation.owner.client.address();
        limited!(warn, client,
            "a client's lock manager cannot be called: its blocked locks wait for its own polls",
            %client, error = %BoundedChain(reason));
    }

    async fn place(&self) -> ClientPlace {
        loop {
            match self.callbacks.calls.take(self.reservation.owner.client.address()) {
                Some(place) => return place,
                None => sleep(NO_PLACE).await,
            }
        }
    }

    fn attempt(
        &self,
        attempt: u16,
        is_message: bool,
        place: ClientPlace,
    ) -> impl Future<Output = Attempted> + Send + use<> {
        let (sender, turn) = (self.callbacks.sender.clone(), self.turn.clone());
        let (to, arguments) = (destination(&self.reservation), self.arguments(attempt));
        let (number, patience) =
            if is_message { (GRANTED_MSG, MESSAGE_PATIENCE) } else { (GRANTED, PATIENCE) };
        async move {
            let _place = place;
            let sent = match to {
                Some(to) => {
                    let arguments = arguments.encode(to.version);
                    sender.call(to, number, arguments, patience).await
                }
                None => Sent::Refused,
            };
            let turn = match &sent {
                Sent::Answered(_) => Some(turn.lock_owned().await),
                Sent::Refused | Sent::Unsent(_) | Sent::Silent => None,
            };
            Attempted { attempt, is_message, sent, turn }
        }
    }

    /// The lock as the client has asked for it.
    fn arguments(&self, attempt: u16) -> TestArguments {
        let Reservation { cookie, owner, range, kind, oh, how, .. } = &self.reservation;
        let cookie = (base(*cookie) | u128::from(attempt)).to_be_bytes();
        let (offset, length) = range.to_wire();
        TestArguments {
            cookie: Bytes::copy_from_slice(&cookie),
            exclusive: kind.is_exclusive(),
            lock: Lock {
                caller_name: owner.client.caller_name.clone(),
                handle: how.handle.clone(),
                oh: oh.clone(),
                svid: owner.svid,
                offset,
                length,
            },
        }
    }
}

/// When the next attempt follows.
enum Next {
    AtOnce,
    InTime,
}

/// Whom a reservation's client is called as; `None` for a version that is not spoken.
fn destination(reservation: &Reservation) -> Option<Destination> {
    let how = &reservation.how;
    Some(Destination {
        client: reservation.owner.client.address(),
        local: how.local.to_canonical(),
        version: Version::ALL.into_iter().find(|it| it.number() == how.version)?,
        protocol: match how.transport {
            Transport::Tcp => Protocol::Tcp,
            Transport::Udp => Protocol::Udp,
        },
    })
}
