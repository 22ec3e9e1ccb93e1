//! SETATTR, flushes of writes, and the announcement that a gap is zeroed.

use super::steps::{known, object, share};
use super::{Outcome, Tables};
use crate::metadata::{
    Change, Error, Flush, FlushOutcome, Refusal, SetAttributes, SettingDone, ZeroingOutcome,
    decide, rules,
};
use crate::types::{ContentRef, Context, ObjectId};

pub(in crate::metadata) fn setattr<T: Tables>(
    tables: &mut T,
    cx: &Context,
    id: ObjectId,
    set: &SetAttributes,
) -> Outcome<SettingDone, T> {
    let (_, capabilities) = share(tables, cx)?;
    let change = decide::setattr(cx, known(tables, cx, id)?, set, &capabilities)?;
    tables.forget_verifier(id)?;
    tables.put(&change.after)?;
    Ok(SettingDone::of(change))
}

pub(in crate::metadata) fn flush<T: Tables>(
    tables: &mut T,
    cx: &Context,
    file: ObjectId,
    flush: &Flush,
) -> Outcome<FlushOutcome, T> {
    let (_, capabilities) = share(tables, cx)?;
    let before = object(tables, cx, file)?;
    let mut after = before.clone();
    if let Some(written) = &flush.written {
        if before.content != Some(written.content) {
            return Ok(FlushOutcome::Superseded(before));
        }
        if written.end > capabilities.max_file_size {
            return Err(Refusal::of(Error::TooLarge, &before).into());
        }
        after.size = before.size.max(written.end);
        after.mtime = written.mtime_over(&before);
        after.used = rules::used_after(&before, written);
        after.ctime = written.ctime.after(before.ctime);
        after.mode &= !written.clear_mode;
        tables.forget_verifier(file)?;
    }
    if let Some(atime) = flush.atime {
        after.atime = before.atime.max(atime);
    }
    tables.put(&after)?;
    Ok(FlushOutcome::Recorded(Change { before: Some(before), after }))
}

pub(in crate::metadata) fn begin_zeroing<T: Tables>(
    tables: &mut T,
    cx: &Context,
    file: ObjectId,
    content: ContentRef,
) -> Outcome<ZeroingOutcome, T> {
    let mut file = object(tables, cx, file)?;
    let Some(present) = &mut file.content else {
        return Err(Refusal::of(Error::Invalid, &file).into());
    };
    if *present != content {
        return Ok(ZeroingOutcome::Superseded(*present));
    }
    present.version.0 += 1;
    let begun = ZeroingOutcome::Begun(*present);
    tables.put(&file)?;
    Ok(begun)
}
