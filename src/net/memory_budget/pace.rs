//! How fast a peer sends the record under way and takes its replies, without a lock.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Slow;

/// A sender's progress is counted in pieces of so many bytes: single bytes are none.
pub(in crate::net) const QUANTUM_BYTES: usize = 16 << 10;
/// How long a sender may take for a quantum of a large record while others wait for memory.
const SENDER_PATIENCE: Duration = Duration::from_secs(1);
/// How long a receiver may take nothing of its replies while others wait for memory.
const RECEIVER_PATIENCE: Duration = Duration::from_secs(5);
/// Nothing is waited for from the peer.
const NOTHING: u64 = u64::MAX;

/// The times of a connection's last progress.
#[derive(Debug)]
pub(in crate::net) struct Pace {
    epoch: Instant,
    /// When the record under way last got ahead by a quantum, in milliseconds since `epoch`.
    record: AtomicU64,
    /// Bytes that have arrived since.
    arrived: AtomicUsize,
    /// Bytes of memory of the record under way.
    record_bytes: AtomicUsize,
    /// Since when the peer has taken nothing of its replies.
    write: AtomicU64,
}

impl Pace {
    pub(super) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            record: AtomicU64::new(NOTHING),
            arrived: AtomicUsize::new(0),
            record_bytes: AtomicUsize::new(0),
            write: AtomicU64::new(NOTHING),
        }
    }

    fn now(&self) -> u64 {
        // Milliseconds of half a billion years.
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(NOTHING - 1)
    }

    /// A large record goes on after its memory was granted.
    pub(super) fn record_goes_on(&self) {
        self.arrived.store(0, Ordering::Relaxed);
        self.record.store(self.now(), Ordering::Relaxed);
    }

    /// The record under way is not read on for want of memory, which is not its sender's fault.
    pub(super) fn pause_record(&self) {
        self.record.store(NOTHING, Ordering::Relaxed);
    }

    /// The record under way takes `bytes` of memory.
    pub(in crate::net) fn record_takes(&self, bytes: usize) {
        self.record_bytes.store(bytes, Ordering::Relaxed);
    }

    /// `bytes` of a large record have arrived.
    pub(in crate::net) fn record_arrives(&self, bytes: usize) {
        if self.arrived.fetch_add(bytes, Ordering::Relaxed) + bytes >= QUANTUM_BYTES {
            self.record_goes_on();
        }
    }

    /// The record under way has ended.
    pub(in crate::net) fn record_ended(&self) {
        self.pause_record();
        self.record_takes(0);
    }

    /// The peer takes nothing of its replies for the moment.
    pub(in crate::net) fn write_waits(&self) {
        if self.write.load(Ordering::Relaxed) == NOTHING {
            self.write.store(self.now(), Ordering::Relaxed);
        }
    }

    /// The peer takes its replies.
    pub(in crate::net) fn write_goes_on(&self) {
        self.write.store(NOTHING, Ordering::Relaxed);
    }

    /// Whether the peer is too slow at `now`: how, by how much longer than the patience with it, and how many
    /// of the `held` bytes its end would bring back at once.
    pub(super) fn slowness(&self, now: Instant, held: usize) -> Option<(Slow, Duration, usize)> {
        let overdue = |since: &AtomicU64, patience: Duration| {
            let since = Duration::from_millis(match since.load(Ordering::Relaxed) {
                NOTHING => return None,
                since => since,
            });
            now.saturating_duration_since(self.epoch).checked_sub(since)?.checked_sub(patience)
        };
        let record = overdue(&self.record, SENDER_PATIENCE)
            .map(|by| (Slow::Sender, by, self.record_bytes.load(Ordering::Relaxed).min(held)));
        let write = || overdue(&self.write, RECEIVER_PATIENCE).map(|by| (Slow::Receiver, by, held));
        record.or_else(write).filter(|(_, _, bytes)| *bytes > 0)
    }
}
