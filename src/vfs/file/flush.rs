//! Flushing: content first, then one narrow update of the size and the times. Both at once where the update
//! changes nothing but times and mode, and every process reads the bytes already: a crash between the two
//! leaves times of a write that was never acknowledged.

use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::state::{FileState, Overlay, Snapshot, Task};
use crate::content;
use crate::log_limit::{About, limited};
use crate::metadata::{self, FlushOutcome, Written};
use crate::metadata::{Change, rules};
use crate::types::{
    Attributes, BoundedChain, Caller, ContentId, Context, FileHandle, ObjectId, Phase,
};
use crate::vfs::export::{Export, Intent, MAINTENANCE_PERIOD};
use crate::vfs::{CommitDone, Error, Failure, Result, Vfs};

/// How many files are flushed at once where no call waits.
const AT_ONCE: usize = 32;

/// What became of a flush.
#[derive(Debug)]
pub(super) enum Flushed {
    /// Everything asked for was durable already.
    Already,
    /// Everything asked for is durable now; the file's committed attributes.
    Recorded(Box<Attributes>),
    /// The content was replaced: unflushed writes are gone, and the verifier has changed. The file's
    /// committed attributes, where this flush found it out.
    Superseded(Option<Box<Attributes>>),
}

/// Who wants a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlushFor {
    /// A call, beside the file's writers.
    Call,
    /// A call that keeps the file's writers away.
    ExclusiveCall,
    /// No caller: it has waited long enough.
    Age,
}

/// What waits in this process alone and is not to be stored any more.
#[derive(Debug)]
enum Outdated {
    /// The file was changed by another instance; its committed attributes.
    Changed(Box<Attributes>),
    /// The file is gone.
    Gone,
}

impl Vfs {
    /// COMMIT (RFC 1813 section 3.3.21). The whole file is made durable, whatever the range. A file without
    /// unflushed writes in this process succeeds with this process's verifier; a client whose writes went
    /// elsewhere sees another one and sends them again.
    pub async fn commit(&self, caller: &Caller, handle: &FileHandle) -> Result<CommitDone> {
        let (export, cx) = self.enter(caller, handle, Intent::Write).await?;
        let seen = export.seen(&cx, handle.object).await?;
        if let Err(error) = rules::may_write(&cx.credentials, &seen) {
            return Err(Failure::of(error, &seen));
        }
        if !export.is_alone() {
            export.tell_of_missed_writes(&cx, &seen).await?;
        }
        if let Some(state) = export.files.existing(handle.object) {
            let upto = state.overlay.lock().generation();
            let flushed =
                export.flush(&cx, handle.object, &state, Some(upto), FlushFor::Call).await;
            let flushed = flushed.map_err(|error| Failure::of(error, &seen))?;
            if let Flushed::Recorded(after) | Flushed::Superseded(Some(after)) = flushed {
                let change =
                    after_with_overlay(Change { before: Some(seen), after: *after }, &state);
                return Ok(CommitDone { change, verifier: export.verifier() });
            }
        }
        Ok(CommitDone { change: Change::none(seen), verifier: export.verifier() })
    }
}

impl Export {
    /// Makes what waits durable, up to write number `upto` or all of it.
    pub(super) async fn flush(
        &self,
        cx: &Context,
        file: ObjectId,
        state: &FileState,
        upto: Option<u64>,
        flush_for: FlushFor,
    ) -> std::result::Result<Flushed, Error> {
        let alone = flush_for == FlushFor::ExclusiveCall;
        if let Some(flushed) = self.flush_once(cx, file, state, upto, (flush_for, alone)).await? {
            return Ok(flushed);
        }
        // A writer between its bytes and their record would go on without the bytes.
        let _alone = state.io.write().await;
        let flushed = self.flush_once(cx, file, state, upto, (flush_for, true)).await?;
        Ok(flushed.unwrap_or(Flushed::Already))
    }

