//! Which replies a client may not have read: the bytes that a connection has written, beside those that its
//! peer has acknowledged.
//!
//! An acknowledgement comes from the peer's kernel, and the program there may not have read the bytes. A
//! connection that ends in order was read first: a kernel whose program closes a connection with bytes unread
//! resets it. So the replies of a connection that breaks count as read only up to the last sign of the
//! client: a call, or the end of its calls.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A client that sends nothing for longer than this may have lost its connection without the server's
/// knowledge, and a reply that is not acknowledged for longer than this may be lost.
pub(super) const SILENCE: Duration = Duration::from_secs(1);
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

/// The kernel's side of a connection. It is asked when a call looks like one of another connection, and when
/// a connection ends: what the server has read may be older.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// The bytes written that the peer has not acknowledged.
    fn unacknowledged(&self) -> u64;

    /// The connection's other end.
    fn peer(&self) -> PeerState;
}

/// The bytes of one connection's replies.
#[derive(Debug)]
pub struct ReplyStream {
    /// Locked during a write and while the socket is closed, so that `written` is what the kernel knows of.
    socket: Mutex<Socket>,
    opened: Instant,
    /// Bytes that the socket has taken.
    written: AtomicU64,
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
}

#[derive(Debug)]
enum Socket {
    Open(Box<dyn Transport>),
    /// The bytes that the client has read.
    Closed(u64),
}

impl ReplyStream {
    /// The stream of a connection that has just been accepted.
    #[must_use]
    pub fn new(transport: Box<dyn Transport>) -> Self {
        Self {
            socket: Mutex::new(Socket::Open(transport)),
            opened: Instant::now(),
            written: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            written_when_heard: AtomicU64::new(0),
            recorded: AtomicU64::new(0),
            finished: AtomicBool::new(false),
            broken: AtomicBool::new(false),
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
    pub fn write(&self, write: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
        let _socket = self.socket.lock();
        let written = write()?;
        self.written.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    /// Whether a reply that the cache may be asked for is not acknowledged yet.
    #[must_use]
    pub fn awaits_acknowledgement(&self) -> bool {
        let recorded = self.recorded.load(Ordering::Acquire);
        recorded > 0 && self.read() < recorded
    }

    /// The socket is about to be closed: the transport is dropped.
    pub fn close(&self) {
        let mut socket = self.socket.lock();
        *socket = Socket::Closed(self.bytes_read(&socket));
    }

    /// Whether the client may have lost the connection: it has ended, or nothing came for a while.
    pub(super) fn is_silent(&self) -> bool {
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        self.opened.elapsed().saturating_sub(heard) > SILENCE || self.has_ended()
    }

    /// Whether the client has ended the connection, or it broke.
    pub(super) fn has_ended(&self) -> bool {
        self.finished.load(Ordering::Acquire)
            || self.is_broken()
            || match &*self.socket.lock() {
                Socket::Open(transport) => transport.peer() != PeerState::Connected,
                Socket::Closed(_) => true,
            }
    }

    /// The bytes that the client has read.
    fn read(&self) -> u64 {
        self.bytes_read(&self.socket.lock())
    }

    fn bytes_read(&self, socket: &Socket) -> u64 {
        let transport = match socket {
            Socket::Open(transport) => transport,
            Socket::Closed(read) => return *read,
        };
        let peer = transport.peer();
        let written = self.written.load(Ordering::Relaxed);
        let acknowledged = written.saturating_sub(transport.unacknowledged());
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

    /// The reply is queued, and ends at byte `end` of the stream. A reply that is sent twice counts where it
    /// was first.
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
        if self.stream.read() >= end {
            Fate::Read
        } else if age > SILENCE || self.stream.is_silent() {
            Fate::MaybeLost
        } else {
            Fate::OnItsWay
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Queue(Arc<AtomicU64>);

    impl Transport for Queue {
        fn unacknowledged(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
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
        assert_eq!(stream.read(), 0);
    }

    /// The client may have ended the connection already and sent the call again by another.
    #[test]
    fn the_fate_of_a_reply_waits_for_its_write() {
        let (stream, queue) = stream();
        let delivery = Delivery::new(stream.clone());
        delivery.queued(10);
        stream.finished();
        std::thread::scope(|scope| {
            let mut asking = None;
            let written = stream.write(|| {
                // The kernel has the bytes, and they are not counted yet.
                queue.0.store(10, Ordering::Relaxed);
                asking = Some(scope.spawn(|| delivery.fate(Duration::ZERO)));
                std::thread::sleep(Duration::from_millis(50));
                Ok(10)
            });
            assert_eq!(written.unwrap(), 10);
            assert_eq!(asking.unwrap().join().unwrap(), Fate::MaybeLost);
        });
        queue.0.store(0, Ordering::Relaxed);
        assert_eq!(delivery.fate(Duration::ZERO), Fate::Read);
    }
}
