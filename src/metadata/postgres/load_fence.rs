//! Keeping loads away: a lock of the session, which ends with its connection.

use deadpool_postgres::ClientWrapper;
use futures_util::TryStreamExt as _;
use uuid::Uuid;

use super::PostgresStore;
use super::error::fatal;
use super::execute::FLUSH;
use super::rows::column;
use crate::metadata::{Error, LoadFence};
use crate::types::ContentId;

/// Shared by those that keep loads away.
const LOCK_SHARED: &str = "SELECT pg_try_advisory_lock_shared(19791, 1), pg_is_in_recovery()";
/// A load's: alone, until its transaction ends.
pub(super) const LOCK: &str = "SELECT pg_try_advisory_xact_lock(19791, 1)";
/// Every row, whatever its share: one that a damaged database has too many keeps its content.
const NAMED: &str = "SELECT content_id FROM files WHERE content_id IS NOT NULL";

/// See [`LoadFence`].
#[derive(Debug)]
struct PostgresFence(ClientWrapper);

pub(super) async fn take(store: &PostgresStore) -> Result<Box<dyn LoadFence>, Error> {
    let dedicated = store.connect_dedicated().await?;
    let row = dedicated.query_one(LOCK_SHARED, &[]).await.map_err(fatal)?;
    if column(&row, 1)? {
        let said = "only a standby is available, which may lag: its rows do not prove that content is unused";
        return Err(Error::Unavailable(said.into()));
    }
    if !column::<bool>(&row, 0)? {
        return Err(Error::Unavailable(
            "trunkfs load is running on this store; retry when it has finished".into(),
        ));
    }
    Ok(Box::new(PostgresFence(dedicated)))
}

#[async_trait::async_trait]
impl LoadFence for PostgresFence {
    async fn named(&self) -> Result<Vec<ContentId>, Error> {
        let none: [&str; 0] = [];
        let rows = self.0.query_raw(NAMED, none).await.map_err(fatal)?;
        let mut rows = std::pin::pin!(rows);
        let mut named = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(fatal)? {
            named.push(ContentId(column::<Uuid>(&row, 0)?));
        }
        Ok(named)
    }

    /// A removal commits without waiting for the disk, and a crash may bring its row back until a
    /// session has waited. That the session answers shows that it still has its lock.
    async fn confirm(&self) -> Result<(), Error> {
        self.0.batch_execute(FLUSH).await.map_err(fatal)
    }
}
