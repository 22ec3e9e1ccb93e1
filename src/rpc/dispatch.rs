//! From a record to its answer: header, program, procedure, reply cache, deadline.
//!
//! A call is polled once where its record was read, so that what needs no waiting costs no task. What does
//! wait is for the connection to poll again when it is woken, or to run as a task of its own, which any core
//! may run and which delays no other call.

mod execution;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

pub use self::execution::Running;
use self::execution::{Ending, Execution};
use super::FREE_BYTES;
use super::call_log::{CallLog, Slow};
use super::message::{Answer, CallHeader, Incoming};
use super::reply_cache::{Begin, ClientCache, Handoff, InProgress, ReplyCache, ReplyCacheLimits};
use super::reply_stream::{Delivery, ReplyStream};
use super::{Arrival, CallMessage, Program, Reply, Standing};
use crate::counters::{Calls, Clients, Measured, Meter, Readings, SlowCalls};
use crate::types::{AtomicDuration, Call, CallTiming, Caller, ClientAddress, Replay};
use crate::xdr::{DecodeError, Decoder};

/// Calls with more arguments than this are not polled where they were read: moving that much data
/// is better done beside reading the next call.
const POLL_AT_ONCE_BYTES: usize = 32 << 10;

/// Procedures of a program that are counted.
const MOST_PROCEDURES: u32 = 64;

/// Two programs have the same number and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("program {number} version {version} is there twice")]
pub struct DuplicateProgram {
    pub number: u32,
    pub version: u32,
}

/// The times of calls that begin from now on, and what was counted of those that have ended: the same for
/// every dispatcher of a server.
#[derive(Debug)]
pub struct CallTimes {
    /// How long a call may take before its token fires.
    pub request: AtomicDuration,
    /// A call that takes this long is logged; zero: none.
    pub slow: AtomicDuration,
    /// The clients and their calls.
    pub clients: Arc<Clients>,
    /// The calls that took long.
    pub slow_calls: Arc<SlowCalls>,
}

impl CallTimes {
    /// Both times to begin with.
    #[must_use]
    pub fn new(request: Duration, slow: Duration) -> Arc<Self> {
        Arc::new(Self {
            request: AtomicDuration::new(request),
            slow: AtomicDuration::new(slow),
            clients: Clients::new(Calls::default()),
            slow_calls: Arc::default(),
        })
    }
}

/// The programs and what their calls share.
#[derive(Debug)]
pub struct Dispatcher {
    programs: Vec<Counted>,
    times: Arc<CallTimes>,
    replies: Arc<ReplyCache>,
}

/// A program, and by what its procedures are counted.
#[derive(Debug)]
struct Counted {
    program: Arc<dyn Program>,
    /// Of each procedure; of a number beyond them, nothing.
    indices: Vec<usize>,
}

/// A procedure of a program.
struct Procedure {
    program: Arc<dyn Program>,
    name: &'static str,
    /// By what it is counted.
    index: usize,
}

/// One connection's calls.
#[derive(Debug)]
pub struct Session {
    dispatcher: Arc<Dispatcher>,
    meter: Arc<Meter>,
    origin: Origin,
    replies: ClientCache,
}

/// Where calls come from, and what ends them.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The client's address and port.
    pub peer: SocketAddr,
    /// The address and the protocol that the client used.
    pub arrival: Arrival,
    /// Told of a valid handle.
    pub standing: Standing,
    /// The parent of the calls' tokens.
    pub cancel: CancellationToken,
}

/// A call to be run as a task. `None` where no answer is due on this connection.
pub type Task = Pin<Box<dyn Future<Output = Option<Answer>> + Send>>;

/// What became of a record.
#[allow(missing_debug_implementations, reason = "a future has none")]
pub enum Started {
    Answered(Answer),
    /// The call waits, and wakes the waker that was given: to be polled again, or to be run as a task.
    Waiting(Box<Running>),
    /// The call is to be run as a task.
    Task(Task),
    /// There is no memory yet for the call, which has not begun.
    Lacking(Box<Lacking>),
    /// No answer is due.
    Nothing,
}

