//! What writes leave behind: sizes, times, and the announcement that a gap is zeroed. One round trip each.

use super::PostgresStore;
use super::change::unexpected;
use super::execute::{Mutation, Verdict, arguments};
use super::read::getattr;
use crate::metadata::{Answer, Change, Error, Flush, FlushOutcome, Refusal, ZeroingOutcome};
use crate::types::{ContentRef, Context, ObjectId};

const RECORD: &str = "SELECT * FROM record_write($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
     $14, $15, $16)";
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
    let mutation = Mutation {
        statement: RECORD,
        recorded: None,
        made: None,
        arguments: arguments![
            file.0,
            flush.atime.map(|atime| atime.0),
            written.map(|written| written.content.id.0),
            written.map(|written| written.content.version.0),
            written.map(|written| written.end.cast_signed()),
            written.map(|written| written.mtime.0),
            written.map(|written| written.mtime_version),
            written.map(|written| written.ctime.0),
            written.map(|written| written.clear_mode.cast_signed()),
            written.map(|written| written.replaced_mtime.0),
            written.map(|written| i64::try_from(written.used).unwrap_or(i64::MAX)),
            written.map(|written| written.seen.0),
        ],
    };
    let mut attempt = store.attempt([file]);
    let mut reply = store.mutate(cx, &mut attempt, share.fsid, mutation).await?;
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
