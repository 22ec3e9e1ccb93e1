//! SETATTR, and the bytes beyond a file's end.

use tokio::time::Instant;

use super::flush::FlushFor;
use super::read::{content_lost, content_of};
use super::servers::ATTEMPTS;
use super::state::FileState;
use crate::content;
use crate::log_limit::limited;
use crate::metadata::{self, Change, NewContent, SetAttributes, Sole, ZeroingOutcome, rules};
use crate::types::{
    Attributes, BoundedChain, Call, ContentId, ContentRef, Context, FileType, ObjectId, Phase,
};
use crate::vfs::export::{BACKGROUND_TIME, Export};
use crate::vfs::{Error, Failure, Result};

impl Export {
    /// SETATTR: what waits is flushed first, so that the guard is compared with what clients saw.
    pub(in crate::vfs) async fn setattr(
        &self,
        cx: &Context,
        object: ObjectId,
        set: &SetAttributes,
    ) -> Result<Change> {
        match set.size {
            Some(size) => {
                let state = self.files.hold(object);
                let _alone = state.io.write().await;
                self.flush(cx, object, &state, None, FlushFor::ExclusiveCall).await?;
                for _ in 0..ATTEMPTS {
                    let Some(sole) = self.metadata.sole() else { break };
                    let done = self.set_size(cx, object, &state, set, size, &sole).await?;
                    if let Some(change) = done {
                        return Ok(change);
                    }
                }
                Box::pin(self.replace_to_size(cx, object, &state, set, size)).await
            }
            None => {
                let state = self.files.existing(object);
                let _alone = match &state {
                    Some(state) => Some(state.io.write().await),
                    None => None,
                };
                if let Some(state) = &state {
                    self.flush(cx, object, state, None, FlushFor::ExclusiveCall).await?;
                }
                Ok(self.metadata.setattr(cx, object, set).await?.change)
            }
        }
    }

    /// Growing: content first, then size. Shrinking: size first, then content. For a process that is alone;
    /// `None` where the file has changed meanwhile.
    async fn set_size(
        &self,
        cx: &Context,
        object: ObjectId,
        state: &FileState,
        set: &SetAttributes,
        size: u64,
        sole: &Sole,
    ) -> Result<Option<Change>> {
        let grown = match size {
            0 => None,
            _ => self.grow_content(cx, object, state, set, size, sole).await?,
        };
        let known = state.overlay.lock().take_clean_tail();
        let set = SetAttributes { content: grown, ..set.clone() };
        let done = match self.metadata.setattr(cx, object, &set).await {
            Err(refusal) if matches!(refusal.error, metadata::Error::Superseded) => {
                return Ok(None);
            }
            done => done?,
        };
        let before = done.change.before.as_ref();
        // Where it is not known there may be bytes beyond the end.
        let earlier = before.map_or(u64::MAX, |before| before.size);
        let content = content_of(&done.change.after)?;
        if size > 0 && size < earlier {
            let past = cx.detached(BACKGROUND_TIME);
            let cut = self.truncate_alone(sole, &past.call, content.id, self.content_length(size));
            match cx.call.timing.timed(Phase::Content, cut).await {
                Ok(()) => state.overlay.lock().set_clean_tail(Some(content)),
                // The size holds already, and nothing beyond it is trusted.
                Err(error) => {
                    limited!(warn, cx.client, "bytes beyond the end of a file could not be freed",
                        xid = cx.call.timing.xid, client = %cx.client, share = %self.share.name, object = %object,
                        error = %BoundedChain(&error));
                }
            }
        } else if size != earlier || size == 0 || known == before.and_then(|before| before.content)
        {
            state.overlay.lock().set_clean_tail(Some(content));
        }
        // Else an earlier call may have recorded this size and died before it cut the content.
        self.discard(cx, done.freed).await;
        Ok(Some(done.change))
    }

