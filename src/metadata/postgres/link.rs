//! LINK.

use super::PostgresStore;
use super::attempt::Attempt;
use super::create::{guard, unexpected};
use super::flight::{Mutation, Verdict, arguments};
use super::rows::Stored;
use crate::metadata::{Answer, Change, Error, LinkTarget, Refusal, Share, rules};
use crate::types::{Attributes, Context, Name, ObjectId};

const LINK: &str = "SELECT * FROM link_object($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

impl PostgresStore {
    pub(super) async fn link_object(
        &self,
        cx: &Context,
        object: ObjectId,
        directory: ObjectId,
        name: &Name,
    ) -> Answer<LinkTarget> {
        let share = self.share(cx).await?;
        let mut attempt = self.attempt([directory, object]);
        let linked = self.link_in(cx, &mut attempt, &share, object, (directory, name)).await;
        self.durable(cx, attempt, linked).await
    }

    async fn link_in(
        &self,
        cx: &Context,
        attempt: &mut Attempt,
        share: &Share,
        object: ObjectId,
        (directory, name): (ObjectId, &Name),
    ) -> Answer<LinkTarget> {
        let max_links = share.capabilities.max_links;
        let mut view = self.look_for_link(cx, attempt, share, object, (directory, name)).await?;
        loop {
            let (object, parent) = both(view.take(2), view.take(0))?;
            let refuse = |error| Refusal::of_both(error, &object, &parent);
            rules::may_search(&cx.credentials, &parent).map_err(refuse)?;
            if view.take(1).is_some() {
                return Err(refuse(Error::Exists));
            }
            rules::may_link(&cx.credentials, &object, &parent, max_links).map_err(refuse)?;
            let mutation = Mutation {
                statement: LINK,
                arguments: arguments![
                    cx.now.0,
                    parent.id.0,
                    name.as_bytes().to_vec(),
                    guard(&parent),
                    object.id.0,
                    i64::from(max_links),
                ],
            };
            let mut reply = self.mutate(cx, attempt, share.fsid, mutation).await.map_err(refuse)?;
            match reply.verdict {
                Verdict::Done => {
                    let directory = Change { before: reply.next()?, after: reply.next()? };
                    return Ok(LinkTarget { object: reply.next()?, directory });
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

/// The two objects that a call names; refused where one is gone.
pub(super) fn both(
    first: Option<Stored>,
    second: Option<Stored>,
) -> Answer<(Attributes, Attributes)> {
    let attributes = |stored: Stored| stored.attributes;
    match (first.map(attributes), second.map(attributes)) {
        (Some(first), Some(second)) => Ok((first, second)),
        (first, second) => Err(Refusal {
            error: Error::Stale,
            first: first.map(Box::new),
            second: second.map(Box::new),
        }),
    }
}
