//! A long command under way: its progress shown, Ctrl-C and SIGTERM turned into its own end.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use indicatif::HumanBytes;

use super::progress::Progress;
use super::{FAILED, Failure, interrupt};
use crate::admin::backup::{Finding, Job};

/// Between two looks at how far it is.
const PERIOD: Duration = Duration::from_millis(200);

/// A job that is shown.
pub(super) struct Shown {
    runtime: tokio::runtime::Runtime,
    job: Arc<Job>,
    quiet: bool,
}

impl Shown {
    pub(super) fn start(quiet: bool) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::Run(error.into());
        let runtime = tokio::runtime::Runtime::new().map_err(failed)?;
        let cancel = runtime.block_on(async { interrupt::token(FAILED) }).map_err(failed)?;
        Ok(Self { runtime, job: Arc::new(Job::new(cancel)), quiet })
    }

    pub(super) fn job(&self) -> Arc<Job> {
        Arc::clone(&self.job)
    }

    /// Runs the work to its end.
    pub(super) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(async {
            let mut work = std::pin::pin!(work);
            let mut stage = 0;
            let mut progress: Option<Progress> = None;
            let done = loop {
                tokio::select! {
                    done = &mut work => break done,
                    () = tokio::time::sleep(PERIOD) => {}
                }
                let reading = self.job.reading();
                if reading.stage != stage {
                    stage = reading.stage;
                    progress.iter().for_each(Progress::end);
                    progress = Some(Progress::new(reading.what, reading.total, self.quiet));
                }
                if let Some(progress) = &mut progress {
                    progress.reached_of(reading.done, reading.total);
                }
            };
            progress.iter().for_each(Progress::end);
            done
        })
    }
}

/// A line on standard output.
pub(super) fn say(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").map_err(|error| Failure::Run(error.into()))
}

/// A file that is not whole, on standard error.
pub(super) fn finding(finding: &Finding) {
    eprintln!("{}: {}", finding.path, finding.what);
}

/// Bytes as people read them.
pub(super) fn human(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}
