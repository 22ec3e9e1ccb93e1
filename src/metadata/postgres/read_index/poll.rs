//! The statement that gives the changes since the last time it was asked.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio::time::timeout;
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

use crate::metadata::cache::{ChangedEntry, Touched};
use crate::metadata::postgres::connect::{Connected, Connector};
use crate::metadata::postgres::error::PostgresError;
use crate::metadata::postgres::rows::{column, damaged};
use crate::metadata::postgres::session::{ServerRole, ServerStart};
use crate::types::{Name, ObjectId};

/// A poll that takes longer is given up, and with it its connection.
const LIMIT: Duration = Duration::from_secs(2);
/// More changes than these are not looked at: everything may have changed.
const MOST: usize = 1000;

/// One row of what holds, with each change that the snapshot sees and the one before it did not: of
/// transactions from `$1` on, and of those of `$2`. Whoever holds the lease lists no changes. The upper bound
/// leaves out rows that came with a dump of another cluster. The file of the list is the present one,
/// whatever the snapshot: TRUNCATE takes rows from older snapshots too, and PostgreSQL does not promise that
/// a statement's snapshot is younger than the locks that it has waited for.
const POLL: &str = "
    SELECT l.holder IS NULL, g.term, g.pruned::text::bigint, pg_snapshot_xmax(s.now)::text::bigint,
           ARRAY(SELECT x::text::bigint FROM pg_snapshot_xip(s.now) x), pg_relation_filenode('changes')::bigint,
           c.objects, c.directories, c.names
      FROM lease l CROSS JOIN change_log g CROSS JOIN (SELECT pg_current_snapshot() AS now) s
      LEFT JOIN LATERAL (
           SELECT n.objects, n.directories, n.names FROM changes n
            WHERE n.xid >= $1::bigint::text::xid8 AND n.xid < pg_snapshot_xmax(s.now)
           UNION ALL
           SELECT n.objects, n.directories, n.names FROM changes n WHERE n.xid = ANY ($2::bigint[]::text[]::xid8[])
           LIMIT 1001) c ON true";

const NAME: &str = "SELECT set_config('application_name', current_setting('application_name') || ' changes', false)";

/// What has changed between two polls.
#[derive(Debug)]
pub(super) enum Changes {
    /// These keys.
    These(Touched),
    /// Anything.
    Unknown,
}

/// What a poll has seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) term: i64,
    pub(super) pruned: i64,
    /// No transaction from here on was seen.
    pub(super) xmax: i64,
    /// Those below that were not seen either.
    pub(super) in_progress: Vec<i64>,
    /// Where the list is: in another file once it was emptied.
    pub(super) file: i64,
}

/// A connection of its own, which no lifetime ends and no call uses.
pub(super) struct Poller {
    client: ClientWrapper,
    statement: Statement,
    server: ServerStart,
    last: Option<Seen>,
}

impl Poller {
    pub(super) async fn open(connector: &Connector, session: &str) -> Result<Self, PostgresError> {
        let settings = format!("{session}; {NAME}");
        let Connected { client, role, server } = connector.open(&settings).await?;
        if role != ServerRole::Primary {
            return Err(PostgresError::ReadOnly("changes are listed by the primary alone".into()));
        }
        let statement = match timeout(LIMIT, client.prepare(POLL)).await {
            Ok(prepared) => prepared?,
            Err(late) => return Err(PostgresError::Lost(Box::new(late))),
        };
        Ok(Self { client, statement, server, last: None })
    }

    /// The server that is asked.
    pub(super) fn server(&self) -> ServerStart {
        self.server
    }

    /// What has changed since the last poll.
    pub(super) async fn poll(&mut self) -> Result<Changes, PostgresError> {
        let last = self.last.take();
        let (from, among) = match &last {
            Some(last) => (last.xmax, last.in_progress.as_slice()),
            None => (i64::MAX, [].as_slice()),
        };
        let rows = match timeout(LIMIT, self.client.query(&self.statement, &[&from, &among])).await
        {
            Ok(answer) => answer.map_err(PostgresError::in_flight)?,
            Err(late) => return Err(PostgresError::Lost(Box::new(late))),
        };
        let first = rows.first().ok_or_else(|| damaged("the list of changes has no head"))?;
        if !column::<bool>(first, 0)? {
            return Err(PostgresError::NotJoined("one server decides all changes".into()));
        }
        let seen = Seen {
            term: column(first, 1)?,
            pruned: column(first, 2)?,
            xmax: column(first, 3)?,
            in_progress: column(first, 4)?,
            file: column(first, 5)?,
        };
        let changes = match &last {
            Some(last) if last.is_continued_by(&seen) && rows.len() <= MOST => {
                Changes::These(touched(&rows)?)
            }
            Some(_) | None => Changes::Unknown,
        };
        self.last = Some(seen);
        Ok(changes)
    }
}

impl Seen {
    /// Whether the list has every change between the two.
    pub(super) fn is_continued_by(&self, later: &Self) -> bool {
        // A row that was removed is of a transaction below `pruned` that has ended.
        let is_there = |number: &i64| *number >= later.pruned || later.in_progress.contains(number);
        later.term == self.term
            && later.file == self.file
            && later.pruned <= self.xmax
            && self.in_progress.iter().all(is_there)
    }
}

/// The keys of all changes. An answer without one has a row too.
fn touched(rows: &[Row]) -> Result<Touched, PostgresError> {
    let mut touched = Touched::default();
    for row in rows {
        let Some(objects) = column::<Option<Vec<Option<Uuid>>>>(row, 6)? else { continue };
        touched.objects.extend(objects.into_iter().flatten().map(ObjectId));
        let directories: Vec<Uuid> = column(row, 7)?;
        let names: Vec<&[u8]> = column(row, 8)?;
        for (directory, name) in directories.into_iter().zip(names) {
            let name =
                Name::parse(name).map_err(|error| damaged(format_args!("a name: {error}")))?;
            let place = (ObjectId(directory), name);
            touched.entries.push(ChangedEntry { place, before: None, after: None });
        }
    }
    Ok(touched)
}
