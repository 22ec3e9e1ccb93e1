//! File bytes: a trait of positional operations, its contract, and the stores that keep them.
//!
//! # Contract
//! - A [`ContentId`] names bytes. An id that was never written to, and one that was removed, is
//!   [`Error::Missing`]; it is never answered with zeros.
//! - What was not written between written parts reads as zeros and costs nothing.
//! - `write`, `truncate` and `remove` may be lost in a crash until `commit` has returned; after it
//!   what came before it on that id is there again, the id itself included.
//! - What is being removed is missing from some moment on; before that it is answered as it was, and never
//!   with zeros.
//! - Operations on different ranges of one id do not disturb each other.
//! - When [`Call::cancel`] fires, an operation may end with [`Error::Cancelled`]; what a write or a truncate
//!   had begun may then be there in part, and a repeat makes it whole.

mod copy;
mod data_extents;
mod error;
mod filesystem;
mod lru;
mod memory;
mod object;

pub use error::Error;
pub use filesystem::{FilesystemContent, FilesystemSettings, Look, OpenError};
pub use memory::MemoryContent;
pub use object::{
    Azure, Encryption, Gcs, ObjectContent, ObjectKeys, ObjectOpenError, ObjectSettings, S3, Service,
};

use std::ops::Range;

use bytes::Bytes;

use crate::types::{Call, ContentId, ContentIdentity, FilePages, Timestamp};

/// From so many bytes on READ's data is sent from the page cache.
pub const PAGES_FROM: usize = 64 << 10;

/// Whether a content store may be made where there is none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateMode {
    /// It may, with a fresh identity.
    Allowed,
    /// It may, with this identity.
    As(ContentIdentity),
    /// It may not: content must be there already.
    Never,
    /// It may not, and content is only read: its disk may be mounted read-only.
    ReadOnly,
}

/// What a content store has room for, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// In all.
    pub total: u64,
    pub free: u64,
    /// Free to this server.
    pub available: u64,
}

/// What a content takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// When it was last changed, by the clock of the store.
    pub modified: Timestamp,
    /// Bytes of disk, memory or bucket.
    pub bytes: u64,
}

