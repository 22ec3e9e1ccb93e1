//! What this process knows of contents: bytes that are not stored yet, and what its readers do.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::budget::Charge;
use super::dirty_ranges::DirtyRanges;
use super::layout::{Part, end_in};
use super::queue::{ChunkId, Place, Queue};
use crate::content::Error;
use crate::types::{ContentId, Timestamp};

/// Above this many contents, those that hold nothing are forgotten.
const MANY: usize = 32 * 1024;

/// For how long a chunk that could not be stored is left alone by those who only want memory.
const RESTS: Duration = Duration::from_secs(5);

/// Bytes of a chunk that are not stored.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) ranges: DirtyRanges,
    /// The content has at least this many bytes of the chunk.
    pub(super) length: u32,
    charge: Charge,
    /// Where it waits for an upload.
    place: Place,
}

impl Layer {
    fn empty(charge: Charge, mut place: Place) -> Self {
        place.enter(Instant::now());
        Self { ranges: DirtyRanges::default(), length: 0, charge, place }
    }

    fn absorb(&mut self, newer: Self) {
        self.ranges.absorb(newer.ranges);
        self.length = self.length.max(newer.length);
        self.charge.absorb(newer.charge);
        self.charge.shrink_to(self.ranges.memory());
    }
}

/// A chunk with bytes that are not stored.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Written since the upload that is under way began, or since ever.
    dirty: Option<Layer>,
    /// Whether an upload is going to store it.
    claimed: bool,
    /// What the upload under way stores; `dirty` lies over it.
    frozen: Option<Arc<Layer>>,
    /// The number of the last change of the chunk.
    changed: u64,
    /// The last change that is stored.
    stored: u64,
    /// How many uploads have failed, and why the last one did.
    failures: u64,
    failure: Option<Arc<Error>>,
}

/// An upload that is to be done.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) layer: Arc<Layer>,
    /// The change that is stored when it is done.
    pub(super) changed: u64,
    /// The content's age when it began; where it has another when it is over, what it stored is not wanted.
    pub(super) age: u64,
}

/// One content.
#[derive(Debug)]
pub(super) struct File {
    pub(super) id: ContentId,
    pub(super) chunk_size: u32,
    pub(super) state: Mutex<FileBuffers>,
    /// Shared by uploads; exclusive for cutting and removing stored chunks.
    pub(super) turn: Arc<tokio::sync::RwLock<()>>,
    /// The lock of a chunk that is being read whole, so that one call reads it for all.
    pub(super) fetching: Mutex<HashMap<u64, Arc<tokio::sync::Mutex<()>>>>,
    /// Told when an upload ends.
    pub(super) uploaded: Notify,
}

#[derive(Debug)]
pub(super) struct FileBuffers {
    id: ContentId,
    queue: Arc<Queue>,
    chunks: BTreeMap<u64, Chunk>,
    /// Counts changes.
    changes: u64,
    /// Counts how often all that was not stored was forgotten.
    pub(super) age: u64,
    /// Counts uploads that ended, well or not.
    pub(super) uploads: u64,
    /// Chunks with a request whose end is not known: it may still be done, as long as they are what they
    /// were.
    doubtful: BTreeSet<u64>,
    /// Counts the begins and ends of truncates and removals: odd while one is under way.
    cuts: u64,
    /// The content is known to have had at least this many bytes.
    at_least: u64,
    /// Since when, on the cache's clock, that was surely so.
    at_least_since: u64,
    /// When the last chunk that is not whole came from the bucket, on the cache's clock.
    pub(super) observed: u64,
    /// The file's state that the last reader saw, and when it was first seen, on the cache's clock.
    pub(super) seen: Option<(Timestamp, u64)>,
    pub(super) reader: Reader,
}

/// Where readers are.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Where the furthest read ended.
    end: Option<u64>,
    /// How many reads went on from there.
    streak: u32,
    /// Chunks that were read in parts, lately.
    touched: VecDeque<u64>,
    /// The chunk up to which was read ahead.
    ahead: u64,
}

impl Reader {
    /// Notes a read; whether the next one will go on from it.
    pub(super) fn note(&mut self, offset: u64, end: u64, slack: u64) -> bool {
        let near =
            |last: u64| offset <= last.saturating_add(slack) && last <= end.saturating_add(slack);
        if self.end.is_some_and(near) {
            self.streak = self.streak.saturating_add(1);
        } else {
            self.streak = 0;
            self.ahead = 0;
        }
        self.end = Some(end);
        self.streak > 0
    }

