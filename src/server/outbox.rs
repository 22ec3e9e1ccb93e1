//! Between a connection's calls and its socket: replies that are ready, and the account of calls in
//! flight, by which the connection stops reading.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::limits::{Budget, Reservation};
use super::orphans::ClientOrphans;
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
    queue: Mutex<Queue>,
    /// Something is to be written, or the outbox is closed.
    ready: Notify,
    account: Arc<Account>,
    max_calls: usize,
    budget: Arc<Budget>,
    /// Fires when the connection is of no more use: its calls may stop.
    cancel: CancellationToken,
}

#[derive(Debug, Default)]
struct Queue {
    replies: VecDeque<Outgoing>,
    /// The bytes of all replies since the connection began.
    queued: u64,
    closed: bool,
}

/// What a connection's calls and replies hold. Each counts itself out when it is dropped.
#[derive(Debug)]
struct Account {
    counts: Mutex<Counts>,
    /// A call has ended.
    room: Notify,
    orphans: ClientOrphans,
}

#[derive(Debug, Default)]
struct Counts {
    /// Calls begun whose reply is not yet written.
    calls: usize,
    /// Those of them that have no reply yet.
    running: usize,
    /// Their arguments' or replies' bytes.
    bytes: usize,
    /// Replies that found no room in the budget: nothing is read until they are written.
    overdrawn: usize,
    /// Calls that run are orphaned.
    closed: bool,
}

/// A call in the account.
#[derive(Debug)]
struct Counted {
    account: Arc<Account>,
    running: bool,
    bytes: usize,
    overdrawn: bool,
}

/// A reply that waits to be written.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) answer: Answer,
    _counted: Counted,
    _reservation: Option<Reservation>,
}

/// One call in flight. Dropping it says that no reply will come.
#[derive(Debug)]
pub(super) struct Slot {
    outbox: Arc<Outbox>,
    counted: Counted,
    /// Of the call's record.
    _reservation: Option<Reservation>,
}

impl Outbox {
    pub(super) fn new(
        max_calls: usize,
        budget: Arc<Budget>,
        cancel: CancellationToken,
        orphans: ClientOrphans,
    ) -> Arc<Self> {
        let account = Account { counts: Mutex::default(), room: Notify::new(), orphans };
        Arc::new(Self {
            queue: Mutex::default(),
            ready: Notify::new(),
            account: Arc::new(account),
            max_calls,
            budget,
            cancel,
        })
    }

    /// Counts a call in whose record had `bytes`.
    pub(super) fn begin(self: &Arc<Self>, bytes: usize, reservation: Option<Reservation>) -> Slot {
        let counted = Counted::new(&self.account, bytes);
        Slot { outbox: self.clone(), counted, _reservation: reservation }
    }

    /// Waits until another call may be read. One reader waits at a time.
    pub(super) async fn has_room(&self) {
        loop {
            if self.account.has_room(self.max_calls) {
                return self.account.orphans.room().await;
            }
            self.wake_writer();
            self.account.room.notified().await;
        }
    }

    /// Waits until every call has ended and its reply is written, or the outbox is closed.
    pub(super) async fn idle(&self) {
        while !self.account.is_idle() {
            self.wake_writer();
            self.account.room.notified().await;
        }
    }

    /// Lets the writer see what is queued. Replies of calls that were answered at once are queued
    /// without this, so that one write takes them all.
    pub(super) fn wake_writer(&self) {
        self.ready.notify_one();
    }

    /// Nothing more is taken in; what is queued is still written. Calls in flight are cancelled.
    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.account.close();
        self.cancel.cancel();
        self.ready.notify_one();
        self.account.room.notify_one();
    }

    /// Drops what is queued: it cannot be written.
    pub(super) fn abandon(&self) {
        self.close();
        let replies = std::mem::take(&mut self.queue.lock().replies);
        drop(replies);
    }

    /// Waits for replies and moves all of them to `batch`, which is empty. `false` where the outbox is
    /// closed and nothing is left.
    pub(super) async fn take(&self, batch: &mut VecDeque<Outgoing>) -> bool {
        loop {
            {
                let mut queue = self.queue.lock();
                if !queue.replies.is_empty() {
                    std::mem::swap(&mut queue.replies, batch);
                    return true;
                }
                if queue.closed {
                    return false;
                }
            }
            if batch.capacity() > KEEP_CAPACITY {
                *batch = VecDeque::new();
            }
            self.ready.notified().await;
        }
    }
}

impl Account {
    fn has_room(&self, max_calls: usize) -> bool {
        let counts = self.counts.lock();
        counts.calls < max_calls && counts.bytes < MAX_BYTES && counts.overdrawn == 0
    }

    fn is_idle(&self) -> bool {
        let counts = self.counts.lock();
        counts.calls == 0 || counts.closed
    }

    fn close(&self) {
        let mut counts = self.counts.lock();
        if !counts.closed {
            counts.closed = true;
            self.orphans.add(counts.running);
        }
    }
}

impl Counted {
    /// Counts a call in.
    fn new(account: &Arc<Account>, bytes: usize) -> Self {
        let mut counts = account.counts.lock();
        counts.calls += 1;
        counts.running += 1;
        counts.bytes += bytes;
        if counts.closed {
            account.orphans.add(1);
        }
        drop(counts);
        Self { account: account.clone(), running: true, bytes, overdrawn: false }
    }

    /// The call has a reply of so many bytes.
    fn answered(&mut self, bytes: usize, overdrawn: bool) {
        let mut counts = self.account.counts.lock();
        counts.end_running(self.running, &self.account.orphans);
        counts.bytes = counts.bytes - self.bytes + bytes;
        counts.overdrawn += usize::from(overdrawn);
        drop(counts);
        (self.running, self.bytes, self.overdrawn) = (false, bytes, overdrawn);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.account.counts.lock();
        counts.end_running(self.running, &self.account.orphans);
        counts.calls -= 1;
        counts.bytes -= self.bytes;
        counts.overdrawn -= usize::from(self.overdrawn);
        drop(counts);
        self.account.room.notify_one();
    }
}

impl Counts {
    fn end_running(&mut self, running: bool, orphans: &ClientOrphans) {
        if running {
            self.running -= 1;
            if self.closed {
                orphans.remove_one();
            }
        }
    }
}

impl Slot {
    /// Queues the call's reply. [`Outbox::wake_writer`] is to follow.
    pub(super) fn answer(self, answer: Answer) {
        let Self { outbox, mut counted, _reservation } = self;
        let length = answer.len();
        let large = length >= ACCOUNT_FROM;
        let reservation = if large { outbox.budget.try_reserve(length) } else { None };
        counted.answered(length, large && reservation.is_none());
        let outgoing = Outgoing { answer, _counted: counted, _reservation: reservation };
        let mut queue = outbox.queue.lock();
        if !queue.closed {
            queue.queued += length as u64;
            outgoing.answer.queued(queue.queued);
            queue.replies.push_back(outgoing);
        }
    }
}
