//! A content in a content store.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::runs::runs;
use super::{AHEAD, BLOCK, Error, Piece, SPARSE, Sink, Source, Transfers};
use crate::admin::Interrupted;
use crate::content::{self, ContentStore};
use crate::types::{Call, ContentId};

/// No call has an end of its own: requests to a bucket have theirs.
const LONG: Duration = Duration::from_secs(365 * 86_400);
/// Runs of zeros from this length on are left out where the store has no chunks.
const GRAIN: usize = 4096;

/// A content store as the shares of one chunk size use it.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Store {
    /// Its name in the configuration.
    pub(in crate::admin) name: String,
    pub(in crate::admin) content: Arc<dyn ContentStore>,
    /// Zeros are left out by so many bytes.
    grain: usize,
}

impl Store {
    pub(in crate::admin) fn new(
        name: &str,
        content: &Arc<dyn ContentStore>,
        chunk_size: u32,
    ) -> Self {
        let in_chunks = content.with_chunk_size(chunk_size);
        let grain = match &in_chunks {
            Some(_) => (chunk_size as usize).min(BLOCK as usize).max(GRAIN),
            None => GRAIN,
        };
        let content = in_chunks.unwrap_or_else(|| Arc::clone(content));
        Self { name: name.to_owned(), content, grain }
    }

    /// The error of a read.
    pub(in crate::admin) fn unread(
        &self,
        id: ContentId,
    ) -> impl Fn(content::Error) -> Error + use<> {
        let name = self.name.clone();
        move |source| match source {
            content::Error::Cancelled => Interrupted.into(),
            source => Error::Source { name: name.clone(), id, source },
        }
    }

    /// The error of a write.
    pub(in crate::admin) fn unwritten(
        &self,
        id: ContentId,
    ) -> impl Fn(content::Error) -> Error + use<> {
        let name = self.name.clone();
        move |source| match source {
            content::Error::Cancelled => Interrupted.into(),
            source => Error::Sink { name: name.clone(), id, source },
        }
    }
}

/// A call that no client makes, until the token fires.
pub(in crate::admin) fn internal(cancel: &CancellationToken) -> Call {
    Call { cancel: cancel.clone(), ..Call::internal(LONG) }
}

/// A block of a content, and how many bytes it should have.
type Read = Result<(Piece, u64), Error>;

/// A content of a store, read ahead.
pub(super) struct StoreSource<'a> {
    reads: Pin<Box<dyn Stream<Item = Read> + Send + 'a>>,
    length: u64,
    /// The size of a content that must have all its bytes.
    whole: Option<u64>,
}

impl<'a> StoreSource<'a> {
    /// The first `size` bytes of a content; fewer are an error where it must be `whole`.
    pub(super) async fn open(
        transfers: &'a Transfers,
        store: &'a Store,
        id: ContentId,
        size: u64,
        whole: bool,
    ) -> Result<Self, Error> {
        let (mut size, unread) = (size.min(store.content.max_length()), store.unread(id));
        let (is_sparse, needed) = (size >= SPARSE, whole.then_some(size));
        let call = internal(transfers.progress.cancel());
        if size > 0 && (whole || is_sparse) {
            let length = match store.content.length(&call, id).await {
                Err(content::Error::Missing(_)) if !whole => 0,
                length => length.map_err(&unread)?,
            };
            if let Some(size) = needed.filter(|size| length < *size) {
                return Err(Error::Short { length, size });
            }
            size = size.min(length);
        }
        let extents = match is_sparse && size > 0 {
            true => store.content.data_extents(&call, id).await.map_err(unread)?,
            false => std::iter::once(0..size).collect(),
        };
        let blocks = extents.into_iter().flat_map(move |region| blocks(region, size));
        let reads = blocks.map(move |(at, length)| read(transfers, store, id, at, length));
        let reads = Box::pin(stream::iter(reads).buffered(AHEAD));
        Ok(Self { reads, length: size, whole: needed })
    }
}

impl Source for StoreSource<'_> {
    async fn next(&mut self) -> Result<Option<Piece>, Error> {
        let Some((piece, wanted)) = self.reads.next().await.transpose()? else { return Ok(None) };
        let length = piece.at + piece.bytes.len() as u64;
        if (piece.bytes.len() as u64) < wanted {
            if let Some(size) = self.whole {
                return Err(Error::Short { length, size });
            }
            // It ends here.
            self.length = length;
            self.reads = Box::pin(stream::empty());
        }
        Ok(Some(piece).filter(|piece| !piece.bytes.is_empty()))
    }

    fn length(&self) -> u64 {
        self.length
    }
}

/// The blocks of a region as far as the content goes: where each begins, and its length.
pub(super) fn blocks(region: Range<u64>, end: u64) -> impl Iterator<Item = (u64, u64)> {
    let end = region.end.min(end);
    (region.start..end).step_by(BLOCK as usize).map(move |at| (at, BLOCK.min(end - at)))
}

/// A block, read by a task of its own. Permits are given in the order in which they are asked for: a block
/// that has one waits for none that has none.
async fn read(transfers: &Transfers, store: &Store, id: ContentId, at: u64, length: u64) -> Read {
    let permit = Arc::clone(&transfers.blocks).acquire_owned().await;
    let permit = permit.map_err(|_| Interrupted)?;
    let (content, call) = (Arc::clone(&store.content), internal(transfers.progress.cancel()));
    let read = async move { content.read(&call, id, at, length as usize).await };
    let bytes = match AbortOnDropHandle::new(tokio::spawn(read)).await? {
        Err(content::Error::Missing(_)) => Bytes::new(),
        read => read.map_err(store.unread(id))?,
    };
    Ok((Piece { at, bytes, _permit: Some(permit) }, length))
}

/// A content of a store, written in order.
pub(super) struct StoreSink<'a> {
    store: &'a Store,
    id: ContentId,
    cancel: &'a CancellationToken,
    /// Its length is at least this.
    least: u64,
    written: u64,
}

impl<'a> StoreSink<'a> {
    pub(super) fn new(
        transfers: &'a Transfers,
        store: &'a Store,
        id: ContentId,
        least: u64,
    ) -> Self {
        Self { store, id, cancel: transfers.progress.cancel(), least, written: 0 }
    }
}

impl Sink for StoreSink<'_> {
    async fn write(&mut self, at: u64, bytes: &Bytes) -> Result<(), Error> {
        for run in runs(bytes, self.store.grain) {
            self.written = at + run.end as u64;
            let (call, at) = (internal(self.cancel), at + run.start as u64);
            let written = self.store.content.write(&call, self.id, at, bytes.slice(run)).await;
            written.map_err(self.store.unwritten(self.id))?;
        }
        Ok(())
    }

    async fn finish(self, length: u64) -> Result<(), Error> {
        let (call, length) = (internal(self.cancel), length.max(self.least));
        let (content, unwritten) = (&self.store.content, self.store.unwritten(self.id));
        if self.written < length {
            content.truncate(&call, self.id, length).await.map_err(&unwritten)?;
        }
        content.commit(&call, self.id).await.map_err(unwritten)
    }
}
