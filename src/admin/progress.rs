//! How far a job is, and the token that ends it: one for every command that works for long.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// The job was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// What a row counts where a job is paced, in bytes.
const ROW: u64 = 512;
/// What a content counts that is looked at without its bytes.
const CONTENT: u64 = 4096;

/// A job under way. Its stages follow each other; each counts from zero.
#[derive(Debug, Default)]
pub struct Progress {
    cancel: CancellationToken,
    stage: Mutex<Stage>,
    done: AtomicU64,
    /// Units of the stage's total that need no work, such as holes.
    skipped: AtomicU64,
    /// Lines that were not taken yet.
    notes: Mutex<Vec<String>>,
    observer: Option<Observer>,
    pace: Option<Arc<Pace>>,
}

/// How fast a job may read.
#[derive(Debug)]
struct Pace {
    bytes_per_second: NonZeroU64,
    /// When all bytes that were let through are paid for.
    paid: Mutex<Instant>,
}

impl Pace {
    /// The moment until which a reader of so many more bytes waits.
    fn next(&self, bytes: u64, now: Instant) -> Instant {
        let nanoseconds =
            u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.get());
        let cost = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let mut paid = self.paid.lock();
        let begin = (*paid).max(now);
        *paid = begin.checked_add(cost).unwrap_or(begin);
        begin
    }
}

/// Called at every step.
struct Observer(Box<dyn Fn() + Send + Sync>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Stage {
    number: u64,
    name: &'static str,
    unit: Unit,
    total: Option<u64>,
}

/// The unit of a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    #[default]
    Bytes,
    /// Records of a dump, whose number is not known before.
    Records,
    /// Rows of a store, whose number is known roughly.
    Rows,
    /// Contents of a content store.
    Contents,
}

/// How far a job is.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Another number for each stage; zero before the first.
    pub stage: u64,
    /// The stage's name.
    pub name: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// How many units there are, without those that need no work; `None` where that is not known.
    pub total: Option<u64>,
    /// How many are done.
    pub done: u64,
}

impl Progress {
    /// A job that ends when the token fires.
    #[must_use]
    pub fn new(cancel: CancellationToken) -> Self {
        Self { cancel, ..Self::default() }
    }

    /// The same job with a function that is called at every step.
    #[must_use]
    pub fn observed(self, observer: impl Fn() + Send + Sync + 'static) -> Self {
        Self { observer: Some(Observer(Box::new(observer))), ..self }
    }

    /// The same job, which reads no more than so many bytes a second.
    #[must_use]
    pub fn paced(self, bytes_per_second: Option<NonZeroU64>) -> Self {
        let pace = |bytes_per_second| Pace { bytes_per_second, paid: Mutex::new(Instant::now()) };
        Self { pace: bytes_per_second.map(pace).map(Arc::new), ..self }
    }

    /// Waits for the turn of so many more bytes.
    ///
    /// # Errors
    /// [`Interrupted`] once the token has fired.
    pub async fn pace(&self, bytes: u64) -> Result<(), Interrupted> {
        if let Some(pace) = &self.pace {
            let turn = pace.next(bytes, Instant::now());
            let waited = self.cancel.run_until_cancelled(sleep_until(turn)).await;
            waited.ok_or(Interrupted)?;
        }
        self.check()
    }

    /// The same for so many rows of a metadata store, each as so many bytes as it has about.
    ///
    /// # Errors
    /// [`Interrupted`] once the token has fired.
    pub async fn pace_rows(&self, rows: usize) -> Result<(), Interrupted> {
        self.pace(ROW.saturating_mul(rows as u64)).await
    }

    /// The same for contents that are looked at or removed, each as a block.
    ///
    /// # Errors
    /// [`Interrupted`] once the token has fired.
    pub async fn pace_contents(&self, contents: usize) -> Result<(), Interrupted> {
        self.pace(CONTENT.saturating_mul(contents as u64)).await
    }

    fn step(&self) {
        if let Some(Observer(observer)) = &self.observer {
            observer();
        }
    }

    /// The token that ends the job, as soon as that leaves nothing half done.
    #[must_use]
    pub fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Whether the job goes on.
    ///
    /// # Errors
    /// [`Interrupted`] once the token has fired.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.cancel.is_cancelled() { Err(Interrupted) } else { Ok(()) }
    }

    /// How far the job is.
    #[must_use]
    pub fn reading(&self) -> Reading {
        let Stage { number, name, unit, total } = *self.stage.lock();
        let skipped = self.skipped.load(Ordering::Relaxed);
        let total = total.map(|total| total.saturating_sub(skipped));
        Reading { stage: number, name, unit, total, done: self.done.load(Ordering::Relaxed) }
    }

    /// Takes the notes since the last call.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        std::mem::take(&mut *self.notes.lock())
    }

    /// A line for the person who watches.
    pub fn note(&self, line: String) {
        self.notes.lock().push(line);
        self.step();
    }

    /// A part of the job that is not counted.
    #[must_use]
    pub fn silent(&self) -> Self {
        Self { pace: self.pace.clone(), ..Self::new(self.cancel.clone()) }
    }

    /// Begins a stage.
    pub fn begin(&self, name: &'static str, unit: Unit, total: Option<u64>) {
        let mut stage = self.stage.lock();
        *stage = Stage { number: stage.number + 1, name, unit, total };
        self.done.store(0, Ordering::Relaxed);
        self.skipped.store(0, Ordering::Relaxed);
        drop(stage);
        self.step();
    }

    /// So many more units are done.
    pub fn advance(&self, by: u64) {
        self.done.fetch_add(by, Ordering::Relaxed);
        self.step();
    }

    /// So many units are done in all.
    pub fn reach(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
    }

    /// So many units of the total need no work.
    pub fn skip(&self, by: u64) {
        self.skipped.fetch_add(by, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_paced_job_reads_no_more_than_it_may() {
        let cancel = CancellationToken::new();
        let job = Progress::new(cancel.clone()).paced(NonZeroU64::new(1000));
        let start = Instant::now();
        for _ in 0..5 {
            job.pace(500).await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        // Time that passed without reading is not made up for.
        tokio::time::advance(Duration::from_secs(60)).await;
        let start = Instant::now();
        for _ in 0..3 {
            job.pace(1000).await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        job.pace(u64::MAX).await.unwrap();
        let waiting = job.pace(1);
        cancel.cancel();
        assert_eq!(waiting.await, Err(Interrupted));
        assert_eq!(Progress::default().pace(u64::MAX).await, Ok(()));
    }
}
