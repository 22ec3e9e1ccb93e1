//! Keeping loads away: an advisory lock on `FILE.load` (flock(2)), shared by those that do, and a load's
//! alone. A file of its own, since the server has `FILE.lock`.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::connect::reader;
use super::dump::{MEMORY, blocking};
use super::error::SqliteError;
use super::lock::beside;
use super::rows::uuid;
use crate::metadata::{Error, FENCED, LoadFence};
use crate::ownership;
use crate::types::ContentId;

/// Every row, whatever its share: one that a damaged database has too many keeps its content.
const NAMED: &str = "SELECT content_id FROM files WHERE content_id IS NOT NULL";

/// See [`LoadFence`].
#[derive(Debug)]
pub(super) struct SqliteFence {
    path: PathBuf,
    _lock: File,
}

impl SqliteFence {
    /// Keeps loads away from a database.
    pub(super) async fn take(path: PathBuf) -> Result<Box<dyn LoadFence>, Error> {
        blocking(move || {
            let lock = lock(&path, FlockOperation::NonBlockingLockShared)?;
            let lock = lock.ok_or_else(|| {
                Error::Unavailable(
                    "trunkfs load is running on this store; retry when it has finished".into(),
                )
            })?;
            Ok(Box::new(Self { path, _lock: lock }) as Box<dyn LoadFence>)
        })
        .await
    }
}

/// A load's lock, for as long as the value lives.
pub(super) fn alone(path: &Path) -> Result<File, Error> {
    let lock = lock(path, FlockOperation::NonBlockingLockExclusive)?;
    lock.ok_or_else(|| Error::Unavailable(FENCED.into()))
}

fn lock(path: &Path, how: FlockOperation) -> Result<Option<File>, Error> {
    let path = beside(path, ".load");
    let named = |error: std::io::Error| {
        Error::Backend(format!("the lock file {}: {error}", path.display()).into())
    };
    let file = ownership::lock_file(&path).map_err(|error| {
        let denied = (error.kind() == std::io::ErrorKind::PermissionDenied)
            .then(|| ownership::Denied::of(&path, ownership::above(&path)));
        denied.flatten().map_or_else(|| named(error), |denied| Error::Backend(Box::new(denied)))
    })?;
    match flock(&file, how) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(named(error.into())),
    }
}

#[async_trait::async_trait]
impl LoadFence for SqliteFence {
    async fn named(&self) -> Result<Vec<ContentId>, Error> {
        let path = self.path.clone();
        blocking(move || {
            let connection = reader(&path, MEMORY)?;
            let found = || -> Result<Vec<ContentId>, SqliteError> {
                let mut statement = connection.prepare(NAMED)?;
                let mut rows = statement.query([])?;
                let mut named = Vec::new();
                while let Some(row) = rows.next()? {
                    named.push(ContentId(uuid(row, 0)?));
                }
                Ok(named)
            };
            found().map_err(SqliteError::into_error)
        })
        .await
    }

    /// A reader sees what is on the disk alone (`synchronous = FULL`), and a lock of a process ends with it.
    async fn confirm(&self) -> Result<(), Error> {
        Ok(())
    }
}
