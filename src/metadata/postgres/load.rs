//! The whole content in again: one transaction, so that it is there wholly or not at all.

use std::pin::Pin;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Transaction};

use super::change_log::BEGIN_TERM;
use super::connect::CLOSING;
use super::error::{PostgresError, duplicate_of, fatal};
use super::execute::arguments;
use super::{PostgresStore, Presence, invariants, lease, load_fence, rows};
use crate::metadata::{
    Catalog as _, EntryRecord, Error, FENCED, LOADED, Load, LoadError, LoadHow, Loaded,
    ObjectRecord, Portion, Record, Share, claim_key,
};
use crate::types::{ObjectId, ShareName};

/// The lock of share making (`open_share`), so that no instance makes a share of the same name meanwhile.
const LOCK: &str = "SELECT pg_advisory_xact_lock(19791, 0)";
/// Instances that hold slots of a share. A slot is its connection's as long as its lock is held
/// (`claim_slot`).
const SERVED: &str = "
    SELECT EXISTS (
        SELECT FROM pg_locks l
          JOIN writer_slots w ON w.slot = l.objid::bigint
         WHERE l.locktype = 'advisory' AND l.classid = 19790 AND l.granted
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND w.share_id = $1 AND w.instance <> $2)";
/// The grant that is missing, if one is.
const RIGHTS: &str = "
    SELECT format('GRANT SELECT, UPDATE ON SEQUENCE fileids, cookies TO %I', current_user)
     WHERE NOT (has_sequence_privilege('fileids', 'SELECT') AND has_sequence_privilege('fileids', 'UPDATE')
            AND has_sequence_privilege('cookies', 'SELECT') AND has_sequence_privilege('cookies', 'UPDATE'))";
/// In the order of locks that calls keep: the slots last. A call that is still under way finds its slot
/// gone.
const DROP: [&str; 6] = [
    "DELETE FROM parent_child_map m USING files d WHERE d.id = m.parent_id AND d.share_id = $1",
    "DELETE FROM link_counts l USING files f WHERE f.id = l.file_id AND f.share_id = $1",
    "DELETE FROM files WHERE share_id = $1",
    "DELETE FROM filesystem_capabilities WHERE share_id = $1",
    "DELETE FROM shares WHERE id = $1",
    "DELETE FROM writer_slots WHERE share_id = $1",
];
const MAKE: &str =
    "INSERT INTO shares (name, root, fsid, chunk_size) VALUES ($1, $2, $3, $4) RETURNING id";
const SET_CLAIM: &str = "
    INSERT INTO server_config (key, value) VALUES ($1, $2)
        ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value";
const CAPABILITIES: &str =
    "INSERT INTO filesystem_capabilities VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const FILES: &str = "COPY files (id, share_id, fileid, file_type, mode, uid, gid, size, atime, mtime, ctime, \
     subdirs, content_id, content_version, mtime_version, parent_id, link_target, rdev, create_verifier, \
     used) FROM STDIN BINARY";
const FILES_TYPES: [Type; 20] = [
    Type::UUID,
    Type::INT2,
    Type::INT8,
    Type::INT2,
    Type::INT4,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT4,
    Type::UUID,
    Type::INT8,
    Type::INT4,
    Type::UUID,
    Type::BYTEA,
    Type::INT8,
    Type::INT8,
    Type::INT8,
];
const ENTRIES: &str =
    "COPY parent_child_map (parent_id, child_name, child_id, cookie) FROM STDIN BINARY";
const ENTRIES_TYPES: [Type; 4] = [Type::UUID, Type::BYTEA, Type::UUID, Type::INT8];
const LINKS: &str = "COPY link_counts (file_id, link_count) FROM STDIN BINARY";
const LINKS_TYPES: [Type; 2] = [Type::UUID, Type::INT4];
/// What the loaded shares use, counted once.
const COUNT: &str = "
    INSERT INTO writer_slots (share_id, slot, epoch, files, bytes)
    SELECT share_id, 0, 0, count(*), COALESCE(sum(used) FILTER (WHERE file_type IN (1, 5)), 0)
      FROM files WHERE share_id = ANY ($1) GROUP BY share_id";
/// Numbers beyond all that are there. Others may draw some meanwhile: the distance is far more than they can.
const RAISE: &str = "
    SELECT setval('fileids', GREATEST($1, (SELECT last_value FROM fileids)) + 1000000),
           setval('cookies', GREATEST($2, (SELECT last_value FROM cookies)) + 1000000)";

/// A row that is being copied in.
type Values = [Box<dyn ToSql + Send + Sync>];

