//! A number that goes up and down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A level that one room sets and another reads. Clones are one level.
#[derive(Clone, Debug, Default)]
pub struct Level(Arc<AtomicU32>);

impl Level {
    /// Sets it.
    pub fn set(&self, level: usize) {
        self.0.store(u32::try_from(level).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// The level now.
    #[must_use]
    pub fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}
