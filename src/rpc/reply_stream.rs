//! Which replies a client may not have read: the bytes that a connection has written, beside those that its peer has
//! acknowledged.
//!
//! An acknowledgement comes from the peer's kernel, and the program there may not have read the bytes. A connection that
//! ends in order was read first: a kernel whose program closes a connection with bytes unread resets it. So the replies of
//! a connection that breaks count as read only up to the last sign of the client: a call, or the end of its calls.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

/// A client that sends nothing for longer than this may have lost its connection without the server's knowledge, and a
/// reply that is not acknowledged for longer than this may be lost.
pub(super) const SILENCE: Duration = Duration::from_secs(1);
/// How often the account of a connection that is being written to is read again.
const ATTEMPTS: usize = 8;
/// The end of a reply that was not queued.
const NOT_QUEUED: u64 = u64::MAX;

/// A connection's other end, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// The connection is open.
    Connected,
    /// The peer sends nothing more.
    Finished,
    /// The connection was reset, or has timed out.
    Reset,
}

/// The kernel's side of a connection. It is asked when a call looks like one of another connection, and when a connection
/// ends: what the server has read may be older.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// The bytes written that the peer has not acknowledged; `None` while the socket is being closed.
    fn unacknowledged(&self) -> Option<u64>;

    /// The connection's other end.
    fn peer(&self) -> PeerState;
}

/// The bytes of one connection's replies.
#[derive(Debug)]
pub struct ReplyStream {
    transport: Box<dyn Transport>,
    opened: Instant,
    /// Bytes that the socket has taken.
    written: AtomicU64,
    /// Odd during a write, so that a reader of `written` sees that it is about to change.
    writes: AtomicU64,
    /// When the client last sent something, in milliseconds after `opened`,
    heard: AtomicU64,
    /// and the bytes that were written until then.
    written_when_heard: AtomicU64,
    /// The end of the last reply that the cache may be asked for.
    recorded: AtomicU64,
    /// The client sends nothing more.
    finished: AtomicBool,
    /// The connection was reset, or timed out.
    broken: AtomicBool,
    /// The bytes that the client has read, once the socket is closed.
    read: OnceLock<u64>,
}

impl ReplyStream {
    /// The stream of a connection that has just been accepted.
    #[must_use]
    pub fn new(transport: Box<dyn Transport>) -> Self {
        Self {
            transport,
            opened: Instant::now(),
            written: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            written_when_heard: AtomicU64::new(0),
            recorded: AtomicU64::new(0),
            finished: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            read: OnceLock::new(),
        }
    }

    /// The client sent something.
    pub fn heard(&self) {
        let millis = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(millis, Ordering::Relaxed);
        self.written_when_heard.store(self.written.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The client ended its side of the connection.
    pub fn finished(&self) {
        self.heard();
        self.finished.store(true, Ordering::Release);
    }

    /// The connection was reset, or the client takes nothing.
    pub fn broke(&self) {
        self.broken.store(true, Ordering::Release);
    }

    /// Whether the connection broke.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Counts what `write` writes. A connection has one writer.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn write(&self, write: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        let written = write();
        if let Ok(bytes) = written {
            self.written.fetch_add(bytes as u64, Ordering::SeqCst);
        }
        self.writes.fetch_add(1, Ordering::SeqCst);
        written
    }

    /// Whether a reply that the cache may be asked for is not acknowledged yet.
    #[must_use]
    pub fn awaits_acknowledgement(&self) -> bool {
        let recorded = self.recorded.load(Ordering::Acquire);
        recorded > 0 && self.read().is_none_or(|bytes| bytes < recorded)
    }

    /// The socket is about to be closed; the arguments are the last that [`Transport`] knows.
    pub fn close(&self, unacknowledged: u64, peer: PeerState) {
        let read = self.bytes_read(self.written.load(Ordering::SeqCst), unacknowledged, peer);
        // A second call would change nothing.
        let _ = self.read.set(read);
    }

    /// Whether the client may have lost the connection: it has ended, or nothing came for a while.
    pub(super) fn is_silent(&self) -> bool {
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        self.opened.elapsed().saturating_sub(heard) > SILENCE || self.has_ended()
    }

    /// Whether the client has ended the connection, or it broke.
    pub(super) fn has_ended(&self) -> bool {
        self.read.get().is_some()
            || self.finished.load(Ordering::Acquire)
            || self.is_broken()
            || self.transport.peer() != PeerState::Connected
    }

    /// The bytes that the client has read; `None` while the socket takes more.
    fn read(&self) -> Option<u64> {
        for _ in 0..ATTEMPTS {
            if let Some(read) = self.read.get() {
                return Some(*read);
            }
            let writes = self.writes.load(Ordering::SeqCst);
            let written = self.written.load(Ordering::SeqCst);
            let peer = self.transport.peer();
            let unacknowledged = self.transport.unacknowledged();
            let unchanged =
                writes.is_multiple_of(2) && self.writes.load(Ordering::SeqCst) == writes;
            if let Some(unacknowledged) = unacknowledged.filter(|_| unchanged) {
                return Some(self.bytes_read(written, unacknowledged, peer));
            }
            std::thread::yield_now();
        }
        None
    }

    fn bytes_read(&self, written: u64, unacknowledged: u64, peer: PeerState) -> u64 {
        let acknowledged = written.saturating_sub(unacknowledged);
        if self.is_broken() || peer == PeerState::Reset {
            acknowledged.min(self.written_when_heard.load(Ordering::Relaxed))
        } else {
            acknowledged
        }
    }
}

/// What became of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was not handed to the connection.
    NotQueued,
    /// The client has it.
    Read,
    /// It is on its way, as far as is known.
    OnItsWay,
    /// The client may have lost it.
    MaybeLost,
}

