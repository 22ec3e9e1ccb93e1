//! RENAME.

use std::ops::ControlFlow;

use super::PostgresStore;
use super::change::{Prefetch, Step, guard};
use super::execute::{Mutation, arguments};
use super::read::{LOOK_MOVE, LOOK_RENAME, View};
use super::replies::recorded;
use crate::metadata::decide::{self, Move};
use crate::metadata::{Answer, Renamed, Replaced, Share};
use crate::types::{Context, Name, ObjectId};

const RENAME: &str = "SELECT * FROM rename_entry($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
                      $14, $15, $16)";
const RECORDED_RENAME: &str = recorded!(
    "rename_entry($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    "$17",
    "$18",
    "$19"
);

pub(super) async fn rename(
    store: &PostgresStore,
    cx: &Context,
    (from, from_name): (ObjectId, &Name),
    (to, to_name): (ObjectId, &Name),
) -> Answer<Renamed> {
    let prefetch = Prefetch {
        statement: LOOK_RENAME,
        arguments: arguments![
            from.0,
            cx.share.0,
            from_name.as_bytes().to_vec(),
            to.0,
            to_name.as_bytes().to_vec(),
        ],
        ground: Some(LOOK_MOVE),
        merged: None,
    };
    let decide = |mut view: View, _: &Share| {
        let directories = decide::pair(view.attributes(0), view.attributes(2))?;
        let (object, found) = (view.attributes(1), view.attributes(3));
        let step = match decide::rename(cx, directories, object, found)? {
            ControlFlow::Break(answer) => return Ok(Step::Answer(answer)),
            ControlFlow::Continue(step) => step,
        };
        match step.permitted(cx) {
            Ok(()) => {
                let mutation = moving(cx, &step, from_name, to_name);
                Ok(Step::Call(mutation, Box::new(step.from), Some(Box::new(step.to))))
            }
            // The function finds the loop of a move that is permitted otherwise.
            Err(refusal) if step.changes_parent() => Ok(Step::Refuse(refusal)),
            Err(refusal) => Err(refusal),
        }
    };
    store
        .change(cx, [from, to], prefetch, decide, |mut reply| {
            let (from, to, object) = (reply.change()?, reply.change()?, reply.next()?);
            Ok(Renamed { from, to, object, replaced: reply.next_if_there().map(Replaced::of) })
        })
        .await
}

fn moving(cx: &Context, step: &Move, from_name: &Name, to_name: &Name) -> Mutation {
    let Move { from, to, object, replaced } = step;
    Mutation {
        statement: RENAME,
        recorded: Some(RECORDED_RENAME),
        made: None,
        arguments: arguments![
            cx.now.0,
            from.id.0,
            from_name.as_bytes().to_vec(),
            guard(from),
            to.id.0,
            to_name.as_bytes().to_vec(),
            guard(to),
            object.id.0,
            guard(object),
            object.file_type.is_directory(),
            replaced.as_ref().map(|replaced| replaced.id.0),
            replaced.as_ref().map(guard),
        ],
    }
}
