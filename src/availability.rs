//! Whether a store answers, as the log tells it: one line when it is lost and one when it is back, whatever
//! number of calls fails meanwhile.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::log_limit::{About, limited};
use crate::types::BoundedChain;

/// How long requests to a bucket fail, none of them answered, before it counts as lost.
const BUCKET_PATIENCE: Duration = Duration::from_secs(2);
/// How long no write has been refused before a store counts as one that takes data again: where little room
/// is left, small writes go on between large ones that are refused.
const ROOM_PATIENCE: Duration = Duration::from_secs(5);

/// What can be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outage {
    /// Connections to a database.
    Database,
    /// Answers of a bucket.
    Bucket,
    /// Room for data in a content store, or the right to write it.
    Room,
}

impl Outage {
    /// How long failures go on before they are told.
    fn before_lost(self) -> Duration {
        match self {
            Self::Bucket => BUCKET_PATIENCE,
            Self::Database | Self::Room => Duration::ZERO,
        }
    }

    /// How long there is no failure before it counts as back.
    fn before_back(self) -> Duration {
        match self {
            Self::Room => ROOM_PATIENCE,
            Self::Database | Self::Bucket => Duration::ZERO,
        }
    }
}

/// One store. Whether it answered before the first success is not told: opening a store says so itself.
#[derive(Debug)]
pub(crate) struct Availability {
    outage: Outage,
    store: String,
    state: Mutex<Reachability>,
}

#[derive(Clone, Copy, Debug)]
enum Reachability {
    Unknown,
    There {
        /// The newest success.
        last: Instant,
    },
    /// Something failed since the last success.
    Failing {
        first: Instant,
        last: Instant,
        told: bool,
    },
}

impl Availability {
    /// The store of a name for the log.
    pub(crate) fn new(outage: Outage, store: impl Into<String>) -> Self {
        let state = match outage {
            Outage::Database | Outage::Bucket => Reachability::Unknown,
            // Opening a store writes next to nothing.
            Outage::Room => Reachability::There { last: Instant::now() },
        };
        Self { outage, store: store.into(), state: Mutex::new(state) }
    }

    /// An attempt that began at `began` failed, for a reason that concerns every call.
    pub(crate) fn failed(&self, began: Instant, error: &(dyn Error + 'static)) {
        let now = Instant::now();
        let lost = {
            let mut state = self.state.lock();
            let (first, told) = match *state {
                Reachability::Unknown => return,
                // Another connection was made since it began.
                Reachability::There { last } if self.outage == Outage::Database && began < last => {
                    return;
                }
                // Others succeeded since it began.
                Reachability::There { last } => (began.max(last), false),
                Reachability::Failing { first, told, .. } => (first, told),
            };
            let lost = !told && now.duration_since(first) >= self.outage.before_lost();
            *state = Reachability::Failing { first, last: now, told: told || lost };
            lost
        };
        if lost {
            self.tell_lost(error);
        }
    }

    fn tell_lost(&self, error: &(dyn Error + 'static)) {
        let (store, error) = (&self.store, BoundedChain(error));
        match self.outage {
            Outage::Database => {
                limited!(warn, About::default(), "database lost: no connection can be made; retrying",
                store, %error)
            }
            Outage::Bucket => {
                limited!(warn, About::default(), "bucket lost: requests fail; retrying", store, %error)
            }
            Outage::Room => limited!(warn, About::default(),
                "content store takes no data: it is full, over its quota or read-only", store, %error),
        }
    }

    /// An attempt that began at `began` succeeded. One that began before the last failure says nothing.
    pub(crate) fn succeeded(&self, began: Instant) {
        let now = Instant::now();
        let lost_since = {
            let mut state = self.state.lock();
            let lost_since = match *state {
                Reachability::Failing { last, .. }
                    if began < last || now.duration_since(last) < self.outage.before_back() =>
                {
                    return;
                }
                Reachability::Failing { first, told: true, .. } => Some(first),
                Reachability::Failing { told: false, .. }
                | Reachability::Unknown
                | Reachability::There { .. } => None,
            };
            *state = Reachability::There { last: now };
            lost_since
        };
        let Some(lost_since) = lost_since else { return };
        let store = &self.store;
        let away_ms = u64::try_from(now.duration_since(lost_since).as_millis()).unwrap_or(u64::MAX);
        match self.outage {
            Outage::Database => {
                limited!(info, About::default(), "database back: connected again", store, away_ms);
            }
            Outage::Bucket => {
                limited!(
                    info,
                    About::default(),
                    "bucket back: requests succeed again",
                    store,
                    away_ms
                );
            }
            Outage::Room => {
                limited!(info, About::default(), "content store takes data again", store, away_ms)
            }
        }
    }

    /// Whether the log says that it is lost.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(*self.state.lock(), Reachability::Failing { told: true, .. })
    }

    /// The error of a call that gives up. Where the newest attempts failed, the store is lost now if it was
    /// not before, and the error is marked as told.
    pub(crate) fn give_up(&self, error: io::Error) -> io::Error {
        let lost = {
            let mut state = self.state.lock();
            let Reachability::Failing { told, .. } = &mut *state else { return error };
            !std::mem::replace(told, true)
        };
        if lost {
            self.tell_lost(&error);
        }
        marked(error)
    }
}

/// An error that the log has told once for every call.
pub(crate) struct Told(Box<dyn Error + Send + Sync>);

impl Told {
    pub(crate) fn new(error: Box<dyn Error + Send + Sync>) -> Self {
        Self(error)
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Told {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// The same error, as one that the log has told.
pub(crate) fn marked(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), Told(Box::new(error)))
}

/// Whether the log has told an error or one of its sources once for every call.
pub(crate) fn is_told(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // An error within one of the system is not its source: the source of that one is.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if error.is::<Told>() || inner.is_some_and(|inner| inner.is::<Told>()) {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn refused() -> io::Error {
        io::ErrorKind::ConnectionRefused.into()
    }

