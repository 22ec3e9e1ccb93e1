//! What a repair changes, while servers go on: a transaction each, which locks rows in the order that operations do (the lock
//! of directory moves, directories by UUID, other objects by UUID), looks again in later statements, and only then
//! changes something. Nothing here makes or removes an object, so that the counters stay right.

use deadpool_postgres::Transaction;
use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::PostgresStore;
use super::audit::{self, DIRECTORY, ENTRY, PostgresAuditor};
use super::connect::CLOSING;
use super::error::{Failure, fatal};
use super::retry::Patience;
use super::rows::column;
use crate::metadata::{
    DirectoryState, EntryState, Error, Fault, Flaw, Mend, Mended, Mender, Numbers, ObjectState,
    Repair,
};
use crate::types::{ObjectId, ShareId, Timestamp};

/// One repair at a time: the sums that it mends by differences would be mended twice.
const ALONE: &str = "SELECT pg_try_advisory_lock(19794, 0)";
const MOVES: &str = "
    SELECT pg_advisory_xact_lock(19792, f.share_id) FROM files f WHERE f.id = $1";
const LOCK: &str = "
    SELECT 1 FROM files WHERE id = ANY ($1) ORDER BY (file_type <> 2), id FOR UPDATE";
const ROOTS: &str = "SELECT root FROM shares";
const OBJECT: &str = concat!("SELECT ", audit::state_columns!(), " FROM files f WHERE f.id = $1");
const DROP_ENTRY: &str =
    "DELETE FROM parent_child_map WHERE parent_id = $1 AND child_name = $2 AND child_id = $3";
const DROP_YOUNGER: &str = "
    DELETE FROM parent_child_map WHERE parent_id = $1 AND child_id = $2 AND cookie >
        (SELECT min(cookie) FROM parent_child_map WHERE parent_id = $1 AND child_id = $2)";
const NAME: &str = "
    INSERT INTO parent_child_map (parent_id, child_name, child_id) VALUES ($1, $2, $3)
    ON CONFLICT (parent_id, child_name) DO NOTHING";
const TOUCH: &str = "UPDATE files SET ctime = GREATEST($2, ctime + 1) WHERE id = $1";
const TOUCH_ENTRIES: &str = "
    UPDATE files SET ctime = GREATEST($2, ctime + 1), mtime = GREATEST($2, ctime + 1), subdirs = subdirs + $3
     WHERE id = $1 AND file_type = 2";
const PUT_PARENT: &str =
    "UPDATE files SET parent_id = $3, ctime = GREATEST($2, ctime + 1) WHERE id = $1";
const COUNT_SUBDIRS: &str = "
    UPDATE files
       SET subdirs = (SELECT count(*) FROM parent_child_map e JOIN files c ON c.id = e.child_id
                       WHERE e.parent_id = $1 AND c.file_type = 2)
     WHERE id = $1 AND file_type = 2";
const DROP_COUNT: &str = "DELETE FROM link_counts WHERE file_id = $1";
const PUT_COUNT: &str = "
    INSERT INTO link_counts VALUES ($1, $2)
    ON CONFLICT (file_id) DO UPDATE SET link_count = EXCLUDED.link_count";
const DROP_STRAY: &str = "
    DELETE FROM link_counts l WHERE l.file_id = $1
       AND NOT EXISTS (SELECT FROM files f WHERE f.id = l.file_id AND f.file_type <> 2)";
const AMEND_MODE: &str = "
    UPDATE files SET mode = mode & 4095, ctime = GREATEST($2, ctime + 1) WHERE id = $1 AND mode & ~4095 <> 0";
const AMEND_SIZE: &str = "
    UPDATE files SET size = length(link_target), ctime = GREATEST($2, ctime + 1)
     WHERE id = $1 AND file_type = 5 AND size <> length(link_target)";
const AMEND_VERIFIER: &str = "
    UPDATE files SET create_verifier = NULL, ctime = GREATEST($2, ctime + 1)
     WHERE id = $1 AND create_verifier IS NOT NULL AND file_type <> 1";
const AMEND_USED: &str = "
    UPDATE files SET used = CASE file_type WHEN 1 THEN LEAST(used, most_used(size)) WHEN 5 THEN length(link_target) ELSE size END,
                     ctime = GREATEST($2, ctime + 1)
     WHERE id = $1 AND used <> CASE file_type WHEN 1 THEN LEAST(used, most_used(size)) WHEN 5 THEN length(link_target)
                                              ELSE size END";
const SET_USED: &str = "
    UPDATE files SET used = LEAST($2, most_used(size)) WHERE id = $1 AND file_type = 1 AND used <> LEAST($2, most_used(size))";
