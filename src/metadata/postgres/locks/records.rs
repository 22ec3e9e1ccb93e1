//! What is freed of clients, and what administrators see and break.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Row;
use uuid::Uuid;

use super::answer::{self, Answer, answer_columns, others};
use super::flight;
use crate::metadata::locks::{is_name_of, only_name};
use crate::metadata::postgres::PostgresStore;
use crate::metadata::postgres::execute::arguments;
use crate::metadata::postgres::rows::{column, damaged};
use crate::metadata::{
    Error, Freed, LockClientUse, LockFilter, LockKind, LockOwner, LockRecord, LockRecords,
    LockStanding, LockTotals, QuietClient, WhichClients,
};
use crate::types::{Call, ObjectId, ShareId};

/// No operation of an administrator takes longer.
const ADMIN_LIMIT: Duration = Duration::from_secs(60);
/// As many names of other addresses are looked at.
const MOST_NAMES: i64 = 10_000;

const CLIENTS: &str = "SELECT c.id, c.caller_name FROM lock_clients c WHERE c.address = $1";
const NAMES: &str = "SELECT c.caller_name FROM lock_clients c LIMIT $1";
const MEANT: &str = "
    SELECT c.id FROM lock_clients c
     WHERE ($1::text IS NULL OR c.address = $1) AND ($2::bytea IS NULL OR c.caller_name = $2)";
/// How many clients have something that `free_locks` takes.
const CONCERNED: &str = "
    SELECT count(DISTINCT r.client_id)
      FROM (SELECT l.client_id FROM locks l
             WHERE ($2::uuid IS NULL OR l.file_id = $2) AND ($3::int IS NULL OR l.svid = $3) AND NOT $4
            UNION ALL
            SELECT w.client_id FROM lock_waiters w
             WHERE ($2::uuid IS NULL OR w.file_id = $2) AND ($3::int IS NULL OR w.svid = $3)
            UNION ALL
            SELECT s.client_id FROM lock_shares s
             WHERE ($2::uuid IS NULL OR s.file_id = $2) AND $3::int IS NULL AND NOT $4) r
     WHERE $1::int[] IS NULL OR r.client_id = ANY ($1)";
const FREE: &str =
    concat!("SELECT ", answer_columns!(), " FROM free_locks($1, $2, $3, $4, $5, $6)");
const FREE_SILENT: &str =
    concat!("SELECT ", answer_columns!(), " FROM free_silent_locks($1, $2, $3)");
/// Those who have been silent the longest come first.
const QUIET: &str = "
    SELECT c.address, array_agg(c.server)
      FROM lock_clients c
     WHERE EXISTS (SELECT FROM locks l WHERE l.client_id = c.id)
        OR EXISTS (SELECT FROM lock_waiters w WHERE w.client_id = c.id)
        OR EXISTS (SELECT FROM lock_shares s WHERE s.client_id = c.id)
     GROUP BY c.address
    HAVING max(c.seen) < clock_timestamp() - make_interval(secs => $1)
     ORDER BY max(c.seen) LIMIT $2";
/// As lock_client_seen does it: not oftener than once a minute. Calls that meet do not wait for each other.
const SEEN: &str = "
    UPDATE lock_clients SET seen = clock_timestamp()
     WHERE id IN (SELECT c.id FROM lock_clients c
                   WHERE c.address = $1 AND c.seen < clock_timestamp() - interval '1 minute'
                   ORDER BY c.id FOR UPDATE SKIP LOCKED)";
const USES: &str = r#"
    SELECT c.address, c.caller_name, c.server, n.locks, n.waiters, n.reserved, n.shares, n.oldest, c.seen
      FROM (SELECT r.client_id, count(*) FILTER (WHERE r.class = 0) AS locks, count(*) FILTER (WHERE r.class = 1) AS waiters,
                   count(*) FILTER (WHERE r.class = 2) AS reserved, count(*) FILTER (WHERE r.class = 3) AS shares,
                   count(*) AS total, min(r.since) AS oldest
              FROM (SELECT l.client_id, 0 AS class, l.since FROM locks l
                    UNION ALL
                    SELECT w.client_id, CASE WHEN w.cookie IS NULL THEN 1 ELSE 2 END, w.since FROM lock_waiters w
                    UNION ALL
                    SELECT s.client_id, 3, s.since FROM lock_shares s) r
             GROUP BY r.client_id) n
      JOIN lock_clients c ON c.id = n.client_id
     ORDER BY n.total DESC, c.address COLLATE "C", c.caller_name, c.server COLLATE "C" LIMIT $1"#;
