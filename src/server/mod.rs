//! From a configuration to a server, and the maintenance of stores.

mod copying;
mod gc;
mod instance;
mod probe;

pub use self::copying::{CopyError, CopyHow, CopyOutcome, CopyStep, CopyWatch, copy_content};
pub use self::gc::{Collected, GcError, GcHow, GcStep, GcWatch, Outcome, collect, lasting_content};
pub use self::instance::{AFTER_DRAIN, Control, Instance, StartError};
pub use self::probe::{ProbeError, Service, own_address, probe};
