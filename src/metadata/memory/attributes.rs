//! SETATTR, flushes of writes, and the announcement that a gap is zeroed.

use crate::metadata::{
    Answer, Change, Error, Flush, FlushOutcome, Refusal, SetAttributes, SettingDone,
    ZeroingOutcome, rules,
};
use crate::types::{ContentId, ContentRef, Context, ObjectId};

use super::state::State;

impl State {
    pub(super) fn setattr(
        &mut self,
        cx: &Context,
        object: ObjectId,
        set: &SetAttributes,
    ) -> Answer<SettingDone> {
        let max_size = self.share(cx)?.capabilities.max_file_size;
        let before = self.object(cx, object)?.clone();
        let fresh = ContentId::generate();
        let after = rules::set_attributes(&cx.credentials, &before, set, max_size, fresh, cx.now)
            .map_err(|error| Refusal::of(error, &before))?;
        let id = |content: Option<ContentRef>| content.map(|content| content.id);
        let freed = id(before.content).filter(|old| id(after.content) != Some(*old));
        self.verifiers.remove(&object);
        self.put(after.clone());
        Ok(SettingDone { change: Change { before, after }, freed })
    }

    pub(super) fn flush(
        &mut self,
        cx: &Context,
        file: ObjectId,
        flush: &Flush,
    ) -> Answer<FlushOutcome> {
        let max_size = self.share(cx)?.capabilities.max_file_size;
        let before = self.object(cx, file)?.clone();
        let mut after = before.clone();
        if let Some(written) = &flush.written {
            if before.content != Some(written.content) {
                return Ok(FlushOutcome::Superseded(before));
            }
            if written.end > max_size {
                return Err(Refusal::of(Error::TooLarge, &before));
            }
            after.size = before.size.max(written.end);
            if written.mtime_version == before.mtime_version {
                after.mtime = written.mtime;
            }
            after.ctime = written.ctime.after(before.ctime);
            after.mode &= !written.clear_mode;
            self.verifiers.remove(&file);
        }
        if let Some(atime) = flush.atime {
            after.atime = before.atime.max(atime);
        }
        self.put(after.clone());
        Ok(FlushOutcome::Recorded(Change { before, after }))
    }

    pub(super) fn begin_zeroing(
        &mut self,
        cx: &Context,
        file: ObjectId,
        content: ContentRef,
    ) -> Answer<ZeroingOutcome> {
        let mut file = self.object(cx, file)?.clone();
        let Some(present) = &mut file.content else {
            return Err(Refusal::of(Error::Invalid, &file));
        };
        if *present != content {
            return Ok(ZeroingOutcome::Superseded(*present));
        }
        present.version.0 += 1;
        let begun = ZeroingOutcome::Begun(*present);
        self.put(file);
        Ok(begun)
    }
}
