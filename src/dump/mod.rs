//! A store's content as a file that survives programs: compressed lines of JSON.
//!
//! # Format 1
//! One Zstandard stream (RFC 8878) of lines, each a JSON object whose first key is `crc` and whose second says
//! what the line is:
//! ```text
//! {"crc":"…","dump":{"format":1,"trunkfs":"0.1.0","created":"2026-01-31T12:00:00Z"}}
//! {"crc":"…","share":{"name":"/export","root":"…","fsid":…,"chunk_size":4194304,…}}
//! {"crc":"…","object":{"id":"…","fileid":1025,"type":"file","mode":420,…}}
//! {"crc":"…","entry":{"directory":"…","name":"a","child":"…","cookie":1024}}
//! {"crc":"…","end":{"shares":1,"objects":2,"entries":1,"sha256":"…"}}
//! ```
//! - The first line is `dump`, the last `end`. A share's line stands before its objects and entries.
//! - `crc`: eight hexadecimal digits, the CRC-32 (ISO 3309) of the four bytes (little-endian) of the line's before,
//!   0 for the first, and then of the line from the comma behind its own `crc` to its end, without the line feed. So a
//!   line that was changed, lost, doubled or moved is found where it happened.
//! - `sha256`: of every line before the last, line feeds included, as it stands in the stream.
//! - Names, and symbolic links' targets, are text where they are UTF-8, else `{"base64":"…"}`.
//! - Times are nanoseconds since 1970; ids are UUIDs; sizes are bytes.

mod line;
mod reader;
mod writer;

pub use reader::{ReadError, Reader};
pub use writer::Writer;

/// The version of the format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;

/// The longest line, in bytes: a symbolic link's target of 4,095 bytes, each escaped, and as much again.
const MAX_LINE: usize = 64 << 10;
/// Before the checksum.
const OPENING: &[u8] = b"{\"crc\":\"";
/// Where the checksum's digits end and the checked part begins, whose comma is behind a quotation mark.
const DIGITS_END: usize = OPENING.len() + 8;
/// Where the comma behind the checksum is.
const BODY: usize = DIGITS_END + 1;

/// A line's checksum, from the one before.
fn checksum(before: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&before.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests;
