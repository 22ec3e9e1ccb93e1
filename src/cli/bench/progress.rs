//! How far a load is: a bar on a terminal, and nothing elsewhere, where it would only stand among the
//! figures.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two movements of the bar: rarely, since it uses the processors that are measured.
const PERIOD: Duration = Duration::from_millis(500);

/// How far a load is.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(super) fn new(steps: usize) -> Self {
        let is_shown = std::io::stderr().is_terminal();
        let target =
            if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(steps as u64), target);
        if let Ok(style) =
            ProgressStyle::with_template("{wide_bar} {pos} of {len}, {elapsed} {msg}")
        {
            bar.set_style(style);
        }
        if is_shown {
            bar.enable_steady_tick(PERIOD);
        }
        Self { bar }
    }

    /// Says what is being done.
    pub(super) fn reached(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// A step is done.
    pub(super) fn done(&self) {
        self.bar.inc(1);
    }

    /// Does something that writes to the terminal, with the bar out of the way.
    pub(super) fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
