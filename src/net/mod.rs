//! The server around RPC programs: listening, connections, limits, and an orderly end.

mod admission;
mod busy_poll;
mod connection;
mod connection_limits;
mod datagrams;
mod kept_calls;
mod listener;
mod lost_addresses;
mod memory_budget;
mod orphans;
mod purge;
mod reply_queue;
mod reply_writer;
mod socket;
mod supervised;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use self::admission::Admission;
use self::busy_poll::BusyThread;
use self::connection_limits::{ConnectionLimits, Limits};
use self::datagrams::DatagramSocket;
use self::memory_budget::MemoryBudget;
use self::orphans::Orphans;
pub use self::supervised::{TaskFailed, supervised};
use crate::counters::{Clients, Counter, Level, Measured, Readings, SlowCalls};
use crate::rpc::{CallTimes, Dispatcher, DuplicateProgram, Program, Protocol};
use crate::types::AtomicDuration;
use crate::types::settings::{MOST, Number, Size, Time};

/// How long calls may go on after they were cancelled at the server's end.
pub(crate) const LAST_GRACE: Duration = Duration::from_secs(5);
/// As many connections' calls may be orphaned before no further call begins, in all and of one client.
const ORPHANED_CONNECTIONS: usize = 64;
const ORPHANED_CONNECTIONS_PER_CLIENT: usize = 16;

/// What the server needs to know. The fields that are not skipped are keys of the configuration.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct ServerSettings {
    /// Where to listen; port 0 for any that is free.
    #[serde(skip)]
    pub listen: Vec<SocketAddr>,
    /// How long a call may take before its token fires.
    #[serde(with = "Time::<1>")]
    pub request_timeout: Duration,
    /// How long calls in flight may finish after a shutdown has begun.
    #[serde(with = "Time::<1>")]
    pub drain_timeout: Duration,
    /// The most connections; more are closed as soon as they are accepted.
    #[serde(with = "Number::<1, MOST>")]
    pub max_connections: usize,
    /// The most connections from one client, in the same way.
    #[serde(with = "Number::<1, MOST>")]
    pub max_connections_per_client: usize,
    /// The most connections of peers that have not used a valid handle; the oldest gives way to one more.
    #[serde(skip)]
    pub unproven_connections: usize,
    /// Which addresses may connect; connections from others are reset.
    #[serde(skip)]
    pub admission: Admission,
    /// How long a connection may be without a call.
    #[serde(with = "Time::<1>")]
    pub idle_timeout: Duration,
    /// The most calls in flight of one connection; it is not read on meanwhile.
    #[serde(skip)]
    pub calls_per_connection: usize,
    /// Memory for the records, calls and replies of all connections, in bytes, beside a little for each
    /// connection: at least some of the longest records.
    #[serde(with = "Size::<{ 16 << 20 }, { 16 << 40 }>")]
    pub memory_budget: usize,
    /// A call that takes this long is logged, with where its time went; zero: none.
    #[serde(skip)]
    pub slow_calls: Duration,
    /// How long a peer may pause in the middle of a record.
    #[serde(skip)]
    pub record_timeout: Duration,
    /// How long a peer may take nothing of what is to be written to it.
    #[serde(skip)]
    pub write_timeout: Duration,
}

impl ServerSettings {
    /// Defaults for all but where to listen.
    #[must_use]
    pub fn new(listen: Vec<SocketAddr>) -> Self {
        Self { listen, ..Self::default() }
    }
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            request_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(20),
            max_connections: 1024,
            max_connections_per_client: 256,
            unproven_connections: 64,
            admission: Admission::everyone(),
            idle_timeout: Duration::from_secs(360),
            calls_per_connection: 128,
            memory_budget: 256 << 20,
            slow_calls: Duration::from_secs(1),
            record_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
        }
    }
}

/// Why a server cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    /// There is no address to listen on.
    #[error("no address to listen on")]
    NoAddress,
    /// Two programs are the same.
    #[error(transparent)]
    Program(#[from] DuplicateProgram),
}

/// What listeners and connections share.
#[derive(Debug)]
struct Shared {
    settings: ServerSettings,
    times: Arc<CallTimes>,
    /// That of the settings' addresses.
    dispatcher: Arc<Dispatcher>,
    /// The settings' to begin with.
    drain_timeout: AtomicDuration,
    idle_timeout: AtomicDuration,
    /// Held only to look a peer up and to take its permit.
    admission: RwLock<Admission>,
    budget: Arc<MemoryBudget>,
    /// The open connections. A permit is given back when its socket is closed.
    connections: Arc<ConnectionLimits>,
    refused: Refused,
    /// Calls whose socket is closed.
    orphans: Arc<Orphans>,
    busy_thread: BusyThread,
    /// No new connections or calls.
    drain: CancellationToken,
    /// Calls in flight are cancelled.
    abort: CancellationToken,
    /// Whatever is left is dropped.
    kill: CancellationToken,
}