/// A call that has not begun for want of memory. Its time runs.
#[allow(missing_debug_implementations, reason = "spans and programs say nothing of use")]
pub struct Lacking {
    execution: Execution,
    span: Span,
}

/// What the reply cache makes of a call.
enum Begun {
    Run(Execution),
    /// A copy of a call in progress.
    Wait(Execution, oneshot::Receiver<Handoff>),
    Answered(Answer),
    Nothing,
}

impl Dispatcher {
    /// A dispatcher to `programs`, whose calls have `times`.
    pub fn new(
        programs: Vec<Arc<dyn Program>>,
        times: Arc<CallTimes>,
    ) -> Result<Arc<Self>, DuplicateProgram> {
        for (index, program) in programs.iter().enumerate() {
            let (number, version) = (program.number(), program.version());
            if programs[..index].iter().any(|p| (p.number(), p.version()) == (number, version)) {
                return Err(DuplicateProgram { number, version });
            }
        }
        let replies = ReplyCache::new(ReplyCacheLimits::default());
        let calls = times.clients.calls();
        let programs = programs.into_iter().map(|program| {
            let name = program_name(program.number());
            let indices = (0..MOST_PROCEDURES).map(|number| {
                let procedure = program.procedure_name(number);
                procedure.map_or(usize::MAX, |procedure| calls.index(name, procedure))
            });
            let indices = indices.collect();
            Counted { program, indices }
        });
        Ok(Arc::new(Self { programs: programs.collect(), times, replies }))
    }

    /// Begins a connection of a client, by which the replies of `stream` go out.
    #[must_use]
    pub fn session(self: &Arc<Self>, origin: Origin, stream: Arc<ReplyStream>) -> Session {
        let replies = self.replies.connect(origin.peer, stream);
        let meter = self.meter(origin.peer);
        Session { dispatcher: self.clone(), meter, origin, replies }
    }

    fn meter(&self, peer: SocketAddr) -> Arc<Meter> {
        Arc::new(self.times.clients.connect(ClientAddress::of(peer.ip())))
    }

    /// Answers a call that came as a datagram; `None` where no answer is due. A datagram arrives twice more
    /// easily than a record, so the reply cache is asked too.
    pub async fn datagram(&self, origin: &Origin, call: Bytes) -> Option<Answer> {
        let (header, arguments) = match Incoming::decode(call).ok()? {
            Incoming::Call(header, arguments) => (header, arguments),
            Incoming::Refused(answer) => return Some(answer),
            Incoming::Reply => return None,
        };
        let procedure = match self.find(&header) {
            Ok(procedure) => procedure,
            Err(answer) => return Some(answer),
        };
        let span = self.span(&header, &procedure, origin, &arguments);
        let replies = procedure
            .program
            .is_replayed(header.procedure)
            .then(|| self.replies.datagram(origin.peer));
        let meter = self.meter(origin.peer);
        match self.begin(origin, meter, replies.as_ref(), procedure, header, arguments, &span) {
            Begun::Run(execution) => execution.begin(span).end().await,
            Begun::Wait(execution, turn) => execution.wait_for(turn).instrument(span).await,
            Begun::Answered(answer) => Some(answer),
            Begun::Nothing => None,
        }
    }

    /// Asks the reply cache what a call is; without one it is new.
    #[allow(clippy::too_many_arguments, reason = "the parts of one call")]
    fn begin(
        &self,
        origin: &Origin,
        meter: Arc<Meter>,
        replies: Option<&ClientCache>,
        procedure: Procedure,
        header: CallHeader,
        arguments: Decoder,
        span: &Span,
    ) -> Begun {
        // A clone shares the bytes.
        let id = replies.map(|it| (it, it.id(&header, &arguments.clone().rest())));
        let program = procedure.program.clone();
        let replay = replies
            .filter(|_| program.is_recorded(header.procedure))
            .map(|it| it.replay(&header, &arguments.clone().rest()));
        let xid = header.xid;
        let call = self.call(origin, header, arguments, replay);
        let begin = id.map(|(replies, id)| replies.begin(id, || program.is_admitted(&call)));
        let (running, delivery) = match begin {
            Some(Begin::Run(running, delivery)) => (Some(running), Some(delivery)),
            Some(Begin::NotAdmitted) | None => (None, None),
            Some(Begin::Late) => {
                tracing::debug!(parent: span, "a repeat came first, by a newer connection");
                return Begun::Nothing;
            }
            Some(Begin::Recorded(results, delivery)) => {
                tracing::debug!(parent: span, "a repeat: the recorded reply");
                program.repeated(call);
                return Begun::Answered(Answer::success(xid, results).followed(Some(delivery)));
            }
            Some(Begin::Wait(turn, delivery)) => {
                tracing::debug!(parent: span, "a repeat of a call in progress");
                let execution = self.execution(procedure, meter, call, None, Some(delivery));
                return Begun::Wait(execution, turn);
            }
        };
        Begun::Run(self.execution(procedure, meter, call, running, delivery))
    }

