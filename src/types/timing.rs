//! A call's transaction id, where its time goes, and what came of it: for the log and the counters.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A connection to the metadata store, the making of one included.
    Connection,
    /// The metadata store's work.
    Database,
    /// The content store.
    Content,
    /// A metadata store that is away: attempts to reach it that fail, and the pauses between them.
    Away,
}

impl Phase {
    const COUNT: usize = 4;
}

/// One call's timing. A store adds what it waits for; the log reads it when the call took long.
#[derive(Debug, Default)]
pub struct CallTiming {
    /// The call's transaction id (RFC 5531 section 9); 0 for work that no client asked for.
    pub xid: u32,
    nanoseconds: [AtomicU64; Phase::COUNT],
    /// The number of its share, from 1; 0 where it is about none.
    share: AtomicU32,
    /// Its status, 0 for success, as its program counts them.
    failure: AtomicU32,
    /// Bytes of a file that it read, and wrote.
    read: AtomicU32,
    written: AtomicU32,
}

macro_rules! outcome {
    ($($field:ident, $set:ident: $text:literal;)*) => {$(
        #[doc = concat!("Sets ", $text, ".")]
        pub fn $set(&self, number: u32) {
            self.$field.store(number, Ordering::Relaxed);
        }

        #[doc = concat!("The call's: ", $text, ".")]
        #[must_use]
        pub fn $field(&self) -> u32 {
            self.$field.load(Ordering::Relaxed)
        }
    )*};
}

impl CallTiming {
    /// The timing of the call with a transaction id.
    #[must_use]
    pub fn new(xid: u32) -> Self {
        Self { xid, ..Self::default() }
    }

    outcome! {
        share, set_share: "the number of its share, from 1; 0: none";
        failure, set_failure: "its status; 0: success";
        read, set_read: "the bytes of a file that it read";
        written, set_written: "the bytes of a file that it wrote";
    }

    /// Does `work`, whose time counts as `phase` even where it is dropped half done.
    pub async fn timed<T>(&self, phase: Phase, work: impl Future<Output = T>) -> T {
        self.timed_as(|| phase, work).await
    }

    /// The same for a wait whose kind is asked for when it is over.
    pub async fn timed_as<T>(&self, phase: impl Fn() -> Phase, work: impl Future<Output = T>) -> T {
        let _clock = Clock { timing: self, phase, since: Instant::now() };
        work.await
    }

    /// How long the call has waited for it. What was waited for at the same time adds up.
    #[must_use]
    pub fn waited(&self, phase: Phase) -> Duration {
        Duration::from_nanos(self.total(phase).load(Ordering::Relaxed))
    }

    fn total(&self, phase: Phase) -> &AtomicU64 {
        let [connection, database, content, away] = &self.nanoseconds;
        match phase {
            Phase::Connection => connection,
            Phase::Database => database,
            Phase::Content => content,
            Phase::Away => away,
        }
    }
}

struct Clock<'a, F: Fn() -> Phase> {
    timing: &'a CallTiming,
    phase: F,
    since: Instant,
}

impl<F: Fn() -> Phase> Drop for Clock<'_, F> {
    fn drop(&mut self) {
        let spent = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.timing.total((self.phase)()).fetch_add(spent, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_waited_for_is_counted_even_if_it_is_dropped() {
        let timing = CallTiming::new(7);
        assert_eq!(timing.timed(Phase::Database, async { 5 }).await, 5);
        let never = timing.timed(Phase::Content, std::future::pending::<()>());
        tokio::time::timeout(Duration::from_millis(20), never).await.unwrap_err();
        assert!(timing.waited(Phase::Content) >= Duration::from_millis(10));
        assert!(timing.waited(Phase::Database) < timing.waited(Phase::Content));
        assert_eq!(timing.waited(Phase::Connection), Duration::ZERO);
    }
}