    /// One attempt; `None` where what waits has to be forgotten, and the file's writers are not kept away.
    async fn flush_once(
        &self,
        cx: &Context,
        file: ObjectId,
        state: &FileState,
        upto: Option<u64>,
        (flush_for, alone): (FlushFor, bool),
    ) -> std::result::Result<Option<Flushed>, Error> {
        let _turn = state.flushing.lock().await;
        let task = state.overlay.lock().task(upto);
        let mut snapshot = match task {
            Task::Done => return Ok(Some(Flushed::Already)),
            Task::Lost => return Ok(Some(Flushed::Superseded(None))),
            Task::Record(snapshot) => snapshot,
        };
        if let Some(written) = snapshot.flush.written {
            let content = written.content;
            match self.outdated(cx, file, state, written, flush_for).await? {
                Some(_) if !alone => return Ok(None),
                Some(Outdated::Gone) => {
                    self.content.discard_dirty(content.id);
                    self.forget(file, state);
                    return Err(metadata::Error::Stale.into());
                }
                Some(Outdated::Changed(attributes)) => {
                    self.content.discard_dirty(content.id);
                    self.drop_superseded(cx, file, state, &snapshot);
                    return Ok(Some(Flushed::Superseded(Some(attributes))));
                }
                None => {
                    if let Some(used) = snapshot.settled
                        && self.content.shares_uncommitted()
                    {
                        snapshot.flush.written = Some(Written { used, ..written });
                        return self.commit_both(cx, file, state, &snapshot, content.id).await;
                    }
                    self.commit_content(cx, content.id).await?;
                }
            }
            let used = self.measure(cx, content.id, &snapshot).await;
            snapshot.flush.written = Some(Written { used, ..written });
        }
        self.record(cx, file, state, &snapshot).await.map(Some)
    }

    /// Makes content and metadata durable side by side. The overlay hears of it when both are.
    async fn commit_both(
        &self,
        cx: &Context,
        file: ObjectId,
        state: &FileState,
        snapshot: &Snapshot,
        content: ContentId,
    ) -> std::result::Result<Option<Flushed>, Error> {
        let (committed, recorded) = tokio::join!(
            self.commit_content(cx, content),
            self.metadata.flush(cx, file, &snapshot.flush)
        );
        let recorded = recorded.map_err(|refusal| refusal.error);
        if let (Ok(FlushOutcome::Recorded(_)), Err(error)) = (&recorded, committed) {
            return Err(error);
        }
        self.settle(cx, file, state, snapshot, recorded).map(Some)
    }

    /// What a file takes whose writes are durable, in whole blocks. Where its content cannot be measured it
    /// is the size: a file with bytes must not look like a hole.
    async fn measure(&self, cx: &Context, content: ContentId, snapshot: &Snapshot) -> u64 {
        let Snapshot { size, holes, .. } = *snapshot;
        let measured = cx
            .call
            .timing
            .timed(Phase::Content, self.content.allocated(&cx.call, content, size, holes))
            .await;
        let used = measured.unwrap_or_else(|error| {
            tracing::debug!(share = %self.share.name, content = %content, error = %BoundedChain(&error),
                "the blocks of a file could not be counted; its size is recorded");
            size
        });
        rules::most_used(used)
    }

    /// Whether bytes that wait in this process alone came too late: their place was cut off, or the file was
    /// changed by another instance and no call asks for them. Who wrote them may have sent them again there,
    /// and other bytes since.
    async fn outdated(
        &self,
        cx: &Context,
        file: ObjectId,
        state: &FileState,
        Written { content, seen, .. }: Written,
        flush_for: FlushFor,
    ) -> std::result::Result<Option<Outdated>, Error> {
        if !self.content.has_dirty(content.id) {
            return Ok(None);
        }
        let (unattended, abandoned) = {
            let overlay = state.overlay.lock();
            (overlay.is_unattended(), overlay.is_abandoned())
        };
        let shared = (unattended || abandoned) && !self.is_alone();
        let present = match self.metadata.getattr(cx, file).await {
            Ok(present) => present,
            Err(metadata::Error::Stale) => return Ok(Some(Outdated::Gone)),
            Err(error) => return Err(error.into()),
        };
        let cut = present.content != Some(content);
        let elsewhere = (flush_for == FlushFor::Age || shared) && seen != present.ctime;
        Ok((cut || elsewhere || shared && abandoned).then(|| Outdated::Changed(Box::new(present))))
    }

    /// Records what is durable.
    async fn record(
        &self,
        cx: &Context,
        file: ObjectId,
        state: &FileState,
        snapshot: &Snapshot,
    ) -> std::result::Result<Flushed, Error> {
        let recorded = self.metadata.flush(cx, file, &snapshot.flush).await;
        self.settle(cx, file, state, snapshot, recorded.map_err(|refusal| refusal.error))
    }

