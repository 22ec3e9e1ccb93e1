//! Where the database is, and how the store uses it.

use std::path::PathBuf;
use std::time::Duration;

use super::target::{ConnectOptions, Parameters};
use crate::metadata::Source;

/// Whether an instance that is alone on the database may decide changes in its memory, and answer reads from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// While no other instance is there.
    Auto,
    /// Never: every call asks the database.
    Off,
}

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// To serve: its instance is one of those that change rows from the start on.
    Server,
    /// For one task, which may be to read only: a server that is alone stays so until something is changed.
    Tool,
}

/// How long a lease lasts. Instances on one database must have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// An instance that has not renewed its row for so long may be taken for dead.
    pub ttl: Duration,
    /// How much earlier a holder stops answering from its memory: clocks do not run alike.
    pub margin: Duration,
    /// How often a holder looks whether somebody else wants to change something.
    pub watch: Duration,
    /// How long nobody else is to have been there before the lease is taken.
    pub quiet: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(6),
            margin: Duration::from_secs(1),
            watch: Duration::from_millis(500),
            quiet: Duration::from_secs(30),
        }
    }
}

/// How to reach the database, and how it is used.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The database.
    pub target: ConnectOptions,
    /// The most connections at a time; few do more than many.
    pub max_connections: usize,
    /// The fewest that are kept open, made ahead of their use.
    pub min_connections: usize,
    /// How long a connection beyond the fewest may be idle before it is closed.
    pub max_idle_time: Duration,
    /// How old a connection may be before it is closed: a new one has the present password, certificates and addresses.
    pub max_lifetime: Option<Duration>,
    /// How often idle connections are asked whether they still work.
    pub health_check_period: Duration,
    /// How long one attempt to connect to one address may take, TLS and login included.
    pub connect_timeout: Duration,
    /// How long a call waits for a connection before it is told to come again.
    pub acquire_timeout: Duration,
    /// How long one statement may run; waiting for a lock, a third of it.
    pub statement_timeout: Duration,
    /// Whether a schema that is behind is brought up to date when the store opens.
    pub auto_migrate: bool,
    /// A folder of migrations in place of the embedded ones.
    pub migrations_path: Option<PathBuf>,
    /// Whether rows are kept in memory.
    pub cache: Cache,
    /// What the store is opened for.
    pub presence: Presence,
    /// How long a lease lasts.
    pub lease: LeaseTimes,
}

impl Settings {
    /// Settings with defaults for all but the database. Keys of the configuration that are left out have these values.
    #[must_use]
    pub fn new(target: ConnectOptions) -> Self {
        Self {
            target,
            max_connections: 15,
            min_connections: 2,
            max_idle_time: Duration::from_secs(300),
            max_lifetime: Some(Duration::from_secs(1800)),
            health_check_period: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            auto_migrate: false,
            migrations_path: None,
            cache: Cache::Auto,
            presence: Presence::Server,
            lease: LeaseTimes::default(),
        }
    }

    /// Settings from a connection URL (PostgreSQL manual 34.1.1.2) with defaults for the rest.
    ///
    /// # Errors
    /// What is wrong with the URL; never shows the password.
    pub fn from_url(url: &str) -> Result<Self, Source> {
        let parameters = Parameters::from_url(url)?;
        let connect_timeout = parameters.connect_timeout;
        let target = parameters.into_target()?;
        let settings = Self::new(target);
        let connect_timeout = connect_timeout.unwrap_or(settings.connect_timeout);
        Ok(Self { connect_timeout, ..settings })
    }
}
