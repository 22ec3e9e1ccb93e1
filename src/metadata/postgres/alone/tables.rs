//! The tables as the writer sees them that is alone with the database: rows that it has met, as they are
//! after the batches that it has sent, and what the batch changes that it decides on now.
//!
//! A row that was never met is missing: the operation that asks for it has changed nothing yet, and runs
//! again once the row was fetched. A name that was never met is taken for free, as long as the operation puts
//! an entry there: the primary key refuses the batch where it is not, and nothing is fetched for most new
//! names.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use super::numbers::Numbers;
use crate::metadata::cache::two_generations::GENERATION;
use crate::metadata::cache::{ChangedEntry, IdHash, Touched};
use crate::metadata::known_shares::KnownShares;
use crate::metadata::postgres::rows::Stored;
use crate::metadata::single_writer::{Edge, OpError, Outcome, Tables};
use crate::metadata::{Capabilities, Error};
use crate::types::{
    Attributes, Cookie, Fileid, Fsid, Name, ObjectId, Replay, ShareId, SymlinkTarget,
};

/// How many rows of a kind are kept at least, where that many were met: those that a batch meets fit into the
/// same table beside them. Far more than the batches under way can change.
const KEPT: usize = GENERATION - (2 << 10);

/// How many ids are kept at least that no object has: calls with stale handles take no room from rows.
const KEPT_ABSENT: usize = 1 << 10;
/// How many batches' directories are remembered.
const REMEMBERED: usize = 64;

/// An entry's key.
pub(super) type Place = (ObjectId, Name);

/// Why an operation could not be carried out.
#[derive(Debug)]
pub(in crate::metadata::postgres) enum TablesError {
    /// Rows that were never met.
    Missing(Box<Missing>),
    /// Whether a directory is empty, of which entries have changed that are not written yet.
    Unsettled,
    /// The database contradicts itself.
    Damaged(Error),
}

/// When a fetch began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    sent: u64,
    turns: u64,
}

/// What is to be fetched.
#[derive(Debug, Default)]
pub(in crate::metadata::postgres) struct Missing {
    pub(super) objects: HashSet<ObjectId>,
    pub(super) entries: HashSet<Place>,
    /// Directories of which it is asked whether they are empty.
    pub(super) occupancy: HashSet<ObjectId>,
    pub(super) numbers: bool,
}

impl Missing {
    pub(super) fn add(&mut self, other: Self) {
        self.objects.extend(other.objects);
        self.entries.extend(other.entries);
        self.occupancy.extend(other.occupancy);
        self.numbers |= other.numbers;
    }
}

/// Rows by their keys; the ones not met for long are let go of.
#[derive(Debug)]
struct Met<K, V, S = RandomState> {
    recent: HashMap<K, V, S>,
    earlier: HashMap<K, V, S>,
}

impl<K, V, S: Default> Default for Met<K, V, S> {
    fn default() -> Self {
        Self { recent: HashMap::default(), earlier: HashMap::default() }
    }
}

impl<K: Hash + Eq + Clone, V, S: BuildHasher + Default> Met<K, V, S> {
    fn get(&mut self, key: &K) -> Option<&mut V> {
        if let Some((key, value)) = self.earlier.remove_entry(key) {
            self.recent.insert(key, value);
        }
        self.recent.get_mut(key)
    }

    fn put(&mut self, key: K, value: V) -> Option<V> {
        let earlier = self.earlier.remove(&key);
        self.recent.insert(key, value).or(earlier)
    }

    fn remove(&mut self, key: &K) {
        self.recent.remove(key);
        self.earlier.remove(key);
    }

    /// Lets go of what was not met for long, where more than so many rows are kept; whether it did.
    fn trim(&mut self, kept: usize) -> bool {
        let full = self.recent.len() > kept;
        if full {
            self.earlier = std::mem::take(&mut self.recent);
        }
        full
    }
}

/// What a batch changes: each key with what it was before.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) objects: HashMap<ObjectId, Option<Attributes>, IdHash>,
    pub(super) entries: HashMap<Place, Option<Edge>>,
    pub(super) targets: HashMap<ObjectId, SymlinkTarget>,
    /// Calls that were done, each with what it has made.
    pub(super) replies: Vec<(Replay, Option<ObjectId>)>,
}

