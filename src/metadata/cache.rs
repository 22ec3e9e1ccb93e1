//! What GETATTR, LOOKUP and READLINK read last, as it is committed, so that what is asked again takes no statement.
//!
//! It is kept only where this process knows of every commit: the SQLite store is alone with its file, and the PostgreSQL store
//! keeps it while it holds the lease of its database. Before a commit its keys are dropped, and while the commit is under way
//! nothing of them is kept; afterwards the changed objects are put as they are now, before anybody hears of the change. So
//! what is found here is what every snapshot holds that can be taken meanwhile, and nobody sees a change and then the
//! state before it.
//!
//! A reader that began before a commit may come back after it with what was there before. So each key has an epoch: the
//! number of its last move, which a commit makes at its begin and at its end, and the commits under way. A reading
//! notes the number of the last move of all when it begins. What was read is kept where the key's epoch has not moved since and no
//! commit is under way. Keys share epochs, which costs a reading now and then and nothing else.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};

use parking_lot::RwLock;

use super::{DirectoryEntry, Link, Lookup, Page, Share};
use crate::types::{Attributes, Name, ObjectId, SymlinkTarget};

/// How many objects are kept at most, and how many entries: about 40 MB in all where names are long. As many again are
/// kept of what was listed.
const KEPT: usize = 1 << 16;
/// The longest target of a symbolic link that is kept, in bytes.
const LONGEST_TARGET: usize = 255;
const EPOCHS: usize = 1 << 12;

/// An entry's key.
type EntryKey = (ObjectId, Name);

/// What a commit changes.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) objects: Vec<ObjectId>,
    pub(super) entries: Vec<EntryKey>,
}

/// The moves of the keys that share it.
#[derive(Clone, Copy, Debug, Default)]
struct Epoch {
    /// The number of the last.
    moved: u64,
    /// Commits of its keys that are under way, one for each key.
    under_way: u32,
}

impl Epoch {
    /// Whether what was read since is as it is now.
    fn holds_since(self, since: Since) -> bool {
        self.under_way == 0 && self.moved <= since.0
    }
}

/// When a reading began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since(u64);

/// A commit under way: the number of the move that it began with.
#[derive(Debug)]
#[must_use = "a commit that begins must end"]
pub(super) struct Begun(u64);

/// The cache of one store.
#[derive(Debug)]
pub(super) struct Cache {
    state: RwLock<CacheState>,
    hasher: RandomState,
}

#[derive(Debug)]
struct CacheState {
    asked: Kept,
    /// What a listing brought along, kept apart: a scan of a large directory takes no room from what is asked for.
    listed: Kept,
    /// Of symbolic links. A link keeps its target for as long as it is there.
    targets: TwoGenerationMap<ObjectId, SymlinkTarget>,
    epochs: Vec<Epoch>,
    /// Changes of unknown keys.
    whole: Epoch,
    /// The number of the last move.
    moves: u64,
}

#[derive(Debug, Default)]
struct Kept {
    objects: TwoGenerationMap<ObjectId, Attributes>,
    /// Where entries lead; `None` where there is none of the name.
    entries: TwoGenerationMap<EntryKey, Option<ObjectId>>,
}

impl Default for Cache {
    fn default() -> Self {
        let state = CacheState {
            asked: Kept::default(),
            listed: Kept::default(),
            targets: TwoGenerationMap::default(),
            epochs: vec![Epoch::default(); EPOCHS],
            whole: Epoch::default(),
            moves: 0,
        };
        Self { state: RwLock::new(state), hasher: RandomState::new() }
    }
}

impl Cache {
    /// When a reading begins whose result is to be kept.
    pub(super) fn since(&self) -> Since {
        Since(self.state.read().moves)
    }

    /// An object of the share, or when its reading begins, for [`Cache::keep_object`].
    pub(super) fn object(&self, share: &Share, id: ObjectId) -> Result<Attributes, Since> {
        let state = self.state.read();
        state.of_share(share, &id).cloned().ok_or(Since(state.moves))
    }

