//! A few connections that calls share, each used by one call at a time.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics, PoolError, QueueMode, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::Settings;
use super::connect::{Connected, Connector};
use super::error::Failure;
use super::flight::FLUSH;
use super::setup::{self, Slot, Standing};

/// How long what a server said of itself when it was connected to is taken for true.
const STANDING_HOLDS: Duration = Duration::from_secs(2);

/// A connection.
pub(super) struct Connection {
    pub(super) client: ClientWrapper,
    /// Its writer slot, which a connection that only reads may lack.
    pub(super) slot: Option<Slot>,
    standing: Standing,
    since: Instant,
}

/// What is to be thought of a server that refuses a change because it is read-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It stays so until somebody turns it off.
    Meant,
    /// Another connection may lead to a server that takes changes.
    Passing,
}

impl Connection {
    /// What a refusal on this connection means: an old one may be to a server that was the primary, or that takes
    /// changes again by now.
    pub(super) fn refusal(&self) -> Refusal {
        if self.standing == Standing::Standby || self.since.elapsed() >= STANDING_HOLDS {
            Refusal::Passing
        } else {
            Refusal::Meant
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("slot", &self.slot).finish_non_exhaustive()
    }
}

/// A connection that goes back to the pool when it is dropped.
pub(super) type Pooled = managed::Object<Manager>;

/// Makes connections.
pub(super) struct Manager {
    connector: Connector,
    instance: Uuid,
    /// Setting a connection up takes no longer.
    limit: Duration,
    /// Whether the last server that was connected to took changes.
    writable: AtomicBool,
}

impl Manager {
    /// Says when the database stops taking changes, and when it takes them again.
    fn note(&self, standing: Standing) {
        let writable = standing == Standing::Primary;
        if self.writable.swap(writable, Ordering::Relaxed) == writable {
            return;
        }
        match standing {
            Standing::Primary => tracing::info!("the database takes changes again"),
            Standing::ReadOnly => tracing::warn!(
                "the database takes no changes (default_transaction_read_only is on): clients can read, and are \
                 refused what would change something"
            ),
            Standing::Standby => tracing::warn!(
                "no primary is to be had, only a standby: clients can read, and what would change something waits"
            ),
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
    type Error = Failure;

    async fn create(&self) -> Result<Connection, Failure> {
        // Bounded by itself, for each address.
        let Connected { client, standing } = self.connector.connect().await?;
        self.note(standing);
        let setting_up = async {
            let slot = setup::prepare(&client, self.instance, standing).await?;
            client.prepare_cached(FLUSH).await?;
            Ok(Connection { client, slot, standing, since: Instant::now() })
        };
        match tokio::time::timeout(self.limit, setting_up).await {
            Ok(outcome) => outcome,
            Err(late) => Err(Failure::Lost(Box::new(late))),
        }
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<Failure> {
        if connection.client.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        Ok(())
    }
}

/// The connections of one store.
#[derive(Debug)]
pub(super) struct Pool {
    connections: managed::Pool<Manager>,
    maintenance: JoinHandle<()>,
}

/// Idle connections beyond this age are given back.
const IDLE_LIMIT: Duration = Duration::from_secs(300);
const MAINTENANCE_PERIOD: Duration = Duration::from_secs(30);

impl Pool {
    /// A pool that has no connection yet.
    pub(super) fn new(settings: &Settings, instance: Uuid) -> Result<Self, crate::metadata::Error> {
        let connector = Connector::new(settings);
        let manager = Manager {
            connector,
            instance,
            limit: settings.connect_timeout,
            writable: AtomicBool::new(true),
        };
        let connections = managed::Pool::builder(manager)
            .max_size(settings.max_connections.max(1))
            // The one used last has everything at hand; taking turns would make every call a cold one.
            .queue_mode(QueueMode::Lifo)
            .build()
            .map_err(|error| crate::metadata::Error::Backend(Box::new(error)))?;
        let weak = connections.weak();
        let maintenance = tokio::spawn(async move {
            loop {
                tokio::time::sleep(MAINTENANCE_PERIOD).await;
                let Some(connections) = weak.upgrade() else { return };
                connections.retain(|connection, metrics| {
                    !connection.client.is_closed() && metrics.last_used() < IDLE_LIMIT
                });
            }
        });
        Ok(Self { connections, maintenance })
    }

    /// A connection, waited for while all are in use. One attempt to connect where none is idle.
    pub(super) async fn get(&self) -> Result<Pooled, Failure> {
        self.connections.get().await.map_err(|error| match error {
            PoolError::Backend(failure) => failure,
            PoolError::Closed => Failure::Refused(crate::metadata::Error::Unavailable(
                "the metadata store is closed".into(),
            )),
            PoolError::Timeout(_)
            | PoolError::NoRuntimeSpecified
            | PoolError::PostCreateHook(_) => Failure::Lost("no connection".into()),
        })
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

    /// Gives everything back; whoever waits for a connection is refused.
    pub(super) fn close(&self) {
        self.maintenance.abort();
        self.connections.close();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}
