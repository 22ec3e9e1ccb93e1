//! A few connections that calls share, each used by one call at a time. Clients take turns.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool::managed::{self, Metrics, PoolError, QueueMode, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::Settings;
use super::connect::{Connected, Connector};
use super::error::PostgresError;
use super::execute::FLUSH;
use super::lease::Lease;
use super::locks::Mark;
use super::maintenance;
use super::session::{self, Place, ServerRole, ServerStart, Slot};
use super::statements::Statements;
use crate::availability::{Availability, Outage, Told};
use crate::counters::{Histogram, Measured, Readings};
use crate::metadata::{Error, Source};
use crate::types::{Bounds, Claimant, FairPermits, NoPermit, Permit};

/// An attempt to connect that is given up after this time counts as one that failed.
const LONG_ATTEMPT: Duration = Duration::from_secs(1);

/// How long what a server said of itself when it was connected to is taken for true.
const ROLE_HOLDS: Duration = Duration::from_secs(2);

/// A connection.
pub(super) struct Connection {
    /// Shared with the health check, which asks beside whatever else the connection does.
    pub(super) client: Arc<ClientWrapper>,
    /// Its writer slot, which a connection that only reads may lack.
    pub(super) slot: Option<Slot>,
    /// What the lock functions must know of it, once one was called on it.
    pub(super) mark: Option<Mark>,
    /// Counts what runs on the connections of its pool.
    pub(super) statements: Arc<Statements>,
    /// It was made while its instance had not joined.
    outside: bool,
    role: ServerRole,
    pub(super) server: ServerStart,
    since: Instant,
    /// When it is closed, unless a call has it.
    end: Option<Instant>,
    /// No call takes longer: what has not answered by then is lost.
    pub(super) call_limit: Duration,
}

/// What is to be thought of a server that refuses a change because it is read-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadOnlyReason {
    /// It stays so until an administrator turns it off.
    Configured,
    /// Another connection may lead to a server that takes changes.
    Failover,
}

impl Connection {
    /// Whether it has reached its lifetime.
    pub(super) fn is_old(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }

    /// What a refusal on this connection means: an old one may be to a server that was the primary, or that
    /// takes changes again by now.
    pub(super) fn read_only_reason(&self) -> ReadOnlyReason {
        if self.role == ServerRole::Standby || self.since.elapsed() >= ROLE_HOLDS {
            ReadOnlyReason::Failover
        } else {
            ReadOnlyReason::Configured
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("slot", &self.slot).finish_non_exhaustive()
    }
}

/// A connection that goes back to the pool when it is dropped.
#[derive(Debug)]
pub(super) struct Pooled {
    connection: managed::Object<Manager>,
    permits: Permits,
}

/// The right to hold a connection.
#[derive(Debug)]
struct Permits {
    /// Of a mutation: its place among those that may hold a connection.
    _mutation: Option<Permit>,
    _any: Permit,
}

impl Pooled {
    /// Takes the connection out of the pool, which will make another.
    pub(super) fn take(this: Self) -> Connection {
        drop(this.permits);
        managed::Object::take(this.connection)
    }
}

impl Deref for Pooled {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

/// Makes connections.
pub(super) struct Manager {
    connector: Connector,
    instance: Uuid,
    lease: Arc<Lease>,
    session: String,
    /// Setting a connection up takes no longer.
    limit: Duration,
    call_limit: Duration,
    /// Whether the last server that was connected to took changes.
    writable: AtomicBool,
    availability: Availability,
    /// A connection is closed when it is this old.
    max_lifetime: Option<Duration>,
    statements: Arc<Statements>,
}

impl Manager {
    /// No connection could be made: the log says so once, and not for the calls that wait.
    fn note_failure(&self, began: Instant, failure: PostgresError) -> PostgresError {
        let told = |source: Source| -> Source {
            self.availability.failed(began, source.as_ref());
            if self.availability.is_lost() { Box::new(Told::new(source)) } else { source }
        };
        match failure {
            PostgresError::Lost(source) => PostgresError::Lost(told(source)),
            PostgresError::Refused(Error::Backend(source)) => {
                PostgresError::Refused(Error::Backend(told(source)))
            }
            other @ (PostgresError::Transient(_)
            | PostgresError::Retired(_)
            | PostgresError::NotJoined(_)
            | PostgresError::ReadOnly(_)
            | PostgresError::Refused(_)) => other,
        }
    }

