//! A file becomes records again, or is refused with the line that is wrong.

use std::io::{self, Read};

use super::FORMAT;
use super::frame::{LineReader, wrong};
use super::line::{Line, Tail};
use crate::metadata::{Loaded, Record};
use crate::types::Fsid;

/// Why a dump, or another file of checked lines, is refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A line is not as it was written.
    #[error("line {line}: {what}")]
    Line {
        /// Its number, from 1.
        line: u64,
        what: String,
    },
    /// The file ends, or cannot be decompressed any more, behind a line.
    #[error("{}", no_more(*line))]
    Cut {
        line: u64,
        #[source]
        source: Option<io::Error>,
    },
    /// The file has a format that this program does not know.
    #[error(
        "unsupported format {0} (supported: {FORMAT}); use the release of TrunkFS that wrote it, or a later \
         one"
    )]
    Format(u32),
}

/// Where no line is to be had the file may be anything.
fn no_more(line: u64) -> String {
    let other = if line == 0 { ", or not a dump of TrunkFS" } else { "" };
    format!("truncated or corrupt after line {line}{other}")
}

/// Reads a dump from `R`.
#[derive(Debug)]
pub struct Reader<R: Read> {
    lines: LineReader<R>,
    counts: Loaded,
    /// The share that objects belong to.
    fsid: Option<Fsid>,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// The file is no dump, or one of another format.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let mut lines = LineReader::new(input)?;
        let number = lines.fetch()?;
        match lines.parse()? {
            Line::Dump(head) if head.format == FORMAT => {}
            Line::Dump(head) => return Err(ReadError::Format(head.format)),
            Line::Share(_) | Line::Object(_) | Line::Entry(_) | Line::End(_) => {
                return Err(wrong(number, "the first line is not the header of a dump"));
            }
        }
        Ok(Self { lines, counts: Loaded::default(), fsid: None, ended: false })
    }

    /// The next record; `None` behind the last, when everything was found whole.
    pub fn record(&mut self) -> Result<Option<Record>, ReadError> {
        if self.ended {
            return Ok(None);
        }
        // The last line's digest does not count the line itself.
        let before = self.lines.digest();
        let number = self.lines.fetch()?;
        let failed = |what: String| ReadError::Line { line: number, what };
        let record = match self.lines.parse()? {
            Line::Dump(_) => return Err(wrong(number, "duplicate header line")),
            Line::Share(share) => Record::Share(share.record().map_err(failed)?),
            Line::Object(object) => {
                let fsid = self.fsid.ok_or_else(|| wrong(number, "an object before its share"))?;
                Record::Object(object.record(fsid).map_err(failed)?)
            }
            Line::Entry(entry) => Record::Entry(entry.record().map_err(failed)?),
            Line::End(tail) => {
                check_tail(&tail, self.counts, &before.hex()).map_err(failed)?;
                self.lines.at_end()?;
                self.ended = true;
                return Ok(None);
            }
        };
        match &record {
            Record::Share(share) => {
                self.counts.shares += 1;
                self.fsid = Some(share.fsid);
            }
            Record::Object(_) => self.counts.objects += 1,
            Record::Entry(_) => self.counts.entries += 1,
        }
        Ok(Some(record))
    }

    /// How many lines were read.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.lines.line()
    }
}

fn check_tail(tail: &Tail<'_>, counts: Loaded, sha256: &str) -> Result<(), String> {
    let said = Loaded { shares: tail.shares, objects: tail.objects, entries: tail.entries };
    if said != counts {
        return Err(format!("wrong counts: recorded {said:?}, found {counts:?}"));
    }
    if tail.sha256 != sha256 {
        return Err("the SHA-256 of the lines does not match the last line".to_owned());
    }
    Ok(())
}
