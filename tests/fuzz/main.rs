//! Bytes that no client, dump or configuration should have. Each target mutates a corpus, from a seed, for a
//! bounded time: nothing panics, every answer is one of the protocol's, and no inputs take more memory than
//! their bound.
//!
//! `TRUNKFS_FUZZ_SECONDS` is the time of each target (2 by default), `TRUNKFS_FUZZ_SEED` the seed of the
//! first input (0 by default). A failure names the seed of its input, with which that input comes first.

#[cfg(test)]
#[path = "../protocol/client/mod.rs"]
mod client;
#[cfg(test)]
mod inputs;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod mutate;
#[cfg(test)]
mod readers;
#[cfg(test)]
mod server;
