//! How far a command is: a bar on a terminal, a line now and then elsewhere, both on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::admin::{Reading, Unit};

/// Between two lines where there is no terminal.
const PERIOD: Duration = Duration::from_secs(10);

/// The bar of a stage.
#[derive(Debug)]
pub(super) struct Bar {
    bar: ProgressBar,
    name: &'static str,
    /// Where there is no terminal: when the next line is due.
    lines: Option<Instant>,
}

impl Bar {
    pub(super) fn new(stage: &Reading) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target =
            if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(stage.total, target);
        let form = match (stage.unit, stage.total) {
            (_, None) | (Unit::Records, _) => "{spinner} {human_pos} records, {per_sec}",
            (Unit::Bytes, Some(_)) => {
                "{wide_bar} {percent} % of {total_bytes}, {bytes_per_sec}, {eta} left"
            }
            (Unit::Rows, Some(_)) => {
                "{wide_bar} {percent} % of {human_len} rows, {per_sec}, {eta} left"
            }
            (Unit::Contents, Some(_)) => {
                "{wide_bar} {human_pos} of {human_len} {prefix}, {per_sec}, {eta} left"
            }
        };
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style);
        }
        bar.set_prefix(stage.name);
        let lines = (!terminal).then(|| Instant::now() + PERIOD);
        Self { bar, name: stage.name, lines }
    }

    /// Shows how far the stage is.
    pub(super) fn reached(&mut self, stage: &Reading) {
        if let Some(total) = stage.total {
            self.bar.set_length(total);
        }
        self.bar.set_position(stage.done);
        let Some(due) = &mut self.lines else { return };
        if Instant::now() < *due {
            return;
        }
        *due = Instant::now() + PERIOD;
        let rate = self.bar.per_sec();
        match self.bar.length() {
            Some(total) if total > 0 => eprintln!(
                "{}: {} %, {rate:.0}/s, {:.0} s left",
                self.name,
                (stage.done.saturating_mul(100) / total).min(100),
                self.bar.eta().as_secs_f64()
            ),
            Some(_) | None => eprintln!("{}: {} records, {rate:.0}/s", self.name, stage.done),
        }
    }

    /// Writes to the terminal while the bar is out of the way.
    pub(super) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
