//! Storing what was written: each chunk by one upload at a time, many chunks at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Shared;
use super::bucket::{Stored, claimant, on_behalf_of};
use super::cache::Image;
use super::error::again;
use super::layout::{Part, parts};
use super::state::{File, Upload};
use super::update::{Changed, ChunkUpdate, Known};
use crate::availability::is_told;
use crate::content::Error;
use crate::log_limit::{About, limited};
use crate::types::{Call, Claimant};

impl Shared {
    /// Keeps what is written, and begins to store the chunks that it completes.
    pub(super) async fn write(
        self: &Arc<Self>,
        call: &Call,
        file: &Arc<File>,
        offset: u64,
        data: &Bytes,
    ) -> Result<(), Error> {
        if data.is_empty() {
            let charge = self.budget.nothing();
            file.state.lock().extend(file.chunk_size, 0, charge);
            return Ok(());
        }
        for part in parts(file.chunk_size, offset, data.len()) {
            let bytes = data.slice(part.at..part.at + part.len());
            // What is kept of it must not hold the whole.
            let small = bytes.len() < data.len() / 2;
            let bytes = if small { Bytes::copy_from_slice(&bytes) } else { bytes };
            self.write_part(call, file, &part, &bytes).await?;
        }
        Ok(())
    }

    async fn write_part(
        self: &Arc<Self>,
        call: &Call,
        file: &Arc<File>,
        part: &Part,
        bytes: &Bytes,
    ) -> Result<(), Error> {
        let needed = super::dirty_ranges::DirtyRanges::most(bytes.len());
        let charge = match self.budget.try_take(needed) {
            Some(charge) => charge,
            None => {
                let _waiting = Waiting::new(self);
                let since = self.cache.now();
                self.relieve();
                let relieve = || {
                    self.relieve();
                    self.trouble.lock().as_ref().map_or(Ok(()), |trouble| trouble.told(since))
                };
                self.budget.take(call, needed, relieve).await?
            }
        };
        let full = {
            let mut state = file.state.lock();
            state.write(part, bytes, charge);
            state.is_full(part.number, file.chunk_size)
        };
        if full {
            self.start(file, part.number, call.claimant);
        }
        Ok(())
    }

    /// Begins uploads because writers wait for memory.
    fn relieve(self: &Arc<Self>) {
        // One is enough to find out whether the bucket still refuses.
        let at_once = if self.trouble.lock().is_some() { 1 } else { self.bucket.concurrency() };
        // As many again as uploads that are under way, of which the chunks may have become dirty anew.
        for (id, number) in self.files.due(2 * at_once) {
            if self.under_way.load(Ordering::Relaxed) >= at_once {
                return;
            }
            if let Some(file) = self.files.existing(id) {
                self.start(&file, number, None);
            }
        }
    }

