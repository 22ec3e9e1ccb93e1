//! The files that have state in this process, in bounded memory.
//!
//! State is there for an object while a call needs it, while something of it waits to be flushed, and for a
//! while after its last use. A call that is refused leaves none.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::state::{FileState, Overlay};
use crate::types::{ObjectId, Timestamp};
use crate::vfs::export::WriteBehind;

const SHARDS: usize = 16;
/// Files of one shard that have state at most, beside those of calls under way: 65,536 files in all shards.
const MAX_FILES_PER_SHARD: usize = 4096;

/// Written data that waits to be flushed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unflushed {
    /// Files that have any.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// The age of the oldest.
    pub oldest: Duration,
}

type Shard = HashMap<ObjectId, Arc<FileState>>;

/// The files that have state in this process.
#[derive(Debug)]
pub(in crate::vfs) struct Files {
    shards: [Mutex<Shard>; SHARDS],
    count: AtomicUsize,
    max_per_shard: usize,
}

impl Default for Files {
    fn default() -> Self {
        Self::with_room_for(MAX_FILES_PER_SHARD)
    }
}

/// A file's state, held by a call: it goes with the last such call where it holds nothing.
#[derive(Debug)]
pub(super) struct FileGuard<'a> {
    files: &'a Files,
    object: ObjectId,
    state: Arc<FileState>,
}

impl Deref for FileGuard<'_> {
    type Target = FileState;

    fn deref(&self) -> &FileState {
        &self.state
    }
}

