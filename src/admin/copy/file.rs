//! One file's bytes, from one store to another.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Row;
use crate::content::{ContentStore, Error};
use crate::types::{Call, Chain, ContentId};

/// Bytes that are read and written at once.
const PIECE: u64 = 4 << 20;
/// From so many bytes on a store is asked where a file has any.
const LARGE: u64 = 4 * PIECE;
/// How many pieces of a file are read before the first of them is written.
const AHEAD: usize = 4;
/// How many pieces of all files are in memory while they are copied, with those that wait.
const IN_MEMORY: usize = 32;
/// Runs of zeros from this length on are left out, where the store has no chunks.
const BLOCK: usize = 4096;
/// No call has an end of its own: requests to a bucket have theirs.
const LONG: Duration = Duration::from_secs(365 * 86_400);

/// Why a file was not copied.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Somebody stopped it.
    Stopped,
    /// Its bytes are not where they must be.
    Lost(String),
    /// The store that it is copied to fails.
    To(Error),
}

/// Two stores, as a share uses them.
pub(super) struct Pair {
    from: Arc<dyn ContentStore>,
    to: Arc<dyn ContentStore>,
    /// Zeros are left out by so many bytes.
    grain: usize,
    reads: Arc<Semaphore>,
    stop: CancellationToken,
}

/// A piece that was read.
struct Piece {
    at: u64,
    bytes: Bytes,
    _turn: OwnedSemaphorePermit,
}

/// A call that no client makes, until `stop` fires.
pub(super) fn internal(stop: &CancellationToken) -> Call {
    Call { cancel: stop.clone(), ..Call::internal(LONG) }
}

impl Pair {
    pub(super) fn new(
        from: &Arc<dyn ContentStore>,
        to: &Arc<dyn ContentStore>,
        chunk_size: u32,
        reads: &Arc<Semaphore>,
        stop: &CancellationToken,
    ) -> Self {
        let in_chunks = to.with_chunk_size(chunk_size);
        let grain = match &in_chunks {
            Some(_) => (chunk_size as usize).min(PIECE as usize).max(BLOCK),
            None => BLOCK,
        };
        Self {
            from: Arc::clone(from).in_chunks(chunk_size),
            to: in_chunks.unwrap_or_else(|| Arc::clone(to)),
            grain,
            reads: Arc::clone(reads),
            stop: stop.clone(),
        }
    }

    /// The longest content that the store takes which is copied to.
    pub(super) fn max_length(&self) -> u64 {
        self.to.max_length()
    }

    /// Copies a file as far as its row says, durably; `stale` where something of it may be there. A copy that is cut off
    /// is shorter than the file wherever the store writes in order.
    pub(super) async fn copy(
        &self,
        row: Row,
        stale: bool,
        advance: &(impl Fn(u64) + Sync),
    ) -> Result<(), Trouble> {
        if self.stop.is_cancelled() {
            return Err(Trouble::Stopped);
        }
        let call = internal(&self.stop);
        let to_end = row.size.min(self.to.max_length());
        let from_end = row.size.min(self.from.max_length());
        self.from.observed(row.id, row.ctime);
        if from_end > 0 {
            self.check_length(&call, row.id, from_end).await?;
        }
        if stale {
            self.to.truncate(&call, row.id, 0).await.map_err(to)?;
        }
        let (mut written, mut copied) = (0, 0);
        let regions = match from_end < LARGE {
            true => std::iter::once(0..from_end).collect(),
            false => self.from.data_extents(&call, row.id).await.map_err(from)?,
        };
        let pieces = regions.into_iter().flat_map(|region| pieces(region, from_end));
        let reads = pieces.map(|(at, length)| self.ahead(&call, row.id, at, length));
        let mut reads = futures_util::stream::iter(reads).buffered(AHEAD);
        while let Some(piece) = reads.next().await {
            let Piece { at, bytes, _turn } = piece?;
            for run in runs(&bytes, self.grain) {
                written = at + run.end as u64;
                let offset = at + run.start as u64;
                let write = self.to.write(&call, row.id, offset, bytes.slice(run));
                write.await.map_err(to)?;
            }
            copied += bytes.len() as u64;
            advance(bytes.len() as u64);
        }
        advance(from_end.saturating_sub(copied));
        if written < to_end {
            self.to.truncate(&call, row.id, to_end).await.map_err(to)?;
        }
        self.to.commit(&call, row.id).await.map_err(to)
    }

