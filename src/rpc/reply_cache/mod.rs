//! The duplicate request cache: a repeat of a call that must not be done twice gets the reply of the first
//! one.
//!
//! Only procedures that [`super::Program::is_replayed`] names go through it; repeats of the others are cheap
//! and harmless, and simply run. The cache is for retransmissions alone: programs whose transaction ids begin
//! at a fixed number, virtual machines resumed from one snapshot, and pods behind one address make calls that
//! look alike, and each must be done.
//!
//! - A call is known by its client's address and port, and its [`CallId`].
//! - From another port of the address a call is a copy only where the client may have lost the first
//!   connection: the call is in progress, and that connection has ended or is silent; or it is done, and its
//!   reply may be unread ([`super::reply_stream`]). A datagram's copies come from its own port alone.
//! - While a call is in progress its newest copy waits, and the reply goes to it: the older connection may be
//!   dead. A copy that an even newer one displaces is never answered, nor is one that comes by a connection
//!   older than the one to be answered: it was sent before, and only read later.
//! - A call that is read from a connection that has ended does not run after its copy by a newer connection:
//!   a late WRITE would undo what was written since.
//! - A call that is cancelled leaves the cache, and the copy that waits runs in its place.
//! - Only successful replies are recorded. Any other stands for a call that was not applied, or whose
//!   outcome is unknown.
//! - A client that the rules do not admit gets no recorded reply.
//!
//! What another server has answered, or this one before its last start, is no matter of the cache: such calls
//! carry a [`Replay`], by which the store that they change has recorded them.
//!
//! Each client has a cache of its own, so that none evicts another's replies; so has each IPv6 network of 64
//! bits. It is kept for a while after the client's last connection.

mod call_id;
mod calls;

use std::collections::HashMap;
use std::hash::RandomState;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Reply;
use super::message::CallHeader;
use super::reply_stream::{Delivery, PeerState, ReplyStream, Transport};
use crate::counters::{Counter, Measured, Readings};
use crate::types::{ClientAddress, Replay};
use crate::xdr::Message;
use call_id::CallId;
use calls::{Calls, Found, Key};

/// So long a client repeats on a connection the calls that it has no reply to from the one before.
const YOUNG: Duration = Duration::from_secs(60);
/// So many of a connection's calls are looked up before they are done; those after them where they fail.
const FIRST_CALLS: usize = 64;

/// The cache's bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplyCacheLimits {
    /// Recorded replies of one client.
    pub(super) calls: usize,
    /// Bytes of all clients' recorded replies.
    pub(super) bytes: usize,
    /// Clients without a connection that are remembered.
    pub(super) absent_clients: usize,
    /// How long a reply that the client has read is replayed, to the port of its call.
    pub(super) read: Duration,
    /// How long a reply that the client may not have read is replayed, and a client without a connection is
    /// remembered.
    pub(super) unread: Duration,
}

impl Default for ReplyCacheLimits {
    fn default() -> Self {
        Self {
            calls: 1024,
            bytes: 64 << 20,
            absent_clients: 1024,
            read: Duration::from_secs(120),
            unread: Duration::from_secs(600),
        }
    }
}

/// All clients' caches.
#[derive(Debug)]
pub(super) struct ReplyCache {
    limits: ReplyCacheLimits,
    /// Of everything recorded.
    bytes: Arc<AtomicUsize>,
    clients: Mutex<HashMap<ClientAddress, Presence>>,
    /// Numbers connections, in their order.
    connected: AtomicU64,
    machines: RandomState,
    repeats: Repeats,
}

/// What repeats of calls came to.
#[derive(Debug, Default)]
struct Repeats {
    recorded: Counter,
    waited: Counter,
    late: Counter,
}

/// A client, and whether it is there.
#[derive(Debug)]
struct Presence {
    calls: Arc<Mutex<Calls>>,
    connections: usize,
    /// When its last connection ended.
    left: Instant,
}

/// What a copy that waits is given.
#[derive(Debug)]
pub(super) enum Handoff {
    Reply(Reply),
    /// The call itself: what ran it gave up.
    Run(InProgress),
}

/// What a call is to the cache.
#[derive(Debug)]
pub(super) enum Begin {
    /// New: it runs.
    Run(InProgress, Arc<Delivery>),
    /// A copy of a call in progress. The channel closes where a newer copy takes this one's place.
    Wait(oneshot::Receiver<Handoff>, Arc<Delivery>),
    /// A copy of a finished call.
    Recorded(Message, Arc<Delivery>),
    /// A copy by a caller that is not admitted: it runs beside the cache, and is refused.
    NotAdmitted,
    /// Sent before what looks alike on a newer connection, and read after it from a connection that has
    /// ended: it is dropped, since nothing can bring a reply to the client.
    Late,
}

