//! What a check reads: a statement each, so that no snapshot holds the write-ahead log for longer than its
//! page, on a connection of its own, which may be of another process than the server's.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};

use super::connect::reader;
use super::dump::blocking;
use super::error::SqliteError;
use super::rows::{damaged, number, uuid};
use super::usage::Tally;
use super::{SqliteFile, SqliteStore, shares};
use crate::metadata::cache::Cache;
use crate::metadata::{
    Checkable, Checker, DirectoryState, EntryState, Error, Flaw, ObjectState, Share, Totals,
    UsageState,
};
use crate::types::{ContentId, ContentRef, ContentVersion, FileType, ObjectId, ShareId, Timestamp};

/// An object's columns of `f`.
macro_rules! state_columns {
    () => {
        "f.id, f.share_id, f.file_type, f.size, f.ctime, COALESCE((SELECT l.link_count FROM link_counts l \
         WHERE l.file_id = f.id), 1), f.subdirs, f.content_id, f.content_version, f.parent_id, f.fileid, \
         f.mode & ~4095 <> 0, f.file_type = 5 AND f.size <> length(f.link_target), f.create_verifier IS NOT \
         NULL AND f.file_type <> 1, CASE f.file_type WHEN 1 THEN f.used > CASE WHEN f.size > \
         9223372036854771712 THEN 9223372036854775807 ELSE (f.size + 4095) / 4096 * 4096 END WHEN 5 THEN \
         f.used <> length(f.link_target) ELSE f.used <> f.size END, f.used, f.mtime, f.uid"
    };
}
/// How many there are.
const STATE_COLUMNS: usize = 18;

const OBJECTS: &str =
    concat!("SELECT ", state_columns!(), " FROM files f WHERE f.id > ?1 ORDER BY f.id LIMIT ?2");
pub(super) const OBJECT: &str =
    concat!("SELECT ", state_columns!(), " FROM files f WHERE f.id = ?1");
const ENTRIES: &str = concat!(
    "SELECT m.parent_id, m.child_name, m.child_id, d.share_id, d.file_type, m.cookie, ",
    state_columns!(),
    " FROM (SELECT * FROM parent_child_map WHERE (parent_id, child_name) > (?1, ?2)
             ORDER BY parent_id, child_name LIMIT ?3) m
      LEFT JOIN files d ON d.id = m.parent_id LEFT JOIN files f ON f.id = m.child_id
     ORDER BY m.parent_id, m.child_name"
);
pub(super) const ENTRY: &str = concat!(
    "SELECT m.parent_id, m.child_name, m.child_id, d.share_id, d.file_type, m.cookie, ",
    state_columns!(),
    " FROM parent_child_map m
      LEFT JOIN files d ON d.id = m.parent_id LEFT JOIN files f ON f.id = m.child_id
     WHERE m.parent_id = ?1 AND m.child_name = ?2"
);
const COUNTS: &str = "
    SELECT l.file_id, EXISTS (SELECT 1 FROM files f WHERE f.id = l.file_id AND f.file_type <> 2)
      FROM link_counts l WHERE l.file_id > ?1 ORDER BY l.file_id LIMIT ?2";
pub(super) const DIRECTORY: &str = concat!(
    "WITH RECURSIVE up(id) AS (
        SELECT ?1
        UNION
        SELECT p.parent_id FROM up CROSS JOIN files p ON p.id = up.id WHERE p.parent_id IS NOT NULL
    )
    SELECT ",
    state_columns!(),
    ",     (SELECT count(*) FROM parent_child_map e CROSS JOIN files c ON c.id = e.child_id
             WHERE e.parent_id = f.id AND c.file_type = 2),
           (SELECT count(*) FROM parent_child_map e WHERE e.parent_id = f.parent_id AND e.child_id = f.id),
           EXISTS (SELECT 1 FROM up JOIN shares s ON s.root = up.id)
      FROM files f WHERE f.id = ?1 AND f.file_type = 2"
);
const NAME_IN: &str = "
    SELECT e.child_name FROM parent_child_map e WHERE e.parent_id = ?1 AND e.child_id = ?2
     ORDER BY e.child_name LIMIT 1";
const NAMES_OF: &str = concat!(
    "WITH wanted AS MATERIALIZED (SELECT unhex(value) AS id FROM json_each(?1)),
    counted AS MATERIALIZED (
        SELECT e.child_id, count(*) AS names FROM parent_child_map e
         WHERE e.child_id IN (SELECT id FROM wanted) GROUP BY e.child_id
    )
    SELECT ",
    state_columns!(),
    ", COALESCE(n.names, 0)
      FROM wanted w CROSS JOIN files f ON f.id = w.id LEFT JOIN counted n ON n.child_id = f.id"
);
/// Bytes are summed in two halves, since a sum of three may need more than 64 bits.
pub(super) const USAGE: &str = "
    SELECT s.id, u.objects, u.bytes_high, u.bytes_low, count(f.id),
           COALESCE(sum(f.used >> 32) FILTER (WHERE f.file_type IN (1, 5)), 0),
           COALESCE(sum(f.used & 4294967295) FILTER (WHERE f.file_type IN (1, 5)), 0)
      FROM shares s LEFT JOIN share_usage u ON u.share_id = s.id LEFT JOIN files f ON f.share_id = s.id
     GROUP BY s.id";