    /// Whether both stores have the same bytes of a file, as far as its row says.
    pub(super) async fn is_same(
        &self,
        row: Row,
        advance: &(impl Fn(u64) + Sync),
    ) -> Result<bool, Trouble> {
        if self.stop.is_cancelled() {
            return Err(Trouble::Stopped);
        }
        let call = internal(&self.stop);
        let to_end = row.size.min(self.to.max_length());
        let from_end = row.size.min(self.from.max_length());
        self.from.observed(row.id, row.ctime);
        if from_end > 0 {
            self.check_length(&call, row.id, from_end).await?;
        }
        match self.to.length(&call, row.id).await {
            Ok(length) if length == to_end => {}
            // A file to which nothing was ever written.
            Err(Error::Missing(_)) if to_end == 0 => return Ok(true),
            Ok(_) | Err(Error::Missing(_)) => return Ok(false),
            Err(error) => return Err(to(error)),
        }
        let mut compared = 0;
        for region in self.regions_of_either(&call, row.id, from_end).await? {
            for (at, length) in pieces(region, from_end) {
                let there = self.to.read(&call, row.id, at, length as usize);
                let here = piece(&*self.from, &call, row.id, at, length);
                let (here, there) = tokio::join!(here, there);
                if here? != there.map_err(to)? {
                    return Ok(false);
                }
                compared += length;
                advance(length);
            }
        }
        advance(from_end.saturating_sub(compared));
        Ok(true)
    }

    /// Where one of the two contents may have bytes other than zeros: regions in order and apart from each other.
    async fn regions_of_either(
        &self,
        call: &Call,
        id: ContentId,
        end: u64,
    ) -> Result<Vec<Range<u64>>, Trouble> {
        if end < LARGE {
            return Ok(std::iter::once(0..end).collect());
        }
        let mut regions = self.from.data_extents(call, id).await.map_err(from)?;
        regions.extend(self.to.data_extents(call, id).await.map_err(to)?);
        regions.sort_unstable_by_key(|region| region.start);
        regions.dedup_by(|next, before| {
            let touches = next.start <= before.end;
            if touches {
                before.end = before.end.max(next.end);
            }
            touches
        });
        Ok(regions)
    }

    async fn check_length(&self, call: &Call, id: ContentId, least: u64) -> Result<(), Trouble> {
        let length = self.from.length(call, id).await.map_err(from)?;
        if length < least {
            return Err(short(length, least));
        }
        Ok(())
    }

    /// A piece, read by a task of its own. Turns are given in the order in which they are asked for: whoever has one
    /// waits for no piece that has none.
    async fn ahead(
        &self,
        call: &Call,
        id: ContentId,
        at: u64,
        length: u64,
    ) -> Result<Piece, Trouble> {
        let turn = Arc::clone(&self.reads).acquire_owned().await.map_err(|_| Trouble::Stopped)?;
        let (store, call) = (Arc::clone(&self.from), call.clone());
        let read = tokio::spawn(async move { piece(&*store, &call, id, at, length).await });
        let read = AbortOnDropHandle::new(read).await;
        let bytes = read.map_err(|panicked| Trouble::Lost(panicked.to_string()))??;
        Ok(Piece { at, bytes, _turn: turn })
    }
}

/// The pieces of a region as far as the file goes, each with its length.
fn pieces(region: Range<u64>, end: u64) -> impl Iterator<Item = (u64, u64)> {
    let end = region.end.min(end);
    (region.start..end).step_by(PIECE as usize).map(move |at| (at, PIECE.min(end - at)))
}

/// How many pieces may be in memory.
pub(super) fn turns() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(IN_MEMORY))
}

