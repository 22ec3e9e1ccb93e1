//! The duplicate request cache: a repeat of a call that must not be done twice gets the reply of the
//! first one.
//!
//! Only procedures that [`super::Program::is_replayed`] names go through it; repeats of the others are
//! cheap and harmless, and simply run. A call is known by its client's address without the port
//! (which changes when a client reconnects), its header, its arguments' length and a checksum of
//! their first 256 bytes.
//!
//! - While a call is in progress its newest copy waits, and the reply goes to it: the older
//!   connection may be dead. A copy that an even newer one displaces is never answered, nor is one that comes by a
//!   connection older than the one to be answered: it was sent before, and only read later.
//! - A call that is cancelled leaves the cache, and the copy that waits runs in its place.
//! - Only successful replies are recorded. Of any other nothing was applied, or nobody knows.
//!
//! Each client has a cache of its own, so that none evicts another's replies. It is kept for a while
//! after the client's last connection.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::message::CallHeader;
use super::{Flavor, Reply};
use crate::xdr::Message;

/// How many bytes of the arguments the checksum covers.
const CHECKSUM_BYTES: usize = 256;
/// What a recorded call takes beside its results, in bytes, as near as an account needs it.
const OVERHEAD_BYTES: usize = 256;

/// The cache's bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplayLimits {
    /// Recorded replies of one client.
    pub(super) calls: usize,
    /// Bytes of all clients' recorded replies.
    pub(super) bytes: usize,
    /// Clients without a connection that are remembered.
    pub(super) absent_clients: usize,
    /// How long a client without a connection is remembered.
    pub(super) absence: Duration,
}

impl Default for ReplayLimits {
    fn default() -> Self {
        Self {
            calls: 1024,
            bytes: 64 << 20,
            absent_clients: 1024,
            absence: Duration::from_secs(600),
        }
    }
}

/// What makes two calls the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct CallId {
    xid: u32,
    program: u32,
    version: u32,
    procedure: u32,
    /// uid and gid under AUTH_SYS.
    user: Option<(u32, u32)>,
    machine: u64,
    arguments: (usize, u64),
}

/// All clients' caches.
#[derive(Debug)]
pub(super) struct ReplayCache {
    limits: ReplayLimits,
    /// Of everything recorded.
    bytes: Arc<AtomicUsize>,
    clients: Mutex<HashMap<IpAddr, Presence>>,
    /// Numbers connections, in their order.
    connected: AtomicU64,
    checksum: RandomState,
}

/// A client, and whether it is there.
#[derive(Debug)]
struct Presence {
    calls: Arc<Mutex<Calls>>,
    connections: usize,
    /// When its last connection ended.
    left: Instant,
}