const NUMBERED: &str = "
    SELECT f.share_id, f.fileid, f.id FROM files f WHERE f.fileid IN (SELECT value FROM json_each(?1))";
const LAST_NUMBERS: &str = "
    SELECT (SELECT next - 1 FROM sequences WHERE name = 'fileids'),
           (SELECT next - 1 FROM sequences WHERE name = 'cookies')";
const RECORDED: &str = "SELECT COALESCE(sum(objects), 0) FROM share_usage";
/// Memory for the pages of a check, in bytes.
const MEMORY: usize = 16 << 20;

/// A check, or a repair, of a file.
#[derive(Clone, Debug)]
pub(super) struct SqliteChecker {
    connection: Arc<Mutex<Connection>>,
    /// Of the store that serves what is mended.
    pub(super) cache: Option<Arc<Cache>>,
}

async fn begin(path: PathBuf) -> Result<Box<dyn Checker>, Error> {
    let connection = blocking(move || reader(&path, MEMORY)).await?;
    Ok(Box::new(SqliteChecker::new(connection, None)))
}

#[async_trait::async_trait]
impl Checkable for SqliteFile {
    async fn checker(&self) -> Result<Box<dyn Checker>, Error> {
        begin(self.path().to_path_buf()).await
    }
}

#[async_trait::async_trait]
impl Checkable for SqliteStore {
    async fn checker(&self) -> Result<Box<dyn Checker>, Error> {
        begin(self.settings.path.clone()).await
    }
}

impl SqliteChecker {
    pub(super) fn new(connection: Connection, cache: Option<Arc<Cache>>) -> Self {
        Self { connection: Arc::new(Mutex::new(connection)), cache }
    }

    /// Works on the connection, on a thread made for blocking.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, SqliteError> + Send + 'static,
    ) -> Result<T, Error> {
        let connection = self.connection.clone();
        blocking(move || work(&mut connection.lock()).map_err(SqliteError::into_error)).await
    }
}

/// What a statement finds.
pub(super) fn found<T>(
    connection: &Connection,
    sql: &str,
    arguments: &[&dyn ToSql],
    each: impl Fn(&Row<'_>) -> Result<T, SqliteError>,
) -> Result<Vec<T>, SqliteError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(arguments)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(each(row)?);
    }
    Ok(found)
}

#[async_trait::async_trait]
impl Checker for SqliteChecker {
    async fn recorded_objects(&self) -> Result<u64, Error> {
        self.work(|connection| {
            let sum: i64 = connection.query_row(RECORDED, [], |row| row.get(0))?;
            Ok(u64::try_from(sum).unwrap_or(0))
        })
        .await
    }

    async fn shares(&self) -> Result<Vec<Share>, Error> {
        self.work(|connection| shares::all(connection)).await
    }

    async fn objects(
        &self,
        after: Option<ObjectId>,
        limit: u32,
    ) -> Result<Vec<ObjectState>, Error> {
        self.work(move |connection| {
            found(connection, OBJECTS, params![bytes(after), limit], |row| state(row, 0))
        })
        .await
    }

    async fn objects_of(&self, ids: &[ObjectId]) -> Result<Vec<ObjectState>, Error> {
        let ids = ids.to_vec();
        self.work(move |connection| {
            let within = connection.transaction()?;
            let mut objects = Vec::with_capacity(ids.len());
            for id in ids {
                objects
                    .extend(found(&within, OBJECT, params![id.0.as_bytes()], |row| state(row, 0))?);
            }
            Ok(objects)
        })
        .await
    }

    async fn entries(
        &self,
        after: Option<(ObjectId, &[u8])>,
        limit: u32,
    ) -> Result<Vec<EntryState>, Error> {
        let directory = bytes(after.map(|(directory, _)| directory));
        let name = after.map_or_else(Vec::new, |(_, name)| name.to_vec());
        self.work(move |connection| {
            found(connection, ENTRIES, params![directory, name, limit], entry)
        })
        .await
    }

    async fn counts(
        &self,
        after: Option<ObjectId>,
        limit: u32,
    ) -> Result<Vec<(ObjectId, bool)>, Error> {
        self.work(move |connection| {
            found(connection, COUNTS, params![bytes(after), limit], |row| {
                Ok((ObjectId(uuid(row, 0)?), row.get(1)?))
            })
        })
        .await
    }

    async fn directory(&self, id: ObjectId) -> Result<Option<DirectoryState>, Error> {
        self.work(move |connection| directory(connection, id)).await
    }

    async fn name_in(
        &self,
        directory: ObjectId,
        object: ObjectId,
    ) -> Result<Option<Vec<u8>>, Error> {
        self.work(move |connection| {
            let mut statement = connection.prepare_cached(NAME_IN)?;
            let ids = params![directory.0.as_bytes(), object.0.as_bytes()];
            Ok(statement.query_row(ids, |row| row.get(0)).optional()?)
        })
        .await
    }

