//! REMOVE and RMDIR.

use super::PostgresStore;
use super::attempt::Attempt;
use super::create::{guard, unexpected};
use super::flight::{Mutation, Verdict, arguments};
use super::read::directory;
use crate::metadata::{Answer, Change, Error, Refusal, Removed, Replaced, Share, rules};
use crate::types::{Attributes, Context, Name, ObjectId};

const REMOVE: &str = "SELECT * FROM remove_name($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const RMDIR: &str = "SELECT * FROM remove_directory($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

/// What is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// RMDIR.
    Directory,
    /// REMOVE.
    Other,
}

impl PostgresStore {
    pub(super) async fn remove_entry(
        &self,
        cx: &Context,
        parent: ObjectId,
        name: &Name,
        kind: Kind,
    ) -> Answer<Removed> {
        let share = self.share(cx).await?;
        let mut attempt = self.attempt([parent]);
        let removed = self.remove_from(cx, &mut attempt, &share, (parent, name), kind).await;
        self.durable(cx, attempt, removed).await
    }

    async fn remove_from(
        &self,
        cx: &Context,
        attempt: &mut Attempt,
        share: &Share,
        (parent, name): (ObjectId, &Name),
        kind: Kind,
    ) -> Answer<Removed> {
        let mut view = self.look(cx, attempt, share, (parent, name)).await?;
        loop {
            let parent = directory(view.take(0))?;
            let refuse = |error| Refusal::of(error, &parent);
            rules::may_search(&cx.credentials, &parent).map_err(refuse)?;
            let child = view.take(1).ok_or_else(|| refuse(Error::NotFound))?.attributes;
            rules::may_remove(&cx.credentials, &parent, &child).map_err(refuse)?;
            let statement = match (kind, child.file_type.is_directory()) {
                (Kind::Directory, true) => RMDIR,
                (Kind::Other, false) => REMOVE,
                (Kind::Directory, false) => return Err(refuse(Error::NotDirectory)),
                (Kind::Other, true) => return Err(refuse(Error::IsDirectory)),
            };
            let mutation = Mutation {
                statement,
                arguments: arguments![
                    cx.now.0,
                    parent.id.0,
                    name.as_bytes().to_vec(),
                    guard(&parent),
                    child.id.0,
                    i64::from(child.uid),
                ],
            };
            let mut reply = self.mutate(cx, attempt, share.fsid, mutation).await.map_err(refuse)?;
            match reply.verdict {
                Verdict::Done => {
                    let directory = Change { before: reply.next()?, after: reply.next()? };
                    return Ok(Removed { directory, object: replaced(reply.next()?) });
                }
                Verdict::Again => view = reply.into_view(),
                Verdict::NotEmpty => return Err(refuse(Error::NotEmpty)),
                verdict @ (Verdict::Loop | Verdict::Superseded | Verdict::Gone) => {
                    return Err(refuse(unexpected(verdict)));
                }
            }
            attempt.decide_again(cx).map_err(refuse)?;
        }
    }
}

/// What lost a name, and the content that nothing names any more.
pub(super) fn replaced(attributes: Attributes) -> Replaced {
    let freed = attributes.content.filter(|_| attributes.nlink == 0).map(|content| content.id);
    Replaced { attributes, freed }
}
