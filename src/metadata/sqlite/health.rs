//! Whether the store may still be used: no change after a write whose fate the disk has not told, and no call
//! after another file took the place of the database.

use std::path::Path;

use parking_lot::RwLock;

use super::error::SqliteError;
use super::replaced::{OpenFiles, Replaced};
use crate::metadata::Error;

/// Set once; nothing but a new start mends it.
#[derive(Debug)]
pub(super) struct Health {
    files: OpenFiles,
    lost: RwLock<Option<Lost>>,
}

/// Why the store is of no more use.
#[derive(Debug)]
enum Lost {
    /// A write failed.
    Write(String),
    /// Another file has the name.
    Replaced(Replaced),
}

impl Health {
    /// That of a database whose files are all open.
    pub(super) fn of(database: &Path) -> Result<Self, Error> {
        Ok(Self { files: OpenFiles::of(database)?, lost: RwLock::default() })
    }

    /// Nothing is written from now on.
    pub(super) fn lost(&self, failure: &SqliteError) {
        let mut lost = self.lost.write();
        if lost.is_none() {
            tracing::error!(
                %failure,
                "a write to the disk or database failed; the store is read-only until the server is restarted"
            );
            *lost = Some(Lost::Write(failure.to_string()));
        }
    }

    /// Looks whether the files have their names still; ends the store where they have not.
    pub(super) fn look(&self) -> Result<(), Replaced> {
        if let Some(Lost::Replaced(replaced)) = &*self.lost.read() {
            return Err(replaced.clone());
        }
        let Err(replaced) = self.files.look() else { return Ok(()) };
        let mut lost = self.lost.write();
        if let Some(Lost::Replaced(known)) = &*lost {
            return Err(known.clone());
        }
        tracing::error!("{replaced}");
        *lost = Some(Lost::Replaced(replaced.clone()));
        Err(replaced)
    }

    /// Why no change is made, if so.
    pub(super) fn error(&self) -> Option<Error> {
        match &*self.lost.read() {
            None => None,
            Some(Lost::Write(failure)) => Some(Error::Backend(
                format!("a write failed ({failure}); the store is read-only until the server is restarted")
                    .into(),
            )),
            Some(Lost::Replaced(replaced)) => Some(replaced.to_error()),
        }
    }

    /// Why no call is answered, if so.
    pub(super) fn replaced(&self) -> Option<Error> {
        match &*self.lost.read() {
            Some(Lost::Replaced(replaced)) => Some(replaced.to_error()),
            Some(Lost::Write(_)) | None => None,
        }
    }
}
