//! A change: a prefetch at the objects that its decision rests on, the decision (`decide`), and the call of a
//! function that compares the values it rests on. Where they have changed, the decision is made again on
//! those that hold now.

use std::sync::Arc;

use super::PostgresStore;
use super::attempt::Attempt;
use super::batches::{Kind, Known, Operation};
use super::execute::{Argument, Mutation, Reply, Verdict};
use super::read::{Ground, View};
use super::rows::damaged;
use crate::metadata::{Answer, Error, Refusal, Share};
use crate::types::{Attributes, Context, Name, ObjectId};

/// The most decisions of a change in batches.
const DECISIONS: usize = 3;

/// The statement that reads the objects of a decision.
#[derive(Debug)]
pub(super) struct Prefetch {
    pub(super) statement: &'static str,
    pub(super) arguments: Vec<Argument>,
    /// The same, with what the function refuses the operation by.
    pub(super) ground: Option<&'static str>,
    /// The same for a read that is merged with others, where the change may be carried out in a batch: an
    /// object, and a name in it.
    pub(super) merged: Option<(ObjectId, Option<Name>)>,
}

/// The next step of an operation.
#[derive(Debug)]
pub(super) enum Step<R> {
    /// The answer: nothing is to be changed.
    Answer(R),
    /// The call, and the objects that a refusal shows from now on.
    Call(Mutation, Box<Attributes>, Option<Box<Attributes>>),
    /// The same for what may be carried out in a batch. A refusal shows the first known object.
    Operation(Box<Operation>, Known),
    /// The refusal of a directory's move, which [`Ground::Loop`] comes before.
    Refuse(Refusal),
}

impl<R> Step<R> {
    /// What is refused by a ground that was read at the same moment as the objects of the step.
    fn refused_by(self, ground: Option<Ground>) -> Answer<Self> {
        match (self, ground) {
            (Self::Call(_, first, second), Some(ground)) => {
                Err(Refusal { error: ground.error(), first: Some(first), second })
            }
            (Self::Refuse(refusal), Some(ground @ Ground::Loop)) => {
                Err(Refusal { error: ground.error(), ..refusal })
            }
            (Self::Refuse(refusal), Some(Ground::NotEmpty) | None) => Err(refusal),
            (step @ (Self::Answer(_) | Self::Operation(..)), _) | (step @ Self::Call(..), None) => {
                Ok(step)
            }
        }
    }
}

impl PostgresStore {
    /// Changes `objects`, which are the directories that get or lose an entry, or the object itself. `answer`
    /// takes the operation's answer from the function's.
    pub(super) async fn change<R, const N: usize>(
        &self,
        cx: &Context,
        objects: [ObjectId; N],
        prefetch: Prefetch,
        decide: impl Fn(View, &Share) -> Answer<Step<R>>,
        answer: fn(Reply) -> Result<R, Error>,
    ) -> Answer<R> {
        let share = self.share(cx).await?;
        let under_way = self.batches.begin();
        if let Some(merged) = &prefetch.merged
            && self.may_batch(&under_way, &objects)
        {
            let changing = self.change_together(cx, &share, objects, merged, &decide, answer);
            if let Some(answer) = Box::pin(changing).await {
                return answer;
            }
        }
        let mut attempt = self.attempt(objects);
        let answer = self.change_in(cx, &mut attempt, &share, prefetch, decide, answer).await;
        self.durable(cx, attempt, answer).await
    }

