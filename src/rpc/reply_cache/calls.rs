//! One client's calls: those in progress, and those with a recorded reply.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use smallvec::{SmallVec, smallvec};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::call_id::CallId;
use super::{Connection, Handoff, ReplyCacheLimits};
use crate::rpc::reply_stream::{Delivery, Fate};
use crate::xdr::Message;

/// What a recorded call takes beside its results, in bytes, as near as an account needs it.
pub(super) const OVERHEAD_BYTES: usize = 512;
/// The most connections of a call that are remembered: its first, and the latest that sent a copy.
const MAX_HOMES: usize = 8;

#[derive(Debug)]
pub(super) struct Calls {
    /// Calls that look alike are one call and its copies, or calls of different ports.
    by_id: HashMap<CallId, SmallVec<[CachedCall; 1]>>,
    /// The recorded ones, oldest first.
    recorded: VecDeque<Recorded>,
    next: u64,
    bytes: usize,
    /// Of all clients.
    all_bytes: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Recorded {
    key: Key,
    at: Instant,
}

/// One call of all that look alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    id: CallId,
    number: u64,
}

#[derive(Debug)]
struct CachedCall {
    number: u64,
    address: IpAddr,
    /// The connections that sent it, the first one first.
    homes: SmallVec<[Home; 1]>,
    state: CallState,
}

/// A connection that sent a call, and the reply by it.
#[derive(Debug)]
struct Home {
    port: u16,
    connection: u64,
    delivery: Arc<Delivery>,
}

#[derive(Debug)]
enum CallState {
    /// Runs, perhaps with a copy that waits.
    InProgress {
        /// The number of the connection to be answered.
        connection: u64,
        waiting: Option<oneshot::Sender<Handoff>>,
    },
    Done {
        reply: Message,
        at: Instant,
    },
}

/// What a call is to the calls before it.
#[derive(Debug)]
pub(super) enum Found {
    New(Key, Arc<Delivery>),
    InProgress(oneshot::Receiver<Handoff>, Arc<Delivery>),
    Done(Message, Arc<Delivery>),
    NotAdmitted,
    Late,
}

impl Calls {
    pub(super) fn new(all_bytes: Arc<AtomicUsize>) -> Self {
        Self { by_id: HashMap::new(), recorded: VecDeque::new(), next: 0, bytes: 0, all_bytes }
    }

    /// Looks for the call of which the one by `connection` is a copy, and notes that one where there is none.
    pub(super) fn begin(
        &mut self,
        limits: &ReplyCacheLimits,
        id: CallId,
        connection: &Connection,
        admitted: impl FnOnce() -> bool,
    ) -> Found {
        let alike = self.by_id.entry(id).or_default();
        let original = alike
            .iter()
            .rposition(|call| call.is_repeated_by(connection, limits))
            .or_else(|| alike.iter().rposition(|call| call.may_be_lost_to(connection, limits)));
        if let Some(original) = original {
            return if admitted() {
                alike[original].repeat(connection)
            } else {
                Found::NotAdmitted
            };
        }
        let is_late = alike.iter().any(|call| call.is_newer_than(connection));
        if is_late && connection.stream.has_ended() {
            return Found::Late;
        }
        let number = self.next;
        self.next += 1;
        let home = Home::new(connection);
        let delivery = home.delivery.clone();
        alike.push(CachedCall {
            number,
            address: connection.address,
            homes: smallvec![home],
            state: CallState::InProgress { connection: connection.number, waiting: None },
        });
        Found::New(Key { id, number }, delivery)
    }

    fn find(&mut self, key: &Key) -> Option<&mut CachedCall> {
        self.by_id.get_mut(&key.id)?.iter_mut().find(|call| call.number == key.number)
    }

