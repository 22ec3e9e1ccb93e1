//! A store's content as a file that survives programs: compressed lines of JSON.
//!
//! # Format 1
//! One Zstandard stream (RFC 8878) of lines, each a JSON object whose first key is `crc` and whose second
//! says what the line is:
//! ```text
//! {"crc":"…","dump":{"format":1,"trunkfs":"0.1.0","created":"2026-01-31T12:00:00Z"}}
//! {"crc":"…","share":{"name":"/export","root":"…","fsid":…,"chunk_size":4194304,…}}
//! {"crc":"…","object":{"id":"…","fileid":1025,"type":"file","mode":420,…}}
//! {"crc":"…","entry":{"directory":"…","name":"a","child":"…","cookie":1024}}
//! {"crc":"…","end":{"shares":1,"objects":2,"entries":1,"sha256":"…"}}
//! ```
//! - The first line is `dump`, the last `end`. A share's line stands before its objects and entries.
//! - `crc`: eight hexadecimal digits, the CRC-32 (ISO 3309) of the four bytes (little-endian) of the line's
//!   before, 0 for the first, and then of the line from the comma behind its own `crc` to its end, without
//!   the line feed. So a line that was changed, lost, doubled or moved is found where it happened.
//! - `sha256`: of every line before the last, line feeds included, as it stands in the stream.
//! - Names, and symbolic links' targets, are text where they are UTF-8, else `{"base64":"…"}`.
//! - Times are nanoseconds since 1970; ids are UUIDs; sizes are bytes.
//! - `used`, the bytes that a file takes on its content store, is left out where it is the size in whole
//!   blocks of 4096 bytes.

mod frame;
mod line;
mod reader;
mod writer;

pub use frame::{LineReader, LineWriter, LinesDigest, hex};
pub use reader::{ReadError, Reader};
pub use writer::Writer;

/// The version of the format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;

#[cfg(test)]
mod tests;
