//! What clients see: shares with their rules, the namespace and the bytes behind it, and the state
//! of files between an unstable WRITE and its COMMIT.

mod attributes;
mod error;
mod export;
mod exports;
mod file;
mod groups;
mod locks;
mod mount;
mod namespace;
mod overview;
mod policy;

use std::sync::Arc;

use bytes::Bytes;

pub use attributes::FsStat;
pub use error::{Error, Failure, Result};
pub use export::{ExportSettings, WriteBehind};
pub use file::Unflushed;
pub use groups::GroupSource;
use groups::Groups;
pub use mount::{ExportEntry, MountError};
pub use overview::ShareOverview;
pub use policy::{Access, ClientRule, Squash};

use crate::metadata::{Change, Page};
use crate::types::{Attributes, FilePages};
use exports::Exports;

/// How durable written data is (RFC 1813 section 3.3.7, stable_how).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stability {
    /// It may be lost until a COMMIT under the same verifier succeeds.
    Unstable,
    /// The data, and what is needed to find it again, is durable.
    DataSync,
    /// Everything is durable.
    FileSync,
}

/// ACCESS's answer.
#[derive(Clone, Debug)]
pub struct AccessDone {
    /// The bits out of the requested ones that are granted.
    pub granted: u32,
    /// The object.
    pub attributes: Attributes,
}

/// READDIR's and READDIRPLUS's answer.
#[derive(Clone, Debug)]
pub struct ReadDirDone {
    /// The entries.
    pub page: Page,
    /// Whether the caller may search the directory, and so see more of the entries than names and file
    /// numbers.
    pub searchable: bool,
}

/// READ's data.
#[derive(Clone, Debug)]
pub enum Data {
    Bytes(Bytes),
    /// A range of a file that is sent from the page cache.
    Pages(FilePages),
}

impl Data {
    /// How many bytes there are.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "replies to READ have the number of bytes")]
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Pages(pages) => pages.len(),
        }
    }

    /// A copy of them.
    ///
    /// # Errors
    /// Those of [`FilePages::copy`].
    pub fn copy(&self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.to_vec()),
            Self::Pages(pages) => pages.copy(),
        }
    }
}

/// READ's answer.
#[derive(Clone, Debug)]
pub struct ReadDone {
    pub data: Data,
    /// Whether the file ends behind them.
    pub eof: bool,
    /// The file.
    pub attributes: Attributes,
}

/// WRITE's answer.
#[derive(Clone, Debug)]
pub struct WriteDone {
    /// The file.
    pub change: Change,
    /// Bytes written.
    pub count: u32,
    /// How durable they are: at least as asked.
    pub stability: Stability,
    /// The write verifier.
    pub verifier: [u8; 8],
}

/// COMMIT's answer.
#[derive(Clone, Debug)]
pub struct CommitDone {
    /// The file.
    pub change: Change,
    /// The write verifier.
    pub verifier: [u8; 8],
}

/// The file systems that a server exports.
#[derive(Debug)]
pub struct Vfs {
    exports: Exports,
    groups: Groups,
}

impl Vfs {
    /// A server's exports, with fresh write verifiers.
    ///
    /// # Errors
    /// Where the system has no random numbers.
    pub fn new(mut exports: Vec<ExportSettings>) -> std::io::Result<Arc<Self>> {
        exports.sort_by(|one, other| one.share.name.cmp(&other.share.name));
        let vfs = Self { exports: Exports::default(), groups: Groups::default() };
        vfs.add_shares(exports)?;
        Ok(Arc::new(vfs))
    }
}