    /// Stores all of a content that is not stored when it is called.
    pub(super) async fn commit(
        self: &Arc<Self>,
        call: &Call,
        file: &Arc<File>,
    ) -> Result<(), Error> {
        let mut left: Vec<_> = {
            let state = file.state.lock();
            let unstored = state.unstored().into_iter();
            unstored.map(|(number, changed)| (number, changed, state.failures(number).0)).collect()
        };
        loop {
            let ended = file.uploaded.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            {
                let state = file.state.lock();
                left.retain(|(number, changed, _)| !state.is_stored(*number, *changed));
                for (number, _, before) in &left {
                    if let (failures, Some(error)) = state.failures(*number)
                        && failures > *before
                    {
                        return Err(again(&error));
                    }
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            for (number, ..) in &left {
                self.start(file, *number, call.claimant);
            }
            if call.within(ended).await.is_none() {
                return Err(Error::Cancelled);
            }
        }
    }

    /// Forgets what is not stored of a content.
    pub(super) fn discard_dirty(&self, file: &File) {
        let mut state = file.state.lock();
        for number in state.abandon() {
            self.forget_chunks(file.id, number..=number);
        }
        drop(state);
        file.uploaded.notify_waiters();
    }

    /// Begins to store a chunk, where it has something new and no upload is under way. It goes on when
    /// the caller, whose turn it takes, is gone.
    pub(super) fn start(self: &Arc<Self>, file: &Arc<File>, number: u64, claimant: Claimant) {
        if !file.state.lock().claim(number) {
            return;
        }
        tokio::spawn(on_behalf_of(claimant, Uploading::new(self, file, number).run()));
    }

    /// Tells a chunk what became of its upload, which began at `begun`.
    fn settle_upload(
        &self,
        file: &File,
        number: u64,
        upload: Upload,
        stored: Result<Option<Stored>, Error>,
        begun: u64,
    ) {
        self.note_trouble(stored.as_ref().err());
        let mut state = file.state.lock();
        match stored {
            Ok(stored) => {
                if !state.uploaded(number, &upload) {
                    self.forget_chunks(file.id, number..=number);
                    return;
                }
                if let Some(stored) = stored {
                    let end = number * u64::from(file.chunk_size) + u64::from(stored.length);
                    state.reaches(end, begun);
                    self.cache_chunk(file, number, Image::Present(stored), begun);
                }
            }
            Err(Error::Cancelled) => state.failed(number, upload, Error::Cancelled),
            Err(error) => {
                if !is_told(&error) {
                    limited!(warn, About::default(),
                        "upload failed; the chunk is kept in memory and retried",
                        content = %file.id, chunk = number, error = &error as &dyn std::error::Error);
                }
                state.failed(number, upload, error);
            }
        }
    }

    /// Notes whether the bucket takes what it is given.
    fn note_trouble(&self, error: Option<&Error>) {
        let mut trouble = self.trouble.lock();
        match error {
            None => *trouble = None,
            Some(Error::Cancelled | Error::Unavailable(_)) => {}
            Some(error) => {
                *trouble = Some(Trouble { last: self.cache.now(), error: again(error) });
            }
        }
    }

    async fn store(
        &self,
        file: &File,
        number: u64,
        upload: &Upload,
    ) -> Result<Option<Stored>, Error> {
        let layer = &upload.layer;
        let known = match self.cache.get(file.id, number) {
            Some((Image::Present(stored), _)) => Known::Present(stored),
            Some((Image::Absent, _)) => Known::Absent,
            None if layer.ranges.covers(&(0..layer.length)) => Known::Unlikely,
            None => Known::Unknown,
        };
        let target = ChunkUpdate {
            bucket: &self.bucket,
            key: self.bucket.layout.chunk(file.id, number),
            chunk_size: file.chunk_size,
            needs_data: !layer.ranges.covers(&(0..file.chunk_size)),
            keeps_data: self.caches(),
            alone: self.exclusive,
        };
        let wanted = || file.state.lock().age == upload.age;
        let change = |base: Option<&Stored>| {
            let present = base.is_some_and(|base| base.length >= layer.length);
            if present && layer.ranges.end() == 0 {
                return None;
            }
            let (data, length) = match base {
                Some(base) => (base.data.clone(), base.length),
                None => (Bytes::new(), 0),
            };
            let segments = layer.ranges.over(&data);
            Some(Changed { segments, length: length.max(layer.length) })
        };
        target.update(known, self.bucket.backoff(None), wanted, change).await
    }
}

/// Why the bucket takes nothing, and will not.
#[derive(Debug)]
pub(super) struct Trouble {
    /// When it last refused, on the cache's clock.
    last: u64,
    error: Error,
}

impl Trouble {
    /// The error, where it was met after `since`.
    fn told(&self, since: u64) -> Result<(), Error> {
        if self.last > since { Err(again(&self.error)) } else { Ok(()) }
    }
}

/// A writer that waits for memory.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An upload of a chunk, from the claim to its end. One that ends without an answer, as by a panic, has
/// failed: the chunk's bytes wait for the next.
struct Uploading {
    shared: Arc<Shared>,
    file: Arc<File>,
    number: u64,
    phase: Phase,
}

/// How far an upload is.
enum Phase {
    /// It waits for its turn.
    Claimed,
    /// The bucket is asked to keep this.
    Storing(Upload),
    /// The chunk knows of its end.
    Ended,
}

impl Uploading {
    fn new(shared: &Arc<Shared>, file: &Arc<File>, number: u64) -> Self {
        shared.under_way.fetch_add(1, Ordering::Relaxed);
        let (shared, file) = (Arc::clone(shared), Arc::clone(file));
        Self { shared, file, number, phase: Phase::Claimed }
    }

    async fn run(mut self) {
        let (shared, file) = (Arc::clone(&self.shared), Arc::clone(&self.file));
        let _turn = file.turn.read().await;
        // The queue has room for every chunk, and is never closed.
        let _slot = shared.uploads.acquire(claimant(), 1).await;
        let begun = file.state.lock().begin(self.number);
        self.phase = begun.map_or(Phase::Ended, Phase::Storing);
        if let Phase::Storing(upload) = &self.phase {
            let since = shared.cache.now();
            let stored = shared.store(&file, self.number, upload).await;
            if let Phase::Storing(upload) = std::mem::replace(&mut self.phase, Phase::Ended) {
                shared.settle_upload(&file, self.number, upload, stored, since);
            }
        }
        drop(self);
        if shared.waiting.load(Ordering::Relaxed) > 0 {
            shared.relieve();
        }
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        let mut state = self.file.state.lock();
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Claimed => state.release(self.number),
            Phase::Storing(upload) => {
                let ended = std::io::Error::other("the upload ended without an answer");
                state.failed(self.number, upload, Error::Io(ended));
                self.shared.forget_chunks(self.file.id, self.number..=self.number);
            }
            Phase::Ended => {}
        }
        drop(state);
        self.shared.under_way.fetch_sub(1, Ordering::Relaxed);
        self.file.uploaded.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
