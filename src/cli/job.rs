//! A long command under way: its progress is shown, and Ctrl-C and SIGTERM end it in order.

use std::io::Write as _;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::HumanBytes;
use parking_lot::Mutex;
use serde::Serialize;

use super::progress::Bar;
use super::{Failure, interrupt};
use crate::admin::Progress;
use crate::admin::backup::Finding;

/// The time between two looks at the progress.
const PERIOD: Duration = Duration::from_millis(200);

/// How fast a command works.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct Speed {
    /// Read at most so much per second, such as 64MiB, so that servers have the rest of the disk; a row of a
    /// metadata store counts as 512 bytes, a file or object that is looked at or removed as 4 KiB
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    rate: Option<NonZeroU64>,
}

fn rate(text: &str) -> Result<NonZeroU64, String> {
    let bytes = text.parse().ok().or_else(|| crate::types::settings::bytes(text));
    let rate = bytes.and_then(NonZeroU64::new);
    rate.ok_or_else(|| "not a size; write an integer and a unit, such as 64MiB".to_owned())
}

/// What a command's work has in hand.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) progress: Arc<Progress>,
    bar: Arc<Mutex<Option<Bar>>>,
}

impl Job {
    /// Writes to the terminal while the bar is out of the way.
    pub(super) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        match &*self.bar.lock() {
            Some(bar) => bar.aside(write),
            None => write(),
        }
    }

    /// Shows how far the work is; nothing where it is `quiet`.
    fn show(&self, stage: &mut u64, quiet: bool) {
        let notes = self.progress.notes();
        if quiet {
            return;
        }
        notes.iter().for_each(|line| self.aside(|| eprintln!("{line}")));
        let reading = self.progress.reading();
        let mut bar = self.bar.lock();
        if reading.stage != *stage {
            *stage = reading.stage;
            bar.take().iter().for_each(Bar::end);
            *bar = Some(Bar::new(&reading));
        }
        if let Some(bar) = &mut *bar {
            bar.reached(&reading);
        }
    }

    async fn watch<T>(&self, work: impl Future<Output = T>, quiet: bool) -> T {
        let mut work = std::pin::pin!(work);
        let mut stage = 0;
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                () = tokio::time::sleep(PERIOD) => self.show(&mut stage, quiet),
            }
        };
        self.bar.lock().take().iter().for_each(Bar::end);
        if !quiet {
            self.progress.notes().iter().for_each(|line| eprintln!("{line}"));
        }
        done
    }
}

/// Runs a command's work to its end. A first SIGINT or SIGTERM fires the progress's token; a second one ends
/// the process with `interrupted`.
pub(super) fn run_job<T>(
    quiet: bool,
    interrupted: u8,
    work: impl AsyncFnOnce(Job) -> T,
) -> Result<T, Failure> {
    run_job_at(Speed::default(), quiet, interrupted, work)
}

/// The same at a speed.
pub(super) fn run_job_at<T>(
    speed: Speed,
    quiet: bool,
    interrupted: u8,
    work: impl AsyncFnOnce(Job) -> T,
) -> Result<T, Failure> {
    run_async(async {
        let cancel = interrupt::token(interrupted).map_err(run_error)?;
        let progress = Progress::new(cancel).paced(speed.rate);
        let job = Job { progress: Arc::new(progress), bar: Arc::default() };
        Ok(job.watch(work(job.clone()), quiet).await)
    })
}

/// Runs a command's work to its end. Threads that block are left behind.
pub(super) fn run_async<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(run_error)?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

/// An error of the work itself.
pub(super) fn run_error(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::Run(Box::new(error))
}

/// A summary as an object of JSON, with the seconds that the command took.
#[derive(Serialize)]
struct Timed<'a, S> {
    #[serde(flatten)]
    summary: &'a S,
    seconds: f64,
}

/// Prints a summary on standard output: the object with `--json`, else the lines that `text` makes of the
/// seconds.
pub(super) fn summarise<S: Serialize>(
    json: bool,
    start: Instant,
    summary: &S,
    text: impl FnOnce(f64) -> String,
) -> Result<(), Failure> {
    let seconds = start.elapsed().as_secs_f64();
    if !json {
        return say(&text(seconds));
    }
    say(&serde_json::to_string(&Timed { summary, seconds }).map_err(run_error)?)
}

/// A line on standard output.
fn say(line: &str) -> Result<(), Failure> {
    write(&format!("{line}\n"))
}

/// Text on standard output.
pub(super) fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(run_error)
}

/// A file whose content is missing or corrupt, on standard error.
pub(super) fn finding(finding: &Finding) {
    eprintln!("{}: {}", finding.path, finding.what);
}

/// Bytes as people read them.
pub(super) fn human(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}
