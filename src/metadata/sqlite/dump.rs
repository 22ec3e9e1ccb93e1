//! The whole content as of one moment: a reader's snapshot, which may be of another process than the
//! server's. It keeps the write-ahead log from being used anew, so it is held only as long as the rows take.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, Row};
use tokio::sync::mpsc;

use super::connect::{DATABASE, check_permissions, reader};
use super::error::SqliteError;
use super::load_fence::SqliteFence;
use super::rows::{self, OBJECT_COLUMNS, damaged, number, object_columns, uuid};
use super::wal::Wal;
use super::{SqliteStore, migrations, shares};
use crate::metadata::{
    Catalog, Dump, EntryRecord, Error, LoadFence, ObjectRecord, PORTION, Record, Share, StorePlace,
};
use crate::types::{Cookie, Name, ObjectId, ShareName, SymlinkTarget};

const OBJECTS: &str = concat!(
    "SELECT ",
    object_columns!(),
    ", o.link_target FROM objects o WHERE o.share_id = ?1 ORDER BY o.id"
);
const ENTRIES: &str = "
    SELECT m.parent_id, m.child_name, m.child_id, m.cookie
      FROM parent_child_map m JOIN files d ON d.id = m.parent_id
     WHERE d.share_id = ?1
     ORDER BY m.parent_id, m.child_name";
/// Memory for the pages of a dump, in bytes.
pub(super) const MEMORY: usize = 16 << 20;

/// A store's file, to be dumped whether a server has it open or not.
#[derive(Debug)]
pub struct SqliteFile {
    path: PathBuf,
}

impl SqliteFile {
    /// Looks at the file; it must be there, with the schema of this program.
    pub async fn open(path: PathBuf) -> Result<Self, Error> {
        let file = path.clone();
        blocking(move || {
            let metadata = std::fs::metadata(&file)
                .map_err(|error| Error::Backend(format!("{}: {error}", file.display()).into()))?;
            if !metadata.is_file() {
                return Err(Error::Backend(format!("{} is not a file", file.display()).into()));
            }
            check_permissions(&file, &DATABASE)?;
            migrations::check(&reader(&file, MEMORY)?)
        })
        .await?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }
}

#[async_trait::async_trait]
impl Catalog for SqliteFile {
    async fn shares(&self) -> Result<Vec<Share>, Error> {
        let path = self.path.clone();
        blocking(move || shares::all(&reader(&path, MEMORY)?).map_err(SqliteError::into_error))
            .await
    }

    async fn setting(&self, key: &str) -> Result<Option<String>, Error> {
        let (path, key) = (self.path.clone(), key.to_owned());
        blocking(move || {
            shares::setting(&reader(&path, MEMORY)?, &key).map_err(SqliteError::into_error)
        })
        .await
    }

    async fn place(&self) -> Result<Option<StorePlace>, Error> {
        super::place::of(&self.path).map(Some)
    }
}

#[async_trait::async_trait]
impl Dump for SqliteFile {
    async fn dump(
        &self,
        share: Option<&ShareName>,
        to: mpsc::Sender<Vec<Record>>,
    ) -> Result<(), Error> {
        let (path, share) = (self.path.clone(), share.cloned());
        blocking(move || send_all(&reader(&path, MEMORY)?, share.as_ref(), &to)).await
    }

    async fn fence_loads(&self) -> Result<Box<dyn LoadFence>, Error> {
        SqliteFence::take(self.path.clone()).await
    }
}

#[async_trait::async_trait]
impl Dump for SqliteStore {
    async fn dump(
        &self,
        share: Option<&ShareName>,
        to: mpsc::Sender<Vec<Record>>,
    ) -> Result<(), Error> {
        let (path, wal, share) = (self.settings.path.clone(), self.wal.clone(), share.cloned());
        blocking(move || {
            let connection = reader(&path, MEMORY)?;
            let wal: Arc<Wal> = wal;
            let _named = wal.long_reader(&connection);
            send_all(&connection, share.as_ref(), &to)
        })
        .await
    }

    async fn fence_loads(&self) -> Result<Box<dyn LoadFence>, Error> {
        SqliteFence::take(self.settings.path.clone()).await
    }
}

pub(super) async fn blocking<T: Send + 'static, E: From<Error> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|panicked| E::from(Error::Backend(Box::new(panicked))))?
}

fn send_all(
    connection: &Connection,
    only: Option<&ShareName>,
    to: &mpsc::Sender<Vec<Record>>,
) -> Result<(), Error> {
    let snapshot = connection.unchecked_transaction().map_err(failed)?;
    for share in shares::all(&snapshot).map_err(SqliteError::into_error)? {
        if only.is_some_and(|only| *only != share.name) {
            continue;
        }
        send(to, vec![Record::Share(share.clone())])?;
        pages(&snapshot, OBJECTS, &share, to, |row| object(row, &share))?;
        pages(&snapshot, ENTRIES, &share, to, entry)?;
    }
    Ok(())
}

fn failed(error: rusqlite::Error) -> Error {
    SqliteError::from(error).into_error()
}

fn send(to: &mpsc::Sender<Vec<Record>>, records: Vec<Record>) -> Result<(), Error> {
    to.blocking_send(records).map_err(|_| Error::Cancelled)
}

/// Sends what a statement finds of a share, a portion at a time.
fn pages(
    connection: &Connection,
    statement: &str,
    share: &Share,
    to: &mpsc::Sender<Vec<Record>>,
    record: impl Fn(&Row<'_>) -> Result<Record, SqliteError>,
) -> Result<(), Error> {
    let mut statement = connection.prepare(statement).map_err(failed)?;
    let mut rows = statement.query([share.id.0]).map_err(failed)?;
    let mut portion = Vec::with_capacity(PORTION);
    while let Some(row) = rows.next().map_err(failed)? {
        portion.push(record(row).map_err(SqliteError::into_error)?);
        if portion.len() == PORTION {
            send(to, std::mem::replace(&mut portion, Vec::with_capacity(PORTION)))?;
        }
    }
    if portion.is_empty() { Ok(()) } else { send(to, portion) }
}

fn object(row: &Row<'_>, share: &Share) -> Result<Record, SqliteError> {
    let stored = rows::object(row, 0, |_| Some(share.fsid))?;
    let target: Option<Vec<u8>> = row.get(OBJECT_COLUMNS)?;
    let target =
        target.map(|target| SymlinkTarget::parse(&target)).transpose().map_err(|error| {
            damaged(format_args!("the target of {}: {error}", stored.attributes.id))
        })?;
    Ok(Record::Object(ObjectRecord {
        attributes: stored.attributes,
        target,
        verifier: stored.verifier,
    }))
}

fn entry(row: &Row<'_>) -> Result<Record, SqliteError> {
    let directory = ObjectId(uuid(row, 0)?);
    let name: Vec<u8> = row.get(1)?;
    Ok(Record::Entry(EntryRecord {
        directory,
        name: Name::parse(&name)
            .map_err(|error| damaged(format_args!("an entry of {directory}: {error}")))?,
        child: ObjectId(uuid(row, 2)?),
        cookie: Cookie(number(row, 3)?),
    }))
}
