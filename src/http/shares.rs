//! The shares as they were a few seconds ago: a store that is away holds up neither the page nor the figures.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;

use super::subject::{ShareState, Subject};
use crate::counters::Readings;

/// The pause between two questions; they themselves take a few seconds at most.
const PERIOD: Duration = Duration::from_secs(10);

/// The newest answers.
#[derive(Default)]
pub(super) struct Shares(Mutex<Vec<ShareState>>);

impl Shares {
    /// Asks the shares' stores, for ever.
    pub(super) async fn watch(&self, subject: &dyn Subject) -> std::convert::Infallible {
        loop {
            let shares = subject.shares().await;
            *self.0.lock() = shares;
            sleep(PERIOD).await;
        }
    }

    /// What was answered last.
    pub(super) fn read(&self) -> Vec<ShareState> {
        self.0.lock().clone()
    }

    /// The same as figures. What is not known has none.
    pub(super) fn measure(&self, to: &mut Readings) {
        for share in self.0.lock().iter() {
            let labels = [("share", share.name.as_str())];
            let mut level = |name, help, level: Option<u64>| {
                if let Some(level) = level {
                    to.level(name, help, &labels, level);
                }
            };
            level("trunkfs_share_used_bytes", "Bytes that files take", share.used_bytes);
            level("trunkfs_share_objects", "Files, directories and others", share.objects);
            let help = "What the content store has room for in all, where it has a bound";
            level("trunkfs_share_total_bytes", help, share.total_bytes);
            let help = "What is free in the content store, where it has a bound";
            level("trunkfs_share_available_bytes", help, share.available_bytes);
        }
    }
}
