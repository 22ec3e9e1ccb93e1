//! A change: a prefetch at the objects that its decision rests on, the decision (`decide`), and the call of a
//! function that compares the values it rests on. Where they have changed, the decision is made again on
//! those that hold now.

use super::PostgresStore;
use super::attempt::Attempt;
use super::execute::{Argument, Mutation, Reply, Verdict};
use super::read::{View, lies_under};
use super::rows::damaged;
use crate::metadata::{Answer, Error, Refusal, Share};
use crate::types::{Attributes, Context, ObjectId};

/// The statement that reads the objects of a decision.
#[derive(Debug)]
pub(super) struct Prefetch {
    pub(super) statement: &'static str,
    pub(super) arguments: Vec<Argument>,
}

/// The next step of an operation.
#[derive(Debug)]
pub(super) enum Step<R> {
    /// The answer: nothing is to be changed.
    Answer(R),
    /// The call, and the objects that a refusal shows from now on.
    Call(Mutation, Box<Attributes>, Option<Box<Attributes>>),
    /// The refusal of a directory's move: with [`Error::Invalid`] where the new parent, the first, lies below
    /// the directory.
    Refuse(Refusal, ObjectId, ObjectId),
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
        let mut attempt = self.attempt(objects);
        let answer = self.change_in(cx, &mut attempt, &share, prefetch, decide, answer).await;
        self.durable(cx, attempt, answer).await
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
        let rows = self.read_for(cx, attempt, prefetch.statement, prefetch.arguments).await?;
        attempt.unflushed = true;
        let mut view = View::from_rows(&rows, share.fsid)?;
        loop {
            let (mutation, first, second) = match decide(view, share)? {
                Step::Answer(answer) => return Ok(answer),
                Step::Call(mutation, first, second) => (mutation, first, second),
                Step::Refuse(refusal, to, directory) => {
                    let error = match lies_under(self, cx, attempt, to, directory).await {
                        Ok(true) => Error::Invalid,
                        Ok(false) => refusal.error,
                        Err(error) => error,
                    };
                    return Err(Refusal { error, ..refusal });
                }
            };
            let refuse =
                |error| Refusal { error, first: Some(first.clone()), second: second.clone() };
            let reply = self.mutate(cx, attempt, share.fsid, mutation).await.map_err(refuse)?;
            view = match reply.verdict {
                Verdict::Done => return Ok(answer(reply)?),
                Verdict::Again => reply.into_view(),
                Verdict::NotEmpty => return Err(refuse(Error::NotEmpty)),
                Verdict::Loop => return Err(refuse(Error::Invalid)),
                verdict @ (Verdict::Superseded | Verdict::Gone) => {
                    return Err(refuse(unexpected(verdict)));
                }
            };
            attempt.decide_again(cx).map_err(refuse)?;
        }
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
