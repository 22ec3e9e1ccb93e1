//! What every connection gets before its first use, and what is refused.

use std::time::Duration;

use tokio_postgres::{Client, SimpleQueryMessage};
use uuid::Uuid;

use super::connect_error::ConnectError;
use super::error::PostgresError;
use super::lease::Lease;
use super::target::{ConnectOptions, Host, SessionAttributes};
use crate::metadata::Error;

/// The oldest server, as `server_version_num` counts.
const OLDEST_SERVER: u32 = 150_000;

/// `plan_cache_mode` saves planning array parameters each time; a generic plan made on small tables would
/// stay a sequential scan, a join that reads all of `files` or a sort of a whole directory, so the planner
/// gets no such choice. Locks are waited for shorter than statements run, so that a wait that is over says
/// so.
const SESSION: &str = "
    SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off;
    SET enable_hashjoin = off;
    SET enable_mergejoin = off;
    SET enable_material = off;
    SET enable_bitmapscan = off;
    SET enable_sort = off;
    SET jit = off;
    SET client_min_messages = warning";

/// What is set on every connection whose statements may run for `statement_timeout`.
pub(super) fn session(statement_timeout: Duration) -> String {
    let statement = statement_timeout.as_millis().max(1);
    let lock = (statement * 3 / 10).max(1);
    format!(
        "{SESSION}; SET lock_timeout = {lock}; SET statement_timeout = {statement}; \
         SET idle_in_transaction_session_timeout = {statement}"
    )
}

/// A connection's writer slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) number: i32,
    /// The epoch under which this connection holds it.
    pub(super) epoch: i64,
    /// How many times its instance had had the lease ([`super::lease::Lease::generation`]).
    pub(super) generation: u64,
}

/// When a server was started, in microseconds: that of one server only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServerStart(i64);

/// What a server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerRole {
    /// Changes too.
    Primary,
    /// Reads alone, by configuration.
    ReadOnly,
    /// Reads alone: it follows a primary, and may be one soon.
    Standby,
}

/// Refuses a server that is too old, or whose default isolation is another than READ COMMITTED: the functions
/// rely on each statement's seeing what was committed before it. A standby is not refused for good: it may be
/// the primary soon.
pub(super) async fn check_server(
    client: &Client,
    target: &ConnectOptions,
    host: &Host,
) -> Result<(ServerRole, ServerStart), ConnectError> {
    let answer = client
        .simple_query(
            "SELECT current_setting('server_version_num'), current_setting('server_version'), \
             current_setting('default_transaction_isolation'), current_setting('transaction_read_only'), \
             pg_is_in_recovery(), (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint",
        )
        .await
        .map_err(|error| ConnectError::of(&error, target, host))?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let column = |index| row.and_then(|row| row.get(index)).unwrap_or_default();
    if column(0).parse::<u32>().unwrap_or(0) < OLDEST_SERVER {
        let text = format!("PostgreSQL 15 or later is needed, this is {}", column(1));
        return Err(ConnectError::lasting(text));
    }
    if column(2) != "read committed" {
        return Err(ConnectError::lasting(format!(
            "default_transaction_isolation is '{}'; TrunkFS needs 'read committed' \
             (ALTER ROLE or ALTER DATABASE … RESET default_transaction_isolation)",
            column(2)
        )));
    }
    let role = match (column(4), column(3), target.session) {
        ("t", _, SessionAttributes::ReadWrite) => {
            return Err(ConnectError::passing(
                "a standby, which takes no changes; name the primary's host too",
            ));
        }
        ("t", _, SessionAttributes::Any) => ServerRole::Standby,
        (_, "off", _) => ServerRole::Primary,
        (_, _, _) => ServerRole::ReadOnly,
    };
    let start = column(5).parse().map_err(|_| {
        ConnectError::lasting("the server does not say when it was started".to_owned())
    })?;
    Ok((role, ServerStart(start)))
}

/// A new connection's part in the writer slots.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// It has one.
    Slot(Slot),
    /// It has none, and will get none before it is used for a change.
    None,
    /// Its instance has not joined, and might get one as soon as it has.
    Outside,
}

/// Sets a new connection up. One to a server that takes changes gets a writer slot where its instance has
/// joined, unless there is no room to note it: whatever only reads needs none.
pub(super) async fn prepare(
    client: &Client,
    session: &str,
    lease: &Lease,
    instance: Uuid,
    role: ServerRole,
) -> Result<Place, PostgresError> {
    client.batch_execute(session).await?;
    if role != ServerRole::Primary {
        return Ok(Place::None);
    }
    if !lease.is_joined() {
        return Ok(Place::Outside);
    }
    match claim(client, lease.generation(), instance).await {
        Ok(slot) => Ok(Place::Slot(slot)),
        Err(PostgresError::NotJoined(_)) => Ok(Place::Outside),
        Err(PostgresError::ReadOnly(_) | PostgresError::Refused(Error::NoSpace(_))) => {
            Ok(Place::None)
        }
        Err(failure) => Err(failure),
    }
}

/// Gives a connection a writer slot. One round trip. `generation` is the lease's before: a slot that was
/// claimed while the lease was taken is fenced.
pub(super) async fn claim(
    client: &Client,
    generation: u64,
    instance: Uuid,
) -> Result<Slot, PostgresError> {
    let row = client.query_one("SELECT slot, epoch FROM claim_slot($1)", &[&instance]).await?;
    Ok(Slot { number: row.try_get(0)?, epoch: row.try_get(1)?, generation })
}

/// Gives a fenced slot's lock back. All calls on it have ended.
pub(super) async fn release(client: &Client, slot: Slot) -> Result<(), PostgresError> {
    client.execute("SELECT pg_advisory_unlock(19790, $1)", &[&slot.number]).await?;
    Ok(())
}
