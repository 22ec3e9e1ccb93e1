//! How far a job is, for whoever shows it, and the way to end it.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::Error;

/// A backup or restore under way.
#[derive(Debug, Default)]
pub struct Job {
    /// Ends it, as soon as that leaves nothing half done.
    pub(super) cancel: CancellationToken,
    stage: Mutex<Stage>,
    done: AtomicU64,
    /// Bytes of the stage's total that turned out to need no work: holes, and what is there already.
    passed_over: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stage {
    number: u64,
    what: &'static str,
    total: Option<u64>,
}

/// How far a job is.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Another for each stage.
    pub stage: u64,
    /// What is being done.
    pub what: &'static str,
    /// Of how many bytes, holes left out as far as they are known; `None` where it is records that are counted, and nobody knows how many there are.
    pub total: Option<u64>,
    /// How many bytes or records are done.
    pub done: u64,
}

impl Job {
    /// A job that ends when the token fires.
    #[must_use]
    pub fn new(cancel: CancellationToken) -> Self {
        Self { cancel, ..Self::default() }
    }

    /// How far it is.
    #[must_use]
    pub fn reading(&self) -> Reading {
        let Stage { number, what, total } = *self.stage.lock();
        let passed_over = self.passed_over.load(Ordering::Relaxed);
        let total = total.map(|total| total.saturating_sub(passed_over));
        Reading { stage: number, what, total, done: self.done.load(Ordering::Relaxed) }
    }

    /// A part of it that does not count.
    pub(super) fn silent(&self) -> Self {
        Self::new(self.cancel.clone())
    }

    pub(super) fn begin(&self, what: &'static str, total: Option<u64>) {
        let mut stage = self.stage.lock();
        *stage = Stage { number: stage.number + 1, what, total };
        self.done.store(0, Ordering::Relaxed);
        self.passed_over.store(0, Ordering::Relaxed);
    }

    pub(super) fn advance(&self, by: u64) {
        self.done.fetch_add(by, Ordering::Relaxed);
    }

    /// So many bytes of the total need no work.
    pub(super) fn pass_over(&self, bytes: u64) {
        self.passed_over.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn still_wanted(&self) -> Result<(), Error> {
        if self.cancel.is_cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }
}
