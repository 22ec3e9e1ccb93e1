//! What a repair changes, while servers go on: a transaction each, which keeps the lease from being taken
//! meanwhile, locks rows in the order that operations do (the lock of directory moves, directories by UUID,
//! other objects by UUID), looks again in later statements, and only then changes something ([`repair`]).

use std::error::Error as StdError;

use bytes::BytesMut;
use deadpool_postgres::Transaction;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use super::PostgresStore;
use super::change_log::BEGIN_TERM;
use super::check::{self, DIRECTORY, ENTRY, PostgresChecker};
use super::connect::CLOSING;
use super::error::{PostgresError, fatal};
use super::lease;
use super::retry::Backoff;
use super::rows::column;
use crate::metadata::repair::{self, Rows, Statement, Value};
use crate::metadata::{
    DirectoryState, EntryState, Error, Flaw, Numbers, ObjectState, Repair, Repairable, Repaired,
    Repairer,
};
use crate::types::{ObjectId, ShareId};

/// One repair at a time: the sums that it makes by differences would be corrected twice.
const ALONE: &str = "SELECT pg_try_advisory_lock(19794, 0)";
const MOVES: &str = "
    SELECT pg_advisory_xact_lock(19792, f.share_id) FROM files f WHERE f.id = $1";
const LOCK: &str = "
    SELECT 1 FROM files WHERE id = ANY ($1) ORDER BY (file_type <> 2), id FOR UPDATE";
const ROOTS: &str = "SELECT root FROM shares";
const OBJECT: &str = concat!("SELECT ", check::state_columns!(), " FROM files f WHERE f.id = $1");
/// The difference is that of one moment, and every operation changes both sides alike: it holds when it is
/// added.
const ADD_DIFFERENCE: &str = "
    INSERT INTO writer_slots (share_id, slot, epoch, files, bytes)
    SELECT $1, 0, 0, c.objects - k.objects, c.bytes - k.bytes
      FROM (SELECT count(*) AS objects, COALESCE(sum(used) FILTER (WHERE file_type IN (1, 5)), 0) AS bytes
              FROM files WHERE share_id = $1) c,
           (SELECT COALESCE(sum(files), 0) AS objects, COALESCE(sum(bytes), 0) AS bytes
              FROM writer_slots WHERE share_id = $1) k
        ON CONFLICT ON CONSTRAINT writer_slots_pkey
        DO UPDATE SET files = writer_slots.files + EXCLUDED.files, bytes = writer_slots.bytes + EXCLUDED.bytes";
const COUNT_BYTES: &str = "
    INSERT INTO writer_slots (share_id, slot, epoch, bytes) VALUES ($1, 0, 0, $2::bigint)
        ON CONFLICT ON CONSTRAINT writer_slots_pkey DO UPDATE SET bytes = writer_slots.bytes + EXCLUDED.bytes";

