//! Checked lines: what a dump and other files of its kind are made of. A line that was changed, lost, doubled
//! or moved is found where it happened. See the module for the form.

use std::io::{self, BufRead, BufReader, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ReadError;

/// How hard the stream is compressed: a fifth of its size, at more than the speed of a store.
const LEVEL: i32 = 3;

/// The longest line, in bytes: a symbolic link's target of 4,095 bytes, each escaped, and as much again.
pub(super) const MAX_LINE: usize = 64 << 10;
/// Before the checksum.
pub(super) const OPENING: &[u8] = b"{\"crc\":\"";
/// Where the checksum's digits end and the checked part begins, whose comma is behind a quotation mark.
pub(super) const DIGITS_END: usize = OPENING.len() + 8;
/// Where the comma behind the checksum is.
pub(super) const BODY: usize = DIGITS_END + 1;

/// A line's checksum, from the one before.
pub(super) fn checksum(before: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&before.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes checked lines to `W`.
pub struct LineWriter<W: Write> {
    stream: zstd::stream::write::Encoder<'static, W>,
    digest: Sha256,
    crc: u32,
    buffer: Vec<u8>,
}

impl<W: Write> std::fmt::Debug for LineWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineWriter").finish_non_exhaustive()
    }
}

impl<W: Write> LineWriter<W> {
    /// Writes nothing yet.
    pub fn new(out: W) -> io::Result<Self> {
        let mut stream = zstd::stream::write::Encoder::new(out, LEVEL)?;
        stream.include_checksum(true)?;
        Ok(Self { stream, digest: Sha256::new(), crc: 0, buffer: Vec::new() })
    }

    /// Writes a line; what it says must become a JSON object.
    pub fn put(&mut self, line: &impl Serialize) -> io::Result<()> {
        self.buffer.clear();
        self.buffer.extend_from_slice(OPENING);
        self.buffer.extend_from_slice(b"00000000\"");
        serde_json::to_writer(&mut self.buffer, line)?;
        // The line's own brace is the outer one; what it says follows the checksum.
        self.buffer[BODY] = b',';
        self.crc = checksum(self.crc, &self.buffer[BODY..]);
        let digits = format!("{:08x}", self.crc);
        self.buffer[OPENING.len()..BODY - 1].copy_from_slice(digits.as_bytes());
        self.buffer.push(b'\n');
        self.digest.update(&self.buffer);
        self.stream.write_all(&self.buffer)
    }

    /// Gives the file below everything so far, so that it can be read back as far as that.
    pub fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }

    /// The SHA-256 of every line so far.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex(&self.digest.clone().finalize())
    }

    /// Ends the stream and gives the file below back, unsynced.
    pub fn finish(self) -> io::Result<W> {
        self.stream.finish()
    }
}

/// Reads checked lines from `R`.
pub struct LineReader<R: Read> {
    stream: BufReader<zstd::stream::read::Decoder<'static, BufReader<R>>>,
    digest: Sha256,
    crc: u32,
    line: u64,
    buffer: Vec<u8>,
}

impl<R: Read> std::fmt::Debug for LineReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineReader").field("line", &self.line).finish_non_exhaustive()
    }
}

impl<R: Read> LineReader<R> {
    /// Reads nothing yet.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let decoder = zstd::stream::read::Decoder::new(input)
            .map_err(|source| ReadError::Cut { line: 0, source: Some(source) })?;
        let stream = BufReader::new(decoder);
        Ok(Self { stream, digest: Sha256::new(), crc: 0, line: 0, buffer: Vec::new() })
    }

    /// Reads a line, checks its checksum and gives its number.
    ///
    /// # Errors
    /// The line is not as it was written, or there is none.
    pub fn fetch(&mut self) -> Result<u64, ReadError> {
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
            return Err(wrong(number, "line too long"));
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
            return Err(wrong(number, "no checksum at the start of the line"));
        };
        self.crc = checksum(self.crc, &self.buffer[BODY..]);
        if self.crc != said {
            return Err(wrong(
                number,
                "corrupt: the checksum does not match, or lines before it are missing",
            ));
        }
        self.line = number;
        Ok(number)
    }

    /// What the line says that was read last; once for each.
    ///
    /// # Errors
    /// It says nothing that a `T` can be.
    pub fn parse<'a, T: Deserialize<'a>>(&'a mut self) -> Result<T, ReadError> {
        self.buffer[BODY] = b'{';
        let line = self.line;
        serde_json::from_slice(&self.buffer[BODY..])
            .map_err(|error| ReadError::Line { line, what: error.to_string() })
    }

    /// How many lines were read.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The digest of every line so far, for the last line, which does not count itself.
    #[must_use]
    pub fn digest(&self) -> LinesDigest {
        LinesDigest(self.digest.clone())
    }

    /// Behind the last line nothing may follow; reading on also checks the compressed stream's own checksum.
    ///
    /// # Errors
    /// Something follows, or the stream is not whole.
    pub fn at_end(&mut self) -> Result<(), ReadError> {
        let line = self.line;
        match self.stream.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err(wrong(line + 1, "data after the last line")),
            Err(source) => Err(ReadError::Cut { line, source: Some(source) }),
        }
    }
}

/// The SHA-256 of lines; computed when it is asked for.
#[derive(Clone, Debug)]
pub struct LinesDigest(Sha256);

impl LinesDigest {
    /// As lower-case hexadecimal digits.
    #[must_use]
    pub fn hex(self) -> String {
        hex(&self.0.finalize())
    }
}

pub(super) fn wrong(line: u64, what: &str) -> ReadError {
    ReadError::Line { line, what: what.to_owned() }
}
