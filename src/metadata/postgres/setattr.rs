//! SETATTR.

use super::PostgresStore;
use super::change::{Prefetch, Step, guard};
use super::execute::{Mutation, arguments};
use super::read::{GETATTR, View};
use super::replies::recorded;
use crate::metadata::{Answer, SetAttributes, SetTime, SettingDone, Share, decide};
use crate::types::{Context, ObjectId};

const SET: &str = "SELECT * FROM set_attributes($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
                   $14, $15, $16)";
const RECORDED_SET: &str = recorded!(
    "set_attributes($1, $2, $3, $4, $5, $6, $7, $8, \
     $9, $10, $11, $12, $13, $14, $15, $16)",
    "$17",
    "$18",
    "$19"
);

pub(super) async fn setattr(
    store: &PostgresStore,
    cx: &Context,
    object: ObjectId,
    set: &SetAttributes,
) -> Answer<SettingDone> {
    let prefetch = Prefetch { statement: GETATTR, arguments: arguments![object.0, cx.share.0] };
    let decide = |mut view: View, share: &Share| {
        let found = view.attributes(0);
        let done = SettingDone::of(decide::setattr(cx, found, set, &share.capabilities)?);
        let (before, after) = (done.change.before, done.change.after);
        let explicit_mtime = set.mtime != SetTime::Keep;
        let sets_mtime = explicit_mtime || set.size.is_some();
        let new_content = after.content.filter(|_| done.freed.is_some());
        let mutation = Mutation {
            statement: SET,
            recorded: Some(RECORDED_SET),
            made: None,
            arguments: arguments![
                cx.now.0,
                before.id.0,
                guard(&before),
                (set.guard.is_some() || set.content.is_some()).then_some(before.ctime.0),
                after.mode.cast_signed(),
                i64::from(after.uid),
                i64::from(after.gid),
                set.size.map(u64::cast_signed),
                (set.atime != SetTime::Keep).then_some(after.atime.0),
                sets_mtime.then_some(after.mtime.0),
                explicit_mtime,
                new_content.map(|content| content.id.0),
            ],
        };
        Ok(Step::Call(mutation, Box::new(before), None))
    };
    store
        .change(cx, [object], prefetch, decide, |mut reply| Ok(SettingDone::of(reply.change()?)))
        .await
}
