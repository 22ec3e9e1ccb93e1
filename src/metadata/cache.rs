//! Attributes, entries, targets of links and listings as they are committed: GETATTR, LOOKUP, READLINK,
//! READDIR and READDIRPLUS that are repeated take no statement.
//!
//! The cache is authoritative only where this process knows of every commit: the SQLite store is alone with
//! its file, and the PostgreSQL store holds the lease of its database, or drops what others have changed
//! before each answer ([`Cache::drop_changed`]).
//!
//! **Commits.** Between [`Cache::begin`] and [`Cache::end`] of a commit the cache answers as before it, at
//! `end` as after it, all keys at once; callers of the commit are answered behind `end`. A statement may see
//! the commit earlier, so a reading waits in [`Cache::settle`] for the commits under way that touch an object
//! of its result: no client sees a change and then the state before it. A statement of another server does
//! not wait for them. Its result is shown after [`HIDDEN`], and a cache [`Cache::beside_others`] answers as
//! before a commit for no longer than that.
//!
//! **Readings.** A reading that began before a commit may come back after it with the state before. So each
//! key has an epoch: the number of the last begin or end of a commit that touches it, and the commits under
//! way. A reading notes the last number of all when it begins. Its result is kept where the key's epoch is
//! not newer and no commit is under way. Keys share epochs, which costs a reading now and then and nothing
//! else.

mod listing;
pub(super) mod two_generations;

use std::collections::HashSet;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::Notify;

use self::listing::Listings;
use self::two_generations::{GENERATION, TwoGenerationMap};
use super::single_writer::Edge;
use super::{DirectoryEntry, Error, Link, Lookup, Page, Share};
use crate::counters::{HitRate, Measured, Readings};
use crate::types::{Attributes, Context, Cookie, Name, ObjectId, SymlinkTarget, since_boot};

/// The most objects, and the most entries. As many again for those that listings brought along.
const KEPT: usize = 2 * GENERATION;
/// The most bytes that all of it takes; a unit test fills it (docs/operations.md, Memory).
#[cfg(test)]
const MOST_BYTES: usize = 56 << 20;
/// The most bytes of the names of entries: about 90 for each, if there are as many as there may be.
const NAME_BYTES: usize = 6 << 20;
/// The most bytes of targets of symbolic links.
const TARGET_BYTES: usize = 4 << 20;
/// What a shared name or target takes beside its bytes.
const SHARED: usize = 2 * size_of::<usize>();
/// The longest target of a symbolic link that is kept, in bytes.
const LONGEST_TARGET: usize = 255;
const EPOCHS: usize = 1 << 12;
/// The most entries of a page that are kept before other callers get a turn.
const KEPT_AT_ONCE: usize = 128;

/// How long a cache beside other servers answers as before a commit that is under way.
pub(super) const HIDDEN: Duration = Duration::from_millis(50);

/// An entry's key.
type EntryKey = (ObjectId, Name);

/// An entry that a commit changes.
#[derive(Clone, Debug)]
pub(super) struct ChangedEntry {
    pub(super) place: EntryKey,
    /// The cookie of the entry that is removed.
    pub(super) before: Option<Cookie>,
    /// The entry that is put.
    pub(super) after: Option<Edge>,
}

/// The keys that a commit changes. Of several changes of an entry the last one counts.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) objects: Vec<ObjectId>,
    pub(super) entries: Vec<ChangedEntry>,
}

/// When the keys that share it have changed.
#[derive(Clone, Copy, Debug, Default)]
struct Epoch {
    /// The number of the last begin or end of a commit.
    moved: u64,
    /// Commits under way, one for each key.
    under_way: u32,
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

    /// Whether a key that was read since is unchanged.
    fn holds_since(self, since: Since) -> bool {
        self.under_way == 0 && self.moved <= since.0
    }
}

/// When a reading began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since(u64);

/// A commit under way.
#[derive(Debug)]
#[must_use = "a commit that begins must end"]
pub(super) struct Begun {
    number: u64,
    touched: Touched,
}

impl Begun {
    /// The keys that the commit changes.
    pub(super) fn touched(&self) -> &Touched {
        &self.touched
    }
}

/// The objects of a commit under way, by the number of its begin.
#[derive(Debug)]
struct UnderWay {
    number: u64,
    /// When it began.
    began: Duration,
    objects: HashSet<ObjectId, IdHash>,
}

