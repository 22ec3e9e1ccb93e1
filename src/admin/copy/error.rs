//! Why content is not copied, and what to do.

use crate::content;
use crate::metadata;
use crate::stores::OfflineError;
use crate::types::{ContentIdentity, ShareName};

/// Why content is not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A store cannot be opened.
    #[error(transparent)]
    Offline(#[from] OfflineError),
    /// The content goes with its process.
    #[error("the content store {0} has no identity")]
    Fleeting(String),
    /// Both are one.
    #[error("the content stores {from} and {to} are the same: both hold the content {identity}")]
    Same { from: String, to: String, identity: ContentIdentity },
    /// It is another database's, which does not know of what is copied.
    #[error(
        "content.stores.{name} holds content {identity} that no file of these metadata stores uses: it \
         belongs to another database, whose `trunkfs gc` would remove the copies; choose an empty folder, or \
         another bucket or prefix"
    )]
    Foreign { name: String, identity: ContentIdentity },
    /// There is nothing to copy.
    #[error(
        "{} has its content in {name} (identity {identity}); searched the metadata stores {}",
        share.as_ref().map_or_else(|| "no share".to_owned(), |share| format!("no share {share}")),
        metadata.join(", ")
    )]
    NoShare {
        share: Option<ShareName>,
        name: String,
        identity: ContentIdentity,
        metadata: Vec<String>,
    },
    /// A file is too large for the store that it is copied to.
    #[error(transparent)]
    Oversized(#[from] crate::stores::Oversized),
    /// A metadata store does not say which files there are.
    #[error("metadata.stores.{name}: the list of files cannot be read")]
    Metadata { name: String, source: metadata::Error },
    /// The store that is copied to fails.
    #[error("content.stores.{name}: write failed; run the command again to resume")]
    To { name: String, source: content::Error },
}
