//! Why nothing was collected, and what to do.

use uuid::Uuid;

use super::findings::Collected;
use crate::content;
use crate::metadata;
use crate::server::stores::KeepingError;
use crate::types::{ContentIdentity, ShareName};

/// Why nothing was collected.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// A store cannot be opened.
    #[error("{}; nothing was removed", chain(.0))]
    Keeping(KeepingError),
    /// A share's names are in another process's memory.
    #[error(
        "the share {share} has its content in {name} and its names in the metadata store {metadata}, which is in \
         memory: its server alone knows what is in use; nothing was removed"
    )]
    NamesInMemory {
        /// The content store.
        name: String,
        /// The share.
        share: ShareName,
        /// Its metadata store.
        metadata: String,
    },
    /// The content goes with its process.
    #[error("the content store {0} has no identity; nothing was removed")]
    Fleeting(String),
    /// The content belongs to no share that is known.
    #[error(
        "content.stores.{name} holds the content {identity}, which no share of the metadata stores ({}) has: the \
         configuration names another database, or another folder or bucket, than its server does; nothing was removed",
        metadata.join(", ")
    )]
    NoHome {
        /// The content store.
        name: String,
        /// What it holds.
        identity: ContentIdentity,
        /// The metadata stores that were asked.
        metadata: Vec<String>,
    },
    /// A metadata store that the configuration does not name has a share there.
    #[error(
        "content.stores.{name} has content of the share {share}, which belongs to the metadata store at {owner} since {since}, and no metadata store of \
         the configuration is that one: its files' content would be removed; nothing was removed. Name that metadata store in the configuration \
         too. Where this one is restored in its place, start the server first, which takes the content over. Where that one is gone for good and \
         its files with it, give --forget-owner {claim}"
    )]
    Owned {
        /// The content store.
        name: String,
        /// The share.
        share: String,
        /// The metadata store's claim on it.
        claim: Uuid,
        /// Where that is.
        owner: String,
        /// Since when.
        since: String,
    },
    /// A metadata store does not say what is in use.
    #[error("metadata.stores.{name} does not say what is in use; nothing was removed")]
    Metadata {
        /// Its name in the configuration.
        name: String,
        /// Why.
        source: metadata::Error,
    },
    /// A content store cannot be looked at.
    #[error("content.stores.{name} cannot be looked at; nothing was removed")]
    Content {
        /// Its name in the configuration.
        name: String,
        /// Why.
        source: content::Error,
    },
    /// What a start left cannot be removed.
    #[error("content.stores.{name}: what was left beside the contents cannot be removed")]
    Leftovers {
        /// Its name in the configuration.
        name: String,
        /// Why.
        source: content::Error,
    },
    /// A metadata store is gone in the middle.
    #[error(
        "metadata.stores.{name} does not answer any more, so that a load could begin; {removed} contents that nothing \
         named were removed before"
    )]
    Unconfirmed {
        /// Its name in the configuration.
        name: String,
        /// Contents that are gone.
        removed: u64,
        /// Why.
        source: metadata::Error,
    },
    /// Most of the content would go.
    #[error(
        "content.stores.{}: {} of {} contents would be removed, and {} are a file's: so it looks where a database was \
         lost, exchanged or restored from an old backup; nothing was removed. Look whether the shares' files can be \
         read; where all is well, give --remove-most",
        .0.store, .0.garbage, .0.listed, .0.named
    )]
    Most(Box<Collected>),
    /// Somebody stopped it.
    #[error("interrupted; nothing was removed")]
    Stopped,
}

/// Said whole, since what follows it is not its reason.
fn chain(error: &KeepingError) -> String {
    crate::types::Chain(error).to_string()
}

impl From<KeepingError> for GcError {
    fn from(error: KeepingError) -> Self {
        Self::Keeping(error)
    }
}
