//! The invariants, checked by reading everything.

use tokio_postgres::GenericClient;

use super::PostgresStore;
use super::error::fatal;
use super::rows::column;
use crate::metadata::{Error, Invariants, Loaded};

const CHECK: &str = include_str!("invariants.sql");
/// What breaks the invariants of locks: ranges of one owner that overlap or are one, and ranges that two
/// owners have and may not, be they held or reserved.
const LOCKS: &str = "
    WITH held AS (
        SELECT file_id, client_id, svid, first, last, exclusive, state FROM locks
        UNION ALL
        SELECT file_id, client_id, svid, first, last, exclusive, NULL FROM lock_waiters WHERE cookie IS NOT NULL
    )
    SELECT format('the owner %s, %s has the ranges from %s and from %s of %s', a.client_id, a.svid, a.first, b.first, a.file_id)
      FROM locks a JOIN locks b ON b.file_id = a.file_id AND b.client_id = a.client_id AND b.svid = a.svid
     WHERE b.first > a.first
       AND (b.first <= a.last OR b.first - 1 = a.last AND b.exclusive = a.exclusive AND b.state = a.state)
    UNION ALL
    SELECT format('two owners, %s, %s and %s, %s, have the range from %s of %s', a.client_id, a.svid, b.client_id, b.svid, b.first,
                  a.file_id)
      FROM held a JOIN held b ON b.file_id = a.file_id
     WHERE (a.client_id, a.svid) < (b.client_id, b.svid) AND a.first <= b.last AND b.first <= a.last
       AND (a.exclusive OR b.exclusive)
    UNION ALL
    SELECT format('a lock of %s is of client %s, which is not there', h.file_id, h.client_id)
      FROM held h LEFT JOIN lock_clients c ON c.id = h.client_id WHERE c.id IS NULL";
/// Everything is joined with everything: a nested loop that looked cheap on old statistics would take hours.
const SESSION: &str = "SET enable_nestloop = off; SET jit = off";

/// Statistics of one large directory make a search by key look as costly as the whole table, once for each
/// object.
const BY_KEY: &str = "SET LOCAL enable_seqscan = off";
/// The tables as far as the roots of some shares lead, under the names that [`CHECK`] has for them. No index
/// leads from a share to its objects. OFFSET 0 keeps each search by key a search by key, whatever the planner
/// thinks of the number of rows.
const OF_REACHED: &str = "
    WITH reached_objects AS MATERIALIZED (
        WITH RECURSIVE walk(id) AS (
            SELECT s.root FROM shares s WHERE s.id = ANY ($1)
            UNION
            SELECT c.id FROM walk w
             CROSS JOIN LATERAL (SELECT e.child_id FROM parent_child_map e WHERE e.parent_id = w.id OFFSET 0) e
             CROSS JOIN LATERAL (SELECT f.id FROM files f WHERE f.id = e.child_id AND f.share_id = ANY ($1) OFFSET 0) c
        )
        SELECT id FROM walk
    ),
    parent_child_map AS MATERIALIZED (
        SELECT e.* FROM reached_objects o
         CROSS JOIN LATERAL (SELECT * FROM parent_child_map e WHERE e.parent_id = o.id OFFSET 0) e
    ),
    link_counts AS MATERIALIZED (
        SELECT l.* FROM reached_objects o
         CROSS JOIN LATERAL (SELECT * FROM link_counts l WHERE l.file_id = o.id OFFSET 0) l
    ),
    files AS MATERIALIZED (
        SELECT f.* FROM reached_objects o
         CROSS JOIN LATERAL (SELECT * FROM files f WHERE f.id = o.id AND f.share_id = ANY ($1) OFFSET 0) f
    ),
    writer_slots AS (SELECT * FROM writer_slots WHERE share_id = ANY ($1)),
    shares AS (SELECT * FROM shares WHERE id = ANY ($1))";
/// Every object and entry that came in is among them.
const ALL_REACHED: &str = "
    SELECT format('the roots lead to %s objects; there are %s', n, $2::bigint) FROM (SELECT count(*) AS n FROM files) x
     WHERE n <> $2
    UNION ALL
    SELECT format('the directories have %s entries; there are %s', n, $3::bigint)
      FROM (SELECT count(*) AS n FROM parent_child_map) x
     WHERE n <> $3";

#[async_trait::async_trait]
impl Invariants for PostgresStore {
    /// Runs on a connection of its own: it takes long and wants the plans that every other call must not
    /// have.
    async fn inconsistencies(&self) -> Result<Vec<String>, Error> {
        broken(&*self.connect_dedicated().await?).await
    }
}

/// What is broken as `client` sees it.
pub(super) async fn broken(client: &impl GenericClient) -> Result<Vec<String>, Error> {
    client.batch_execute(SESSION).await.map_err(fatal)?;
    let mut rows = client.query(CHECK, &[]).await.map_err(fatal)?;
    rows.extend(client.query(LOCKS, &[]).await.map_err(fatal)?);
    rows.iter().map(|row| column(row, 0)).collect()
}

/// The first thing that is broken in some shares that were loaded in the transaction of `client`. Other
/// shares are not read, and their faults count for nothing.
pub(super) async fn broken_in(
    client: &impl GenericClient,
    shares: &Vec<i16>,
    loaded: Loaded,
) -> Result<Option<String>, Error> {
    client.batch_execute(SESSION).await.map_err(fatal)?;
    client.batch_execute(BY_KEY).await.map_err(fatal)?;
    let (objects, entries) = (loaded.objects.cast_signed(), loaded.entries.cast_signed());
    let statement = format!(
        "{OF_REACHED} SELECT * FROM (\n{CHECK}\n) AS broken UNION ALL {ALL_REACHED} LIMIT 1"
    );
    let rows = client.query(&statement, &[shares, &objects, &entries]).await.map_err(fatal)?;
    rows.first().map(|row| column(row, 0)).transpose()
}