/// What a share uses more or less.
const COUNT_BYTES: &str = "
    INSERT INTO writer_slots (share_id, slot, epoch, bytes) VALUES ($1, 0, 0, $2::bigint)
        ON CONFLICT ON CONSTRAINT writer_slots_pkey DO UPDATE SET bytes = writer_slots.bytes + EXCLUDED.bytes";
const RENUMBER: &str = "
    UPDATE files SET fileid = nextval('fileids'), ctime = GREATEST($2, ctime + 1) WHERE id = $1 AND fileid = $3";
const NEW_COOKIE: &str = "
    UPDATE parent_child_map SET cookie = nextval('cookies')
     WHERE parent_id = $1 AND child_name = $2 AND cookie = $3";
const PUT_NAME: &str = "
    UPDATE parent_child_map SET child_name = $4 WHERE parent_id = $1 AND child_name = $2 AND child_id = $3";
/// Beyond what other sessions may have drawn meanwhile.
const RAISE_FILEIDS: &str = "SELECT setval('fileids', $1::bigint + 1000000) WHERE COALESCE(pg_sequence_last_value('fileids'), 0) < $1";
const RAISE_COOKIES: &str = "SELECT setval('cookies', $1::bigint + 1000000) WHERE COALESCE(pg_sequence_last_value('cookies'), 0) < $1";
/// The difference is that of one moment, and every operation changes both sides alike: it holds when it is added.
const ADD_DIFFERENCE: &str = "
    INSERT INTO writer_slots (share_id, slot, epoch, files, bytes)
    SELECT $1, 0, 0, c.objects - k.objects, c.bytes - k.bytes
      FROM (SELECT count(*) AS objects, COALESCE(sum(used) FILTER (WHERE file_type IN (1, 5)), 0) AS bytes
              FROM files WHERE share_id = $1) c,
           (SELECT COALESCE(sum(files), 0) AS objects, COALESCE(sum(bytes), 0) AS bytes
              FROM writer_slots WHERE share_id = $1) k
        ON CONFLICT ON CONSTRAINT writer_slots_pkey
        DO UPDATE SET files = writer_slots.files + EXCLUDED.files, bytes = writer_slots.bytes + EXCLUDED.bytes";

