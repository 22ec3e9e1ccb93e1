//! The transfer of contents: the bytes of one content from a store or file to a store or file, in order and
//! past holes, counted and summed up on the way.
//!
//! `content copy` moves contents from store to store, `backup` from a store to a file, `restore` from a file
//! to a store. What is verified is read in the same way, and goes nowhere.

pub(super) mod checksum;
mod compare;
mod counter;
mod error;
mod file;
mod runs;
mod store;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::checksum::{Checksum, Coverage};
use self::counter::Counter;
pub(super) use self::error::Error;
pub(super) use self::file::remove;
use self::file::{FileSink, FileSource};
pub(super) use self::store::{Store, internal};
use self::store::{StoreSink, StoreSource};
use super::Progress;
use crate::types::ContentId;

/// The most bytes that are read and written at once.
const BLOCK: u64 = 4 << 20;
/// From this size on a source is asked where it has bytes.
const SPARSE: u64 = 4 * BLOCK;
/// How many contents are moved at once.
pub(super) const AT_ONCE: usize = 16;
/// How many blocks of a content are read before the first of them is written.
const AHEAD: usize = 4;
/// How many blocks of all contents are read from stores and not yet written.
const IN_MEMORY: usize = 32;

/// Some bytes of a content.
struct Piece {
    at: u64,
    bytes: Bytes,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Where a content comes from.
trait Source {
    /// The next bytes that lie in no hole; `None` behind the last.
    async fn next(&mut self) -> Result<Option<Piece>, Error>;

    /// Where the content ends, as far as that is known by now.
    fn length(&self) -> u64;
}

/// Where a content goes.
trait Sink {
    async fn write(&mut self, at: u64, bytes: &Bytes) -> Result<(), Error>;

    /// Ends the content at `length`, with holes where nothing was written. A store's is durable then.
    async fn finish(self, length: u64) -> Result<(), Error>;
}

/// The sink of what is only read.
struct Nowhere;

impl Sink for Nowhere {
    async fn write(&mut self, _: u64, _: &Bytes) -> Result<(), Error> {
        Ok(())
    }

    async fn finish(self, _: u64) -> Result<(), Error> {
        Ok(())
    }
}

/// What was found of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// How many of the bytes that were asked for there are.
    pub(super) length: u64,
    /// Their checksum; `None` where there are none, or none was asked for.
    pub(super) checksum: Option<Checksum>,
}

/// The transfers of a job, which share its memory.
#[derive(Clone, Debug)]
pub(super) struct Transfers {
    progress: Arc<Progress>,
    blocks: Arc<Semaphore>,
}

impl Transfers {
    pub(super) fn new(progress: &Arc<Progress>) -> Self {
        Self { progress: Arc::clone(progress), blocks: Arc::new(Semaphore::new(IN_MEMORY)) }
    }

    /// The same transfers, not counted.
    pub(super) fn silent(&self) -> Self {
        Self { progress: Arc::new(self.progress.silent()), blocks: Arc::clone(&self.blocks) }
    }

    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Copies the first `size` bytes of a content to another store under its own id, durably. The source must
    /// have them all. Where the copy is `stale`, other bytes may be there, which go first. A copy that is cut
    /// off is shorter than the content wherever the store writes in order.
    pub(super) async fn copy(
        &self,
        from: &Store,
        to: &Store,
        id: ContentId,
        size: u64,
        stale: bool,
    ) -> Result<(), Error> {
        let source = StoreSource::open(self, from, id, size, true).await?;
        if stale {
            let cut = to.content.truncate(&internal(self.progress.cancel()), id, 0).await;
            cut.map_err(to.unwritten(id))?;
        }
        let sink = StoreSink::new(self, to, id, size.min(to.content.max_length()));
        self.pump(source, sink, None).await?;
        Ok(())
    }

    /// Reads the first `size` bytes of a content, as far as there are so many, into the file `to`, which is
    /// made anew.
    pub(super) async fn read_out(
        &self,
        from: &Store,
        id: ContentId,
        size: u64,
        to: Option<PathBuf>,
        coverage: Coverage,
    ) -> Result<Found, Error> {
        let source = StoreSource::open(self, from, id, size, false).await?;
        match to {
            Some(path) => self.pump(source, FileSink::new(path), Some(coverage)).await,
            None => self.pump(source, Nowhere, Some(coverage)).await,
        }
    }

    /// Writes a file into a content store as `id`, where nothing is, durably.
    pub(super) async fn write_in(
        &self,
        from: &Path,
        coverage: Coverage,
        to: &Store,
        id: ContentId,
    ) -> Result<Found, Error> {
        self.pump(FileSource::open(from), StoreSink::new(self, to, id, 0), Some(coverage)).await
    }

    /// Reads a file to its end.
    pub(super) async fn hash_file(&self, path: &Path, coverage: Coverage) -> Result<Found, Error> {
        self.pump(FileSource::open(path), Nowhere, Some(coverage)).await
    }

    async fn pump(
        &self,
        mut source: impl Source,
        mut sink: impl Sink,
        coverage: Option<Coverage>,
    ) -> Result<Found, Error> {
        let mut counter = Counter::new(coverage, &self.progress);
        while let Some(Piece { at, bytes, _permit }) = source.next().await? {
            self.progress.pace(bytes.len() as u64).await?;
            let (counted, written) =
                tokio::join!(counter.add(at, bytes.clone()), sink.write(at, &bytes));
            counter = counted?;
            written?;
        }
        self.progress.check()?;
        let counter = counter.skip_to(source.length()).await?;
        sink.finish(source.length()).await?;
        Ok(counter.found())
    }
}
