//! Calls that wait for the one writer of a store, which takes all that wait into one transaction; clients
//! take turns. A call leaves the queue when it is cancelled; once the writer has taken it, its outcome is
//! awaited.

mod operations;

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};

use super::single_writer::{OpError, Outcome, Tables};
use super::{Answer, Error};
use crate::counters::Histogram;
use crate::types::{Bounds, Call, Claimant, Context, FairQueue, Ticket};

/// A call, whatever it answers.
pub(super) trait Job<T: Tables>: Send {
    /// Whether the answer is still of use; the caller is told where it is not.
    fn is_wanted(&mut self) -> bool;
    /// Carries it out inside the transaction. A repeat after the transaction was undone starts anew.
    fn run(&mut self, tables: &mut T) -> Result<(), T::Failure>;
    /// Gives the answer, after the commit.
    fn answer(&mut self);
    /// Gives an error in its place.
    fn fail(&mut self, error: Error);
}

/// The outcome of a call, when it is there.
pub(super) struct Pending<R, T: Tables> {
    /// Fails where no writer will carry the call out.
    pub(super) answer: oneshot::Receiver<Answer<R>>,
    ticket: Ticket<Claimant>,
    queue: Arc<Queue<T>>,
}

impl<R, T: Tables> Pending<R, T> {
    /// Takes the call out of the queue; false where the writer has it.
    pub(super) fn leave(&self) -> bool {
        let left = self.queue.waiting.lock().jobs.remove(&self.ticket);
        left.is_some()
    }
}

impl<R, T: Tables> Drop for Pending<R, T> {
    fn drop(&mut self) {
        self.leave();
    }
}

struct Waits<R, F> {
    call: Option<Call>,
    work: F,
    outcome: Option<Answer<R>>,
    reply: Option<oneshot::Sender<Answer<R>>>,
}

impl<R, F> Waits<R, F> {
    fn send(&mut self, answer: Answer<R>) {
        if let Some(reply) = self.reply.take() {
            // A caller may have gone since the call was taken.
            reply.send(answer).ok();
        }
    }
}

impl<R, T, F> Job<T> for Waits<R, F>
where
    R: Send,
    T: Tables,
    F: FnMut(&mut T) -> Outcome<R, T> + Send,
{
    fn is_wanted(&mut self) -> bool {
        let over = self.call.as_ref().is_some_and(Call::is_over);
        if over {
            self.fail(Error::Cancelled);
        }
        !over
    }

    fn run(&mut self, tables: &mut T) -> Result<(), T::Failure> {
        self.outcome = Some(match (self.work)(tables) {
            Ok(done) => Ok(done),
            Err(OpError::Refused(refusal)) => Err(refusal),
            Err(OpError::Failed(failure)) => return Err(failure),
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
pub(super) struct Queue<T: Tables> {
    waiting: Mutex<Waiting<T>>,
    /// A writer that is a thread of its own waits here.
    ready: Condvar,
    /// A writer that is a task waits here.
    ready_task: Notify,
    /// How many calls the writer takes at once.
    batches: Histogram,
}

struct Waiting<T: Tables> {
    jobs: FairQueue<Claimant, Box<dyn Job<T>>>,
    /// How many calls a task waits for.
    awaited: usize,
    closed: bool,
}

impl<T: Tables> Default for Queue<T> {
    fn default() -> Self {
        let jobs = FairQueue::new(Bounds::CALLS);
        let waiting = Waiting { jobs, awaited: usize::MAX, closed: false };
        let (waiting, ready) = (Mutex::new(waiting), Condvar::new());
        Self { waiting, ready, ready_task: Notify::new(), batches: Histogram::of_batches() }
    }
}

impl<T: Tables> std::fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting = self.waiting.lock();
        f.debug_struct("Queue")
            .field("jobs", &waiting.jobs.len())
            .field("closed", &waiting.closed)
            .finish_non_exhaustive()
    }
}

impl<T: Tables + 'static> Queue<T> {
    /// Adds a call.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where too many calls wait, or the queue is closed.
    pub(super) fn add<R: Send + 'static>(
        self: &Arc<Self>,
        call: Option<&Call>,
        work: impl FnMut(&mut T) -> Outcome<R, T> + Send + 'static,
    ) -> Result<Pending<R, T>, Error> {
        let (reply, answer) = oneshot::channel();
        let waits = Waits { call: call.cloned(), work, outcome: None, reply: Some(reply) };
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(closed());
        }
        let claimant = call.and_then(|call| call.claimant);
        let ticket = waiting.jobs.push(claimant, Box::new(waits));
        let ticket = ticket.map_err(|full| Error::Unavailable(Box::new(full)))?;
        let wakes_task = waiting.jobs.len() >= waiting.awaited;
        drop(waiting);
        self.ready.notify_one();
        if wakes_task {
            self.ready_task.notify_one();
        }
        Ok(Pending { answer, ticket, queue: Arc::clone(self) })
    }

    /// Has the writer carry out a change; `None` where no writer will.
    pub(super) async fn change<R: Send + 'static>(
        self: &Arc<Self>,
        cx: &Context,
        mut work: impl FnMut(&mut T, &Context) -> Outcome<R, T> + Send + 'static,
    ) -> Option<Answer<R>> {
        let context = cx.clone();
        self.carry_out(&cx.call, move |tables| work(tables, &context)).await
    }

    /// The same for what asks for no more than the call's limits.
    pub(super) async fn carry_out<R: Send + 'static>(
        self: &Arc<Self>,
        call: &Call,
        work: impl FnMut(&mut T) -> Outcome<R, T> + Send + 'static,
    ) -> Option<Answer<R>> {
        let mut pending = match self.add(Some(call), work) {
            Ok(pending) => pending,
            Err(_) if self.is_closed() => return None,
            Err(error) => return Some(Err(error.into())),
        };
        tokio::select! {
            biased;
            answer = &mut pending.answer => return answer.ok(),
            () = call.cancel.cancelled() => {}
            () = tokio::time::sleep_until(call.deadline) => {}
        }
        if pending.leave() {
            return Some(Err(Error::Cancelled.into()));
        }
        (&mut pending.answer).await.ok()
    }

    /// Waits for calls and takes up to `most`, in the order of their clients' turns. None where the queue is
    /// closed and empty.
    pub(super) fn take(&self, most: usize) -> Option<Vec<Box<dyn Job<T>>>> {
        let mut waiting = self.waiting.lock();
        while waiting.jobs.is_empty() {
            if waiting.closed {
                return None;
            }
            self.ready.wait(&mut waiting);
        }
        let taken = waiting.jobs.take(most);
        self.batches.count(taken.len() as u64);
        Some(taken)
    }

    /// How many calls the writer took at once.
    pub(super) fn batches(&self) -> &Histogram {
        &self.batches
    }

    /// The same for a writer that is a task: what waits now, which may be nothing.
    pub(super) fn take_now(&self, most: usize) -> Vec<Box<dyn Job<T>>> {
        self.waiting.lock().jobs.take(most)
    }

    /// How many calls wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.lock().jobs.len()
    }

    /// Waits until so many calls wait, or the queue is closed. One task at a time.
    pub(super) async fn ready(&self, least: usize) {
        let is_ready = || {
            let mut waiting = self.waiting.lock();
            let is_ready = waiting.closed || waiting.jobs.len() >= least;
            waiting.awaited = if is_ready { usize::MAX } else { least };
            is_ready
        };
        while !is_ready() {
            self.ready_task.notified().await;
        }
    }

    /// Takes no more calls; those that wait are still carried out.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.ready.notify_all();
        self.ready_task.notify_one();
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
