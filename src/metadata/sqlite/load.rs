//! The whole content in again: one transaction on a connection of its own. Other writers are told
//! meanwhile that the store is not available.

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use tokio::sync::mpsc;

use super::dump::blocking;
use super::error::{SqliteError, duplicate_of};
use super::rows::Stored;
use super::usage::Tally;
use super::{SqliteStore, connect, invariants, load_fence, shares, tables};
use crate::metadata::{
    Catalog as _, EntryRecord, LOADED, Load, LoadError, LoadHow, Loaded, ObjectRecord, Portion,
    Record, Share, claim_key,
};
use crate::types::{Attributes, ShareId, ShareName};

const DROP: [&str; 6] = [
    "DELETE FROM parent_child_map WHERE parent_id IN (SELECT id FROM files WHERE share_id = ?1)",
    "DELETE FROM link_counts WHERE file_id IN (SELECT id FROM files WHERE share_id = ?1)",
    "DELETE FROM files WHERE share_id = ?1",
    "DELETE FROM share_usage WHERE share_id = ?1",
    "DELETE FROM filesystem_capabilities WHERE share_id = ?1",
    "DELETE FROM shares WHERE id = ?1",
];
const SET_CLAIM: &str = "INSERT OR REPLACE INTO server_config (key, value) VALUES (?1, ?2)";
const ENTRY: &str = "
    INSERT INTO parent_child_map (parent_id, child_name, child_id, cookie) VALUES (?1, ?2, ?3, ?4)";
const LINKS: &str = "INSERT INTO link_counts (file_id, link_count) VALUES (?1, ?2)";
const RAISE: &str = "UPDATE sequences SET next = max(next, ?2 + 1) WHERE name = ?1";

/// What came in so far.
#[derive(Debug, Default)]
struct Incoming {
    loaded: Loaded,
    shares: Vec<(ShareId, Tally)>,
    last_fileid: i64,
    last_cookie: i64,
}

#[async_trait::async_trait]
impl Load for SqliteStore {
    /// No other server has the lock, so no other serves the share.
    async fn admits(&self, _share: &ShareName) -> Result<(), LoadError> {
        Ok(())
    }

    async fn load(
        &self,
        how: &LoadHow,
        mut from: mpsc::Receiver<Portion>,
    ) -> Result<Loaded, LoadError> {
        if self.queue.is_closed() {
            return Err(super::closed().into());
        }
        let (settings, how, cache) = (self.settings.clone(), how.clone(), self.cache.clone());
        let loaded = blocking(move || {
            let _alone = load_fence::alone(&settings.path)?;
            let mut connection = connect::writer(&settings)?;
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(failed)?;
            let mut incoming = Incoming::default();
            loop {
                match from.blocking_recv() {
                    Some(Portion::Records(records)) => {
                        for record in records {
                            incoming.take_in(&transaction, &how, record)?;
                        }
                    }
                    Some(Portion::End) => break,
                    None => return Err(LoadError::Incomplete),
                }
            }
            incoming.finish(&transaction, &how)?;
            let shares: Vec<_> = incoming.shares.iter().map(|(share, _)| *share).collect();
            let broken = invariants::broken_in(&transaction, &shares, incoming.loaded);
            if let Some(broken) = broken.map_err(SqliteError::into_error)? {
                return Err(LoadError::Unsound(broken));
            }
            let _forgetting = cache.forget();
            transaction.commit().map_err(failed)?;
            Ok(incoming.loaded)
        })
        .await?;
        self.shares().await?;
        Ok(loaded)
    }
}

impl Incoming {
    fn take_in(
        &mut self,
        connection: &Connection,
        how: &LoadHow,
        record: Record,
    ) -> Result<(), LoadError> {
        match record {
            Record::Share(share) => self.make_share(connection, how, share),
            Record::Object(object) => self.put_object(connection, &object),
            Record::Entry(entry) => self.put_entry(connection, &entry),
        }
    }

