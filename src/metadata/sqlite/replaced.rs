//! The files of an open database, by device and inode: a file that was removed, or replaced by another of its
//! name, is still open here, and a change in it is lost with the next start.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::lock::beside;
use crate::metadata::Error;
use crate::types::FileFacts;

/// Without the lock file another server could have the database at the same time.
const LOOKED_AT: [&str; 4] = ["", "-wal", "-shm", ".lock"];

/// The files that a store has open.
#[derive(Debug)]
pub(super) struct OpenFiles(Vec<(PathBuf, (u64, u64))>);

/// A file of an open database that is not there any more.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{} was {how} while the server has it open: no call is answered from it and nothing is written any more, \
     since all that would be lost; stop the server, put the file in place that is meant (and with a database \
     of a backup no -wal and -shm of another), and start it again",
    path.display()
)]
pub(super) struct Replaced {
    path: PathBuf,
    how: &'static str,
}

impl Replaced {
    /// The answer to a call.
    pub(super) fn to_error(&self) -> Error {
        Error::Backend(Box::new(self.clone()))
    }
}

impl OpenFiles {
    /// Those of a database that was just opened.
    pub(super) fn of(database: &Path) -> Result<Self, Error> {
        let files = LOOKED_AT.iter().map(|suffix| {
            let path = beside(database, suffix);
            let file = FileFacts::at(&path)?;
            Ok((path, file.identity))
        });
        let files: rustix::io::Result<_> = files.collect();
        files.map(Self).map_err(|error| Error::Backend(Box::new(error)))
    }

    /// Whether all have their names still. Where that cannot be seen just now they have.
    pub(super) fn look(&self) -> Result<(), Replaced> {
        for (path, identity) in &self.0 {
            let how = match FileFacts::at(path) {
                Ok(file) if file.identity == *identity => continue,
                Ok(_) => "replaced by another file",
                Err(Errno::NOENT) => "removed or renamed",
                Err(_) => continue,
            };
            return Err(Replaced { path: path.clone(), how });
        }
        Ok(())
    }
}
