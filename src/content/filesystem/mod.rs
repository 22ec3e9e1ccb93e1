//! Content as files of a local or shared file system.
//!
//! One file is one content, sparse where nothing was written; see [`folder`] for where it lies.
//! Several processes may use one folder at once, so it is not locked; each sees what the others
//! have written and removed, as far as the file system shows it.
//!
//! - `commit` syncs the file (fdatasync(2)), and at the first time the folder that names it. Several that
//!   wait for one file are answered by one sync. A sync that failed stays failed, see [`syncs`].
//! - `list` goes through all names for every page: ask for large ones.
//! - A call that is cancelled before a thread has taken it is not begun. One that has begun is
//!   awaited; where its future is dropped it goes on to its end, with its descriptor kept open.

mod descriptors;
mod error;
mod few_threads;
mod file;
mod folder;
mod fsync_errors;
mod identity;
mod jobs;
mod leftovers;
mod owners;
mod permissions;

pub use error::OpenError;
pub use folder::Look;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use self::descriptors::{Descriptors, Permit};
use self::few_threads::FewThreads;
use self::file::OpenFile;
use self::folder::{FOLDERS, Folder, Opening};
use self::fsync_errors::Syncs;
use self::jobs::settle;
use super::{
    Capacity, ContentStore, CreateMode, Error, Footprint, MAX_LENGTH, copy, end_of, still_wanted,
};
use crate::availability::{Availability, Outage};
use crate::types::settings::{MOST, Number, WrongSetting};
use crate::types::{Call, ContentId, ContentIdentity, FileFacts, FilePages, Timestamp};

/// How many files stores keep open at most, all together, whose settings do not say it.
const MOST_BY_DEFAULT: u64 = 1 << 15;
/// How many such a store keeps open at least.
const FEWEST_BY_DEFAULT: u64 = 64;
/// A write of so many bytes takes no longer than a thread takes to wake.
const SHORT_BYTES: usize = 32 << 10;

/// Where a [`FilesystemContent`] keeps its files.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct FilesystemSettings {
    /// The content folder, made where it is missing.
    pub base_path: PathBuf,
    /// How many files are kept open, at least 1. Without it the process's limit says so, see
    /// [`Self::limit_open_files`].
    #[serde(with = "Number::<1, MOST>")]
    pub max_open_files: Option<u64>,
}

impl FilesystemSettings {
    /// Checks that there is a folder.
    pub fn check(&self) -> Result<(), WrongSetting> {
        if self.base_path.as_os_str().is_empty() {
            let remedy = "write the path of the folder for file content";
            return Err(WrongSetting::missing("base_path", remedy));
        }
        Ok(())
    }

    /// The descriptors that the store needs.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        let files = self.max_open_files.unwrap_or(FEWEST_BY_DEFAULT);
        FOLDERS.saturating_add(usize::try_from(files).unwrap_or(usize::MAX))
    }

    /// Sets `max_open_files` where it is missing: half of the process's limit of open files (getrlimit(2),
    /// `RLIMIT_NOFILE`), 32,768 at most, for all `stores` of such settings, and no more than
    /// [`Self::descriptors`] counts and those of the process that are `left` beside all that it needs.
    pub fn limit_open_files(&mut self, stores: usize, left: usize) {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let stores = u64::try_from(stores).unwrap_or(u64::MAX).max(1);
        let left = u64::try_from(left).unwrap_or(u64::MAX) / stores;
        let half = (limit / 2).min(MOST_BY_DEFAULT) / stores;
        self.max_open_files
            .get_or_insert(half.min(left.saturating_add(FEWEST_BY_DEFAULT)).max(FEWEST_BY_DEFAULT));
    }
}

/// A content store in files. See the module.
#[derive(Clone, Debug)]
pub struct FilesystemContent {
    shared: Arc<Shared>,
    /// Whether a read can be asked for without waiting; see [`Folder::reads_without_waiting`].
    nowait: bool,
    /// Whether pages of files can be sent; see [`Folder::sends_pages`].
    sends_pages: bool,
    /// See [`Folder::counts_blocks`].
    counts_blocks: bool,
    /// See [`Folder::longest_file`].
    max_length: u64,
    identity: ContentIdentity,
}

#[derive(Debug)]
struct Shared {
    folder: Folder,
    descriptors: Descriptors,
    syncs: Syncs,
    removals: FewThreads,
    /// Writes of no more than [`SHORT_BYTES`].
    short_writes: FewThreads,
    room: Availability,
}

impl FilesystemContent {
    /// Opens the folder, making it where it is missing.
    ///
    /// # Errors
    /// A folder that cannot be reached or written to, one with other files, and one of a format
    /// that this version does not know.
    pub async fn open(settings: FilesystemSettings) -> Result<Self, OpenError> {
        Self::open_or_make(settings, CreateMode::Allowed).await
    }

