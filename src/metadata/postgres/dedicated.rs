//! A connection of its own, for what takes long and wants none of the pool's settings.

use deadpool_postgres::ClientWrapper;

use super::PostgresStore;
use super::connect::Connector;
use super::error::PostgresError;
use crate::metadata::Error;

impl PostgresStore {
    /// Connects; no time limit is set for its statements. The connection ends when it is dropped.
    pub(super) async fn connect_dedicated(&self) -> Result<ClientWrapper, Error> {
        if self.pool.is_closed() {
            return Err(Error::Unavailable("the metadata store is closed".into()));
        }
        let connected = Connector::new(&self.settings).open("SET statement_timeout = 0").await;
        Ok(connected.map_err(PostgresError::into_error)?.client)
    }
}
