//! Syncs that failed stay failed.
//!
//! When Linux cannot write back a page, it says so once to each descriptor, and takes the page for
//! clean after that: a second fdatasync(2) succeeds, with the data nowhere. So a failure is
//! remembered by id, and every later commit of that id answers it, until the content is removed or
//! cut to nothing, or the server starts anew and its clients send their data again.

use std::collections::HashMap;

use parking_lot::Mutex;
use rustix::io::Errno;

use super::file::OpenFile;
use super::folder::Folder;
use crate::content::Error;
use crate::types::ContentId;

/// Failures remembered by id; beyond them every commit fails.
const MAX_FAILURES: usize = 65_536;

/// Does all syncs of a store.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    failures: Mutex<Failures>,
    /// Syncs that were begun.
    #[cfg(test)]
    pub(super) begun: std::sync::atomic::AtomicU64,
}

#[derive(Debug, Default)]
struct Failures {
    by_id: HashMap<ContentId, Errno>,
    /// The failure for which there was no more room.
    any: Option<Errno>,
}

impl Failures {
    fn of(&self, id: ContentId) -> Option<Errno> {
        self.any.or_else(|| self.by_id.get(&id).copied())
    }

    fn record(&mut self, id: ContentId, errno: Errno) {
        if self.by_id.len() < MAX_FAILURES || self.by_id.contains_key(&id) {
            self.by_id.insert(id, errno);
        } else {
            self.any = Some(errno);
        }
    }
}

impl Syncs {
    /// The failure of an earlier sync of `id`.
    pub(super) fn check(&self, folder: &Folder, id: ContentId) -> Result<(), Error> {
        match self.failures.lock().of(id) {
            None => Ok(()),
            Some(errno) => Err(folder.failed("an earlier sync failed of", id, errno)),
        }
    }

    /// Makes a file durable, unless an earlier sync of it failed.
    pub(super) fn sync(&self, folder: &Folder, file: &OpenFile) -> Result<(), Error> {
        self.check(folder, file.id)?;
        #[cfg(test)]
        self.begun.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        file.sync(folder).map_err(|errno| {
            self.failures.lock().record(file.id, errno);
            folder.failed("sync", file.id, errno)
        })
    }

    /// Forgets the failure of content that is no more.
    pub(super) fn forget(&self, id: ContentId) {
        self.failures.lock().by_id.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_bounded_and_none_is_lost() {
        let mut failures = Failures::default();
        let ids: Vec<_> = (0..MAX_FAILURES).map(|_| ContentId::generate()).collect();
        for id in &ids {
            failures.record(*id, Errno::IO);
        }
        let other = ContentId::generate();
        assert_eq!(failures.of(other), None);
        failures.record(other, Errno::NOSPC);
        assert_eq!(failures.by_id.len(), MAX_FAILURES);
        assert_eq!(failures.of(other), Some(Errno::NOSPC));
        failures.by_id.remove(&ids[0]);
        assert_eq!(failures.of(ids[0]), Some(Errno::NOSPC));
    }
}