/// The tables of a writer that is alone.
#[derive(Debug)]
pub(in crate::metadata::postgres) struct Overlay {
    shares: Arc<KnownShares>,
    objects: Met<ObjectId, Option<Stored>, IdHash>,
    entries: Met<Place, Option<Edge>>,
    /// Ids that a fetch found no object for. None ever gets one.
    absent: Met<ObjectId, (), IdHash>,
    /// Directories all of whose entries are known, with their number.
    counted: Met<ObjectId, u64, IdHash>,
    /// Directories that were found to have entries, until the batch is sent.
    occupied: HashSet<ObjectId>,
    /// The directories whose entries the last batches changed, by the batches' numbers.
    batches: VecDeque<(u64, HashSet<ObjectId, IdHash>)>,
    /// Batches that were sent, and those of them that were applied.
    sent: u64,
    applied: u64,
    /// How often rows were let go of.
    turns: u64,
    pub(super) numbers: Numbers,
    changes: Changes,
    /// Names that the operation under way has taken for free.
    assumed: Vec<Place>,
    /// Whether names that were never met are fetched.
    cautious: bool,
}

impl Overlay {
    pub(super) fn new(shares: Arc<KnownShares>) -> Self {
        Self {
            shares,
            objects: Met::default(),
            entries: Met::default(),
            absent: Met::default(),
            counted: Met::default(),
            occupied: HashSet::new(),
            batches: VecDeque::new(),
            sent: 0,
            applied: 0,
            turns: 0,
            numbers: Numbers::default(),
            changes: Changes::default(),
            assumed: Vec::new(),
            cautious: false,
        }
    }

    /// Forgets every row: what was sent last was not applied.
    pub(super) fn forget(&mut self) {
        let numbers = std::mem::take(&mut self.numbers);
        let (turns, cautious) = (self.turns + 1, self.cautious);
        *self = Self { numbers, turns, cautious, ..Self::new(self.shares.clone()) };
    }

    /// A batch was not applied, and none behind it: what it has touched is fetched anew. Everything else is
    /// as it was.
    pub(super) fn retract(&mut self, touched: &Touched) {
        for id in &touched.objects {
            self.objects.remove(id);
            self.counted.remove(id);
        }
        for ChangedEntry { place, .. } in &touched.entries {
            self.entries.remove(place);
            self.counted.remove(&place.0);
        }
        self.occupied.clear();
        self.applied = self.sent;
    }

    /// Whether names that were never met are fetched before an operation puts an entry there.
    pub(super) fn be_cautious(&mut self, cautious: bool) {
        self.cautious = cautious;
    }

    /// Runs an operation, which has changed nothing where that fails.
    pub(super) fn attempt(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<(), TablesError>,
    ) -> Result<(), TablesError> {
        self.assumed.clear();
        run(self)?;
        if self.assumed.is_empty() {
            return Ok(());
        }
        // A refusal that rests on a name's being free.
        let entries = self.assumed.drain(..).collect();
        Err(TablesError::Missing(Box::new(Missing { entries, ..Missing::default() })))
    }

    /// When a fetch begins.
    pub(super) fn moment(&self) -> Moment {
        Moment { sent: self.sent, turns: self.turns }
    }

    /// Whether rows that were read since may be older than ones that were met meanwhile and let go of.
    pub(super) fn is_long_ago(&self, moment: Moment) -> bool {
        self.turns != moment.turns
    }

    /// A row that was fetched. A row that is known already is newer.
    pub(super) fn learn_object(&mut self, id: ObjectId, found: Option<Stored>) {
        if self.objects.get(&id).is_some() {
            return;
        }
        match found {
            Some(stored) => drop(self.objects.put(id, Some(stored))),
            None => drop(self.absent.put(id, ())),
        }
    }

    /// An entry that was fetched.
    pub(super) fn learn_entry(&mut self, place: Place, found: Option<Edge>) {
        if self.entries.get(&place).is_none() {
            self.entries.put(place, found);
        }
    }

    /// Whether a directory has entries, as a fetch says that began at `moment`. The answer counts where none
    /// of them has changed since.
    pub(super) fn learn_occupancy(&mut self, moment: Moment, directory: ObjectId, occupied: bool) {
        let covered = match self.batches.front() {
            Some((number, _)) => *number <= moment.sent + 1,
            None => self.sent == moment.sent,
        };
        if !covered || self.has_changed_since(moment.sent, directory) {
            return;
        }
        if occupied {
            self.occupied.insert(directory);
        } else {
            self.counted.put(directory, 0);
        }
    }

