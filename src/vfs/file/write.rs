//! WRITE (RFC 1813 section 3.3.7).

use bytes::Bytes;

use super::flush::{FlushFor, Flushed, after_with_overlay};
use super::read::content_of;
use super::state::{FileState, NewWrite, Recorded};
use crate::content;
use crate::metadata::{self, Change, rules};
use crate::types::{Attributes, Caller, Context, FileHandle, ObjectId, Phase};
use crate::vfs::export::{Export, Intent};
use crate::vfs::{Error, Failure, Result, Stability, Vfs, WriteDone};

/// How often a write is begun anew because the content moved under it.
const ATTEMPTS: usize = 8;

/// One WRITE.
#[derive(Debug)]
struct Write {
    offset: u64,
    data: Bytes,
    stability: Stability,
}

/// What one attempt came to.
enum Attempt {
    Done(Box<WriteDone>),
    /// There may be old bytes between the file's end and the write.
    DirtyTail,
    /// The content was replaced by another instance.
    Superseded,
    /// What was written before waits in this process alone, for content that another instance has replaced.
    Outdated,
}

impl Vfs {
    /// Writes all of `data` at `offset`.
    pub async fn write(
        &self,
        caller: &Caller,
        handle: &FileHandle,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<WriteDone> {
        let (export, cx) = self.enter(caller, handle, Intent::Write).await?;
        let write = Write { offset, data, stability };
        let state = export.files.hold(handle.object);
        for _ in 0..ATTEMPTS {
            match export.write_once(&cx, handle.object, &state, &write).await? {
                Attempt::Done(done) => return Ok(*done),
                Attempt::DirtyTail => export.clean_tail(&cx, handle.object, &state).await?,
                Attempt::Superseded => {}
                Attempt::Outdated => {
                    export.flush(&cx, handle.object, &state, None, FlushFor::Call).await?;
                }
            }
        }
        Err(Error::Busy.into())
    }
}

impl Export {
    async fn write_once(
        &self,
        cx: &Context,
        file: ObjectId,
        state: &FileState,
        write: &Write,
    ) -> Result<Attempt> {
        // Before anything is written: data that a later loss takes must not carry the verifier that tells of
        // it.
        let verifier = self.verifier();
        let through = self.writes_through(state);
        let sharing = state.io.read().await;
        let committed = self.committed(cx, file, state).await?;
        let mut seen = committed.clone();
        state.overlay.lock().lay(&mut seen);
        let length = write.data.len() as u64;
        let end = self.writable_end(cx, &seen, write.offset, length)?;
        if length == 0 {
            return Ok(done(Change::none(seen), 0, write.stability, verifier));
        }
        let content = content_of(&committed)?;
        let earlier = state.overlay.lock().written_to();
        if earlier.is_some_and(|it| it != content && self.content.has_dirty(it.id)) {
            return Ok(Attempt::Outdated);
        }
        if write.offset > seen.size && !state.overlay.lock().has_clean_tail(content) {
            return Ok(Attempt::DirtyTail);
        }
        let unfinished = Unfinished(state);
        let written = cx
            .call
            .timing
            .timed(
                Phase::Content,
                self.content.write(&cx.call, content.id, write.offset, write.data.clone()),
            )
            .await;
        match written {
            Ok(()) => {}
            // Another server has given the file other content, and removed this.
            Err(content::Error::Missing(_)) if !self.is_alone() => return Ok(Attempt::Superseded),
            Err(error) => return Err(Failure::of(error, &seen)),
        }
        unfinished.finish();
        let lost = rules::bits_lost_by_write(&cx.credentials, &seen);
        let mut stability = write.stability;
        if through {
            stability = Stability::FileSync;
        }
        let attended = stability > Stability::Unstable;
        let noted = NewWrite { content, end, length, now: cx.now, clear_mode: lost, attended };
        let Recorded { change, generation, dropped } = {
            let mut overlay = state.overlay.lock();
            let recorded = overlay.record(&committed, noted);
            // Under the lock: a COMMIT that finds these writes dropped must find another verifier too.
            if recorded.dropped {
                self.change_verifier();
            }
            recorded
        };
        if dropped {
            self.note_spread(state);
            if !self.is_alone() {
                stability = Stability::FileSync;
            }
        }
        drop(sharing);
        let mut after = change;
        if stability > Stability::Unstable || self.is_over_limit(file, state) {
            stability = stability.max(Stability::DataSync);
            let unanswered = Unanswered(state);
            match self.flush(cx, file, state, Some(generation), FlushFor::Call).await {
                Ok(Flushed::Already) => unanswered.end(),
                Ok(Flushed::Recorded(recorded)) => {
                    unanswered.end();
                    after = after_with_overlay(
                        Change { before: after.before, after: *recorded },
                        state,
                    );
                }
                Ok(Flushed::Superseded(_)) => {
                    unanswered.end();
                    return Ok(Attempt::Superseded);
                }
                Err(error) => return Err(Failure::of(error, &seen)),
            }
        }
        Ok(done(after, length, stability, verifier))
    }

    /// The file's committed attributes, where it is not known to be gone.
    pub(super) async fn committed(
        &self,
        cx: &Context,
        file: ObjectId,
        state: &FileState,
    ) -> Result<Attributes> {
        if state.overlay.lock().dead {
            return Err(metadata::Error::Stale.into());
        }
        Ok(self.metadata.getattr(cx, file).await?)
    }

    /// Where the write ends, if it is allowed and not beyond the largest size.
    fn writable_end(
        &self,
        cx: &Context,
        file: &Attributes,
        offset: u64,
        length: u64,
    ) -> Result<u64> {
        let checked = rules::may_write(&cx.credentials, file).and_then(|()| {
            let end = offset.checked_add(length);
            end.filter(|&end| end <= self.share.capabilities.max_file_size)
                .ok_or(metadata::Error::TooLarge)
        });
        checked.map_err(|error| Failure::of(error, file))
    }

    /// Whether too many bytes of the file wait, or too many files.
    fn is_over_limit(&self, file: ObjectId, state: &FileState) -> bool {
        let bytes = state.overlay.lock().unflushed_bytes();
        bytes >= self.write_behind.max_bytes || self.files.is_crowded(file)
    }
}

/// A write whose call waits until it is durable. Where the call ends before that, the client may send it
/// again to another server, and this one must not store it over what comes after.
struct Unanswered<'a>(&'a FileState);

impl Unanswered<'_> {
    fn end(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.overlay.lock().abandon();
    }
}

fn done(change: Change, length: u64, stability: Stability, verifier: [u8; 8]) -> Attempt {
    // A WRITE's data came in one record, which is far below 4 GiB.
    let count = u32::try_from(length).unwrap_or(u32::MAX);
    Attempt::Done(Box::new(WriteDone { change, count, stability, verifier }))
}

/// A write under way. One that fails, or whose call is dropped, may have left bytes beyond the file's end.
struct Unfinished<'a>(&'a FileState);

impl Unfinished<'_> {
    fn finish(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.overlay.lock().set_clean_tail(None);
    }
}
