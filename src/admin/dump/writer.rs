//! Records become a file.

use std::io::{self, Write};

use super::FORMAT;
use super::frame::LineWriter;
use super::line::{Head, Line, Tail};
use crate::metadata::{Loaded, Record};

/// Writes a dump to `W`.
#[derive(Debug)]
pub struct Writer<W: Write> {
    lines: LineWriter<W>,
    counts: Loaded,
}

impl<W: Write> Writer<W> {
    /// Writes the first line; `created` is the time of the dump (RFC 3339).
    pub fn new(out: W, created: &str) -> io::Result<Self> {
        let mut lines = LineWriter::new(out)?;
        lines.put(&Line::Dump(Head {
            format: FORMAT,
            trunkfs: env!("CARGO_PKG_VERSION").into(),
            created: created.into(),
        }))?;
        Ok(Self { lines, counts: Loaded::default() })
    }

    /// Writes a record.
    pub fn record(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Share(_) => self.counts.shares += 1,
            Record::Object(_) => self.counts.objects += 1,
            Record::Entry(_) => self.counts.entries += 1,
        }
        self.lines.put(&Line::of(record))
    }

    /// What was written so far.
    #[must_use]
    pub fn counts(&self) -> Loaded {
        self.counts
    }

    /// Writes the last line and gives the file below back, unsynced.
    pub fn finish(mut self) -> io::Result<W> {
        let Loaded { shares, objects, entries } = self.counts;
        let sha256 = self.lines.sha256();
        self.lines.put(&Line::End(Tail { shares, objects, entries, sha256: sha256.into() }))?;
        self.lines.finish()
    }
}