/// The cache of one store.
#[derive(Debug)]
pub(super) struct Cache {
    state: RwLock<State>,
    /// Chooses a key's epoch. Keys of one epoch cost readings and nothing else, also where a client chose
    /// them.
    hasher: foldhash::fast::RandomState,
    /// Notified at the end of each commit.
    ended: Notify,
    hits: HitRate,
}

#[derive(Debug)]
struct State {
    asked: Kept,
    /// Objects and entries that a listing brought along: the scan of a large directory evicts nothing else.
    listed: Kept,
    /// Targets of symbolic links, which never change.
    targets: TwoGenerationMap<ObjectId, SymlinkTarget, IdHash>,
    listings: Listings,
    epochs: Vec<Epoch>,
    /// The epoch of changes whose keys are not known.
    whole: Epoch,
    /// The last number.
    moves: u64,
    under_way: Vec<UnderWay>,
    /// Whether other servers may read the store.
    is_beside_others: bool,
}

#[derive(Debug)]
struct Kept {
    objects: TwoGenerationMap<ObjectId, Attributes, IdHash>,
    /// Where entries lead; `None` for a name that is absent.
    entries: TwoGenerationMap<EntryKey, Option<ObjectId>, RandomState>,
}

impl Default for Kept {
    fn default() -> Self {
        let name = |(_, name): &EntryKey, _: &Option<ObjectId>| SHARED + name.as_bytes().len();
        let entries = TwoGenerationMap::bounded(KEPT, NAME_BYTES, name);
        Self { objects: TwoGenerationMap::new(KEPT), entries }
    }
}

fn targets() -> TwoGenerationMap<ObjectId, SymlinkTarget, IdHash> {
    let bytes = |_: &ObjectId, target: &SymlinkTarget| SHARED + target.as_bytes().len();
    TwoGenerationMap::bounded(KEPT, TARGET_BYTES, bytes)
}

impl Default for Cache {
    fn default() -> Self {
        let state = State {
            asked: Kept::default(),
            listed: Kept::default(),
            targets: targets(),
            listings: Listings::default(),
            epochs: vec![Epoch::default(); EPOCHS],
            whole: Epoch::default(),
            moves: 0,
            under_way: Vec::new(),
            is_beside_others: false,
        };
        let (state, hasher) = (RwLock::new(state), foldhash::fast::RandomState::default());
        Self { state, hasher, ended: Notify::new(), hits: HitRate::default() }
    }
}

impl Measured for Cache {
    fn read(&self, to: &mut Readings) {
        to.cache("metadata", &self.hits);
        let entries = {
            let state = self.state.read();
            let kept = [&state.asked, &state.listed].into_iter();
            kept.map(|kept| kept.objects.len() + kept.entries.len()).sum()
        };
        to.cache_entries("metadata", entries);
    }
}

impl Cache {
    /// One of a store that other servers may read meanwhile.
    pub(super) fn beside_others() -> Self {
        let cache = Self::default();
        cache.state.write().is_beside_others = true;
        cache
    }

    /// When a reading begins whose result is to be kept.
    pub(super) fn since(&self) -> Since {
        Since(self.state.read().moves)
    }

    /// An object of the share, or when its reading begins, for [`Cache::keep_object`].
    pub(super) fn object(&self, share: &Share, id: ObjectId) -> Result<Attributes, Since> {
        let state = self.state.read();
        self.counted(state.of_share(share, &id).cloned().ok_or(Since(state.moves)))
    }

    /// Counts whether the cache had it.
    fn counted<T>(&self, found: Result<T, Since>) -> Result<T, Since> {
        self.hits.count(found.is_ok());
        found
    }

    /// Keeps an object that was read since.
    pub(super) fn keep_object(&self, since: Since, object: &Attributes) {
        let mut state = self.state.write();
        if state.holds(since, self.slot(&object.id)) {
            state.asked.objects.put(object.id, object.clone());
        }
    }

    /// READLINK's answer, or when its reading begins, for [`Cache::keep_link`].
    pub(super) fn link(&self, share: &Share, id: ObjectId) -> Result<Link, Since> {
        let state = self.state.read();
        match (state.of_share(share, &id), state.targets.get(&id)) {
            (Some(attributes), Some(target)) => {
                self.counted(Ok(Link { attributes: attributes.clone(), target: target.clone() }))
            }
            (_, _) => self.counted(Err(Since(state.moves))),
        }
    }

    /// Keeps READLINK's answer that was read since. A long target is not kept.
    pub(super) fn keep_link(&self, since: Since, link: &Link) {
        let (id, target) = (link.attributes.id, &link.target);
        let mut state = self.state.write();
        if state.holds(since, self.slot(&id)) && target.as_bytes().len() <= LONGEST_TARGET {
            state.asked.objects.put(id, link.attributes.clone());
            state.targets.put(id, target.clone());
        }
    }

