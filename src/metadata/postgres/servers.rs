//! Which servers use a database, as they have listed themselves.

use std::time::Duration;

use super::connect::{Connected, Connector};
use super::error::PostgresError;
use super::rows::column;
use super::{PostgresStore, Settings};
use crate::metadata::{Error, Server};

/// The age of a row is that of the database's clock: nobody's clock is compared.
const SERVERS: &str = "
    SELECT i.instance, i.host, i.pid, i.address, i.version, l.holder IS NOT DISTINCT FROM i.instance,
           extract(epoch FROM i.started)::float8,
           extract(epoch FROM clock_timestamp() - i.seen)::float8, i.ahead, i.clients
      FROM instances i CROSS JOIN lease l
     ORDER BY i.started, i.instance";

impl PostgresStore {
    /// The servers that use a database now, and those that ended without leaving it a short while ago.
    /// Changes nothing.
    ///
    /// # Errors
    /// [`Error::Backend`] where the database cannot be reached, and [`Error::Schema`] where its schema is
    /// not the one that this program serves.
    pub async fn servers(settings: &Settings) -> Result<Vec<Server>, Error> {
        Self::summary(settings, false).await?;
        list(settings).await.map_err(PostgresError::into_error)
    }
}

async fn list(settings: &Settings) -> Result<Vec<Server>, PostgresError> {
    let Connected { client, .. } = Connector::new(settings).connect().await?;
    let asked = client.query(SERVERS, &[]);
    let rows = match tokio::time::timeout(settings.statement_timeout, asked).await {
        Ok(rows) => rows.map_err(PostgresError::in_flight)?,
        Err(late) => return Err(PostgresError::Lost(Box::new(late))),
    };
    let server = |row| {
        let silent: f64 = column(row, 7)?;
        Ok(Server {
            instance: column(row, 0)?,
            host: column(row, 1)?,
            pid: column(row, 2)?,
            address: column(row, 3)?,
            version: column(row, 4)?,
            alone: column(row, 5)?,
            since: column(row, 6)?,
            silent: Duration::try_from_secs_f64(silent.max(0.0)).unwrap_or(Duration::MAX),
            ahead: column(row, 8)?,
            clients: column::<Option<i32>>(row, 9)?.and_then(|count| u32::try_from(count).ok()),
        })
    };
    rows.iter().map(server).collect::<Result<_, Error>>().map_err(PostgresError::Refused)
}
