//! NFSv3 and MOUNT over the wire, procedure by procedure (RFC 1813), on every pair of stores.
//!
//! `client` and `results` are a client that reads every reply strictly; `fixture` has the servers; the
//! other files hold the cases, each a plain function that [`fixture::cases`] makes tests of, named
//! `nfs::<file>::<pair>::<case>`.

mod args;
pub(crate) mod client;
mod create;
mod exclusive;
mod exports;
mod filesystem;
pub(crate) mod fixture;
mod getattr;
mod given_up;
mod handles;
mod hostile;
mod instances;
mod link;
mod lookup;
mod memory;
mod mkdir;
mod mount;
mod moved;
mod names;
mod programs;
mod read;
mod readdir;
mod readdirplus;
mod remove;
mod rename;
mod replay;
mod restart;
mod results;
pub(crate) mod rpc;
mod setattr;
pub(crate) mod shares;
mod times;
pub(crate) mod types;
mod used;
mod wcc;
mod write;
mod xdr;
