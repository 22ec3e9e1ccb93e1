//! SETATTR.

use super::PostgresStore;
use super::attempt::Attempt;
use super::create::{guard, unexpected};
use super::flight::{Mutation, Verdict, arguments};
use crate::metadata::{
    Answer, Change, Error, Refusal, SetAttributes, SetTime, SettingDone, Share, rules,
};
use crate::types::{ContentId, Context, ObjectId};

const SET: &str = "SELECT * FROM set_attributes($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
                   $14, $15, $16)";

impl PostgresStore {
    pub(super) async fn set_object(
        &self,
        cx: &Context,
        object: ObjectId,
        set: &SetAttributes,
    ) -> Answer<SettingDone> {
        let share = self.share(cx).await?;
        let mut attempt = self.attempt([object]);
        let done = self.set_in(cx, &mut attempt, &share, object, set).await;
        self.durable(cx, attempt, done).await
    }

    async fn set_in(
        &self,
        cx: &Context,
        attempt: &mut Attempt,
        share: &Share,
        object: ObjectId,
        set: &SetAttributes,
    ) -> Answer<SettingDone> {
        let max_size = share.capabilities.max_file_size;
        let fresh = ContentId::generate();
        let mut view = self.look_at(cx, attempt, share, object).await?;
        loop {
            let before = view.take(0).ok_or(Error::Stale)?.attributes;
            let refuse = |error| Refusal::of(error, &before);
            let after =
                rules::set_attributes(&cx.credentials, &before, set, max_size, fresh, cx.now)
                    .map_err(refuse)?;
            let explicit_mtime = set.mtime != SetTime::Keep;
            let sets_mtime = explicit_mtime || set.size.is_some();
            let new_content = after.content.map(|content| content.id).filter(|id| *id == fresh);
            let mutation = Mutation {
                statement: SET,
                arguments: arguments![
                    cx.now.0,
                    before.id.0,
                    guard(&before),
                    set.guard.map(|_| before.ctime.0),
                    after.mode.cast_signed(),
                    i64::from(after.uid),
                    i64::from(after.gid),
                    set.size.map(u64::cast_signed),
                    (set.atime != SetTime::Keep).then_some(after.atime.0),
                    sets_mtime.then_some(after.mtime.0),
                    explicit_mtime,
                    new_content.map(|content| content.0),
                ],
            };
            let mut reply = self.mutate(cx, attempt, share.fsid, mutation).await.map_err(refuse)?;
            match reply.verdict {
                Verdict::Done => {
                    let change = Change { before: reply.next()?, after: reply.next()? };
                    let freed = change.before.content.filter(|_| new_content.is_some());
                    return Ok(SettingDone { change, freed: freed.map(|content| content.id) });
                }
                Verdict::Again => view = reply.into_view(),
                verdict @ (Verdict::NotEmpty
                | Verdict::Loop
                | Verdict::Superseded
                | Verdict::Gone) => return Err(refuse(unexpected(verdict))),
            }
            attempt.decide_again(cx).map_err(refuse)?;
        }
    }
}
