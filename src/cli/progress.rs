//! How far a long command is: a bar on a terminal, a line now and then elsewhere, both on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two lines where there is no terminal.
const PERIOD: Duration = Duration::from_secs(10);

/// How far a command is.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    what: &'static str,
    /// Where there is no terminal: when the next line is due.
    lines: Option<Instant>,
}

impl Progress {
    /// Progress of `what`, of `total` units where that is known; `quiet` shows nothing.
    pub(super) fn new(what: &'static str, total: Option<u64>, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal && !quiet {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(total, target);
        let lines = (!terminal && !quiet).then(|| Instant::now() + PERIOD);
        let form = match total {
            Some(_) => "{wide_bar} {percent} % of {total_bytes}, {bytes_per_sec}, {eta} left {msg}",
            None => "{spinner} {human_pos} records, {per_sec} {msg}",
        };
        Self { bar, what, lines }.in_form(form)
    }

    /// Progress of `what`, which counts `total` things.
    pub(super) fn counting(what: &'static str, total: u64, quiet: bool) -> Self {
        let form = "{wide_bar} {human_pos} of {human_len} {prefix}, {per_sec}, {eta} left {msg}";
        let progress = Self::new(what, Some(total), quiet).in_form(form);
        progress.bar.set_prefix(what);
        progress
    }

    /// Progress of `what`, of about `total` rows; `quiet` shows nothing.
    pub(super) fn of_rows(what: &'static str, total: u64, quiet: bool) -> Self {
        let form = "{wide_bar} {percent} % of {human_len} rows, {per_sec}, {eta} left";
        Self::new(what, Some(total), quiet).in_form(form)
    }

    fn in_form(self, form: &str) -> Self {
        if let Ok(style) = ProgressStyle::with_template(form) {
            self.bar.set_style(style);
        }
        self
    }

    /// `position` units are done, of `total` where that is known by now.
    pub(super) fn reached_of(&mut self, position: u64, total: Option<u64>) {
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        self.reached(position);
    }

    /// `position` units are done.
    pub(super) fn reached(&mut self, position: u64) {
        self.bar.set_position(position);
        let Some(due) = &mut self.lines else { return };
        if Instant::now() < *due {
            return;
        }
        *due = Instant::now() + PERIOD;
        let rate = self.bar.per_sec();
        match self.bar.length() {
            Some(total) if total > 0 => eprintln!(
                "{}: {} %, {rate:.0}/s, {:.0} s left",
                self.what,
                (position.saturating_mul(100) / total).min(100),
                self.bar.eta().as_secs_f64()
            ),
            Some(_) | None => eprintln!("{}: {position} records, {rate:.0}/s", self.what),
        }
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
