//! A connection that looks at the schema and changes it.

use std::collections::BTreeMap;
use std::fmt;

use deadpool_postgres::ClientWrapper;

use super::applied;
use crate::metadata::Error;
use crate::metadata::postgres::Settings;
use crate::metadata::postgres::connect::Connector;
use crate::metadata::postgres::error::{PostgresError, fatal, remedy, said};
use crate::metadata::schema::{Applied, Event, Report, present};
use crate::types::ShareName;

/// Held alone while the schema is changed, shared while a start looks at it.
const TRY_LOCK: &str = "SELECT pg_try_advisory_lock(19793, 0)";
const LOCK: &str = "SELECT pg_advisory_lock(19793, 0)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(19793, 0)";
const TRY_LOCK_SHARED: &str = "SELECT pg_try_advisory_lock_shared(19793, 0)";
const LOCK_SHARED: &str = "SELECT pg_advisory_lock_shared(19793, 0)";
const UNLOCK_SHARED: &str = "SELECT pg_advisory_unlock_shared(19793, 0)";

/// A migration takes as long as it takes, whatever the role's or the database's timeouts are; which of them
/// there are depends on the server's version.
const PATIENT: &str = "
    SELECT set_config(name, '0', false) FROM pg_settings
     WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_session_timeout',
                    'idle_in_transaction_session_timeout');
    SET client_min_messages = warning;
    SET application_name = 'trunkfs migrations'";
/// A migration whose client is gone is rolled back at once, not when its statement has ended. Not every
/// system can do that.
const WATCHFUL: &str = "SET client_connection_check_interval = '1s'";

/// Connections of instances: they hold a writer slot's lock or say what they are. Every role may see this
/// much of others.
const USERS: &str = "
    SELECT format('%s %s of the role %s%s (%s)', count(*),
                  CASE count(*) WHEN 1 THEN 'connection' ELSE 'connections' END,
                  usename, ' from ' || host(client_addr), string_agg('pid ' || pid, ', ' ORDER BY pid))
      FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()
       AND (application_name IN ($1, $1 || ' lease')
            OR pid IN (SELECT pid FROM pg_locks
                        WHERE locktype = 'advisory' AND classid = 19790 AND granted
                          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())))
     GROUP BY usename, client_addr ORDER BY 1";

/// The connection. It is closed, and its lock freed, when the value is dropped.
pub(super) struct Session {
    pub(super) client: ClientWrapper,
    /// How the connections of a server call themselves.
    serving: String,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub(super) async fn open(settings: &Settings) -> Result<Self, Error> {
        let client =
            Connector::new(settings).connect().await.map_err(PostgresError::into_error)?.client;
        client.batch_execute(PATIENT).await.map_err(fatal)?;
        if let Err(error) = client.batch_execute(WATCHFUL).await {
            tracing::debug!(%error, "the database does not look whether its clients are there");
        }
        Ok(Self { client, serving: settings.target.application_name.clone() })
    }

    /// Takes the lock that keeps other sessions from looking at the schema or changing it.
    pub(super) async fn lock(&self, report: Report<'_>) -> Result<(), Error> {
        self.take(TRY_LOCK, LOCK, report).await
    }

    pub(super) async fn unlock(&self) -> Result<(), Error> {
        self.client.batch_execute(UNLOCK).await.map_err(fatal)
    }

    /// Takes the lock that keeps other sessions from changing the schema.
    pub(super) async fn lock_shared(&self, report: Report<'_>) -> Result<(), Error> {
        self.take(TRY_LOCK_SHARED, LOCK_SHARED, report).await
    }

    pub(super) async fn unlock_shared(&self) -> Result<(), Error> {
        self.client.batch_execute(UNLOCK_SHARED).await.map_err(fatal)
    }

    async fn take(&self, attempt: &str, wait: &str, report: Report<'_>) -> Result<(), Error> {
        let attempt = self.client.query_one(attempt, &[]).await.map_err(fatal)?;
        if !attempt.try_get::<_, bool>(0).map_err(fatal)? {
            report(Event::Waiting);
            self.client.batch_execute(wait).await.map_err(fatal)?;
        }
        Ok(())
    }

    /// What was applied, ascending.
    pub(super) async fn history(&self) -> Result<Vec<Applied>, Error> {
        if !self.has("refinery_schema_history").await? {
            return Ok(Vec::new());
        }
        let rows = self
            .client
            .query(
                "SELECT version::integer, COALESCE(name, ''), COALESCE(applied_on, ''), COALESCE(checksum, '')
                   FROM refinery_schema_history ORDER BY version",
                &[],
            )
            .await
            .map_err(|error| match remedy(&error) {
                Some(remedy) => Error::Backend(format!("{}; {remedy}", said(&error)).into()),
                None => fatal(error),
            })?;
        rows.iter().map(applied).collect::<Result<_, _>>().map_err(fatal)
    }

    /// The newest version that was applied.
    pub(super) async fn present(&self) -> Result<i32, Error> {
        Ok(present(&self.history().await?))
    }

    /// What the store holds.
    pub(super) async fn holds(&self) -> Result<String, Error> {
        if !self.has("shares").await? || !self.has("files").await? {
            return Ok("nothing".to_owned());
        }
        let counts = "SELECT (SELECT count(*) FROM shares), (SELECT count(*) FROM files)";
        let counts = self.client.query_one(counts, &[]).await.map_err(fatal)?;
        let count = |index| counts.try_get::<_, i64>(index).map_err(fatal);
        let (shares, files) = (count(0)?, count(1)?);
        Ok(format!("shares: {shares}; files, directories and links: {files}"))
    }

    /// The shares and the settings that there are.
    pub(super) async fn contents(
        &self,
    ) -> Result<(Vec<ShareName>, BTreeMap<String, String>), Error> {
        let shares = "SELECT name FROM shares ORDER BY id";
        let shares = self.client.query(shares, &[]).await.map_err(fatal)?;
        let shares = shares.iter().map(|row| {
            let name: String = row.try_get(0).map_err(fatal)?;
            let parsed = ShareName::parse(&name);
            parsed.map_err(|error| Error::Damaged(format!("share {name}: {error}")))
        });
        let settings = "SELECT key, value FROM server_config";
        let settings = self.client.query(settings, &[]).await.map_err(fatal)?;
        let settings = settings
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, _>>()
            .map_err(fatal)?;
        Ok((shares.collect::<Result<_, _>>()?, settings))
    }

    /// Who uses the store, a line for each role and address.
    pub(super) async fn users(&self) -> Result<Vec<String>, Error> {
        let rows = self.client.query(USERS, &[&self.serving]).await.map_err(fatal)?;
        rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(fatal)
    }

    async fn has(&self, table: &str) -> Result<bool, Error> {
        let there = "SELECT to_regclass($1::text) IS NOT NULL";
        let there = self.client.query_one(there, &[&table]).await.map_err(fatal)?;
        there.try_get(0).map_err(fatal)
    }
}
