//! What a check reads: a statement each, so that no snapshot lasts longer than its page, on a connection of
//! its own.

use std::sync::Arc;

use deadpool_postgres::ClientWrapper;
use tokio::sync::Mutex;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

use super::PostgresStore;
use super::error::fatal;
use super::lease::Lease;
use super::rows::{column, damaged};
use super::shares;
use crate::metadata::{
    Checkable, Checker, DirectoryState, EntryState, Error, Flaw, ObjectState, Share, Totals,
    UsageState,
};
use crate::types::{ContentId, ContentRef, ContentVersion, FileType, ObjectId, ShareId, Timestamp};

/// Pages are read by their keys, whatever the statistics say: a plan that joins whole tables would take as
/// long for each page as for all.
const SESSION: &str = "
    SET plan_cache_mode = force_generic_plan; SET jit = off; SET lock_timeout = '10s'; SET enable_seqscan = off;
    SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_sort = off; SET enable_incremental_sort = off";
/// For what reads whole tables.
const WHOLE: &str = "
    SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_sort = on;
    SET LOCAL enable_nestloop = off; SET LOCAL plan_cache_mode = auto";

/// An object's columns of `f`.
macro_rules! state_columns {
    () => {
        "f.id, f.share_id, f.file_type, f.size, f.ctime, COALESCE((SELECT l.link_count FROM link_counts l \
         WHERE l.file_id = f.id), 1)::bigint, f.subdirs::bigint, f.content_id, f.content_version, \
         f.parent_id, f.fileid, f.mode & ~4095 <> 0, CASE WHEN f.file_type = 5 THEN f.size <> \
         length(f.link_target) ELSE false END, f.create_verifier IS NOT NULL AND f.file_type <> 1, CASE \
         f.file_type WHEN 1 THEN f.used > most_used(f.size) WHEN 5 THEN f.used <> length(f.link_target) ELSE \
         f.used <> f.size END, f.used, f.mtime, f.uid"
    };
}
pub(super) use state_columns;
/// How many there are.
const STATE_COLUMNS: usize = 18;

const OBJECTS: &str =
    concat!("SELECT ", state_columns!(), " FROM files f WHERE f.id > $1 ORDER BY f.id LIMIT $2");
const OBJECTS_OF: &str =
    concat!("SELECT ", state_columns!(), " FROM files f WHERE f.id = ANY ($1)");
const ENTRIES: &str = concat!(
    "SELECT m.parent_id, m.child_name, m.child_id, d.share_id, d.file_type, m.cookie, ",
    state_columns!(),
    " FROM (SELECT * FROM parent_child_map WHERE (parent_id, child_name) > ($1, $2)
             ORDER BY parent_id, child_name LIMIT $3) m
      LEFT JOIN files d ON d.id = m.parent_id LEFT JOIN files f ON f.id = m.child_id"
);
pub(super) const ENTRY: &str = concat!(
    "SELECT m.parent_id, m.child_name, m.child_id, d.share_id, d.file_type, m.cookie, ",
    state_columns!(),
    " FROM parent_child_map m
      LEFT JOIN files d ON d.id = m.parent_id LEFT JOIN files f ON f.id = m.child_id
     WHERE m.parent_id = $1 AND m.child_name = $2"
);
const COUNTS: &str = "
    SELECT l.file_id, EXISTS (SELECT FROM files f WHERE f.id = l.file_id AND f.file_type <> 2)
      FROM link_counts l WHERE l.file_id > $1 ORDER BY l.file_id LIMIT $2";
pub(super) const DIRECTORY: &str = concat!(
    "WITH RECURSIVE up(id) AS (
        SELECT $1::uuid
        UNION
        SELECT p.parent_id FROM up JOIN files p ON p.id = up.id WHERE p.parent_id IS NOT NULL
    )
    SELECT ",
    state_columns!(),
    ",     (SELECT count(*) FROM parent_child_map e JOIN files c ON c.id = e.child_id
             WHERE e.parent_id = f.id AND c.file_type = 2),
           (SELECT count(*) FROM parent_child_map e WHERE e.parent_id = f.parent_id AND e.child_id = f.id),
           EXISTS (SELECT FROM up JOIN shares s ON s.root = up.id)
      FROM files f WHERE f.id = $1 AND f.file_type = 2"
);
const NAME_IN: &str = "
    SELECT e.child_name FROM parent_child_map e WHERE e.parent_id = $1 AND e.child_id = $2
     ORDER BY e.child_name LIMIT 1";
