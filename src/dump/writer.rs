//! Records become a file.

use std::io::{self, Write};

use sha2::{Digest, Sha256};

use super::line::{Head, Line, Tail};
use super::{BODY, FORMAT, OPENING, checksum};
use crate::metadata::{Loaded, Record};

/// How hard the stream is compressed: a fifth of its size, at more than the speed of a store.
const LEVEL: i32 = 3;

/// Writes a dump to `W`.
pub struct Writer<W: Write> {
    stream: zstd::stream::write::Encoder<'static, W>,
    digest: Sha256,
    crc: u32,
    counts: Loaded,
    buffer: Vec<u8>,
}

impl<W: Write> std::fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl<W: Write> Writer<W> {
    /// Writes the first line; `created` is the time of the dump (RFC 3339).
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W, created: &str) -> io::Result<Self> {
        let mut stream = zstd::stream::write::Encoder::new(out, LEVEL)?;
        stream.include_checksum(true)?;
        let mut writer = Self {
            stream,
            digest: Sha256::new(),
            crc: 0,
            counts: Loaded::default(),
            buffer: Vec::new(),
        };
        writer.line(&Line::Dump(Head {
            format: FORMAT,
            trunkfs: env!("CARGO_PKG_VERSION").into(),
            created: created.into(),
        }))?;
        Ok(writer)
    }

    /// Writes a record.
    ///
    /// # Errors
    /// Those of the file below.
    pub fn record(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Share(_) => self.counts.shares += 1,
            Record::Object(_) => self.counts.objects += 1,
            Record::Entry(_) => self.counts.entries += 1,
        }
        self.line(&Line::of(record))
    }

    /// What was written so far.
    #[must_use]
    pub fn counts(&self) -> Loaded {
        self.counts
    }

    /// Writes the last line and gives the file below back, unsynced.
    ///
    /// # Errors
    /// Those of the file below.
    pub fn finish(mut self) -> io::Result<W> {
        let Loaded { shares, objects, entries } = self.counts;
        let sha256 = hex(&self.digest.finalize_reset());
        self.line(&Line::End(Tail { shares, objects, entries, sha256: sha256.into() }))?;
        self.stream.finish()
    }

    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
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
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