async fn piece(
    store: &dyn ContentStore,
    call: &Call,
    id: ContentId,
    at: u64,
    length: u64,
) -> Result<Bytes, Trouble> {
    let bytes = store.read(call, id, at, length as usize).await.map_err(from)?;
    if (bytes.len() as u64) < length {
        return Err(short(at + bytes.len() as u64, at + length));
    }
    Ok(bytes)
}

fn short(length: u64, least: u64) -> Trouble {
    Trouble::Lost(format!("it has {length} bytes, and the file has {least}"))
}

fn from(error: Error) -> Trouble {
    match error {
        Error::Cancelled => Trouble::Stopped,
        error => Trouble::Lost(Chain(&error).to_string()),
    }
}

fn to(error: Error) -> Trouble {
    match error {
        Error::Cancelled => Trouble::Stopped,
        error => Trouble::To(error),
    }
}

/// The parts of `bytes` that are not zeros, by whole grains.
fn runs(bytes: &[u8], grain: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (number, part) in bytes.chunks(grain).enumerate() {
        if part.iter().all(|byte| *byte == 0) {
            continue;
        }
        let start = number * grain;
        let end = start + part.len();
        match runs.last_mut() {
            Some(last) if last.end == start => last.end = end,
            Some(_) | None => runs.push(start..end),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use tokio::sync::Barrier;

    use super::*;
    use crate::content::{Capacity, Footprint, MemoryContent};
    use crate::types::{ContentIdentity, Timestamp};

    /// Memory that answers no read before so many are under way.
    #[derive(Debug)]
    struct Together(MemoryContent, Barrier);

    #[async_trait::async_trait]
    impl ContentStore for Together {
        async fn read(
            &self,
            call: &Call,
            id: ContentId,
            offset: u64,
            length: usize,
        ) -> Result<Bytes, Error> {
            self.1.wait().await;
            self.0.read(call, id, offset, length).await
        }

        async fn write(
            &self,
            call: &Call,
            id: ContentId,
            offset: u64,
            data: Bytes,
        ) -> Result<(), Error> {
            self.0.write(call, id, offset, data).await
        }

        async fn truncate(&self, call: &Call, id: ContentId, length: u64) -> Result<(), Error> {
            self.0.truncate(call, id, length).await
        }

        async fn length(&self, call: &Call, id: ContentId) -> Result<u64, Error> {
            self.0.length(call, id).await
        }

        fn max_length(&self) -> u64 {
            self.0.max_length()
        }

        async fn commit(&self, call: &Call, id: ContentId) -> Result<(), Error> {
            self.0.commit(call, id).await
        }

        async fn remove(&self, id: ContentId) -> Result<(), Error> {
            self.0.remove(id).await
        }

        async fn list(
            &self,
            after: Option<ContentId>,
            limit: usize,
        ) -> Result<Vec<ContentId>, Error> {
            self.0.list(after, limit).await
        }

        async fn footprint(&self, id: ContentId) -> Result<Footprint, Error> {
            self.0.footprint(id).await
        }

        async fn allocated(
            &self,
            call: &Call,
            id: ContentId,
            length: u64,
            holes: bool,
        ) -> Result<u64, Error> {
            self.0.allocated(call, id, length, holes).await
        }

        fn identity(&self) -> Option<ContentIdentity> {
            self.0.identity()
        }

        async fn owners(&self) -> Result<Option<String>, Error> {
            self.0.owners().await
        }

        async fn set_owners(&self, seen: Option<&str>, text: &str) -> Result<bool, Error> {
            self.0.set_owners(seen, text).await
        }

        async fn capacity(&self) -> Result<Option<Capacity>, Error> {
            self.0.capacity().await
        }

        async fn data_extents(&self, call: &Call, id: ContentId) -> Result<Vec<Range<u64>>, Error> {
            self.0.data_extents(call, id).await
        }

        async fn leftovers(&self, before: Timestamp, remove: bool) -> Result<u64, Error> {
            self.0.leftovers(before, remove).await
        }

        fn observed(&self, id: ContentId, state: Timestamp) {
            self.0.observed(id, state);
        }

        fn has_dirty(&self, id: ContentId) -> bool {
            self.0.has_dirty(id)
        }

        fn discard_dirty(&self, id: ContentId) {
            self.0.discard_dirty(id);
        }

        fn with_chunk_size(&self, chunk_size: u32) -> Option<Arc<dyn ContentStore>> {
            self.0.with_chunk_size(chunk_size)
        }
    }

    #[tokio::test]
    async fn a_large_file_is_read_ahead_of_what_is_written() {
        let stop = CancellationToken::new();
        let (call, id) = (internal(&stop), ContentId::generate());
        let from = Arc::new(Together(MemoryContent::new(), Barrier::new(AHEAD)));
        let size = AHEAD as u64 * PIECE - 7;
        assert!(size < LARGE, "all of it is read");
        for at in [5, PIECE, 3 * PIECE + 1, size - 3] {
            from.write(&call, id, at, Bytes::from_static(b"abc")).await.unwrap();
        }
        let to: Arc<dyn ContentStore> = Arc::new(MemoryContent::new());
        let store: Arc<dyn ContentStore> = from.clone();
        let pair = Pair::new(&store, &to, 1 << 20, &turns(), &stop);
        let row = Row { id, size, ctime: Timestamp(1) };
        let copied = pair.copy(row, false, &|_| {});
        // One after the other would wait for ever.
        tokio::time::timeout(Duration::from_secs(60), copied).await.unwrap().unwrap();
        let length = size as usize;
        let whole = from.0.read(&call, id, 0, length).await.unwrap();
        assert_eq!(to.read(&call, id, 0, length + 1).await.unwrap(), whole);
    }

    #[tokio::test]
    async fn the_holes_of_a_large_file_are_not_read() {
        let stop = CancellationToken::new();
        let (call, id) = (internal(&stop), ContentId::generate());
        let [from, to] = [(); 2].map(|()| Arc::new(MemoryContent::new()) as Arc<dyn ContentStore>);
        let size = 1 << 50;
        for at in [5, PIECE - 1, 1 << 40, size - 3] {
            from.write(&call, id, at, Bytes::from_static(b"abc")).await.unwrap();
        }
        let pair = Pair::new(&from, &to, 1 << 20, &turns(), &stop);
        let row = Row { id, size, ctime: Timestamp(1) };
        let told = std::sync::atomic::AtomicU64::new(0);
        let advance = |bytes| {
            told.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        };
        let copied = pair.copy(row, false, &advance);
        tokio::time::timeout(Duration::from_secs(60), copied).await.unwrap().unwrap();
        assert_eq!(told.into_inner(), size);
        let compare = pair.is_same(row, &|_| {});
        let same = tokio::time::timeout(Duration::from_secs(60), compare).await.unwrap().unwrap();
        assert!(same);
        // A byte in a hole of the one that it is compared with.
        for (store, at) in [(&from, 1 << 41), (&to, 1 << 42)] {
            store.write(&call, id, at, Bytes::from_static(b"x")).await.unwrap();
            assert!(!pair.is_same(row, &|_| {}).await.unwrap(), "{at}");
            store.write(&call, id, at, Bytes::from_static(b"\0")).await.unwrap();
            assert!(pair.is_same(row, &|_| {}).await.unwrap(), "{at}");
        }
        assert_eq!(to.length(&call, id).await.unwrap(), size);
        for at in [0, PIECE - 4, (1 << 40) - 1, size - 5] {
            let [here, there] = [&from, &to].map(|store| store.read(&call, id, at, 20));
            assert_eq!(here.await.unwrap(), there.await.unwrap(), "at {at}");
        }
    }

    #[test]
    fn runs_leave_zeros_out() {
        let mut bytes = vec![0; 50];
        let nothing: [Range<usize>; 0] = [];
        assert_eq!(runs(&bytes, 8), nothing);
        for at in [0, 9, 30, 49] {
            bytes[at] = 1;
        }
        assert_eq!(runs(&bytes, 8), [0..16, 24..32, 48..50]);
        assert!(matches!(&runs(&bytes, 64)[..], [run] if *run == (0..50)));
        assert_eq!(runs(&[], 8), nothing);
    }
}
