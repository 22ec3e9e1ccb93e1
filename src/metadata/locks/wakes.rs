//! The files whose waiters may be tried, for the one task that tries them.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::types::ObjectId;

/// Files that were woken and not asked for yet.
#[derive(Debug, Default)]
pub(in crate::metadata) struct Wakes {
    woken: Mutex<Woken>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Woken {
    files: BTreeSet<ObjectId>,
    closed: bool,
}

impl Wakes {
    /// Waiters of these files may be tried.
    pub(in crate::metadata) fn wake(&self, files: impl IntoIterator<Item = ObjectId>) {
        let mut woken = self.woken.lock();
        woken.files.extend(files);
        if !woken.files.is_empty() {
            self.notify.notify_one();
        }
    }

    /// Whoever waits looks again at what else it waits for.
    pub(in crate::metadata) fn rouse(&self) {
        self.notify.notify_one();
    }

    /// Nothing follows.
    pub(in crate::metadata) fn close(&self) {
        self.woken.lock().closed = true;
        self.notify.notify_one();
    }

    /// The files that were woken; none where it is closed.
    pub(in crate::metadata) fn take(&self) -> Option<Vec<ObjectId>> {
        let mut woken = self.woken.lock();
        if woken.closed {
            // Whoever else asks ends too.
            self.notify.notify_one();
            return Some(Vec::new());
        }
        let files = std::mem::take(&mut woken.files);
        (!files.is_empty()).then(|| files.into_iter().collect())
    }

    /// Waits until there may be something to take.
    pub(in crate::metadata) async fn notified(&self) {
        self.notify.notified().await;
    }

    /// Waits for files. None once it is closed.
    pub(in crate::metadata) async fn woken(&self) -> Vec<ObjectId> {
        loop {
            if let Some(files) = self.take() {
                return files;
            }
            self.notified().await;
        }
    }
}
