//! What GETATTR and LOOKUP read last, as it is committed, so that what is asked again takes no statement.
//!
//! Only this process changes the file, and so knows what a commit changes. Before a commit that is dropped, and while
//! the commit is under way nothing of it is kept; afterwards the changed objects are put as they are now, before anybody
//! hears of the change. So what is found here is what every snapshot holds that can be taken meanwhile, and nobody sees a
//! change and then the state before it.
//!
//! A reader that began before a commit may come back after it with what was there before. So each key has a mark, which
//! a commit moves when it begins and again when it ends: what was read is kept where the mark is as it was when the
//! reading began, and no commit was under way then. Keys share marks, which costs a reading now and then and nothing else.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};

use parking_lot::RwLock;

use crate::metadata::{Lookup, Share};
use crate::types::{Attributes, Name, ObjectId};

/// How many objects are kept at most, and how many entries, in halves: about 40 MB in all where names are long.
const KEPT: usize = 1 << 16;
const MARKS: usize = 1 << 12;

/// An entry's key.
type Place = (ObjectId, Name);

/// What a commit changes.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) objects: Vec<ObjectId>,
    pub(super) entries: Vec<Place>,
}

/// A count that is odd while a commit is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark(u64);

impl Mark {
    fn is_still(self) -> bool {
        self.0.is_multiple_of(2)
    }

    fn begin(&mut self) {
        self.0 |= 1;
    }

    fn end(&mut self) {
        self.0 += self.0 % 2;
    }

    /// Whether what was read since `before` is as it is now.
    fn holds_since(self, before: Self) -> bool {
        self == before && self.is_still()
    }
}

/// When a reading of an object began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since {
    whole: Mark,
    object: Mark,
}

/// When a reading of an entry began.
#[derive(Debug)]
pub(super) struct EntrySince {
    whole: Mark,
    any: Mark,
    directory: Mark,
    entry: Mark,
    /// The object that the entry is known to lead to.
    child: Option<(ObjectId, Mark)>,
}

/// The cache of one store.
#[derive(Debug)]
pub(super) struct Cache {
    state: RwLock<State>,
    hasher: RandomState,
}

#[derive(Debug)]
struct State {
    objects: Halves<ObjectId, Attributes>,
    /// Where entries lead; `None` where there is none of the name.
    entries: Halves<Place, Option<ObjectId>>,
    marks: Vec<Mark>,
    /// Of every commit.
    any: Mark,
    /// Of changes of nobody knows what.
    whole: Mark,
}

impl Default for Cache {
    fn default() -> Self {
        let state = State {
            objects: Halves::default(),
            entries: Halves::default(),
            marks: vec![Mark::default(); MARKS],
            any: Mark::default(),
            whole: Mark::default(),
        };
        Self { state: RwLock::new(state), hasher: RandomState::new() }
    }
}

impl Cache {
    /// An object of the share, or when its reading begins, for [`Cache::keep_object`].
    pub(super) fn object(&self, share: &Share, id: ObjectId) -> Result<Attributes, Since> {
        let state = self.state.read();
        match state.of_share(share, &id) {
            Some(object) => Ok(object.clone()),
            None => Err(Since { whole: state.whole, object: state.marks[self.slot(&id)] }),
        }
    }

    /// Keeps an object that was read since.
    pub(super) fn keep_object(&self, since: Since, object: &Attributes) {
        let mut state = self.state.write();
        if state.whole.holds_since(since.whole) {
            state.keep_object(self.slot(&object.id), since.object, object);
        }
    }

    /// What LOOKUP answers, or when its reading begins, for [`Cache::keep_lookup`].
    pub(super) fn lookup(
        &self,
        share: &Share,
        directory: ObjectId,
        name: &Name,
    ) -> Result<Lookup, EntrySince> {
        let place = (directory, name.clone());
        let state = self.state.read();
        let child = state.entries.get(&place).copied();
        let object = match child {
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
        Err(EntrySince {
            whole: state.whole,
            any: state.any,
            directory: state.marks[self.slot(&directory)],
            entry: state.marks[self.slot(&place)],
            child: child.flatten().map(|child| (child, state.marks[self.slot(&child)])),
        })
    }

    /// Keeps a LOOKUP's answer that was read since.
    pub(super) fn keep_lookup(&self, since: &EntrySince, name: &Name, found: &Lookup) {
        let place = (found.directory.id, name.clone());
        let mut state = self.state.write();
        if !state.whole.holds_since(since.whole) {
            return;
        }
        state.keep_object(self.slot(&found.directory.id), since.directory, &found.directory);
        if let Some(object) = &found.object {
            match since.child.filter(|(id, _)| *id == object.id) {
                Some((id, mark)) => state.keep_object(self.slot(&id), mark, object),
                // Which object it would be was not known: it is kept where nothing at all was committed.
                None if state.any.holds_since(since.any) => {
                    state.objects.put(object.id, object.clone());
                }
                None => {}
            }
        }
        if state.marks[self.slot(&place)].holds_since(since.entry) {
            state.entries.put(place, found.object.as_ref().map(|object| object.id));
        }
    }

    /// A commit begins.
    pub(super) fn begin(&self, touched: &Touched) {
        let mut state = self.state.write();
        state.any.begin();
        for id in &touched.objects {
            state.marks[self.slot(id)].begin();
            state.objects.remove(id);
        }
        for place in &touched.entries {
            state.marks[self.slot(place)].begin();
            state.entries.remove(place);
        }
    }

    /// It has ended: the objects as they are now. Where it failed none are given.
    pub(super) fn end<'a>(&self, touched: &Touched, objects: impl Iterator<Item = &'a Attributes>) {
        let mut state = self.state.write();
        state.any.end();
        touched.objects.iter().for_each(|id| state.marks[self.slot(id)].end());
        touched.entries.iter().for_each(|place| state.marks[self.slot(place)].end());
        objects.for_each(|object| state.objects.put(object.id, object.clone()));
    }

    /// A change of nobody knows what: nothing is kept until what is returned is dropped.
    pub(super) fn forget(&self) -> Forgetting<'_> {
        let mut state = self.state.write();
        state.whole.begin();
        state.clear();
        Forgetting(self)
    }

    fn slot(&self, key: &impl Hash) -> usize {
        // The remainder fits.
        usize::try_from(self.hasher.hash_one(key) % MARKS as u64).unwrap_or(0)
    }
}

impl State {
    fn of_share(&self, share: &Share, id: &ObjectId) -> Option<&Attributes> {
        self.objects.get(id).filter(|object| object.fsid == share.fsid)
    }

    fn keep_object(&mut self, slot: usize, since: Mark, object: &Attributes) {
        if self.marks[slot].holds_since(since) {
            self.objects.put(object.id, object.clone());
        }
    }

    fn clear(&mut self) {
        (self.objects, self.entries) = (Halves::default(), Halves::default());
    }
}

/// A change of nobody knows what, under way. There is one at a time: who makes it has the database's write lock.
#[derive(Debug)]
pub(super) struct Forgetting<'a>(&'a Cache);

impl Drop for Forgetting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.write();
        state.clear();
        state.whole.end();
    }
}

/// A bounded map: when the newer half is full, it becomes the older, which is dropped.
#[derive(Debug)]
struct Halves<K, V> {
    newer: HashMap<K, V>,
    older: HashMap<K, V>,
}

impl<K, V> Default for Halves<K, V> {
    fn default() -> Self {
        Self { newer: HashMap::new(), older: HashMap::new() }
    }
}

impl<K: Hash + Eq, V> Halves<K, V> {
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
