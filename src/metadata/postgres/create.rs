//! CREATE, MKDIR, SYMLINK and MKNOD.

use std::ops::ControlFlow;

use super::PostgresStore;
use super::change::{Prefetch, Step, guard};
use super::execute::{Mutation, arguments};
use super::read::{LOOKUP, View};
use super::replies::recorded;
use crate::metadata::decide::{self, New};
use crate::metadata::{Answer, Created, Share};
use crate::types::{Attributes, Context, Name, ObjectId};

const MAKE: &str = "SELECT * FROM make_object($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
                    $14, $15, $16, $17, $18, $19, $20)";
const RECORDED_MAKE: &str = recorded!(
    "make_object($1, $2, $3, $4, $5, $6, $7, $8, \
     $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)",
    "$21",
    "$22",
    "$23"
);

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
    };
    let decide = |mut view: View, _: &Share| {
        let parent = decide::directory(view.attributes(0))?;
        Ok(match decide::create(cx, &parent, view.take(1), new)? {
            ControlFlow::Break(answer) => Step::Answer(answer),
            ControlFlow::Continue(object) => {
                Step::Call(making(&parent, name, &object, new), Box::new(parent), None)
            }
        })
    };
    store
        .change(cx, [parent], prefetch, decide, |mut reply| {
            Ok(Created { directory: reply.change()?, object: reply.next()?, made: true })
        })
        .await
}

fn making(parent: &Attributes, name: &Name, object: &Attributes, new: New<'_>) -> Mutation {
    Mutation {
        statement: MAKE,
        recorded: Some(RECORDED_MAKE),
        made: Some(object.id),
        arguments: arguments![
            object.ctime.0,
            parent.id.0,
            name.as_bytes().to_vec(),
            guard(parent),
            object.id.0,
            object.file_type.number(),
            object.mode.cast_signed(),
            i64::from(object.uid),
            i64::from(object.gid),
            object.size.cast_signed(),
            object.atime.0,
            object.mtime.0,
            object.content.map(|content| content.id.0),
            new.target().map(|target| target.as_bytes().to_vec()),
            object.rdev.to_stored(),
            new.verifier().map(u64::cast_signed),
        ],
    }
}
