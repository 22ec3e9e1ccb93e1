//! Directories in the order of their cookies, from the first entry on.

use std::collections::{BTreeMap, HashMap};

use super::{ChangedEntry, IdHash};
use crate::metadata::Page;
use crate::types::{Attributes, Cookie, Fileid, Name, ObjectId};

/// The most entries of one directory that are kept: the first ones.
const LONGEST: usize = 1 << 14;
/// The most entries of all directories.
const MOST_ENTRIES: usize = 1 << 16;
/// An empty directory counts for so many entries.
const EMPTY: usize = 8;

/// The directories that were listed last: when the newer generation is full, it becomes the older, which is
/// dropped.
#[derive(Debug, Default)]
pub(super) struct Listings {
    newer: HashMap<ObjectId, Listing, IdHash>,
    older: HashMap<ObjectId, Listing, IdHash>,
    /// Entries that were put into the newer generation.
    weight: usize,
}

/// The entries of a directory up to a cookie.
#[derive(Debug)]
pub(super) struct Listing {
    parent: Option<ObjectId>,
    parent_fileid: Fileid,
    /// By their cookies.
    slots: BTreeMap<u64, Slot>,
    /// The last cookie up to which all entries are here; `None` where no entry follows.
    to: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: Name,
    pub(super) object: ObjectId,
    pub(super) fileid: Fileid,
}

impl Listings {
    pub(super) fn get(&self, directory: &ObjectId) -> Option<&Listing> {
        self.newer.get(directory).or_else(|| self.older.get(directory))
    }

    pub(super) fn remove(&mut self, directory: &ObjectId) {
        self.newer.remove(directory);
        self.older.remove(directory);
    }

    /// Adds a page of the entries behind `after`. A page that begins behind the last known entry is not kept.
    pub(super) fn keep(&mut self, after: Cookie, page: &Page) {
        let id = page.directory.id;
        let kept = self.newer.remove(&id).or_else(|| self.older.remove(&id));
        let is_first = after <= Cookie::DOT_DOT;
        let mut listing = match kept {
            Some(kept) if kept.parent == page.directory.parent => kept,
            Some(_) | None if is_first => Listing {
                parent: page.directory.parent,
                parent_fileid: page.parent_fileid,
                slots: BTreeMap::new(),
                to: Some(Cookie::DOT_DOT.0),
            },
            Some(_) | None => return,
        };
        if is_first || listing.to.is_some_and(|to| after.0 <= to) {
            listing.extend(page);
        }
        self.weight += listing.slots.len().max(EMPTY);
        self.newer.insert(id, listing);
        self.turn();
    }

    /// Changes an entry; `fileid` is that of the object that gets the name.
    pub(super) fn change(&mut self, entry: &ChangedEntry, fileid: Option<Fileid>) {
        let (directory, name) = &entry.place;
        let newer = self.newer.get_mut(directory);
        let Some(listing) = newer.or_else(|| self.older.get_mut(directory)) else { return };
        if let Some(cookie) = entry.before
            && listing.slots.get(&cookie.0).is_some_and(|slot| slot.name == *name)
        {
            listing.slots.remove(&cookie.0);
        }
        match (entry.after, fileid) {
            (Some(edge), Some(fileid)) => {
                let slot = Slot { name: name.clone(), object: edge.child, fileid };
                listing.put(edge.cookie.0, slot);
                self.weight += 1;
                self.turn();
            }
            (Some(_), None) => self.remove(directory),
            (None, _) => {}
        }
    }

    fn turn(&mut self) {
        if self.weight >= MOST_ENTRIES / 2 {
            self.older = std::mem::take(&mut self.newer);
            self.weight = 0;
        }
    }
}

impl Listing {
    /// The file number of the directory's parent, where the parent is the one that the directory was listed
    /// with.
    pub(super) fn parent_fileid(&self, directory: &Attributes) -> Option<Fileid> {
        (directory.parent == self.parent).then_some(self.parent_fileid)
    }

    /// The entries that are here behind a cookie.
    pub(super) fn after(&self, after: Cookie) -> impl Iterator<Item = (Cookie, &Slot)> {
        let slots = self.slots.range(after.0.saturating_add(1)..);
        slots.map(|(cookie, slot)| (Cookie(*cookie), slot))
    }

    /// Whether the last entry that is here is the directory's last.
    pub(super) fn is_whole(&self) -> bool {
        self.to.is_none()
    }

    fn extend(&mut self, page: &Page) {
        for entry in &page.entries {
            if self.to.is_none_or(|to| entry.cookie.0 <= to) {
                continue;
            }
            if self.slots.len() >= LONGEST {
                return;
            }
            let slot =
                Slot { name: entry.name.clone(), object: entry.object, fileid: entry.fileid };
            self.slots.insert(entry.cookie.0, slot);
            self.to = Some(entry.cookie.0);
        }
        if page.eof {
            self.to = None;
        }
    }

    /// Puts an entry. A directory that has become too long keeps its first entries.
    fn put(&mut self, cookie: u64, slot: Slot) {
        if self.to.is_some_and(|to| cookie > to) {
            return;
        }
        self.slots.insert(cookie, slot);
        if self.slots.len() > LONGEST {
            self.slots.pop_last();
            self.to = self.slots.last_key_value().map(|(last, _)| *last);
        }
    }
}