#[async_trait::async_trait]
impl Repair for PostgresStore {
    async fn mender(&self) -> Result<Box<dyn Mender>, Error> {
        let begun = self.begin_audit().await?;
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
impl Mender for PostgresAuditor {
    async fn mend(&self, mend: &Mend) -> Result<Mended, Error> {
        let mut patience = Patience::new();
        loop {
            let failure = match self.attempt(mend).await {
                Ok(mended) => return Ok(mended),
                Err(failure) => failure,
            };
            // The connection is not made anew: its lock keeps other repairs out.
            if failure.ends_connection() {
                return Err(failure.into_error());
            }
            tokio::time::sleep(patience.after(failure)?).await;
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl PostgresAuditor {
    /// One transaction, which is rolled back unless something was mended.
    async fn attempt(&self, mend: &Mend) -> Result<Mended, Failure> {
        let mut client = self.client.lock().await;
        let change = Change { within: client.transaction().await?, now: Timestamp::now() };
        let mended = match mend {
            Mend::RemoveEntry { directory, name, child, fault } => {
                change.remove_entry(*directory, name, *child, *fault).await?
            }
            Mend::SetParent { parent, name, directory } => {
                change.set_parent(*parent, name, *directory).await?
            }
            Mend::KeepOneName { directory } => change.keep_one_name(*directory).await?,
            Mend::SetNames { object, ctime, names } => {
                change.set_names(*object, *ctime, *names).await?
            }
            Mend::Adopt { object, ctime, into } => change.adopt(*object, *ctime, *into).await?,
            Mend::SetSubdirs { directory } => change.set_subdirs(*directory).await?,
            Mend::ForgetNames { object } => done(change.run(DROP_STRAY, &[&object.0]).await?),
            Mend::SetUsage { share: ShareId(share) } => {
                done(change.run(ADD_DIFFERENCE, &[share]).await?)
            }
            Mend::Amend { object, flaw } => change.amend(*object, *flaw).await?,
            Mend::SetUsed { object, ctime, used } => {
                change.set_used(*object, *ctime, *used).await?
            }
            Mend::Renumber { object, fileid } => {
                done(change.run(RENUMBER, &[&object.0, &change.now.0, fileid]).await?)
            }
            Mend::SetCookie { directory, name, cookie } => {
                change.set_cookie(*directory, name, *cookie).await?
            }
            Mend::Rename { directory, name, child } => {
                change.rename(*directory, name, *child).await?
            }
            Mend::Raise { numbers: Numbers::Fileids, highest } => {
                done(change.run(RAISE_FILEIDS, &[highest]).await?)
            }
            Mend::Raise { numbers: Numbers::Cookies, highest } => {
                done(change.run(RAISE_COOKIES, &[highest]).await?)
            }
        };
        match mended {
            Mended::Done => change.within.commit().await?,
            Mended::Changed | Mended::NameTaken => change.within.rollback().await?,
        }
        Ok(mended)
    }
}

fn done(rows: u64) -> Mended {
    if rows > 0 { Mended::Done } else { Mended::Changed }
}

/// A transaction that mends.
struct Change<'a> {
    within: Transaction<'a>,
    now: Timestamp,
}

impl Change<'_> {
    async fn run(&self, sql: &str, arguments: &[&(dyn ToSql + Sync)]) -> Result<u64, Failure> {
        let statement = self.within.prepare_cached(sql).await?;
        Ok(self.within.execute(&statement, arguments).await?)
    }

    async fn first(
        &self,
        sql: &str,
        arguments: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<tokio_postgres::Row>, Failure> {
        let statement = self.within.prepare_cached(sql).await?;
        Ok(self.within.query_opt(&statement, arguments).await?)
    }

    async fn lock(&self, ids: &[ObjectId]) -> Result<(), Failure> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        self.run(LOCK, &[&ids]).await.map(drop)
    }

    async fn object(&self, id: ObjectId) -> Result<Option<ObjectState>, Failure> {
        let row = self.first(OBJECT, &[&id.0]).await?;
        Ok(row.map(|row| audit::state(&row, 0)).transpose()?)
    }

    async fn directory(&self, id: ObjectId) -> Result<Option<DirectoryState>, Failure> {
        let row = self.first(DIRECTORY, &[&id.0]).await?;
        Ok(row.map(|row| audit::directory(&row)).transpose()?)
    }

    /// The entry where it still names the object and has the fault.
    async fn faulty(
        &self,
        directory: ObjectId,
        name: &[u8],
        child: ObjectId,
        fault: Fault,
    ) -> Result<Option<EntryState>, Failure> {
        let rows = self.within.query(ROOTS, &[]).await?;
        let roots = rows
            .iter()
            .map(|row| Ok(ObjectId(column(row, 0)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        let Some(row) = self.first(ENTRY, &[&directory.0, &name]).await? else { return Ok(None) };
        let entry = audit::entry(&row)?;
        Ok((entry.child == child && entry.fault(&roots) == Some(fault)).then_some(entry))
    }

    async fn remove_entry(
        &self,
        directory: ObjectId,
        name: &[u8],
        child: ObjectId,
        fault: Fault,
    ) -> Result<Mended, Failure> {
        self.lock(&[directory, child]).await?;
        let Some(entry) = self.faulty(directory, name, child, fault).await? else {
            return Ok(Mended::Changed);
        };
        if fault == Fault::OtherParent
            && self.directory(child).await?.is_none_or(|found| found.names == 0)
        {
            return Ok(Mended::Changed);
        }
        self.run(DROP_ENTRY, &[&directory.0, &name, &child.0]).await?;
        self.run(TOUCH_ENTRIES, &[&directory.0, &self.now.0, &0_i32]).await?;
        if entry.object.is_some_and(|object| object.file_type.is_directory()) {
            self.run(COUNT_SUBDIRS, &[&directory.0]).await?;
        }
        self.run(TOUCH, &[&child.0, &self.now.0]).await?;
        Ok(Mended::Done)
    }

    async fn set_parent(
        &self,
        parent: ObjectId,
        name: &[u8],
        directory: ObjectId,
    ) -> Result<Mended, Failure> {
        self.first(MOVES, &[&directory.0]).await?;
        self.lock(&[parent, directory]).await?;
        let entry = self.faulty(parent, name, directory, Fault::OtherParent).await?;
        let named = self.directory(directory).await?.is_none_or(|found| found.names > 0);
        if entry.is_none() || named {
            return Ok(Mended::Changed);
        }
        self.run(PUT_PARENT, &[&directory.0, &self.now.0, &parent.0]).await.map(done)
    }

    async fn keep_one_name(&self, directory: ObjectId) -> Result<Mended, Failure> {
        let Some(parent) = self.object(directory).await?.and_then(|object| object.parent) else {
            return Ok(Mended::Changed);
        };
        self.lock(&[parent, directory]).await?;
        let found = self.directory(directory).await?;
        if found.is_none_or(|it| it.names < 2 || it.object.parent != Some(parent)) {
            return Ok(Mended::Changed);
        }
        self.run(DROP_YOUNGER, &[&parent.0, &directory.0]).await?;
        self.run(TOUCH_ENTRIES, &[&parent.0, &self.now.0, &0_i32]).await?;
        self.run(COUNT_SUBDIRS, &[&parent.0]).await?;
        self.run(TOUCH, &[&directory.0, &self.now.0]).await.map(done)
    }

    async fn set_names(
        &self,
        object: ObjectId,
        ctime: Timestamp,
        names: u64,
    ) -> Result<Mended, Failure> {
        self.lock(&[object]).await?;
        let found = self.object(object).await?;
        if found
            .is_none_or(|it| it.file_type.is_directory() || it.ctime != ctime || it.names == names)
        {
            return Ok(Mended::Changed);
        }
        let count = i32::try_from(names).unwrap_or(i32::MAX);
        if count == 1 {
            self.run(DROP_COUNT, &[&object.0]).await?;
        } else {
            self.run(PUT_COUNT, &[&object.0, &count]).await?;
        }
        self.run(TOUCH, &[&object.0, &self.now.0]).await.map(done)
    }

    async fn adopt(
        &self,
        object: ObjectId,
        ctime: Timestamp,
        into: ObjectId,
    ) -> Result<Mended, Failure> {
        let Some(before) = self.object(object).await? else { return Ok(Mended::Changed) };
        let is_directory = before.file_type.is_directory();
        if is_directory {
            self.first(MOVES, &[&object.0]).await?;
        }
        self.lock(&[into, object]).await?;
        let nameless = if is_directory {
            self.directory(object).await?.is_some_and(|it| it.names == 0)
        } else {
            self.object(object).await?.is_some_and(|it| it.ctime == ctime)
        };
        let place = self.object(into).await?;
        if !nameless
            || place.is_none_or(|it| !it.file_type.is_directory() || it.share != before.share)
        {
            return Ok(Mended::Changed);
        }
        let name = object.to_string().into_bytes();
        if self.run(NAME, &[&into.0, &name, &object.0]).await? == 0 {
            return Ok(Mended::NameTaken);
        }
        self.run(TOUCH_ENTRIES, &[&into.0, &self.now.0, &i32::from(is_directory)]).await?;
        if is_directory {
            return self.run(PUT_PARENT, &[&object.0, &self.now.0, &into.0]).await.map(done);
        }
        self.run(DROP_COUNT, &[&object.0]).await?;
        self.run(TOUCH, &[&object.0, &self.now.0]).await.map(done)
    }

    async fn set_subdirs(&self, directory: ObjectId) -> Result<Mended, Failure> {
        self.lock(&[directory]).await?;
        let found = self.directory(directory).await?;
        if found.is_none_or(|it| it.subdirs == it.object.subdirs) {
            return Ok(Mended::Changed);
        }
        self.run(COUNT_SUBDIRS, &[&directory.0]).await?;
        self.run(TOUCH, &[&directory.0, &self.now.0]).await.map(done)
    }

    async fn amend(&self, object: ObjectId, flaw: Flaw) -> Result<Mended, Failure> {
        let statement = match flaw {
            Flaw::Mode => AMEND_MODE,
            Flaw::TargetSize => AMEND_SIZE,
            Flaw::Verifier => AMEND_VERIFIER,
            Flaw::Used => AMEND_USED,
        };
        self.run(statement, &[&object.0, &self.now.0]).await.map(done)
    }

    async fn set_used(
        &self,
        object: ObjectId,
        ctime: Timestamp,
        used: u64,
    ) -> Result<Mended, Failure> {
        self.lock(&[object]).await?;
        let Some(before) = self.object(object).await?.filter(|it| it.ctime == ctime) else {
            return Ok(Mended::Changed);
        };
        let used = i64::try_from(used).unwrap_or(i64::MAX);
        if self.run(SET_USED, &[&object.0, &used]).await? == 0 {
            return Ok(Mended::Changed);
        }
        let after = self.object(object).await?.map_or(0, |after| after.used);
        let more = after.cast_signed() - before.used.cast_signed();
        self.run(COUNT_BYTES, &[&before.share.0, &more]).await.map(done)
    }

    async fn set_cookie(
        &self,
        directory: ObjectId,
        name: &[u8],
        cookie: i64,
    ) -> Result<Mended, Failure> {
        self.lock(&[directory]).await?;
        if self.run(NEW_COOKIE, &[&directory.0, &name, &cookie]).await? == 0 {
            return Ok(Mended::Changed);
        }
        self.run(TOUCH_ENTRIES, &[&directory.0, &self.now.0, &0_i32]).await.map(done)
    }

    async fn rename(
        &self,
        directory: ObjectId,
        name: &[u8],
        child: ObjectId,
    ) -> Result<Mended, Failure> {
        self.lock(&[directory, child]).await?;
        let new = child.to_string().into_bytes();
        if self.first(ENTRY, &[&directory.0, &new]).await?.is_some() {
            return Ok(Mended::NameTaken);
        }
        if self.run(PUT_NAME, &[&directory.0, &name, &child.0, &new]).await? == 0 {
            return Ok(Mended::Changed);
        }
        self.run(TOUCH_ENTRIES, &[&directory.0, &self.now.0, &0_i32]).await?;
        self.run(TOUCH, &[&child.0, &self.now.0]).await.map(done)
    }
}
