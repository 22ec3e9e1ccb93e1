//! Why there is no backup, or none becomes shares again.

use std::io;
use std::path::{Path, PathBuf};

use crate::admin::dump::ReadError;
use crate::admin::{Interrupted, transfer};
use crate::content;
use crate::metadata::{self, LoadError};
use crate::stores::OfflineError;
use crate::types::ShareName;

/// Why a backup or restore ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was told to end.
    #[error("interrupted")]
    Interrupted,
    /// A file or folder of the backup cannot be used.
    #[error("{}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// The folder has a backup already.
    #[error("{} already contains a backup: choose another folder", .0.display())]
    Present(PathBuf),
    /// The folder has something else.
    #[error("{} contains other files: choose a new or empty folder", .0.display())]
    Foreign(PathBuf),
    /// A backup into the folder came to no end.
    #[error(
        "{} contains an unfinished backup: resume it with --resume, or remove the folder",
        .0.display()
    )]
    Unfinished(PathBuf),
    /// There is nothing to go on with.
    #[error("{} contains no unfinished backup: omit --resume", .0.display())]
    NothingToResume(PathBuf),
    /// Another process is at it.
    #[error("{}: another trunkfs backup is writing to this folder", .0.display())]
    Busy(PathBuf),
    /// There is no folder for a series of backups.
    #[error(
        "{} is not a folder: create it, and give it to the server's user with chown",
        .0.display()
    )]
    NoSeries(PathBuf),
    /// The folder is no backup.
    #[error("{}: not a backup: {}", path.display(), if !path.is_dir() {
        "not a folder"
    } else if *unfinished {
        "no backup.json; the backup is unfinished (trunkfs backup --resume)"
    } else {
        "no backup.json"
    })]
    NoBackup {
        path: PathBuf,
        /// Whether one was begun.
        unfinished: bool,
    },
    /// The backup has a format that this program does not know.
    #[error(
        "{}: unsupported format {found} (supported: up to {}); use the release of TrunkFS that wrote it, or \
         a later one",
        path.display(), super::FORMAT
    )]
    Format { path: PathBuf, found: u32 },
    /// A part of the backup is not as it was written.
    #[error("{}: {what}; use another backup", path.display())]
    Damaged { path: PathBuf, what: String },
    /// A part of the backup is not as it was written.
    #[error("{}", path.display())]
    Unreadable { path: PathBuf, source: ReadError },
    /// A store of the configuration cannot be used.
    #[error(transparent)]
    Offline(#[from] OfflineError),
    /// A metadata store failed.
    #[error("metadata.stores.{name}")]
    Metadata { name: String, source: metadata::Error },
    /// A metadata store took nothing in.
    #[error("metadata.stores.{name}: {source}{}", remedy(source))]
    Load { name: String, source: LoadError },
    /// A content store failed.
    #[error("content.stores.{name}: the content {id}")]
    Content { name: String, id: uuid::Uuid, source: content::Error },
    /// Nothing says where a share's content is.
    #[error(
        "the metadata store {store} has a share whose content store is not recorded: serve the share once, \
         or add it to the configuration with its content_store"
    )]
    Homeless { store: String },
    /// A share's content is in no content store of the configuration.
    #[error(
        "the share {share} keeps its content in the content store {recorded} (identity {identity}), which no \
         content store of the configuration holds: add that store, and mount its disk"
    )]
    Elsewhere { share: ShareName, recorded: String, identity: crate::types::ContentIdentity },
    /// There is no such share.
    #[error("{place} has no share {share}; it has {known}")]
    NoShare { share: ShareName, place: String, known: String },
    /// A file is too large for where it is to go.
    #[error(transparent)]
    Oversized(#[from] crate::stores::Oversized),
    /// The command line does not fit the backup.
    #[error("{0}")]
    Unfit(String),
    /// Contents are missing, or not as they were written.
    #[error("{0}")]
    Incomplete(String),
    /// A thread of this process ended early.
    #[error("a task ended early")]
    Task(#[from] tokio::task::JoinError),
}

fn remedy(error: &LoadError) -> &'static str {
    match error {
        LoadError::Present(_) => {
            "; --replace replaces it, deleting everything in it, and --share with --as restores under \
             another name"
        }
        LoadError::Served(_) => "; stop its servers first",
        LoadError::NotOne(_)
        | LoadError::Collides
        | LoadError::Unsound(_)
        | LoadError::Incomplete
        | LoadError::Store(_) => "",
    }
}

impl Error {
    /// What `path` came to.
    pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io { path: path.clone(), source }
    }

    /// What is wrong with `path`.
    pub(super) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_path_buf(), what: what.into() }
    }

    pub(super) fn unreadable(path: &Path) -> impl Fn(ReadError) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Unreadable { path: path.clone(), source }
    }
}

impl From<Interrupted> for Error {
    fn from(_: Interrupted) -> Self {
        Self::Interrupted
    }
}

impl From<transfer::Error> for Error {
    fn from(error: transfer::Error) -> Self {
        match error {
            transfer::Error::Interrupted(_) => Self::Interrupted,
            transfer::Error::Source { name, id, source }
            | transfer::Error::Sink { name, id, source } => {
                Self::Content { name, id: id.0, source }
            }
            transfer::Error::File { path, source } => Self::Io { path, source },
            transfer::Error::Task(error) => Self::Task(error),
            // Only a copy between stores asks for all bytes.
            error @ transfer::Error::Short { .. } => Self::Incomplete(error.to_string()),
        }
    }
}