/// A connection as its calls are known by it.
#[derive(Debug)]
struct Connection {
    address: IpAddr,
    port: u16,
    number: u64,
    stream: Arc<ReplyStream>,
    /// Of a datagram, which is a connection of its own.
    datagram: bool,
}

/// Of a datagram: nothing is known of its way.
#[derive(Debug)]
struct NoTransport;

impl Transport for NoTransport {
    fn unacknowledged(&self) -> u64 {
        0
    }

    fn peer(&self) -> PeerState {
        PeerState::Connected
    }
}

/// One connection's way to its client's cache.
#[derive(Debug)]
pub(super) struct ClientCache {
    cache: Arc<ReplyCache>,
    client: ClientAddress,
    connection: Connection,
    calls: Arc<Mutex<Calls>>,
    peer: SocketAddr,
    begun: Instant,
    /// How many calls were recorded by the connection.
    recorded: AtomicUsize,
}

/// The right to run a call. Dropping it without [`InProgress::finish`] makes the call one that never
/// was, and hands it to the copy that waits.
#[derive(Debug)]
pub(super) struct InProgress {
    cache: Arc<ReplyCache>,
    calls: Arc<Mutex<Calls>>,
    key: Key,
    finished: bool,
}

impl ReplyCache {
    pub(super) fn new(limits: ReplyCacheLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            bytes: Arc::default(),
            clients: Mutex::default(),
            connected: AtomicU64::new(0),
            machines: RandomState::new(),
            repeats: Repeats::default(),
        })
    }

    /// Notes a connection of a client, and forgets clients that are long gone.
    pub(super) fn connect(
        self: &Arc<Self>,
        peer: SocketAddr,
        stream: Arc<ReplyStream>,
    ) -> ClientCache {
        self.enter(peer, stream, false)
    }

    /// The same for the one call of a datagram. Its copies come from the same port, and its reply counts as
    /// read.
    pub(super) fn datagram(self: &Arc<Self>, peer: SocketAddr) -> ClientCache {
        self.enter(peer, Arc::new(ReplyStream::new(Box::new(NoTransport))), true)
    }

    fn enter(
        self: &Arc<Self>,
        peer: SocketAddr,
        stream: Arc<ReplyStream>,
        datagram: bool,
    ) -> ClientCache {
        // An IPv4 client is the same by whichever listener it comes.
        let (client, address) = (ClientAddress::of(peer.ip()), peer.ip().to_canonical());
        let mut clients = self.clients.lock();
        self.forget_absent(&mut clients);
        let presence = clients.entry(client).or_insert_with(|| Presence {
            calls: Arc::new(Mutex::new(Calls::new(self.bytes.clone()))),
            connections: 0,
            left: Instant::now(),
        });
        presence.connections += 1;
        let calls = presence.calls.clone();
        let number = self.connected.fetch_add(1, Ordering::Relaxed);
        let connection = Connection { address, port: peer.port(), number, stream, datagram };
        ClientCache {
            cache: self.clone(),
            client,
            connection,
            calls,
            peer: SocketAddr::new(address, peer.port()),
            begun: Instant::now(),
            recorded: AtomicUsize::new(0),
        }
    }

    fn forget_absent(&self, clients: &mut HashMap<ClientAddress, Presence>) {
        clients.retain(|_, presence| {
            presence.connections > 0 || presence.left.elapsed() < self.limits.unread
        });
        let absent = clients.values().filter(|presence| presence.connections == 0).count();
        for _ in self.limits.absent_clients..absent {
            forget_longest_absent(clients);
        }
    }

    /// Makes room at the cost of clients that are away, before anything is recorded.
    fn relieve(&self) {
        while self.bytes.load(Ordering::Relaxed) > self.limits.bytes / 4 * 3 {
            if !forget_longest_absent(&mut self.clients.lock()) {
                return;
            }
        }
    }
}

impl Measured for ReplyCache {
    fn read(&self, to: &mut Readings) {
        let Repeats { recorded, waited, late } = &self.repeats;
        for (result, count) in [("recorded", recorded), ("in_progress", waited), ("late", late)] {
            let help = "Retransmitted calls, by what they were answered with: the recorded reply, that of the call in \
                        progress, or nothing";
            let labels = [("result", result)];
            to.counter("trunkfs_reply_cache_repeats", help, &labels, count.total());
        }
        let bytes = self.bytes.load(Ordering::Relaxed) as u64;
        to.level("trunkfs_reply_cache_bytes", "Bytes of recorded replies", &[], bytes);
        let clients = self.clients.lock().len() as u64;
        to.level("trunkfs_reply_cache_clients", "Clients with recorded replies", &[], clients);
    }
}

