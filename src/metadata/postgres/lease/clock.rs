//! The clock that a licence is measured by.

use std::time::Duration;

use crate::types::since_boot;

/// A clock that never goes back. Its times say how long ago something was, and nothing else.
#[derive(Clone, Debug)]
pub(super) enum Clock {
    /// The machine's time since its start, suspends included: a licence that stood still while a machine
    /// sleeps would outlive the lease.
    Machine,
    /// A test's.
    #[cfg(test)]
    Scripted(std::sync::Arc<parking_lot::Mutex<Duration>>),
}

impl Clock {
    pub(super) fn now(&self) -> Duration {
        match self {
            Self::Machine => since_boot(),
            #[cfg(test)]
            Self::Scripted(now) => *now.lock(),
        }
    }
}
