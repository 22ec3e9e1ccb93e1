//! The largest size of a share's files: what the content store can hold, and what the configuration allows.

use std::collections::HashMap;

use super::{OfflineError, OfflineStores};
use crate::config::Config;
use crate::content::{ContentStore, CreateMode};
use crate::metadata::Record;
use crate::types::{ObjectId, ShareName};

/// A file that does not fit where it is to go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{path} has {size} bytes, but {place} is limited to files of {limit} bytes: nothing was changed; exclude \
     the file, or {remedy}"
)]
pub struct Oversized {
    /// The file, with its share's name in front.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    pub place: String,
    /// The largest size there, in bytes.
    pub limit: u64,
    /// Where larger files fit.
    pub remedy: &'static str,
}

/// The largest size that is served.
pub(super) fn of(configured: Option<u64>, content: &dyn ContentStore) -> u64 {
    content.max_length().min(configured.unwrap_or(u64::MAX))
}

/// The same for a share that the configuration may name, with its content in `content`.
pub fn largest_file(config: &Config, share: &ShareName, content: &dyn ContentStore) -> u64 {
    let share = config.shares.iter().find(|known| known.name == *share);
    of(share.and_then(|share| share.max_file_size), content)
}

/// Holds the sizes of files that come into shares against the largest that these take.
#[derive(Clone, Debug, Default)]
pub struct SizeCheck {
    limits: HashMap<ShareName, u64>,
    /// The name that every share gets.
    name: Option<ShareName>,
    /// The share whose objects come, and its limit.
    present: Option<(ShareName, u64)>,
}

impl SizeCheck {
    /// The check of what comes into the metadata store `store`, under another name where one is given. A
    /// content store that is not there, or not to be reached, bounds nothing yet: its shares' limits are
    /// those of the configuration.
    ///
    /// # Errors
    /// A content store that others than its server cannot have.
    pub async fn of_store(
        config: &Config,
        store: &str,
        name: Option<ShareName>,
    ) -> Result<Self, OfflineError> {
        let mut offline = OfflineStores::new(config);
        let mut limits = HashMap::new();
        for share in config.shares.iter().filter(|share| share.metadata_store == store) {
            let configured = share.max_file_size.unwrap_or(u64::MAX);
            let limit = match offline.content(&share.content_store, CreateMode::Never).await {
                Ok(content) => of(share.max_file_size, &*content),
                Err(OfflineError::ContentInMemory(_) | OfflineError::Content(_)) => configured,
                Err(error) => return Err(error),
            };
            limits.insert(share.name.clone(), limit);
        }
        Ok(Self { limits, name, present: None })
    }

    /// Whether no file can be too large.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.limits.values().all(|limit| *limit >= i64::MAX as u64)
    }

    /// A file that is too large, its size, and the share's limit.
    pub fn see(&mut self, record: &Record) -> Option<(ObjectId, u64, ShareName, u64)> {
        match record {
            Record::Share(share) => {
                let name = self.name.as_ref().unwrap_or(&share.name);
                self.present = self.limits.get(name).map(|limit| (name.clone(), *limit));
                None
            }
            Record::Object(object) => {
                let it = &object.attributes;
                let (share, limit) = self.present.as_ref()?;
                let too_large = it.content.is_some() && it.size > *limit;
                too_large.then(|| (it.id, it.size, share.clone(), *limit))
            }
            Record::Entry(_) => None,
        }
    }
}
