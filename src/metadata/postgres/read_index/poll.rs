//! The statement that gives the changes since the last time it was asked.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
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

/// The snapshot alone, which costs the database half of [`POLL`]. Where it is that of the poll before, nothing
/// was committed since.
const SNAPSHOT: &str = "SELECT pg_current_snapshot()::text";

/// One row of what holds, with each change that the snapshot sees and the one before it did not: of
/// transactions from `$1` on, and of those of `$2`. Whoever holds the lease lists no changes. The upper bound
/// leaves out rows that came with a dump of another cluster.
const POLL: &str = "
    SELECT l.holder IS NULL, g.term, g.pruned::text::bigint, s.now::text, c.objects, c.directories, c.names
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
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) term: i64,
    pub(super) pruned: i64,
    pub(super) snapshot: Snapshot,
}

/// Which transactions are seen. Two that are equal see the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// No transaction from here on.
    pub(super) xmax: i64,
    /// Nor these of those below.
    pub(super) in_progress: Vec<i64>,
}

/// A connection of its own, which no lifetime ends and no call uses.
pub(super) struct Poller {
    client: ClientWrapper,
    changes: Statement,
    snapshot: Statement,
    server: ServerStart,
    last: Option<Seen>,
    /// The last poll's snapshot was that of the one before: the next one's may be, too.
    is_quiet: bool,
}

impl Poller {
    pub(super) async fn open(connector: &Connector, session: &str) -> Result<Self, PostgresError> {
        let settings = format!("{session}; {NAME}");
        let Connected { client, role, server } = connector.open(&settings).await?;
        if role != ServerRole::Primary {
            return Err(PostgresError::ReadOnly("changes are listed by the primary alone".into()));
        }
        let prepare = async { Ok((client.prepare(POLL).await?, client.prepare(SNAPSHOT).await?)) };
        let (changes, snapshot) = in_time(prepare).await?;
        Ok(Self { client, changes, snapshot, server, last: None, is_quiet: false })
    }

    /// The server that is asked.
    pub(super) fn server(&self) -> ServerStart {
        self.server
    }

    /// What has changed since the last poll.
    pub(super) async fn poll(&mut self) -> Result<Changes, PostgresError> {
        if self.is_quiet
            && let Some(last) = &self.last
        {
            if self.snapshot().await? == last.snapshot {
                return Ok(Changes::These(Touched::default()));
            }
            self.is_quiet = false;
        }
        let last = self.last.take();
        let (from, among) = match &last {
            Some(Seen { snapshot, .. }) => (snapshot.xmax, snapshot.in_progress.as_slice()),
            None => (i64::MAX, [].as_slice()),
        };
        let rows = self.query(&self.changes, &[&from, &among]).await?;
        let first = rows.first().ok_or_else(|| damaged("the list of changes has no head"))?;
        if !column::<bool>(first, 0)? {
            return Err(PostgresError::NotJoined("one server decides all changes".into()));
        }
        let snapshot = Snapshot::parse(column(first, 3)?)?;
        let seen = Seen { term: column(first, 1)?, pruned: column(first, 2)?, snapshot };
        self.is_quiet = last.as_ref().is_some_and(|last| last.snapshot == seen.snapshot);
        let changes = match &last {
            Some(last) if last.is_continued_by(&seen) && rows.len() <= MOST => {
                Changes::These(touched(&rows)?)
            }
            Some(_) | None => Changes::Unknown,
        };
        self.last = Some(seen);
        Ok(changes)
    }

    async fn snapshot(&self) -> Result<Snapshot, PostgresError> {
        let rows = self.query(&self.snapshot, &[]).await?;
        let row = rows.first().ok_or_else(|| damaged("a snapshot has no row"))?;
        Snapshot::parse(column(row, 0)?)
    }

    async fn query(
        &self,
        statement: &Statement,
        arguments: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, PostgresError> {
        in_time(self.client.query(statement, arguments)).await
    }
}

/// Waits for an answer of the server. One that takes longer is given up, and with it its connection.
async fn in_time<T>(
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, PostgresError> {
    match timeout(LIMIT, answer).await {
        Ok(answer) => answer.map_err(PostgresError::in_flight),
        Err(late) => Err(PostgresError::Lost(Box::new(late))),
    }
}

impl Snapshot {
    /// Reads `xmin:xmax:xip,…`, PostgreSQL's text of it.
    fn parse(text: &str) -> Result<Self, PostgresError> {
        let broken = || damaged(format_args!("the snapshot {text:?}"));
        let mut parts = text.split(':').skip(1);
        let (Some(xmax), Some(among), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(broken().into());
        };
        let number = |text: &str| text.parse::<i64>().map_err(|_| broken());
        let in_progress = among.split(',').filter(|it| !it.is_empty()).map(number);
        Ok(Self { xmax: number(xmax)?, in_progress: in_progress.collect::<Result<_, _>>()? })
    }
}

impl Seen {
    /// Whether the list has every change between the two.
    pub(super) fn is_continued_by(&self, later: &Self) -> bool {
        // A row that was removed is of a transaction below `pruned` that has ended.
        let is_there =
            |number: &i64| *number >= later.pruned || later.snapshot.in_progress.contains(number);
        later.term == self.term
            && later.pruned <= self.snapshot.xmax
            && self.snapshot.in_progress.iter().all(is_there)
    }
}

/// The keys of all changes. An answer without one has a row too.
fn touched(rows: &[Row]) -> Result<Touched, PostgresError> {
    let mut touched = Touched::default();
    for row in rows {
        let Some(objects) = column::<Option<Vec<Option<Uuid>>>>(row, 4)? else { continue };
        touched.objects.extend(objects.into_iter().flatten().map(ObjectId));
        let directories: Vec<Uuid> = column(row, 5)?;
        let names: Vec<&[u8]> = column(row, 6)?;
        for (directory, name) in directories.into_iter().zip(names) {
            let name =
                Name::parse(name).map_err(|error| damaged(format_args!("a name: {error}")))?;
            let place = (ObjectId(directory), name);
            touched.entries.push(ChangedEntry { place, before: None, after: None });
        }
    }
    Ok(touched)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_read_from_its_text() {
        let snapshot =
            |xmax, in_progress: &[i64]| Snapshot { xmax, in_progress: in_progress.to_vec() };
        assert_eq!(Snapshot::parse("7:7:").unwrap(), snapshot(7, &[]));
        assert_eq!(Snapshot::parse("7:12:7,9").unwrap(), snapshot(12, &[7, 9]));
        for broken in ["", "7", "7:7", "7:x:", "7:9:x", "7:9:8:1"] {
            assert!(Snapshot::parse(broken).is_err(), "{broken:?}");
        }
    }
}
