//! Replies that outlive the server that gave them (`metadata/replies.rs`), in the table `replies`.

use super::PostgresStore;
use super::error::PostgresError;
use super::execute::{FLUSH, arguments, query_once};
use super::pool::Pool;
use super::rows::column;
use crate::metadata::{Error, Replayed};
use crate::types::{Context, ObjectId, Replay};

/// The call of a function as `$call`, which records by the same statement that it was done. `$peer` and so on
/// are the parameters behind the function's.
macro_rules! recorded {
    ($call:literal, $peer:literal, $key:literal, $made:literal) => {
        concat!(
            "WITH done AS MATERIALIZED (SELECT * FROM ",
            $call,
            "), kept AS (INSERT INTO replies (peer, key, made) SELECT ",
            $peer,
            "::bigint, ",
            $key,
            "::uuid, ",
            $made,
            "::uuid FROM done WHERE verdict = 0 LIMIT 1) SELECT * FROM done"
        )
    };
}
pub(super) use recorded;

/// Of the last calls of a client: what it repeats is among them.
const FIND: &str = "
    SELECT r.made
      FROM (SELECT key, made FROM replies
             WHERE peer = $1 AND at > clock_timestamp() - make_interval(secs => 120)
             ORDER BY at DESC LIMIT 10000) r
     WHERE r.key = $2
     LIMIT 1";
/// One server of several does it.
const PRUNE: &str = "
    WITH turn AS MATERIALIZED (SELECT pg_try_advisory_xact_lock(19790, 0) AS mine)
    DELETE FROM replies USING turn
     WHERE turn.mine AND at < clock_timestamp() - make_interval(secs => 130)";

pub(super) async fn replayed(
    store: &PostgresStore,
    cx: &Context,
    call: &Replay,
) -> Result<Option<Replayed>, Error> {
    let rows = store.read(cx, FIND, arguments![call.peer, call.key]).await?.value;
    let Some(row) = rows.first() else { return Ok(None) };
    let made = column::<Option<uuid::Uuid>>(row, 0)?.map(ObjectId);
    // It may be another server's commit, which is not on the disk yet.
    store.ask(FLUSH, Vec::new()).await?;
    Ok(Some(Replayed { made }))
}

/// Removes what no repeat is told any more.
pub(super) async fn prune(pool: &Pool) -> Result<(), PostgresError> {
    query_once(pool, PRUNE, &[]).await.map(drop)
}
