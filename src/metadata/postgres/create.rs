//! CREATE, MKDIR, SYMLINK and MKNOD.

use std::ops::ControlFlow;

use super::PostgresStore;
use super::batches::{Kind, Known, Operation, guard_of};
use super::change::{Prefetch, Step};
use super::execute::arguments;
use super::read::{LOOKUP, View};
use crate::metadata::decide::{self, New};
use crate::metadata::{Answer, Created, Share};
use crate::types::{Attributes, Context, Name, ObjectId};

pub(super) async fn make(
    store: &PostgresStore,
    cx: &Context,
    parent: ObjectId,
    name: &Name,
    new: New<'_>,
) -> Answer<Created> {
    let prefetch = Prefetch {
        statement: LOOKUP,
        arguments: arguments![parent.0, cx.share.0, name.as_bytes().to_vec()],
        ground: None,
        merged: Some((parent, Some(name.clone()))),
    };
    let decide = |mut view: View, _: &Share| {
        let parent = decide::directory(view.attributes(0))?;
        Ok(match decide::create(cx, &parent, view.take(1), new)? {
            ControlFlow::Break(answer) => Step::Answer(answer),
            ControlFlow::Continue(object) => {
                let operation = making(&parent, name, &object, new);
                let known = Known { place: Box::new(parent), object: Box::new(object) };
                Step::Operation(Box::new(operation), known)
            }
        })
    };
    store
        .change(cx, [parent], prefetch, decide, |mut reply| {
            Ok(Created { directory: reply.change()?, object: reply.next()?, made: true })
        })
        .await
}

fn making(parent: &Attributes, name: &Name, object: &Attributes, new: New<'_>) -> Operation {
    Operation {
        kind: Kind::Make,
        now: object.ctime.0,
        place: parent.id.0,
        name: name.as_bytes().to_vec(),
        guard: guard_of(parent),
        object: Some(object.id.0),
        file_type: Some(object.file_type.number()),
        mode: Some(object.mode.cast_signed()),
        uid: Some(object.uid.into()),
        gid: Some(object.gid.into()),
        size: Some(object.size.cast_signed()),
        atime: Some(object.atime.0),
        mtime: Some(object.mtime.0),
        content: object.content.map(|content| content.id.0),
        target: new.target().map(|target| target.as_bytes().to_vec()),
        rdev: object.rdev.to_stored(),
        verifier: new.verifier().map(u64::cast_signed),
        ..Operation::default()
    }
}
