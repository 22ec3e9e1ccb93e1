//! A duration that is changed while others read it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A duration of at most 584 years; readers see the old one or the new one.
#[derive(Debug)]
pub struct AtomicDuration(AtomicU64);

impl AtomicDuration {
    /// Starts with `duration`.
    #[must_use]
    pub fn new(duration: Duration) -> Self {
        Self(AtomicU64::new(nanoseconds(duration)))
    }

    /// What it is now.
    #[must_use]
    pub fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    /// Sets what it is from now on.
    pub fn set(&self, duration: Duration) {
        self.0.store(nanoseconds(duration), Ordering::Relaxed);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