/// A store of file bytes. See the module for the contract. No method has a default: a store around another
/// one passes all of them on, and one that is forgotten loses bytes.
#[async_trait::async_trait]
pub trait ContentStore: std::fmt::Debug + Send + Sync + 'static {
    /// Up to `length` bytes from `offset`; fewer only where the content ends.
    async fn read(
        &self,
        call: &Call,
        id: ContentId,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, Error>;

    /// The same bytes, all of them, where they are pages of a file in memory; `None` where they have to be
    /// read. Waits for nothing. For [`PAGES_FROM`] bytes and more.
    fn pages(&self, id: ContentId, offset: u64, length: usize) -> Option<FilePages>;

    /// Writes all of `data` at `offset`, making the content where it is missing.
    async fn write(
        &self,
        call: &Call,
        id: ContentId,
        offset: u64,
        data: Bytes,
    ) -> Result<(), Error>;

    /// Makes the content exactly `length` bytes long, making it where it is missing: cuts what is
    /// beyond, adds zeros up to it.
    async fn truncate(&self, call: &Call, id: ContentId, length: u64) -> Result<(), Error>;

    /// Makes the content at least `length` bytes long, making it where it is missing: adds zeros up to it,
    /// and cuts off nothing that anybody writes meanwhile. `false` where the store cannot do that.
    async fn extend(&self, call: &Call, id: ContentId, length: u64) -> Result<bool, Error>;

    /// Gives `to`, which nobody knows yet, the first `length` bytes of `from`, durably. Answers with how many
    /// `from` had of them.
    async fn copy(
        &self,
        call: &Call,
        from: ContentId,
        to: ContentId,
        length: u64,
    ) -> Result<u64, Error>;

    /// How long the content is; [`Error::Missing`] where there is none.
    async fn length(&self, call: &Call, id: ContentId) -> Result<u64, Error>;

    /// Where the content may have bytes other than zeros, for reading all of it: extents in order,
    /// apart from each other and at most a few thousand. What lies in none of them, up to the content's end,
    /// reads as zeros. Of what is written while this looks only a part may be told. [`Error::Missing`] where
    /// there is no content.
    ///
    /// A store that does not know answers with the whole length. One that does asks what keeps the bytes,
    /// which for a bucket is a LIST for each 1,000 chunks: worth it for large content.
    async fn data_extents(&self, call: &Call, id: ContentId) -> Result<Vec<Range<u64>>, Error>;

    /// The longest that content can be here, in bytes; nothing beyond it can be written. Constant for as
    /// long as the store is open.
    fn max_length(&self) -> u64;

    /// Makes everything done to `id` so far durable. Content that is missing is no error: nothing was
    /// written to it.
    async fn commit(&self, call: &Call, id: ContentId) -> Result<(), Error>;

    /// Removes content; one that is missing is no error.
    async fn remove(&self, id: ContentId) -> Result<(), Error>;

    /// Up to `limit` ids after `after`, in order.
    async fn list(&self, after: Option<ContentId>, limit: usize) -> Result<Vec<ContentId>, Error>;

    /// What the content takes; [`Error::Missing`] where there is none.
    async fn footprint(&self, id: ContentId) -> Result<Footprint, Error>;

    /// How many of the first `length` bytes a committed content has storage for, as far as the store counts
    /// it: blocks, chunks or memory, holes left out. Never too few; more than `length` where a block reaches
    /// beyond it, and `length` itself where the store cannot tell. `holes` says whether there may be any:
    /// where there are none, a store that would have to ask another server answers with `length`.
    /// [`Error::Missing`] where the store looks and finds no content.
    async fn allocated(
        &self,
        call: &Call,
        id: ContentId,
        length: u64,
        holes: bool,
    ) -> Result<u64, Error>;

    /// Counts what the store's own work left beside the contents where it was killed, such as files that had
    /// not got their name yet, and that was last changed before `before`. Removes it too where `remove` says
    /// so.
    async fn leftovers(&self, before: Timestamp, remove: bool) -> Result<u64, Error>;

    /// Which body of content this is; `None` where it goes with the process. A store that lasts keeps its
    /// identity with its content, makes it once (the first of several processes that open a new store at the
    /// same time does, and the others take it over), and never changes it. Constant for as long as the store
    /// is open.
    fn identity(&self) -> Option<ContentIdentity>;

    /// The record of the metadata stores that own the content, which is kept with it; `None` where there is
    /// none. For the caller it is a text of at most [`MAX_OWNERS`] bytes.
    async fn owners(&self) -> Result<Option<String>, Error>;

    /// Replaces that record, durably, where it is still `seen`. Answers whether it was.
    async fn set_owners(&self, seen: Option<&str>, text: &str) -> Result<bool, Error>;

    /// Room; `None` where the store has no bound.
    async fn capacity(&self) -> Result<Option<Capacity>, Error>;

    /// The caller has seen the file of `id` in the state that `state` names, such as its recorded ctime.
    /// Reads that begin after this show what every process had committed before it recorded that state.
    /// Without it, or under another name since, a store that keeps bytes outside its process asks for them
    /// anew.
    fn observed(&self, id: ContentId, state: Timestamp);

    /// Whether bytes that were written to `id` wait in this process alone, while other processes may change
    /// the content.
    fn has_dirty(&self, id: ContentId) -> bool;

    /// Whether every process reads what was written from then on, before [`Self::commit`] makes it durable.
    fn shares_uncommitted(&self) -> bool;

    /// Forgets such bytes, as if they had not been written. The caller sees to it that nothing is written
    /// to `id` meanwhile.
    fn discard_dirty(&self, id: ContentId);

    /// The same store for shares whose content is in chunks of so many bytes; `None` for a store that keeps
    /// no chunks, which serves every share as it is.
    fn with_chunk_size(&self, chunk_size: u32) -> Option<std::sync::Arc<dyn ContentStore>>;
}

impl dyn ContentStore {
    /// The store for a share whose content is in chunks of so many bytes: itself where it keeps no chunks.
    #[must_use]
    pub fn in_chunks(self: std::sync::Arc<Self>, chunk_size: u32) -> std::sync::Arc<Self> {
        self.with_chunk_size(chunk_size).unwrap_or(self)
    }
}

/// The longest record of owners, in bytes: thousands of shares.
pub(crate) const MAX_OWNERS: usize = 1 << 20;

/// The longest that content can be: offsets are signed in POSIX.
pub(crate) const MAX_LENGTH: u64 = i64::MAX as u64;

/// Where `length` bytes from `offset` end; [`Error::TooLarge`] beyond [`MAX_LENGTH`].
pub(crate) fn end_of(offset: u64, length: usize) -> Result<u64, Error> {
    offset.checked_add(length as u64).filter(|end| *end <= MAX_LENGTH).ok_or(Error::TooLarge)
}

/// [`Error::Cancelled`] where a call's token has fired or its deadline is over.
pub(crate) fn still_wanted(call: &Call) -> Result<(), Error> {
    if call.is_over() { Err(Error::Cancelled) } else { Ok(()) }
}
