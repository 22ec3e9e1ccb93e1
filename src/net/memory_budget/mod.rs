//! The memory that records, calls and replies of all connections may take together, shared among clients.
//!
//! - A client holds at most a quarter, and no more than it leaves free: further clients always find some. A
//!   client that holds nothing may take the first piece wherever there is enough.
//! - A request waits where memory lacks, and its connection is not read on. Clients are served in turn, each
//!   client's requests in their order.
//! - A record under way grows by steps. Requests for its next step come before all others, and have a reserve
//!   of one record, so that a record that has begun always ends: a step that finds no room is granted with
//!   all the rest of the record, from the reserve. The reserve is part of the budget, and of each client's
//!   quarter.
//! - While a request waits, the slowest peers give way: a sender that dawdles over a record, and a receiver
//!   that takes nothing of its replies ([`Pace`]). Everything else that holds memory ends by itself, at a
//!   call's deadline.

mod pace;
mod queue;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};

pub(super) use self::pace::{Pace, QUANTUM_BYTES};
use self::queue::{Queue, Request, Stage};
use crate::rpc::MAX_RECORD_BYTES;
use crate::types::ClientAddress;

/// How often a request that waits looks for slow peers.
const LOOK_AFTER: Duration = Duration::from_millis(50);
/// The part of the budget that one client may hold.
const CLIENT_PART: usize = 4;

/// The budget.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    queue: Mutex<Queue>,
    /// A request waits.
    lacking: AtomicBool,
    epoch: Instant,
}

/// Why a connection must give its memory back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slow {
    /// It sends a large record too slowly.
    Sender,
    /// It takes nothing of its replies.
    Receiver,
}

/// One connection's part of the budget, given back when dropped.
#[derive(Debug)]
pub(super) struct ConnectionMemory {
    budget: Arc<MemoryBudget>,
    peer: Arc<Peer>,
    number: u64,
}

/// A connection as the budget sees it.
#[derive(Debug)]
struct Peer {
    client: ClientAddress,
    held: AtomicUsize,
    pace: Pace,
    slow: watch::Sender<Option<Slow>>,
}

fn total(bytes: usize) -> usize {
    bytes.max(CLIENT_PART * MAX_RECORD_BYTES)
}

impl MemoryBudget {
    /// A budget of `bytes`, or of four of the longest records where that is more.
    pub(super) fn new(bytes: usize) -> Arc<Self> {
        let total = total(bytes);
        Arc::new(Self {
            queue: Mutex::new(Queue::new(total, total / CLIENT_PART, MAX_RECORD_BYTES)),
            lacking: AtomicBool::new(false),
            epoch: Instant::now(),
        })
    }

    /// Makes it a budget of `bytes`, in the same way. What is held beyond it is waited for.
    pub(super) fn resize(&self, bytes: usize) {
        let total = total(bytes);
        self.change(|queue| queue.resize(total, total / CLIENT_PART));
    }

    /// The part of a connection that begins.
    pub(super) fn connect(self: &Arc<Self>, client: ClientAddress) -> ConnectionMemory {
        let peer = Arc::new(Peer {
            client,
            held: AtomicUsize::new(0),
            pace: Pace::new(self.epoch),
            slow: watch::Sender::new(None),
        });
        let number = self.queue.lock().connect(peer.clone());
        ConnectionMemory { budget: self.clone(), peer, number }
    }

    /// Whether a request waits.
    pub(super) fn is_lacking(&self) -> bool {
        self.lacking.load(Ordering::Relaxed)
    }

    /// Bytes that are held, and that there are.
    pub(super) fn use_of(&self) -> (usize, usize) {
        let queue = self.queue.lock();
        (queue.held(), queue.total())
    }

    /// Bytes that are held.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.use_of().0
    }

    /// Changes the queue, and then grants what can be granted.
    fn change<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        let mut queue = self.queue.lock();
        let changed = change(&mut queue);
        queue.serve(Instant::now());
        self.lacking.store(queue.is_waited_for(), Ordering::Relaxed);
        changed
    }
}

impl ConnectionMemory {
    /// How fast the peer sends and receives.
    pub(super) fn pace(&self) -> &Pace {
        &self.peer.pace
    }

    /// Whether a request of any connection waits.
    pub(super) fn is_lacking(&self) -> bool {
        self.budget.is_lacking()
    }

    /// Waits for `bytes`, or for all that there ever is where that is less, and gives how much is granted.
    pub(super) async fn reserve(&self, bytes: usize) -> usize {
        self.wait(Stage::Beginning, bytes, bytes).await
    }

    /// Waits for the next `step` of a record under way, of which `rest` is still to come, `step` included.
    /// Gives how much is granted: `step`, or the rest. A record's first step is as any reservation: nothing
    /// is held while it waits.
    pub(super) async fn grow(&self, is_first: bool, step: usize, rest: usize) -> usize {
        self.peer.pace.pause_record();
        let stage = if is_first { Stage::Beginning } else { Stage::UnderWay };
        let granted = self.wait(stage, step, rest.max(step)).await;
        self.peer.pace.record_goes_on();
        granted
    }

    /// Gives `bytes` back.
    pub(super) fn release(&self, bytes: usize) {
        if bytes > 0 {
            self.peer.held.fetch_sub(bytes, Ordering::Relaxed);
            self.budget.change(|queue| queue.release(self.peer.client, bytes));
        }
    }

    /// Waits until the connection must end for its slowness, since others need the memory.
    pub(super) async fn must_end(&self) -> Slow {
        let mut slow = self.peer.slow.subscribe();
        loop {
            if let Some(slow) = *slow.borrow_and_update() {
                return slow;
            }
            // The sender is the peer's own, and not gone.
            let _ = slow.changed().await;
        }
    }

    /// The connection must not end: its sender has sent enough, which was not read yet.
    pub(super) fn goes_on(&self) {
        self.peer.pace.record_goes_on();
        self.peer.slow.send_replace(None);
    }

    async fn wait(&self, stage: Stage, bytes: usize, rest: usize) -> usize {
        let (grant, granted) = oneshot::channel();
        let request = Request { connection: self.number, bytes, rest, grant };
        self.budget.change(|queue| queue.push(self.peer.client, stage, request));
        let mut waiting = Waiting { memory: self, stage, granted, is_over: false };
        loop {
            match timeout(LOOK_AFTER, &mut waiting.granted).await {
                Ok(granted) => {
                    waiting.is_over = true;
                    let granted = granted.unwrap_or(0);
                    self.peer.held.fetch_add(granted, Ordering::Relaxed);
                    return granted;
                }
                Err(_) => self.budget.queue.lock().look(Instant::now()),
            }
        }
    }
}

impl Drop for ConnectionMemory {
    fn drop(&mut self) {
        let held = self.peer.held.load(Ordering::Relaxed);
        self.budget.change(|queue| {
            queue.disconnect(self.number);
            queue.release(self.peer.client, held);
        });
    }
}

/// A request that waits. Dropping it takes the request back, or its grant.
struct Waiting<'a> {
    memory: &'a ConnectionMemory,
    stage: Stage,
    granted: oneshot::Receiver<usize>,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let (memory, client) = (self.memory, self.memory.peer.client);
        self.granted.close();
        memory.budget.change(|queue| match self.granted.try_recv() {
            // A grant that came and was not taken.
            Ok(bytes) => queue.release(client, bytes),
            Err(_) => queue.remove(client, self.stage, memory.number),
        });
    }
}