    /// Opens the folder, and makes it where it is missing or empty if that is allowed.
    ///
    /// # Errors
    /// Those of [`Self::open`], and [`OpenError::Absent`] where it may not be made.
    pub async fn open_or_make(
        settings: FilesystemSettings,
        mode: CreateMode,
    ) -> Result<Self, OpenError> {
        let mut settings = settings;
        settings.limit_open_files(1, usize::MAX);
        let FilesystemSettings { base_path, max_open_files } = settings;
        let max_open_files = max_open_files.unwrap_or(FEWEST_BY_DEFAULT);
        let max_open_files = usize::try_from(max_open_files).unwrap_or(usize::MAX);
        let opened = tokio::task::spawn_blocking(move || {
            let (folder, identity) = Folder::open(base_path, mode)?;
            let nowait = folder.reads_without_waiting();
            let sends_pages = nowait && folder.sends_pages();
            let counts_blocks = folder.counts_blocks();
            let max_length = match mode {
                CreateMode::ReadOnly => MAX_LENGTH,
                CreateMode::Allowed | CreateMode::As(_) | CreateMode::Never => {
                    folder.longest_file()?
                }
            };
            let descriptors = Descriptors::new(max_open_files);
            let room = Availability::new(Outage::Room, folder.shown());
            let syncs = Syncs::default();
            let (removals, short_writes) = (FewThreads::default(), FewThreads::default());
            let shared = Shared { folder, descriptors, syncs, removals, short_writes, room };
            let shared = Arc::new(shared);
            Ok(Self { shared, nowait, sends_pages, counts_blocks, max_length, identity })
        });
        opened.await.map_err(OpenError::Interrupted)?
    }

    /// What is in a content folder, as far as it can be found out without opening it. Makes and changes
    /// nothing.
    ///
    /// # Errors
    /// A folder that cannot be reached or written to, one with other files, and one of a format
    /// that this version does not know.
    pub async fn look(base_path: PathBuf) -> Result<Look, OpenError> {
        let looking = tokio::task::spawn_blocking(move || Folder::look(base_path));
        looking.await.map_err(OpenError::Interrupted)?
    }

    /// Waits for a permit as long as the call is wanted.
    async fn permit(&self, call: &Call) -> Result<Permit, Error> {
        still_wanted(call)?;
        let permit = self.shared.descriptors.permit(call.claimant);
        call.within(permit).await.unwrap_or(Err(Error::Cancelled))
    }

    /// The open file of `id` where it needs no waiting to find and look at it.
    fn at_hand(&self, id: ContentId) -> Result<Option<(Arc<OpenFile>, FileFacts)>, Error> {
        if !self.nowait {
            return Ok(None);
        }
        self.shared.descriptors.cached(&self.shared.folder, id)
    }
}

impl Shared {
    fn open(
        &self,
        id: ContentId,
        how: Opening,
        permit: &Permit,
    ) -> Result<(Arc<OpenFile>, FileFacts), Error> {
        self.descriptors.open(&self.folder, &self.syncs, id, how, permit)
    }

    /// Does what needs room on the disk, and notes whether it had any.
    fn writing<T>(&self, job: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let began = Instant::now();
        let note = |error: std::io::Error| {
            self.room.failed(began, &error);
            self.room.give_up(error)
        };
        match job() {
            Ok(done) => {
                self.room.succeeded(began);
                Ok(done)
            }
            Err(Error::NoSpace(error)) => Err(Error::NoSpace(note(error))),
            Err(Error::ReadOnly(error)) => Err(Error::ReadOnly(note(error))),
            Err(error) => Err(error),
        }
    }

    fn remove_now(&self, id: ContentId) -> Result<(), Error> {
        self.folder.unlink(id)?;
        self.syncs.forget(id);
        self.descriptors.discard_removed(&self.folder, id)
    }

    /// Makes content durable that may not be open; of what is missing, that it is.
    fn commit(&self, id: ContentId, permit: &Permit) -> Result<(), Error> {
        let file = match self.open(id, Opening::Existing, permit) {
            Ok((file, _)) => file,
            Err(Error::Missing(_)) => {
                let synced = self.folder.sync_names(id);
                return synced.map_err(|errno| self.folder.failed("sync", id, errno));
            }
            Err(error) => return Err(error),
        };
        let target = file.sync_target();
        let _gate = file.gate.blocking_lock();
        self.syncs.check(&self.folder, id)?;
        if file.is_synced_to(target) { Ok(()) } else { self.syncs.sync(&self.folder, &file) }
    }

