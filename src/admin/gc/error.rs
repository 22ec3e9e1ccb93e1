//! Why nothing was collected, and what to do.

use uuid::Uuid;

use super::findings::Collected;
use crate::content;
use crate::metadata;
use crate::stores::OfflineError;
use crate::types::{ContentIdentity, ShareName};

/// Why nothing was collected.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// A store cannot be opened.
    #[error("{}; nothing was removed", chain(.0))]
    Offline(OfflineError),
    /// A share's names are in another process's memory.
    #[error(
        "the share {share} has its content in {name} and its files in the metadata store {metadata}, which \
         is in memory: only its server knows the content in use; nothing was removed"
    )]
    NamesInMemory { name: String, share: ShareName, metadata: String },
    /// The content goes with its process.
    #[error("the content store {0} has no identity; nothing was removed")]
    Fleeting(String),
    /// The content belongs to no share that is known.
    #[error(
        "content.stores.{name} holds the content {identity}, which no share of the metadata stores ({}) \
         uses: the database, or the folder or bucket, is not the one that the server uses; nothing was \
         removed",
        metadata.join(", ")
    )]
    NoHome { name: String, identity: ContentIdentity, metadata: Vec<String> },
    /// A metadata store that the configuration does not name has a share there.
    #[error(
        "content.stores.{name} has content of the share {share}, which belongs to the metadata store at \
         {owner} since {since}, and that store is not in the configuration: the content of its files would \
         be removed; nothing was removed. Add that metadata store to the configuration. If this store was \
         restored in its place, start the server first, which takes over the content. If that store and its \
         files are gone for good, use --forget-owner {claim}"
    )]
    Owned { name: String, share: String, claim: Uuid, owner: String, since: String },
    /// A metadata store does not say what is in use.
    #[error("metadata.stores.{name}: the content in use cannot be read; nothing was removed")]
    Metadata { name: String, source: metadata::Error },
    /// A content store cannot be looked at.
    #[error("content.stores.{name}: the content cannot be listed; nothing was removed")]
    Content { name: String, source: content::Error },
    /// What a start left cannot be removed.
    #[error("content.stores.{name}: temporary files of interrupted starts cannot be removed")]
    Leftovers { name: String, source: content::Error },
    /// A metadata store is gone in the middle.
    #[error(
        "metadata.stores.{name} no longer answers, so that a load could begin; stopped after removing \
         {removed} unused contents"
    )]
    Unconfirmed {
        name: String,
        /// Contents that are gone.
        removed: u64,
        source: metadata::Error,
    },
    /// Most of the content would go.
    #[error(
        "content.stores.{}: {} of {} contents are unused, and {} in use, as after a database was lost, \
         replaced or restored from an old backup; nothing was removed. Check that the files of the shares \
         can be read; if so, use --remove-most",
        .0.store, .0.garbage, .0.listed, .0.named
    )]
    Most(Box<Collected>),
    /// A signal stopped it.
    #[error("interrupted; nothing was removed")]
    Stopped,
}

/// Said whole, since what follows it is not its reason.
fn chain(error: &OfflineError) -> String {
    crate::types::Chain(error).to_string()
}

impl From<OfflineError> for GcError {
    fn from(error: OfflineError) -> Self {
        Self::Offline(error)
    }
}
