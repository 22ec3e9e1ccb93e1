//! What a repair changes: a transaction each, which has the file for itself and looks first whether there is something to
//! mend. Nothing here makes or removes an object, so that the counters stay right.

use rusqlite::{Connection, ToSql, TransactionBehavior, params};

use super::SqliteStore;
use super::audit::{self, ENTRY, OBJECT, SqliteAuditor, found};
use super::connect;
use super::dump::blocking;
use super::error::Failure;
use super::shares;
use super::usage::Tally;
use crate::metadata::{
    Auditor as _, Error, Fault, Flaw, Mend, Mended, Mender, Numbers, ObjectState, Repair,
};
use crate::types::{ObjectId, ShareId, Timestamp};

const DROP_ENTRY: &str =
    "DELETE FROM parent_child_map WHERE parent_id = ?1 AND child_name = ?2 AND child_id = ?3";
const DROP_YOUNGER: &str = "
    DELETE FROM parent_child_map WHERE parent_id = ?1 AND child_id = ?2 AND cookie >
        (SELECT min(cookie) FROM parent_child_map WHERE parent_id = ?1 AND child_id = ?2)";
const NAME: &str = "
    INSERT INTO parent_child_map (parent_id, child_name, child_id, cookie)
    SELECT ?1, ?2, ?3, next FROM sequences WHERE name = 'cookies'
    ON CONFLICT (parent_id, child_name) DO NOTHING";
const NEXT_COOKIE: &str = "UPDATE sequences SET next = next + 1 WHERE name = 'cookies'";
const TOUCH: &str = "UPDATE files SET ctime = max(?2, ctime + 1) WHERE id = ?1";
const TOUCH_ENTRIES: &str = "
    UPDATE files SET ctime = max(?2, ctime + 1), mtime = max(?2, ctime + 1), subdirs = subdirs + ?3
     WHERE id = ?1 AND file_type = 2";
const PUT_PARENT: &str =
    "UPDATE files SET parent_id = ?3, ctime = max(?2, ctime + 1) WHERE id = ?1";
const PUT_SUBDIRS: &str = "
    UPDATE files
       SET subdirs = (SELECT count(*) FROM parent_child_map e CROSS JOIN files c ON c.id = e.child_id
                       WHERE e.parent_id = ?1 AND c.file_type = 2)
     WHERE id = ?1 AND file_type = 2";
const DROP_COUNT: &str = "DELETE FROM link_counts WHERE file_id = ?1";
const PUT_COUNT: &str = "INSERT OR REPLACE INTO link_counts VALUES (?1, ?2)";
const DROP_STRAY: &str = "
    DELETE FROM link_counts WHERE file_id = ?1
       AND NOT EXISTS (SELECT 1 FROM files f WHERE f.id = ?1 AND f.file_type <> 2)";
const MAKE_USAGE: &str = "INSERT OR IGNORE INTO share_usage VALUES (?1, 0, 0, 0)";

const AMEND_MODE: &str = "
    UPDATE files SET mode = mode & 4095, ctime = max(?2, ctime + 1) WHERE id = ?1 AND mode & ~4095 <> 0";
const AMEND_SIZE: &str = "
    UPDATE files SET size = length(link_target), ctime = max(?2, ctime + 1)
     WHERE id = ?1 AND file_type = 5 AND size <> length(link_target)";
const AMEND_VERIFIER: &str = "
    UPDATE files SET create_verifier = NULL, ctime = max(?2, ctime + 1)
     WHERE id = ?1 AND create_verifier IS NOT NULL AND file_type <> 1";
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
const RENUMBER: &str = "
    UPDATE files SET fileid = (SELECT next FROM sequences WHERE name = 'fileids'), ctime = max(?2, ctime + 1)
     WHERE id = ?1 AND fileid = ?3";
const NEXT_FILEID: &str = "UPDATE sequences SET next = next + 1 WHERE name = 'fileids'";
const NEW_COOKIE: &str = "
    UPDATE parent_child_map SET cookie = (SELECT next FROM sequences WHERE name = 'cookies')
     WHERE parent_id = ?1 AND child_name = ?2 AND cookie = ?3";
