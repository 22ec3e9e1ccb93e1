//! Between a connection's calls and its socket: replies that are ready, and the account of calls in
//! flight, by which the connection stops reading.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::memory_budget::{ConnectionMemory, Pace, Slow};
use super::orphans::ClientOrphans;
use crate::rpc::Answer;

/// Bytes of calls in flight and replies not yet written at which a connection stops reading.
const MAX_BYTES: usize = 16 << 20;
/// Bytes that a connection holds without memory of the budget, so that small calls need none of it.
const FREE_BYTES: usize = 32 << 10;
/// Memory of the budget is asked for in multiples of so many bytes, and given back where as many are left
/// over.
const BLOCK_BYTES: usize = 64 << 10;
/// What a call that waits takes beside its record and its reply, in bytes.
const CALL_BYTES: usize = 4 << 10;
/// What a reply that waits to be written takes beside its own bytes.
const REPLY_BYTES: usize = 256;
/// What a queue keeps allocated while it is empty, in replies.
const KEEP_CAPACITY: usize = 32;

/// One connection's replies and calls in flight.
#[derive(Debug)]
pub(super) struct ReplyQueue {
    queue: Mutex<Queue>,
    /// Something is to be written, or the reply queue is closed.
    ready: Notify,
    account: Arc<Account>,
    max_calls: usize,
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
    memory: ConnectionMemory,
}

#[derive(Debug)]
struct Counts {
    /// Calls begun whose reply is not yet written.
    calls: usize,
    /// Those of them that have no reply yet.
    running: usize,
    /// Bytes of their records and memory, or of their replies, and of the record under way.
    bytes: usize,
    /// Memory of the budget, which covers the bytes, all but [`FREE_BYTES`]. Nothing is held for what does
    /// not run yet: no connection waits for memory and holds what another one waits for.
    held: usize,
    /// Calls that run are orphaned.
    closed: bool,
    /// When `calls` became zero last.
    idle_since: Instant,
}

/// A call in the account.
#[derive(Debug)]
struct Counted {
    account: Arc<Account>,
    running: bool,
    bytes: usize,
    /// It was counted out.
    ended: bool,
}

/// The memory of the record under way.
#[derive(Debug)]
pub(super) struct RecordMemory {
    account: Arc<Account>,
    bytes: usize,
}

/// A reply that waits to be written.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) answer: Answer,
    counted: Counted,
}

/// One call in flight. Dropping it says that no reply will come.
#[derive(Debug)]
pub(super) struct Slot {
    replies: Arc<ReplyQueue>,
    counted: Counted,
    /// Memory that is still to be waited for.
    wanted: usize,
}

impl ReplyQueue {
    pub(super) fn new(
        max_calls: usize,
        memory: ConnectionMemory,
        cancel: CancellationToken,
        orphans: ClientOrphans,
    ) -> Arc<Self> {
        let counts = Mutex::new(Counts::new());
        let account = Account { counts, room: Notify::new(), orphans, memory };
        Arc::new(Self {
            queue: Mutex::default(),
            ready: Notify::new(),
            account: Arc::new(account),
            max_calls,
            cancel,
        })
    }

    /// The memory of a record that grows.
    pub(super) fn record(&self) -> RecordMemory {
        RecordMemory { account: self.account.clone(), bytes: 0 }
    }

    /// Counts a call in whose record had `bytes`, for which `memory` was granted where it grew.
    pub(super) fn begin(self: &Arc<Self>, bytes: usize, memory: Option<RecordMemory>) -> Slot {
        let counted = Counted::new(&self.account, bytes);
        drop(memory);
        Slot { replies: self.clone(), counted, wanted: 0 }
    }

    /// Waits until another call may be read. One reader waits at a time.
    pub(super) async fn has_room(&self) {
        loop {
            if self.account.has_room(self.max_calls) {
                if self.account.is_covered() && self.account.orphans.has_room() {
                    return;
                }
                self.account.orphans.room().await;
                return self.cover().await;
            }
            self.wake_writer();
            self.account.room.notified().await;
        }
    }