const TOTALS: &str = "
    SELECT (SELECT count(*) FROM lock_clients), (SELECT count(*) FROM locks),
           (SELECT count(*) FILTER (WHERE cookie IS NULL) FROM lock_waiters),
           (SELECT count(*) FILTER (WHERE cookie IS NOT NULL) FROM lock_waiters), (SELECT count(*) FROM lock_shares)";

/// Records behind the place `$6` to `$15` (`$5` is false: from the first), of the file `$1`, address `$2`,
/// name `$3` and svid `$4`; with `$17` only those that wait. A waiter that gets its lock between two pages
/// keeps its place.
const LIST: &str = r#"
    SELECT r.file_id, f.share_id, c.address, c.caller_name, c.server, r.svid, r.standing, r.first, r.last, r.exclusive,
           r.oh, r.state, r.since, COALESCE(r.seen, c.seen), r.instance, r.mode, r.access
      FROM (SELECT l.file_id, l.client_id, l.svid, 0::smallint AS class, 0::smallint AS standing, l.first, l.last, l.exclusive, l.oh,
                   l.state, l.since, NULL::timestamptz AS seen, NULL::uuid AS instance, NULL::smallint AS mode,
                   NULL::smallint AS access
              FROM locks l WHERE NOT $17 AND ($4::int IS NULL OR l.svid = $4)
            UNION ALL
            SELECT w.file_id, w.client_id, w.svid, 1::smallint, CASE WHEN w.cookie IS NULL THEN 2 ELSE 1 END::smallint, w.first,
                   w.last, w.exclusive, w.oh, w.state, w.since, w.seen, w.instance, NULL, NULL
              FROM lock_waiters w WHERE $4::int IS NULL OR w.svid = $4
            UNION ALL
            SELECT s.file_id, s.client_id, 0, 2::smallint, 3::smallint, 0, 9223372036854775807, false, s.oh, 0, s.since, NULL, NULL,
                   s.mode, s.access
              FROM lock_shares s WHERE NOT $17 AND $4::int IS NULL) r
      JOIN lock_clients c ON c.id = r.client_id
      LEFT JOIN files f ON f.id = r.file_id
     WHERE r.file_id >= COALESCE($1, $6, '00000000-0000-0000-0000-000000000000'::uuid)
       AND r.file_id <= COALESCE($1, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
       AND ($2::text IS NULL OR c.address = $2) AND ($3::bytea IS NULL OR c.caller_name = $3)
       AND (NOT $5 OR (r.file_id, c.address COLLATE "C", c.caller_name, c.server COLLATE "C", r.svid, r.class, r.first, r.last,
                       r.exclusive, r.oh) > ($6, $7, $8, $9, $10, $11, $12, $13, $14, $15))
     ORDER BY r.file_id, c.address COLLATE "C", c.caller_name, c.server COLLATE "C", r.svid, r.class, r.first, r.last,
              r.exclusive, r.oh
     LIMIT $16"#;

/// See [`crate::metadata::Locks::free_client`]. In portions of 256 files, each wholly done or not at all.
pub(super) async fn free_client(
    store: &PostgresStore,
    call: &Call,
    which: &WhichClients,
) -> Result<Freed, Error> {
    let (address, name, but) = match which {
        WhichClients::Named { address, caller_name } => (address, caller_name, None),
        WhichClients::Rebooted { address, name, state } => (address, name, Some(*state)),
        WhichClients::Silent { address, silent } => {
            return free_silent(store, call, *address, *silent).await;
        }
    };
    let address = address.to_canonical().to_string();
    let rows = flight::read(store, call, CLIENTS, arguments![address]).await?;
    let mut clients: Vec<(i32, Vec<u8>)> = Vec::new();
    for row in &rows {
        clients.push((column(row, 0)?, column(row, 1)?));
    }
    let only = only_name(clients.iter().map(|(_, name)| name));
    clients.retain(|(_, caller_name)| match which {
        WhichClients::Named { .. } | WhichClients::Silent { .. } => name.as_bytes() == caller_name,
        WhichClients::Rebooted { .. } => only || is_name_of(name.as_bytes(), caller_name),
    });
    let ids: Vec<i32> = clients.iter().map(|(id, _)| *id).collect();
    let mut freed = Freed { clients: ids.len() as u64, ..Freed::default() };
    if ids.is_empty() {
        let rows = flight::read(store, call, NAMES, arguments![MOST_NAMES]).await?;
        for row in &rows {
            freed.known_elsewhere |= is_name_of(name.as_bytes(), &column::<Vec<u8>>(row, 0)?);
        }
        return Ok(freed);
    }
    let portion = Portion { clients: Some(ids), file: None, svid: None, but, waiting: false };
    portion.free(store, call, &mut freed).await?;
    Ok(freed)
}

/// The clients of an address, where none of them was seen for so long.
async fn free_silent(
    store: &PostgresStore,
    call: &Call,
    address: IpAddr,
    silent: Duration,
) -> Result<Freed, Error> {
    let address = address.to_canonical().to_string();
    let mut freed = Freed::default();
    loop {
        let all = arguments![address.clone(), silent.as_secs_f64()];
        let rows = store.call_locks(call, FREE_SILENT, all).await?;
        if !add(store, &rows, &mut freed)? {
            freed.clients = u64::from(freed != Freed::default());
            return Ok(freed);
        }
    }
}

/// Adds what a function has freed, and wakes those who wait for it. Whether there may be more.
fn add(store: &PostgresStore, rows: &[Row], freed: &mut Freed) -> Result<bool, Error> {
    let [locks, waiters, reservations, shares, files] = Answer::of(rows)?.counts()?;
    freed.locks += locks;
    freed.waiters += waiters;
    freed.reservations += reservations;
    freed.shares += shares;
    for answer in others(rows) {
        let answer = answer?;
        if let Some(file) = answer.file()? {
            store.wake_waiters(&answer, file)?;
        }
    }
    Ok(files != 0)
}

/// See [`crate::metadata::Locks::quiet_clients`].
pub(super) async fn quiet_clients(
    store: &PostgresStore,
    call: &Call,
    quiet: Duration,
    limit: usize,
) -> Result<Vec<QuietClient>, Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = flight::read(store, call, QUIET, arguments![quiet.as_secs_f64(), limit]).await?;
    let client = |row| {
        let servers: Vec<String> = column(row, 1)?;
        let servers = servers.into_iter().map(Arc::from).collect();
        Ok(QuietClient { address: answer::address(row, 0)?, servers })
    };
    rows.iter().map(client).collect()
}

