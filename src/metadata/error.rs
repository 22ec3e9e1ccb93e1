//! Why an operation was refused or failed.

use super::schema::SchemaError;
use crate::types::Failed;

/// The source of a failure.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// What a store answers instead of a result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No entry of that name (ENOENT).
    #[error("no such entry")]
    NotFound,
    /// The name is taken (EEXIST).
    #[error("the name exists already")]
    Exists,
    /// Not a directory (ENOTDIR).
    #[error("not a directory")]
    NotDirectory,
    /// A directory where none may be (EISDIR).
    #[error("is a directory")]
    IsDirectory,
    /// The directory has entries (ENOTEMPTY).
    #[error("the directory is not empty")]
    NotEmpty,
    /// The object is gone (ESTALE).
    #[error("the object was removed")]
    Stale,
    /// The mode bits say no (EACCES).
    #[error("permission denied")]
    AccessDenied,
    /// Not the owner, or not privileged (EPERM).
    #[error("operation not permitted")]
    NotPermitted,
    /// An argument that makes no sense for the object (EINVAL).
    #[error("invalid argument")]
    Invalid,
    /// A kind of object that cannot be made this way (NFS3ERR_BADTYPE).
    #[error("type of object not supported")]
    BadType,
    /// The object has as many names as it may (EMLINK).
    #[error("too many links")]
    TooManyLinks,
    /// The guard does not equal the ctime (NFS3ERR_NOT_SYNC).
    #[error("the object was changed meanwhile (ctime guard)")]
    NotSync,
    /// Another has changed the file since the caller read what it makes in its place
    /// ([`super::SetAttributes::content`]).
    #[error("the file was changed by another server meanwhile")]
    Superseded,
    /// Beyond the largest size (EFBIG).
    #[error("file too large")]
    TooLarge,
    /// The store is full (ENOSPC).
    #[error("no space left in the metadata store")]
    NoSpace(#[source] Source),
    /// The store takes no changes (EROFS).
    #[error("the metadata store is read-only")]
    ReadOnly(#[source] Source),
    /// The store cannot answer now; nothing was changed, and a repeat may succeed.
    #[error("the metadata store is not available")]
    Unavailable(#[source] Source),
    /// The call was cancelled or its time is over; nothing was changed.
    #[error("cancelled")]
    Cancelled,
    /// The store holds what it must not hold.
    #[error("the metadata store is corrupt: {0}")]
    Damaged(String),
    /// The store's schema is not one that this program serves, or cannot be changed so; only while a store is
    /// opened or migrated.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// Anything else that went wrong below.
    #[error("the metadata store failed")]
    Backend(#[source] Source),
}

/// An error and the present attributes of the objects that the call names. Nothing was changed.
pub type Refusal = Failed<Error>;

/// What an operation answers.
pub type Answer<T> = Result<T, Refusal>;

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::alone(error)
    }
}
