//! The shares as they are now, for who runs the server.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::Vfs;
use super::export::Export;
use super::file::Unflushed;
use crate::content::Capacity;
use crate::counters::{Measured, Readings};
use crate::metadata::Usage;
use crate::types::{BoundedChain, ShareName};

/// How long a store may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(3);

/// A share now.
#[derive(Clone, Debug)]
pub struct ShareOverview {
    /// The share.
    pub name: ShareName,
    /// What it uses, or why that is not known.
    pub usage: Result<Usage, String>,
    /// The room of its content store (none where that has no bound), or why it is not known.
    pub capacity: Result<Option<Capacity>, String>,
    /// Written data that is not flushed.
    pub unflushed: Unflushed,
}

impl Vfs {
    /// The name of a share by its number, as the counters have it.
    #[must_use]
    pub fn share_name(&self, number: u32) -> Option<ShareName> {
        self.exports.name(number)
    }

    /// Every share, within a few seconds. A store that does not answer holds up nothing else.
    pub async fn overview(&self) -> Vec<ShareOverview> {
        let all = self.exports.all();
        join_all(all.iter().map(|export| export.overview())).await
    }
}

impl Measured for Vfs {
    fn read(&self, to: &mut Readings) {
        for export in self.exports.all() {
            let Unflushed { files, bytes, oldest } = export.files.unflushed();
            let share = [("share", export.share.name.as_str())];
            let help = "Files with written data that is not flushed";
            to.level("trunkfs_unflushed_files", help, &share, files);
            let help = "Written bytes that are not flushed";
            to.level("trunkfs_unflushed_bytes", help, &share, bytes);
            let help = "The age of the oldest written data that is not flushed";
            to.gauge("trunkfs_unflushed_age_seconds", help, &share, oldest.as_secs_f64());
        }
    }
}

impl Export {
    async fn overview(&self) -> ShareOverview {
        let usage = answer(self.metadata.usage(self.share.id));
        let capacity = answer(self.content.capacity());
        let (usage, capacity) = tokio::join!(usage, capacity);
        let unflushed = self.files.unflushed();
        ShareOverview { name: self.share.name.clone(), usage, capacity, unflushed }
    }
}

async fn answer<T, E: std::error::Error + 'static>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match timeout(ANSWER_TIME, work).await {
        Ok(answer) => answer.map_err(|error| BoundedChain(&error).to_string()),
        Err(_) => Err(format!("no answer within {ANSWER_TIME:?}")),
    }
}
