//! Why a call was refused or failed.

use crate::content;
use crate::metadata::{self, Refusal};
use crate::types::{ContentId, Failed};

/// What stands between a call and its result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The namespace said no, or failed.
    #[error(transparent)]
    Metadata(#[from] metadata::Error),
    /// The content store failed.
    #[error(transparent)]
    Content(#[from] content::Error),
    /// There is no such share (any more).
    #[error("no such share")]
    UnknownShare,
    /// The share's rules do not admit the client (any more).
    #[error("the share's rules do not admit the client")]
    ClientRefused,
    /// The client's rule asks for a port below 1024.
    #[error("the client's port is not a reserved one")]
    PortRefused,
    /// The share is read-only for the client.
    #[error("the share is read-only for the client")]
    ReadOnly,
    /// The call needs credentials.
    #[error("the call needs AUTH_SYS credentials")]
    TooWeak,
    /// The two handles are of different shares.
    #[error("the two objects are in different shares")]
    CrossShare,
    /// The namespace has a file whose bytes the content store does not have.
    #[error("content {content} is missing or shorter than the file, which has {size} bytes")]
    ContentLost { content: ContentId, size: u64 },
    /// The content moved under the call again and again.
    #[error("the file's content is being replaced; retry")]
    Busy,
}

/// An error and the present attributes of the objects that the call names, where known.
pub type Failure = Failed<Error>;

/// What a call answers.
pub type Result<T> = std::result::Result<T, Failure>;

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::alone(error.into())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        refusal.map(Error::from)
    }
}
