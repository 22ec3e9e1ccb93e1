//! The bound of the tables `changes` and `replies`. Rows go soon and their room is used again, unless a
//! transaction that is open for long keeps it: then a table only grows, and is emptied at its bound.
//!
//! TRUNCATE gives the room back under every snapshot, and locks the table for itself. The lock has a short
//! time limit, and is not asked for while a long transaction holds another one, as `pg_dump` does: so no
//! change waits for long. A statement whose snapshot is older than the TRUNCATE sees an empty
//! table: a poll notices that the list is in another file than before (`read_index/poll.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::timeout;

use super::error::PostgresError;
use super::execute::query_once;
use super::pool::{Pool, Pooled};
use crate::counters::Readings;
use crate::types::Chain;

const CHANGES_SIZE: &str = "SELECT pg_total_relation_size('changes')";
const REPLIES_SIZE: &str = "SELECT pg_total_relation_size('replies')";

/// Rows are gone that not every server has seen. The term says so to those that do not know the list by its
/// file. The row of `change_log` is locked before the table, as `prune_changes` does.
const EMPTY_CHANGES: (&str, &str) =
    ("PERFORM FROM change_log FOR NO KEY UPDATE;", "TRUNCATE changes; PERFORM begin_term();");

/// The newest rows of each connection stay, many times as many as it can have calls in flight: a repeat may
/// still ask for them. Nothing else is read or written while calls wait.
const EMPTY_REPLIES: (&str, &str) = (
    "",
    "kept := ARRAY(
         WITH RECURSIVE peers(peer) AS (
             (SELECT r.peer FROM replies r ORDER BY r.peer LIMIT 1)
             UNION ALL
             SELECT (SELECT r.peer FROM replies r WHERE r.peer > p.peer ORDER BY r.peer LIMIT 1)
               FROM peers p WHERE p.peer IS NOT NULL)
         SELECT n.r FROM peers p CROSS JOIN LATERAL (
             SELECT r FROM replies r WHERE r.peer = p.peer AND r.at > now() - make_interval(secs => 130)
              ORDER BY r.at DESC LIMIT 2000) n(r));
     TRUNCATE replies;
     INSERT INTO replies SELECT k.* FROM unnest(kept) k;",
);

/// What the lists took on the database's disk when they were last looked at.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    changes: AtomicU64,
    replies: AtomicU64,
}

impl Sizes {
    pub(super) fn read(&self, to: &mut Readings) {
        let help = "Bytes of the list of changes that servers of one database keep";
        let changes = self.changes.load(Ordering::Relaxed);
        to.level("trunkfs_postgres_changes_bytes", help, &[], changes);
        let help = "Bytes of the list of calls that must not be done twice";
        let replies = self.replies.load(Ordering::Relaxed);
        to.level("trunkfs_postgres_replies_bytes", help, &[], replies);
    }
}

/// One of the lists, and how large it may become.
#[derive(Debug)]
pub(super) struct Bound {
    table: &'static str,
    size: &'static str,
    emptying: String,
    most: u64,
    sizes: Arc<Sizes>,
    of: fn(&Sizes) -> &AtomicU64,
    /// The log says already that the list cannot be emptied.
    is_stuck: bool,
}

impl Bound {
    pub(super) fn of_changes(most: u64, sizes: Arc<Sizes>) -> Self {
        Self {
            table: "changes",
            size: CHANGES_SIZE,
            emptying: emptying("changes", 1, most, EMPTY_CHANGES),
            most,
            sizes,
            of: |sizes| &sizes.changes,
            is_stuck: false,
        }
    }

    pub(super) fn of_replies(most: u64, sizes: Arc<Sizes>) -> Self {
        Self {
            table: "replies",
            size: REPLIES_SIZE,
            emptying: emptying("replies", 2, most, EMPTY_REPLIES),
            most,
            sizes,
            of: |sizes| &sizes.replies,
            is_stuck: false,
        }
    }

