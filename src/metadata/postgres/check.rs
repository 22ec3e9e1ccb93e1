//! The invariants, checked by reading everything.

use super::PostgresStore;
use super::connect::Connector;
use super::error::{Failure, fatal};
use super::rows::column;
use crate::metadata::Error;

const CHECK: &str = include_str!("check.sql");
/// Everything is joined with everything: a nested loop that looked cheap on old statistics would take hours.
const SESSION: &str = "SET enable_nestloop = off; SET jit = off";

impl PostgresStore {
    /// Runs on a connection of its own: it takes long and wants the plans that every other call must not have.
    pub(super) async fn check(&self) -> Result<Vec<String>, Error> {
        if self.pool.is_closed() {
            return Err(Error::Unavailable("the metadata store is closed".into()));
        }
        let client =
            Connector::new(&self.settings).connect().await.map_err(Failure::into_error)?.client;
        let rows = match client.batch_execute(SESSION).await {
            Ok(()) => client.query(CHECK, &[]).await,
            Err(error) => Err(error),
        };
        rows.map_err(fatal)?.iter().map(|row| column(row, 0)).collect()
    }
}