/// One client's calls.
#[derive(Debug)]
struct Calls {
    states: HashMap<CallId, State>,
    /// The recorded ones, oldest first.
    recorded: VecDeque<CallId>,
    bytes: usize,
    /// Of all clients.
    all_bytes: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum State {
    /// Runs, perhaps with a copy that waits.
    Running {
        /// The number of the connection to be answered.
        connection: u64,
        waiting: Option<oneshot::Sender<Handover>>,
    },
    Done(Message),
}

/// What a copy that waits is given.
#[derive(Debug)]
pub(super) enum Handover {
    /// The reply.
    Reply(Reply),
    /// The call itself: what ran it gave up.
    Run(Running),
}

/// What a call is to the cache.
#[derive(Debug)]
pub(super) enum Begin {
    /// New: it runs.
    Run(Running),
    /// A copy of a call in progress. The channel closes where a newer copy takes this one's place.
    Wait(oneshot::Receiver<Handover>),
    /// A copy of a finished call.
    Recorded(Message),
}

/// One connection's way to its client's cache.
#[derive(Debug)]
pub(super) struct ClientCache {
    cache: Arc<ReplayCache>,
    address: IpAddr,
    number: u64,
    calls: Arc<Mutex<Calls>>,
}

/// The right to run a call. Dropping it without [`Running::finish`] makes the call one that never
/// was, and hands it to the copy that waits.
#[derive(Debug)]
pub(super) struct Running {
    cache: Arc<ReplayCache>,
    calls: Arc<Mutex<Calls>>,
    id: CallId,
    finished: bool,
}

impl ReplayCache {
    pub(super) fn new(limits: ReplayLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            bytes: Arc::default(),
            clients: Mutex::default(),
            connected: AtomicU64::new(0),
            checksum: RandomState::new(),
        })
    }

    /// Notes a connection of a client, and forgets clients that are long gone.
    pub(super) fn connect(self: &Arc<Self>, address: IpAddr) -> ClientCache {
        let address = address.to_canonical();
        let mut clients = self.clients.lock();
        self.forget_absent(&mut clients);
        let presence = clients.entry(address).or_insert_with(|| Presence {
            calls: Arc::new(Mutex::new(Calls::new(self.bytes.clone()))),
            connections: 0,
            left: Instant::now(),
        });
        presence.connections += 1;
        let calls = presence.calls.clone();
        let number = self.connected.fetch_add(1, Ordering::Relaxed);
        ClientCache { cache: self.clone(), address, number, calls }
    }

    fn forget_absent(&self, clients: &mut HashMap<IpAddr, Presence>) {
        clients.retain(|_, presence| {
            presence.connections > 0 || presence.left.elapsed() < self.limits.absence
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

/// Forgets the client that has been away longest; `false` where every client is there.
fn forget_longest_absent(clients: &mut HashMap<IpAddr, Presence>) -> bool {
    let longest = clients
        .iter()
        .filter(|(_, presence)| presence.connections == 0)
        .min_by_key(|(_, presence)| presence.left)
        .map(|(address, _)| *address);
    longest.and_then(|address| clients.remove(&address)).is_some()
}

impl Calls {
    fn new(all_bytes: Arc<AtomicUsize>) -> Self {
        Self { states: HashMap::new(), recorded: VecDeque::new(), bytes: 0, all_bytes }
    }

    /// Records a reply, at the cost of this client's own oldest ones where a bound is reached. The
    /// newest stays in any case: it is the one most likely to be asked for.
    fn record(&mut self, limits: &ReplayLimits, id: CallId, reply: Message) {
        let bytes = reply.len() + OVERHEAD_BYTES;
        self.bytes += bytes;
        self.all_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.states.insert(id, State::Done(reply));
        self.recorded.push_back(id);
        while self.recorded.len() > limits.calls
            || (self.recorded.len() > 1 && self.all_bytes.load(Ordering::Relaxed) > limits.bytes)
        {
            self.evict_oldest();
        }
    }

    fn evict_oldest(&mut self) {
        let oldest = self.recorded.pop_front();
        if let Some(State::Done(reply)) = oldest.and_then(|id| self.states.remove(&id)) {
            let bytes = reply.len() + OVERHEAD_BYTES;
            self.bytes -= bytes;
            self.all_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Takes the copy that waits for a running call.
    fn take_waiting(&mut self, id: &CallId) -> Option<oneshot::Sender<Handover>> {
        match self.states.get_mut(id) {
            Some(State::Running { waiting, .. }) => waiting.take(),
            Some(State::Done(_)) | None => None,
        }
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.all_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl ClientCache {
    /// Asks what a call is; its arguments are all of them, undecoded.
    pub(super) fn begin(&self, header: &CallHeader, arguments: &[u8]) -> Begin {
        let id = self.id(header, arguments);
        let mut calls = self.calls.lock();
        match calls.states.entry(id) {
            Entry::Vacant(vacant) => {
                vacant.insert(State::Running { connection: self.number, waiting: None });
                Begin::Run(Running {
                    cache: self.cache.clone(),
                    calls: self.calls.clone(),
                    id,
                    finished: false,
                })
            }
            Entry::Occupied(mut occupied) => match occupied.get_mut() {
                State::Running { connection, waiting } => {
                    let (sender, receiver) = oneshot::channel();
                    if *connection <= self.number {
                        *connection = self.number;
                        *waiting = Some(sender);
                    }
                    Begin::Wait(receiver)
                }
                State::Done(reply) => Begin::Recorded(reply.clone()),
            },
        }
    }

    fn id(&self, header: &CallHeader, arguments: &[u8]) -> CallId {
        let checksum = &self.cache.checksum;
        CallId {
            xid: header.xid,
            program: header.program,
            version: header.version,
            procedure: header.procedure,
            user: match &header.identity.flavor {
                Flavor::None => None,
                Flavor::Sys(credentials) => Some((credentials.uid, credentials.gid)),
            },
            machine: checksum.hash_one(&header.identity.machine[..]),
            arguments: (
                arguments.len(),
                checksum.hash_one(&arguments[..arguments.len().min(CHECKSUM_BYTES)]),
            ),
        }
    }
}

impl Drop for ClientCache {
    fn drop(&mut self) {
        if let Some(presence) = self.cache.clients.lock().get_mut(&self.address) {
            presence.connections -= 1;
            presence.left = Instant::now();
        }
    }
}

impl Running {
    /// Ends the call with its reply, and records it if it is a success. Gives the reply back where no
    /// copy waits for it. `cancelled` says that the call was told to stop: if it did without applying
    /// anything, a copy that waits runs.
    pub(super) fn finish(mut self, reply: Reply, cancelled: bool) -> Option<Reply> {
        if cancelled && matches!(reply, Reply::Transient(_)) && self.is_waited_for() {
            // Dropping hands the call on.
            return None;
        }
        if matches!(reply, Reply::Success(_)) {
            self.cache.relieve();
        }
        self.finished = true;
        let waiting = {
            let mut calls = self.calls.lock();
            let waiting = calls.take_waiting(&self.id);
            match &reply {
                Reply::Success(results) => {
                    calls.record(&self.cache.limits, self.id, results.clone());
                }
                Reply::Transient(_)
                | Reply::GarbageArguments
                | Reply::Refused(_)
                | Reply::SystemError => {
                    calls.states.remove(&self.id);
                }
            }
            waiting
        };
        match waiting {
            // A copy whose own connection is gone gives the reply back.
            Some(copy) => match copy.send(Handover::Reply(reply)) {
                Err(Handover::Reply(reply)) => Some(reply),
                Ok(()) | Err(Handover::Run(_)) => None,
            },
            None => Some(reply),
        }
    }

    fn is_waited_for(&self) -> bool {
        match self.calls.lock().states.get(&self.id) {
            Some(State::Running { waiting: Some(copy), .. }) => !copy.is_closed(),
            Some(State::Running { waiting: None, .. } | State::Done(_)) | None => false,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let mut calls = self.calls.lock();
        let Some(copy) = calls.take_waiting(&self.id) else {
            calls.states.remove(&self.id);
            return;
        };
        drop(calls);
        let next = Self {
            cache: self.cache.clone(),
            calls: self.calls.clone(),
            id: self.id,
            finished: false,
        };
        // Where the copy is gone too, what comes back is dropped here, and so on to a newer copy.
        drop(copy.send(Handover::Run(next)));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::rpc::auth::Identity;
    use crate::xdr::Encoder;

    fn header(xid: u32) -> CallHeader {
        let identity = Identity { flavor: Flavor::None, machine: Bytes::new() };
        CallHeader { xid, program: 1, version: 1, procedure: 1, identity }
    }

    fn reply(bytes: usize) -> Reply {
        let mut encoder = Encoder::new();
        encoder.fixed(&vec![0; bytes]);
        Reply::Success(encoder.finish())
    }

    fn record(client: &ClientCache, xid: u32, bytes: usize) {
        let Begin::Run(running) = client.begin(&header(xid), &[]) else { panic!("{xid} is new") };
        assert!(running.finish(reply(bytes), false).is_some());
    }

    #[test]
    fn a_copy_by_an_older_connection_takes_no_reply_away() {
        let cache = ReplayCache::new(ReplayLimits::default());
        let address = IpAddr::from([127, 0, 0, 1]);
        let (older, newer) = (cache.connect(address), cache.connect(address));
        let Begin::Run(running) = newer.begin(&header(1), &[]) else { panic!("it is new") };
        let Begin::Wait(mut late) = older.begin(&header(1), &[]) else { panic!("it is a copy") };
        assert!(running.finish(reply(4), false).is_some(), "the newer connection is answered");
        assert!(late.try_recv().is_err());
    }

    fn is_recorded(client: &ClientCache, xid: u32) -> bool {
        // Dropping what begins anew leaves no trace.
        matches!(client.begin(&header(xid), &[]), Begin::Recorded(_))
    }

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn replies_are_bounded_in_bytes_at_the_cost_of_who_is_away() {
        let bytes = 10 * (1000 + OVERHEAD_BYTES);
        let cache = ReplayCache::new(ReplayLimits { bytes, ..ReplayLimits::default() });
        let away = cache.connect(address(1));
        let (there, busy) = (cache.connect(address(2)), cache.connect(address(3)));
        (0..3).for_each(|xid| record(&away, xid, 1000));
        drop(away);
        record(&there, 0, 1000);
        (0..100).for_each(|xid| {
            record(&busy, xid, 1000);
            assert!(cache.bytes.load(Ordering::Relaxed) <= bytes);
        });
        assert!(is_recorded(&there, 0) && is_recorded(&busy, 99) && !is_recorded(&busy, 0));
        assert!(!is_recorded(&cache.connect(address(1)), 0));
        drop((there, busy));
        cache.clients.lock().clear();
        assert_eq!(cache.bytes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_are_away_are_forgotten_in_time_and_beyond_a_number() {
        let limits = ReplayLimits { absent_clients: 2, ..ReplayLimits::default() };
        let cache = ReplayCache::new(limits);
        for last in 1..=4 {
            record(&cache.connect(address(last)), 0, 8);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let known = |last| {
            let client = cache.connect(address(last));
            is_recorded(&client, 0)
        };
        assert!(known(4) && known(3) && !known(1));
        tokio::time::advance(limits.absence).await;
        assert!(!known(4));
    }

    #[test]
    fn a_mapped_address_is_the_same_client() {
        let cache = ReplayCache::new(ReplayLimits::default());
        record(&cache.connect(address(1)), 0, 8);
        let mapped = std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped();
        assert!(is_recorded(&cache.connect(mapped.into()), 0));
    }

    #[test]
    fn a_call_that_ended_without_a_record_is_not_ended_twice() {
        let cache = ReplayCache::new(ReplayLimits::default());
        let client = cache.connect(address(1));
        let Begin::Run(first) = client.begin(&header(1), &[]) else { panic!("new") };
        assert!(first.finish(Reply::SystemError, false).is_some());
        let Begin::Run(_second) = client.begin(&header(1), &[]) else { panic!("new again") };
        assert!(matches!(client.begin(&header(1), &[]), Begin::Wait(_)));
    }
}