    /// Gives a file that SETATTR is going to make longer the bytes for it, where the caller may: the content
    /// that has them. Another server that is alone by then may have cut them off again.
    async fn grow_content(
        &self,
        cx: &Context,
        object: ObjectId,
        state: &FileState,
        set: &SetAttributes,
        size: u64,
        sole: &Sole,
    ) -> Result<Option<NewContent>> {
        let file = self.metadata.getattr(cx, object).await?;
        let max_size = self.share.capabilities.max_file_size;
        let allowed = rules::set_attributes(
            &cx.credentials,
            &file,
            set,
            max_size,
            ContentId::generate(),
            cx.now,
        );
        if let Err(error) = allowed {
            return Err(Failure::of(error, &file));
        }
        if file.file_type != FileType::Regular || size <= file.size {
            return Ok(None);
        }
        let content = self.cut_tail(cx, &file, state, sole).await?;
        let length = self.content_length(size);
        let grown = self.truncate_alone(sole, &cx.call, content.id, length);
        let grown = cx.call.timing.timed(Phase::Content, grown).await;
        grown.map_err(|error| Failure::of(error, &file))?;
        // The size must not become durable before the bytes that it speaks of.
        cx.call
            .timing
            .timed(Phase::Content, self.content.commit(&cx.call, content.id))
            .await
            .map_err(|error| Failure::of(error, &file))?;
        Ok(Some(NewContent { replaces: content, ctime: file.ctime, id: content.id }))
    }

    /// Makes sure that nothing but zeros lies beyond the end that clients see, alone against the file's
    /// writers.
    pub(super) async fn clean_tail(
        &self,
        cx: &Context,
        object: ObjectId,
        state: &FileState,
    ) -> Result<()> {
        let Some(sole) = self.metadata.sole() else {
            return Box::pin(self.replace_tail(cx, object, state)).await;
        };
        let _alone = state.io.write().await;
        let mut file = self.committed(cx, object, state).await?;
        state.overlay.lock().lay(&mut file);
        let content = self.cut_tail(cx, &file, state, &sole).await?;
        state.overlay.lock().set_clean_tail(Some(content));
        Ok(())
    }

    /// Cuts off what the content has beyond `file.size`. The content's version is bumped first, so that a
    /// size which another instance has not recorded yet is refused there.
    async fn cut_tail(
        &self,
        cx: &Context,
        file: &Attributes,
        state: &FileState,
        sole: &Sole,
    ) -> Result<ContentRef> {
        let content = content_of(file)?;
        if state.overlay.lock().has_clean_tail(content) {
            return Ok(content);
        }
        let length = self.length_of(cx, file, content.id).await?;
        let wanted = self.content_length(file.size);
        if length < wanted {
            return Err(content_lost(file));
        }
        if length == wanted {
            return Ok(content);
        }
        let begun = match self.metadata.begin_zeroing(cx, file.id, content).await? {
            ZeroingOutcome::Begun(begun) => begun,
            ZeroingOutcome::Superseded(_) => return Err(Failure::of(Error::Busy, file)),
        };
        state.overlay.lock().moved(content, begun);
        let cut = self.truncate_alone(sole, &cx.call, content.id, wanted);
        let cut = cx.call.timing.timed(Phase::Content, cut).await;
        cut.map_err(|error| Failure::of(error, file))?;
        Ok(begun)
    }

    /// Cuts or extends content where it is, for as long as this process is alone. A repeat makes whole what
    /// the end of a licence has stopped.
    async fn truncate_alone(
        &self,
        sole: &Sole,
        call: &Call,
        content: ContentId,
        length: u64,
    ) -> std::result::Result<(), content::Error> {
        loop {
            let left = sole.left().ok_or(content::Error::Cancelled)?;
            let licensed = Instant::now().checked_add(left).unwrap_or(call.deadline);
            let within = Call { deadline: call.deadline.min(licensed), ..call.clone() };
            match self.content.truncate(&within, content, length).await {
                Err(content::Error::Cancelled) if !call.is_over() => {}
                done => return done,
            }
        }
    }

    /// How long content is; nothing where there is none yet.
    pub(super) async fn length_of(
        &self,
        cx: &Context,
        file: &Attributes,
        content: ContentId,
    ) -> Result<u64> {
        let length = self.content.length(&cx.call, content);
        match cx.call.timing.timed(Phase::Content, length).await {
            Ok(length) => Ok(length),
            Err(content::Error::Missing(_)) => Ok(0),
            Err(error) => Err(Failure::of(error, file)),
        }
    }

    /// How long the content of a file of `size` bytes is: where the store's longest is shorter, nothing
    /// can have been written to the rest, which is zeros.
    pub(super) fn content_length(&self, size: u64) -> u64 {
        size.min(self.content.max_length())
    }
}