/// See [`crate::metadata::Locks::clients_seen`].
pub(super) async fn clients_seen(
    store: &PostgresStore,
    call: &Call,
    address: IpAddr,
) -> Result<(), Error> {
    let address = address.to_canonical().to_string();
    flight::read(store, call, SEEN, arguments![address]).await.map(drop)
}

/// What is freed, as `free_locks` takes it.
struct Portion {
    clients: Option<Vec<i32>>,
    file: Option<ObjectId>,
    svid: Option<i32>,
    but: Option<i32>,
    waiting: bool,
}

impl Portion {
    async fn free(
        &self,
        store: &PostgresStore,
        call: &Call,
        freed: &mut Freed,
    ) -> Result<(), Error> {
        loop {
            let all = arguments![
                self.clients.clone(),
                self.file.map(|file| file.0),
                self.svid,
                self.but,
                self.waiting,
            ];
            let rows = store.call_locks(call, FREE, all).await?;
            if !add(store, &rows, freed)? {
                return Ok(());
            }
        }
    }
}

#[async_trait::async_trait]
impl LockRecords for PostgresStore {
    async fn list_locks(
        &self,
        filter: &LockFilter,
        after: Option<&LockRecord>,
        limit: usize,
    ) -> Result<Vec<LockRecord>, Error> {
        let client = after.map(|it| &it.owner.client);
        let class = after.map(|it| match it.standing {
            LockStanding::Held => 0_i16,
            LockStanding::Reserved | LockStanding::Waiting => 1,
            LockStanding::Share { .. } => 2,
        });
        let all = arguments![
            filter.file.map(|file| file.0),
            filter.address.map(|address| address.to_canonical().to_string()),
            filter.caller_name.as_ref().map(|name| name.as_bytes().to_vec()),
            filter.svid,
            after.is_some(),
            after.map(|it| it.file.0),
            client.map(|it| it.address().to_string()),
            client.map(|it| it.caller_name.as_bytes().to_vec()),
            client.map(|it| it.server.to_string()),
            after.map(|it| it.owner.svid),
            class,
            after.map(|it| it.range.first().cast_signed()),
            after.map(|it| it.range.last().cast_signed()),
            after.map(|it| it.kind.is_exclusive()),
            after.map(|it| it.oh.as_bytes().to_vec()),
            i64::try_from(limit).unwrap_or(i64::MAX),
            filter.waiting,
        ];
        let rows = flight::read(self, &Call::internal(ADMIN_LIMIT), LIST, all).await?;
        rows.iter().map(record).collect()
    }