const NAMES_OF: &str = concat!(
    "SELECT ",
    state_columns!(),
    ", COALESCE(n.names, 0)
      FROM files f
      LEFT JOIN (SELECT e.child_id, count(*) AS names FROM parent_child_map e WHERE e.child_id = ANY ($1)
                  GROUP BY e.child_id) n ON n.child_id = f.id
     WHERE f.id = ANY ($1)"
);
const USAGE: &str = "
    WITH counted AS (
        SELECT share_id, count(*) AS objects, COALESCE(sum(used) FILTER (WHERE file_type IN (1, 5)), 0) AS bytes
          FROM files GROUP BY share_id
    ),
    kept AS (
        SELECT share_id, sum(files) AS objects, sum(bytes) AS bytes FROM writer_slots GROUP BY share_id
    )
    SELECT s.id, COALESCE(k.objects, 0)::text, COALESCE(k.bytes, 0)::text,
           COALESCE(c.objects, 0)::text, COALESCE(c.bytes, 0)::text
      FROM shares s LEFT JOIN kept k ON k.share_id = s.id LEFT JOIN counted c ON c.share_id = s.id";

const NUMBERED: &str = "SELECT f.share_id, f.fileid, f.id FROM files f WHERE f.fileid = ANY ($1)";
/// The right to draw a number is enough for this; reading the sequence itself is another right.
const LAST_NUMBERS: &str = "SELECT COALESCE(pg_sequence_last_value('fileids'), 0), \
                            COALESCE(pg_sequence_last_value('cookies'), 0)";
const RECORDED: &str = "SELECT COALESCE(sum(files), 0)::bigint FROM writer_slots";

/// A check, or a repair, of the store.
#[derive(Debug)]
pub(super) struct PostgresChecker {
    pub(super) client: Mutex<ClientWrapper>,
    pub(super) lease: Arc<Lease>,
}

#[async_trait::async_trait]
impl Checkable for PostgresStore {
    async fn checker(&self) -> Result<Box<dyn Checker>, Error> {
        Ok(Box::new(self.begin_check().await?))
    }
}

impl PostgresStore {
    pub(super) async fn begin_check(&self) -> Result<PostgresChecker, Error> {
        let client = self.connect_dedicated().await?;
        client.batch_execute(SESSION).await.map_err(fatal)?;
        Ok(PostgresChecker { client: Mutex::new(client), lease: Arc::clone(&self.lease) })
    }
}

impl PostgresChecker {
    async fn rows(&self, sql: &str, arguments: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        let client = self.client.lock().await;
        let statement: Statement = client.prepare_cached(sql).await.map_err(fatal)?;
        client.query(&statement, arguments).await.map_err(fatal)
    }

    /// What a statement finds that reads whole tables.
    async fn rows_of_all(
        &self,
        sql: &str,
        arguments: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let mut client = self.client.lock().await;
        let transaction = client.transaction().await.map_err(fatal)?;
        transaction.batch_execute(WHOLE).await.map_err(fatal)?;
        let rows = transaction.query(sql, arguments).await.map_err(fatal)?;
        transaction.commit().await.map_err(fatal)?;
        Ok(rows)
    }
}

#[async_trait::async_trait]
impl Checker for PostgresChecker {
    async fn recorded_objects(&self) -> Result<u64, Error> {
        let rows = self.rows(RECORDED, &[]).await?;
        let sum: i64 = rows.first().map_or(Ok(0), |row| column(row, 0))?;
        Ok(u64::try_from(sum).unwrap_or(0))
    }

    async fn shares(&self) -> Result<Vec<Share>, Error> {
        self.rows(shares::ALL, &[]).await?.iter().map(shares::share).collect()
    }

    async fn objects(
        &self,
        after: Option<ObjectId>,
        limit: u32,
    ) -> Result<Vec<ObjectState>, Error> {
        let after = first(after);
        let mut objects: Vec<_> = self
            .rows(OBJECTS, &[&after, &i64::from(limit)])
            .await?
            .iter()
            .map(|row| state(row, 0))
            .collect::<Result<_, _>>()?;
        objects.sort_by_key(|object| object.id);
        Ok(objects)
    }

    async fn objects_of(&self, ids: &[ObjectId]) -> Result<Vec<ObjectState>, Error> {
        let rows = self.rows(OBJECTS_OF, &[&uuids(ids)]).await?;
        rows.iter().map(|row| state(row, 0)).collect()
    }

    async fn entries(
        &self,
        after: Option<(ObjectId, &[u8])>,
        limit: u32,
    ) -> Result<Vec<EntryState>, Error> {
        let (directory, name) = after.map_or((Uuid::nil(), &[][..]), |it| (it.0.0, it.1));
        let mut entries: Vec<_> = self
            .rows(ENTRIES, &[&directory, &name, &i64::from(limit)])
            .await?
            .iter()
            .map(entry)
            .collect::<Result<_, _>>()?;
        entries
            .sort_by(|one, other| (one.directory, &one.name).cmp(&(other.directory, &other.name)));
        Ok(entries)
    }

    async fn counts(
        &self,
        after: Option<ObjectId>,
        limit: u32,
    ) -> Result<Vec<(ObjectId, bool)>, Error> {
        let rows = self.rows(COUNTS, &[&first(after), &i64::from(limit)]).await?;
        rows.iter().map(|row| Ok((ObjectId(column(row, 0)?), column(row, 1)?))).collect()
    }

