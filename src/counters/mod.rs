//! What the server counts of itself, cheap enough for every call: no lock that two threads want, no memory
//! that is taken anew, and no clock that is read twice.
//!
//! A part that counts holds its counters and says in [`Measured::read`] what they are now. Whoever shows them
//! (`http`) reads all parts into [`Readings`] a few times a minute.

mod calls;
mod clients;
mod histogram;
mod level;
mod readings;
mod sharded;
mod slow;

pub use calls::{Calls, Latency};
pub use clients::{ClientReading, ClientUse, Clients, Meter};
pub use histogram::{Histogram, HistogramReading};
pub use level::Level;
pub use readings::{Family, Kind, Measured, Readings, Value};
pub use sharded::{Counter, HitRate};
pub use slow::{SlowCall, SlowCalls};
