//! Why an operation on content failed.

use crate::types::ContentId;

/// What a content store answers instead of a result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no content of that id.
    #[error("content {0} is missing")]
    Missing(ContentId),
    /// The store is full (ENOSPC, EDQUOT).
    #[error("no space left in the content store")]
    NoSpace(#[source] std::io::Error),
    /// The store takes no changes (EROFS).
    #[error("the content store is read-only")]
    ReadOnly(#[source] std::io::Error),
    /// Beyond the largest size (EFBIG).
    #[error("content too large")]
    TooLarge,
    /// The call was cancelled or its time is over.
    #[error("cancelled")]
    Cancelled,
    /// The store is away, or asks for patience. Nothing is lost: what was written is kept, and a later call
    /// may succeed.
    #[error("the content store is not available")]
    Unavailable(#[source] std::io::Error),
    /// Anything else that went wrong below.
    #[error("the content store failed")]
    Io(#[source] std::io::Error),
}