    /// What the list took when it was last looked at.
    pub(super) fn size(&self) -> u64 {
        (self.of)(&self.sizes).load(Ordering::Relaxed)
    }

    /// Looks at the list's size, and empties it at its bound.
    pub(super) async fn keep(&mut self, pool: &Pool) {
        let Ok(size) = self.look(pool).await else { return };
        if size <= self.most {
            self.is_stuck = false;
            return;
        }
        let table = self.table;
        match run(pool, &self.emptying).await {
            Ok(()) => {
                // Where it is another server's turn, that one says so.
                if self.look(pool).await.is_ok_and(|left| left < size) {
                    tracing::warn!(
                        table,
                        bytes = size,
                        "a table had reached its bound and was emptied: a transaction that is open for long \
                         kept the room of removed rows"
                    );
                    self.is_stuck = false;
                }
            }
            Err(PostgresError::Transient(source)) => self.stuck(size, &*source),
            Err(PostgresError::Refused(error)) => self.stuck(size, &error),
            Err(failure) => tracing::debug!(?failure, table, "a table is not emptied"),
        }
    }

    fn stuck(&mut self, bytes: u64, reason: &(dyn std::error::Error + 'static)) {
        if !std::mem::replace(&mut self.is_stuck, true) {
            tracing::warn!(
                table = self.table,
                bytes,
                reason = %Chain(reason),
                "a table has reached its bound and cannot be emptied: it goes on growing"
            );
        }
    }

    async fn look(&self, pool: &Pool) -> Result<u64, PostgresError> {
        let rows = query_once(pool, self.size, &[]).await?;
        let row = rows.first().ok_or_else(|| PostgresError::Lost("a size has no row".into()))?;
        let size = row.try_get::<_, i64>(0)?.unsigned_abs();
        (self.of)(&self.sizes).store(size, Ordering::Relaxed);
        Ok(size)
    }
}

/// The statement that empties a table which is larger than `most`, or fails and has changed nothing. One
/// server does it.
///
/// VACUUM is kept away first, by a lock that stops no change: an automatic one gives way within a second
/// (`deadlock_timeout`).
fn emptying(table: &str, turn: i32, most: u64, (lock, empty): (&str, &str)) -> String {
    let holders = format!(
        "FROM pg_locks l
          WHERE l.relation = '{table}'::regclass AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
            AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())"
    );
    format!(
        "DO $$
         DECLARE
             transactions text[];
             holder       integer;
             kept         {table}[];
         BEGIN
             IF NOT pg_try_advisory_xact_lock(19797, {turn}) THEN
                 RETURN;
             END IF;
             SET LOCAL lock_timeout = 0;
             LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE;
             IF pg_total_relation_size('{table}') <= {most} THEN
                 RETURN;
             END IF;
             transactions := ARRAY(SELECT l.virtualtransaction {holders});
             PERFORM pg_sleep(0.1);
             SELECT l.pid INTO holder {holders} AND l.virtualtransaction = ANY (transactions) LIMIT 1;
             IF FOUND THEN
                 RAISE EXCEPTION 'the process % has the table locked', holder USING ERRCODE = 'lock_not_available';
             END IF;
             {lock}
             SET LOCAL lock_timeout = '100ms';
             LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;
             {empty}
         END $$"
    )
}

/// Runs a statement that is a transaction of its own.
async fn run(pool: &Pool, statement: &str) -> Result<(), PostgresError> {
    let connection = pool.get(None).await?;
    let running = connection.client.batch_execute(statement);
    let outcome = match timeout(connection.call_limit, running).await {
        Ok(outcome) => outcome.map_err(PostgresError::in_flight),
        Err(late) => Err(PostgresError::Lost(Box::new(late))),
    };
    if outcome.as_ref().is_err_and(PostgresError::ends_connection) {
        drop(Pooled::take(connection));
    }
    outcome
}
