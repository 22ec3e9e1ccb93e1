//! TrunkFS: an NFSv3 server whose namespace lives in a metadata store and whose file bytes live in
//! a content store.
//!
//! The way of a request, and of every import:
//! ```text
//! net/connection  →  rpc/{record,message,auth,dispatch,reply_cache}  →  nfs3/<procedure>
//!                 →  vfs/{namespace,file,attributes}  →  metadata/<store>  and  content/<store>
//! ```
//! `types` holds what crosses layers and imports nothing; `stores` alone names concrete
//! stores; `config` becomes validated types before anything starts.

// What the test programs share names the crate as they do.
#[cfg(test)]
extern crate self as trunkfs;

pub mod admin;
#[cfg(test)]
mod allocations;
mod availability;
pub mod bench;
pub mod cli;
pub mod config;
pub mod content;
pub mod counters;
pub mod daemon;
pub mod http;
mod log_limit;
pub mod maintenance;
pub mod metadata;
pub mod mount;
pub mod net;
pub mod nfs3;
pub mod nlm;
pub mod nsm;
pub mod ownership;
pub mod portmap;
pub mod rpc;
pub mod stores;
pub mod telemetry;
pub mod types;
pub mod vfs;
pub mod xdr;

/// Gives freed memory back to the system, with `net/purge.rs`; glibc's allocator keeps what a burst of large
/// calls took (BENCHMARKS.md).
#[cfg(not(test))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: allocations::Counting<mimalloc::MiMalloc> =
    allocations::Counting(mimalloc::MiMalloc);
