//! Maintenance: work on stores that no client asks for. It imports `stores`, and no server.

pub mod backup;
pub mod copy;
pub mod dump;
pub mod fsck;
pub mod gc;
mod progress;
mod transfer;

use std::fmt::Display;

use serde::Serializer;

pub use self::progress::{Interrupted, Progress, Reading, Unit};

/// Serializes a value as its text.
fn as_text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
