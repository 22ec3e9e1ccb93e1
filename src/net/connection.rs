//! One connection: reads records, starts their calls, and ends.
//!
//! A peer that sends nothing more counts as gone, and its calls are told to end, though it might still read:
//! no NFS client closes half of a connection, and only a write would show the difference.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt as _;
use rustix::io::ioctl_fionread;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::busy_poll::BusyPoll;
use super::kept_calls::KeptCalls;
use super::lost_addresses::leave_nothing_if_lost;
use super::memory_budget::{QUANTUM_BYTES, Slow};
use super::reply_queue::{RecordMemory, ReplyQueue};
use super::reply_writer::write_replies;
use super::socket::Socket;
use crate::log_limit::limited;
use crate::rpc::{RecordError, RecordReader, Session, Started, Step};
use crate::types::{BoundedChain, ClientAddress};
use crate::xdr::DecodeError;

/// What one read takes at most, in bytes; allocated while something is there to read only.
const INPUT_BYTES: usize = 16 << 10;
/// How often a peer that is not read from is looked after.
const LOOK_AFTER: Duration = Duration::from_millis(500);

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the peer closed the connection")]
    Closed,
    #[error("the server stops")]
    Stopped,
    #[error("the connection is idle")]
    Idle,
    #[error(
        "displaced by another connection, or an address is no longer admitted or this machine's"
    )]
    Displaced,
    #[error("replies cannot be written")]
    Unwritten,
    #[error("reading failed")]
    Read(#[from] io::Error),
    #[error("the peer does not speak ONC RPC")]
    Record(#[from] RecordError),
    #[error("the peer sent an invalid RPC message")]
    Message(#[from] DecodeError),
    #[error("timeout: the peer sent an incomplete record")]
    Stalled,
    #[error(
        "the peer sends too slowly while other connections wait for memory (server.memory_budget)"
    )]
    SlowSender,
    #[error(
        "the peer does not read its replies while other connections wait for memory (server.memory_budget)"
    )]
    SlowReceiver,
}

/// The reading half.
struct Reading<'a> {
    socket: Arc<Socket>,
    records: RecordReader,
    input: BytesMut,
    /// The last read filled the input: there may be more.
    more: bool,
    /// The memory of the record under way, where the record is large.
    record: Option<RecordMemory>,
    busy: BusyPoll,
    session: Session,
    replies: Arc<ReplyQueue>,
    kept: &'a KeptCalls,
    shared: Arc<Shared>,
}

