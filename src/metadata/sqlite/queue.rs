//! Calls that wait for the writer; clients take turns. A call leaves the queue when it is cancelled; once the writer has taken it,
//! its outcome is awaited.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::error::Failure;
use super::tables::Writable;
use crate::metadata::serial::Stop;
use crate::metadata::{Answer, Error};
use crate::types::{Bounds, Claimant, Context, FairQueue, Ticket};

/// A call, whatever it answers.
pub(super) trait Job: Send {
    /// Whether the answer is still of use; the caller is told where it is not.
    fn is_wanted(&mut self) -> bool;
    /// Carries it out inside the transaction. A repeat after the transaction was undone starts anew.
    fn run(&mut self, tables: &mut Writable<'_>) -> Result<(), Failure>;
    /// Gives the answer, after the commit.
    fn answer(&mut self);
    /// Gives an error in its place.
    fn fail(&mut self, error: Error);
}

/// The outcome of a call, when it is there.
pub(super) struct Pending<T> {
    pub(super) answer: oneshot::Receiver<Answer<T>>,
    ticket: Ticket<Claimant>,
    queue: Arc<Queue>,
}

impl<T> Pending<T> {
    /// Takes the call out of the queue; false where the writer has it.
    pub(super) fn leave(&self) -> bool {
        let left = self.queue.waiting.lock().jobs.remove(&self.ticket);
        left.is_some()
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.leave();
    }
}

struct Call<T, F> {
    cx: Option<Context>,
    work: F,
    outcome: Option<Answer<T>>,
    reply: Option<oneshot::Sender<Answer<T>>>,
}

impl<T, F> Call<T, F> {
    fn send(&mut self, answer: Answer<T>) {
        if let Some(reply) = self.reply.take() {
            // Whoever went away after the call was taken wants no answer.
            reply.send(answer).ok();
        }
    }
}

impl<T, F> Job for Call<T, F>
where
    T: Send,
    F: FnMut(&mut Writable<'_>) -> Result<T, Stop<Failure>> + Send,
{
    fn is_wanted(&mut self) -> bool {
        let over = self
            .cx
            .as_ref()
            .is_some_and(|cx| cx.cancel.is_cancelled() || Instant::now() >= cx.deadline);
        if over {
            self.fail(Error::Cancelled);
        }
        !over
    }

    fn run(&mut self, tables: &mut Writable<'_>) -> Result<(), Failure> {
        self.outcome = Some(match (self.work)(tables) {
            Ok(done) => Ok(done),
            Err(Stop::Refused(refusal)) => Err(refusal),
            Err(Stop::Failed(failure)) => return Err(failure),
        });
        Ok(())
    }

    fn answer(&mut self) {
        if let Some(outcome) = self.outcome.take() {
            self.send(outcome);
        }
    }

    fn fail(&mut self, error: Error) {
        self.send(Err(error.into()));
    }
}

/// The calls that wait.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    ready: Condvar,
}

struct Waiting {
    jobs: FairQueue<Claimant, Box<dyn Job>>,
    closed: bool,
}

impl Default for Queue {
    fn default() -> Self {
        let waiting = Waiting { jobs: FairQueue::new(Bounds::CALLS), closed: false };
        Self { waiting: Mutex::new(waiting), ready: Condvar::new() }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting = self.waiting.lock();
        f.debug_struct("Queue")
            .field("jobs", &waiting.jobs.len())
            .field("closed", &waiting.closed)
            .finish_non_exhaustive()
    }
}

impl Queue {
    /// Adds a call.
    pub(super) fn add<T: Send + 'static>(
        self: &Arc<Self>,
        cx: Option<&Context>,
        work: impl FnMut(&mut Writable<'_>) -> Result<T, Stop<Failure>> + Send + 'static,
    ) -> Result<Pending<T>, Error> {
        let (reply, answer) = oneshot::channel();
        let call = Call { cx: cx.cloned(), work, outcome: None, reply: Some(reply) };
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(closed());
        }
        let claimant = cx.and_then(Context::claimant);
        let ticket = waiting.jobs.push(claimant, Box::new(call));
        let ticket = ticket.map_err(|full| Error::Unavailable(Box::new(full)))?;
        drop(waiting);
        self.ready.notify_one();
        Ok(Pending { answer, ticket, queue: Arc::clone(self) })
    }

    /// Waits for calls and takes up to `most`, in the order of their clients' turns. None where the queue is closed and empty.
    pub(super) fn take(&self, most: usize) -> Option<Vec<Box<dyn Job>>> {
        let mut waiting = self.waiting.lock();
        while waiting.jobs.is_empty() {
            if waiting.closed {
                return None;
            }
            self.ready.wait(&mut waiting);
        }
        Some(waiting.jobs.take(most))
    }

    /// Takes no more calls; those that wait are still carried out.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.ready.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waiting.lock().closed
    }

    /// Drops what waits: there is no writer any more.
    pub(super) fn abandon(&self) {
        self.close();
        let abandoned = self.waiting.lock().jobs.take(usize::MAX);
        drop(abandoned);
    }
}

/// What a closed store answers.
pub(super) fn closed() -> Error {
    Error::Unavailable("the metadata store is closed".into())
}
