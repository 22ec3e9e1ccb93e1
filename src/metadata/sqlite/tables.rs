//! The tables as the writer sees them, inside its transaction.
//!
//! The writer is alone, so what it has read of an object still holds: it keeps the objects it met last. A
//! change of an object stays there until the end of the batch, so that a directory in which many entries
//! change is written once.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::error::SqliteError;
use super::lock_rows;
use super::read::OBJECT;
#[cfg(test)]
use super::replies;
use super::replies::Replies;
use super::rows::{self, Stored, damaged};
use super::shares;
use super::usage::Tally;
use crate::metadata::cache::two_generations::GENERATION;
use crate::metadata::cache::{ChangedEntry, Touched};
use crate::metadata::known_shares::KnownShares;
use crate::metadata::locks::table::LockTable;
use crate::metadata::single_writer::{Edge, OpError, Outcome, Tables};
use crate::metadata::{Capabilities, Error, ShareSpec};
use crate::types::{
    Attributes, Cookie, Fileid, Fsid, Name, ObjectId, Replay, ShareId, SymlinkTarget,
};

/// How many objects are kept at least, where that many were met: those that a batch meets fit into the same
/// table beside them.
const KEPT: usize = GENERATION - (1 << 10);
/// How many numbers of a sequence are taken at once.
const RUN: i64 = 1024;
/// Why nothing is made, where SQLite was not asked.
const KEPT_FREE: &str = "disk full: the remaining space is reserved for removing files";

const TAKE_RUN: &str = "UPDATE sequences SET next = next + ?2 WHERE name = ?1 RETURNING next";
const INSERT: &str = "
    INSERT INTO files (id, share_id, fileid, file_type, mode, uid, gid, size, atime, mtime, ctime, subdirs, content_id,
                       content_version, mtime_version, parent_id, link_target, rdev, create_verifier, used)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)";
const UPDATE: &str = "
    UPDATE files SET mode = ?2, uid = ?3, gid = ?4, size = ?5, atime = ?6, mtime = ?7, ctime = ?8, subdirs = ?9,
                     content_id = ?10, content_version = ?11, mtime_version = ?12, parent_id = ?13,
                     create_verifier = ?14, used = ?15
     WHERE id = ?1";
const DELETE: &str = "DELETE FROM files WHERE id = ?1";
const EDGE: &str =
    "SELECT child_id, cookie FROM parent_child_map WHERE parent_id = ?1 AND child_name = ?2";
const ANY_EDGE: &str = "SELECT EXISTS (SELECT 1 FROM parent_child_map WHERE parent_id = ?1)";
const PUT_EDGE: &str = "
    INSERT INTO parent_child_map (parent_id, child_name, child_id, cookie) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (parent_id, child_name) DO UPDATE SET child_id = excluded.child_id, cookie = excluded.cookie";
const DELETE_EDGE: &str = "DELETE FROM parent_child_map WHERE parent_id = ?1 AND child_name = ?2";
const PUT_LINKS: &str = "
    INSERT INTO link_counts (file_id, link_count) VALUES (?1, ?2)
    ON CONFLICT (file_id) DO UPDATE SET link_count = excluded.link_count";
const DELETE_LINKS: &str = "DELETE FROM link_counts WHERE file_id = ?1";

/// Every statement of the writer that takes parameters, for the test of their plans.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 12] = [
    TAKE_RUN,
    INSERT,
    UPDATE,
    DELETE,
    EDGE,
    ANY_EDGE,
    PUT_EDGE,
    DELETE_EDGE,
    PUT_LINKS,
    DELETE_LINKS,
    replies::INSERT,
    replies::PRUNE,
];

/// The numbers of a sequence that were taken and not given out.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    next: i64,
    end: i64,
}

impl Run {
    fn next(&mut self, connection: &Connection, name: &str) -> Result<u64, SqliteError> {
        if self.next == self.end {
            let end = connection
                .prepare_cached(TAKE_RUN)?
                .query_row(params![name, RUN], |row| row.get(0))?;
            *self = Self { next: end - RUN, end };
        }
        self.next += 1;
        Ok((self.next - 1).cast_unsigned())
    }
}