const PUT_NAME: &str = "
    UPDATE parent_child_map SET child_name = ?4 WHERE parent_id = ?1 AND child_name = ?2 AND child_id = ?3";
const RAISE: &str = "UPDATE sequences SET next = ?2 + 1 WHERE name = ?1 AND next <= ?2";

#[async_trait::async_trait]
impl Repair for SqliteStore {
    async fn mender(&self) -> Result<Box<dyn Mender>, Error> {
        let settings = self.settings.clone();
        let connection = blocking(move || connect::writer(&settings)).await?;
        Ok(Box::new(SqliteAuditor::new(connection, Some(self.cache.clone()))))
    }
}

#[async_trait::async_trait]
impl Mender for SqliteAuditor {
    async fn mend(&self, mend: &Mend) -> Result<Mended, Error> {
        if let Mend::SetUsage { share } = mend {
            return self.set_usage(*share).await;
        }
        let (mend, cache) = (mend.clone(), self.cache.clone());
        self.work(move |connection| {
            let within = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let change = Change { within: &within, now: Timestamp::now() };
            let mended = change.make(&mend)?;
            let _forgetting = cache.as_ref().map(|cache| cache.forget());
            match mended {
                Mended::Done => within.commit()?,
                Mended::Changed | Mended::NameTaken => within.rollback()?,
            }
            Ok(mended)
        })
        .await
    }
}

impl SqliteAuditor {
    /// Nobody else changes the file, so that what is counted still holds when it is written.
    async fn set_usage(&self, share: ShareId) -> Result<Mended, Error> {
        let Some(usage) = self.usage().await?.into_iter().find(|usage| usage.share == share) else {
            return Ok(Mended::Changed);
        };
        let tally = Tally {
            objects: u64::try_from(usage.counted.objects).unwrap_or(0),
            bytes: u128::try_from(usage.counted.bytes).unwrap_or(0),
        };
        self.work(move |connection| {
            let within = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            within.execute(MAKE_USAGE, [share.0])?;
            tally.write(&within, share)?;
            within.commit()?;
            Ok(Mended::Done)
        })
        .await
    }
}

fn done(rows: usize) -> Mended {
    if rows > 0 { Mended::Done } else { Mended::Changed }
}

/// A transaction that mends.
struct Change<'a> {
    within: &'a Connection,
    now: Timestamp,
}

