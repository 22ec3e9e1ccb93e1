//! What maintenance does with a store beside the calls of clients: its whole content out, and in again.

use tokio::sync::mpsc;

use super::{Catalog, Error, MetadataStore, Share};
use crate::types::{Attributes, ContentId, Cookie, Name, ObjectId, ShareName, SymlinkTarget};

/// A piece of a store's content. A share's record stands before its objects' and entries'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A share. Its number is the store's own, and counts for nothing elsewhere.
    Share(Share),
    /// An object of the share before it.
    Object(ObjectRecord),
    /// A directory's entry, in the share before it.
    Entry(EntryRecord),
}

/// An object with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRecord {
    /// Its attributes, as of the last flush.
    pub attributes: Attributes,
    /// A symbolic link's target.
    pub target: Option<SymlinkTarget>,
    /// The verifier of the exclusive create that made it, if nothing has touched it since.
    pub verifier: Option<u64>,
}

/// A directory's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRecord {
    pub directory: ObjectId,
    pub name: Name,
    /// What it names.
    pub child: ObjectId,
    /// Its place in READDIR.
    pub cookie: Cookie,
}

/// What [`Load::load`] is given. A source that ends without [`Portion::End`] was cut off.
#[derive(Debug)]
pub enum Portion {
    /// Some records, in the order of the dump.
    Records(Vec<Record>),
    /// There are no more: what came is whole.
    End,
}

/// What a load is told where a [`LoadFence`] keeps it away.
pub(super) const FENCED: &str = "trunkfs gc is running on this store; retry when it has finished";

/// The setting by which a share claims its content. A load sets it to [`LOADED`], whatever it was.
#[must_use]
pub fn claim_key(share: &ShareName) -> String {
    format!("claim of {share}")
}

/// The claim of a share that was loaded and not served since.
pub const LOADED: &str = "loaded";

/// How many records go together at most.
pub const PORTION: usize = 1024;

/// How a load treats what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadHow {
    /// Another name for the one share of the dump.
    pub name: Option<ShareName>,
    /// Whether shares of the same names give way.
    pub replace: bool,
}

/// What a load brought in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Loaded {
    pub shares: u64,
    /// Objects, roots included.
    pub objects: u64,
    /// Directory entries.
    pub entries: u64,
}

impl Loaded {
    /// Counts a share in. Answers with the name that it gets.
    pub(super) fn add_share(
        &mut self,
        how: &LoadHow,
        name: ShareName,
    ) -> Result<ShareName, LoadError> {
        self.shares += 1;
        match &how.name {
            Some(_) if self.shares > 1 => Err(LoadError::NotOne(self.shares)),
            Some(other) => Ok(other.clone()),
            None => Ok(name),
        }
    }

    /// Whether the share is there that gets another name.
    pub(super) fn finish(&self, how: &LoadHow) -> Result<(), LoadError> {
        if how.name.is_some() && self.shares != 1 {
            return Err(LoadError::NotOne(self.shares));
        }
        Ok(())
    }
}

/// Why nothing was loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A share of that name is there.
    #[error("the store already has a share {0}")]
    Present(ShareName),
    /// Another name was given, and the dump has several shares, or none.
    #[error("the dump has {0} shares; only a single share can be renamed")]
    NotOne(u64),
    /// An object of the dump is there already, in another share.
    #[error("objects of the dump exist in another share of the store; a copy needs another store")]
    Collides,
    /// Instances have the share open.
    #[error("the share {0} is being served")]
    Served(ShareName),
    /// The records contradict each other.
    #[error("the dump is corrupt: {0}")]
    Unsound(String),
    /// The records ended before they were whole.
    #[error("the dump is truncated")]
    Incomplete,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

/// What can be read as a whole: a store, or what one keeps on disk.
#[async_trait::async_trait]
pub trait Dump: Catalog {
    /// Sends every share, or the one named, to `to` as of one moment, while calls go on. A share that is not
    /// there sends nothing. Ends with [`Error::Cancelled`] when the receiver is gone. What clients
    /// have written and the server has not flushed is not in it.
    async fn dump(
        &self,
        share: Option<&ShareName>,
        to: mpsc::Sender<Vec<Record>>,
    ) -> Result<(), Error>;

    /// Keeps [`Load::load`] away for as long as the value lives.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where a load is under way, and where this server may be behind the one that
    /// takes changes.
    async fn fence_loads(&self) -> Result<Box<dyn LoadFence>, Error>;
}

/// A store into which nothing is loaded. So a content id that no row names now, and that content was seen
/// under before, is named by no row ever again: a row has its content's id before the first byte is written,
/// and no id is used twice.
#[async_trait::async_trait]
pub trait LoadFence: std::fmt::Debug + Send + Sync {
    /// The content that the rows of all shares name, as of one moment after the call began; in no order.
    async fn named(&self) -> Result<Vec<ContentId>, Error>;

    /// The hold held until now, and what was read under it stays so after a crash of the store.
    async fn confirm(&self) -> Result<(), Error>;
}

/// A store that can be dumped and loaded.
#[async_trait::async_trait]
pub trait Load: MetadataStore + Dump {
    /// Whether a load that brings in a share of this name, in place of the one that is there, would be let in
    /// now.
    ///
    /// # Errors
    /// [`LoadError::Served`], and what the database's role may not do.
    async fn admits(&self, share: &ShareName) -> Result<(), LoadError>;

    /// Brings in what `from` sends, wholly or not at all: ids, file numbers, cookies, times and link counts
    /// are kept, so that handles of clients hold. File numbers and cookies of objects made afterwards are
    /// greater.
    ///
    /// # Errors
    /// Nothing was changed then. [`Error::Unavailable`] under a [`LoadFence`].
    async fn load(&self, how: &LoadHow, from: mpsc::Receiver<Portion>)
    -> Result<Loaded, LoadError>;
}
