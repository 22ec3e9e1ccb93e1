//! The list of changes (`migrations/postgres/V8__changes.sql`): how long its rows stay.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::error::PostgresError;
use super::execute::query_once;
use super::lease::Lease;
use super::list_bounds::{Bound, Sizes};
use super::pool::Pool;
use super::replies;
use super::settings::ListBounds;
use crate::counters::{Measured, Readings};
use crate::types::Vital;

/// For a transaction that changes rows which it does not list, as its last statement.
pub(super) const BEGIN_TERM: &str = "SELECT begin_term()";

const NEXT: &str = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
const PRUNE: &str = "SELECT prune_changes($1, $2)";

/// A size that is not met while rows go after a minute: 5 million changes.
const LARGE: u64 = 1 << 30;

/// Removes old rows while other servers use the database too. Ends when the value is dropped.
#[derive(Debug)]
pub(super) struct Pruning {
    task: JoinHandle<()>,
    sizes: Arc<Sizes>,
}

impl Pruning {
    /// Rows that are older than the round before are removed. A server that has asked for no changes for so
    /// long may have to begin anew.
    pub(super) fn start(pool: &Arc<Pool>, lease: &Arc<Lease>, bounds: ListBounds) -> Self {
        let sizes = Arc::<Sizes>::default();
        let lists = [
            Bound::of_changes(bounds.changes, Arc::clone(&sizes)),
            Bound::of_replies(bounds.replies, Arc::clone(&sizes)),
        ];
        let task = run(Arc::downgrade(pool), Arc::clone(lease), bounds.round, lists);
        Self { task: tokio::spawn(task), sizes }
    }
}

impl Measured for Pruning {
    fn read(&self, to: &mut Readings) {
        self.sizes.read(to);
    }
}

impl Drop for Pruning {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(pool: Weak<Pool>, lease: Arc<Lease>, round: Duration, mut lists: [Bound; 2]) {
    let _vital = Vital::new("postgres-change-log");
    let mut earlier = None;
    // Rows of changes that took longer than a round are found by the first pass of the next server.
    let mut all = true;
    let mut large = false;
    loop {
        tokio::time::sleep(round).await;
        let Some(pool) = pool.upgrade() else { return };
        for list in &mut lists {
            list.keep(&pool).await;
        }
        let [changes, _] = &lists;
        let size = changes.size();
        if size > LARGE && !std::mem::replace(&mut large, true) {
            tracing::warn!(
                bytes = size,
                "the list of changes is large: a transaction that is open for long keeps the room of removed \
                 rows from being used again"
            );
        }
        large &= size > LARGE / 2;
        if let Err(failure) = replies::prune(&pool).await {
            tracing::debug!(?failure, "replies are not pruned");
        }
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
