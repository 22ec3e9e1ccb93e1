//! Calls that wait for the writer. A call leaves the queue when it is cancelled; once the writer has taken it, its outcome is
//! awaited.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::error::Failure;
use super::tables::Writable;
use crate::metadata::serial::Stop;
use crate::metadata::{Answer, Error};
use crate::types::Context;

/// How many calls may wait; far beyond what connections may have in flight.
const MOST_WAITING: usize = 1 << 16;

/// Where a call is.
#[derive(Debug)]
pub(super) struct Ticket(AtomicU8);

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const LEFT: u8 = 2;

impl Ticket {
    fn go(&self, to: u8) -> bool {
        self.0.compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Leaves the queue; false where the writer has taken the call.
    pub(super) fn leave(&self) -> bool {
        self.go(LEFT)
    }
}

/// A call, whatever it answers.
pub(super) trait Job: Send {
    /// Takes the call from the queue; false where its caller has left, or is to be told that it is over.
    fn take(&mut self) -> bool;
    /// Carries it out inside the transaction. A repeat after the transaction was undone starts anew.
    fn run(&mut self, tables: &mut Writable<'_>) -> Result<(), Failure>;
    /// Gives the answer, after the commit.
    fn answer(&mut self);
    /// Gives an error in its place.
    fn fail(&mut self, error: Error);
}

/// The outcome of a call, when it is there.
pub(super) struct Pending<T> {
    pub(super) ticket: Arc<Ticket>,
    pub(super) answer: oneshot::Receiver<Answer<T>>,
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.ticket.leave();
    }
}

struct Call<T, F> {
    cx: Option<Context>,
    work: F,
    outcome: Option<Answer<T>>,
    reply: Option<oneshot::Sender<Answer<T>>>,
    ticket: Arc<Ticket>,
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
    fn take(&mut self) -> bool {
        if !self.ticket.go(TAKEN) {
            return false;
        }
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
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    ready: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Box<dyn Job>>,
    closed: bool,
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
        &self,
        cx: Option<&Context>,
        work: impl FnMut(&mut Writable<'_>) -> Result<T, Stop<Failure>> + Send + 'static,
    ) -> Result<Pending<T>, Error> {
        let (reply, answer) = oneshot::channel();
        let ticket = Arc::new(Ticket(AtomicU8::new(WAITING)));
        let call = Call {
            cx: cx.cloned(),
            work,
            outcome: None,
            reply: Some(reply),
            ticket: ticket.clone(),
        };
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(closed());
        }
        if waiting.jobs.len() >= MOST_WAITING {
            return Err(Error::Unavailable("too many calls wait for the writer".into()));
        }
        waiting.jobs.push(Box::new(call));
        drop(waiting);
        self.ready.notify_one();
        Ok(Pending { ticket, answer })
    }

    /// Waits for calls and takes up to `most`, the oldest first. None where the queue is closed and empty.
    pub(super) fn take(&self, most: usize) -> Option<Vec<Box<dyn Job>>> {
        let mut waiting = self.waiting.lock();
        while waiting.jobs.is_empty() {
            if waiting.closed {
                return None;
            }
            self.ready.wait(&mut waiting);
        }
        if waiting.jobs.len() <= most {
            return Some(std::mem::take(&mut waiting.jobs));
        }
        let rest = waiting.jobs.split_off(most);
        Some(std::mem::replace(&mut waiting.jobs, rest))
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
        drop(std::mem::take(&mut self.waiting.lock().jobs));
    }
}

/// What a closed store answers.
pub(super) fn closed() -> Error {
    Error::Unavailable("the metadata store is closed".into())
}