/// Where the records of one table go, as long as they follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Files,
    Entries,
}

/// What came in so far.
#[derive(Debug, Default)]
struct Incoming {
    loaded: Loaded,
    shares: Vec<i16>,
    /// Objects that have more than one name.
    links: Vec<(ObjectId, u32)>,
    last_fileid: i64,
    last_cookie: i64,
}

#[async_trait::async_trait]
impl Load for PostgresStore {
    async fn admits(&self, share: &ShareName) -> Result<(), LoadError> {
        self.check_rights().await?;
        if self.has_other_servers(share).await? {
            return Err(LoadError::Served(share.clone()));
        }
        Ok(())
    }

    async fn load(
        &self,
        how: &LoadHow,
        from: mpsc::Receiver<Portion>,
    ) -> Result<Loaded, LoadError> {
        self.check_rights().await?;
        self.lease.join().await.map_err(PostgresError::into_error)?;
        let mut dedicated = self.connect_dedicated().await?;
        let client: &mut Client = &mut dedicated;
        let transaction = client.transaction().await.map_err(fatal)?;
        transaction.batch_execute("SET LOCAL lock_timeout = '10s'").await.map_err(fatal)?;
        transaction.query(lease::SHARE, &[&self.instance]).await.map_err(failed)?;
        transaction.batch_execute(LOCK).await.map_err(failed)?;
        let alone = transaction.query_one(load_fence::LOCK, &[]).await.map_err(failed)?;
        if !alone.try_get::<_, bool>(0).map_err(fatal)? {
            return Err(Error::Unavailable(FENCED.into()).into());
        }
        match self.take_checked(&transaction, how, from).await {
            Ok(loaded) => {
                transaction.batch_execute(BEGIN_TERM).await.map_err(failed)?;
                transaction.commit().await.map_err(fatal)?;
                self.pool.renew_idle();
                match self.settings.presence {
                    Presence::Server => {}
                    // A server may be alone again, and need not wait until this process is taken for dead.
                    Presence::Tool => self.lease.leave().await,
                }
                Ok(loaded)
            }
            Err(error) => {
                // Waited for, so that the next load finds none of its locks. The end of the connection rolls
                // back too.
                if let Err(error) = transaction.rollback().await {
                    tracing::debug!(%error, "a load is not rolled back");
                }
                Err(error)
            }
        }
    }
}

impl PostgresStore {
    /// A load sets the numbers that are given out next, which is more than serving takes.
    async fn check_rights(&self) -> Result<(), Error> {
        let rows = self.ask(RIGHTS, Vec::new()).await?;
        let missing = rows.first().map(|row| rows::column::<Option<String>>(row, 0)).transpose()?;
        match missing.flatten() {
            Some(grant) => Err(Error::Backend(
                format!("the role may not set the sequences fileids and cookies; as their owner: {grant}").into(),
            )),
            None => Ok(()),
        }
    }

    async fn has_other_servers(&self, share: &ShareName) -> Result<bool, Error> {
        let shares = self.shares().await?;
        let Some(share) = shares.into_iter().find(|known| known.name == *share) else {
            return Ok(false);
        };
        let end = Instant::now() + CLOSING;
        loop {
            let rows = self.ask(SERVED, arguments![share.id.0, self.instance]).await?;
            let served = rows.first().map_or(Ok(false), |row| rows::column(row, 0))?;
            if !served || Instant::now() >= end {
                return Ok(served);
            }
            tokio::time::sleep(CLOSING / 30).await;
        }
    }

    async fn take_checked(
        &self,
        transaction: &Transaction<'_>,
        how: &LoadHow,
        from: mpsc::Receiver<Portion>,
    ) -> Result<Loaded, LoadError> {
        let incoming = self.take_in(transaction, how, from).await?;
        let broken = invariants::broken_in(transaction, &incoming.shares, incoming.loaded).await?;
        broken.map_or(Ok(incoming.loaded), |broken| Err(LoadError::Unsound(broken)))
    }

