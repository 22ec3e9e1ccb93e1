//! Between a connection's calls and its socket: replies that are ready, and the account of calls in
//! flight, by which the connection stops reading.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::limits::{Budget, Reservation};
use super::places::Place;
use crate::rpc::Answer;

/// Bytes of calls in flight and replies not yet written at which a connection stops reading.
const MAX_BYTES: usize = 16 << 20;
/// Replies from this size on take from the budget, in bytes.
const ACCOUNT_FROM: usize = 16 << 10;
/// What a queue keeps allocated while it is empty, in replies.
const KEEP_CAPACITY: usize = 32;

/// One connection's replies and calls in flight.
#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    /// Something is to be written, or the outbox is closed.
    ready: Notify,
    /// A call has ended.
    room: Notify,
    max_calls: usize,
    budget: Arc<Budget>,
    /// Fires when the connection is of no more use: its calls may stop.
    cancel: CancellationToken,
    /// The connection's place among the server's, held until its last call has ended.
    _place: Place,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Outgoing>,
    /// Calls begun whose reply is not yet written.
    calls: usize,
    /// Their arguments' or replies' bytes.
    bytes: usize,
    /// Replies that found no room in the budget: nothing is read until they are written.
    overdrawn: usize,
    closed: bool,
}

/// A reply that waits to be written.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) answer: Answer,
    memory: Memory,
}

/// Where a reply's memory is accounted.
#[derive(Debug)]
enum Memory {
    Small,
    Reserved(#[allow(dead_code, reason = "held until it is dropped")] Reservation),
    Overdrawn,
}

/// Replies that left the queue.
#[derive(Debug, Default)]
pub(super) struct Gone {
    calls: usize,
    bytes: usize,
    overdrawn: usize,
}

/// One call in flight. Dropping it says that no reply will come.
#[derive(Debug)]
pub(super) struct Slot {
    outbox: Arc<Outbox>,
    bytes: usize,
    answered: bool,
    /// Of the call's record.
    _reservation: Option<Reservation>,
}

impl Outbox {
    pub(super) fn new(
        max_calls: usize,
        budget: Arc<Budget>,
        cancel: CancellationToken,
        place: Place,
    ) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            ready: Notify::new(),
            room: Notify::new(),
            max_calls,
            budget,
            cancel,
            _place: place,
        })
    }

    /// Counts a call in whose record had `bytes`.
    pub(super) fn begin(self: &Arc<Self>, bytes: usize, reservation: Option<Reservation>) -> Slot {
        let mut state = self.state.lock();
        state.calls += 1;
        state.bytes += bytes;
        Slot { outbox: self.clone(), bytes, answered: false, _reservation: reservation }
    }

    /// Waits until another call may be read. One reader waits at a time.
    pub(super) async fn has_room(&self) {
        loop {
            {
                let state = self.state.lock();
                let within = state.calls < self.max_calls && state.bytes < MAX_BYTES;
                if within && state.overdrawn == 0 {
                    return;
                }
            }
            self.wake_writer();
            self.room.notified().await;
        }
    }

    /// Waits until every call has ended and its reply is written.
    pub(super) async fn idle(&self) {
        while self.state.lock().calls > 0 {
            self.wake_writer();
            self.room.notified().await;
        }
    }

    /// Lets the writer see what is queued. Replies of calls that were answered at once are queued
    /// without this, so that one write takes them all.
    pub(super) fn wake_writer(&self) {
        self.ready.notify_one();
    }

    /// Nothing more is taken in; what is queued is still written. Calls in flight are cancelled.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.cancel.cancel();
        self.ready.notify_one();
        self.room.notify_one();
    }

    /// Drops what is queued: it cannot be written.
    pub(super) fn abandon(&self) {
        self.close();
        let queue = std::mem::take(&mut self.state.lock().queue);
        let mut gone = Gone::default();
        queue.iter().for_each(|outgoing| gone.add(outgoing));
        self.gone(gone);
    }

    /// Waits for replies and moves all of them to `batch`, which is empty. `false` where the outbox is
    /// closed and nothing is left.
    pub(super) async fn take(&self, batch: &mut VecDeque<Outgoing>) -> bool {
        loop {
            {
                let mut state = self.state.lock();
                if !state.queue.is_empty() {
                    std::mem::swap(&mut state.queue, batch);
                    return true;
                }
                if state.closed {
                    return false;
                }
            }
            if batch.capacity() > KEEP_CAPACITY {
                *batch = VecDeque::new();
            }
            self.ready.notified().await;
        }
    }

    /// Counts calls out whose replies are written, or never will be.
    pub(super) fn gone(&self, gone: Gone) {
        let mut state = self.state.lock();
        state.calls -= gone.calls;
        state.bytes -= gone.bytes;
        state.overdrawn -= gone.overdrawn;
        drop(state);
        self.room.notify_one();
    }
}

impl Gone {
    /// Counts one more.
    pub(super) fn add(&mut self, outgoing: &Outgoing) {
        self.calls += 1;
        self.bytes += outgoing.answer.len();
        self.overdrawn += usize::from(matches!(outgoing.memory, Memory::Overdrawn));
    }
}

impl Slot {
    /// Queues the call's reply. [`Outbox::wake_writer`] is to follow.
    pub(super) fn answer(mut self, answer: Answer) {
        let length = answer.len();
        let memory = if length < ACCOUNT_FROM {
            Memory::Small
        } else {
            self.outbox.budget.try_reserve(length).map_or(Memory::Overdrawn, Memory::Reserved)
        };
        let mut state = self.outbox.state.lock();
        if state.closed {
            return;
        }
        state.bytes = state.bytes - self.bytes + length;
        state.overdrawn += usize::from(matches!(memory, Memory::Overdrawn));
        state.queue.push_back(Outgoing { answer, memory });
        drop(state);
        // The writer counts this call out.
        self.answered = true;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.answered {
            self.outbox.gone(Gone { calls: 1, bytes: self.bytes, overdrawn: 0 });
        }
    }
}
