//! The calls of each workload.

mod data;
mod listing;
mod mixed;
mod numbered;
mod random;
mod rename;
mod repeat;
mod small_files;

pub(super) use data::{Reads, Writes};
pub(super) use listing::Listing;
pub(super) use mixed::{Mixed, MixedFiles};
pub(super) use numbered::Numbered;
pub(super) use rename::Rename;
pub(super) use repeat::Repeat;
pub(super) use small_files::SmallFiles;
