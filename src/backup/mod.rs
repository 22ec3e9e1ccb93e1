//! A backup: a folder that holds everything of shares, proves itself, and becomes shares again anywhere.
//!
//! # Format 1
//! ```text
//! backup.json                        what it is; written last, so that a folder without it is no backup
//! STORE/metadata.dump                the names: a dump of the metadata store STORE (see `dump`)
//! STORE/contents.list                each file's content: which, how long, its checksum
//! STORE/contents/FF/UUID             the bytes; FF is the id's last byte, holes are holes
//! unfinished                         while it is being made, and where that came to no end
//! ```
//! - `backup.json` is `{"backup":{…},"sha256":"…"}`: the sum is that of the value of `backup` as JSON without white space,
//!   keys sorted (`jq -cjS .backup | sha256sum`). It has the size and SHA-256 of each dump and list.
//! - `contents.list` is of lines as a dump's: `contents` first, then a `share` before its `content`s, in the order of the dump,
//!   then `end`. Each file with a size of at least one byte has one.
//! - A `content` has the row of the dump that it is of (`object`, `content`, `version`, `size`, `mtime`, `ctime`), the `length` of the
//!   bytes in the backup with their `sha256` (none where nobody read them), and a `state`:
//!   `steady`: what the file had at the moment of the dump; `moving`: the file was being changed, the bytes are some of
//!   before and some of after; `lost`: the store had fewer bytes than the file's size says.
//! - Files of a later backup may be hard links to an earlier one's: none is ever written to again.

mod check;
mod copy;
mod error;
mod folder;
mod list;
mod manifest;
mod meter;
mod paths;
mod place;
mod plan;
mod restore;
mod summing;
mod take;

pub use check::{Finding, Proof, lost, prove};
pub use error::Error;
pub use list::State;
pub use manifest::{Manifest, StoreManifest};
pub use meter::{Job, Reading};
pub use restore::{Restored, Wanted as RestoreWanted, restore};
pub use take::{Taken, Wanted, take};

/// The version of the format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;
/// How many contents are copied at once.
const AT_ONCE: usize = 8;
/// How many bytes are read at once.
const BLOCK: usize = 4 << 20;
/// What is zeros throughout so many bytes becomes a hole.
const HOLE: usize = 64 << 10;