    /// Says when the database stops taking changes, and when it takes them again.
    fn note(&self, role: ServerRole) {
        let writable = role == ServerRole::Primary;
        if self.writable.swap(writable, Ordering::Relaxed) == writable {
            return;
        }
        match role {
            ServerRole::Primary => tracing::info!("the database is writable again"),
            ServerRole::ReadOnly => tracing::warn!(
                "the database is read-only (default_transaction_read_only is on): reads work, changes are refused"
            ),
            ServerRole::Standby => {
                tracing::warn!("no primary available, only a standby: reads work, changes wait")
            }
        }
    }
}

/// An attempt to connect that has no outcome yet. The call that makes it may give it up, which says something
/// of the database where it takes long.
struct Attempt<'a> {
    availability: Option<&'a Availability>,
    began: Instant,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        if let Some(availability) = self.availability.filter(|_| took >= LONG_ATTEMPT) {
            let text = format!("no connection after {took:.1?}");
            availability
                .failed(self.began, &std::io::Error::new(std::io::ErrorKind::TimedOut, text));
        }
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = PostgresError;

    async fn create(&self) -> Result<Connection, PostgresError> {
        let mut attempt = Attempt { availability: Some(&self.availability), began: Instant::now() };
        let began = attempt.began;
        // Bounded by itself, for each address.
        // On the heap: every call would carry the room for it along.
        let connected = Box::pin(self.connector.connect()).await;
        attempt.availability = None;
        let Connected { client, role, server } =
            connected.map_err(|failure| self.note_failure(began, failure))?;
        self.note(role);
        let client = Arc::new(client);
        let setting_up = Box::pin(async {
            let (lease, instance) = (&self.lease, self.instance);
            let place = session::prepare(&client, &self.session, lease, instance, role).await?;
            client.prepare_cached(FLUSH).await?;
            Ok::<_, PostgresError>(place)
        });
        let place = match timeout(self.limit, setting_up).await {
            Ok(outcome) => outcome?,
            Err(late) => return Err(self.note_failure(began, PostgresError::Lost(Box::new(late)))),
        };
        self.availability.succeeded(began);
        let (since, call_limit) = (Instant::now(), self.call_limit);
        let end = self.max_lifetime.and_then(|most| since.checked_add(jittered(most)));
        let (slot, outside) = match place {
            Place::Slot(slot) => (Some(slot), false),
            Place::None => (None, false),
            Place::Outside => (None, true),
        };
        let statements = self.statements.clone();
        Ok(Connection {
            client,
            slot,
            mark: None,
            statements,
            outside,
            role,
            server,
            since,
            end,
            call_limit,
        })
    }

    async fn recycle(
        &self,
        connection: &mut Connection,
        _: &Metrics,
    ) -> RecycleResult<PostgresError> {
        if connection.client.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        if connection.is_old() {
            return Err(RecycleError::message("the connection is older than max_lifetime"));
        }
        // Slots show who serves a share (`load`): a server's connections have some as soon as they can.
        if connection.outside && connection.slot.is_none() && self.lease.is_joined() {
            return Err(RecycleError::message("the connection has no writer slot"));
        }
        Ok(())
    }

