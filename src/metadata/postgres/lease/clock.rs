//! The clock that a licence is measured by.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A clock that never goes back. Its times say how long ago something was, and nothing else.
#[derive(Clone, Debug)]
pub(super) enum Clock {
    /// The machine's time since its start, suspends included: [`std::time::Instant`] stands still while a
    /// machine sleeps, and a licence that stood still with it would outlive the lease.
    Machine,
    /// A test's.
    #[cfg(test)]
    Scripted(std::sync::Arc<parking_lot::Mutex<Duration>>),
}

impl Clock {
    pub(super) fn now(&self) -> Duration {
        match self {
            Self::Machine => {
                let now = clock_gettime(ClockId::Boottime);
                let seconds = Duration::from_secs(u64::try_from(now.tv_sec).unwrap_or(0));
                seconds + Duration::from_nanos(u64::try_from(now.tv_nsec).unwrap_or(0))
            }
            #[cfg(test)]
            Self::Scripted(now) => *now.lock(),
        }
    }
}