/// An object that the writer knows.
#[derive(Debug)]
struct Known {
    stored: Stored,
    /// Whether the row differs.
    changed: bool,
}

/// A tally that the writer knows.
#[derive(Debug)]
struct Counted {
    tally: Tally,
    changed: bool,
}

/// The tables inside the writer's transaction.
#[derive(Debug)]
pub(super) struct Writable {
    connection: Connection,
    shares: Arc<KnownShares>,
    /// Objects met lately.
    recent: HashMap<ObjectId, Known>,
    /// Objects met before those; none has changed.
    earlier: HashMap<ObjectId, Known>,
    /// Objects whose rows differ.
    changed: Vec<ObjectId>,
    /// What the transaction has changed so far.
    touched: Touched,
    usage: HashMap<ShareId, Counted>,
    fileids: Run,
    cookies: Run,
    /// Whether the disk has room for something new.
    room: bool,
    /// Locks, all of them.
    pub(super) locks: LockTable,
    /// Calls that were done.
    replies: Replies,
}

impl Writable {
    pub(super) fn new(connection: Connection, shares: Arc<KnownShares>, locks: LockTable) -> Self {
        Self {
            connection,
            shares,
            recent: HashMap::new(),
            earlier: HashMap::new(),
            changed: Vec::new(),
            touched: Touched::default(),
            usage: HashMap::new(),
            fileids: Run::default(),
            cookies: Run::default(),
            room: true,
            locks,
            replies: Replies::default(),
        }
    }

    /// Forgets everything: the transaction was undone, or another connection wrote.
    pub(super) fn forget(&mut self) {
        (self.recent, self.earlier) = (HashMap::new(), HashMap::new());
        (self.changed, self.touched) = (Vec::new(), Touched::default());
        self.usage = HashMap::new();
        (self.fileids, self.cookies) = (Run::default(), Run::default());
        self.replies.forget();
        self.locks.undo();
    }

    /// Reads the locks again: another connection may have changed them.
    pub(super) fn read_locks_again(&mut self) -> Result<(), SqliteError> {
        let mut locks = self.locks.emptied();
        lock_rows::load(&self.connection, &mut locks)?;
        locks.wake_all();
        self.locks = locks;
        Ok(())
    }

    /// The connection, for what is no change of the tables.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Gives the connection back.
    pub(super) fn into_connection(self) -> Connection {
        self.connection
    }

    /// Runs a statement without parameters.
    pub(super) fn run(&self, sql: &str) -> Result<usize, SqliteError> {
        Ok(self.connection.prepare_cached(sql)?.execute([])?)
    }

    /// Says whether the disk has room for something new from now on.
    pub(super) fn set_room(&mut self, room: bool) {
        self.room = room;
    }

    /// Writes what was changed; the commit follows.
    pub(super) fn write_back(&mut self) -> Result<(), SqliteError> {
        for id in std::mem::take(&mut self.changed) {
            // What is not there any more was changed first and then dropped.
            if let Some(known) = self.recent.get_mut(&id).filter(|known| known.changed) {
                update(&self.connection, &known.stored)?;
                known.changed = false;
            }
        }
        for (share, counted) in self.usage.iter_mut().filter(|(_, counted)| counted.changed) {
            counted.tally.write(&self.connection, *share)?;
            counted.changed = false;
        }
        // The last of the disk is for removals themselves.
        if self.room {
            self.replies.write(&self.connection)?;
        } else {
            self.replies.forget();
        }
        lock_rows::write(&self.connection, &self.locks)
    }

