//! Where the database is, and how the store uses it.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::target::{ConnectOptions, Parameters};
use crate::metadata::{LockLimits, Source};
use crate::types::settings::{MOST, Number, Time, WrongSetting, masked};

/// Whether an instance that is alone on the database may decide changes in its memory, and answer reads from
/// there.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
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
    /// How often a holder looks whether another instance wants to change something.
    pub watch: Duration,
    /// How long no other instance is to have been there before the lease is taken.
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

/// How large the lists of rows that go soon may become. A list at its bound is emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListBounds {
    /// How often old rows are removed, and the sizes looked at.
    pub round: Duration,
    /// Bytes of the table `changes`, its index included: 20 million changes.
    pub changes: u64,
    /// Bytes of the table `replies`: four times what a database at its limit has.
    pub replies: u64,
}

impl Default for ListBounds {
    fn default() -> Self {
        Self { round: Duration::from_secs(30), changes: 4 << 30, replies: 4 << 30 }
    }
}

/// How to reach the database, and how it is used: with [`Parameters`], the keys of the configuration.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Settings {
    /// The database, as the configuration names it.
    #[serde(skip)]
    pub parameters: Parameters,
    /// The database, as the parameters say.
    #[serde(skip)]
    pub target: ConnectOptions,
    /// The most connections at a time; few do more than many.
    #[serde(rename = "max_conns", with = "Number::<1, MOST>")]
    pub max_connections: usize,
    /// The fewest that are kept open, made ahead of their use. Left out: at most as many as there may be.
    #[serde(rename = "min_conns", with = "Number::<0, MOST>")]
    pub min_connections: usize,
    /// How long a connection beyond the fewest may be idle before it is closed.
    #[serde(with = "Time::<1>")]
    pub max_idle_time: Duration,
    /// How old a connection may be before it is closed: a new one has the present password, certificates and
    /// addresses. Zero: as old as it gets.
    #[serde(with = "Time::<0>")]
    pub max_lifetime: Duration,
    /// How often idle connections are asked whether they still work.
    #[serde(with = "Time::<1>")]
    pub health_check_period: Duration,
    /// How long one attempt to connect to one address may take, TLS and login included; a parameter.
    #[serde(skip)]
    pub connect_timeout: Duration,
    /// How long a call waits for a connection before it is told to come again. Left out: at most as long as a
    /// request.
    #[serde(with = "Time::<1>")]
    pub acquire_timeout: Duration,
    /// How long one statement may run; waiting for a lock, a third of it. Left out: at most as long as a
    /// request.
    #[serde(with = "Time::<1>")]
    pub statement_timeout: Duration,
    /// How long a database that is away at the start is waited for; zero: not at all.
    #[serde(with = "Time::<0>")]
    pub connect_retry: Duration,
    /// Whether a schema that is behind is brought up to date when the store opens.
    pub auto_migrate: bool,
    /// A folder of migrations in place of the embedded ones.
    pub migrations_path: Option<PathBuf>,
    /// Whether rows are kept in memory.
    pub cache: Cache,
    /// What the store is opened for.
    #[serde(skip)]
    pub presence: Presence,
    /// Where a server serves, for those who list servers.
    #[serde(skip)]
    pub address: Option<String>,
    /// How long a lease lasts.
    #[serde(skip)]
    pub lease: LeaseTimes,
    /// How large the lists `changes` and `replies` may become.
    #[serde(skip)]
    pub lists: ListBounds,
    /// How many locks there may be.
    #[serde(skip)]
    pub lock_limits: LockLimits,
}

/// The longest that a statement may run: what became of a call is known to the database for some minutes
/// only.
const LONGEST_STATEMENT: Duration = Duration::from_secs(60);
/// The shortest: below that, a busy disk looks like a failure.
const SHORTEST_STATEMENT: Duration = Duration::from_millis(100);

