//! A bounded cache of open files, least recently used out first.
//!
//! A call that uses a file holds a [`Permit`]; there are no more of them than descriptors. So a call that
//! needs room finds an unused file. One with changes that are not durable is synced before its
//! descriptor is closed: a descriptor opened later might not hear of a failed write-back.

use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::FileType;

use super::file::OpenFile;
use super::folder::{Access, Folder, Opening};
use super::fsync_errors::Syncs;
use crate::content::Error;
use crate::content::lru::LruMap;
use crate::log_limit::{About, limited};
pub(super) use crate::types::Permit;
use crate::types::{Bounds, Claimant, ContentId, FairPermits, FileFacts, NoPermit};

/// How many files are in use at once at most: the calls beyond them wait by client, not in the one queue of
/// the threads that block.
const MOST_IN_USE: usize = 1024;
/// How many replies that are sent from a file's pages there are at once at most, and the part of the
/// descriptors that is for them.
const MOST_REPLIES: usize = 256;
const REPLIES_PART: usize = 4;
/// How many unused files are looked at for one that is durable, before one is synced.
const LOOK_FOR_CLEAN: usize = 32;

/// The open files of a store.
#[derive(Debug)]
pub(super) struct Descriptors {
    max: usize,
    /// The right to use one open file each; clients take turns.
    permits: FairPermits,
    /// Descriptors outside the table: replies keep files open until they are sent.
    replies: FairPermits,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    files: LruMap<ContentId, Arc<OpenFile>>,
    /// Descriptors about to be opened.
    opening: usize,
}

enum Room {
    /// A descriptor may be opened and is counted as opening.
    Made,
    /// So it is, once this one is closed.
    Closing(Arc<OpenFile>),
    /// This file has to be synced first.
    Dirty(Arc<OpenFile>),
}

impl Descriptors {
    pub(super) fn new(max: usize) -> Self {
        let replies = (max / REPLIES_PART).min(MOST_REPLIES);
        let max = (max - replies).max(1);
        let permits = FairPermits::new(max.min(MOST_IN_USE), Bounds::CALLS);
        let replies = FairPermits::new(replies, Bounds::CALLS);
        Self { max, permits, replies, table: Mutex::default() }
    }

    /// The right to use a file, where it is free.
    pub(super) fn free_permit(&self) -> Option<Permit> {
        self.permits.try_acquire(1)
    }

    /// The right of a reply to keep a file open, where it is free. Clients that do not read their replies may
    /// hold all of them: the data of other replies is copied then.
    pub(super) fn reply_permit(&self) -> Option<Permit> {
        self.replies.try_acquire(1)
    }

    /// Waits for the right to use a file. A caller asks once.
    pub(super) async fn permit(&self, claimant: Claimant) -> Result<Permit, Error> {
        self.permits(claimant, 1).await
    }

    /// Whether a caller may use two files at once.
    pub(super) fn has_two(&self) -> bool {
        self.max > 1
    }

    /// The same for a caller that uses several files at once.
    pub(super) async fn permits(&self, claimant: Claimant, count: usize) -> Result<Permit, Error> {
        self.permits.acquire(claimant, count).await.map_err(|reason| match reason {
            NoPermit::Full(full) => Error::Unavailable(std::io::Error::other(full)),
            NoPermit::Closed => Error::Io(std::io::Error::other(reason)),
        })
    }

    #[cfg(test)]
    pub(super) fn free_permits(&self) -> usize {
        self.permits.free()
    }

    /// Puts a file there that is open already.
    #[cfg(test)]
    pub(super) fn add(&self, file: OpenFile) {
        self.table.lock().insert(Arc::new(file));
    }

    /// The open file of `id` and its state, where it is open and still the content of that name.
    pub(super) fn cached(
        &self,
        folder: &Folder,
        id: ContentId,
    ) -> Result<Option<(Arc<OpenFile>, FileFacts)>, Error> {
        let Some(file) = self.table.lock().get(id) else {
            return Ok(None);
        };
        let facts = file.facts(folder)?;
        if facts.links == 0 {
            // Removed, by another process perhaps.
            self.discard(&file);
            return Ok(None);
        }
        Ok(Some((file, facts)))
    }

