//! LINK.

use super::PostgresStore;
use super::change::{Prefetch, Step, guard};
use super::execute::{Mutation, arguments};
use super::read::{LOOK_LINK, View};
use super::replies::recorded;
use crate::metadata::{Answer, LinkTarget, Share, decide};
use crate::types::{Context, Name, ObjectId};

const LINK: &str = "SELECT * FROM link_object($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const RECORDED_LINK: &str =
    recorded!("link_object($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", "$11", "$12", "$13");

pub(super) async fn link(
    store: &PostgresStore,
    cx: &Context,
    object: ObjectId,
    directory: ObjectId,
    name: &Name,
) -> Answer<LinkTarget> {
    let prefetch = Prefetch {
        statement: LOOK_LINK,
        arguments: arguments![directory.0, cx.share.0, name.as_bytes().to_vec(), object.0],
        ground: None,
        merged: None,
    };
    let decide = |mut view: View, share: &Share| {
        let (object, parent) = decide::pair(view.attributes(2), view.attributes(0))?;
        decide::link(cx, &object, &parent, view.take(1).is_some(), &share.capabilities)?;
        let mutation = Mutation {
            statement: LINK,
            recorded: Some(RECORDED_LINK),
            made: None,
            arguments: arguments![
                cx.now.0,
                parent.id.0,
                name.as_bytes().to_vec(),
                guard(&parent),
                object.id.0,
                i64::from(share.capabilities.max_links),
            ],
        };
        Ok(Step::Call(mutation, Box::new(object), Some(Box::new(parent))))
    };
    store
        .change(cx, [directory, object], prefetch, decide, |mut reply| {
            Ok(LinkTarget { directory: reply.change()?, object: reply.next()? })
        })
        .await
}