    fn detach(&self, _: &mut Connection) {
        self.connector.ended().notify_one();
    }
}

/// The connections of one store.
#[derive(Debug)]
pub(super) struct Pool {
    connections: managed::Pool<Manager>,
    /// As many calls as there may be connections. The pool of deadpool serves first come, first served: no
    /// call waits there.
    calls: FairPermits,
    /// As many mutations as may hold a connection: they wait for each other's locks, and reads go on beside
    /// them.
    mutations: FairPermits,
    /// Connections, and mutations, that there may be; held while these change.
    most: Mutex<Most>,
    acquire_timeout: Duration,
    rules: maintenance::Rules,
    ended: Arc<Notify>,
    maintenance: JoinHandle<()>,
    /// How long calls wait for a connection.
    waits: Histogram,
}

/// How many of each there may be.
#[derive(Clone, Copy, Debug)]
struct Most {
    connections: usize,
    mutations: usize,
}

impl Most {
    fn of(settings: &Settings) -> Self {
        let connections = settings.max_connections.max(1);
        Self { connections, mutations: connections - reserve(connections) }
    }
}

/// How much longer than its statement a call may take.
pub(super) const FLIGHT_MARGIN: Duration = Duration::from_secs(5);

/// A lifetime between nine tenths of the longest and that, so that connections made together do not end
/// together.
fn jittered(longest: Duration) -> Duration {
    longest.mul_f64(rand::random_range(0.9..=1.0))
}

/// The connections that mutations leave to reads.
fn reserve(max_connections: usize) -> usize {
    match max_connections {
        0 | 1 => 0,
        2..8 => 1,
        more => more / 4,
    }
}

impl Pool {
    /// A pool that has no connection yet; the fewest of the settings are made in the background.
    pub(super) fn new(
        settings: &Settings,
        instance: Uuid,
        lease: Arc<Lease>,
    ) -> Result<Self, Error> {
        let connector = Connector::new(settings);
        let ended = Arc::clone(connector.ended());
        let manager = Manager {
            connector,
            instance,
            lease,
            session: session::session(settings.statement_timeout),
            limit: settings.connect_timeout,
            call_limit: settings.statement_timeout + FLIGHT_MARGIN,
            writable: AtomicBool::new(true),
            availability: Availability::new(Outage::Database, settings.target.to_string()),
            max_lifetime: Some(settings.max_lifetime).filter(|most| !most.is_zero()),
            statements: Arc::default(),
        };
        let most = Most::of(settings);
        let connections = managed::Pool::builder(manager)
            .max_size(most.connections)
            // The one used last has everything at hand; taking turns would make every call a cold one.
            .queue_mode(QueueMode::Lifo)
            .build()
            .map_err(|error| Error::Backend(Box::new(error)))?;
        let rules = maintenance::Rules::from(settings);
        let maintain = maintenance::run(connections.weak(), ended.clone(), rules.clone());
        Ok(Self {
            connections,
            calls: FairPermits::new(most.connections, Bounds::CALLS),
            mutations: FairPermits::new(most.mutations, Bounds::CALLS),
            most: Mutex::new(most),
            acquire_timeout: settings.acquire_timeout,
            rules,
            ended,
            maintenance: tokio::spawn(maintain),
            waits: Histogram::of_waits(),
        })
    }

    /// A connection for a read, waited for while all are in use, within the time limit of the settings. One
    /// attempt to connect where none is idle.
    pub(super) async fn get(&self, claimant: Claimant) -> Result<Pooled, PostgresError> {
        self.in_time(self.take(claimant, None)).await
    }

    /// A connection for a mutation: the same, but the last few are left to reads.
    pub(super) async fn get_for_mutation(
        &self,
        claimant: Claimant,
    ) -> Result<Pooled, PostgresError> {
        let taking = async {
            let mutation = self.mutations.acquire(claimant, 1).await.map_err(refused)?;
            self.take(claimant, Some(mutation)).await
        };
        self.in_time(taking).await
    }

    async fn take(
        &self,
        claimant: Claimant,
        mutation: Option<Permit>,
    ) -> Result<Pooled, PostgresError> {
        let any = self.calls.acquire(claimant, 1).await.map_err(refused)?;
        let permits = Permits { _mutation: mutation, _any: any };
        let connection = self.connections.get().await.map_err(|error| match error {
            // The server was found when the store opened. Until an administrator has acted, the
            // client's calls wait.
            PoolError::Backend(PostgresError::Refused(Error::Backend(source))) => {
                PostgresError::Refused(Error::Unavailable(source))
            }
            PoolError::Backend(failure) => failure,
            PoolError::Closed => closed(),
            PoolError::Timeout(_)
            | PoolError::NoRuntimeSpecified
            | PoolError::PostCreateHook(_) => PostgresError::Lost("no connection".into()),
        })?;
        Ok(Pooled { connection, permits })
    }