    /// Reads what `buffer` lacks after its first `done` bytes.
    fn read_rest(
        &self,
        file: &OpenFile,
        mut buffer: Vec<u8>,
        done: usize,
        offset: u64,
    ) -> Result<Bytes, Error> {
        let count = file.read(&self.folder, &mut buffer[done..], offset + done as u64)?;
        buffer.truncate(done + count);
        Ok(buffer.into())
    }
}

/// A buffer for what there is of `length` bytes from `offset`.
fn buffer_for(facts: &FileFacts, offset: u64, length: usize) -> Vec<u8> {
    let rest = facts.length.saturating_sub(offset);
    vec![0; length.min(usize::try_from(rest).unwrap_or(usize::MAX))]
}

#[async_trait::async_trait]
impl ContentStore for FilesystemContent {
    async fn read(
        &self,
        call: &Call,
        id: ContentId,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, Error> {
        let permit = self.permit(call).await?;
        let Some((file, facts)) = self.at_hand(id)? else {
            return self
                .run(call, permit, move |shared, permit| {
                    let (file, facts) = shared.open(id, Opening::Existing, permit)?;
                    shared.read_rest(&file, buffer_for(&facts, offset, length), 0, offset)
                })
                .await;
        };
        let mut buffer = buffer_for(&facts, offset, length);
        if buffer.is_empty() {
            return Ok(Bytes::new());
        }
        let done = file.read_cached(&mut buffer, offset);
        if done == buffer.len() {
            return Ok(buffer.into());
        }
        self.run(call, permit, move |shared, _| shared.read_rest(&file, buffer, done, offset)).await
    }

    fn pages(&self, id: ContentId, offset: u64, length: usize) -> Option<FilePages> {
        if !self.sends_pages {
            return None;
        }
        let _permit = self.shared.descriptors.free_permit()?;
        // An error is found again, and reported, by the read.
        let (file, facts) = self.at_hand(id).ok()??;
        if facts.length < offset.checked_add(length as u64)? {
            return None;
        }
        file.pages(offset, length, self.shared.descriptors.reply_permit()?)
    }

    async fn write(
        &self,
        call: &Call,
        id: ContentId,
        offset: u64,
        data: Bytes,
    ) -> Result<(), Error> {
        let permit = self.permit(call).await?;
        end_of(offset, data.len())?;
        let is_short = data.len() <= SHORT_BYTES;
        let write = move |shared: &Shared, permit: &Permit| {
            shared.writing(|| {
                let (file, _) = shared.open(id, Opening::Create, permit)?;
                file.write(&shared.folder, &data, offset)
            })
        };
        match is_short {
            true => self.run_short(call, permit, write).await,
            false => self.run(call, permit, write).await,
        }
    }

    async fn truncate(&self, call: &Call, id: ContentId, length: u64) -> Result<(), Error> {
        let permit = self.permit(call).await?;
        if length > self.max_length {
            return Err(Error::TooLarge);
        }
        let caller = call.clone();
        self.run(call, permit, move |shared, permit| {
            let file = shared.writing(|| {
                let (file, _) = shared.open(id, Opening::Create, permit)?;
                // The last moment: what is cut off late may be another server's.
                still_wanted(&caller)?;
                file.truncate(&shared.folder, length)?;
                Ok(file)
            })?;
            if length == 0 && shared.syncs.check(&shared.folder, id).is_err() {
                file.forget_syncs();
                shared.syncs.forget(id);
            }
            Ok(())
        })
        .await
    }

    async fn extend(&self, call: &Call, id: ContentId, length: u64) -> Result<bool, Error> {
        let permit = self.permit(call).await?;
        if length > self.max_length {
            return Err(Error::TooLarge);
        }
        self.run(call, permit, move |shared, permit| {
            shared.writing(|| {
                let (file, facts) = shared.open(id, Opening::Create, permit)?;
                if facts.length >= length { Ok(true) } else { file.extend(&shared.folder, length) }
            })
        })
        .await
    }

    async fn copy(
        &self,
        call: &Call,
        from: ContentId,
        to: ContentId,
        length: u64,
    ) -> Result<u64, Error> {
        still_wanted(call)?;
        if !self.shared.descriptors.has_two() {
            return copy::through(self, call, from, to, length).await;
        }
        let permit = self.shared.descriptors.permits(call.claimant, 2);
        let permit = call.within(permit).await.unwrap_or(Err(Error::Cancelled))?;
        let caller = call.clone();
        self.run(call, permit, move |shared, permit| {
            shared.syncs.check(&shared.folder, from)?;
            let (source, facts) = shared.open(from, Opening::Existing, permit)?;
            let length = length.min(facts.length);
            let target = shared.writing(|| {
                let (target, _) = shared.open(to, Opening::Create, permit)?;
                let wanted = || still_wanted(&caller);
                target.copy_from(&shared.folder, &source, length, wanted)?;
                Ok(target)
            })?;
            shared.syncs.sync(&shared.folder, &target)?;
            Ok(length)
        })
        .await
    }

    fn max_length(&self) -> u64 {
        self.max_length
    }

    async fn length(&self, call: &Call, id: ContentId) -> Result<u64, Error> {
        let permit = self.permit(call).await?;
        let facts = match self.at_hand(id)? {
            Some((_, facts)) => facts,
            None => {
                self.run(call, permit, move |shared, permit| {
                    shared.open(id, Opening::Existing, permit).map(|(_, facts)| facts)
                })
                .await?
            }
        };
        Ok(facts.length)
    }

    async fn data_extents(&self, call: &Call, id: ContentId) -> Result<Vec<Range<u64>>, Error> {
        let permit = self.permit(call).await?;
        let caller = call.clone();
        self.run(call, permit, move |shared, permit| {
            let (file, _) = shared.open(id, Opening::Existing, permit)?;
            file.data_extents(&shared.folder, || still_wanted(&caller))
        })
        .await
    }

    async fn commit(&self, call: &Call, id: ContentId) -> Result<(), Error> {
        let permit = self.permit(call).await?;
        let Some((file, _)) = self.at_hand(id)? else {
            return self.run(call, permit, move |shared, permit| shared.commit(id, permit)).await;
        };
        let target = file.sync_target();
        let gate = tokio::select! {
            biased;
            gate = Arc::clone(&file.gate).lock_owned() => gate,
            () = call.cancel.cancelled() => return Err(Error::Cancelled),
        };
        self.shared.syncs.check(&self.shared.folder, id)?;
        if file.is_synced_to(target) {
            return Ok(());
        }
        self.run(call, permit, move |shared, _| {
            let synced = shared.syncs.sync(&shared.folder, &file);
            drop(gate);
            synced
        })
        .await
    }

    async fn remove(&self, id: ContentId) -> Result<(), Error> {
        self.remove_content(id).await
    }

    async fn list(&self, after: Option<ContentId>, limit: usize) -> Result<Vec<ContentId>, Error> {
        let shared = Arc::clone(&self.shared);
        settle(tokio::task::spawn_blocking(move || shared.folder.list(after, limit)).await)
    }

    async fn allocated(
        &self,
        call: &Call,
        id: ContentId,
        length: u64,
        _holes: bool,
    ) -> Result<u64, Error> {
        still_wanted(call)?;
        if !self.counts_blocks {
            return Ok(length);
        }
        match self.at_hand(id)? {
            Some((_, facts)) => Ok(facts.allocated),
            None => Ok(self.footprint(id).await?.bytes),
        }
    }

    async fn footprint(&self, id: ContentId) -> Result<Footprint, Error> {
        let shared = Arc::clone(&self.shared);
        settle(tokio::task::spawn_blocking(move || shared.folder.footprint(id)).await)
    }

    async fn leftovers(&self, before: Timestamp, remove: bool) -> Result<u64, Error> {
        let shared = Arc::clone(&self.shared);
        let found = move || shared.folder.leftovers(before, remove);
        settle(tokio::task::spawn_blocking(found).await)
    }

    fn identity(&self) -> Option<ContentIdentity> {
        Some(self.identity)
    }

    async fn owners(&self) -> Result<Option<String>, Error> {
        let shared = Arc::clone(&self.shared);
        settle(tokio::task::spawn_blocking(move || owners::read(&shared.folder)).await)
    }

    async fn set_owners(&self, seen: Option<&str>, text: &str) -> Result<bool, Error> {
        let shared = Arc::clone(&self.shared);
        let (seen, text) = (seen.map(str::to_owned), text.to_owned());
        let set = move || owners::replace(&shared.folder, seen.as_deref(), &text);
        settle(tokio::task::spawn_blocking(set).await)
    }

    async fn capacity(&self) -> Result<Option<Capacity>, Error> {
        let shared = Arc::clone(&self.shared);
        settle(tokio::task::spawn_blocking(move || shared.folder.capacity()).await).map(Some)
    }

    /// Reads show every write at once: all processes have the same files.
    fn observed(&self, _id: ContentId, _state: Timestamp) {}

    fn has_dirty(&self, _id: ContentId) -> bool {
        false
    }

    fn shares_uncommitted(&self) -> bool {
        true
    }

    fn discard_dirty(&self, _id: ContentId) {}

    fn with_chunk_size(&self, _chunk_size: u32) -> Option<Arc<dyn ContentStore>> {
        None
    }
}

#[cfg(test)]
mod tests;