    async fn take_in(
        &self,
        transaction: &Transaction<'_>,
        how: &LoadHow,
        mut from: mpsc::Receiver<Portion>,
    ) -> Result<Incoming, LoadError> {
        let mut incoming = Incoming::default();
        let mut copying: Option<(Table, Pin<Box<BinaryCopyInWriter>>)> = None;
        loop {
            let records = match from.recv().await {
                Some(Portion::Records(records)) => records,
                Some(Portion::End) => break,
                None => return Err(LoadError::Incomplete),
            };
            for record in records {
                let (table, values) = match record {
                    Record::Share(share) => {
                        end_copy(&mut copying).await?;
                        self.make_loaded(transaction, how, share, &mut incoming).await?;
                        continue;
                    }
                    Record::Object(object) => (Table::Files, incoming.file(object)?),
                    Record::Entry(entry) => (Table::Entries, incoming.entry(entry)?),
                };
                if copying.as_ref().is_none_or(|(present, _)| *present != table) {
                    end_copy(&mut copying).await?;
                    copying = Some((table, begin_copy(transaction, table).await?));
                }
                if let Some((_, writer)) = &mut copying {
                    put(writer, &values).await?;
                }
            }
        }
        end_copy(&mut copying).await?;
        incoming.loaded.finish(how)?;
        let mut links = copy_in(transaction, LINKS, &LINKS_TYPES).await?;
        for (file, count) in &incoming.links {
            let count = i32::try_from(*count).unwrap_or(i32::MAX);
            put(&mut links, &[Box::new(file.0), Box::new(count)]).await?;
        }
        links.as_mut().finish().await.map_err(failed)?;
        transaction.execute(COUNT, &[&incoming.shares]).await.map_err(failed)?;
        let last: [&(dyn ToSql + Sync); 2] = [&incoming.last_fileid, &incoming.last_cookie];
        transaction.execute(RAISE, &last).await.map_err(failed)?;
        Ok(incoming)
    }

    /// Makes the share; one of the same name gives way, where it may.
    async fn make_loaded(
        &self,
        transaction: &Transaction<'_>,
        how: &LoadHow,
        share: Share,
        incoming: &mut Incoming,
    ) -> Result<(), LoadError> {
        let name = incoming.loaded.add_share(how, share.name)?;
        self.make_room(transaction, how, &name, incoming).await?;
        let fsid = i64::try_from(share.fsid.0)
            .map_err(|_| LoadError::Unsound(format!("{:?} has more than 63 bits", share.fsid)))?;
        let taken = transaction.query("SELECT FROM shares WHERE fsid = $1", &[&fsid]).await;
        if !taken.map_err(failed)?.is_empty() {
            return Err(LoadError::Collides);
        }
        let row = transaction
            .query_one(MAKE, &[&name.as_str(), &share.root.0, &fsid, &i64::from(share.chunk_size)])
            .await
            .map_err(failed)?;
        let number: i16 = row.try_get(0).map_err(fatal)?;
        let it = share.capabilities;
        let largest = i64::try_from(it.max_file_size).unwrap_or(i64::MAX);
        let [read, write, multiple, readdir, delta, links, longest] = [
            it.max_read,
            it.max_write,
            it.multiple,
            it.preferred_readdir,
            it.time_delta,
            it.max_links,
            it.max_name,
        ]
        .map(i64::from);
        let values: [&(dyn ToSql + Sync); 9] =
            [&number, &read, &write, &multiple, &readdir, &largest, &delta, &links, &longest];
        transaction.execute(CAPABILITIES, &values).await.map_err(failed)?;
        incoming.shares.push(number);
        let claim: [&(dyn ToSql + Sync); 2] = [&claim_key(&name), &LOADED];
        transaction.execute(SET_CLAIM, &claim).await.map_err(failed)?;
        Ok(())
    }

    async fn make_room(
        &self,
        transaction: &Transaction<'_>,
        how: &LoadHow,
        name: &ShareName,
        incoming: &Incoming,
    ) -> Result<(), LoadError> {
        let present = transaction
            .query_opt("SELECT id FROM shares WHERE name = $1", &[&name.as_str()])
            .await
            .map_err(failed)?;
        let Some(row) = present else { return Ok(()) };
        let number: i16 = row.try_get(0).map_err(fatal)?;
        if incoming.shares.contains(&number) {
            return Err(LoadError::Unsound(format!("the share {name} is there twice")));
        }
        if !how.replace {
            return Err(LoadError::Present(name.clone()));
        }
        let end = Instant::now() + CLOSING;
        loop {
            let served =
                transaction.query_one(SERVED, &[&number, &self.instance]).await.map_err(failed)?;
            if !served.try_get::<_, bool>(0).map_err(fatal)? {
                break;
            }
            if Instant::now() >= end {
                return Err(LoadError::Served(name.clone()));
            }
            tokio::time::sleep(CLOSING / 30).await;
        }
        for statement in DROP {
            transaction.execute(statement, &[&number]).await.map_err(failed)?;
        }
        Ok(())
    }
}

