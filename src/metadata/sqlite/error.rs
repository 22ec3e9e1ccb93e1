//! What a failure of SQLite means: the only place that reads its result codes (sqlite.org/rescode.html).

use std::sync::Arc;

use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::metadata::Error;
use crate::metadata::single_writer::OpError;

/// A failed statement, or a row that the schema does not allow.
#[derive(Debug, thiserror::Error)]
pub(super) enum SqliteError {
    /// SQLite failed.
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    /// The tables hold what they must not hold.
    #[error("{0}")]
    Damaged(String),
}

impl From<rusqlite::Error> for OpError<SqliteError> {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<SqliteError> for OpError<SqliteError> {
    fn from(failure: SqliteError) -> Self {
        Self::Failed(failure)
    }
}

/// What remains of the store after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remains {
    /// All: what failed was undone.
    Whole,
    /// The disk failed at a write; it may have become read-only.
    Unwritten,
    /// What was handed to the disk may be lost, or the file is not what it was: nothing may be written on top
    /// of it.
    Doubtful,
}

impl SqliteError {
    fn code(&self) -> Option<ffi::Error> {
        match self {
            Self::Sql(error) => error.sqlite_error().copied(),
            Self::Damaged(_) => None,
        }
    }

    /// What remains of the store.
    pub(super) fn remains(&self) -> Remains {
        let Some(error) = self.code() else { return Remains::Whole };
        match (error.code, error.extended_code) {
            (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) => Remains::Doubtful,
            (ErrorCode::SystemIoFailure, ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC) => {
                Remains::Doubtful
            }
            // The log's index could not grow, before anything was written.
            (ErrorCode::SystemIoFailure, ffi::SQLITE_IOERR_SHMSIZE) => Remains::Whole,
            (ErrorCode::SystemIoFailure, _) => Remains::Unwritten,
            _ => Remains::Whole,
        }
    }

    /// Whether a row is one that the schema does not allow.
    pub(super) fn is_constraint(&self) -> bool {
        self.code().is_some_and(|error| error.code == ErrorCode::ConstraintViolation)
    }

    /// Whether the disk has no room.
    pub(super) fn is_full(&self) -> bool {
        self.code().is_some_and(|error| {
            error.code == ErrorCode::DiskFull || error.extended_code == ffi::SQLITE_IOERR_SHMSIZE
        })
    }

    /// Whether another connection is in the way.
    pub(super) fn is_busy(&self) -> bool {
        self.code().is_some_and(|error| error.code == ErrorCode::DatabaseBusy)
    }

    /// The answer to a call that failed so. The same failure may have been that of several.
    pub(super) fn to_error(self: &Arc<Self>) -> Error {
        let source = Box::new(self.clone());
        let Some(error) = self.code() else {
            return match &**self {
                Self::Damaged(what) => Error::Damaged(what.clone()),
                Self::Sql(_) => Error::Backend(source),
            };
        };
        if self.is_full() {
            return Error::NoSpace(source);
        }
        match error.code {
            ErrorCode::ReadOnly => Error::ReadOnly(source),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                Error::Damaged(format!("{self}; {REMEDY}"))
            }
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::OutOfMemory
            | ErrorCode::OperationInterrupted => Error::Unavailable(source),
            _ => Error::Backend(source),
        }
    }

    /// The answer to the one call that failed so.
    pub(super) fn into_error(self) -> Error {
        Arc::new(self).to_error()
    }
}

/// The columns whose value is there already, where that is why a row is refused.
pub(super) fn duplicate_of(failure: &SqliteError) -> Option<&str> {
    match failure {
        SqliteError::Sql(rusqlite::Error::SqliteFailure(error, said)) => {
            let codes = [ffi::SQLITE_CONSTRAINT_PRIMARYKEY, ffi::SQLITE_CONSTRAINT_UNIQUE];
            let said = said.as_deref().unwrap_or_default();
            codes
                .contains(&error.extended_code)
                .then(|| said.split_once(": ").map_or(said, |(_, columns)| columns))
        }
        SqliteError::Sql(_) | SqliteError::Damaged(_) => None,
    }
}

/// What to do about a damaged file.
pub(super) const REMEDY: &str = "stop the server, keep a copy of the file and its -wal, and restore a backup \
                      or recover what is left with `sqlite3 FILE .recover`";
