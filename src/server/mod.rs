//! The maintenance of stores.

mod copying;
mod gc;

pub use self::copying::{CopyError, CopyHow, CopyOutcome, CopyStep, CopyWatch, copy_content};
pub use self::gc::{Collected, GcError, GcHow, GcStep, GcWatch, Outcome, collect, lasting_content};
