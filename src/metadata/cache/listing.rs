//! Directories in the order of their cookies, from the first entry on.

use std::collections::{BTreeMap, HashMap};

use super::{ChangedEntry, IdHash};
use crate::metadata::Page;
use crate::types::{Attributes, Cookie, Fileid, Name, ObjectId};

/// The most entries of one directory that are kept: the first ones.
const LONGEST: usize = 1 << 14;
/// What an entry takes beside its name, in bytes: its place in a tree whose nodes are half full, and the
/// name's count.
const ENTRY_BYTES: usize = 128;
/// What a directory takes beside its entries, in bytes.
const DIRECTORY_BYTES: usize = 1 << 10;
/// The most bytes of all directories: 65,536 entries whose names have 32 bytes.
const MOST_BYTES: usize = (ENTRY_BYTES + 32) << 16;

/// The directories that were listed last: when the newer generation is full, it becomes the older, which is
/// dropped.
#[derive(Debug, Default)]
pub(super) struct Listings {
    newer: HashMap<ObjectId, Listing, IdHash>,
    older: HashMap<ObjectId, Listing, IdHash>,
    /// Bytes of the newer generation.
    bytes: usize,
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
    /// What it takes.
    bytes: usize,
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
        let kept = self.newer.remove(&id);
        let counted = kept.as_ref().map_or(0, |listing| listing.bytes);
        let kept = kept.or_else(|| self.older.remove(&id));
        let is_first = after <= Cookie::DOT_DOT;
        let mut listing = match kept {
            Some(kept) if kept.parent == page.directory.parent => kept,
            Some(_) | None if is_first => Listing {
                parent: page.directory.parent,
                parent_fileid: page.parent_fileid,
                slots: BTreeMap::new(),
                to: Some(Cookie::DOT_DOT.0),
                bytes: DIRECTORY_BYTES,
            },
            Some(_) | None => return,
        };
        if is_first || listing.to.is_some_and(|to| after.0 <= to) {
            listing.extend(page);
        }
        self.bytes += listing.bytes.saturating_sub(counted);
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
            listing.remove(cookie.0);
        }
        match (entry.after, fileid) {
            (Some(edge), Some(fileid)) => {
                let slot = Slot { name: name.clone(), object: edge.child, fileid };
                self.bytes += slot.bytes();
                listing.put(edge.cookie.0, slot);
                self.turn();
            }
            (Some(_), None) => self.remove(directory),
            (None, _) => {}
        }
    }

    fn turn(&mut self) {
        if self.bytes >= MOST_BYTES / 2 {
            self.older = std::mem::take(&mut self.newer);
            self.bytes = 0;
        }
    }
}

impl Slot {
    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.name.as_bytes().len()
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
            if self.slots.len() >= LONGEST || self.bytes >= MOST_BYTES / 4 {
                return;
            }
            let slot =
                Slot { name: entry.name.clone(), object: entry.object, fileid: entry.fileid };
            self.insert(entry.cookie.0, slot);
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
        self.insert(cookie, slot);
        if self.slots.len() > LONGEST {
            if let Some((_, slot)) = self.slots.pop_last() {
                self.bytes -= slot.bytes();
            }
            self.to = self.slots.last_key_value().map(|(last, _)| *last);
        }
    }

    fn insert(&mut self, cookie: u64, slot: Slot) {
        self.bytes += slot.bytes();
        if let Some(replaced) = self.slots.insert(cookie, slot) {
            self.bytes -= replaced.bytes();
        }
    }

    fn remove(&mut self, cookie: u64) {
        if let Some(slot) = self.slots.remove(&cookie) {
            self.bytes -= slot.bytes();
        }
    }
}