    async fn break_locks(&self, filter: &LockFilter) -> Result<Freed, Error> {
        if !filter.names_something() {
            return Err(Error::Invalid);
        }
        let call = &Call::internal(ADMIN_LIMIT);
        let mut clients = None;
        if filter.address.is_some() || filter.caller_name.is_some() {
            let all = arguments![
                filter.address.map(|address| address.to_canonical().to_string()),
                filter.caller_name.as_ref().map(|name| name.as_bytes().to_vec()),
            ];
            let rows = flight::read(self, call, MEANT, all).await?;
            let ids: Result<Vec<i32>, _> = rows.iter().map(|row| column(row, 0)).collect();
            clients = Some(ids?);
        }
        let LockFilter { file, svid, waiting, .. } = *filter;
        let all = arguments![clients.clone(), file.map(|file| file.0), svid, waiting];
        let rows = flight::read(self, call, CONCERNED, all).await?;
        let concerned: i64 = rows.first().map_or(Ok(0), |row| column(row, 0))?;
        let mut freed = Freed { clients: concerned.cast_unsigned(), ..Freed::default() };
        let portion = Portion { clients, file, svid, but: None, waiting };
        portion.free(self, call, &mut freed).await?;
        Ok(freed)
    }

    async fn lock_clients(&self, limit: usize) -> Result<Vec<LockClientUse>, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.ask(USES, arguments![limit]).await?;
        let used = |row| {
            let count = |index| column::<i64>(row, index).map(i64::cast_unsigned);
            Ok(LockClientUse {
                client: answer::client(row, 0)?,
                locks: count(3)?,
                waiters: count(4)?,
                reservations: count(5)?,
                shares: count(6)?,
                oldest: answer::time(row, 7)?,
                seen: answer::time(row, 8)?,
            })
        };
        rows.iter().map(used).collect()
    }

    async fn lock_totals(&self) -> Result<LockTotals, Error> {
        let rows = self.ask(TOTALS, Vec::new()).await?;
        let row = rows.first().ok_or_else(|| damaged("locks are not counted"))?;
        let count = |index| column::<i64>(row, index).map(i64::cast_unsigned);
        Ok(LockTotals {
            clients: count(0)?,
            locks: count(1)?,
            waiters: count(2)?,
            reservations: count(3)?,
            shares: count(4)?,
        })
    }
}

fn record(row: &Row) -> Result<LockRecord, Error> {
    let share = |index| column::<Option<i16>>(row, index).map(Option::unwrap_or_default);
    let standing = match column::<i16>(row, 6)? {
        0 => LockStanding::Held,
        1 => LockStanding::Reserved,
        2 => LockStanding::Waiting,
        _ => LockStanding::Share {
            mode: u8::try_from(share(15)?).unwrap_or(0),
            access: u8::try_from(share(16)?).unwrap_or(0),
        },
    };
    Ok(LockRecord {
        file: ObjectId(column(row, 0)?),
        share: column::<Option<i16>>(row, 1)?.map(ShareId),
        owner: LockOwner { client: answer::client(row, 2)?, svid: column(row, 5)? },
        standing,
        range: answer::range(row, 7)?,
        kind: LockKind::of(column(row, 9)?),
        oh: answer::bytes(row, 10)?,
        state: column(row, 11)?,
        since: answer::time(row, 12)?,
        seen: answer::time(row, 13)?,
        instance: column::<Option<Uuid>>(row, 14)?,
    })
}
