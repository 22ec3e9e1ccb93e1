//! A load generator for NFSv3 servers (RFC 1813): workloads, each of one kind of call, on connections that
//! keep a number of calls in flight.
//!
//! Everything happens below one directory of the export, which is removed at the end. A reply is matched with
//! its call by xid and decoded down to its status; READ's and WRITE's counts and a listing's entries are
//! checked too. An unexpected status is counted as an error and never as an operation.

mod call;
mod compare;
mod cpu;
mod drive;
mod error;
mod fault;
mod histogram;
mod link;
mod measure;
mod mount;
mod portmap;
mod prepare;
mod prepare_data;
mod records;
mod removal;
mod reply;
mod session;
mod source;
mod tally;
mod target;
mod workload;
mod workloads;

pub use call::Stability;
pub use compare::{Comparison, Spread};
pub use cpu::Processes;
pub use error::Error;
pub use fault::Fault;
pub use histogram::Histogram;
pub use measure::{Measurement, Timing};
pub use prepare::Prepared;
pub use session::{Session, Settings};
pub use target::{Target, TargetError};
pub use workload::{Block, Order, UnknownWorkload, Workload, parse_workloads};
