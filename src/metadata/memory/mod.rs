//! The store in memory: one lock around tables that look like a database's. It keeps nothing
//! across a restart; tests and trials use it, and it is the oracle of the other stores.
//!
//! The operations that change it are those of [`super::single_writer`]; the lock makes their caller the only
//! writer.

mod invariants;
mod locks;
mod read;
mod state;
mod tables;
#[cfg(test)]
mod tests;
mod transfer;

use std::convert::Infallible;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::types::{
    Attributes, ContentRef, Context, Cookie, DeviceNumbers, FileType, Name, ObjectId, Replay,
    ShareId, SymlinkTarget,
};

use self::state::MemoryTables;
use super::locks::Wakes;
use super::single_writer::{self, OpError};
use super::{
    Answer, Catalog, CreateHow, Created, Error, Flush, FlushOutcome, Invariants, Link, LinkTarget,
    Lookup, MetadataStore, Namespace, Page, Removed, Renamed, Replayed, SetAttributes, SettingDone,
    Share, ShareSpec, Sole, StorePlace, Usage, ZeroingOutcome,
};

/// A namespace in memory. Durable for as long as the value lives.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<MemoryTables>>,
    /// Shared by those that keep loads away.
    loads: Arc<tokio::sync::RwLock<()>>,
    wakes: Wakes,
}

impl MemoryStore {
    /// A store without shares.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A store without shares that holds at most `max_objects` objects, each further name of a file counted
    /// as one, and answers [`Error::NoSpace`] beyond them.
    #[must_use]
    pub fn with_limit(max_objects: u64) -> Self {
        let store = Self::default();
        store.state.lock().max_objects = max_objects;
        store
    }

    /// The tables, unless the store is closed.
    fn open(&self) -> Result<MutexGuard<'_, MemoryTables>, Error> {
        let state = self.state.lock();
        if state.closed {
            return Err(Error::Unavailable("the store is closed".into()));
        }
        Ok(state)
    }

    /// The tables, unless the call is over already.
    fn admit(&self, cx: &Context) -> Result<MutexGuard<'_, MemoryTables>, Error> {
        if cx.call.is_over() {
            return Err(Error::Cancelled);
        }
        self.open()
    }

    /// Carries out a change, unless the call is over already.
    fn change<T>(
        &self,
        cx: &Context,
        work: impl FnOnce(&mut MemoryTables) -> Result<T, OpError<Infallible>>,
    ) -> Answer<T> {
        work(&mut *self.admit(cx)?).map_err(|stop| match stop {
            OpError::Refused(refusal) => refusal,
        })
    }
}

#[async_trait::async_trait]
impl Namespace for MemoryStore {
    async fn getattr(&self, cx: &Context, object: ObjectId) -> Result<Attributes, Error> {
        self.admit(cx)?.object(cx, object).cloned()
    }

    async fn lookup(&self, cx: &Context, directory: ObjectId, name: &Name) -> Answer<Lookup> {
        self.admit(cx)?.lookup(cx, directory, name)
    }

    async fn lookup_parent(&self, cx: &Context, directory: ObjectId) -> Answer<Lookup> {
        self.admit(cx)?.lookup_parent(cx, directory)
    }

    async fn readlink(&self, cx: &Context, link: ObjectId) -> Answer<Link> {
        self.admit(cx)?.readlink(cx, link)
    }

    async fn readdir(
        &self,
        cx: &Context,
        directory: ObjectId,
        after: Cookie,
        max_entries: usize,
        with_attributes: bool,
    ) -> Answer<Page> {
        self.admit(cx)?.readdir(cx, directory, after, max_entries, with_attributes)
    }

    async fn setattr(
        &self,
        cx: &Context,
        object: ObjectId,
        set: &SetAttributes,
    ) -> Answer<SettingDone> {
        self.change(cx, |tables| single_writer::setattr(tables, cx, object, set))
    }

    async fn create(
        &self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        how: &CreateHow,
    ) -> Answer<Created> {
        self.change(cx, |tables| single_writer::create(tables, cx, directory, name, how))
    }