    /// Forgets a call.
    pub(super) fn remove(&mut self, key: &Key) {
        let Some(alike) = self.by_id.get_mut(&key.id) else { return };
        let Some(position) = alike.iter().position(|call| call.number == key.number) else {
            return;
        };
        let removed = alike.remove(position);
        if alike.is_empty() {
            self.by_id.remove(&key.id);
        }
        if let CallState::Done { reply, .. } = removed.state {
            let bytes = reply.len() + OVERHEAD_BYTES;
            self.bytes -= bytes;
            self.all_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Records the reply of a call in progress. Replies that nothing may ask for any more are forgotten, and
    /// this client's own oldest ones where a bound is reached. The newest stays in any case: it is the one
    /// most likely to be asked for.
    pub(super) fn record(&mut self, limits: &ReplyCacheLimits, key: Key, reply: Message) {
        let at = Instant::now();
        let Some(call) = self.find(&key) else { return };
        let bytes = reply.len() + OVERHEAD_BYTES;
        call.state = CallState::Done { reply, at };
        self.bytes += bytes;
        self.all_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.recorded.push_back(Recorded { key, at });
        while self.recorded.len() > limits.calls
            || self.recorded.front().is_some_and(|oldest| at - oldest.at > limits.unread)
            || (self.recorded.len() > 1 && self.all_bytes.load(Ordering::Relaxed) > limits.bytes)
        {
            if let Some(oldest) = self.recorded.pop_front() {
                self.remove(&oldest.key);
            }
        }
    }

    /// Takes the copy that waits for a call in progress.
    pub(super) fn take_waiting(&mut self, key: &Key) -> Option<oneshot::Sender<Handoff>> {
        match &mut self.find(key)?.state {
            CallState::InProgress { waiting, .. } => waiting.take(),
            CallState::Done { .. } => None,
        }
    }

    /// Whether a copy waits for a call in progress.
    pub(super) fn is_waited_for(&mut self, key: &Key) -> bool {
        match self.find(key).map(|call| &call.state) {
            Some(CallState::InProgress { waiting: Some(copy), .. }) => !copy.is_closed(),
            Some(CallState::InProgress { waiting: None, .. } | CallState::Done { .. }) | None => {
                false
            }
        }
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.all_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl CachedCall {
    /// Whether a call that looks alike is a copy by its port.
    fn is_repeated_by(&self, connection: &Connection, limits: &ReplyCacheLimits) -> bool {
        self.address == connection.address
            && self.homes.iter().any(|home| home.port == connection.port)
            && match &self.state {
                CallState::InProgress { .. } => true,
                CallState::Done { at, .. } => {
                    at.elapsed() <= limits.read
                        || (at.elapsed() <= limits.unread && self.reply_may_be_lost(*at))
                }
            }
    }

    /// Whether a call that looks alike and comes from another port is a copy: the client may have lost the
    /// first connection.
    fn may_be_lost_to(&self, connection: &Connection, limits: &ReplyCacheLimits) -> bool {
        self.address == connection.address
            && !connection.datagram
            && match &self.state {
                CallState::InProgress { .. } => self.first_is_silent(),
                CallState::Done { at, .. } => {
                    at.elapsed() <= limits.unread && self.reply_may_be_lost(*at)
                }
            }
    }

    /// Whether the client sent the call by a newer connection too.
    fn is_newer_than(&self, connection: &Connection) -> bool {
        self.address == connection.address
            && self.homes.iter().any(|home| home.connection > connection.number)
    }

    fn first_is_silent(&self) -> bool {
        self.homes.first().is_some_and(|home| home.delivery.stream().is_silent())
    }

    /// Whether no connection has brought the reply to the client, and the latest one that was to may have
    /// lost it.
    fn reply_may_be_lost(&self, at: Instant) -> bool {
        let age = at.elapsed();
        let mut latest = None;
        for home in self.homes.iter().rev() {
            match home.delivery.fate(age) {
                Fate::Read => return false,
                fate @ (Fate::OnItsWay | Fate::MaybeLost) => latest = latest.or(Some(fate)),
                Fate::NotQueued => {}
            }
        }
        match latest {
            Some(fate) => fate == Fate::MaybeLost,
            // It came too late for its connection, or is about to be queued.
            None => self.first_is_silent(),
        }
    }

    fn repeat(&mut self, connection: &Connection) -> Found {
        let delivery = self.home(connection);
        match &mut self.state {
            CallState::InProgress { connection: answered, waiting } => {
                let (sender, receiver) = oneshot::channel();
                if *answered <= connection.number {
                    *answered = connection.number;
                    *waiting = Some(sender);
                }
                Found::InProgress(receiver, delivery)
            }
            CallState::Done { reply, .. } => Found::Done(reply.clone(), delivery),
        }
    }

    /// The reply by a connection that sends a copy.
    fn home(&mut self, connection: &Connection) -> Arc<Delivery> {
        let same = |home: &&Home| Arc::ptr_eq(home.delivery.stream(), &connection.stream);
        if let Some(home) = self.homes.iter().find(same) {
            return home.delivery.clone();
        }
        if self.homes.len() == MAX_HOMES {
            self.homes.remove(1);
        }
        let home = Home::new(connection);
        let delivery = home.delivery.clone();
        self.homes.push(home);
        delivery
    }
}

impl Home {
    fn new(connection: &Connection) -> Self {
        let delivery = Arc::new(Delivery::new(connection.stream.clone()));
        if connection.datagram {
            delivery.queued(0);
        }
        Self { port: connection.port, connection: connection.number, delivery }
    }
}