/// The statement of a change.
fn sql(statement: Statement) -> &'static str {
    match statement {
        Statement::DropEntry => {
            "DELETE FROM parent_child_map WHERE parent_id = $1 AND child_name = $2 AND child_id = $3"
        }
        Statement::DropYounger => {
            "DELETE FROM parent_child_map WHERE parent_id = $1 AND child_id = $2 AND cookie >
                (SELECT min(cookie) FROM parent_child_map WHERE parent_id = $1 AND child_id = $2)"
        }
        Statement::AddEntry => {
            "INSERT INTO parent_child_map (parent_id, child_name, child_id) VALUES ($1, $2, $3)
            ON CONFLICT (parent_id, child_name) DO NOTHING"
        }
        Statement::Touch => "UPDATE files SET ctime = GREATEST($2, ctime + 1) WHERE id = $1",
        Statement::TouchEntries => {
            "UPDATE files SET ctime = GREATEST($2, ctime + 1), mtime = GREATEST($2, ctime + 1), subdirs = subdirs + $3
             WHERE id = $1 AND file_type = 2"
        }
        Statement::PutParent => {
            "UPDATE files SET parent_id = $3, ctime = GREATEST($2, ctime + 1) WHERE id = $1"
        }
        Statement::CountSubdirs => {
            "UPDATE files
               SET subdirs = (SELECT count(*) FROM parent_child_map e JOIN files c ON c.id = e.child_id
                               WHERE e.parent_id = $1 AND c.file_type = 2)
             WHERE id = $1 AND file_type = 2"
        }
        Statement::DropCount => "DELETE FROM link_counts WHERE file_id = $1",
        Statement::PutCount => {
            "INSERT INTO link_counts VALUES ($1, $2)
            ON CONFLICT (file_id) DO UPDATE SET link_count = EXCLUDED.link_count"
        }
        Statement::DropStray => {
            "DELETE FROM link_counts l WHERE l.file_id = $1
               AND NOT EXISTS (SELECT FROM files f WHERE f.id = l.file_id AND f.file_type <> 2)"
        }
        Statement::Amend(Flaw::Mode) => {
            "UPDATE files SET mode = mode & 4095, ctime = GREATEST($2, ctime + 1) WHERE id = $1 AND mode & \
             ~4095 <> 0"
        }
        Statement::Amend(Flaw::TargetSize) => {
            "UPDATE files SET size = length(link_target), ctime = GREATEST($2, ctime + 1)
             WHERE id = $1 AND file_type = 5 AND size <> length(link_target)"
        }
        Statement::Amend(Flaw::Verifier) => {
            "UPDATE files SET create_verifier = NULL, ctime = GREATEST($2, ctime + 1)
             WHERE id = $1 AND create_verifier IS NOT NULL AND file_type <> 1"
        }
        Statement::Amend(Flaw::Used) => {
            "UPDATE files SET used = CASE file_type WHEN 1 THEN LEAST(used, most_used(size)) WHEN 5 THEN length(link_target) ELSE size END,
                             ctime = GREATEST($2, ctime + 1)
             WHERE id = $1 AND used <> CASE file_type WHEN 1 THEN LEAST(used, most_used(size)) WHEN 5 THEN length(link_target)
                                                      ELSE size END"
        }
        Statement::SetUsed => {
            "UPDATE files SET used = LEAST($2, most_used(size)) WHERE id = $1 AND file_type = 1 AND used <> \
             LEAST($2, most_used(size))"
        }
        Statement::Renumber => {
            "UPDATE files SET fileid = nextval('fileids'), ctime = GREATEST($2, ctime + 1) WHERE id = $1 AND \
             fileid = $3"
        }
        Statement::NewCookie => {
            "UPDATE parent_child_map SET cookie = nextval('cookies')
             WHERE parent_id = $1 AND child_name = $2 AND cookie = $3"
        }
        Statement::RenameEntry => {
            "UPDATE parent_child_map SET child_name = $4 WHERE parent_id = $1 AND child_name = $2 AND \
             child_id = $3"
        }
        // Beyond what other sessions may have drawn meanwhile.
        Statement::Raise(Numbers::Fileids) => {
            "SELECT setval('fileids', $1::bigint + 1000000) WHERE \
             COALESCE(pg_sequence_last_value('fileids'), 0) < $1"
        }
        Statement::Raise(Numbers::Cookies) => {
            "SELECT setval('cookies', $1::bigint + 1000000) WHERE \
             COALESCE(pg_sequence_last_value('cookies'), 0) < $1"
        }
    }
}

#[async_trait::async_trait]
impl Repairable for PostgresStore {
    async fn repairer(&self) -> Result<Box<dyn Repairer>, Error> {
        self.lease.join().await.map_err(PostgresError::into_error)?;
        let begun = self.begin_check().await?;
        let end = Instant::now() + CLOSING;
        loop {
            let row = begun.client.lock().await.query_one(ALONE, &[]).await.map_err(fatal)?;
            if column::<bool>(&row, 0)? {
                return Ok(Box::new(begun));
            }
            if Instant::now() >= end {
                return Err(Error::Unavailable("another repair of it is under way".into()));
            }
            tokio::time::sleep(CLOSING / 30).await;
        }
    }
}

#[async_trait::async_trait]
impl Repairer for PostgresChecker {
    async fn repair(&self, repair: &Repair) -> Result<Repaired, Error> {
        let mut backoff = Backoff::new();
        loop {
            let failure = match self.attempt(repair).await {
                Ok(repaired) => return Ok(repaired),
                Err(failure) => failure,
            };
            if let PostgresError::NotJoined(_) = &failure {
                backoff.after(failure)?;
                self.lease.join().await.map_err(PostgresError::into_error)?;
                continue;
            }
            // The connection is not made anew: its lock keeps other repairs out.
            if failure.ends_connection() {
                return Err(failure.into_error());
            }
            tokio::time::sleep(backoff.after(failure)?).await;
        }
    }
}