impl Change<'_> {
    fn make(&self, mend: &Mend) -> Result<Mended, Failure> {
        match mend {
            Mend::RemoveEntry { directory, name, child, fault } => {
                self.remove_entry(*directory, name, *child, *fault)
            }
            Mend::SetParent { parent, name, directory } => {
                self.set_parent(*parent, name, *directory)
            }
            Mend::KeepOneName { directory } => self.keep_one_name(*directory),
            Mend::SetNames { object, ctime, names } => self.set_names(*object, *ctime, *names),
            Mend::Adopt { object, ctime, into } => self.adopt(*object, *ctime, *into),
            Mend::SetSubdirs { directory } => self.set_subdirs(*directory),
            Mend::ForgetNames { object } => {
                self.run(DROP_STRAY, params![object.0.as_bytes()]).map(done)
            }
            Mend::SetUsage { .. } => Ok(Mended::Changed),
            Mend::Amend { object, flaw } => self.amend(*object, *flaw),
            Mend::SetUsed { object, ctime, used } => self.set_used(*object, *ctime, *used),
            Mend::Renumber { object, fileid } => self.renumber(*object, *fileid),
            Mend::SetCookie { directory, name, cookie } => {
                self.set_cookie(*directory, name, *cookie)
            }
            Mend::Rename { directory, name, child } => self.rename(*directory, name, *child),
            Mend::Raise { numbers, highest } => {
                let name = match numbers {
                    Numbers::Fileids => "fileids",
                    Numbers::Cookies => "cookies",
                };
                self.run(RAISE, params![name, highest]).map(done)
            }
        }
    }

    fn run(&self, sql: &str, arguments: &[&dyn ToSql]) -> Result<usize, Failure> {
        Ok(self.within.prepare_cached(sql)?.execute(arguments)?)
    }

    fn touch(&self, object: ObjectId) -> Result<Mended, Failure> {
        self.run(TOUCH, params![object.0.as_bytes(), self.now.0]).map(done)
    }

    fn touch_entries(&self, directory: ObjectId, more: bool) -> Result<usize, Failure> {
        self.run(TOUCH_ENTRIES, params![directory.0.as_bytes(), self.now.0, more])
    }

    fn count_subdirs(&self, directory: ObjectId) -> Result<usize, Failure> {
        self.run(PUT_SUBDIRS, params![directory.0.as_bytes()])
    }

    fn object(&self, id: ObjectId) -> Result<Option<ObjectState>, Failure> {
        let found =
            found(self.within, OBJECT, params![id.0.as_bytes()], |row| audit::state(row, 0))?;
        Ok(found.into_iter().next())
    }

    /// How many entries of its parent name a directory; none where there is no such directory.
    fn names(&self, directory: ObjectId) -> Result<u64, Failure> {
        Ok(audit::directory(self.within, directory)?.map_or(0, |found| found.names))
    }

    /// Whether the entry still names the object and has the fault; what the object is then.
    fn faulty(
        &self,
        directory: ObjectId,
        name: &[u8],
        child: ObjectId,
        fault: Fault,
    ) -> Result<Option<Option<ObjectState>>, Failure> {
        let roots: Vec<_> = shares::all(self.within)?.iter().map(|share| share.root).collect();
        let key = params![directory.0.as_bytes(), name];
        let entry = found(self.within, ENTRY, key, audit::entry)?.into_iter().next();
        Ok(entry
            .filter(|it| it.child == child && it.fault(&roots) == Some(fault))
            .map(|it| it.object))
    }

    fn remove_entry(
        &self,
        directory: ObjectId,
        name: &[u8],
        child: ObjectId,
        fault: Fault,
    ) -> Result<Mended, Failure> {
        let Some(object) = self.faulty(directory, name, child, fault)? else {
            return Ok(Mended::Changed);
        };
        if fault == Fault::OtherParent && self.names(child)? == 0 {
            return Ok(Mended::Changed);
        }
        self.run(DROP_ENTRY, params![directory.0.as_bytes(), name, child.0.as_bytes()])?;
        self.touch_entries(directory, false)?;
        if object.is_some_and(|object| object.file_type.is_directory()) {
            self.count_subdirs(directory)?;
        }
        self.touch(child)?;
        Ok(Mended::Done)
    }

    fn set_parent(
        &self,
        parent: ObjectId,
        name: &[u8],
        directory: ObjectId,
    ) -> Result<Mended, Failure> {
        let entry = self.faulty(parent, name, directory, Fault::OtherParent)?;
        if entry.is_none() || self.names(directory)? > 0 {
            return Ok(Mended::Changed);
        }
        self.put_parent(directory, parent)
    }

    fn put_parent(&self, directory: ObjectId, parent: ObjectId) -> Result<Mended, Failure> {
        let values = params![directory.0.as_bytes(), self.now.0, parent.0.as_bytes()];
        self.run(PUT_PARENT, values).map(done)
    }

    fn keep_one_name(&self, directory: ObjectId) -> Result<Mended, Failure> {
        let Some(parent) = self.object(directory)?.and_then(|object| object.parent) else {
            return Ok(Mended::Changed);
        };
        if self.names(directory)? < 2 {
            return Ok(Mended::Changed);
        }
        self.run(DROP_YOUNGER, params![parent.0.as_bytes(), directory.0.as_bytes()])?;
        self.touch_entries(parent, false)?;
        self.count_subdirs(parent)?;
        self.touch(directory)
    }

    fn set_names(&self, object: ObjectId, ctime: Timestamp, names: u64) -> Result<Mended, Failure> {
        let found = self.object(object)?;
        if found
            .is_none_or(|it| it.file_type.is_directory() || it.ctime != ctime || it.names == names)
        {
            return Ok(Mended::Changed);
        }
        let id = object.0.as_bytes();
        if names == 1 {
            self.run(DROP_COUNT, params![id])?;
        } else {
            self.run(PUT_COUNT, params![id, names.cast_signed()])?;
        }
        self.touch(object)
    }

    fn adopt(&self, object: ObjectId, ctime: Timestamp, into: ObjectId) -> Result<Mended, Failure> {
        let (Some(found), Some(place)) = (self.object(object)?, self.object(into)?) else {
            return Ok(Mended::Changed);
        };
        let is_directory = found.file_type.is_directory();
        let nameless = if is_directory { self.names(object)? == 0 } else { found.ctime == ctime };
        if !nameless || !place.file_type.is_directory() || place.share != found.share {
            return Ok(Mended::Changed);
        }
        let name = object.to_string().into_bytes();
        if self.run(NAME, params![into.0.as_bytes(), name, object.0.as_bytes()])? == 0 {
            return Ok(Mended::NameTaken);
        }
        self.run(NEXT_COOKIE, &[])?;
        self.touch_entries(into, is_directory)?;
        if is_directory {
            return self.put_parent(object, into);
        }
        self.run(DROP_COUNT, params![object.0.as_bytes()])?;
        self.touch(object)
    }

    fn set_subdirs(&self, directory: ObjectId) -> Result<Mended, Failure> {
        let found = audit::directory(self.within, directory)?;
        if found.is_none_or(|it| it.subdirs == it.object.subdirs) {
            return Ok(Mended::Changed);
        }
        self.count_subdirs(directory)?;
        self.touch(directory)
    }

    fn amend(&self, object: ObjectId, flaw: Flaw) -> Result<Mended, Failure> {
        let statement = match flaw {
            Flaw::Mode => AMEND_MODE,
            Flaw::TargetSize => AMEND_SIZE,
            Flaw::Verifier => AMEND_VERIFIER,
            Flaw::Used => AMEND_USED,
        };
        self.run(statement, params![object.0.as_bytes(), self.now.0]).map(done)
    }

    fn set_used(&self, object: ObjectId, ctime: Timestamp, used: u64) -> Result<Mended, Failure> {
        let Some(before) = self.object(object)?.filter(|it| it.ctime == ctime) else {
            return Ok(Mended::Changed);
        };
        let used = i64::try_from(used).unwrap_or(i64::MAX);
        if self.run(SET_USED, params![object.0.as_bytes(), used])? == 0 {
            return Ok(Mended::Changed);
        }
        let after = self.object(object)?.map_or(0, |after| after.used);
        if let Some(mut tally) = Tally::read(self.within, before.share)? {
            tally.bytes =
                tally.bytes.saturating_add(after.into()).saturating_sub(before.used.into());
            tally.write(self.within, before.share)?;
        }
        Ok(Mended::Done)
    }

    fn renumber(&self, object: ObjectId, fileid: i64) -> Result<Mended, Failure> {
        if self.run(RENUMBER, params![object.0.as_bytes(), self.now.0, fileid])? == 0 {
            return Ok(Mended::Changed);
        }
        self.run(NEXT_FILEID, &[]).map(done)
    }

    fn set_cookie(&self, directory: ObjectId, name: &[u8], cookie: i64) -> Result<Mended, Failure> {
        if self.run(NEW_COOKIE, params![directory.0.as_bytes(), name, cookie])? == 0 {
            return Ok(Mended::Changed);
        }
        self.run(NEXT_COOKIE, &[])?;
        self.touch_entries(directory, false).map(done)
    }

    fn rename(&self, directory: ObjectId, name: &[u8], child: ObjectId) -> Result<Mended, Failure> {
        let (id, new) = (directory.0.as_bytes(), child.to_string().into_bytes());
        if !found(self.within, ENTRY, params![id, new], |_| Ok(()))?.is_empty() {
            return Ok(Mended::NameTaken);
        }
        if self.run(PUT_NAME, params![id, name, child.0.as_bytes(), new])? == 0 {
            return Ok(Mended::Changed);
        }
        self.touch_entries(directory, false)?;
        self.touch(child)
    }
}
