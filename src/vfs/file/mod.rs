//! The bytes of files: READ, WRITE, COMMIT, sizes, and what waits to be flushed.
//!
//! Growing writes content first, then the size; shrinking the size first, then content. Bytes beyond a
//! file's size are never trusted: before the size grows past an unwritten gap, what is there is cut off.
//!
//! Where several servers may write, nothing is cut off or zeroed in place (`servers`).

mod files;
mod flush;
mod read;
mod servers;
mod size;
mod state;
mod write;

#[cfg(test)]
mod tests;

pub(super) use files::Files;
pub use files::Unflushed;
