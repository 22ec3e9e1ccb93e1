//! What clients see: shares with their rules, the namespace and the bytes behind it, and the state
//! of files between an unstable WRITE and its COMMIT.

mod attributes;
mod error;
mod export;
mod file;
mod groups;
mod locks;
mod mount;
mod namespace;
mod overview;
mod policy;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

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
use crate::types::{Attributes, ShareName};
use export::Export;

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

/// READ's answer.
#[derive(Clone, Debug)]
pub struct ReadDone {
    pub data: Bytes,
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
    exports: BTreeMap<ShareName, Arc<Export>>,
    groups: Groups,
}

impl Vfs {
    /// A server's exports, with fresh write verifiers.
    ///
    /// # Errors
    /// Where the system has no random numbers.
    pub fn new(mut exports: Vec<ExportSettings>) -> std::io::Result<Arc<Self>> {
        exports.sort_by(|one, other| one.share.name.cmp(&other.share.name));
        let exports = exports
            .into_iter()
            .zip(1..)
            .map(|(settings, number)| {
                let name = settings.share.name.clone();
                Ok((name, Arc::new(Export::new(settings, number)?)))
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Arc::new(Self { exports, groups: Groups::default() }))
    }

    /// Replaces a share's rules, from the next call on: those under way were admitted by the rules before.
    /// Nothing where there is no such share.
    pub fn set_rules(&self, share: &ShareName, rules: Vec<ClientRule>) {
        if let Some(export) = self.exports.get(share) {
            *export.rules.write() = rules;
        }
    }

    /// Writes behind: flushes what is old, until `shutdown` fires.
    pub async fn maintain(&self, shutdown: CancellationToken) {
        // A share whose stores are slow or away holds up no other.
        join_all(self.exports.values().map(|export| export.maintain(&shutdown))).await;
    }

    /// Flushes everything, for at most until `deadline`. What could not be flushed is logged; its
    /// clients send it again.
    pub async fn flush_all(&self, deadline: Instant) {
        join_all(self.exports.values().map(|export| export.flush_everything(deadline))).await;
    }
}
