//! A file becomes records again, or is refused with the line that is wrong.

use std::io::{self, BufRead, BufReader, Read};

use sha2::{Digest, Sha256};

use super::line::{Line, Tail};
use super::writer::hex;
use super::{BODY, DIGITS_END, FORMAT, MAX_LINE, OPENING, checksum};
use crate::metadata::{Loaded, Record};
use crate::types::Fsid;

/// Why a dump is refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A line is not as it was written.
    #[error("line {line}: {what}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// The file ends, or cannot be decompressed any more, behind a line.
    #[error("cut off or changed behind line {line}")]
    Cut {
        /// The last whole line's number; 0 where there is none.
        line: u64,
        /// What the decompressor says.
        #[source]
        source: Option<io::Error>,
    },
    /// The dump has a format that this program does not know.
    #[error(
        "format {0}; this program reads format {FORMAT}: use the version that wrote it, or a later one"
    )]
    Format(u32),
}

/// Reads a dump from `R`.
pub struct Reader<R: Read> {
    stream: BufReader<zstd::stream::read::Decoder<'static, BufReader<R>>>,
    digest: Sha256,
    crc: u32,
    line: u64,
    buffer: Vec<u8>,
    counts: Loaded,
    /// The share that objects belong to.
    fsid: Option<Fsid>,
    ended: bool,
}

impl<R: Read> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("line", &self.line).finish_non_exhaustive()
    }
}

impl<R: Read> Reader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// The file is no dump, or one of another format.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let decoder = zstd::stream::read::Decoder::new(input)
            .map_err(|source| ReadError::Cut { line: 0, source: Some(source) })?;
        let mut reader = Self {
            stream: BufReader::new(decoder),
            digest: Sha256::new(),
            crc: 0,
            line: 0,
            buffer: Vec::new(),
            counts: Loaded::default(),
            fsid: None,
            ended: false,
        };
        let number = reader.fetch()?;
        match reader.parse()? {
            Line::Dump(head) if head.format == FORMAT => Ok(reader),
            Line::Dump(head) => Err(ReadError::Format(head.format)),
            Line::Share(_) | Line::Object(_) | Line::Entry(_) | Line::End(_) => {
                Err(wrong(number, "the first line is not that of a dump"))
            }
        }
    }

    /// The next record; `None` behind the last, when everything was found whole.
    ///
    /// # Errors
    /// The line that is wrong.
    pub fn record(&mut self) -> Result<Option<Record>, ReadError> {
        if self.ended {
            return Ok(None);
        }
        // The last line's digest does not count the line itself.
        let before = self.digest.clone();
        let (counts, fsid) = (self.counts, self.fsid);
        let number = self.fetch()?;
        let failed = |what: String| ReadError::Line { line: number, what };
        let record = match self.parse()? {
            Line::Dump(_) => return Err(wrong(number, "a second first line")),
            Line::Share(share) => Record::Share(share.record().map_err(failed)?),
            Line::Object(object) => {
                let fsid = fsid.ok_or_else(|| wrong(number, "an object before its share"))?;
                Record::Object(object.record(fsid).map_err(failed)?)
            }
            Line::Entry(entry) => Record::Entry(entry.record().map_err(failed)?),
            Line::End(tail) => {
                check_tail(&tail, counts, &hex(&before.finalize())).map_err(failed)?;
                self.at_end()?;
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
        self.line
    }

    /// Reads a line into the buffer, checks its checksum and gives its number.
    fn fetch(&mut self) -> Result<u64, ReadError> {
        self.buffer.clear();
        let whole = self.line;
        let cut = |source| ReadError::Cut { line: whole, source };
        let mut limited = (&mut self.stream).take(MAX_LINE as u64);
        limited.read_until(b'\n', &mut self.buffer).map_err(|source| cut(Some(source)))?;
        if self.buffer.is_empty() {
            return Err(cut(None));
        }
        let number = whole + 1;
        if self.buffer.len() >= MAX_LINE {
            return Err(wrong(number, "longer than any line of a dump"));
        }
        if self.buffer.last() != Some(&b'\n') {
            return Err(cut(None));
        }
        self.digest.update(&self.buffer);
        self.buffer.pop();
        let well_formed = self.buffer.starts_with(OPENING)
            && self.buffer.get(DIGITS_END..=BODY).is_some_and(|bytes| bytes == b"\",");
        let digits = self.buffer.get(OPENING.len()..DIGITS_END).map(String::from_utf8_lossy);
        let said = digits.and_then(|digits| u32::from_str_radix(&digits, 16).ok());
        let Some(said) = said.filter(|_| well_formed) else {
            return Err(wrong(number, "no line of a dump"));
        };
        self.crc = checksum(self.crc, &self.buffer[BODY..]);
        if self.crc != said {
            return Err(wrong(
                number,
                "changed since it was written, or lines before it are missing",
            ));
        }
        self.line = number;
        Ok(number)
    }

    /// What the buffer's line says.
    fn parse(&mut self) -> Result<Line<'_>, ReadError> {
        self.buffer[BODY] = b'{';
        let line = self.line;
        serde_json::from_slice(&self.buffer[BODY..])
            .map_err(|error| ReadError::Line { line, what: error.to_string() })
    }

    /// Behind the last line nothing may follow; reading on also checks the compressed stream's own checksum.
    fn at_end(&mut self) -> Result<(), ReadError> {
        let line = self.line;
        match self.stream.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err(wrong(line + 1, "more behind the last line")),
            Err(source) => Err(ReadError::Cut { line, source: Some(source) }),
        }
    }
}

fn wrong(line: u64, what: &str) -> ReadError {
    ReadError::Line { line, what: what.to_owned() }
}

fn check_tail(tail: &Tail<'_>, counts: Loaded, sha256: &str) -> Result<(), String> {
    let said = Loaded { shares: tail.shares, objects: tail.objects, entries: tail.entries };
    if said != counts {
        return Err(format!("the dump says that it has {said:?}, and has {counts:?}"));
    }
    if tail.sha256 != sha256 {
        return Err("the lines before have another SHA-256 than the last one says".to_owned());
    }
    Ok(())
}