impl Incoming {
    /// A row of `files`.
    fn file(
        &mut self,
        object: ObjectRecord,
    ) -> Result<Vec<Box<dyn ToSql + Send + Sync>>, LoadError> {
        let ObjectRecord { attributes: it, target, verifier } = object;
        let share = *self.shares.last().ok_or_else(|| unsound("an object before its share"))?;
        let signed = |value: u64| {
            i64::try_from(value).map_err(|_| LoadError::Unsound(format!("{} has {value}", it.id)))
        };
        let is_directory = it.file_type.is_directory();
        let subdirs = if is_directory { it.nlink.checked_sub(2) } else { Some(0) };
        let subdirs = subdirs.and_then(|count| i32::try_from(count).ok());
        let subdirs = subdirs
            .ok_or_else(|| LoadError::Unsound(format!("{} has {} links", it.id, it.nlink)))?;
        if !is_directory && it.nlink > 1 {
            self.links.push((it.id, it.nlink));
        }
        let fileid = signed(it.fileid.0)?;
        self.last_fileid = self.last_fileid.max(fileid);
        self.loaded.objects += 1;
        Ok(vec![
            Box::new(it.id.0),
            Box::new(share),
            Box::new(fileid),
            Box::new(it.file_type.number()),
            Box::new(it.mode.cast_signed()),
            Box::new(i64::from(it.uid)),
            Box::new(i64::from(it.gid)),
            Box::new(signed(it.size)?),
            Box::new(it.atime.0),
            Box::new(it.mtime.0),
            Box::new(it.ctime.0),
            Box::new(subdirs),
            Box::new(it.content.map(|content| content.id.0)),
            Box::new(it.content.map_or(0, |content| content.version.0)),
            Box::new(it.mtime_version),
            Box::new(it.parent.map(|parent| parent.0)),
            Box::new(target.map(|target| target.as_bytes().to_vec())),
            Box::new(it.rdev.to_stored()),
            Box::new(verifier.map(u64::cast_signed)),
            Box::new(signed(it.used)?),
        ])
    }

    /// A row of `parent_child_map`.
    fn entry(
        &mut self,
        entry: EntryRecord,
    ) -> Result<Vec<Box<dyn ToSql + Send + Sync>>, LoadError> {
        let cookie = i64::try_from(entry.cookie.0)
            .map_err(|_| LoadError::Unsound(format!("{} has {:?}", entry.name, entry.cookie)))?;
        self.last_cookie = self.last_cookie.max(cookie);
        self.loaded.entries += 1;
        Ok(vec![
            Box::new(entry.directory.0),
            Box::new(entry.name.as_bytes().to_vec()),
            Box::new(entry.child.0),
            Box::new(cookie),
        ])
    }
}

async fn begin_copy(
    transaction: &Transaction<'_>,
    table: Table,
) -> Result<Pin<Box<BinaryCopyInWriter>>, LoadError> {
    match table {
        Table::Files => copy_in(transaction, FILES, &FILES_TYPES).await,
        Table::Entries => copy_in(transaction, ENTRIES, &ENTRIES_TYPES).await,
    }
}

async fn copy_in(
    transaction: &Transaction<'_>,
    statement: &str,
    types: &[Type],
) -> Result<Pin<Box<BinaryCopyInWriter>>, LoadError> {
    let sink = transaction.copy_in(statement).await.map_err(failed)?;
    Ok(Box::pin(BinaryCopyInWriter::new(sink, types)))
}

async fn put(writer: &mut Pin<Box<BinaryCopyInWriter>>, values: &Values) -> Result<(), LoadError> {
    let values: Vec<&(dyn ToSql + Sync)> =
        values.iter().map(|value| value.as_ref() as &(dyn ToSql + Sync)).collect();
    writer.as_mut().write(&values).await.map_err(failed)
}

async fn end_copy(
    copying: &mut Option<(Table, Pin<Box<BinaryCopyInWriter>>)>,
) -> Result<(), LoadError> {
    if let Some((_, mut writer)) = copying.take() {
        writer.as_mut().finish().await.map_err(failed)?;
    }
    Ok(())
}

fn unsound(what: &str) -> LoadError {
    LoadError::Unsound(what.to_owned())
}

/// What the database refuses to take.
fn failed(error: tokio_postgres::Error) -> LoadError {
    match duplicate_of(&error) {
        Some("files_pkey") => LoadError::Collides,
        Some(constraint) => LoadError::Unsound(format!("a value is there twice ({constraint})")),
        None => LoadError::Store(PostgresError::from(error).into_error()),
    }
}
