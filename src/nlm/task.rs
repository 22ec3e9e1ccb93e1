//! The calls about one reservation, from the first to the client's word, and what becomes of the reservation.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::attempts::{Attempts, End, Outcome};
use super::callbacks::{Callbacks, Told, Turn, base};
use super::ports::Destination;
use super::sender::{Sent, Unsent};
use super::wire::{self, Lock, TestArguments, Version};
use crate::log_limit::limited;
use crate::metadata::{Error, Locks, Reservation, Settled, Transport};
use crate::rpc::Protocol;
use crate::types::{BoundedChain, Call, ClientPlace};

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
/// How long a store may take to settle a reservation, and how soon it is asked again.
const SETTLE_TIME: Duration = Duration::from_secs(30);
const SETTLE_AGAIN: Duration = Duration::from_secs(1);
/// How soon a call that has no place is tried again.
const NO_PLACE: Duration = Duration::from_millis(200);

/// The calls about one reservation.
pub(super) struct Task {
    pub(super) callbacks: Arc<Callbacks>,
    pub(super) reservation: Reservation,
    /// It is a lock already, whatever its client says.
    pub(super) is_lock: bool,
    pub(super) over: CancellationToken,
    pub(super) turn: Arc<AsyncMutex<()>>,
    pub(super) told: mpsc::Receiver<Told>,
}

/// What becomes of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settle {
    /// A lock.
    Merge,
    /// Nothing.
    Drop,
    /// A waiter of the server that has the address now.
    HandOver,
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
    pub(super) async fn run(
        mut self,
        store: &dyn Locks,
        _place: ClientPlace,
        after: Option<Instant>,
    ) {
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
                self.settle(store, Settle::Merge).await;
            }
            End::Dropped => {
                counted.refused.increment();
                self.settle(store, Settle::Drop).await;
            }
            End::Moved => {
                counted.moved.increment();
                self.settle(store, Settle::HandOver).await;
            }
            End::Unknown => counted.unanswered.increment(),
        }
    }

    /// Settles the reservation, once the store answers.
    pub(super) async fn settle(&self, store: &dyn Locks, how: Settle) {
        if self.is_lock {
            return;
        }
        loop {
            let call = Call::internal(SETTLE_TIME);
            let cookie = self.reservation.cookie;
            let settled = match how {
                Settle::Merge => store.settle(&call, cookie, true).await,
                Settle::Drop => store.settle(&call, cookie, false).await,
                Settle::HandOver => store.hand_over(&call, cookie).await.map(|()| Settled::Dropped),
            };
            let error = match settled {
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
                    Outcome::End(end @ (End::Accepted | End::Dropped | End::Moved)) => {
                        return (end, turn);
                    }
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
            Sent::Unsent(Unsent::Moved) => {
                if attempts.failed(attempt) {
                    return Err(Next::InTime);
                }
                return Ok(Outcome::End(End::Moved));
            }
            Sent::Unsent(reason @ (Unsent::NoPort(_) | Unsent::Unreachable(_))) => {
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
