//! The statements of the lease, on a connection of their own: one outside the pool, which no lifetime ends
//! and no call uses.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::metadata::postgres::connect::{Connected, Connector};
use crate::metadata::postgres::error::PostgresError;
use crate::metadata::postgres::rows::column;
use crate::metadata::postgres::session::ServerRole;

/// Whatever the role has set, what is renewed here must not be forgotten in a crash: others count on it.
const SESSION: &str = "
    SET client_min_messages = warning;
    SELECT set_config('application_name', current_setting('application_name') || ' lease', false);
    SELECT set_config('synchronous_commit', 'on', false)
     WHERE current_setting('synchronous_commit') IN ('off', 'local')";

/// Instances beyond so many are not told apart: no lease is taken then.
const MOST_INSTANCES: usize = 256;

/// The columns of [`Seen`].
macro_rules! seen {
    ($with:literal, $mine:literal) => {
        concat!(
            $with,
            "SELECT l.holder, l.wanted, EXISTS (SELECT FROM ",
            $mine,
            "),
                    ARRAY(SELECT i.instance FROM instances i WHERE i.instance <> $1 ORDER BY i.instance LIMIT 257),
                    ARRAY(SELECT i.count FROM instances i WHERE i.instance <> $1 ORDER BY i.instance LIMIT 257),
                    extract(epoch FROM clock_timestamp())::float8
               FROM lease l"
        )
    };
}
const LOOK: &str = seen!("", "instances WHERE instance = $1");
/// A row that another session deletes meanwhile is waited for and not renewed.
const RENEW: &str = seen!(
    "WITH renewed AS (UPDATE instances SET count = count + 1, seen = clock_timestamp(), ahead = $2, clients = $3
                     WHERE instance = $1 RETURNING instance) ",
    "renewed"
);
const REGISTER: &str = "
    INSERT INTO instances (instance, host, version, pid, address) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (instance) DO UPDATE SET count = instances.count + 1, seen = clock_timestamp()";
const LEAVE: &str = "DELETE FROM instances WHERE instance = $1";
const WANT: &str = "UPDATE lease SET wanted = true WHERE holder = $1 AND NOT wanted";
const TAKE: &str = "SELECT take_lease($1, $2, $3, $4)";
const END: &str = "SELECT end_lease($1, $2, $3)";
const FORGET: &str = "SELECT forget_instances($1, $2)";

/// What an instance says of itself, for those who list servers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renewal {
    /// How many seconds the own clock is ahead.
    pub(super) ahead: f64,
    /// None of a tool.
    pub(super) clients: Option<i32>,
}

/// What one look showed.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The instance that has the lease.
    pub(super) holder: Option<Uuid>,
    /// Another instance waits for the end of the lease.
    pub(super) wanted: bool,
    /// The own row is there, and was renewed where that was asked for.
    pub(super) registered: bool,
    /// The other instances and their counts.
    pub(super) others: Vec<(Uuid, i64)>,
    /// What the database's clock said, in seconds since 1970.
    pub(super) time: f64,
    /// There are more of them.
    pub(super) crowded: bool,
}

/// A connection for one instance.
pub(super) struct Session {
    client: ClientWrapper,
    instance: Uuid,
    /// No statement takes longer.
    limit: Duration,
}

impl Session {
    /// Connects; `limit` is how long a statement may take before the connection counts as lost.
    pub(super) async fn open(
        connector: &Connector,
        instance: Uuid,
        limit: Duration,
    ) -> Result<Self, PostgresError> {
        // A wait for calls under way ends by itself, so that the own count goes on moving.
        let lock = (limit.as_millis() / 2).max(1);
        let settings =
            format!("{SESSION}; SET lock_timeout = {lock}; SET statement_timeout = {}", lock * 4);
        let Connected { client, role, .. } = connector.open(&settings).await?;
        if role != ServerRole::Primary {
            return Err(PostgresError::ReadOnly("the database is read-only".into()));
        }
        Ok(Self { client, instance, limit })
    }

