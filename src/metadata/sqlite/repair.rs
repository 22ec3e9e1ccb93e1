//! What a repair changes: a transaction each, which has the file for itself ([`repair`]).

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, TransactionBehavior, params, params_from_iter};
use tokio::runtime::Handle;

use super::SqliteStore;
use super::check::{self, ENTRY, OBJECT, SqliteChecker, USAGE, found};
use super::connect;
use super::dump::blocking;
use super::error::SqliteError;
use super::shares;
use super::usage::Tally;
use crate::metadata::repair::{self, Rows, Statement, Value};
use crate::metadata::{
    DirectoryState, EntryState, Error, Flaw, Numbers, ObjectState, Repair, Repairable, Repaired,
    Repairer,
};
use crate::types::{ObjectId, ShareId};

const NEXT_COOKIE: &str = "UPDATE sequences SET next = next + 1 WHERE name = 'cookies'";
const NEXT_FILEID: &str = "UPDATE sequences SET next = next + 1 WHERE name = 'fileids'";
const MAKE_USAGE: &str = "INSERT OR IGNORE INTO share_usage VALUES (?1, 0, 0, 0)";

/// The most that a file of its size takes.
macro_rules! most_used {
    () => {
        "CASE WHEN size > 9223372036854771712 THEN 9223372036854775807 ELSE (size + 4095) / 4096 * 4096 END"
    };
}
const AMEND_USED: &str = concat!(
    "UPDATE files SET used = CASE file_type WHEN 1 THEN min(used, ",
    most_used!(),
    ") WHEN 5 THEN length(link_target) ELSE size END, ctime = max(?2, ctime + 1)
     WHERE id = ?1 AND used <> CASE file_type WHEN 1 THEN min(used, ",
    most_used!(),
    ") WHEN 5 THEN length(link_target) ELSE size END"
);
const SET_USED: &str = concat!(
    "UPDATE files SET used = min(?2, ",
    most_used!(),
    ") WHERE id = ?1 AND file_type = 1 AND used <> min(?2, ",
    most_used!(),
    ")"
);

/// The statement of a change.
fn sql(statement: Statement) -> &'static str {
    match statement {
        Statement::DropEntry => {
            "DELETE FROM parent_child_map WHERE parent_id = ?1 AND child_name = ?2 AND child_id = ?3"
        }
        Statement::DropYounger => {
            "DELETE FROM parent_child_map WHERE parent_id = ?1 AND child_id = ?2 AND cookie >
                (SELECT min(cookie) FROM parent_child_map WHERE parent_id = ?1 AND child_id = ?2)"
        }
        Statement::AddEntry => {
            "INSERT INTO parent_child_map (parent_id, child_name, child_id, cookie)
            SELECT ?1, ?2, ?3, next FROM sequences WHERE name = 'cookies'
            ON CONFLICT (parent_id, child_name) DO NOTHING"
        }
        Statement::Touch => "UPDATE files SET ctime = max(?2, ctime + 1) WHERE id = ?1",
        Statement::TouchEntries => {
            "UPDATE files SET ctime = max(?2, ctime + 1), mtime = max(?2, ctime + 1), subdirs = subdirs + ?3
             WHERE id = ?1 AND file_type = 2"
        }
        Statement::PutParent => {
            "UPDATE files SET parent_id = ?3, ctime = max(?2, ctime + 1) WHERE id = ?1"
        }
        Statement::CountSubdirs => {
            "UPDATE files
               SET subdirs = (SELECT count(*) FROM parent_child_map e CROSS JOIN files c ON c.id = e.child_id
                               WHERE e.parent_id = ?1 AND c.file_type = 2)
             WHERE id = ?1 AND file_type = 2"
        }
        Statement::DropCount => "DELETE FROM link_counts WHERE file_id = ?1",
        Statement::PutCount => "INSERT OR REPLACE INTO link_counts VALUES (?1, ?2)",
        Statement::DropStray => {
            "DELETE FROM link_counts WHERE file_id = ?1
               AND NOT EXISTS (SELECT 1 FROM files f WHERE f.id = ?1 AND f.file_type <> 2)"
        }
        Statement::Amend(Flaw::Mode) => {
            "UPDATE files SET mode = mode & 4095, ctime = max(?2, ctime + 1) WHERE id = ?1 AND mode & ~4095 \
             <> 0"
        }
        Statement::Amend(Flaw::TargetSize) => {
            "UPDATE files SET size = length(link_target), ctime = max(?2, ctime + 1)
             WHERE id = ?1 AND file_type = 5 AND size <> length(link_target)"
        }
        Statement::Amend(Flaw::Verifier) => {
            "UPDATE files SET create_verifier = NULL, ctime = max(?2, ctime + 1)
             WHERE id = ?1 AND create_verifier IS NOT NULL AND file_type <> 1"
        }
        Statement::Amend(Flaw::Used) => AMEND_USED,
        Statement::SetUsed => SET_USED,
        Statement::Renumber => {
            "UPDATE files SET fileid = (SELECT next FROM sequences WHERE name = 'fileids'), ctime = max(?2, ctime + 1)
             WHERE id = ?1 AND fileid = ?3"
        }
        Statement::NewCookie => {
            "UPDATE parent_child_map SET cookie = (SELECT next FROM sequences WHERE name = 'cookies')
             WHERE parent_id = ?1 AND child_name = ?2 AND cookie = ?3"
        }
        Statement::RenameEntry => {
            "UPDATE parent_child_map SET child_name = ?4 WHERE parent_id = ?1 AND child_name = ?2 AND \
             child_id = ?3"
        }
        Statement::Raise(Numbers::Fileids) => {
            "UPDATE sequences SET next = ?1 + 1 WHERE name = 'fileids' AND next <= ?1"
        }
        Statement::Raise(Numbers::Cookies) => {
            "UPDATE sequences SET next = ?1 + 1 WHERE name = 'cookies' AND next <= ?1"
        }
    }
}

