//! The invariants, checked by reading everything.

use tokio_postgres::GenericClient;

use super::PostgresStore;
use super::error::fatal;
use super::rows::column;
use crate::metadata::Error;

const CHECK: &str = include_str!("check.sql");
/// Everything is joined with everything: a nested loop that looked cheap on old statistics would take hours.
const SESSION: &str = "SET enable_nestloop = off; SET jit = off";

impl PostgresStore {
    /// Runs on a connection of its own: it takes long and wants the plans that every other call must not have.
    pub(super) async fn check(&self) -> Result<Vec<String>, Error> {
        broken(&*self.connect_apart().await?).await
    }
}

/// What is broken as `client` sees it.
pub(super) async fn broken(client: &impl GenericClient) -> Result<Vec<String>, Error> {
    client.batch_execute(SESSION).await.map_err(fatal)?;
    let rows = client.query(CHECK, &[]).await.map_err(fatal)?;
    rows.iter().map(|row| column(row, 0)).collect()
}