    async fn directory(&self, id: ObjectId) -> Result<Option<DirectoryState>, Error> {
        self.rows(DIRECTORY, &[&id.0]).await?.first().map(directory).transpose()
    }

    async fn name_in(
        &self,
        directory: ObjectId,
        object: ObjectId,
    ) -> Result<Option<Vec<u8>>, Error> {
        let rows = self.rows(NAME_IN, &[&directory.0, &object.0]).await?;
        rows.first().map(|row| column(row, 0)).transpose()
    }

    async fn names_of(&self, ids: &[ObjectId]) -> Result<Vec<(ObjectState, u64)>, Error> {
        let rows = self.rows_of_all(NAMES_OF, &[&uuids(ids)]).await?;
        rows.iter().map(|row| Ok((state(row, 0)?, unsigned(row, STATE_COLUMNS)?))).collect()
    }

    async fn numbered(&self, fileids: &[i64]) -> Result<Vec<(ShareId, i64, ObjectId)>, Error> {
        let rows = self.rows_of_all(NUMBERED, &[&fileids]).await?;
        let each = |row| Ok((ShareId(column(row, 0)?), column(row, 1)?, ObjectId(column(row, 2)?)));
        rows.iter().map(each).collect()
    }

    async fn last_numbers(&self) -> Result<(i64, i64), Error> {
        let rows = self.rows(LAST_NUMBERS, &[]).await?;
        let row = rows.first().ok_or_else(|| damaged("the sequences do not answer"))?;
        Ok((column(row, 0)?, column(row, 1)?))
    }

    async fn usages(&self) -> Result<Vec<UsageState>, Error> {
        let rows = self.rows_of_all(USAGE, &[]).await?;
        let sum = |row, index| {
            let sum: String = column(row, index)?;
            sum.parse().map_err(|_| damaged(format_args!("a counter's sum is {sum}")))
        };
        let totals = |row, index| {
            Ok::<_, Error>(Totals { objects: sum(row, index)?, bytes: sum(row, index + 1)? })
        };
        rows.iter()
            .map(|row| {
                let share = ShareId(column(row, 0)?);
                Ok(UsageState { share, recorded: totals(row, 1)?, counted: totals(row, 3)? })
            })
            .collect()
    }
}

fn first(after: Option<ObjectId>) -> Uuid {
    after.map_or(Uuid::nil(), |id| id.0)
}

fn uuids(ids: &[ObjectId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.0).collect()
}

fn unsigned(row: &Row, index: usize) -> Result<u64, Error> {
    let value: i64 = column(row, index)?;
    u64::try_from(value).map_err(|_| damaged(format_args!("a count is {value}")))
}

fn kind(number: i16) -> Result<FileType, Error> {
    FileType::from_number(number).ok_or_else(|| damaged(format_args!("a kind is {number}")))
}

/// An object in the columns from `first` on.
pub(super) fn state(row: &Row, first: usize) -> Result<ObjectState, Error> {
    let version = ContentVersion(column(row, first + 8)?);
    let content = column::<Option<Uuid>>(row, first + 7)?;
    Ok(ObjectState {
        id: ObjectId(column(row, first)?),
        share: ShareId(column(row, first + 1)?),
        file_type: kind(column(row, first + 2)?)?,
        size: unsigned(row, first + 3)?,
        used: unsigned(row, first + 15)?,
        mtime: Timestamp(column(row, first + 16)?),
        ctime: Timestamp(column(row, first + 4)?),
        uid: u32::try_from(unsigned(row, first + 17)?).unwrap_or(u32::MAX),
        names: unsigned(row, first + 5)?,
        subdirs: unsigned(row, first + 6)?,
        content: content.map(|id| ContentRef { id: ContentId(id), version }),
        parent: column::<Option<Uuid>>(row, first + 9)?.map(ObjectId),
        fileid: column(row, first + 10)?,
        flaws: Flaw::read(|at| column(row, first + 11 + at))?,
    })
}

pub(super) fn entry(row: &Row) -> Result<EntryState, Error> {
    let holder = match (column::<Option<i16>>(row, 3)?, column::<Option<i16>>(row, 4)?) {
        (Some(share), Some(number)) => Some((ShareId(share), kind(number)?)),
        (None, _) | (_, None) => None,
    };
    let object = column::<Option<Uuid>>(row, 6)?.map(|_| state(row, 6)).transpose()?;
    Ok(EntryState {
        directory: ObjectId(column(row, 0)?),
        name: column(row, 1)?,
        child: ObjectId(column(row, 2)?),
        cookie: column(row, 5)?,
        holder,
        object,
    })
}

pub(super) fn directory(row: &Row) -> Result<DirectoryState, Error> {
    Ok(DirectoryState {
        object: state(row, 0)?,
        subdirs: unsigned(row, STATE_COLUMNS)?,
        names: unsigned(row, STATE_COLUMNS + 1)?,
        reaches_root: column(row, STATE_COLUMNS + 2)?,
    })
}