    /// The chunks after `number` that are to be read ahead, where `many` are at most.
    pub(super) fn ahead(&mut self, number: u64, many: u64) -> Range<u64> {
        let first = self.ahead.max(number) + 1;
        let last = (number + many).max(self.ahead);
        self.ahead = last;
        first..last + 1
    }

    /// Notes that a part of a chunk is read; whether one was before.
    pub(super) fn touch(&mut self, number: u64) -> bool {
        if self.touched.contains(&number) {
            return true;
        }
        if self.touched.len() == 64 {
            self.touched.pop_front();
        }
        self.touched.push_back(number);
        false
    }
}

impl File {
    fn new(id: ContentId, chunk_size: u32, queue: &Arc<Queue>) -> Self {
        Self {
            id,
            chunk_size,
            state: Mutex::new(FileBuffers::new(id, queue)),
            turn: Arc::default(),
            fetching: Mutex::default(),
            uploaded: Notify::new(),
        }
    }

    /// The lock for reading a whole chunk.
    pub(super) fn fetch_lock(&self, number: u64) -> Arc<tokio::sync::Mutex<()>> {
        let mut fetching = self.fetching.lock();
        fetching.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(fetching.entry(number).or_default())
    }
}

impl FileBuffers {
    fn new(id: ContentId, queue: &Arc<Queue>) -> Self {
        Self {
            id,
            queue: Arc::clone(queue),
            chunks: BTreeMap::new(),
            changes: 0,
            age: 0,
            uploads: 0,
            doubtful: BTreeSet::new(),
            cuts: 0,
            at_least: 0,
            at_least_since: 0,
            observed: 0,
            seen: None,
            reader: Reader::default(),
        }
    }