/// Closes the reply queue whatever way the connection's task ends.
struct CloseAtEnd(Arc<ReplyQueue>);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Serves a connection to its end; `cancel` is the parent of its calls' tokens.
pub(super) async fn serve(
    socket: Arc<Socket>,
    session: Session,
    cancel: CancellationToken,
    shared: Arc<Shared>,
) {
    let peer = session.peer();
    let settings = &shared.settings;
    let client = ClientAddress::of(peer.ip());
    let (memory, orphans) = (shared.budget.connect(client), shared.orphans.of(client));
    let replies = ReplyQueue::new(settings.calls_per_connection, memory, cancel.clone(), orphans);
    let close = CloseAtEnd(replies.clone());
    let mut writer = tokio::spawn(write_replies(
        socket.clone(),
        replies.clone(),
        settings.write_timeout,
        shared.drain.clone(),
    ));
    let kept = KeptCalls::new(replies.clone());
    let mut reading = Reading {
        socket: socket.clone(),
        records: RecordReader::default(),
        input: BytesMut::new(),
        more: false,
        record: None,
        busy: BusyPoll::default(),
        session,
        replies: replies.clone(),
        kept: &kept,
        shared: shared.clone(),
    };
    let end = tokio::select! {
        biased;
        () = socket.end().cancelled() => {
            if shared.drain.is_cancelled() { End::Stopped } else { End::Displaced }
        }
        // The server cancels no calls before it stops: the writer has given up.
        () = cancel.cancelled() => End::Unwritten,
        slow = must_end(&replies, socket.stream()) => match slow {
            Slow::Sender => End::SlowSender,
            Slow::Receiver => End::SlowReceiver,
        },
        Err(end) = reading.read_calls() => end,
        // After reading: kept calls are polled in the same turn.
        never = kept.go_on() => match never {},
    };
    match &end {
        End::Closed | End::Stopped | End::Idle | End::Displaced | End::Unwritten | End::Read(_) => {
            tracing::debug!(%peer, %end, "connection");
        }
        End::Record(_) | End::Message(_) | End::Stalled | End::SlowSender | End::SlowReceiver => {
            limited!(warn, peer, "closing connection", %peer, reason = %BoundedChain(&end));
        }
    }
    drop(reading);
    drop(kept);
    let is_lost = matches!(end, End::Displaced) && leave_nothing_if_lost(socket.stream());
    if matches!(end, End::Stopped) {
        // Calls in flight may finish, until the server or the writer gives up on them, or the peer is gone.
        tokio::select! {
            () = replies.idle() => {}
            () = peer_gone(socket.stream()) => {}
            () = shared.kill.cancelled() => {}
        }
    }
    if is_lost || matches!(end, End::SlowReceiver) {
        // Its replies are dropped with the task that writes them.
        writer.abort();
    }
    drop(close);
    drop(socket);
    tokio::select! {
        _ = &mut writer => {}
        () = shared.kill.cancelled() => writer.abort(),
    }
}

/// Waits until the connection must end for its slowness. A sender whose bytes wait in the socket is not slow:
/// the server is.
async fn must_end(replies: &ReplyQueue, stream: &TcpStream) -> Slow {
    loop {
        let slow = replies.must_end().await;
        let unread = ioctl_fionread(stream).unwrap_or(0);
        if slow == Slow::Receiver || unread < QUANTUM_BYTES as u64 {
            return slow;
        }
        replies.goes_on();
    }
}

/// Waits until the peer is known to be gone, by a connection that is not read from.
async fn peer_gone(stream: &TcpStream) {
    loop {
        // Answered by what the runtime has seen of the socket.
        match stream.ready(Interest::READABLE).now_or_never() {
            Some(Ok(ready)) if ready.is_read_closed() => return,
            Some(Err(_)) => return,
            Some(Ok(_)) | None => sleep(LOOK_AFTER).await,
        }
    }
}