impl From<Error> for PostgresError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl PostgresChecker {
    /// One transaction, which is rolled back unless something was repaired.
    async fn attempt(&self, repair: &Repair) -> Result<Repaired, PostgresError> {
        let mut client = self.client.lock().await;
        let change = RepairTransaction(client.transaction().await?);
        change.0.query(lease::SHARE, &[&self.lease.instance()]).await?;
        let repaired = repair::repair(&change, repair).await?;
        match repaired {
            Repaired::Done => {
                change.0.batch_execute(BEGIN_TERM).await?;
                change.0.commit().await?;
            }
            Repaired::Changed | Repaired::NameTaken => change.0.rollback().await?,
        }
        Ok(repaired)
    }
}

/// A transaction of a repair.
struct RepairTransaction<'a>(Transaction<'a>);

impl RepairTransaction<'_> {
    async fn execute(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, PostgresError> {
        let statement = self.0.prepare_cached(sql).await?;
        Ok(self.0.execute(&statement, values).await?)
    }

    async fn first(&self, sql: &str, values: &[Value<'_>]) -> Result<Option<Row>, PostgresError> {
        let statement = self.0.prepare_cached(sql).await?;
        Ok(self.0.query_opt(&statement, &parameters(values)).await?)
    }
}

impl Rows for RepairTransaction<'_> {
    type Failure = PostgresError;

    async fn lock(&self, objects: &[ObjectId]) -> Result<(), PostgresError> {
        let ids: Vec<Uuid> = objects.iter().map(|id| id.0).collect();
        self.execute(LOCK, &[&ids]).await.map(drop)
    }

    async fn lock_moves(&self, directory: ObjectId) -> Result<(), PostgresError> {
        self.first(MOVES, &[Value::Id(directory)]).await.map(drop)
    }

    async fn object(&self, id: ObjectId) -> Result<Option<ObjectState>, PostgresError> {
        let row = self.first(OBJECT, &[Value::Id(id)]).await?;
        Ok(row.map(|row| check::state(&row, 0)).transpose()?)
    }

    async fn directory(&self, id: ObjectId) -> Result<Option<DirectoryState>, PostgresError> {
        let row = self.first(DIRECTORY, &[Value::Id(id)]).await?;
        Ok(row.map(|row| check::directory(&row)).transpose()?)
    }

    async fn entry(
        &self,
        directory: ObjectId,
        name: &[u8],
    ) -> Result<Option<EntryState>, PostgresError> {
        let row = self.first(ENTRY, &[Value::Id(directory), Value::Name(name)]).await?;
        Ok(row.map(|row| check::entry(&row)).transpose()?)
    }

    async fn roots(&self) -> Result<Vec<ObjectId>, PostgresError> {
        let rows = self.0.query(ROOTS, &[]).await?;
        rows.iter().map(|row| Ok(ObjectId(column(row, 0)?))).collect()
    }

    async fn run(&self, statement: Statement, values: &[Value<'_>]) -> Result<u64, PostgresError> {
        self.execute(sql(statement), &parameters(values)).await
    }

    async fn count_bytes(&self, share: ShareId, more: i64) -> Result<(), PostgresError> {
        self.execute(COUNT_BYTES, &[&share.0, &more]).await.map(drop)
    }

    async fn count_share(&self, share: ShareId) -> Result<u64, PostgresError> {
        self.execute(ADD_DIFFERENCE, &[&share.0]).await
    }
}

fn parameters<'v>(values: &'v [Value<'_>]) -> Vec<&'v (dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

impl ToSql for Value<'_> {
    /// A number is as wide as the statement wants it.
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match *self {
            Self::Id(id) => id.0.to_sql(ty, out),
            Self::Name(name) => name.to_sql(ty, out),
            Self::Number(number) if *ty == Type::INT2 => i16::try_from(number)?.to_sql(ty, out),
            Self::Number(number) if *ty == Type::INT4 => i32::try_from(number)?.to_sql(ty, out),
            Self::Number(number) => number.to_sql(ty, out),
        }
    }

    fn accepts(ty: &Type) -> bool {
        [Type::UUID, Type::BYTEA, Type::INT2, Type::INT4, Type::INT8].contains(ty)
    }

    to_sql_checked!();
}