    fn fails(store: &Availability) -> bool {
        store.failed(Instant::now(), &refused());
        store.is_lost()
    }

    fn succeeds(store: &Availability) -> bool {
        store.succeeded(Instant::now());
        !store.is_lost()
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_is_lost_with_the_first_failure_and_back_with_the_next_success() {
        let store = Availability::new(Outage::Database, "db");
        assert!(!fails(&store), "it was never there: opening it says so");
        assert!(succeeds(&store));
        let before = Instant::now();
        tokio::time::advance(SECOND).await;
        assert!(fails(&store) && fails(&store));
        store.succeeded(before);
        assert!(store.is_lost(), "an attempt that began before the failure");
        assert!(succeeds(&store));
        store.failed(before, &refused());
        assert!(!store.is_lost(), "an attempt that began before the success");
        assert!(fails(&store));
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_is_lost_where_nothing_is_answered_for_a_while() {
        let store = Availability::new(Outage::Bucket, "bucket");
        assert!(succeeds(&store));
        for _ in 0..10 {
            assert!(!fails(&store));
            tokio::time::advance(SECOND).await;
            assert!(succeeds(&store));
        }
        assert!(!fails(&store));
        tokio::time::advance(BUCKET_PATIENCE).await;
        assert!(fails(&store) && succeeds(&store));
        // One request that fails late is alone, or others were answered meanwhile.
        let began = Instant::now();
        tokio::time::advance(BUCKET_PATIENCE).await;
        assert!(succeeds(&store));
        store.failed(began, &refused());
        assert!(!store.is_lost() && succeeds(&store));
        let began = Instant::now();
        tokio::time::advance(BUCKET_PATIENCE).await;
        store.failed(began, &refused());
        assert!(store.is_lost());
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_is_lost_with_the_first_call_that_gives_up() {
        let store = Availability::new(Outage::Bucket, "bucket");
        assert!(succeeds(&store));
        assert!(!is_told(&store.give_up(refused())), "others were answered since");
        assert!(!fails(&store) && is_told(&store.give_up(refused())) && store.is_lost());
        assert!(succeeds(&store));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_nearly_full_is_not_told_to_be_back_with_every_small_write() {
        let store = Availability::new(Outage::Room, "disk");
        assert!(succeeds(&store) && fails(&store));
        for _ in 0..10 {
            tokio::time::advance(SECOND).await;
            assert!(!succeeds(&store) && fails(&store));
        }
        tokio::time::advance(ROOM_PATIENCE).await;
        assert!(succeeds(&store));
    }

    #[test]
    fn a_told_error_is_known_among_the_sources_and_reads_as_before() {
        #[derive(Debug, thiserror::Error)]
        #[error("no space left")]
        struct Full(#[source] io::Error);
        let text = "write: disk full";
        assert!(!is_told(&Full(io::Error::other(text))));
        let full = Full(marked(io::Error::other(text)));
        assert!(is_told(&full));
        assert_eq!(BoundedChain(&full).to_string(), "no space left: write: disk full");
        assert!(is_told(&Told::new(text.into())));
    }
}