    /// Decides on merged reads, and has the change carried out in a batch. `None` where it is to take its own
    /// way.
    async fn change_together<R, const N: usize>(
        &self,
        cx: &Context,
        share: &Share,
        objects: [ObjectId; N],
        (object, name): &(ObjectId, Option<Name>),
        decide: &impl Fn(View, &Share) -> Answer<Step<R>>,
        answer: fn(Reply) -> Result<R, Error>,
    ) -> Option<Answer<R>> {
        let mut attempt = self.attempt(objects);
        attempt.unflushed = true;
        // Nothing is refused, and nothing shown, by what is remembered.
        let seen = self.batches.seen(share, *object).map(|seen| decide(View::seen(seen), share));
        let (mut step, mut is_read) = match seen {
            Some(Ok(Step::Operation(operation, known)))
                if matches!(operation.kind, Kind::Make | Kind::Set) =>
            {
                (Ok(Step::Operation(operation, known)), false)
            }
            _ => match self.merged(cx, share, *object, name.as_ref()).await {
                Ok(read) => (decide(read?.value, share), true),
                Err(error) => return Some(Err(error.into())),
            },
        };
        for _ in 0..DECISIONS {
            let (operation, known) = match step {
                Ok(Step::Operation(operation, known)) => (*operation, known),
                Ok(Step::Answer(done)) => return Some(self.durable(cx, attempt, Ok(done)).await),
                Err(refusal) => return Some(self.durable(cx, attempt, Err(refusal)).await),
                Ok(Step::Call(..) | Step::Refuse(_)) => return None,
            };
            let kind = operation.kind;
            let first = is_read.then(|| known.place.clone());
            let refuse = |error| Refusal { error, first, second: None };
            let reply = match self.in_batch(cx, share, operation, Some(known)).await {
                Ok(reply) => reply?,
                Err(error) => return Some(Err(refuse(error))),
            };
            match reply.verdict {
                Verdict::Done => return Some(answer(reply).map_err(Refusal::from)),
                // Of those that are decided on at the same time one succeeds: they go one after the other.
                Verdict::Again if kind == Kind::Set => {
                    self.batches.avoid(std::iter::once(*object));
                    return None;
                }
                Verdict::Again => step = decide(reply.into_view(), share),
                verdict @ (Verdict::NotEmpty
                | Verdict::Loop
                | Verdict::Superseded
                | Verdict::Gone) => {
                    return Some(Err(refuse(unexpected(verdict))));
                }
            }
            (attempt.unflushed, is_read) = (false, true);
            if !matches!(step, Ok(Step::Operation(..))) {
                // The directory has the changes of other calls of the batch, and the file in it was not locked:
                // no moment may have had both.
                step = match self.merged(cx, share, *object, name.as_ref()).await {
                    Ok(read) => decide(read?.value, share),
                    Err(error) => return Some(Err(error.into())),
                };
                attempt.unflushed = true;
            }
        }
        None
    }

    async fn change_in<R>(
        &self,
        cx: &Context,
        attempt: &mut Attempt,
        share: &Share,
        prefetch: Prefetch,
        decide: impl Fn(View, &Share) -> Answer<Step<R>>,
        answer: fn(Reply) -> Result<R, Error>,
    ) -> Answer<R> {
        let Prefetch { statement, arguments, ground, .. } = prefetch;
        let arguments = Arc::new(arguments);
        let rows = self.read_for(cx, attempt, statement, Arc::clone(&arguments)).await?;
        attempt.unflushed = true;
        let mut step = decide(View::from_rows(&rows, share.fsid)?, share)?;
        loop {
            let (mutation, first, second) = match step {
                Step::Answer(answer) => return Ok(answer),
                Step::Call(mutation, first, second) => (mutation, first, second),
                Step::Operation(operation, known) => (operation.alone(), known.place, None),
                Step::Refuse(refusal) => {
                    let Some(ground) = ground else { return Err(refusal) };
                    let look = (ground, Arc::clone(&arguments));
                    step = self.decide_on_ground(cx, attempt, share, look, &decide).await?;
                    continue;
                }
            };
            let refuse =
                |error| Refusal { error, first: Some(first.clone()), second: second.clone() };
            let reply = self.mutate(cx, attempt, share.fsid, mutation).await.map_err(refuse)?;
            step = match (reply.verdict, ground) {
                (Verdict::Done, _) => return Ok(answer(reply)?),
                (Verdict::Again, _) => decide(reply.into_view(), share)?,
                // What was decided on may have changed by the time the function found this.
                (Verdict::NotEmpty | Verdict::Loop, Some(ground)) => {
                    let look = (ground, Arc::clone(&arguments));
                    self.decide_on_ground(cx, attempt, share, look, &decide).await?
                }
                (
                    verdict @ (Verdict::NotEmpty
                    | Verdict::Loop
                    | Verdict::Superseded
                    | Verdict::Gone),
                    _,
                ) => return Err(refuse(unexpected(verdict))),
            };
            attempt.decide_again(cx).map_err(refuse)?;
        }
    }

    /// Decides on objects that are read together with what a function refuses by: a refusal shows them as
    /// they were when it was right.
    async fn decide_on_ground<R>(
        &self,
        cx: &Context,
        attempt: &mut Attempt,
        share: &Share,
        (statement, arguments): (&'static str, Arc<Vec<Argument>>),
        decide: &impl Fn(View, &Share) -> Answer<Step<R>>,
    ) -> Answer<Step<R>> {
        let rows = self.read_for(cx, attempt, statement, arguments).await?;
        attempt.unflushed = true;
        let (view, ground) = View::with_ground(&rows, share.fsid)?;
        decide(view, share)?.refused_by(ground)
    }
}

/// The values that a decision on an object rests on: mode, uid, gid.
pub(super) fn guard(object: &Attributes) -> Vec<i64> {
    vec![object.mode.into(), object.uid.into(), object.gid.into()]
}

/// A verdict that the function never gives.
pub(super) fn unexpected(verdict: Verdict) -> Error {
    damaged(format_args!("an operation ended with {verdict:?}"))
}