    /// Whether nothing waits to be stored.
    pub(super) fn is_clean(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Lays `data` over a chunk, and makes the content reach its end.
    pub(super) fn write(&mut self, part: &Part, data: &Bytes, charge: Charge) {
        let before = self.changes;
        self.changes += 1;
        let chunk = self
            .chunks
            .entry(part.number)
            .or_insert_with(|| Chunk { stored: before, ..Chunk::default() });
        chunk.changed = self.changes;
        let layer = match &mut chunk.dirty {
            Some(layer) => {
                layer.charge.absorb(charge);
                layer
            }
            none => {
                none.insert(Layer::empty(charge, Place::new(&self.queue, (self.id, part.number))))
            }
        };
        layer.ranges.write(part.within.start, data);
        layer.length = layer.length.max(part.within.end);
        layer.charge.shrink_to(layer.ranges.memory());
    }

    /// Whether the chunk is new from its first byte to the last that it may have.
    pub(super) fn is_full(&self, number: u64, chunk_size: u32) -> bool {
        let dirty = self.chunks.get(&number).and_then(|chunk| chunk.dirty.as_ref());
        dirty.is_some_and(|layer| layer.ranges.covers(&(0..chunk_size)))
    }

    /// Makes the content at least `length` bytes long, and there at all.
    pub(super) fn extend(&mut self, chunk_size: u32, length: u64, charge: Charge) {
        let (number, end) = end_in(chunk_size, length);
        let nothing = Part { number, within: end..end, at: 0 };
        self.write(&nothing, &Bytes::new(), charge);
    }

    /// Notes that a truncate or a removal begins.
    pub(super) fn begin_cut(&mut self) {
        self.cuts += 1;
    }

    /// Notes that it ended, well or not.
    pub(super) fn end_cut(&mut self) {
        self.cuts += 1;
        self.at_least = 0;
    }

    /// How many truncates and removals have begun and ended.
    pub(super) fn cuts(&self) -> u64 {
        self.cuts
    }

    /// Notes that the content had `bytes` at least at `since` or after.
    pub(super) fn reaches(&mut self, bytes: u64, since: u64) {
        if bytes >= self.at_least {
            (self.at_least, self.at_least_since) = (bytes, since);
        }
    }

    /// How many bytes the content has at least, as far as that was learned after `since`.
    pub(super) fn reach(&self, since: u64) -> u64 {
        if self.at_least_since > since { self.at_least } else { 0 }
    }

    /// Notes that a request for a chunk may still be done, or that none can be any more.
    pub(super) fn set_doubtful(&mut self, number: u64, doubtful: bool) {
        if doubtful {
            self.doubtful.insert(number);
        } else {
            self.doubtful.remove(&number);
        }
    }

    /// The chunks with a request that may still be done.
    pub(super) fn doubtful(&self) -> BTreeSet<u64> {
        self.doubtful.clone()
    }

    /// Whether all that is known can be found out again.
    fn is_forgettable(&self) -> bool {
        self.is_clean() && self.doubtful.is_empty()
    }

    /// Forgets what is not stored from `length` on. No upload is under way.
    pub(super) fn cut(&mut self, chunk_size: u32, length: u64) {
        let (number, end) = end_in(chunk_size, length);
        drop(self.chunks.split_off(&(number + 1)));
        if let Some(chunk) = self.chunks.get_mut(&number)
            && let Some(layer) = &mut chunk.dirty
        {
            layer.ranges.cut(end);
            layer.length = layer.length.min(end);
        }
    }

    /// Forgets all that is not stored; uploads under way are told by the age.
    pub(super) fn clear(&mut self) {
        self.chunks.clear();
        self.doubtful.clear();
        self.age += 1;
    }

    /// Forgets what is not stored; the outcome of an upload under way is unknown. Answers with the
    /// chunks of such uploads.
    pub(super) fn abandon(&mut self) -> Vec<u64> {
        let chunks = std::mem::take(&mut self.chunks);
        let under_way = chunks.into_iter().filter(|(_, chunk)| chunk.frozen.is_some());
        let under_way: Vec<_> = under_way.map(|(number, _)| number).collect();
        self.doubtful.extend(&under_way);
        self.age += 1;
        under_way
    }

    /// How long the content is by what is not stored; `None` where that is nothing.
    pub(super) fn unstored_end(&self, chunk_size: u32) -> Option<u64> {
        let ends = self.unstored_lengths();
        ends.map(|(number, length)| number * u64::from(chunk_size) + u64::from(length)).max()
    }

    /// The chunks with something that is not stored, each with how many bytes it has by that.
    pub(super) fn unstored_lengths(&self) -> impl Iterator<Item = (u64, u32)> {
        self.chunks.iter().filter_map(|(number, chunk)| {
            let dirty = chunk.dirty.as_ref().map(|layer| layer.length);
            let frozen = chunk.frozen.as_ref().map(|layer| layer.length);
            Some((*number, dirty.max(frozen)?))
        })
    }

    /// What is not stored of a chunk's range, the older first, and whether that is all of the range.
    pub(super) fn layers(&self, number: u64, within: &Range<u32>) -> (Vec<(u32, Bytes)>, bool) {
        let Some(chunk) = self.chunks.get(&number) else { return (Vec::new(), false) };
        let dirty = chunk.dirty.as_ref().map(|layer| &layer.ranges);
        let frozen = chunk.frozen.as_ref().map(|layer| &layer.ranges);
        let both = || frozen.into_iter().chain(dirty);
        let all = both().any(|ranges| ranges.covers(within));
        (both().flat_map(|ranges| ranges.within(within)).collect(), all)
    }

    /// The chunks with something that is not stored, each with its last change.
    pub(super) fn unstored(&self) -> Vec<(u64, u64)> {
        self.chunks.iter().map(|(number, chunk)| (*number, chunk.changed)).collect()
    }

    /// Whether a chunk's change is stored, or gone.
    pub(super) fn is_stored(&self, number: u64, changed: u64) -> bool {
        self.chunks.get(&number).is_none_or(|chunk| chunk.stored >= changed)
    }

    /// How often the chunk's uploads have failed, and why the last one did.
    pub(super) fn failures(&self, number: u64) -> (u64, Option<Arc<Error>>) {
        self.chunks.get(&number).map_or((0, None), |chunk| (chunk.failures, chunk.failure.clone()))
    }

    /// Whether the caller is to store the chunk: it has something new, and no other upload is going to.
    pub(super) fn claim(&mut self, number: u64) -> bool {
        let Some(chunk) = self.chunks.get_mut(&number) else { return false };
        let Some(layer) = chunk.dirty.as_mut().filter(|_| !chunk.claimed && chunk.frozen.is_none())
        else {
            return false;
        };
        layer.place.leave();
        chunk.claimed = true;
        true
    }

    /// Who claimed the chunk does not store it, and has not begun to.
    pub(super) fn release(&mut self, number: u64) {
        let Some(chunk) = self.chunks.get_mut(&number) else { return };
        if std::mem::take(&mut chunk.claimed)
            && let Some(layer) = &mut chunk.dirty
        {
            layer.place.enter(Instant::now() + RESTS);
        }
    }

    /// Begins an upload of the chunk, where it has something new and none is under way.
    pub(super) fn begin(&mut self, number: u64) -> Option<Upload> {
        let chunk = self.chunks.get_mut(&number)?;
        chunk.claimed = false;
        if chunk.frozen.is_some() {
            return None;
        }
        let mut layer = chunk.dirty.take()?;
        layer.place.leave();
        layer.ranges.freeze();
        let layer = Arc::new(layer);
        chunk.frozen = Some(Arc::clone(&layer));
        Some(Upload { layer, changed: chunk.changed, age: self.age })
    }

    /// An upload ended well. Whether it still counts.
    pub(super) fn uploaded(&mut self, number: u64, upload: &Upload) -> bool {
        self.uploads += 1;
        if self.age != upload.age {
            return false;
        }
        self.doubtful.remove(&number);
        if let Some(chunk) = self.chunks.get_mut(&number) {
            chunk.frozen = None;
            chunk.failure = None;
            chunk.stored = chunk.stored.max(upload.changed);
            if chunk.dirty.is_none() {
                self.chunks.remove(&number);
            }
        }
        true
    }

    /// An upload failed: what it was to store waits again.
    pub(super) fn failed(&mut self, number: u64, upload: Upload, error: Error) {
        self.uploads += 1;
        if self.age != upload.age {
            return;
        }
        self.doubtful.insert(number);
        let Some(chunk) = self.chunks.get_mut(&number) else { return };
        chunk.frozen = None;
        chunk.failures += 1;
        chunk.failure = Some(Arc::new(error));
        let mut layer = Arc::try_unwrap(upload.layer).unwrap_or_else(|shared| Layer {
            ranges: shared.ranges.clone(),
            length: shared.length,
            charge: shared.charge.nothing(),
            place: shared.place.another(),
        });
        if let Some(newer) = chunk.dirty.take() {
            layer.absorb(newer);
        }
        layer.place.enter(Instant::now() + RESTS);
        chunk.dirty = Some(layer);
    }
}

/// The contents that this process knows something of.
#[derive(Debug, Default)]
pub(super) struct Files {
    files: Mutex<BTreeMap<ContentId, Arc<File>>>,
    queue: Arc<Queue>,
}

impl Files {
    /// What is known of a content.
    pub(super) fn get(&self, id: ContentId, chunk_size: u32) -> Arc<File> {
        let mut files = self.files.lock();
        if files.len() >= MANY && !files.contains_key(&id) {
            files.retain(|_, file| {
                Arc::strong_count(file) > 1 || !file.state.lock().is_forgettable()
            });
        }
        let file =
            files.entry(id).or_insert_with(|| Arc::new(File::new(id, chunk_size, &self.queue)));
        if file.chunk_size != chunk_size && file.state.lock().is_forgettable() {
            *file = Arc::new(File::new(id, chunk_size, &self.queue));
        }
        Arc::clone(file)
    }

    /// What is known of a content, if anything is.
    pub(super) fn existing(&self, id: ContentId) -> Option<Arc<File>> {
        self.files.lock().get(&id).map(Arc::clone)
    }

    /// Up to `most` chunks that may be stored now, the oldest first.
    pub(super) fn due(&self, most: usize) -> Vec<ChunkId> {
        self.queue.due(most)
    }

    /// Contents after `after` that have something that is not stored, in order.
    pub(super) fn unstored(&self, after: Option<ContentId>) -> Vec<ContentId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let files = self.files.lock();
        let start = after.map_or(Unbounded, Excluded);
        let later = files.range((start, Unbounded));
        later.filter(|(_, file)| !file.state.lock().is_clean()).map(|(id, _)| *id).collect()
    }
}
