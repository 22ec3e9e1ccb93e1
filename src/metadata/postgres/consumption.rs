//! What the database spends that does not come back by itself: transaction ids, which autovacuum gives back
//! by freezing rows (PostgreSQL manual 25.1.5), and write-ahead log.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::error::PostgresError;
use super::execute::query_once;
use super::pool::Pool;
use crate::counters::{Measured, Readings};
use crate::types::Vital;

/// Numbers of the whole cluster but for the ages, which are the database's. A standby writes no log.
const LOOK: &str = "
    SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint, age(d.datfrozenxid)::bigint,
           current_setting('autovacuum_freeze_max_age')::bigint,
           CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint END
      FROM pg_catalog.pg_database d WHERE d.datname = current_database()";
/// How often they are looked at.
const ROUND: Duration = Duration::from_secs(30);

/// The newest numbers.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    next: i64,
    age: i64,
    freeze: i64,
    wal: Option<i64>,
}

/// Looks at the numbers until it is dropped.
#[derive(Debug)]
pub(super) struct Consumption {
    task: JoinHandle<()>,
    newest: Arc<Mutex<Option<Numbers>>>,
}

impl Consumption {
    /// The first numbers are read before this returns; a task reads further ones every 30 seconds.
    pub(super) async fn start(pool: &Arc<Pool>) -> Self {
        let newest = Arc::new(Mutex::new(numbers(pool).await));
        let task = tokio::spawn(run(Arc::downgrade(pool), Arc::clone(&newest)));
        Self { task, newest }
    }
}

impl Drop for Consumption {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Measured for Consumption {
    fn read(&self, to: &mut Readings) {
        let Some(Numbers { next, age, freeze, wal }) = *self.newest.lock() else { return };
        let help = "Transaction ids that the cluster has given out";
        to.counter("trunkfs_postgres_transaction_ids", help, &[], next.unsigned_abs());
        let help = "Transactions since the oldest whose id is not frozen in the database";
        to.level("trunkfs_postgres_transaction_age", help, &[], age.unsigned_abs());
        let help =
            "The age at which autovacuum freezes rows in any case (autovacuum_freeze_max_age)";
        to.level("trunkfs_postgres_freeze_age", help, &[], freeze.unsigned_abs());
        if let Some(wal) = wal {
            let help = "Bytes of write-ahead log that the cluster has written";
            to.counter("trunkfs_postgres_wal_bytes", help, &[], wal.unsigned_abs());
        }
    }
}

async fn run(pool: Weak<Pool>, newest: Arc<Mutex<Option<Numbers>>>) {
    let _vital = Vital::new("postgres-consumption");
    loop {
        tokio::time::sleep(ROUND).await;
        let Some(pool) = pool.upgrade() else { return };
        let numbers = numbers(&pool).await;
        drop(pool);
        *newest.lock() = numbers;
    }
}

/// None where the database does not say: old numbers would look like a database that rests.
async fn numbers(pool: &Pool) -> Option<Numbers> {
    match look(pool).await {
        Ok(numbers) => Some(numbers),
        Err(failure) => {
            tracing::debug!(?failure, "the database's consumption is not known");
            None
        }
    }
}

async fn look(pool: &Pool) -> Result<Numbers, PostgresError> {
    let rows = query_once(pool, LOOK, &[]).await?;
    let row = rows.first().ok_or_else(|| PostgresError::Lost("the database has no row".into()))?;
    Ok(Numbers {
        next: row.try_get(0)?,
        age: row.try_get(1)?,
        freeze: row.try_get(2)?,
        wal: row.try_get(3)?,
    })
}