    /// Makes the share; one of the same name gives way, where it may.
    fn make_share(
        &mut self,
        connection: &Connection,
        how: &LoadHow,
        share: Share,
    ) -> Result<(), LoadError> {
        let name = self.loaded.add_share(how, share.name)?;
        self.make_room(connection, how, &name)?;
        let fsid = signed("the share", share.fsid.0)?;
        let taken = connection
            .prepare_cached("SELECT 1 FROM shares WHERE fsid = ?1")
            .and_then(|mut statement| statement.exists([fsid]));
        if taken.map_err(failed)? {
            return Err(LoadError::Collides);
        }
        signed("the share", share.capabilities.max_file_size)?;
        let share = Share { name: name.clone(), ..share };
        let number = shares::insert(connection, &share).map_err(refused)?;
        self.shares.push((number, Tally::default()));
        let claim = [claim_key(&name), LOADED.to_owned()];
        connection.execute(SET_CLAIM, claim).map_err(failed)?;
        Ok(())
    }

    fn make_room(
        &self,
        connection: &Connection,
        how: &LoadHow,
        name: &ShareName,
    ) -> Result<(), LoadError> {
        let present: Option<i16> = connection
            .query_row("SELECT id FROM shares WHERE name = ?1", [name.as_str()], |row| row.get(0))
            .optional()
            .map_err(failed)?;
        let Some(number) = present else { return Ok(()) };
        if self.shares.iter().any(|(share, _)| share.0 == number) {
            return Err(LoadError::Unsound(format!("the share {name} is there twice")));
        }
        if !how.replace {
            return Err(LoadError::Present(name.clone()));
        }
        for statement in DROP {
            connection.execute(statement, [number]).map_err(failed)?;
        }
        Ok(())
    }

    fn put_object(
        &mut self,
        connection: &Connection,
        object: &ObjectRecord,
    ) -> Result<(), LoadError> {
        let ObjectRecord { attributes: it, target, verifier } = object;
        let (share, tally) = self
            .shares
            .last_mut()
            .ok_or_else(|| LoadError::Unsound("an object before its share".to_owned()))?;
        let fileid = signed(it.id, it.fileid.0)?;
        put_links(connection, it)?;
        let (attributes, verifier) = (it.clone(), *verifier);
        let stored = Stored { share: *share, attributes, verifier };
        tables::insert(connection, &stored, target.as_ref()).map_err(refused)?;
        tally.add(it);
        self.last_fileid = self.last_fileid.max(fileid);
        self.loaded.objects += 1;
        Ok(())
    }

    fn put_entry(&mut self, connection: &Connection, entry: &EntryRecord) -> Result<(), LoadError> {
        let cookie = signed(entry.directory, entry.cookie.0)?;
        connection
            .prepare_cached(ENTRY)
            .and_then(|mut statement| {
                statement.execute(params![
                    entry.directory.0.as_bytes(),
                    entry.name.as_bytes(),
                    entry.child.0.as_bytes(),
                    cookie,
                ])
            })
            .map_err(failed)?;
        self.last_cookie = self.last_cookie.max(cookie);
        self.loaded.entries += 1;
        Ok(())
    }

    /// What is known only at the end.
    fn finish(&self, connection: &Connection, how: &LoadHow) -> Result<(), LoadError> {
        self.loaded.finish(how)?;
        for (share, tally) in &self.shares {
            tally.write(connection, *share).map_err(SqliteError::into_error)?;
        }
        connection.execute(RAISE, params!["fileids", self.last_fileid]).map_err(failed)?;
        connection.execute(RAISE, params!["cookies", self.last_cookie]).map_err(failed)?;
        Ok(())
    }
}

/// The count of names, where there is more than one.
fn put_links(connection: &Connection, it: &Attributes) -> Result<(), LoadError> {
    if it.file_type.is_directory() || it.nlink < 2 {
        return Ok(());
    }
    connection
        .prepare_cached(LINKS)
        .and_then(|mut statement| statement.execute(params![it.id.0.as_bytes(), it.nlink]))
        .map_err(failed)?;
    Ok(())
}

fn signed(what: impl std::fmt::Display, value: u64) -> Result<i64, LoadError> {
    i64::try_from(value).map_err(|_| LoadError::Unsound(format!("{what} has {value}")))
}

/// What the database refuses to take.
fn failed(error: rusqlite::Error) -> LoadError {
    refused(error.into())
}

fn refused(failure: SqliteError) -> LoadError {
    match duplicate_of(&failure) {
        Some(column) if column.starts_with("files.id") => LoadError::Collides,
        Some(column) => LoadError::Unsound(format!("a value is there twice ({column})")),
        None if failure.is_constraint() => LoadError::Unsound(failure.to_string()),
        None => LoadError::Store(failure.into_error()),
    }
}
