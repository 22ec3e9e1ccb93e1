//! Maintenance: work on stores that no client asks for. It imports `stores`, and no server. The options of a
//! job are a struct that clap fills from the command line.

pub mod backup;
pub mod copy;
pub mod dump;
pub mod fsck;
pub mod gc;
pub mod locate;
mod progress;
pub mod survey;
mod transfer;

use std::fmt::Display;

use serde::Serializer;

pub use self::progress::{Interrupted, Progress, Reading, Unit};
use crate::types::ShareName;

/// A share's name from the command line.
pub(crate) fn share(text: &str) -> Result<ShareName, String> {
    ShareName::parse(text).map_err(|error| format!("{error}; write a name such as /export"))
}

/// Serializes a value as its text.
fn as_text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
