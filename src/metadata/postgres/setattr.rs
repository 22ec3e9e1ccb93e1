//! SETATTR.

use super::PostgresStore;
use super::batches::{Kind, Known, Operation, guard_of};
use super::change::{Prefetch, Step};
use super::execute::arguments;
use super::read::{GETATTR, View};
use super::rows::damaged;
use crate::metadata::{Answer, Change, SetAttributes, SetTime, SettingDone, Share, decide};
use crate::types::{Context, ObjectId};

pub(super) async fn setattr(
    store: &PostgresStore,
    cx: &Context,
    object: ObjectId,
    set: &SetAttributes,
) -> Answer<SettingDone> {
    let prefetch = Prefetch {
        statement: GETATTR,
        arguments: arguments![object.0, cx.share.0],
        ground: None,
        merged: Some((object, None)),
    };
    let decide = |mut view: View, share: &Share| {
        let found = view.attributes(0);
        let done = SettingDone::of(decide::setattr(cx, found, set, &share.capabilities)?);
        let Change { before: Some(before), after } = done.change else {
            return Err(damaged("a decision lacks the object before").into());
        };
        let explicit_mtime = set.mtime != SetTime::Keep;
        let sets_mtime = explicit_mtime || set.size.is_some();
        let new_content = after.content.filter(|_| done.freed.is_some());
        let operation = Operation {
            kind: Kind::Set,
            now: cx.now.0,
            place: before.id.0,
            guard: guard_of(&before),
            ctime: (set.guard.is_some() || set.content.is_some()).then_some(before.ctime.0),
            mode: Some(after.mode.cast_signed()),
            uid: Some(after.uid.into()),
            gid: Some(after.gid.into()),
            size: set.size.map(u64::cast_signed),
            atime: (set.atime != SetTime::Keep).then_some(after.atime.0),
            mtime: sets_mtime.then_some(after.mtime.0),
            explicit_mtime,
            content: new_content.map(|content| content.id.0),
            ..Operation::default()
        };
        let known = Known { place: Box::new(before), object: Box::new(after) };
        Ok(Step::Operation(Box::new(operation), known))
    };
    store
        .change(cx, [object], prefetch, decide, |mut reply| Ok(SettingDone::of(reply.change()?)))
        .await
}