    async fn in_time(
        &self,
        taking: impl Future<Output = Result<Pooled, PostgresError>>,
    ) -> Result<Pooled, PostgresError> {
        let began = Instant::now();
        let taken = timeout(self.acquire_timeout, taking).await;
        self.waits.wait(began.elapsed());
        let Ok(taken) = taken else {
            let status = self.connections.status();
            let (limit, size, max) = (self.acquire_timeout, status.size, status.max_size);
            let text = if size < max {
                format!("no connection could be made within {limit:?} (acquire_timeout)")
            } else {
                format!(
                    "no connection was free within {limit:?} (acquire_timeout): all {max} are in use \
                     (max_conns)"
                )
            };
            let source = if self.is_lost() { Told::new(text.into()).into() } else { text.into() };
            return Err(PostgresError::Refused(Error::Unavailable(source)));
        };
        taken
    }

    /// Whether no connection can be made.
    pub(super) fn is_lost(&self) -> bool {
        self.connections.manager().availability.is_lost()
    }

    /// Whether there may be more than one connection.
    pub(super) fn has_several(&self) -> bool {
        self.connections.status().max_size > 1
    }

    /// How many mutations may hold a connection.
    pub(super) fn most_mutations(&self) -> usize {
        self.most.lock().mutations
    }

    /// Takes over from other settings how many connections there may be, and are made ahead. Those beyond it
    /// that calls have are closed when they come back.
    pub(super) fn resize(&self, settings: &Settings) {
        let new = Most::of(settings);
        {
            let mut most = self.most.lock();
            let before = std::mem::replace(&mut *most, new);
            for (permits, before, new) in [
                (&self.calls, before.connections, new.connections),
                (&self.mutations, before.mutations, new.mutations),
            ] {
                match new.checked_sub(before) {
                    Some(more) => permits.add(more),
                    None => permits.take_away(before - new),
                }
            }
            self.connections.resize(new.connections);
        }
        self.rules.set(settings);
        self.ended.notify_one();
    }

    /// Who claims writer slots.
    pub(super) fn instance(&self) -> Uuid {
        self.connections.manager().instance
    }

    /// Whether the pool was closed.
    pub(super) fn is_closed(&self) -> bool {
        self.connections.is_closed()
    }

    /// Gives idle connections back, so that new ones claim slots in all shares that are there now.
    pub(super) fn renew_idle(&self) {
        self.connections.retain(|_, _| false);
    }

    /// Gives everything back; calls that wait for a connection are refused.
    pub(super) fn close(&self) {
        self.maintenance.abort();
        self.mutations.close();
        self.calls.close();
        self.connections.close();
    }
}

impl Measured for Pool {
    fn read(&self, to: &mut Readings) {
        let status = self.connections.status();
        let in_use = status.size.saturating_sub(status.available);
        let help = "Connections to PostgreSQL, by what they do";
        let name = "trunkfs_postgres_connections";
        to.level(name, help, &[("state", "used")], in_use as u64);
        to.level(name, help, &[("state", "idle")], status.available as u64);
        let help = "The most connections to PostgreSQL";
        to.level("trunkfs_postgres_connections_limit", help, &[], status.max_size as u64);
        let help = "How long calls waited for a connection to PostgreSQL";
        to.histogram("trunkfs_postgres_wait_seconds", help, &[], &self.waits);
        let help = "1 while no connection can be made";
        to.level("trunkfs_postgres_lost", help, &[], u64::from(self.is_lost()));
        self.connections.manager().statements.read(to);
    }
}

fn refused(reason: NoPermit) -> PostgresError {
    match reason {
        NoPermit::Closed => closed(),
        NoPermit::Full(full) => PostgresError::Refused(Error::Unavailable(Box::new(full))),
    }
}

fn closed() -> PostgresError {
    PostgresError::Refused(Error::Unavailable("the metadata store is closed".into()))
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}
