//! RENAME.

use std::ops::ControlFlow;

use super::PostgresStore;
use super::attempt::Attempt;
use super::create::{guard, unexpected};
use super::flight::{Mutation, Verdict, arguments};
use super::link::both;
use super::read::View;
use super::remove::replaced;
use crate::metadata::{Answer, Change, Error, Refusal, Renamed, Share, rules};
use crate::types::{Attributes, Context, Name, ObjectId};

const RENAME: &str = "SELECT * FROM rename_entry($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
                      $14, $15, $16)";

/// The objects that a rename decides on.
struct Parties {
    from: Attributes,
    object: Attributes,
    to: Attributes,
    replaced: Option<Attributes>,
}

impl Parties {
    /// Whether a directory gets another parent.
    fn moves_directory(&self) -> bool {
        self.object.file_type.is_directory() && self.from.id != self.to.id
    }
}

impl PostgresStore {
    pub(super) async fn rename_object(
        &self,
        cx: &Context,
        from: (ObjectId, &Name),
        to: (ObjectId, &Name),
    ) -> Answer<Renamed> {
        let share = self.share(cx).await?;
        let mut attempt = self.attempt([from.0, to.0]);
        let renamed = self.rename_in(cx, &mut attempt, &share, from, to).await;
        self.durable(cx, attempt, renamed).await
    }

    async fn rename_in(
        &self,
        cx: &Context,
        attempt: &mut Attempt,
        share: &Share,
        from: (ObjectId, &Name),
        to: (ObjectId, &Name),
    ) -> Answer<Renamed> {
        let mut view = self.look_for_rename(cx, attempt, share, from, to).await?;
        loop {
            let (source, object) = (view.take(0), view.take(1));
            let (target, found) = (view.take(2), view.take(3));
            let (source, target) = both(source, target)?;
            let refuse = |error| Refusal::of_both(error, &source, &target);
            rules::may_search(&cx.credentials, &source).map_err(refuse)?;
            rules::may_search(&cx.credentials, &target).map_err(refuse)?;
            let object = object.ok_or_else(|| refuse(Error::NotFound))?.attributes;
            let found = found.map(|stored| stored.attributes);
            if found.as_ref().is_some_and(|found| found.id == object.id) {
                let (from, to) = (Change::none(source), Change::none(target));
                return Ok(Renamed { from, to, object, replaced: None });
            }
            let parties =
                Parties { from: source.clone(), object, to: target.clone(), replaced: found };
            self.may_rename(cx, attempt, &parties).await.map_err(refuse)?;
            let names = (from.1, to.1);
            let renamed = self.try_rename(cx, attempt, share, &parties, names).await;
            view = match renamed.map_err(refuse)? {
                ControlFlow::Break(renamed) => return Ok(renamed),
                ControlFlow::Continue(present) => present,
            };
            attempt.decide_again(cx).map_err(refuse)?;
        }
    }

    /// A directory that would become its own descendant is refused as that, whatever else is wrong; where nothing
    /// else is, the function finds it out.
    async fn may_rename(
        &self,
        cx: &Context,
        attempt: &mut Attempt,
        parties: &Parties,
    ) -> Result<(), Error> {
        let Parties { from, object, to, replaced } = parties;
        let allowed = rules::may_rename(&cx.credentials, from, object, to, replaced.as_ref())
            .and_then(|()| replaced.as_ref().map_or(Ok(()), |it| rules::may_replace(object, it)));
        if allowed.is_err()
            && parties.moves_directory()
            && self.lies_under(cx, attempt, to.id, object.id).await?
        {
            return Err(Error::Invalid);
        }
        allowed
    }

    /// Goes on with the present values where the decision must be made again.
    async fn try_rename(
        &self,
        cx: &Context,
        attempt: &mut Attempt,
        share: &Share,
        parties: &Parties,
        (from_name, to_name): (&Name, &Name),
    ) -> Result<ControlFlow<Renamed, View>, Error> {
        let Parties { from, object, to, replaced: found } = parties;
        let mutation = Mutation {
            statement: RENAME,
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
                found.as_ref().map(|found| found.id.0),
                found.as_ref().map(guard),
            ],
        };
        let mut reply = self.mutate(cx, attempt, share.fsid, mutation).await?;
        match reply.verdict {
            Verdict::Done => {
                let from = Change { before: reply.next()?, after: reply.next()? };
                let to = Change { before: reply.next()?, after: reply.next()? };
                let object = reply.next()?;
                let replaced = reply.next_if_there().map(replaced);
                Ok(ControlFlow::Break(Renamed { from, to, object, replaced }))
            }
            Verdict::Again => Ok(ControlFlow::Continue(reply.into_view())),
            Verdict::NotEmpty => Err(Error::NotEmpty),
            Verdict::Loop => Err(Error::Invalid),
            verdict @ (Verdict::Superseded | Verdict::Gone) => Err(unexpected(verdict)),
        }
    }
}