/// Forgets the client that has been away longest; `false` where every client is there.
fn forget_longest_absent(clients: &mut HashMap<ClientAddress, Presence>) -> bool {
    let longest = clients
        .iter()
        .filter(|(_, presence)| presence.connections == 0)
        .min_by_key(|(_, presence)| presence.left)
        .map(|(address, _)| *address);
    longest.and_then(|address| clients.remove(&address)).is_some()
}

impl ClientCache {
    /// The connection's replies.
    pub(super) fn stream(&self) -> &Arc<ReplyStream> {
        &self.connection.stream
    }

    /// What a call is known by, beside its connection; its arguments are all of them, undecoded.
    pub(super) fn id(&self, header: &CallHeader, arguments: &[u8]) -> CallId {
        CallId::new(&self.cache.machines, header, arguments)
    }

    /// By what other servers know a call that is no copy of one that this server knows.
    pub(super) fn replay(&self, header: &CallHeader, arguments: &[u8]) -> Replay {
        let earlier = self.recorded.fetch_add(1, Ordering::Relaxed);
        let may_be_repeat = self.begun.elapsed() < YOUNG;
        Replay {
            looks_first: may_be_repeat && earlier < FIRST_CALLS,
            may_be_repeat,
            ..call_id::replay(self.peer, header, arguments)
        }
    }

    /// Asks what a call is. `admitted` is asked about copies.
    pub(super) fn begin(&self, id: CallId, admitted: impl FnOnce() -> bool) -> Begin {
        let found = self.calls.lock().begin(&self.cache.limits, id, &self.connection, admitted);
        match found {
            Found::New(key, delivery) => Begin::Run(self.in_progress(key), delivery),
            Found::InProgress(turn, delivery) => {
                self.cache.repeats.waited.increment();
                Begin::Wait(turn, delivery)
            }
            Found::Done(reply, delivery) => {
                self.cache.repeats.recorded.increment();
                Begin::Recorded(reply, delivery)
            }
            Found::NotAdmitted => Begin::NotAdmitted,
            Found::Late => {
                self.cache.repeats.late.increment();
                Begin::Late
            }
        }
    }

    fn in_progress(&self, key: Key) -> InProgress {
        let (cache, calls) = (self.cache.clone(), self.calls.clone());
        InProgress { cache, calls, key, finished: false }
    }
}

impl Drop for ClientCache {
    fn drop(&mut self) {
        let mut clients = self.cache.clients.lock();
        if let Some(presence) = clients.get_mut(&self.client) {
            presence.connections -= 1;
            presence.left = Instant::now();
        }
    }
}

impl InProgress {
    /// Ends the call with its reply, and records it if it is a success. Gives the reply back where no
    /// copy waits for it. `cancelled` says that the call was told to stop: if it did without applying
    /// anything, a copy that waits runs.
    pub(super) fn finish(mut self, reply: Reply, cancelled: bool) -> Option<Reply> {
        if cancelled
            && matches!(reply, Reply::Transient(_))
            && self.calls.lock().is_waited_for(&self.key)
        {
            // Dropping hands the call on.
            return None;
        }
        if matches!(reply, Reply::Success(_)) {
            self.cache.relieve();
        }
        self.finished = true;
        let waiting = {
            let mut calls = self.calls.lock();
            let waiting = calls.take_waiting(&self.key);
            match &reply {
                Reply::Success(results) => {
                    calls.record(&self.cache.limits, self.key, results.clone());
                }
                Reply::Transient(_)
                | Reply::GarbageArguments
                | Reply::ProcedureUnavailable
                | Reply::Refused(_)
                | Reply::SystemError
                | Reply::Dropped => calls.remove(&self.key),
            }
            waiting
        };
        match waiting {
            // A copy whose own connection is gone gives the reply back.
            Some(copy) => match copy.send(Handoff::Reply(reply)) {
                Err(Handoff::Reply(reply)) => Some(reply),
                Ok(()) | Err(Handoff::Run(_)) => None,
            },
            None => Some(reply),
        }
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let mut calls = self.calls.lock();
        let Some(copy) = calls.take_waiting(&self.key) else {
            calls.remove(&self.key);
            return;
        };
        drop(calls);
        let (cache, calls) = (self.cache.clone(), self.calls.clone());
        let next = Self { cache, calls, key: self.key, finished: false };
        // Where the copy is gone too, what comes back is dropped here, and so on to a newer copy.
        drop(copy.send(Handoff::Run(next)));
    }
}

#[cfg(test)]
mod tests;