    /// What is logged at a higher level names the call itself: a span costs nothing where debug is off.
    fn span(
        &self,
        header: &CallHeader,
        Procedure { program, name, .. }: &Procedure,
        origin: &Origin,
        arguments: &Decoder,
    ) -> Span {
        tracing::debug_span!(
            "call",
            xid = header.xid,
            client = %origin.peer,
            program = header.program,
            procedure = *name,
            handle = program.subject(header.procedure, arguments)
        )
    }

    fn call(
        &self,
        origin: &Origin,
        header: CallHeader,
        arguments: Decoder,
        replay: Option<Replay>,
    ) -> CallMessage {
        let call = Call {
            claimant: Some(ClientAddress::of(origin.peer.ip())),
            cancel: origin.cancel.child_token(),
            deadline: Instant::now() + self.times.request.get(),
            timing: Arc::new(CallTiming::new(header.xid)),
        };
        let credentials = header.identity.credentials;
        CallMessage {
            caller: Caller { address: origin.peer, credentials, call, replay },
            arrival: origin.arrival,
            standing: origin.standing.clone(),
            procedure: header.procedure,
            arguments,
        }
    }

    fn execution(
        &self,
        Procedure { program, name, index }: Procedure,
        meter: Arc<Meter>,
        call: CallMessage,
        running: Option<InProgress>,
        delivery: Option<Arc<Delivery>>,
    ) -> Execution {
        let log = CallLog::new(program.clone(), name, &call);
        let slow = Slow { limit: self.times.slow.get(), calls: self.times.slow_calls.clone() };
        Execution { program, call, ending: Ending { log, index, meter, slow, running, delivery } }
    }

    /// The procedure, or the answer that says what is missing (RFC 5531 section 9).
    fn find(&self, header: &CallHeader) -> Result<Procedure, Answer> {
        let versions = || self.programs.iter().filter(|p| p.program.number() == header.program);
        let found = versions().find(|p| p.program.version() == header.version);
        let Some(Counted { program, indices }) = found else {
            let numbers = || versions().map(|p| p.program.version());
            return Err(match (numbers().min(), numbers().max()) {
                (Some(low), Some(high)) => Answer::program_mismatch(header.xid, low, high),
                _ => Answer::program_unavailable(header.xid),
            });
        };
        match program.procedure_name(header.procedure) {
            Some(name) => {
                let number = usize::try_from(header.procedure).ok();
                let index = number.and_then(|number| indices.get(number).copied());
                let index = index.unwrap_or(usize::MAX);
                Ok(Procedure { program: program.clone(), name, index })
            }
            None => Err(Answer::procedure_unavailable(header.xid)),
        }
    }
}

/// The calls of every dispatcher of the server, and the reply cache of this one.
impl Measured for Dispatcher {
    fn read(&self, to: &mut Readings) {
        let calls = self.times.clients.calls();
        for it in calls.latencies() {
            let labels = [("program", it.program), ("procedure", it.procedure)];
            let help = "How long calls took, from their record to their reply";
            to.distribution("trunkfs_call_duration_seconds", help, &labels, it.latency);
        }
        for (program, procedure, failure, count) in calls.failures() {
            let own = self.programs.iter().map(|p| &p.program);
            let named = own
                .filter(|it| program_name(it.number()) == program)
                .find_map(|it| it.failure_name(failure));
            let status = named.or_else(|| Reply::failure_name(failure)).unwrap_or("other");
            let labels = [("program", program), ("procedure", procedure), ("status", status)];
            let help = "Calls that failed, by status of NFS or RPC";
            to.counter("trunkfs_call_failures", help, &labels, count);
        }
        let (read, written) = calls.bytes();
        to.counter("trunkfs_read_bytes", "Bytes of files that READ answered with", &[], read);
        to.counter("trunkfs_written_bytes", "Bytes of files that WRITE took", &[], written);
        self.replies.read(to);
    }
}