impl Drop for FileGuard<'_> {
    fn drop(&mut self) {
        let mut shard = self.files.shard(self.object).lock();
        if !shard.get(&self.object).is_some_and(|kept| Arc::ptr_eq(kept, &self.state)) {
            return;
        }
        // The shard's own reference and this one: state is referred to under the shard's lock only.
        let last = Arc::strong_count(&self.state) == 2;
        let overlay = self.state.overlay.lock();
        let crowded = shard.len() > self.files.max_per_shard;
        let needless = overlay.is_empty() || (crowded && overlay.is_clean());
        drop(overlay);
        if last && needless {
            shard.remove(&self.object);
            self.files.count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Files {
    fn with_room_for(max_per_shard: usize) -> Self {
        Self { shards: Default::default(), count: AtomicUsize::new(0), max_per_shard }
    }

    fn shard(&self, object: ObjectId) -> &Mutex<Shard> {
        // A UUID v7 ends in random bits.
        let last = object.0.as_bytes()[15];
        &self.shards[usize::from(last) % SHARDS]
    }

    /// The file's state, made where there is none. A call that may change the file takes it before it reads
    /// the attributes: a call that removes the file afterwards finds it, and waits.
    pub(super) fn hold(&self, object: ObjectId) -> FileGuard<'_> {
        let mut shard = self.shard(object).lock();
        let state = self.entry(&mut shard, object);
        FileGuard { files: self, object, state }
    }

    fn entry(&self, shard: &mut Shard, object: ObjectId) -> Arc<FileState> {
        if let Some(state) = shard.get(&object) {
            return Arc::clone(state);
        }
        self.make_room(shard);
        self.count.fetch_add(1, Ordering::Relaxed);
        Arc::clone(shard.entry(object).or_default())
    }

    /// The file's state, where it has any.
    pub(super) fn existing(&self, object: ObjectId) -> Option<Arc<FileState>> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.shard(object).lock().get(&object).map(Arc::clone)
    }

    /// Notes a read of a file. Where every file of the shard has unflushed writes, there is no room for one
    /// without.
    pub(super) fn record_access(&self, object: ObjectId, now: Timestamp) {
        let mut shard = self.shard(object).lock();
        if !shard.contains_key(&object) {
            self.make_room(&mut shard);
            if shard.len() >= self.max_per_shard {
                return;
            }
        }
        self.entry(&mut shard, object).overlay.lock().record_access(now);
    }

    /// Forgets the state of a file that is gone.
    pub(super) fn forget(&self, object: ObjectId, state: &FileState) {
        let mut shard = self.shard(object).lock();
        if shard.get(&object).is_some_and(|kept| std::ptr::eq(Arc::as_ptr(kept), state)) {
            shard.remove(&object);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether a file with unflushed writes has to be flushed at once, since too many are.
    pub(super) fn is_crowded(&self, object: ObjectId) -> bool {
        self.shard(object).lock().len() > self.max_per_shard
    }

    /// Whether access times should be flushed before their time, so that none has to be dropped.
    pub(super) fn is_half_full(&self) -> bool {
        self.count.load(Ordering::Relaxed) > self.max_per_shard * SHARDS / 2
    }

    /// Drops states of a full shard that hold nothing to be flushed; where these are few, the older half of
    /// the access times too.
    fn make_room(&self, shard: &mut Shard) {
        if shard.len() < self.max_per_shard {
            return;
        }
        let present = shard.len();
        let unused = |state: &Arc<FileState>| Arc::strong_count(state) == 1;
        shard.retain(|_, state| !unused(state) || !state.overlay.lock().is_clean());
        if shard.len() > self.max_per_shard / 4 * 3 {
            let droppable = shard.values().filter(|state| unused(state));
            let mut ages: Vec<_> =
                droppable.filter_map(|state| state.overlay.lock().only_accessed()).collect();
            if !ages.is_empty() {
                let middle = ages.len() / 2;
                let (_, &mut limit, _) = ages.select_nth_unstable(middle);
                shard.retain(|_, state| {
                    let accessed = state.overlay.lock().only_accessed();
                    !unused(state) || accessed.is_none_or(|since| since > limit)
                });
            }
        }
        self.count.fetch_sub(present - shard.len(), Ordering::Relaxed);
    }

    /// Drops states that no call uses and that hold nothing since a while, and returns those that
    /// `wanted` picks.
    pub(super) fn sweep(
        &self,
        limits: &WriteBehind,
        wanted: impl Fn(&Overlay) -> bool,
    ) -> Vec<(ObjectId, Arc<FileState>)> {
        let mut picked = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.retain(|&object, state| {
                let overlay = state.overlay.lock();
                if wanted(&overlay) {
                    picked.push((object, Arc::clone(state)));
                    return true;
                }
                let idle = overlay.is_clean() && overlay.is_idle(limits);
                if idle && Arc::strong_count(state) == 1 {
                    self.count.fetch_sub(1, Ordering::Relaxed);
                    return false;
                }
                true
            });
        }
        picked
    }

    /// What waits to be flushed: files, bytes, and since when the oldest of it.
    pub(in crate::vfs) fn unflushed(&self) -> Unflushed {
        let mut all = Unflushed::default();
        for shard in &self.shards {
            for state in shard.lock().values() {
                let Some((bytes, since)) = state.overlay.lock().unflushed() else { continue };
                all.files += 1;
                all.bytes += bytes;
                all.oldest = all.oldest.max(since.elapsed());
            }
        }
        all
    }

    /// How many files have state.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let kept = self.shards.iter().map(|shard| shard.lock().len()).sum();
        assert_eq!(self.count.load(Ordering::Relaxed), kept);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1);

    /// Files that all lie in one shard.
    fn object(number: u128) -> ObjectId {
        ObjectId(uuid::Uuid::from_u128(number << 8))
    }

    #[test]
    fn state_that_holds_nothing_goes_with_the_last_call_that_held_it() {
        let files = Files::default();
        let one = files.hold(object(1));
        let two = files.hold(object(1));
        assert!(std::ptr::eq(&*one, &*two));
        drop(one);
        assert_eq!(files.len(), 1);
        drop(two);
        assert_eq!(files.len(), 0);
        files.record_access(object(1), NOW);
        drop(files.hold(object(1)));
        assert_eq!(files.len(), 1);
    }

    #[test]
    fn state_of_a_file_that_is_gone_is_forgotten_and_not_mixed_up_with_a_later_one() {
        let files = Files::default();
        let early = files.hold(object(1));
        files.forget(object(1), &early);
        let late = files.hold(object(1));
        files.forget(object(1), &early);
        drop(early);
        assert_eq!(files.len(), 1);
        drop(late);
        assert_eq!(files.len(), 0);
    }

    #[test]
    fn the_newest_access_times_are_kept_where_there_are_too_many() {
        let files = Files::with_room_for(64);
        for number in 0..10_000 {
            files.record_access(object(number), NOW);
            assert!(files.len() <= 64);
            let state = files.existing(object(number)).unwrap();
            assert!(!state.overlay.lock().is_clean(), "{number}");
        }
        let kept = (9_900..10_000).filter(|&number| files.existing(object(number)).is_some());
        assert!(kept.count() >= 31);
        assert!(files.existing(object(0)).is_none());
    }

    #[test]
    fn state_of_calls_under_way_is_kept_beyond_the_bound_and_goes_with_them() {
        let files = Files::with_room_for(8);
        let held: Vec<_> = (0..20).map(|number| files.hold(object(number))).collect();
        assert_eq!(files.len(), 20);
        assert!(files.is_crowded(object(0)));
        files.record_access(object(99), NOW);
        assert!(files.existing(object(99)).is_none());
        drop(held);
        assert_eq!(files.len(), 0);
    }
}
