//! Whether a change was applied whose connection was lost.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::error::PostgresError;
use super::execute::{FLUSH, query_once};
use super::pool::Pool;
use super::retry::jittered;
use crate::metadata::Error;

/// How long the outcome is looked for. Shorter than a used slot is left alone (`claim_slot`).
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// Whether the session that had a writer slot has ended: its changes are committed or rolled back, and no
/// other follows. A standby does not have the locks of its primary.
const HAS_ENDED: &str = "SELECT NOT pg_is_in_recovery() AND pg_try_advisory_xact_lock(19790, $1)";

/// A change may have been applied, and there is no finding out.
#[derive(Debug, thiserror::Error)]
#[error("the outcome of the operation is not known")]
pub(super) struct UnknownOutcome(#[source] pub(super) Error);

/// The two ways to ask about the changes of a writer slot. Both statements take the same arguments.
#[derive(Debug)]
pub(super) struct Question<'a> {
    /// Waits for a change under way or fences it, and answers durably.
    pub(super) fencing: &'static str,
    /// Answers without changing a row, for a database that takes no changes. Asked once the slot's session
    /// has ended.
    pub(super) reading: &'static str,
    pub(super) arguments: &'a [&'a (dyn ToSql + Sync)],
    pub(super) slot: i32,
}

impl Question<'_> {
    /// The rows of the answer. What was not applied by then will not be.
    ///
    /// # Errors
    /// Where the database cannot say for too long, or the pool is closed.
    pub(super) async fn ask(&self, pool: &Pool) -> Result<Vec<Row>, UnknownOutcome> {
        let until = Instant::now() + SETTLE_LIMIT;
        let mut repeat = 0;
        loop {
            let error = match timeout_at(until, self.ask_once(pool)).await {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(failure)) => failure.into_error(),
                Err(late) => Error::Backend(Box::new(late)),
            };
            repeat += 1;
            if Instant::now() >= until || pool.is_closed() {
                return Err(UnknownOutcome(error));
            }
            tokio::time::sleep(jittered(repeat)).await;
        }
    }

    async fn ask_once(&self, pool: &Pool) -> Result<Vec<Row>, PostgresError> {
        let refused = match query_once(pool, self.fencing, self.arguments).await {
            Err(PostgresError::ReadOnly(source)) => source,
            outcome => return outcome,
        };
        let ended = query_once(pool, HAS_ENDED, &[&self.slot]).await?;
        if !ended.first().is_some_and(|row| row.try_get(0).unwrap_or(false)) {
            return Err(PostgresError::ReadOnly(refused));
        }
        let rows = query_once(pool, self.reading, self.arguments).await?;
        query_once(pool, FLUSH, &[]).await?;
        Ok(rows)
    }
}
