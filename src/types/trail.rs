//! What a call leaves behind for the log: its transaction id, and where its time went.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A connection to the metadata store, the making of one included.
    Connection,
    /// The metadata store's work.
    Database,
    /// The content store.
    Content,
    /// A metadata store that is away: attempts to reach it that fail, and the pauses between them.
    Away,
}

impl Wait {
    const COUNT: usize = 4;
}

/// One call's trail. A store adds what it waits for; the log reads it when the call took long.
#[derive(Debug, Default)]
pub struct Trail {
    /// The call's transaction id (RFC 5531 section 9); 0 for work that no client asked for.
    pub xid: u32,
    nanoseconds: [AtomicU64; Wait::COUNT],
}

impl Trail {
    /// The trail of the call with a transaction id.
    #[must_use]
    pub fn new(xid: u32) -> Self {
        Self { xid, nanoseconds: Default::default() }
    }

    /// Does `work`, whose time counts as `wait` even where it is dropped half done.
    pub async fn timed<T>(&self, wait: Wait, work: impl Future<Output = T>) -> T {
        self.timed_as(|| wait, work).await
    }

    /// The same for a wait whose kind is asked for when it is over.
    pub async fn timed_as<T>(&self, wait: impl Fn() -> Wait, work: impl Future<Output = T>) -> T {
        let _clock = Clock { trail: self, wait, since: Instant::now() };
        work.await
    }

    /// How long the call has waited for it. What was waited for at the same time adds up.
    #[must_use]
    pub fn waited(&self, wait: Wait) -> Duration {
        Duration::from_nanos(self.total(wait).load(Ordering::Relaxed))
    }

    fn total(&self, wait: Wait) -> &AtomicU64 {
        let [connection, database, content, away] = &self.nanoseconds;
        match wait {
            Wait::Connection => connection,
            Wait::Database => database,
            Wait::Content => content,
            Wait::Away => away,
        }
    }
}

struct Clock<'a, F: Fn() -> Wait> {
    trail: &'a Trail,
    wait: F,
    since: Instant,
}

impl<F: Fn() -> Wait> Drop for Clock<'_, F> {
    fn drop(&mut self) {
        let spent = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.trail.total((self.wait)()).fetch_add(spent, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_waited_for_is_counted_even_if_it_is_dropped() {
        let trail = Trail::new(7);
        assert_eq!(trail.timed(Wait::Database, async { 5 }).await, 5);
        let never = trail.timed(Wait::Content, std::future::pending::<()>());
        tokio::time::timeout(Duration::from_millis(20), never).await.unwrap_err();
        assert!(trail.waited(Wait::Content) >= Duration::from_millis(10));
        assert!(trail.waited(Wait::Database) < trail.waited(Wait::Content));
        assert_eq!(trail.waited(Wait::Connection), Duration::ZERO);
    }
}