/// Connections that were closed as soon as they were accepted, or for a newer one.
#[derive(Debug, Default)]
struct Refused {
    not_admitted: Counter,
    server_full: Counter,
    client_full: Counter,
    unproven: Counter,
}

/// Programs and where they are served.
#[derive(Clone, Debug)]
pub struct Service {
    /// The address; port 0 for any that is free.
    pub address: SocketAddr,
    /// How calls come.
    pub protocol: Protocol,
    /// The programs.
    pub programs: Vec<Arc<dyn Program>>,
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<(TcpListener, Arc<Dispatcher>)>,
    datagrams: Vec<(DatagramSocket, Arc<Dispatcher>)>,
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
}

impl Server {
    /// Listens. Connections wait until [`Server::run`].
    pub async fn bind(
        settings: ServerSettings,
        programs: Vec<Arc<dyn Program>>,
    ) -> Result<Self, BindError> {
        let times = CallTimes::new(settings.request_timeout, settings.slow_calls);
        let dispatcher = Dispatcher::new(programs, times.clone())?;
        let mut listeners = Vec::with_capacity(settings.listen.len());
        let mut addresses = Vec::with_capacity(settings.listen.len());
        for &address in &settings.listen {
            let failed = |source| BindError::Listen { address, source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            addresses.push(listener.local_addr().map_err(failed)?);
            listeners.push((listener, dispatcher.clone()));
        }
        if addresses.is_empty() {
            return Err(BindError::NoAddress);
        }
        let abort = CancellationToken::new();
        let shared = Shared {
            times,
            dispatcher,
            refused: Refused::default(),
            budget: MemoryBudget::new(settings.memory_budget),
            connections: ConnectionLimits::new(Limits {
                all: settings.max_connections,
                per_client: settings.max_connections_per_client,
                unproven: settings.unproven_connections,
            }),
            busy_thread: BusyThread::default(),
            orphans: Orphans::new(
                ORPHANED_CONNECTIONS * settings.calls_per_connection,
                ORPHANED_CONNECTIONS_PER_CLIENT * settings.calls_per_connection,
            ),
            drain: abort.child_token(),
            kill: CancellationToken::new(),
            abort,
            drain_timeout: AtomicDuration::new(settings.drain_timeout),
            idle_timeout: AtomicDuration::new(settings.idle_timeout),
            admission: RwLock::new(settings.admission.clone()),
            settings,
        };
        Ok(Self { listeners, datagrams: Vec::new(), addresses, shared: Arc::new(shared) })
    }

    /// Serves programs at a further address, within the same limits, and says where.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn also(&mut self, service: Service) -> Result<SocketAddr, BindError> {
        let Service { address, protocol, programs } = service;
        let dispatcher = Dispatcher::new(programs, self.shared.times.clone())?;
        let failed = |source| BindError::Listen { address, source };
        match protocol {
            Protocol::Tcp => {
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                let local = listener.local_addr().map_err(failed)?;
                self.listeners.push((listener, dispatcher));
                Ok(local)
            }
            Protocol::Udp => {
                let socket = DatagramSocket::bind(address).await.map_err(failed)?;
                let local = socket.local_addr();
                self.datagrams.push((socket, dispatcher));
                Ok(local)
            }
        }
    }

    /// Looks whether an address can be had, without listening there.
    ///
    /// # Errors
    /// [`BindError::Listen`].
    pub(crate) fn look_at(address: SocketAddr) -> Result<(), BindError> {
        let bound = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket.set_reuseaddr(true)?;
            socket.bind(address)
        };
        bound().map_err(|source| BindError::Listen { address, source })
    }

    /// Where the server listens first, with the port that it was given.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Keeps `level` at the number of clients with open connections.
    pub(crate) fn count_clients(&self, level: Level) {
        self.shared.connections.count_clients(level);
    }

    /// A hold on the server while it runs.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle { shared: self.shared.clone() }
    }

    /// Serves until `shutdown` fires. Then nothing new is accepted or read; calls in flight finish
    /// within the drain timeout, and are cancelled after it; replies are written and connections
    /// closed.
    ///
    /// # Errors
    /// [`TaskFailed`] where connections could not be accepted any more; `shutdown` has fired then, and the
    /// server has ended as it does without an error.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), TaskFailed> {
        let Self { listeners, datagrams, shared, .. } = self;
        // Dropping this future ends the server at once.
        let _ends = [shared.abort.clone().drop_guard(), shared.kill.clone().drop_guard()];
        let mut accepting = JoinSet::new();
        for (listener, dispatcher) in listeners {
            let accept = listener::accept(listener, dispatcher, shared.clone());
            accepting.spawn(supervised("accepting connections", shutdown.clone(), accept));
        }
        for (socket, dispatcher) in datagrams {
            let serve = datagrams::serve(socket, dispatcher, shared.clone());
            accepting.spawn(supervised("receiving datagrams", shutdown.clone(), serve));
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            never = purge::purge() => match never {},
            never = lost_addresses::close_by_lost_addresses(&shared) => match never {},
        }
        shared.drain.cancel();
        let accepted = accepting.join_all().await.into_iter().collect();
        shared.wind_up().await;
        accepted
    }
}

