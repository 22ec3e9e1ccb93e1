//! What every connection gets before its first use, and what is refused.

use tokio_postgres::{Client, SimpleQueryMessage};
use uuid::Uuid;

use super::error::Failure;
use crate::metadata::Error;

/// The oldest server, as `server_version_num` counts.
const OLDEST_SERVER: u32 = 150_000;

/// `plan_cache_mode` saves planning array parameters each time; a generic plan made on small tables would
/// stay a sequential scan, a join that reads all of `files` or a sort of a whole directory, so the planner gets no such
/// choice. Locks are waited for shorter than statements run, so that a wait that is over says so.
const SESSION: &str = "
    SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off;
    SET enable_hashjoin = off;
    SET enable_mergejoin = off;
    SET enable_material = off;
    SET enable_bitmapscan = off;
    SET enable_sort = off;
    SET jit = off;
    SET lock_timeout = '3s';
    SET statement_timeout = '10s';
    SET idle_in_transaction_session_timeout = '10s';
    SET client_min_messages = warning";

/// A connection's writer slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Its number.
    pub(super) number: i32,
    /// The epoch under which this connection holds it.
    pub(super) epoch: i64,
}

/// Refuses a server that is too old, or whose default isolation is another than READ COMMITTED: the
/// functions rely on each statement's seeing what was committed before it.
pub(super) async fn check_server(client: &Client) -> Result<(), Failure> {
    let answer = client
        .simple_query(
            "SELECT current_setting('server_version_num'), current_setting('server_version'), \
             current_setting('default_transaction_isolation'), current_setting('transaction_read_only')",
        )
        .await?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let column = |index| row.and_then(|row| row.get(index)).unwrap_or_default();
    let refuse = |text: String| Err(Failure::Refused(Error::Backend(text.into())));
    if column(0).parse::<u32>().unwrap_or(0) < OLDEST_SERVER {
        return refuse(format!("PostgreSQL 15 or later is needed, this is {}", column(1)));
    }
    if column(2) != "read committed" {
        return refuse(format!(
            "default_transaction_isolation is '{}'; TrunkFS needs 'read committed' \
             (ALTER ROLE or ALTER DATABASE … RESET default_transaction_isolation)",
            column(2)
        ));
    }
    if column(3) != "off" {
        // A standby, or a primary that was told to take no changes: another server may be the primary soon.
        return Err(Failure::Lost("the database takes no changes".into()));
    }
    Ok(())
}

/// Sets a new connection up and gives it a writer slot.
pub(super) async fn prepare(client: &Client, instance: Uuid) -> Result<Slot, Failure> {
    check_server(client).await?;
    client.batch_execute(SESSION).await?;
    let row = client.query_one("SELECT slot, epoch FROM claim_slot($1)", &[&instance]).await?;
    Ok(Slot { number: row.try_get(0)?, epoch: row.try_get(1)? })
}
