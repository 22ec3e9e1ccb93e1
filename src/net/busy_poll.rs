//! Busy polling between the calls of a client that sends one after the other. An idle processor, of a virtual
//! machine above all, takes longer to wake up than such a call takes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::reply_queue::ReplyQueue;

/// How long a connection polls for one call.
const LIMIT: Duration = Duration::from_micros(60);
/// No processor had to wake up for a call that follows a reply sooner.
const SOON: Duration = Duration::from_micros(25);
/// A call that follows a reply later is not awaited within the limit either.
const LATE: Duration = Duration::from_micros(200);
/// After so many calls between the two, one after the other, it polls.
const CALLS: u32 = 8;
/// After so many calls it looks again: wake-ups may be fast by now.
const POLLS: u32 = 512;
/// The most calls without polling after a time in which none came, as a power of two.
const MOST_PAUSES: u32 = 12;

/// Whether a connection polls: one at a time keeps a thread awake for all.
#[derive(Debug, Default)]
pub(super) struct BusyThread(AtomicBool);

/// The waits of one connection for its next call.
#[derive(Debug, Default)]
pub(super) struct BusyPoll {
    /// Calls that came together.
    calls: u32,
    /// Calls that came neither soon nor late, one after the other.
    delayed: u32,
    /// Calls that are still to be polled for.
    polls: u32,
    /// How often polling was in vain, one time after the other.
    failures: u32,
    /// So many calls do not count.
    pauses: u32,
}

/// The one connection that polls.
struct Turn<'a>(&'a BusyThread);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
    }
}

impl BusyThread {
    fn turn(&self) -> Option<Turn<'_>> {
        (!self.0.swap(true, Ordering::Acquire)).then(|| Turn(self))
    }
}

impl BusyPoll {
    /// Notes a call.
    pub(super) fn begins(&mut self) {
        self.calls = self.calls.saturating_add(1);
    }

    /// Notes how long the last reply had been written when the next call came. `None` where it was not.
    pub(super) fn waited(&mut self, time: Option<Duration>) {
        let is_one_of_several = std::mem::take(&mut self.calls) > 1;
        let is_delayed = time.is_some_and(|time| (SOON..LATE).contains(&time));
        if self.polls > 0 {
            self.polls = if is_one_of_several { 0 } else { self.polls - 1 };
        } else if self.pauses > 0 {
            self.pauses -= 1;
        } else if is_one_of_several || !is_delayed {
            self.delayed = 0;
        } else {
            self.delayed += 1;
            if self.delayed == CALLS {
                (self.delayed, self.polls) = (0, POLLS);
            }
        }
    }