    async fn names_of(&self, ids: &[ObjectId]) -> Result<Vec<(ObjectState, u64)>, Error> {
        let ids: Vec<_> = ids.iter().map(|id| format!("\"{}\"", id.0.simple())).collect();
        let ids = format!("[{}]", ids.join(","));
        self.work(move |connection| {
            found(connection, NAMES_OF, params![ids], |row| {
                Ok((state(row, 0)?, number(row, STATE_COLUMNS)?))
            })
        })
        .await
    }

    async fn numbered(&self, fileids: &[i64]) -> Result<Vec<(ShareId, i64, ObjectId)>, Error> {
        let fileids: Vec<_> = fileids.iter().map(i64::to_string).collect();
        let fileids = format!("[{}]", fileids.join(","));
        self.work(move |connection| {
            found(connection, NUMBERED, params![fileids], |row| {
                Ok((ShareId(number(row, 0)?), row.get(1)?, ObjectId(uuid(row, 2)?)))
            })
        })
        .await
    }

    async fn last_numbers(&self) -> Result<(i64, i64), Error> {
        self.work(|connection| {
            Ok(connection.query_row(LAST_NUMBERS, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
        })
        .await
    }

    async fn usages(&self) -> Result<Vec<UsageState>, Error> {
        self.work(|connection| found(connection, USAGE, &[], usage)).await
    }
}

fn bytes(id: Option<ObjectId>) -> [u8; 16] {
    id.map_or([0; 16], |id| *id.0.as_bytes())
}

fn kind(number: i16) -> Result<FileType, SqliteError> {
    FileType::from_number(number).ok_or_else(|| damaged(format_args!("a kind is {number}")))
}

/// An object in the columns from `first` on.
pub(super) fn state(row: &Row<'_>, first: usize) -> Result<ObjectState, SqliteError> {
    let version = ContentVersion(row.get(first + 8)?);
    let content: Option<[u8; 16]> = row.get(first + 7)?;
    let parent: Option<[u8; 16]> = row.get(first + 9)?;
    Ok(ObjectState {
        id: ObjectId(uuid(row, first)?),
        share: ShareId(number(row, first + 1)?),
        file_type: kind(number(row, first + 2)?)?,
        size: number(row, first + 3)?,
        used: number(row, first + 15)?,
        mtime: Timestamp(row.get(first + 16)?),
        ctime: Timestamp(row.get(first + 4)?),
        uid: number(row, first + 17)?,
        names: number(row, first + 5)?,
        subdirs: number(row, first + 6)?,
        content: content
            .map(|id| ContentRef { id: ContentId(uuid::Uuid::from_bytes(id)), version }),
        parent: parent.map(|id| ObjectId(uuid::Uuid::from_bytes(id))),
        fileid: row.get(first + 10)?,
        flaws: Flaw::read(|at| row.get(first + 11 + at))?,
    })
}

pub(super) fn entry(row: &Row<'_>) -> Result<EntryState, SqliteError> {
    let holder = match (row.get::<_, Option<i16>>(3)?, row.get::<_, Option<i16>>(4)?) {
        (Some(share), Some(number)) => Some((ShareId(share), kind(number)?)),
        (None, _) | (_, None) => None,
    };
    let there: Option<[u8; 16]> = row.get(6)?;
    Ok(EntryState {
        directory: ObjectId(uuid(row, 0)?),
        name: row.get(1)?,
        child: ObjectId(uuid(row, 2)?),
        cookie: row.get(5)?,
        holder,
        object: there.map(|_| state(row, 6)).transpose()?,
    })
}

pub(super) fn directory(
    connection: &Connection,
    id: ObjectId,
) -> Result<Option<DirectoryState>, SqliteError> {
    let found = found(connection, DIRECTORY, params![id.0.as_bytes()], |row| {
        Ok(DirectoryState {
            object: state(row, 0)?,
            subdirs: number(row, STATE_COLUMNS)?,
            names: number(row, STATE_COLUMNS + 1)?,
            reaches_root: row.get(STATE_COLUMNS + 2)?,
        })
    })?;
    Ok(found.into_iter().next())
}

pub(super) fn usage(row: &Row<'_>) -> Result<UsageState, SqliteError> {
    let recorded =
        if row.get::<_, Option<i64>>(1)?.is_some() { Tally::of(row, 1)? } else { Tally::default() };
    let (high, low): (i64, i64) = (row.get(5)?, row.get(6)?);
    let bytes = i128::try_from(recorded.bytes).unwrap_or(i128::MAX);
    Ok(UsageState {
        share: ShareId(number(row, 0)?),
        recorded: Totals { objects: recorded.objects.into(), bytes },
        counted: Totals {
            objects: row.get::<_, i64>(4)?.into(),
            bytes: (i128::from(high) << 32) + i128::from(low),
        },
    })
}