    /// Tells the overlay what the metadata store made of a flush whose content is durable.
    fn settle(
        &self,
        cx: &Context,
        file: ObjectId,
        state: &FileState,
        snapshot: &Snapshot,
        recorded: std::result::Result<FlushOutcome, metadata::Error>,
    ) -> std::result::Result<Flushed, Error> {
        match recorded {
            Ok(FlushOutcome::Recorded(change)) => {
                state.overlay.lock().flushed(snapshot, &change.after);
                let seen = snapshot.flush.written.map(|written| written.seen);
                let before = change.before.as_ref().map(|before| before.ctime);
                if seen.is_some() && seen != before {
                    self.note_spread(state);
                }
                Ok(Flushed::Recorded(Box::new(change.after)))
            }
            Ok(FlushOutcome::Superseded(attributes)) => {
                self.drop_superseded(cx, file, state, snapshot);
                Ok(Flushed::Superseded(Some(Box::new(attributes))))
            }
            Err(metadata::Error::Stale) => {
                self.forget(file, state);
                Err(metadata::Error::Stale.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn commit_content(
        &self,
        cx: &Context,
        content: ContentId,
    ) -> std::result::Result<(), Error> {
        let committed =
            cx.call.timing.timed(Phase::Content, self.content.commit(&cx.call, content)).await;
        match &committed {
            Ok(()) | Err(content::Error::Cancelled | content::Error::Unavailable(_)) => {}
            Err(_) => self.change_verifier(),
        }
        Ok(committed?)
    }

    fn drop_superseded(
        &self,
        cx: &Context,
        file: ObjectId,
        state: &FileState,
        snapshot: &Snapshot,
    ) {
        limited!(info, cx.client,
            "a file was changed by another server before its data was flushed here; clients resend their \
             data",
            xid = cx.call.timing.xid, client = %cx.client, share = %self.share.name, object = %file);
        // First the verifier: a client that sees the overlay without these writes must see it changed.
        self.change_verifier();
        self.note_spread(state);
        state.overlay.lock().superseded(snapshot);
    }

    /// Flushes a file whose attributes are about to be changed through the store, alone against its writers.
    pub(in crate::vfs) async fn flush_before_change(
        &self,
        cx: &Context,
        object: ObjectId,
    ) -> Result<()> {
        let Some(state) = self.files.existing(object) else { return Ok(()) };
        let _alone = state.io.write().await;
        self.flush(cx, object, &state, None, FlushFor::ExclusiveCall).await?;
        Ok(())
    }

    /// The file lost its last name: what waits goes with it, and then its content, so that no write
    /// under way makes it anew.
    pub(in crate::vfs) async fn discard_unlinked(
        &self,
        cx: &Context,
        object: ObjectId,
        content: Option<ContentId>,
    ) {
        if let Some(state) = self.files.existing(object) {
            let _alone = state.io.write().await;
            self.forget(object, &state);
            self.discard(cx, content).await;
        } else {
            self.discard(cx, content).await;
        }
    }

    /// The file is gone: what waits goes with it. Calls that hold its state end with
    /// [`metadata::Error::Stale`].
    fn forget(&self, object: ObjectId, state: &FileState) {
        state.overlay.lock().discard();
        self.files.forget(object, state);
    }

    /// Flushes what is old, until `shutdown` fires or the share is not exported any more.
    pub(in crate::vfs) async fn maintain(&self, shutdown: &CancellationToken) {
        let mut tick = tokio::time::interval(MAINTENANCE_PERIOD);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.ended.cancelled() => return,
                _ = tick.tick() => self.flush_old().await,
            }
        }
    }

    /// Flushes what has waited for too long.
    pub(super) async fn flush_old(&self) {
        let limits = self.write_behind;
        let crowded = self.files.is_half_full();
        let old = self.files.sweep(&limits, |overlay| {
            overlay.is_old(&limits) || (crowded && overlay.only_accessed().is_some())
        });
        self.flush_all_of(old).await;
    }

    /// Flushes everything, until `deadline`.
    pub(in crate::vfs) async fn flush_everything(&self, deadline: Instant) {
        let all = self.files.sweep(&self.write_behind, |overlay: &Overlay| !overlay.is_clean());
        let files = all.len();
        if tokio::time::timeout_at(deadline, self.flush_all_of(all)).await.is_err() {
            limited!(warn, About::default(),
                "not everything could be flushed in time; clients resend uncommitted data",
                share = %self.share.name, files);
        }
    }

    async fn flush_all_of(&self, files: Vec<(ObjectId, Arc<FileState>)>) {
        let each = futures_util::stream::iter(files);
        each.for_each_concurrent(AT_ONCE, |(object, state)| async move {
            let cx = self.background();
            match self.flush(&cx, object, &state, None, FlushFor::Age).await {
                Ok(_) | Err(Error::Metadata(metadata::Error::Stale)) => {}
                Err(error) => limited!(warn, About::default(), "a flush failed and is retried",
                    share = %self.share.name, object = %object, error = %BoundedChain(&error)),
            }
        })
        .await;
    }
}

/// A change of the store as clients see it, with what was written since laid over.
pub(super) fn after_with_overlay(mut change: Change, state: &FileState) -> Change {
    state.overlay.lock().lay(&mut change.after);
    change
}
