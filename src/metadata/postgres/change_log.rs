//! The list of changes (`migrations/postgres/V8__changes.sql`): how long its rows stay.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::error::PostgresError;
use super::execute::query_once;
use super::lease::Lease;
use super::pool::Pool;
use crate::types::Vital;

/// For a transaction that changes rows which it does not list, as its last statement.
pub(super) const BEGIN_TERM: &str = "SELECT begin_term()";

const NEXT: &str = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
const PRUNE: &str = "SELECT prune_changes($1, $2)";

/// How often rows are removed: those that are older than the round before. A server that has asked for no
/// changes for so long may have to begin anew.
const ROUND: Duration = Duration::from_secs(30);

/// Removes old rows while other servers use the database too. Ends when the value is dropped.
#[derive(Debug)]
pub(super) struct Pruning(JoinHandle<()>);

impl Pruning {
    pub(super) fn start(pool: &Arc<Pool>, lease: &Arc<Lease>) -> Self {
        Self(tokio::spawn(run(Arc::downgrade(pool), Arc::clone(lease))))
    }
}

impl Drop for Pruning {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(pool: Weak<Pool>, lease: Arc<Lease>) {
    let _vital = Vital::new("postgres-change-log");
    let mut earlier = None;
    // Rows of changes that took longer than a round are found by the first pass of the next server.
    let mut all = true;
    loop {
        tokio::time::sleep(ROUND).await;
        let Some(pool) = pool.upgrade() else { return };
        if !lease.is_joined() {
            earlier = None;
            continue;
        }
        match prune(&pool, earlier, all).await {
            Ok(next) => {
                all &= earlier.is_none();
                earlier = Some(next);
            }
            Err(failure) => tracing::debug!(?failure, "changes are not pruned"),
        }
    }
}

/// Removes the rows of transactions before `earlier`; the number that the next transaction will have.
async fn prune(pool: &Pool, earlier: Option<i64>, all: bool) -> Result<i64, PostgresError> {
    if let Some(earlier) = earlier {
        query_once(pool, PRUNE, &[&earlier, &all]).await?;
    }
    let rows = query_once(pool, NEXT, &[]).await?;
    let next = rows.first().ok_or_else(|| PostgresError::Lost("a snapshot has no row".into()))?;
    Ok(next.try_get(0)?)
}
