//! What writes leave behind: sizes, times, and the announcement that a gap is zeroed. One round trip each.

use super::PostgresStore;
use super::batches::{Kind, Operation};
use super::change::unexpected;
use super::execute::{Mutation, Verdict, arguments};
use super::read::getattr;
use crate::metadata::{Answer, Change, Error, Flush, FlushOutcome, Refusal, ZeroingOutcome};
use crate::types::{ContentRef, Context, ObjectId};

const ZERO: &str = "SELECT * FROM begin_zeroing($1, $2, $3, $4, $5, $6, $7)";

pub(super) async fn flush(
    store: &PostgresStore,
    cx: &Context,
    file: ObjectId,
    flush: &Flush,
) -> Answer<FlushOutcome> {
    let share = store.share(cx).await?;
    let written = flush.written;
    if written.is_none() && flush.atime.is_none() {
        let present = getattr(store, cx, file).await?.value;
        return Ok(FlushOutcome::Recorded(Change::none(present)));
    }
    if written.is_some_and(|written| written.end > share.capabilities.max_file_size) {
        let present = getattr(store, cx, file).await?.value;
        if written.map(|written| written.content) != present.content {
            return Ok(FlushOutcome::Superseded(present));
        }
        return Err(Refusal::of(Error::TooLarge, &present));
    }
    let operation = Operation {
        kind: Kind::Record,
        place: file.0,
        atime: flush.atime.map(|atime| atime.0),
        content: written.map(|written| written.content.id.0),
        version: written.map(|written| written.content.version.0),
        size: written.map(|written| written.end.cast_signed()),
        mtime: written.map(|written| written.mtime.0),
        mtime_version: written.map(|written| written.mtime_version),
        ctime: written.map(|written| written.ctime.0),
        mode: written.map(|written| written.clear_mode.cast_signed()),
        replaced_mtime: written.map(|written| written.replaced_mtime.0),
        used: written.map(|written| i64::try_from(written.used).unwrap_or(i64::MAX)),
        seen: written.map(|written| written.seen.0),
        ..Operation::default()
    };
    let under_way = store.batches.begin();
    let reply = if store.may_batch(&under_way, &[file]) {
        store.in_batch(cx, &share, operation.clone(), None).await?
    } else {
        None
    };
    let mut reply = match reply {
        Some(reply) => reply,
        None => {
            let mut attempt = store.attempt([file]);
            store.mutate(cx, &mut attempt, share.fsid, operation.alone()).await?
        }
    };
    match reply.verdict {
        Verdict::Done => Ok(FlushOutcome::Recorded(reply.change()?)),
        Verdict::Superseded => Ok(FlushOutcome::Superseded(reply.next()?)),
        Verdict::Gone => Err(Error::Stale.into()),
        verdict @ (Verdict::Again | Verdict::NotEmpty | Verdict::Loop) => {
            Err(unexpected(verdict).into())
        }
    }
}

pub(super) async fn begin_zeroing(
    store: &PostgresStore,
    cx: &Context,
    file: ObjectId,
    content: ContentRef,
) -> Answer<ZeroingOutcome> {
    let share = store.share(cx).await?;
    let mutation = Mutation {
        statement: ZERO,
        recorded: None,
        made: None,
        arguments: arguments![file.0, content.id.0, content.version.0],
    };
    let mut attempt = store.attempt([file]);
    let mut reply = store.mutate(cx, &mut attempt, share.fsid, mutation).await?;
    let verdict = reply.verdict;
    match verdict {
        Verdict::Done | Verdict::Superseded => {
            let present = reply.next()?;
            let Some(content) = present.content else {
                return Err(Refusal::of(Error::Invalid, &present));
            };
            Ok(if verdict == Verdict::Done {
                ZeroingOutcome::Begun(content)
            } else {
                ZeroingOutcome::Superseded(content)
            })
        }
        Verdict::Gone => Err(Error::Stale.into()),
        Verdict::Again | Verdict::NotEmpty | Verdict::Loop => Err(unexpected(verdict).into()),
    }
}
