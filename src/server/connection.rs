//! One connection: reads records, starts their calls, and ends.
//!
//! A peer that sends nothing more counts as gone, and its calls are told to end, though it might still read: no NFS
//! client closes half of a connection, and only a write would show the difference.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};
use tokio_util::io::poll_read_buf;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::limits::Reservation;
use super::outbox::Outbox;
use super::places::Place;
use super::writer::write_replies;
use crate::log_limit::limited;
use crate::rpc::{RecordError, RecordReader, Session, Started, Step};
use crate::types::Chain;
use crate::xdr::DecodeError;

/// What one read takes at most, in bytes; allocated while something is there to read only.
const INPUT_BYTES: usize = 16 << 10;
/// How often a sender in the middle of a record is looked after.
const LOOK_AFTER: Duration = Duration::from_millis(500);
/// How long a sender may pause within a large record while others wait for memory.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a large record may take in all while others wait for memory.
const LONGEST_UNDER_PRESSURE: Duration = Duration::from_secs(10);

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the peer closed the connection")]
    Closed,
    #[error("the connection is not read any more")]
    Stopped,
    #[error("reading failed")]
    Read(#[from] io::Error),
    #[error("no record as RFC 5531 marks it")]
    Record(#[from] RecordError),
    #[error("no message of RPC")]
    Message(#[from] DecodeError),
    #[error("the peer does not finish its record")]
    Stalled,
    #[error("the peer does not finish its record, and others need the memory")]
    Pressed,
}

/// The reading half.
struct Reading {
    stream: OwnedReadHalf,
    records: RecordReader,
    input: BytesMut,
    /// The last read filled the input: there may be more.
    more: bool,
    /// The record under way's memory, where it is large.
    reservation: Option<(Reservation, Instant)>,
    session: Session,
    outbox: Arc<Outbox>,
    shared: Arc<Shared>,
}

/// Closes the outbox whatever way the connection's task ends.
struct CloseAtEnd(Arc<Outbox>);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Serves a connection to its end; `cancel` is the parent of its calls' tokens.
pub(super) async fn serve(
    stream: TcpStream,
    session: Session,
    cancel: CancellationToken,
    shared: Arc<Shared>,
    place: Place,
) {
    let peer = session.peer();
    let stop = shared.drain.child_token();
    let settings = &shared.settings;
    let budget = shared.budget.clone();
    let outbox = Outbox::new(settings.calls_per_connection, budget, cancel.clone(), place);
    let close = CloseAtEnd(outbox.clone());
    let (reader, writer) = stream.into_split();
    let mut writer = tokio::spawn(write_replies(writer, outbox.clone(), settings.write_timeout));
    let mut reading = Reading {
        stream: reader,
        records: RecordReader::default(),
        input: BytesMut::new(),
        more: false,
        reservation: None,
        session,
        outbox: outbox.clone(),
        shared: shared.clone(),
    };
    let end = tokio::select! {
        biased;
        () = stop.cancelled() => End::Stopped,
        () = cancel.cancelled() => End::Stopped,
        Err(end) = reading.read_calls() => end,
    };
    match &end {
        End::Closed | End::Stopped | End::Read(_) => tracing::debug!(%peer, %end, "connection"),
        End::Record(_) | End::Message(_) | End::Stalled | End::Pressed => {
            limited!(warn, peer, "a connection is closed", %peer, reason = %Chain(&end));
        }
    }
    drop(reading);
    if matches!(end, End::Stopped) {
        // Calls in flight may finish, until the server or the writer gives up on them.
        tokio::select! {
            () = outbox.idle() => {}
            () = shared.kill.cancelled() => {}
        }
    }
    drop(close);
    tokio::select! {
        _ = &mut writer => {}
        () = shared.kill.cancelled() => writer.abort(),
    }
}

impl Reading {
    /// Reads and starts calls; comes back with the reason to stop only.
    async fn read_calls(&mut self) -> Result<std::convert::Infallible, End> {
        loop {
            self.outbox.has_room().await;
            match self.records.step(&mut self.input)? {
                Step::Record(record) => self.start(record)?,
                Step::Reserve(bytes) => {
                    self.outbox.wake_writer();
                    let reservation = self.shared.budget.reserve(bytes).await;
                    self.reservation = reservation.map(|it| (it, Instant::now()));
                    self.records.granted();
                }
                Step::Hungry => {
                    self.outbox.wake_writer();
                    if self.more {
                        // The writer, and other connections, before more is read.
                        yield_now().await;
                    }
                    self.fill().await?;
                }
            }
        }
    }

    /// Starts a record's call.
    fn start(&mut self, record: Bytes) -> Result<(), End> {
        let reservation = self.reservation.take().map(|(reservation, _)| reservation);
        let slot = self.outbox.begin(record.len(), reservation);
        match self.session.start(record)? {
            Started::Answered(answer) => slot.answer(answer),
            Started::Nothing => {}
            Started::Waiting(call) => {
                let outbox = self.outbox.clone();
                tokio::spawn(async move {
                    if let Some(answer) = call.await {
                        slot.answer(answer);
                        outbox.wake_writer();
                    }
                });
            }
        }
        Ok(())
    }

    /// Reads on. In the middle of a record the sender must keep at it.
    async fn fill(&mut self) -> Result<(), End> {
        if !self.records.is_partial() {
            return self.read().await;
        }
        let began = Instant::now();
        loop {
            if let Some((_, since)) = &self.reservation {
                let dawdles = began.elapsed() >= PAUSE || since.elapsed() >= LONGEST_UNDER_PRESSURE;
                if dawdles && self.shared.budget.is_wanted() {
                    return Err(End::Pressed);
                }
            }
            if began.elapsed() >= self.shared.settings.record_timeout {
                return Err(End::Stalled);
            }
            if let Ok(read) = timeout(LOOK_AFTER, self.read()).await {
                return read;
            }
        }
    }

    async fn read(&mut self) -> Result<(), End> {
        let read = poll_fn(|context| {
            let stream = Pin::new(&mut self.stream);
            if let Some(mut space) = self.records.direct() {
                return poll_read_buf(stream, context, &mut space).map_ok(|bytes| (bytes, true));
            }
            // Not kept while there is nothing to read: an idle connection has no buffer.
            let mut input = BytesMut::with_capacity(INPUT_BYTES);
            let poll = poll_read_buf(stream, context, &mut input);
            if poll.is_ready() {
                self.input = input;
            }
            poll.map_ok(|bytes| (bytes, false))
        });
        match read.await? {
            (0, _) => Err(End::Closed),
            (bytes, true) => {
                self.records.read_directly(bytes);
                Ok(())
            }
            (bytes, false) => {
                self.more = bytes == INPUT_BYTES;
                Ok(())
            }
        }
    }
}