    /// The open file of `id`, opened where it is not. Blocks; needs a permit.
    pub(super) fn open(
        &self,
        folder: &Folder,
        syncs: &Syncs,
        id: ContentId,
        how: Opening,
        _permit: &Permit,
    ) -> Result<(Arc<OpenFile>, FileFacts), Error> {
        if let Some((file, facts)) = self.cached(folder, id)? {
            if how == Opening::Existing || file.access == Access::ReadWrite {
                return Ok((file, facts));
            }
            self.discard(&file);
        }
        let room = self.make_room(folder, syncs);
        let opened = folder.open_file(id, how).and_then(|(descriptor, access)| {
            let file = OpenFile::new(id, descriptor, access);
            let facts = file.facts(folder)?;
            if facts.kind != FileType::RegularFile {
                let other = std::io::Error::other(
                    "not a regular file: it was not created by TrunkFS; remove it",
                );
                return Err(Error::Io(other));
            }
            Ok((Arc::new(file), facts))
        });
        let mut table = self.table.lock();
        // Two may have opened it at once: the first descriptor is the one that counts changes.
        if let Some(first) = table.get(id) {
            drop(opened);
            room.give_back(&mut table);
            drop(table);
            let facts = first.facts(folder)?;
            if facts.links > 0 {
                return Ok((first, facts));
            }
            self.discard(&first);
            return Err(Error::Missing(id));
        }
        room.give_back(&mut table);
        let (file, facts) = opened?;
        table.insert(Arc::clone(&file));
        Ok((file, facts))
    }

    /// Closes a file if need be, and counts one more descriptor as opening.
    fn make_room(&self, folder: &Folder, syncs: &Syncs) -> OpeningDescriptor<'_> {
        loop {
            let room = self.table.lock().room(self.max);
            match room {
                Room::Made => return OpeningDescriptor(&self.table),
                Room::Closing(file) => {
                    drop(file);
                    return OpeningDescriptor(&self.table);
                }
                Room::Dirty(file) => {
                    if let Err(error) = syncs.sync(folder, &file) {
                        let error = &error as &dyn std::error::Error;
                        limited!(error, About::default(), "fsync failed: content is not durable", id = %file.id, error);
                    }
                    let failed = syncs.check(folder, file.id).is_err();
                    if self.table.lock().close_synced(&file, failed) {
                        return OpeningDescriptor(&self.table);
                    }
                }
            }
        }
    }

    /// Takes a file out of the table, if it is still the one there.
    pub(super) fn discard(&self, file: &Arc<OpenFile>) {
        self.table.lock().remove(file);
    }

    /// Takes the file of `id` out of the table if it has no name any more.
    pub(super) fn discard_removed(&self, folder: &Folder, id: ContentId) -> Result<(), Error> {
        self.cached(folder, id).map(drop)
    }
}

/// A descriptor that counts as opening, until it is given back or dropped, as by a panic.
struct OpeningDescriptor<'a>(&'a Mutex<Table>);

impl OpeningDescriptor<'_> {
    /// The descriptor is open, or was not to be had.
    fn give_back(self, table: &mut Table) {
        table.opening -= 1;
        std::mem::forget(self);
    }
}

impl Drop for OpeningDescriptor<'_> {
    fn drop(&mut self) {
        self.0.lock().opening -= 1;
    }
}

impl Table {
    fn get(&mut self, id: ContentId) -> Option<Arc<OpenFile>> {
        self.files.get(id).map(Arc::clone)
    }

    fn insert(&mut self, file: Arc<OpenFile>) {
        self.files.insert(file.id, file, 1);
    }

    fn remove(&mut self, file: &Arc<OpenFile>) {
        if self.files.peek(file.id).is_some_and(|known| Arc::ptr_eq(known, file)) {
            self.files.remove(file.id);
        }
    }

    /// Puts an opening descriptor in the place of a file that was synced, unless that was used or
    /// changed again.
    fn close_synced(&mut self, file: &Arc<OpenFile>, failed: bool) -> bool {
        // The table's and the caller's.
        const OWNERS: usize = 2;
        let unused = Arc::strong_count(file) == OWNERS && (failed || !file.is_dirty());
        if unused {
            self.remove(file);
            self.opening += 1;
        }
        unused
    }

    /// Counts a descriptor as opening if there is room, else takes out a file that is not in use and
    /// is durable; one that is not is the caller's to sync.
    fn room(&mut self, max: usize) -> Room {
        if self.files.weight() as usize + self.opening < max {
            self.opening += 1;
            return Room::Made;
        }
        let unused = || self.files.oldest().filter(|file| Arc::strong_count(file) == 1);
        let clean = unused().take(LOOK_FOR_CLEAN).find(|file| !file.is_dirty());
        if let Some(file) = clean.map(Arc::clone) {
            self.remove(&file);
            self.opening += 1;
            return Room::Closing(file);
        }
        match unused().next() {
            Some(file) => Room::Dirty(Arc::clone(file)),
            None => {
                // Permits make this impossible; one descriptor too many is better than a deadlock.
                debug_assert!(false, "every open file is in use");
                self.opening += 1;
                Room::Made
            }
        }
    }
}