impl Reading<'_> {
    /// Reads and starts calls; comes back with the reason to stop only.
    async fn read_calls(&mut self) -> Result<std::convert::Infallible, End> {
        let mut idle = IdleLimit::new(self.replies.clone(), self.shared.clone());
        loop {
            // A record under way is read on: its memory is granted as it grows.
            if !self.records.is_partial() {
                self.unless_gone(self.replies.has_room()).await?;
            }
            match self.records.step(&mut self.input)? {
                Step::Record(record) => self.start(record).await?,
                Step::Grow { step, rest } => {
                    self.replies.wake_writer();
                    let mut record = self.record.take().unwrap_or_else(|| self.replies.record());
                    let granted = self.unless_gone(record.grow(step, rest)).await?;
                    self.record = Some(record);
                    self.records.granted(granted);
                }
                Step::Hungry => {
                    self.replies.wake_writer();
                    if self.more {
                        // The writer, and other connections, before more is read.
                        yield_now().await;
                    }
                    self.fill(&mut idle).await?;
                }
            }
        }
    }

    /// Starts a record's call, when there is memory for it.
    async fn start(&mut self, record: Bytes) -> Result<(), End> {
        self.busy.begins();
        let mut slot = self.replies.begin(record.len(), self.record.take());
        let waker = self.kept.waker();
        let mut started = self.session.start(record, |memory| slot.takes(memory), &waker)?;
        if let Started::Lacking(call) = started {
            self.unless_gone(self.replies.begins(&mut slot)).await?;
            started = call.start();
        }
        match started {
            Started::Answered(answer) => slot.answer(answer),
            Started::Nothing | Started::Lacking(_) => {}
            Started::Waiting(call) => {
                slot.waits();
                self.kept.keep(call, slot);
            }
            Started::Task(task) => {
                slot.waits();
                self.kept.run(task, slot);
            }
        }
        Ok(())
    }

    /// Reads on. In the middle of a record the sender must keep at it.
    async fn fill(&mut self, idle: &mut IdleLimit) -> Result<(), End> {
        if !self.records.is_partial() {
            self.busy.poll(&self.shared.busy_thread, self.socket.stream(), &self.replies).await;
            let read = tokio::select! {
                biased;
                read = self.read() => read,
                () = idle.reached() => return Err(End::Idle),
            };
            self.busy.waited(self.replies.idle_since().map(|since| since.elapsed()));
            return read;
        }
        let patience = self.shared.settings.record_timeout;
        timeout(patience, self.read()).await.map_err(|_| End::Stalled)?
    }

    /// Waits for `future`, or for the peer to be gone.
    async fn unless_gone<T>(&self, future: impl Future<Output = T>) -> Result<T, End> {
        tokio::select! {
            biased;
            done = future => Ok(done),
            () = peer_gone(self.socket.stream()) => Err(End::Closed),
        }
    }

    async fn read(&mut self) -> Result<(), End> {
        let stream = self.socket.stream();
        loop {
            // Nothing is allocated while there is nothing to read: an idle connection has no buffer.
            poll_fn(|context| stream.poll_read_ready(context)).await?;
            let (read, large) = match self.records.direct() {
                Some(mut space) => (read_some(stream, &mut space), true),
                None => {
                    let mut input = BytesMut::with_capacity(INPUT_BYTES);
                    let read = read_some(stream, &mut input);
                    self.input = input;
                    (read, false)
                }
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.socket.replies().broke();
                    return Err(error.into());
                }
                Ok(0) => {
                    self.socket.replies().finished();
                    return Err(End::Closed);
                }
                Ok(bytes) => {
                    self.socket.replies().heard();
                    if self.record.is_some() {
                        self.replies.pace().record_arrives(bytes);
                    }
                    if large {
                        self.records.read_directly(bytes);
                    } else {
                        self.more = bytes == INPUT_BYTES;
                    }
                    return Ok(());
                }
            }
        }
    }
}

/// Reads the bytes that are there. A read that leaves room has taken all of them (epoll(7)): the next one waits
/// for the socket without asking it in vain.
fn read_some(stream: &TcpStream, space: &mut impl BufMut) -> io::Result<usize> {
    let room = space.chunk_mut().len();
    let mut read = Ok(0);
    let more = stream.try_io(Interest::READABLE, || {
        read = stream.try_read_buf(space);
        match &read {
            Ok(bytes) if (1..room).contains(bytes) => Err(io::ErrorKind::WouldBlock.into()),
            Ok(_) | Err(_) => Ok(()),
        }
    });
    more.ok();
    read
}

/// The limit of the time without a call.
struct IdleLimit {
    replies: Arc<ReplyQueue>,
    shared: Arc<Shared>,
    /// When to look next, which is not at every call.
    look: Pin<Box<Sleep>>,
}

impl IdleLimit {
    fn new(replies: Arc<ReplyQueue>, shared: Arc<Shared>) -> Self {
        let look = Box::pin(sleep(shared.idle_timeout.get()));
        Self { replies, shared, look }
    }

    async fn reached(&mut self) {
        loop {
            self.look.as_mut().await;
            let (now, limit) = (Instant::now(), self.shared.idle_timeout.get());
            let end = self.replies.idle_since().unwrap_or(now) + limit;
            if end <= now {
                return;
            }
            self.look.as_mut().reset(end);
        }
    }
}

#[cfg(test)]
mod tests;