/// A program as figures name it.
fn program_name(number: u32) -> &'static str {
    match number {
        100_000 => "portmap",
        100_003 => "nfs",
        100_005 => "mount",
        100_021 => "nlm",
        100_024 => "nsm",
        _ => "other",
    }
}

impl Session {
    /// The client's address and port.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.origin.peer
    }

    /// The connection's replies.
    #[must_use]
    pub fn stream(&self) -> &Arc<ReplyStream> {
        self.replies.stream()
    }

    /// Takes a record, and answers it at once where nothing has to be waited for. A call that takes much
    /// memory beside its arguments begins if `takes` says that there is so much; see [`Program::memory`]. One
    /// that takes little may wake `waker` when it can go on.
    ///
    /// # Errors
    /// The record is no message of RPC to which a reply could be addressed.
    pub fn start(
        &self,
        record: Bytes,
        takes: impl FnOnce(usize) -> bool,
        waker: &Waker,
    ) -> Result<Started, DecodeError> {
        let (header, mut arguments) = match Incoming::decode(record)? {
            Incoming::Call(header, arguments) => (header, arguments),
            Incoming::Refused(answer) => return Ok(Started::Answered(answer)),
            Incoming::Reply => return Ok(Started::Nothing),
        };
        let procedure = match self.dispatcher.find(&header) {
            Ok(found) => found,
            Err(answer) => return Ok(Started::Answered(answer)),
        };
        let span = self.dispatcher.span(&header, &procedure, &self.origin, &arguments);
        let program = &procedure.program;
        let memory = program.memory(header.procedure, &arguments);
        if memory > 0 && arguments.remaining() > FREE_BYTES {
            // No memory is held while more is waited for.
            arguments = Decoder::new(Bytes::copy_from_slice(&arguments.rest()[..FREE_BYTES]));
        }
        let replies = program.is_replayed(header.procedure).then_some(&self.replies);
        let large = arguments.remaining() > POLL_AT_ONCE_BYTES;
        let (dispatcher, meter) = (&self.dispatcher, self.meter.clone());
        let begun =
            dispatcher.begin(&self.origin, meter, replies, procedure, header, arguments, &span);
        let execution = match begun {
            Begun::Run(execution) => execution,
            Begun::Wait(execution, turn) => {
                return Ok(Started::Task(Box::pin(execution.wait_for(turn).instrument(span))));
            }
            Begun::Answered(answer) => return Ok(Started::Answered(answer)),
            Begun::Nothing => return Ok(Started::Nothing),
        };
        if memory > 0 && !takes(memory) {
            return Ok(Started::Lacking(Box::new(Lacking { execution, span })));
        }
        let lacking = Lacking { execution, span };
        if memory > 0 {
            return Ok(lacking.start());
        }
        let Lacking { execution, span } = lacking;
        let mut running = execution.begin(span);
        if large {
            return Ok(Started::Task(Box::pin(running.end())));
        }
        Ok(match running.poll(&mut Context::from_waker(waker)) {
            Poll::Ready(answer) => Started::ended(answer),
            Poll::Pending => Started::Waiting(Box::new(running)),
        })
    }
}

impl Lacking {
    /// Begins the call.
    #[must_use]
    pub fn start(self) -> Started {
        let mut running = self.execution.begin(self.span);
        match running.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Started::ended(answer),
            Poll::Pending => Started::Task(Box::pin(running.end())),
        }
    }
}

impl Started {
    fn ended(answer: Option<Answer>) -> Self {
        answer.map_or(Self::Nothing, Self::Answered)
    }
}

#[cfg(test)]
mod tests;