    /// LOOKUP's answer, or when its reading begins, for [`Cache::keep_lookup`].
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
            return self.counted(Ok(Lookup { directory: parent.clone(), object }));
        }
        self.counted(Err(Since(state.moves)))
    }

    /// Keeps LOOKUP's answer that was read since.
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

    /// A page of a listing as [`super::MetadataStore::readdir`] answers it, or when its reading begins, for
    /// [`Cache::keep_page`].
    pub(super) fn page(
        &self,
        share: &Share,
        directory: ObjectId,
        after: Cookie,
        max_entries: usize,
        with_attributes: bool,
    ) -> Result<Page, Since> {
        let state = self.state.read();
        let page = || {
            let directory = state.of_share(share, &directory)?;
            let listing = state.listings.get(&directory.id)?;
            let parent_fileid = listing.parent_fileid(directory)?;
            let mut slots = listing.after(after);
            let mut entries = Vec::new();
            for (cookie, slot) in slots.by_ref().take(max_entries) {
                let attributes = match with_attributes {
                    true => Some(state.of_share(share, &slot.object)?.clone()),
                    false => None,
                };
                entries.push(DirectoryEntry {
                    cookie,
                    name: slot.name.clone(),
                    fileid: slot.fileid,
                    object: slot.object,
                    attributes,
                });
            }
            let eof = slots.next().is_none();
            if eof && !listing.is_whole() {
                return None;
            }
            Some(Page { directory: directory.clone(), parent_fileid, entries, eof })
        };
        self.counted(page().ok_or(Since(state.moves)))
    }

    /// Keeps a page of the entries behind `after` that was read since. Objects and entries that are asked for
    /// stay where they are.
    pub(super) fn keep_page(&self, since: Since, after: Cookie, page: &Page) {
        let directory = &page.directory;
        let directory_slot = self.slot(&directory.id);
        let mut state = self.state.write();
        if !state.holds(since, directory_slot) {
            return;
        }
        state.asked.objects.put(directory.id, directory.clone());
        state.listings.keep(after, page);
        drop(state);
        for entries in page.entries.chunks(KEPT_AT_ONCE) {
            let mut state = self.state.write();
            if !state.holds(since, directory_slot) {
                return;
            }
            for entry in entries {
                let Some(object) = &entry.attributes else { continue };
                if state.asked.objects.get(&object.id).is_none()
                    && state.holds(since, self.slot(&object.id))
                {
                    state.listed.objects.put(object.id, object.clone());
                }
                let place = (directory.id, entry.name.clone());
                if state.asked.entries.get(&place).is_none() {
                    state.listed.entries.put(place, Some(object.id));
                }
            }
        }
    }

    /// A commit begins.
    pub(super) fn begin(&self, touched: Touched) -> Begun {
        let objects = touched.objects.iter().copied().collect();
        let mut state = self.state.write();
        state.moves += 1;
        let number = state.moves;
        for slot in self.slots(&touched) {
            state.epochs[slot].begin(number);
        }
        let began = if state.is_beside_others { since_boot() } else { Duration::ZERO };
        state.under_way.push(UnderWay { number, began, objects });
        Begun { number, touched }
    }

    /// Whether a commit under way took place is not known for now: its keys are dropped, and no reading waits
    /// for it.
    pub(super) fn doubt(&self, begun: &Begun) {
        let mut state = self.state.write();
        state.drop_keys(&begun.touched);
        state.under_way.retain(|commit| commit.number != begun.number);
        drop(state);
        self.ended.notify_waiters();
    }

    /// A commit has ended: the objects that it touched and left, as they are now; `None` where the commit
    /// failed. Commits that touch the same keys end in the order in which they take place.
    pub(super) fn end<'a>(
        &self,
        begun: &Begun,
        objects: Option<impl Iterator<Item = &'a Attributes>>,
    ) {
        let Begun { number, touched } = begun;
        let mut state = self.state.write();
        state.moves += 1;
        let ended = state.moves;
        for slot in self.slots(touched) {
            state.epochs[slot].end(ended);
        }
        match objects {
            Some(objects) if state.whole.holds_since(Since(*number)) => {
                state.apply(touched, objects);
            }
            Some(_) | None => state.drop_keys(touched),
        }
        state.under_way.retain(|commit| commit.number != *number);
        drop(state);
        self.ended.notify_waiters();
    }

    /// Waits for the end of the commits under way that touch an object of a reading's result.
    ///
    /// # Errors
    /// [`Error::Cancelled`] where the call is over before.
    pub(super) async fn settle(
        &self,
        cx: &Context,
        objects: impl Iterator<Item = ObjectId> + Clone,
    ) -> Result<(), Error> {
        let touches = |commit: &&UnderWay| objects.clone().any(|id| commit.objects.contains(&id));
        let last = {
            let state = self.state.read();
            state.under_way.iter().rev().find(touches).map(|commit| commit.number)
        };
        let Some(last) = last else { return Ok(()) };
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            if self.state.read().under_way.iter().all(|commit| commit.number > last) {
                return Ok(());
            }
            cx.call.within(ended).await.ok_or(Error::Cancelled)?;
        }
    }

    /// Drops keys that others have changed. What was read of them before is not kept.
    pub(super) fn drop_changed(&self, touched: &Touched) {
        if touched.objects.is_empty() && touched.entries.is_empty() {
            return;
        }
        let mut state = self.state.write();
        state.moves += 1;
        let moved = state.moves;
        for slot in self.slots(touched) {
            state.epochs[slot].moved = moved;
        }
        state.drop_keys(touched);
    }

    /// A change whose keys are not known: nothing is kept until the guard is dropped.
    pub(super) fn forget(&self) -> Forgetting<'_> {
        let mut state = self.state.write();
        state.moves += 1;
        let moves = state.moves;
        state.whole.begin(moves);
        state.clear();
        Forgetting(self)
    }

    fn slots<'t>(&'t self, touched: &'t Touched) -> impl Iterator<Item = usize> + 't {
        let places = touched.entries.iter().map(|entry| self.slot(&entry.place));
        touched.objects.iter().map(|id| self.slot(id)).chain(places)
    }

    fn slot(&self, key: &impl Hash) -> usize {
        // The remainder fits.
        usize::try_from(self.hasher.hash_one(key) % EPOCHS as u64).unwrap_or(0)
    }
}