/// Changes what can be changed of a server while it runs.
#[derive(Clone, Debug)]
pub struct ServerHandle {
    shared: Arc<Shared>,
}

impl ServerHandle {
    /// Sets the settings of these names: the first two for calls that begin from now on, the last one where
    /// the server does not drain yet.
    pub fn set_times(
        &self,
        request_timeout: Duration,
        slow_calls: Duration,
        drain_timeout: Duration,
    ) {
        self.shared.times.request.set(request_timeout);
        self.shared.times.slow.set(slow_calls);
        self.shared.drain_timeout.set(drain_timeout);
    }

    /// The clients and their calls.
    #[must_use]
    pub fn clients(&self) -> &Arc<Clients> {
        &self.shared.times.clients
    }

    /// The calls that took long.
    #[must_use]
    pub fn slow(&self) -> &Arc<SlowCalls> {
        &self.shared.times.slow_calls
    }

    /// Sets the settings of these names. What is open, and what is held, stays.
    pub fn set_limits(
        &self,
        max_connections: usize,
        max_connections_per_client: usize,
        memory_budget: usize,
    ) {
        self.shared.connections.set(max_connections, max_connections_per_client);
        self.shared.budget.resize(memory_budget);
    }

    /// Sets the setting of this name, for the next time that a connection is looked after.
    pub fn set_idle_timeout(&self, idle_timeout: Duration) {
        self.shared.idle_timeout.set(idle_timeout);
    }

    /// Sets which addresses may connect, and ends the connections of clients that are none any more.
    pub fn set_admission(&self, admission: Admission) {
        let before = std::mem::replace(&mut *self.shared.admission.write(), admission.clone());
        let stays = |peer| !before.is_client(peer) || admission.is_client(peer);
        let connections = self.shared.connections.end_others(stays);
        if connections > 0 {
            tracing::info!(
                connections,
                "connections of addresses that no share admits any more are closed"
            );
        }
    }
}

impl Measured for ServerHandle {
    fn read(&self, to: &mut Readings) {
        let shared = &self.shared;
        shared.dispatcher.read(to);
        let open = shared.connections.taken() as u64;
        to.level("trunkfs_connections", "Open connections", &[], open);
        let most = shared.connections.limits().all as u64;
        to.level("trunkfs_connections_limit", "The most connections", &[], most);
        let clients = shared.connections.clients() as u64;
        to.level("trunkfs_clients", "Clients with open connections", &[], clients);
        let Refused { not_admitted, server_full, client_full, unproven } = &shared.refused;
        for (reason, count) in [
            ("not_admitted", not_admitted),
            ("server_full", server_full),
            ("client_full", client_full),
            ("unproven", unproven),
        ] {
            let help =
                "Connections that were refused, or ended for a newer one without a valid handle";
            to.counter("trunkfs_connections_refused", help, &[("reason", reason)], count.total());
        }
        let (held, total) = shared.budget.use_of();
        let help = "Memory of requests, running calls and replies";
        to.level("trunkfs_memory_budget_used_bytes", help, &[], held as u64);
        to.level("trunkfs_memory_budget_bytes", "The memory budget", &[], total as u64);
        let lacking = u64::from(shared.budget.is_lacking());
        let help = "1 while a request waits for memory";
        to.level("trunkfs_memory_budget_lacking", help, &[], lacking);
        let orphans = shared.orphans.total() as u64;
        to.level("trunkfs_orphaned_calls", "Calls whose connection has ended", &[], orphans);
    }
}

impl Shared {
    /// Waits for the connections and calls to end, cancels what takes too long, and drops what takes longer.
    async fn wind_up(&self) {
        if timeout(self.drain_timeout.get(), self.ended()).await.is_ok() {
            return;
        }
        let (connections, orphaned) = (self.connections.taken(), self.orphans.total());
        tracing::warn!(connections, orphaned, "calls in flight are cancelled");
        self.abort.cancel();
        if timeout(LAST_GRACE, self.ended()).await.is_err() {
            let (connections, orphaned) = (self.connections.taken(), self.orphans.total());
            tracing::error!(connections, orphaned, "calls in flight are dropped");
        }
        self.kill.cancel();
    }

    /// Waits until every connection is closed and every call has ended.
    async fn ended(&self) {
        self.connections.all_free().await;
        self.orphans.ended().await;
    }
}