#[async_trait::async_trait]
impl Repairable for SqliteStore {
    async fn repairer(&self) -> Result<Box<dyn Repairer>, Error> {
        let settings = self.settings.clone();
        let connection = blocking(move || connect::writer(&settings)).await?;
        Ok(Box::new(SqliteChecker::new(connection, Some(self.cache.clone()))))
    }
}

#[async_trait::async_trait]
impl Repairer for SqliteChecker {
    async fn repair(&self, repair: &Repair) -> Result<Repaired, Error> {
        let (repair, cache) = (repair.clone(), self.cache.clone());
        self.work(move |connection| {
            let within = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // No row is waited for here.
            let repaired =
                Handle::current().block_on(repair::repair(&RepairTransaction(&within), &repair))?;
            let _forgetting = cache.as_ref().map(|cache| cache.forget());
            match repaired {
                Repaired::Done => within.commit()?,
                Repaired::Changed | Repaired::NameTaken => within.rollback()?,
            }
            Ok(repaired)
        })
        .await
    }
}

/// A transaction of a repair.
struct RepairTransaction<'a>(&'a Connection);

/// No other process changes the file while the transaction lasts: nothing is to be locked.
impl Rows for RepairTransaction<'_> {
    type Failure = SqliteError;

    async fn lock(&self, _objects: &[ObjectId]) -> Result<(), SqliteError> {
        Ok(())
    }

    async fn lock_moves(&self, _directory: ObjectId) -> Result<(), SqliteError> {
        Ok(())
    }

    async fn object(&self, id: ObjectId) -> Result<Option<ObjectState>, SqliteError> {
        let id = params![id.0.as_bytes()];
        Ok(found(self.0, OBJECT, id, |row| check::state(row, 0))?.into_iter().next())
    }

    async fn directory(&self, id: ObjectId) -> Result<Option<DirectoryState>, SqliteError> {
        check::directory(self.0, id)
    }

    async fn entry(
        &self,
        directory: ObjectId,
        name: &[u8],
    ) -> Result<Option<EntryState>, SqliteError> {
        let key = params![directory.0.as_bytes(), name];
        Ok(found(self.0, ENTRY, key, check::entry)?.into_iter().next())
    }

    async fn roots(&self) -> Result<Vec<ObjectId>, SqliteError> {
        Ok(shares::all(self.0)?.iter().map(|share| share.root).collect())
    }

    async fn run(&self, statement: Statement, values: &[Value<'_>]) -> Result<u64, SqliteError> {
        let mut prepared = self.0.prepare_cached(sql(statement))?;
        let rows = prepared.execute(params_from_iter(values))?;
        if rows > 0 && matches!(statement, Statement::AddEntry | Statement::NewCookie) {
            self.0.execute(NEXT_COOKIE, [])?;
        } else if rows > 0 && statement == Statement::Renumber {
            self.0.execute(NEXT_FILEID, [])?;
        }
        Ok(rows as u64)
    }

    async fn count_bytes(&self, share: ShareId, more: i64) -> Result<(), SqliteError> {
        if let Some(mut tally) = Tally::read(self.0, share)? {
            tally.bytes = tally.bytes.saturating_add_signed(more.into());
            tally.write(self.0, share)?;
        }
        Ok(())
    }

    async fn count_share(&self, share: ShareId) -> Result<u64, SqliteError> {
        let usage = found(self.0, USAGE, &[], check::usage)?;
        let Some(usage) = usage.into_iter().find(|usage| usage.share == share) else {
            return Ok(0);
        };
        let tally = Tally {
            objects: u64::try_from(usage.counted.objects).unwrap_or(0),
            bytes: u128::try_from(usage.counted.bytes).unwrap_or(0),
        };
        self.0.execute(MAKE_USAGE, [share.0])?;
        tally.write(self.0, share)?;
        Ok(1)
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Id(id) => ValueRef::Blob(id.0.as_bytes()),
            Self::Name(name) => ValueRef::Blob(name),
            Self::Number(number) => ValueRef::Integer(*number),
        }))
    }
}