impl State {
    /// Whether a key of this epoch that was read since is unchanged.
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
        self.object(id).filter(|object| object.fsid == share.fsid && !self.is_shown_elsewhere(id))
    }

    /// Whether a commit under way that changes the object may be seen by clients of other servers.
    fn is_shown_elsewhere(&self, id: &ObjectId) -> bool {
        // They are in the order of their begins.
        let Some(first) = self.under_way.first().filter(|_| self.is_beside_others) else {
            return false;
        };
        let limit = since_boot().saturating_sub(HIDDEN);
        first.began <= limit
            && self.under_way.iter().any(|it| it.began <= limit && it.objects.contains(id))
    }

    /// The keys of a commit as they are after it.
    fn apply<'a>(&mut self, touched: &Touched, objects: impl Iterator<Item = &'a Attributes>) {
        for id in &touched.objects {
            self.listed.objects.remove(id);
        }
        let mut left = HashSet::<ObjectId, IdHash>::default();
        for object in objects {
            left.insert(object.id);
            self.asked.objects.put(object.id, object.clone());
        }
        for id in touched.objects.iter().filter(|id| !left.contains(id)) {
            self.asked.objects.remove(id);
            self.targets.remove(id);
            self.listings.remove(id);
        }
        for entry in &touched.entries {
            self.listed.entries.remove(&entry.place);
            self.asked.entries.put(entry.place.clone(), entry.after.map(|edge| edge.child));
            let fileid =
                entry.after.and_then(|edge| Some(self.asked.objects.get(&edge.child)?.fileid));
            self.listings.change(entry, fileid);
        }
    }

    fn drop_keys(&mut self, touched: &Touched) {
        for id in &touched.objects {
            self.asked.objects.remove(id);
            self.listed.objects.remove(id);
            self.targets.remove(id);
        }
        for ChangedEntry { place, .. } in &touched.entries {
            self.asked.entries.remove(place);
            self.listed.entries.remove(place);
            self.listings.remove(&place.0);
        }
    }

    fn clear(&mut self) {
        (self.asked, self.listed) = (Kept::default(), Kept::default());
        self.targets = targets();
        self.listings = Listings::default();
    }
}

/// A change under way whose keys are not known.
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

/// Hashes an [`ObjectId`], which no client chooses.
pub(super) type IdHash = foldhash::fast::RandomState;

#[cfg(test)]
mod bytes;
#[cfg(test)]
mod tests;