    async fn mkdir(
        &self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        set: &SetAttributes,
    ) -> Answer<Created> {
        self.change(cx, |tables| single_writer::mkdir(tables, cx, directory, name, set))
    }

    async fn symlink(
        &self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        target: &SymlinkTarget,
        set: &SetAttributes,
    ) -> Answer<Created> {
        self.change(cx, |tables| single_writer::symlink(tables, cx, directory, name, target, set))
    }

    async fn mknod(
        &self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        kind: FileType,
        rdev: DeviceNumbers,
        set: &SetAttributes,
    ) -> Answer<Created> {
        self.change(cx, |tables| {
            single_writer::mknod(tables, cx, directory, (kind, rdev), name, set)
        })
    }

    async fn remove(&self, cx: &Context, directory: ObjectId, name: &Name) -> Answer<Removed> {
        self.change(cx, |tables| single_writer::remove(tables, cx, directory, name))
    }

    async fn rmdir(&self, cx: &Context, directory: ObjectId, name: &Name) -> Answer<Removed> {
        self.change(cx, |tables| single_writer::rmdir(tables, cx, directory, name))
    }

    async fn rename(
        &self,
        cx: &Context,
        from: ObjectId,
        from_name: &Name,
        to: ObjectId,
        to_name: &Name,
    ) -> Answer<Renamed> {
        self.change(cx, |tables| single_writer::rename(tables, cx, from, to, from_name, to_name))
    }

    async fn link(
        &self,
        cx: &Context,
        object: ObjectId,
        directory: ObjectId,
        name: &Name,
    ) -> Answer<LinkTarget> {
        self.change(cx, |tables| single_writer::link(tables, cx, object, directory, name))
    }

    async fn flush(&self, cx: &Context, file: ObjectId, flush: &Flush) -> Answer<FlushOutcome> {
        self.change(cx, |tables| single_writer::flush(tables, cx, file, flush))
    }

    async fn begin_zeroing(
        &self,
        cx: &Context,
        file: ObjectId,
        content: ContentRef,
    ) -> Answer<ZeroingOutcome> {
        self.change(cx, |tables| single_writer::begin_zeroing(tables, cx, file, content))
    }

    /// It goes with the process, as those do that it could tell.
    async fn replayed(&self, _: &Context, _: &Replay) -> Result<Option<Replayed>, Error> {
        Ok(None)
    }

    fn sole(&self) -> Option<Sole> {
        Some(Sole::always())
    }

    async fn usage(&self, share: ShareId) -> Result<Usage, Error> {
        self.open()?.usage(share)
    }
}

#[async_trait::async_trait]
impl Catalog for MemoryStore {
    async fn shares(&self) -> Result<Vec<Share>, Error> {
        Ok(self.open()?.shares.values().cloned().collect())
    }

    async fn setting(&self, key: &str) -> Result<Option<String>, Error> {
        Ok(self.open()?.settings.get(key).cloned())
    }

    async fn place(&self) -> Result<Option<StorePlace>, Error> {
        Ok(None)
    }
}

#[async_trait::async_trait]
impl MetadataStore for MemoryStore {
    async fn open_share(&self, spec: &ShareSpec) -> Result<Share, Error> {
        self.open()?.open_share(spec)
    }

    async fn set_setting(
        &self,
        key: &str,
        seen: Option<&str>,
        value: &str,
    ) -> Result<Option<String>, Error> {
        Ok(self.open()?.set_setting(key, seen, value))
    }

    async fn succeeds(&self, _earlier: &StorePlace) -> Result<bool, Error> {
        Ok(false)
    }

    async fn close(&self) {
        self.state.lock().closed = true;
        self.wakes.close();
    }
}

#[async_trait::async_trait]
impl Invariants for MemoryStore {
    async fn inconsistencies(&self) -> Result<Vec<String>, Error> {
        Ok(self.open()?.inconsistencies())
    }
}
