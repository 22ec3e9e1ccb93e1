//! One call on its way through a program: at first without a look at its time, which a call that ends soon
//! would pay for in vain; as a task, to the end of its time and its grace.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::counters::Meter;
use crate::rpc::call_log::{CallLog, Slow};
use crate::rpc::message::Answer;
use crate::rpc::reply_cache::{Handoff, InProgress};
use crate::rpc::reply_stream::Delivery;
use crate::rpc::{CallMessage, Program, Reply};

/// How long a call may go on after its time is over, to undo or to finish what is under way. Then
/// it is dropped.
const GRACE: Duration = Duration::from_secs(15);
/// The same for a call that must not be done twice: longer than any store looks for the outcome of what it
/// has sent. Dropped earlier, it would leave no reply for its repeat, which would find its own work done: a
/// REMOVE would answer NOENT.
const GRACE_OF_CHANGES: Duration = Duration::from_secs(300);
/// How long a call that may be done twice goes on after its connection has ended.
const GRACE_WITHOUT_CONNECTION: Duration = Duration::from_secs(3);

/// A call that is to run.
pub(super) struct Execution {
    pub(super) program: Arc<dyn Program>,
    pub(super) call: CallMessage,
    pub(super) ending: Ending,
}

/// What becomes of a call's reply.
pub(super) struct Ending {
    pub(super) log: CallLog,
    /// By what its procedure is counted.
    pub(super) index: usize,
    pub(super) meter: Arc<Meter>,
    pub(super) slow: Slow,
    pub(super) running: Option<InProgress>,
    pub(super) delivery: Option<Arc<Delivery>>,
}

/// A call that runs.
#[allow(missing_debug_implementations, reason = "a future has none")]
pub struct Running {
    work: Pin<Box<dyn Future<Output = Reply> + Send>>,
    cancel: CancellationToken,
    deadline: Instant,
    /// Until the call has ended.
    ending: Option<Ending>,
    span: Span,
}

/// What a handler's panic left.
type Panic = Box<dyn Any + Send>;

impl Execution {
    /// Hands the call to its program, which it has not begun with yet.
    pub(super) fn begin(self, span: Span) -> Running {
        let Self { program, call, ending } = self;
        let (cancel, deadline) = (call.caller.call.cancel.clone(), call.caller.call.deadline);
        let work = Box::pin(async move { program.call(call).await });
        Running { work, cancel, deadline, ending: Some(ending), span }
    }

    /// Waits for the call that this one is a copy of, and runs if that one gave up. Stops waiting when
    /// its own connection ends, so that the reply goes to one that lives.
    pub(super) async fn wait_for(mut self, turn: oneshot::Receiver<Handoff>) -> Option<Answer> {
        let caller = &self.call.caller;
        let turn = tokio::select! {
            biased;
            turn = timeout_at(caller.call.deadline, turn) => turn.ok()?.ok()?,
            () = caller.call.cancel.cancelled() => return None,
        };
        match turn {
            Handoff::Reply(reply) => {
                let answer = Answer::new(caller.call.timing.xid, reply)?;
                Some(answer.followed(self.ending.delivery))
            }
            Handoff::Run(running) => {
                self.ending.running = Some(running);
                self.begin(Span::none()).end().await
            }
        }
    }
}

impl Running {
    /// Goes on with the call, without a look at its time. `None` where no answer is due. Not to be polled
    /// when it has ended.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Answer>> {
        let span = self.span.clone();
        let _in = span.enter();
        let done = ready!(self.poll_work(context));
        Poll::Ready(self.finish(Some(done)))
    }

    /// Runs the call to its end, or to the end of its time and its grace. A call that must not be done twice
    /// does so without its connection too: a client that connects anew repeats its calls.
    pub async fn end(mut self) -> Option<Answer> {
        let span = self.span.clone();
        async {
            let done = self.until_its_time_is_over().await;
            self.finish(done)
        }
        .instrument(span)
        .await
    }

    async fn until_its_time_is_over(&mut self) -> Option<Result<Reply, Panic>> {
        let (cancel, deadline) = (self.cancel.clone(), self.deadline);
        let is_change = self.ending.as_ref().is_some_and(|ending| ending.running.is_some());
        tokio::select! {
            biased;
            done = self.work() => Some(done),
            () = sleep_until(deadline) => {
                if let Some(ending) = &self.ending {
                    ending.log.is_late();
                }
                cancel.cancel();
                let grace = if is_change { GRACE_OF_CHANGES } else { GRACE };
                timeout(grace, self.work()).await.ok()
            }
            () = cancel.cancelled() => {
                let grace = match is_change {
                    true => deadline + GRACE_OF_CHANGES,
                    false => Instant::now() + GRACE_WITHOUT_CONNECTION,
                };
                timeout_at(grace, self.work()).await.ok()
            }
        }
    }

    fn work(&mut self) -> impl Future<Output = Result<Reply, Panic>> {
        std::future::poll_fn(|context| self.poll_work(context))
    }

    /// A handler's panic is its result. It is not polled again after one.
    fn poll_work(&mut self, context: &mut Context<'_>) -> Poll<Result<Reply, Panic>> {
        let work = self.work.as_mut();
        match catch_unwind(AssertUnwindSafe(|| work.poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }

    fn finish(&mut self, done: Option<Result<Reply, Panic>>) -> Option<Answer> {
        let Ending { log, index, meter, slow, running, delivery } = self.ending.take()?;
        let reply = match done {
            Some(Ok(reply)) => reply,
            Some(Err(panic)) => {
                log.panicked(message_of(&*panic));
                Reply::SystemError
            }
            None => {
                // No answer: one that fails the call would reach an application as EIO, while the
                // client's retransmission may well succeed.
                log.is_dropped();
                Reply::Dropped.note_failure(&log.timing);
                meter.count(index, log.took(), &log.timing);
                return None;
            }
        };
        reply.note_failure(&log.timing);
        let took = log.took();
        meter.count(index, took, &log.timing);
        let reply = match running {
            Some(running) => running.finish(reply, self.cancel.is_cancelled())?,
            None => reply,
        };
        let answer = Answer::new(log.timing.xid, reply)?;
        log.ended(took, &slow);
        Some(answer.followed(delivery))
    }
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let string = panic.downcast_ref::<String>().map(String::as_str);
    string.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