    /// Keeps an object that was read since.
    pub(super) fn keep_object(&self, since: Since, object: &Attributes) {
        let mut state = self.state.write();
        if state.holds(since, self.slot(&object.id)) {
            state.asked.objects.put(object.id, object.clone());
        }
    }

    /// What READLINK answers, or when its reading begins, for [`Cache::keep_link`].
    pub(super) fn link(&self, share: &Share, id: ObjectId) -> Result<Link, Since> {
        let state = self.state.read();
        match (state.of_share(share, &id), state.targets.get(&id)) {
            (Some(attributes), Some(target)) => {
                Ok(Link { attributes: attributes.clone(), target: target.clone() })
            }
            (_, _) => Err(Since(state.moves)),
        }
    }

    /// Keeps a READLINK's answer that was read since. A long target is not kept.
    pub(super) fn keep_link(&self, since: Since, link: &Link) {
        let (id, target) = (link.attributes.id, &link.target);
        let mut state = self.state.write();
        if state.holds(since, self.slot(&id)) && target.as_bytes().len() <= LONGEST_TARGET {
            state.asked.objects.put(id, link.attributes.clone());
            state.targets.put(id, target.clone());
        }
    }

    /// What LOOKUP answers, or when its reading begins, for [`Cache::keep_lookup`].
    pub(super) fn lookup(
        &self,
        share: &Share,
        directory: ObjectId,
        name: &Name,
    ) -> Result<Lookup, Since> {
        let place = (directory, name.clone());
        let state = self.state.read();
        let object = match state.entry(&place) {
            Some(Some(child)) => state.of_share(share, &child).cloned().map(Some),
            Some(None) => Some(None),
            None => None,
        };
        if let Some(parent) = state.of_share(share, &directory)
            && parent.file_type.is_directory()
            && let Some(object) = object
        {
            return Ok(Lookup { directory: parent.clone(), object });
        }
        Err(Since(state.moves))
    }

    /// Keeps a LOOKUP's answer that was read since.
    pub(super) fn keep_lookup(&self, since: Since, name: &Name, found: &Lookup) {
        let place = (found.directory.id, name.clone());
        let mut state = self.state.write();
        for object in std::iter::once(&found.directory).chain(&found.object) {
            if state.holds(since, self.slot(&object.id)) {
                state.asked.objects.put(object.id, object.clone());
            }
        }
        if state.holds(since, self.slot(&place)) {
            state.asked.entries.put(place, found.object.as_ref().map(|object| object.id));
        }
    }

    /// Keeps a page of a listing that was read since, as far as its entries have attributes. A page of which the first, the middle
    /// and the last entry are known is taken for known: a directory that is listed again costs next to nothing.
    pub(super) fn keep_page(&self, since: Since, page: &Page) {
        let (directory, entries) = (&page.directory, &page.entries);
        let samples = [entries.first(), entries.get(entries.len() / 2), entries.last()];
        let is_known = |state: &CacheState, entry: &DirectoryEntry| {
            state.object(&entry.object).is_some()
                && state.entry(&(directory.id, entry.name.clone())).is_some()
        };
        let state = self.state.read();
        if state.object(&directory.id).is_some()
            && samples.into_iter().flatten().all(|entry| is_known(&state, entry))
        {
            return;
        }
        drop(state);
        let mut state = self.state.write();
        if state.holds(since, self.slot(&directory.id)) {
            state.asked.objects.put(directory.id, directory.clone());
        }
        for entry in entries {
            let Some(object) = &entry.attributes else { continue };
            let place = (directory.id, entry.name.clone());
            if !state.holds(since, self.slot(&place)) {
                continue;
            }
            if state.holds(since, self.slot(&object.id)) && state.object(&object.id).is_none() {
                state.listed.objects.put(object.id, object.clone());
            }
            if state.entry(&place).is_none() {
                state.listed.entries.put(place, Some(object.id));
            }
        }
    }

    /// A commit begins.
    pub(super) fn begin(&self, touched: &Touched) -> Begun {
        let mut state = self.state.write();
        state.moves += 1;
        let begun = state.moves;
        for id in &touched.objects {
            state.epochs[self.slot(id)].begin(begun);
            state.asked.objects.remove(id);
            state.listed.objects.remove(id);
            state.targets.remove(id);
        }
        for place in &touched.entries {
            state.epochs[self.slot(place)].begin(begun);
            state.asked.entries.remove(place);
            state.listed.entries.remove(place);
        }
        Begun(begun)
    }

