//! REMOVE and RMDIR.

use super::PostgresStore;
use super::batches::{Kind, Known, Operation, guard_of};
use super::change::{Prefetch, Step, guard};
use super::execute::{Mutation, arguments};
use super::read::{LOOK_RMDIR, LOOKUP, View};
use super::replies::recorded;
use crate::metadata::decide::{self, RemoveKind};
use crate::metadata::{Answer, Removed, Replaced, Share};
use crate::types::{Context, Name, ObjectId};

const RMDIR: &str = "SELECT * FROM remove_directory($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const RECORDED_RMDIR: &str =
    recorded!("remove_directory($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", "$11", "$12", "$13");

pub(super) async fn remove(
    store: &PostgresStore,
    cx: &Context,
    parent: ObjectId,
    name: &Name,
    kind: RemoveKind,
) -> Answer<Removed> {
    let prefetch = Prefetch {
        statement: LOOKUP,
        arguments: arguments![parent.0, cx.share.0, name.as_bytes().to_vec()],
        ground: (kind == RemoveKind::Directory).then_some(LOOK_RMDIR),
        merged: (kind == RemoveKind::Other).then(|| (parent, Some(name.clone()))),
    };
    let decide = |mut view: View, _: &Share| {
        let parent = decide::directory(view.attributes(0))?;
        let object = decide::remove(cx, &parent, view.attributes(1), kind)?;
        if kind == RemoveKind::Other {
            let operation = Operation {
                kind: Kind::Remove,
                now: cx.now.0,
                place: parent.id.0,
                name: name.as_bytes().to_vec(),
                guard: guard_of(&parent),
                object: Some(object.id.0),
                uid: Some(object.uid.into()),
                ..Operation::default()
            };
            let known = Known { place: Box::new(parent), object: Box::new(object) };
            return Ok(Step::Operation(Box::new(operation), known));
        }
        let mutation = Mutation {
            statement: RMDIR,
            recorded: Some(RECORDED_RMDIR),
            made: None,
            arguments: arguments![
                cx.now.0,
                parent.id.0,
                name.as_bytes().to_vec(),
                guard(&parent),
                object.id.0,
                i64::from(object.uid),
            ],
        };
        Ok(Step::Call(mutation, Box::new(parent), None))
    };
    store
        .change(cx, [parent], prefetch, decide, |mut reply| {
            Ok(Removed { directory: reply.change()?, object: Replaced::of(reply.next()?) })
        })
        .await
}