    /// Waits a short time for the next call after the reply to the one before, where a sleeping thread would
    /// wake up late.
    pub(super) async fn poll(
        &mut self,
        thread: &BusyThread,
        stream: &TcpStream,
        replies: &ReplyQueue,
    ) {
        if self.polls == 0 {
            return;
        }
        // The reply is written first. While a call waits for something else there is no hurry.
        yield_now().await;
        if replies.idle_since().is_none() {
            return;
        }
        let Some(_turn) = thread.turn() else { return };
        let end = Instant::now() + LIMIT;
        loop {
            // The client may wait for this processor.
            std::thread::yield_now();
            yield_now().await;
            if stream.ready(Interest::READABLE).now_or_never().is_some() {
                self.failures = 0;
                return;
            }
            if Instant::now() >= end {
                break;
            }
        }
        self.failures = (self.failures + 1).min(MOST_PAUSES);
        (self.polls, self.pauses) = (0, 1 << self.failures);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::net::memory_budget::MemoryBudget;
    use crate::net::orphans::Orphans;
    use crate::types::ClientAddress;

    const DELAYED: Option<Duration> = Some(Duration::from_micros(70));

    /// Notes calls that come one at a time.
    fn waited(busy: &mut BusyPoll, calls: u32, time: Option<Duration>) {
        for _ in 0..calls {
            busy.begins();
            busy.waited(time);
        }
    }

    #[test]
    fn calls_are_polled_for_that_come_one_at_a_time_and_late() {
        for (calls, time) in [(CALLS, DELAYED), (CALLS + 3, Some(SOON))] {
            let mut busy = BusyPoll::default();
            waited(&mut busy, CALLS - 1, time);
            assert_eq!(busy.polls, 0);
            waited(&mut busy, calls - CALLS + 1, time);
            assert_eq!(busy.polls, POLLS - (calls - CALLS));
            waited(&mut busy, POLLS, Some(Duration::ZERO));
            assert_eq!(busy.polls, 0, "wake-ups are fast by now");
        }
    }

    #[test]
    fn other_calls_are_not_polled_for() {
        let soon = SOON - Duration::from_nanos(1);
        for time in [None, Some(Duration::ZERO), Some(soon), Some(LATE)] {
            let mut busy = BusyPoll::default();
            waited(&mut busy, 1000, time);
            assert_eq!(busy.polls, 0, "{time:?}");
            for _ in 0..1000 {
                waited(&mut busy, CALLS - 1, DELAYED);
                waited(&mut busy, 1, time);
            }
            assert_eq!(busy.polls, 0, "{time:?} now and then");
        }
        let mut busy = BusyPoll::default();
        for _ in 0..1000 {
            busy.begins();
            waited(&mut busy, 1, DELAYED);
        }
        assert_eq!(busy.polls, 0, "two at a time");
        waited(&mut busy, CALLS, DELAYED);
        assert_eq!(busy.polls, POLLS);
        busy.begins();
        waited(&mut busy, 1, DELAYED);
        assert_eq!(busy.polls, 0, "two at a time");
    }

    /// A connection of two sockets, and its replies.
    async fn connection() -> (TcpStream, TcpStream, Arc<ReplyQueue>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        let client = ClientAddress::of(Ipv4Addr::LOCALHOST.into());
        let memory = MemoryBudget::new(1 << 20).connect(client);
        let orphans = Orphans::new(1, 1).of(client);
        (stream, peer, ReplyQueue::new(1, memory, CancellationToken::new(), orphans))
    }

    #[tokio::test]
    async fn polling_ends_with_the_next_call_and_goes_on_for_the_one_behind_it() {
        let (stream, peer, replies) = connection().await;
        let (thread, mut busy) = (BusyThread::default(), BusyPoll::default());
        waited(&mut busy, CALLS, DELAYED);
        busy.failures = 3;
        peer.try_write(b"call").unwrap();
        busy.poll(&thread, &stream, &replies).await;
        assert_eq!((busy.polls, busy.failures, busy.pauses), (POLLS, 0, 0));
        assert!(thread.turn().is_some(), "it is given back");
    }

    #[tokio::test]
    async fn nothing_is_polled_for_beside_a_call_or_another_connection() {
        let (stream, _peer, replies) = connection().await;
        let (thread, mut busy) = (BusyThread::default(), BusyPoll::default());
        waited(&mut busy, CALLS, DELAYED);
        let other = thread.turn();
        busy.poll(&thread, &stream, &replies).await;
        drop(other);
        let call = replies.begin(4, None);
        busy.poll(&thread, &stream, &replies).await;
        drop(call);
        assert_eq!((busy.polls, busy.failures), (POLLS, 0), "neither was in vain");
    }

    #[tokio::test]
    async fn polling_in_vain_becomes_rare() {
        let (stream, _peer, replies) = connection().await;
        let thread = BusyThread::default();
        let mut busy = BusyPoll::default();
        let mut tries = Vec::new();
        for call in 0..20_000 {
            waited(&mut busy, 1, DELAYED);
            if busy.polls > 0 {
                busy.poll(&thread, &stream, &replies).await;
                assert!(busy.polls == 0 && thread.turn().is_some());
                tries.push(call);
            }
        }
        assert!((12..=16).contains(&tries.len()), "{tries:?}");
    }
}