/// One reply of a stream.
#[derive(Debug)]
pub(super) struct Delivery {
    stream: Arc<ReplyStream>,
    /// Its end in the stream.
    end: AtomicU64,
}

impl Delivery {
    pub(super) fn new(stream: Arc<ReplyStream>) -> Self {
        Self { stream, end: AtomicU64::new(NOT_QUEUED) }
    }

    pub(super) fn stream(&self) -> &Arc<ReplyStream> {
        &self.stream
    }

    /// The reply is queued, and ends at byte `end` of the stream. A reply that is sent twice counts where it was first.
    pub(super) fn queued(&self, end: u64) {
        let first = self.end.compare_exchange(NOT_QUEUED, end, Ordering::AcqRel, Ordering::Relaxed);
        if first.is_ok() {
            self.stream.recorded.fetch_max(end, Ordering::AcqRel);
        }
    }

    /// What became of a reply that was ready for `age`.
    pub(super) fn fate(&self, age: Duration) -> Fate {
        let end = self.end.load(Ordering::Acquire);
        if end == NOT_QUEUED {
            return Fate::NotQueued;
        }
        match self.stream.read() {
            Some(read) if read >= end => Fate::Read,
            Some(_) if age > SILENCE || self.stream.is_silent() => Fate::MaybeLost,
            Some(_) | None => Fate::OnItsWay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Queue(Arc<AtomicU64>);

    impl Transport for Queue {
        fn unacknowledged(&self) -> Option<u64> {
            Some(self.0.load(Ordering::Relaxed))
        }

        fn peer(&self) -> PeerState {
            PeerState::Connected
        }
    }

    fn stream() -> (Arc<ReplyStream>, Queue) {
        let queue = Queue::default();
        (Arc::new(ReplyStream::new(Box::new(queue.clone()))), queue)
    }

    #[test]
    fn only_replies_that_may_be_asked_for_are_awaited() {
        let (stream, queue) = stream();
        stream.write(|| Ok(100)).unwrap();
        queue.0.store(100, Ordering::Relaxed);
        assert!(!stream.awaits_acknowledgement());
        Delivery::new(stream.clone()).queued(40);
        assert!(stream.awaits_acknowledgement());
        queue.0.store(60, Ordering::Relaxed);
        assert!(!stream.awaits_acknowledgement());
    }

    #[test]
    fn a_failed_write_writes_nothing() {
        let (stream, _) = stream();
        let would_block = || Err(io::ErrorKind::WouldBlock.into());
        assert!(stream.write(would_block).is_err());
        assert_eq!(stream.read(), Some(0));
    }

    #[test]
    fn a_reply_under_write_is_on_its_way() {
        let (stream, queue) = stream();
        let delivery = Delivery::new(stream.clone());
        delivery.queued(10);
        let fate = || delivery.fate(SILENCE * 2);
        stream.finished();
        let during = stream.write(|| {
            // The kernel has the bytes, and they are not counted yet.
            queue.0.store(10, Ordering::Relaxed);
            assert_eq!(fate(), Fate::OnItsWay);
            Ok(10)
        });
        assert_eq!((during.unwrap(), fate()), (10, Fate::MaybeLost));
        queue.0.store(0, Ordering::Relaxed);
        assert_eq!(fate(), Fate::Read);
    }
}