    /// What the transaction has changed; the next begins with nothing.
    pub(super) fn touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    /// Those of the objects that are still there, as they are now.
    pub(super) fn still_there<'t>(
        &'t self,
        touched: &'t Touched,
    ) -> impl Iterator<Item = &'t Attributes> {
        touched.objects.iter().filter_map(|id| Some(&self.recent.get(id)?.stored.attributes))
    }

    /// Lets go of objects that were not met for long. Nothing is to be written back.
    pub(super) fn trim(&mut self) {
        if self.recent.len() > KEPT {
            self.earlier = std::mem::take(&mut self.recent);
        }
    }

    /// Makes a share and its root on first use.
    pub(super) fn open_share(&mut self, spec: &ShareSpec) -> Result<(), OpError<SqliteError>> {
        if let Some(share) = shares::make(&self.connection, spec)? {
            let fileid = Fileid(self.fileids.next(&self.connection, "fileids")?);
            let root = shares::root(&share, spec, fileid);
            self.add(share.id, &root, None, None)?;
        }
        Ok(())
    }

    /// Sets a setting whose present value is `seen`.
    pub(super) fn set_setting(
        &mut self,
        key: &str,
        seen: Option<&str>,
        value: &str,
    ) -> Result<(), OpError<SqliteError>> {
        Ok(shares::set_setting(&self.connection, key, seen, value)?)
    }

    /// An object, which is among the recent ones from then on.
    fn known(&mut self, id: ObjectId) -> Result<Option<&mut Known>, SqliteError> {
        if !self.recent.contains_key(&id) {
            let known = match self.earlier.remove(&id) {
                Some(known) => known,
                None => match self.load(id)? {
                    Some(stored) => Known { stored, changed: false },
                    None => return Ok(None),
                },
            };
            self.recent.insert(id, known);
        }
        Ok(self.recent.get_mut(&id))
    }

    fn load(&self, id: ObjectId) -> Result<Option<Stored>, SqliteError> {
        let mut statement = self.connection.prepare_cached(OBJECT)?;
        let mut rows = statement.query(params![id.0.as_bytes()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        rows::object(row, 0, |share| self.shares.fsid(share)).map(Some)
    }

    /// An object that an operation has met.
    fn present(&mut self, id: ObjectId) -> Result<&mut Known, SqliteError> {
        self.known(id)?.ok_or_else(|| damaged(format_args!("object {id} went away")))
    }

    /// The object's row differs from now on.
    fn touch(&mut self, id: ObjectId) -> Result<&mut Stored, SqliteError> {
        if !self.present(id)?.changed {
            self.changed.push(id);
            self.touched.objects.push(id);
        }
        let known = self.present(id)?;
        known.changed = true;
        Ok(&mut known.stored)
    }

    fn tally(&mut self, share: ShareId) -> Result<&mut Tally, SqliteError> {
        if !self.usage.contains_key(&share) {
            let tally = Tally::read(&self.connection, share)?
                .ok_or_else(|| damaged(format_args!("share {} has no counters", share.0)))?;
            self.usage.insert(share, Counted { tally, changed: false });
        }
        let counted = self
            .usage
            .get_mut(&share)
            .ok_or_else(|| damaged(format_args!("share {} is not counted", share.0)))?;
        counted.changed = true;
        Ok(&mut counted.tally)
    }

    /// Adds an object to a share.
    fn add(
        &mut self,
        share: ShareId,
        object: &Attributes,
        target: Option<&SymlinkTarget>,
        verifier: Option<u64>,
    ) -> Result<(), SqliteError> {
        let stored = Stored { share, attributes: object.clone(), verifier };
        insert(&self.connection, &stored, target)?;
        self.tally(share)?.add(object);
        self.recent.insert(object.id, Known { stored, changed: false });
        self.touched.objects.push(object.id);
        Ok(())
    }

    /// Writes how many names an object has, unless it is a directory.
    fn count_names(&self, object: &Attributes) -> Result<(), SqliteError> {
        let id = object.id.0.as_bytes();
        if object.nlink > 1 {
            self.connection.prepare_cached(PUT_LINKS)?.execute(params![id, object.nlink])?;
        } else {
            self.connection.prepare_cached(DELETE_LINKS)?.execute(params![id])?;
        }
        Ok(())
    }
}

impl Tables for Writable {
    type Failure = SqliteError;

    fn room(&self) -> Result<(), Error> {
        if self.room { Ok(()) } else { Err(Error::NoSpace(KEPT_FREE.into())) }
    }

    fn share(&self, share: ShareId) -> Option<(Fsid, Capabilities)> {
        self.shares.facts(share)
    }

    fn object(&mut self, id: ObjectId) -> Outcome<Option<Attributes>, Self> {
        Ok(self.known(id)?.map(|known| known.stored.attributes.clone()))
    }

    fn verifier(&mut self, file: ObjectId) -> Outcome<Option<u64>, Self> {
        Ok(self.known(file)?.and_then(|known| known.stored.verifier))
    }

    fn edge(&mut self, directory: ObjectId, name: &Name) -> Outcome<Option<Edge>, Self> {
        let mut statement = self.connection.prepare_cached(EDGE)?;
        let mut rows = statement.query(params![directory.0.as_bytes(), name.as_bytes()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let child = ObjectId(rows::uuid(row, 0)?);
        Ok(Some(Edge { child, cookie: Cookie(rows::number(row, 1)?) }))
    }

    fn is_empty(&mut self, directory: ObjectId) -> Outcome<bool, Self> {
        let mut statement = self.connection.prepare_cached(ANY_EDGE)?;
        let any: bool = statement.query_row(params![directory.0.as_bytes()], |row| row.get(0))?;
        Ok(!any)
    }

    fn next_fileid(&mut self) -> Outcome<Fileid, Self> {
        Ok(Fileid(self.fileids.next(&self.connection, "fileids")?))
    }

    fn next_cookie(&mut self) -> Outcome<Cookie, Self> {
        Ok(Cookie(self.cookies.next(&self.connection, "cookies")?))
    }

    fn record(&mut self, call: &Replay, made: Option<ObjectId>) {
        self.replies.add(call, made);
    }

    fn insert(
        &mut self,
        object: &Attributes,
        target: Option<&SymlinkTarget>,
        verifier: Option<u64>,
    ) -> Outcome<(), Self> {
        let share = self.shares.by_fsid(object.fsid);
        let share =
            share.ok_or_else(|| damaged(format_args!("no share has fsid {}", object.fsid.0)))?;
        Ok(self.add(share, object, target, verifier)?)
    }

    fn put(&mut self, object: &Attributes) -> Outcome<(), Self> {
        let before = self.present(object.id)?;
        let share = before.stored.share;
        let (old_nlink, old_used) = (before.stored.attributes.nlink, before.stored.attributes.used);
        if old_nlink != object.nlink && !object.file_type.is_directory() {
            self.count_names(object)?;
        }
        if old_used != object.used {
            let old = Attributes { used: old_used, ..object.clone() };
            let tally = self.tally(share)?;
            tally.subtract(&old);
            tally.add(object);
        }
        self.touch(object.id)?.attributes = object.clone();
        Ok(())
    }

    fn forget_verifier(&mut self, file: ObjectId) -> Outcome<(), Self> {
        if self.present(file)?.stored.verifier.is_some() {
            self.touch(file)?.verifier = None;
        }
        Ok(())
    }

    fn discard(&mut self, object: ObjectId) -> Outcome<(), Self> {
        let known = self.present(object)?;
        let (share, attributes) = (known.stored.share, known.stored.attributes.clone());
        self.connection.prepare_cached(DELETE)?.execute(params![object.0.as_bytes()])?;
        self.tally(share)?.subtract(&attributes);
        self.recent.remove(&object);
        self.touched.objects.push(object);
        Ok(())
    }

    fn put_edge(&mut self, directory: ObjectId, name: &Name, edge: Edge) -> Outcome<(), Self> {
        self.connection.prepare_cached(PUT_EDGE)?.execute(params![
            directory.0.as_bytes(),
            name.as_bytes(),
            edge.child.0.as_bytes(),
            edge.cookie.0.cast_signed(),
        ])?;
        let place = (directory, name.clone());
        self.touched.entries.push(ChangedEntry { place, before: None, after: Some(edge) });
        Ok(())
    }

    fn remove_edge(
        &mut self,
        directory: ObjectId,
        name: &Name,
        cookie: Cookie,
    ) -> Outcome<(), Self> {
        self.connection
            .prepare_cached(DELETE_EDGE)?
            .execute(params![directory.0.as_bytes(), name.as_bytes()])?;
        let place = (directory, name.clone());
        self.touched.entries.push(ChangedEntry { place, before: Some(cookie), after: None });
        Ok(())
    }
}

/// A directory's subdirectories; no other object has any.
fn subdirs(object: &Attributes) -> i64 {
    if object.file_type.is_directory() { i64::from(object.nlink) - 2 } else { 0 }
}

/// Adds an object's row.
pub(super) fn insert(
    connection: &Connection,
    stored: &Stored,
    target: Option<&SymlinkTarget>,
) -> Result<(), SqliteError> {
    let it = &stored.attributes;
    connection.prepare_cached(INSERT)?.execute(params![
        it.id.0.as_bytes(),
        stored.share.0,
        it.fileid.0.cast_signed(),
        it.file_type.number(),
        it.mode,
        it.uid,
        it.gid,
        it.size.cast_signed(),
        it.atime.0,
        it.mtime.0,
        it.ctime.0,
        subdirs(it),
        it.content.as_ref().map(|content| content.id.0.as_bytes()),
        it.content.map_or(0, |content| content.version.0),
        it.mtime_version,
        it.parent.as_ref().map(|parent| parent.0.as_bytes()),
        target.map(SymlinkTarget::as_bytes),
        it.rdev.to_stored(),
        stored.verifier.map(u64::cast_signed),
        it.used.cast_signed(),
    ])?;
    Ok(())
}

fn update(connection: &Connection, stored: &Stored) -> Result<(), SqliteError> {
    let it = &stored.attributes;
    connection.prepare_cached(UPDATE)?.execute(params![
        it.id.0.as_bytes(),
        it.mode,
        it.uid,
        it.gid,
        it.size.cast_signed(),
        it.atime.0,
        it.mtime.0,
        it.ctime.0,
        subdirs(it),
        it.content.as_ref().map(|content| content.id.0.as_bytes()),
        it.content.map_or(0, |content| content.version.0),
        it.mtime_version,
        it.parent.as_ref().map(|parent| parent.0.as_bytes()),
        stored.verifier.map(u64::cast_signed),
        it.used.cast_signed(),
    ])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocations::held;
    use crate::metadata::sqlite::connect;
    use crate::metadata::{LockLimits, RootSpec, rules};
    use crate::types::Timestamp;

    /// What a writer takes whose calls meet new objects all the time.
    #[test]
    fn what_is_kept_between_batches_takes_no_more_than_is_said() {
        const MOST: usize = 16 << 20;
        const BATCH: usize = 1000;
        let folder = tempfile::tempdir().unwrap();
        let settings = connect::Settings::new(folder.path().join("m"));
        let connection = connect::writer(&settings).unwrap();
        let locks = LockTable::new(uuid::Uuid::nil(), LockLimits::default());
        let mut tables = Writable::new(connection, Arc::default(), locks);
        let spec = RootSpec { uid: 0, gid: 0, mode: 0o755 };
        let (before, mut taken) = (held(), 0);
        for number in 0..3 * GENERATION {
            let id = ObjectId::generate();
            let attributes = rules::root(id, Fileid(1), Fsid(1), spec, Timestamp(1));
            let stored = Stored { share: ShareId(1), attributes, verifier: None };
            tables.recent.insert(id, Known { stored, changed: false });
            if number % BATCH == 0 {
                taken = taken.max(held() - before);
                tables.trim();
            }
        }
        assert!((MOST / 4 * 3..MOST).contains(&taken), "{taken}");
    }
}