impl Default for Settings {
    fn default() -> Self {
        Self {
            parameters: Parameters::default(),
            target: ConnectOptions::default(),
            max_connections: 15,
            min_connections: 2,
            max_idle_time: Duration::from_secs(300),
            max_lifetime: Duration::from_secs(1800),
            health_check_period: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            connect_retry: Duration::from_secs(60),
            auto_migrate: false,
            migrations_path: None,
            cache: Cache::Auto,
            presence: Presence::Server,
            address: None,
            lease: LeaseTimes::default(),
            lists: ListBounds::default(),
            lock_limits: LockLimits::default(),
        }
    }
}

impl Settings {
    /// Settings with defaults for all but the database.
    #[must_use]
    pub fn new(target: ConnectOptions) -> Self {
        Self { target, ..Self::default() }
    }

    /// Settings from a connection URL (PostgreSQL manual 34.1.1.2) with defaults for the rest.
    ///
    /// # Errors
    /// What is wrong with the URL; never shows the password.
    pub fn from_url(url: &str) -> Result<Self, Source> {
        let parameters = Parameters::from_url(url)?;
        let connect_timeout = parameters.connect_timeout;
        let settings = Self::new(parameters.into_target()?);
        let connect_timeout = connect_timeout.unwrap_or(settings.connect_timeout);
        Ok(Self { connect_timeout, ..settings })
    }

    /// These settings of an open store with what it takes over from others: how many connections there may
    /// be, and the password of the same role of the same database.
    #[must_use]
    pub fn taking(&self, new: &Self) -> Self {
        let mut taken = Self {
            max_connections: new.max_connections,
            min_connections: new.min_connections,
            ..self.clone()
        };
        let shown =
            |parameters: &Parameters| parameters.url.as_ref().map(|url| masked(url.reveal()));
        if self.target.is_same_place(&new.target)
            && shown(&self.parameters) == shown(&new.parameters)
        {
            taken.parameters.url.clone_from(&new.parameters.url);
            taken.parameters.secret.clone_from(&new.parameters.secret);
            taken.target.password.clone_from(&new.target.password);
            taken.target.password_source.clone_from(&new.target.password_source);
        }
        taken
    }

    /// Checks the keys against each other and against the time that a request may take, and sets the defaults
    /// that depend on others; `given` says which are written.
    pub fn check(
        &mut self,
        request_timeout: Duration,
        given: &dyn Fn(&str) -> bool,
    ) -> Result<(), WrongSetting> {
        let parameters = &mut self.parameters;
        let merged = parameters.merged()?;
        let url_timeout = merged.connect_timeout.filter(|_| parameters.connect_timeout.is_none());
        self.connect_timeout = match url_timeout {
            Some(timeout) => timeout,
            None => *parameters.connect_timeout.get_or_insert(self.connect_timeout),
        };
        let in_url = parameters.url.is_some();
        self.target = merged.into_target().map_err(|wrong| match in_url && !given(wrong.key) {
            true => WrongSetting::new("url", wrong.to_string()),
            false => wrong,
        })?;
        if !in_url {
            parameters.show_defaults(&self.target);
        }
        let wrong = |key, message: String| Err(WrongSetting::new(key, message));
        let (fewest, most) = (self.min_connections, self.max_connections);
        if !given("min_conns") {
            self.min_connections = fewest.min(most);
        } else if fewest > most {
            let message =
                format!("{fewest} exceeds max_conns ({most}); lower it, or raise max_conns");
            return wrong("min_conns", message);
        }
        for (key, value) in [
            ("statement_timeout", &mut self.statement_timeout),
            ("acquire_timeout", &mut self.acquire_timeout),
        ] {
            if !given(key) {
                *value = request_timeout.min(*value);
            } else if *value > request_timeout {
                return wrong(
                    key,
                    format!(
                        "{value:?} exceeds server.request_timeout ({request_timeout:?}); lower it, or raise \
                         server.request_timeout"
                    ),
                );
            }
        }
        let range = SHORTEST_STATEMENT..=LONGEST_STATEMENT;
        if given("statement_timeout") && !range.contains(&self.statement_timeout) {
            return wrong("statement_timeout", "out of range (100ms to 60s)".to_owned());
        }
        self.statement_timeout = self.statement_timeout.max(SHORTEST_STATEMENT);
        Ok(())
    }
}