    /// Whether a batch behind this one, or the one being decided on, changes entries of a directory.
    fn has_changed_since(&self, batch: u64, directory: ObjectId) -> bool {
        let newer = self.batches.iter().rev().take_while(|(number, _)| *number > batch);
        newer.into_iter().any(|(_, directories)| directories.contains(&directory))
            || self.changes.entries.keys().any(|(parent, _)| *parent == directory)
    }

    /// Forgets which calls were done: they have changed nothing.
    pub(super) fn drop_replies(&mut self) {
        self.changes.replies.clear();
    }

    /// Whether the batch changes anything so far.
    pub(super) fn has_changes(&self) -> bool {
        !self.changes.objects.is_empty() || !self.changes.entries.is_empty()
    }

    /// What the batch changes; the next begins with nothing.
    pub(super) fn take_changes(&mut self) -> Changes {
        self.occupied.clear();
        let changes = std::mem::take(&mut self.changes);
        self.sent += 1;
        let directories = changes.entries.keys().map(|(directory, _)| *directory).collect();
        self.batches.push_back((self.sent, directories));
        if self.batches.len() > REMEMBERED {
            self.batches.pop_front();
        }
        changes
    }

    /// The oldest batch under way was applied.
    pub(super) fn applied(&mut self) {
        self.applied += 1;
        let trimmed = [self.objects.trim(KEPT), self.entries.trim(KEPT), self.counted.trim(KEPT)];
        self.absent.trim(KEPT_ABSENT);
        if trimmed.contains(&true) {
            self.turns += 1;
        }
    }

    /// The keys that a batch changes, for the cache.
    pub(super) fn touched(&mut self, changes: &Changes) -> Touched {
        let entries = changes.entries.iter().map(|(place, before)| ChangedEntry {
            place: place.clone(),
            before: before.map(|edge| edge.cookie),
            after: self.entry(place),
        });
        Touched { entries: entries.collect(), objects: changes.objects.keys().copied().collect() }
    }

    /// An object as it is now, where it is known to be there.
    pub(super) fn stored(&mut self, id: ObjectId) -> Option<&Stored> {
        self.objects.get(&id)?.as_ref()
    }

    /// An entry as it is now, where it is known to be there.
    pub(super) fn entry(&mut self, place: &Place) -> Option<Edge> {
        *self.entries.get(place)?
    }

    /// The share of an object.
    pub(super) fn share_of(&self, object: &Attributes) -> Option<ShareId> {
        self.shares.by_fsid(object.fsid)
    }

    /// An object that the operation has met.
    fn present(&mut self, id: ObjectId) -> Result<&mut Stored, OpError<TablesError>> {
        self.objects.get(&id).and_then(Option::as_mut).ok_or_else(|| {
            OpError::Failed(TablesError::Damaged(Error::Damaged(format!("object {id} went away"))))
        })
    }

    fn note_object(&mut self, id: ObjectId, before: Option<&Attributes>) {
        self.changes.objects.entry(id).or_insert_with(|| before.cloned());
    }

    fn note_entry(&mut self, place: &Place, after: Option<Edge>) {
        let before = self.entries.put(place.clone(), after).flatten();
        if let Some(count) = self.counted.get(&place.0) {
            match (before, after) {
                (None, Some(_)) => *count += 1,
                (Some(_), None) => *count = count.saturating_sub(1),
                (None, None) | (Some(_), Some(_)) => {}
            }
        }
        self.occupied.remove(&place.0);
        self.changes.entries.entry(place.clone()).or_insert(before);
        self.assumed.retain(|assumed| assumed != place);
    }
}

fn missing<R>(missing: Missing) -> Result<R, OpError<TablesError>> {
    Err(OpError::Failed(TablesError::Missing(Box::new(missing))))
}

impl Tables for Overlay {
    type Failure = TablesError;

    fn share(&self, share: ShareId) -> Option<(Fsid, Capabilities)> {
        self.shares.facts(share)
    }

    fn object(&mut self, id: ObjectId) -> Outcome<Option<Attributes>, Self> {
        match self.objects.get(&id) {
            Some(known) => Ok(known.as_ref().map(|stored| stored.attributes.clone())),
            None if self.absent.get(&id).is_some() => Ok(None),
            None => missing(Missing { objects: HashSet::from([id]), ..Missing::default() }),
        }
    }

    fn verifier(&mut self, file: ObjectId) -> Outcome<Option<u64>, Self> {
        Ok(self.present(file)?.verifier)
    }

