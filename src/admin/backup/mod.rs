//! A backup: a folder that holds everything of shares, proves itself, and becomes shares again anywhere.
//!
//! # Format 2
//! ```text
//! backup.json                        what it is; written last, so that a folder without it is no backup
//! STORE/metadata.dump                the names: a dump of the metadata store STORE (see `dump`)
//! STORE/contents.list                each file's content: which, how long, its checksum
//! STORE/contents/FF/UUID             the bytes; FF is the id's last byte, holes are holes
//! unfinished                         while it is being made, and where that came to no end
//! ```
//! - `backup.json` is `{"backup":{…},"sha256":"…"}`: the sum is that of the value of `backup` as JSON without
//!   white space, keys sorted (`jq -cjS .backup | sha256sum`). It has the size and SHA-256 of each dump and
//!   list.
//! - `contents.list` is of lines as a dump's: `contents` first, then a `share` before its `content`s, in the
//!   order of the dump, then `end`. Each file with a size of at least one byte has one.
//! - A `content` has the row of the dump that it is of (`object`, `content`, `version`, `size`, `mtime`,
//!   `ctime`), the `length` of the bytes in the backup, their checksum (none where they were not read), and a
//!   `state`: `steady`: what the file had at the moment of the dump; `moving`: the file was being changed,
//!   the bytes are some of before and some of after; `lost`: the store had fewer bytes than the file's size
//!   says.
//! - The checksum is `sha256`, of all bytes, for contents below 64 MiB, and `data_sha256` from there on: the
//!   SHA-256 of each block of 64 KiB that has a byte other than zero, in order, with its offset in front (64
//!   bits, little-endian) and the last one filled up with zeros, and behind the blocks of the `length` (64
//!   bits, little-endian). Holes cost nothing, and bytes that are zeros count the same whether a store has
//!   them written out or not.
//! - Format 1 has `sha256` for contents of all sizes, and is read as well.
//! - Files of a later backup may be hard links to an earlier one's: none is ever written to again.

mod check;
mod create;
mod diff;
mod error;
mod folder;
mod list;
mod locate;
mod manifest;
mod paths;
mod restore;
mod series;

pub use check::{Finding, Portion, Proof, lost, prove};
pub use create::{Created, Wanted, create};
pub use error::Error;
pub use list::State;
pub use manifest::{Inventory, Manifest, StoreManifest};
pub use restore::{Restored, Wanted as RestoreWanted, restore};
pub use series::{Added, Plan, add};

/// The version of the format that is written.
pub const FORMAT: u32 = 2;
/// The versions that are read.
const READABLE: std::ops::RangeInclusive<u32> = 1..=FORMAT;
