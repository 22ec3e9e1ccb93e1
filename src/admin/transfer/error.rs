//! Why a content was not moved.

use std::io;
use std::path::{Path, PathBuf};

use tokio::task::JoinError;

use crate::admin::Interrupted;
use crate::content;
use crate::types::ContentId;

/// Why a content was not moved.
#[derive(Debug, thiserror::Error)]
pub(in crate::admin) enum Error {
    /// It was told to end.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The store that it comes from failed.
    #[error("content.stores.{name}: the content {id}")]
    Source { name: String, id: ContentId, source: content::Error },
    /// It is shorter than it must be.
    #[error("it has {length} bytes, and the file has {size}")]
    Short { length: u64, size: u64 },
    /// The store that it goes to failed.
    #[error("content.stores.{name}: the content {id}")]
    Sink { name: String, id: ContentId, source: content::Error },
    /// Its file failed.
    #[error("{}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// A thread or task of this process ended early.
    #[error("a task ended early")]
    Task(#[from] JoinError),
}

impl Error {
    /// The error of a file.
    pub(in crate::admin) fn at(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::File { path: path.clone(), source }
    }
}