    /// Waits until memory of the budget covers everything that is counted. Replies that are written meanwhile
    /// may end the wait.
    async fn cover(&self) {
        let mut covered = pin!(self.count(0));
        loop {
            tokio::select! {
                biased;
                () = &mut covered => return,
                () = self.account.room.notified() => {}
            }
            if self.account.is_covered() {
                return;
            }
        }
    }

    /// Waits until memory of the budget covers the call's too.
    pub(super) async fn begins(&self, slot: &mut Slot) {
        self.count(slot.wanted).await;
        slot.counted.bytes += slot.wanted;
    }

    /// Counts `more` bytes when memory covers them and everything that is counted. It is the connection's
    /// reader that waits: calls that end meanwhile give back all that they held.
    async fn count(&self, more: usize) {
        let missing = {
            let mut counts = self.account.counts.lock();
            let missing = counts.missing(more);
            if missing == 0 {
                counts.bytes += more;
                return;
            }
            missing
        };
        self.wake_writer();
        let granted = self.account.memory.reserve(missing.next_multiple_of(BLOCK_BYTES)).await;
        self.account.grant(granted, more);
    }

    /// Waits until the connection must end for its slowness.
    pub(super) async fn must_end(&self) -> Slow {
        self.account.memory.must_end().await
    }

    /// The connection must not end: its sender has sent enough, which was not read yet.
    pub(super) fn goes_on(&self) {
        self.account.memory.goes_on();
    }

    /// How fast the peer sends and receives.
    pub(super) fn pace(&self) -> &Pace {
        self.account.memory.pace()
    }

    /// Waits until every call has ended and its reply is written, or the reply queue is closed.
    pub(super) async fn idle(&self) {
        while !self.account.is_idle() {
            self.wake_writer();
            self.account.room.notified().await;
        }
    }

    /// When the last call ended and its reply was written; `None` while there are calls.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.account.idle_since()
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

    /// Drops the first `count` replies of `batch`, which are written.
    pub(super) fn written(&self, batch: &mut VecDeque<Outgoing>, count: usize) {
        if count > 0 {
            self.account.written(batch, count);
        }
    }

    /// Waits for replies and moves all of them to `batch`, which is empty. `false` where the reply queue is
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
            // Calls that were woken together answer before the first of their replies is written.
            if self.account.counts.lock().running > 0 {
                tokio::task::yield_now().await;
            }
        }
    }
}

impl Account {
    /// Counts the first `count` replies of `batch` out and drops them: they are written.
    fn written(&self, batch: &mut VecDeque<Outgoing>, count: usize) {
        {
            let mut counts = self.counts.lock();
            for outgoing in batch.iter_mut().take(count) {
                self.end(&mut counts, &mut outgoing.counted);
            }
        }
        batch.drain(..count);
        self.room.notify_one();
    }

    fn idle_since(&self) -> Option<Instant> {
        let counts = self.counts.lock();
        (counts.calls == 0).then_some(counts.idle_since)
    }

    fn has_room(&self, max_calls: usize) -> bool {
        let counts = self.counts.lock();
        counts.calls < max_calls && counts.bytes < MAX_BYTES
    }