    /// It has ended: the objects as they are now, of which those are kept that no other commit touched meanwhile. Where it
    /// failed none are given.
    pub(super) fn end<'a>(
        &self,
        begun: &Begun,
        touched: &Touched,
        objects: impl Iterator<Item = &'a Attributes>,
    ) {
        let mut state = self.state.write();
        let objects_epochs = touched.objects.iter().map(|id| self.slot(id));
        let slots = objects_epochs.chain(touched.entries.iter().map(|place| self.slot(place)));
        let slots: Vec<usize> = slots.collect();
        slots.iter().for_each(|&slot| state.epochs[slot].under_way -= 1);
        let since = Since(begun.0);
        for object in objects {
            if state.holds(since, self.slot(&object.id)) {
                state.asked.objects.put(object.id, object.clone());
            }
        }
        state.moves += 1;
        let ended = state.moves;
        slots.iter().for_each(|&slot| state.epochs[slot].moved = ended);
    }

    /// Invalidates everything: caching is suspended until the guard is dropped.
    pub(super) fn forget(&self) -> Forgetting<'_> {
        let mut state = self.state.write();
        state.moves += 1;
        let moves = state.moves;
        state.whole.begin(moves);
        state.clear();
        Forgetting(self)
    }

    fn slot(&self, key: &impl Hash) -> usize {
        // The remainder fits.
        usize::try_from(self.hasher.hash_one(key) % EPOCHS as u64).unwrap_or(0)
    }
}

impl Epoch {
    fn begin(&mut self, number: u64) {
        self.moved = number;
        self.under_way += 1;
    }

    fn end(&mut self, number: u64) {
        self.moved = number;
        self.under_way -= 1;
    }
}

impl CacheState {
    /// Whether a key of this epoch that was read since is as it is now.
    fn holds(&self, since: Since, slot: usize) -> bool {
        self.whole.holds_since(since) && self.epochs[slot].holds_since(since)
    }

    fn object(&self, id: &ObjectId) -> Option<&Attributes> {
        self.asked.objects.get(id).or_else(|| self.listed.objects.get(id))
    }

    fn entry(&self, place: &EntryKey) -> Option<Option<ObjectId>> {
        self.asked.entries.get(place).or_else(|| self.listed.entries.get(place)).copied()
    }

    fn of_share(&self, share: &Share, id: &ObjectId) -> Option<&Attributes> {
        self.object(id).filter(|object| object.fsid == share.fsid)
    }

    fn clear(&mut self) {
        (self.asked, self.listed) = (Kept::default(), Kept::default());
        self.targets = TwoGenerationMap::default();
    }
}

/// A change of unknown keys under way.
#[derive(Debug)]
pub(super) struct Forgetting<'a>(&'a Cache);

impl Drop for Forgetting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.write();
        state.clear();
        state.moves += 1;
        let moves = state.moves;
        state.whole.end(moves);
    }
}

/// A bounded map: when the newer half is full, it becomes the older, which is dropped.
#[derive(Debug)]
struct TwoGenerationMap<K, V> {
    newer: HashMap<K, V>,
    older: HashMap<K, V>,
}

impl<K, V> Default for TwoGenerationMap<K, V> {
    fn default() -> Self {
        Self { newer: HashMap::new(), older: HashMap::new() }
    }
}

impl<K: Hash + Eq, V> TwoGenerationMap<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.newer.get(key).or_else(|| self.older.get(key))
    }

    fn put(&mut self, key: K, value: V) {
        if self.newer.len() >= KEPT / 2 {
            self.older = std::mem::take(&mut self.newer);
        }
        self.older.remove(&key);
        self.newer.insert(key, value);
    }

    fn remove(&mut self, key: &K) {
        self.newer.remove(key);
        self.older.remove(key);
    }
}

#[cfg(test)]
mod tests;