    fn edge(&mut self, directory: ObjectId, name: &Name) -> Outcome<Option<Edge>, Self> {
        let place = (directory, name.clone());
        if let Some(known) = self.entries.get(&place) {
            return Ok(*known);
        }
        if self.cautious {
            return missing(Missing { entries: HashSet::from([place]), ..Missing::default() });
        }
        self.assumed.push(place);
        Ok(None)
    }

    fn is_empty(&mut self, directory: ObjectId) -> Outcome<bool, Self> {
        if let Some(count) = self.counted.get(&directory) {
            return Ok(*count == 0);
        }
        if self.occupied.contains(&directory) {
            return Ok(false);
        }
        if self.has_changed_since(self.applied, directory) {
            return Err(OpError::Failed(TablesError::Unsettled));
        }
        missing(Missing { occupancy: HashSet::from([directory]), ..Missing::default() })
    }

    fn next_fileid(&mut self) -> Outcome<Fileid, Self> {
        // A cookie is drawn behind it, in the same operation.
        match self.numbers.next_fileid() {
            Some(fileid) => Ok(fileid),
            None => missing(Missing { numbers: true, ..Missing::default() }),
        }
    }

    fn next_cookie(&mut self) -> Outcome<Cookie, Self> {
        match self.numbers.next_cookie() {
            Some(cookie) => Ok(cookie),
            None => missing(Missing { numbers: true, ..Missing::default() }),
        }
    }

    fn record(&mut self, call: &Replay, made: Option<ObjectId>) {
        self.changes.replies.push((*call, made));
    }

    fn insert(
        &mut self,
        object: &Attributes,
        target: Option<&SymlinkTarget>,
        verifier: Option<u64>,
    ) -> Outcome<(), Self> {
        self.note_object(object.id, None);
        if let Some(target) = target {
            self.changes.targets.insert(object.id, target.clone());
        }
        if object.file_type.is_directory() {
            self.counted.put(object.id, 0);
        }
        self.objects.put(object.id, Some(Stored { attributes: object.clone(), verifier }));
        Ok(())
    }

    fn put(&mut self, object: &Attributes) -> Outcome<(), Self> {
        let stored = self.present(object.id)?;
        let before = std::mem::replace(&mut stored.attributes, object.clone());
        self.note_object(object.id, Some(&before));
        Ok(())
    }

    fn forget_verifier(&mut self, file: ObjectId) -> Outcome<(), Self> {
        let stored = self.present(file)?;
        if stored.verifier.take().is_some() {
            let before = stored.attributes.clone();
            self.note_object(file, Some(&before));
        }
        Ok(())
    }

    fn discard(&mut self, object: ObjectId) -> Outcome<(), Self> {
        let before = self.present(object)?.attributes.clone();
        self.note_object(object, Some(&before));
        self.objects.put(object, None);
        Ok(())
    }

    fn put_edge(&mut self, directory: ObjectId, name: &Name, edge: Edge) -> Outcome<(), Self> {
        self.note_entry(&(directory, name.clone()), Some(edge));
        Ok(())
    }

    fn remove_edge(
        &mut self,
        directory: ObjectId,
        name: &Name,
        _cookie: Cookie,
    ) -> Outcome<(), Self> {
        self.note_entry(&(directory, name.clone()), None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocations::held;
    use crate::metadata::{RootSpec, rules};
    use crate::types::{MAX_NAME_BYTES, Timestamp};

    /// What a writer takes whose calls meet new objects all the time.
    #[test]
    fn what_is_kept_between_batches_takes_no_more_than_is_said() {
        const MOST: usize = 36 << 20;
        const BATCH: usize = 1000;
        let spec = RootSpec { uid: 0, gid: 0, mode: 0o755 };
        let mut tables = Overlay::new(Arc::default());
        let (before, mut taken) = (held(), 0);
        for number in 0..3 * GENERATION {
            let id = ObjectId::generate();
            let attributes = rules::root(id, Fileid(1), Fsid(1), spec, Timestamp(1));
            tables.learn_object(id, Some(Stored { attributes, verifier: None }));
            let name = Name::parse(format!("{number:0>MAX_NAME_BYTES$}").as_bytes()).unwrap();
            tables.learn_entry((id, name), None);
            if number % BATCH == 0 {
                taken = taken.max(held() - before);
                tables.applied();
            }
        }
        assert!((MOST / 4 * 3..MOST).contains(&taken), "{taken}");
    }
}