    /// Whether memory of the budget covers everything that is counted.
    fn is_covered(&self) -> bool {
        self.counts.lock().missing(0) == 0
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

    /// Counts memory that was granted, and `bytes` for which it was. Memory that replies written meanwhile
    /// have left goes back.
    fn grant(&self, memory: usize, bytes: usize) {
        let mut counts = self.counts.lock();
        counts.held += memory;
        self.recount(&mut counts, 0, bytes);
    }

    /// Counts `bytes` in the place of `before`. Memory that is not needed any more is given back: all of it
    /// without a call, and small parts where a request waits.
    fn recount(&self, counts: &mut Counts, before: usize, bytes: usize) {
        counts.bytes = counts.bytes - before + bytes;
        let surplus = counts.held.saturating_sub(counts.bytes.saturating_sub(FREE_BYTES));
        if surplus == 0 {
            return;
        }
        if surplus >= BLOCK_BYTES || counts.calls == 0 || self.memory.is_lacking() {
            counts.held -= surplus;
            self.memory.release(surplus);
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
        Self { account: account.clone(), running: true, bytes, ended: false }
    }

    /// The call takes so many bytes from now on.
    fn takes(&mut self, bytes: usize) {
        self.account.recount(&mut self.account.counts.lock(), self.bytes, bytes);
        self.bytes = bytes;
    }

    /// The call takes so many bytes from now on, and `more` where memory covers them at once.
    fn takes_if_covered(&mut self, bytes: usize, more: usize) -> bool {
        let mut counts = self.account.counts.lock();
        self.account.recount(&mut counts, self.bytes, bytes);
        self.bytes = bytes;
        let is_covered = counts.missing(more) == 0;
        if is_covered {
            counts.bytes += more;
            self.bytes += more;
        }
        is_covered
    }

    /// The call has a reply of so many bytes.
    fn answered(&mut self, bytes: usize) {
        let mut counts = self.account.counts.lock();
        counts.end_running(self.running, &self.account.orphans);
        self.account.recount(&mut counts, self.bytes, bytes);
        drop(counts);
        (self.running, self.bytes) = (false, bytes);
    }
}

impl Account {
    /// Counts a call out.
    fn end(&self, counts: &mut Counts, counted: &mut Counted) {
        counted.ended = true;
        counts.end_running(counted.running, &self.orphans);
        counts.calls -= 1;
        if counts.calls == 0 {
            counts.idle_since = Instant::now();
        }
        self.recount(counts, counted.bytes, 0);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if !self.ended {
            let account = self.account.clone();
            account.end(&mut account.counts.lock(), self);
            account.room.notify_one();
        }
    }
}

impl RecordMemory {
    /// Waits for memory for the record's next `step`; `rest` is all that the record may still need. Gives how
    /// much is granted: the step, or the rest.
    pub(super) async fn grow(&mut self, step: usize, rest: usize) -> usize {
        let (memory, is_first) = (&self.account.memory, self.bytes == 0);
        let missing = self.account.counts.lock().missing(step);
        let held = match missing {
            0 => 0,
            _ => memory.grow(is_first, missing, missing + rest - step).await,
        };
        let granted = if held > missing { rest } else { step };
        self.account.grant(held, granted);
        self.bytes += granted;
        memory.pace().record_takes(self.bytes);
        granted
    }
}

impl Drop for RecordMemory {
    fn drop(&mut self) {
        self.account.memory.pace().record_ended();
        self.account.recount(&mut self.account.counts.lock(), self.bytes, 0);
    }
}

impl Counts {
    fn new() -> Self {
        let (calls, running, bytes, held) = (0, 0, 0, 0);
        Self { calls, running, bytes, held, closed: false, idle_since: Instant::now() }
    }

    /// The bytes of what is counted and of `more` that no memory covers.
    fn missing(&self, more: usize) -> usize {
        (self.bytes + more).saturating_sub(FREE_BYTES + self.held)
    }

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
    /// The call takes `memory` beside its arguments, which are no more than [`crate::rpc::FREE_BYTES`].
    /// Whether that is covered at once; otherwise [`ReplyQueue::begins`] is to follow.
    pub(super) fn takes(&mut self, memory: usize) -> bool {
        let counted = &mut self.counted;
        let arguments = counted.bytes.min(crate::rpc::FREE_BYTES);
        if counted.takes_if_covered(arguments, memory) {
            return true;
        }
        self.wanted = memory;
        self.replies.clone().begins(self).now_or_never().is_some()
    }

    /// The call waits for something.
    pub(super) fn waits(&mut self) {
        self.counted.takes(self.counted.bytes + CALL_BYTES);
    }

    /// Queues the call's reply. [`ReplyQueue::wake_writer`] is to follow.
    pub(super) fn answer(self, answer: Answer) {
        let Self { replies, mut counted, wanted: _ } = self;
        let length = answer.len();
        counted.answered(length + REPLY_BYTES);
        let outgoing = Outgoing { answer, counted };
        let mut queue = replies.queue.lock();
        if !queue.closed {
            queue.queued += length as u64;
            outgoing.answer.queued(queue.queued);
            queue.replies.push_back(outgoing);
        }
    }
}

#[cfg(test)]
mod tests;