    /// Notes that the instance lives.
    pub(super) async fn register(&self, address: Option<&str>) -> Result<(), PostgresError> {
        let machine = rustix::system::uname();
        let host = machine.nodename().to_string_lossy();
        let version = env!("CARGO_PKG_VERSION");
        let pid = std::process::id().cast_signed();
        let row: [&(dyn ToSql + Sync); 5] =
            [&self.instance, &host.as_ref(), &version, &pid, &address];
        self.run(REGISTER, &row).await.map(drop)
    }

    /// Looks at the lease and at the others. With `renews` the own count moves too.
    pub(super) async fn look(&self, renews: Option<Renewal>) -> Result<Seen, PostgresError> {
        let rows = match renews {
            Some(Renewal { ahead, clients }) => {
                self.run(RENEW, &[&self.instance, &ahead, &clients]).await?
            }
            None => self.run(LOOK, &[&self.instance]).await?,
        };
        let row =
            rows.first().ok_or_else(|| PostgresError::Lost("the table lease has no row".into()))?;
        let (others, counts): (Vec<Uuid>, Vec<i64>) = (column(row, 3)?, column(row, 4)?);
        Ok(Seen {
            holder: column(row, 0)?,
            wanted: column(row, 1)?,
            registered: column(row, 2)?,
            time: column(row, 5)?,
            crowded: others.len() > MOST_INSTANCES,
            others: others.into_iter().zip(counts).collect(),
        })
    }

    /// Asks the holder to give the lease up.
    pub(super) async fn want(&self, holder: Uuid) -> Result<(), PostgresError> {
        self.run(WANT, &[&holder]).await.map(drop)
    }

    /// Takes the lease from `holder`, or where it is free. See `take_lease`.
    pub(super) async fn take(
        &self,
        holder: Option<Uuid>,
        (seen, counts): &(Vec<Uuid>, Vec<i64>),
    ) -> Result<bool, PostgresError> {
        self.ask(TAKE, &[&self.instance, &holder, seen, counts]).await
    }

    /// Ends the lease of `holder`. See `end_lease`.
    pub(super) async fn end(
        &self,
        holder: Uuid,
        count: Option<i64>,
    ) -> Result<bool, PostgresError> {
        self.ask(END, &[&self.instance, &holder, &count]).await
    }

    /// Takes rows of the dead out. See `forget_instances`.
    pub(super) async fn forget(
        &self,
        (seen, counts): &(Vec<Uuid>, Vec<i64>),
    ) -> Result<(), PostgresError> {
        self.run(FORGET, &[seen, counts]).await.map(drop)
    }

    /// Notes that the instance has ended.
    pub(super) async fn leave(&self) -> Result<(), PostgresError> {
        self.run(LEAVE, &[&self.instance]).await.map(drop)
    }

    /// A function's answer. One that has waited for calls under way in vain answers no.
    async fn ask(
        &self,
        statement: &str,
        arguments: &[&(dyn ToSql + Sync)],
    ) -> Result<bool, PostgresError> {
        match self.run(statement, arguments).await {
            Ok(rows) => rows.first().map_or(Ok(false), |row| Ok(column(row, 0)?)),
            Err(PostgresError::Transient(source)) => {
                tracing::debug!(error = %source, "the lease waited for a lock in vain");
                Ok(false)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn run(
        &self,
        statement: &str,
        arguments: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, PostgresError> {
        let call = async {
            let prepared = self.client.prepare_cached(statement).await;
            let prepared = prepared.map_err(PostgresError::in_flight)?;
            self.client.query(&prepared, arguments).await.map_err(PostgresError::in_flight)
        };
        match tokio::time::timeout(self.limit, call).await {
            Ok(outcome) => outcome,
            Err(late) => Err(PostgresError::Lost(Box::new(late))),
        }
    }
}
