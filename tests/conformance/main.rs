//! The conformance suites: one list of cases for metadata stores, one for content stores; every
//! store runs every case.

#[cfg(test)]
mod content;
#[cfg(test)]
#[path = "../support/database.rs"]
mod database;
#[cfg(test)]
mod metadata;
#[cfg(test)]
#[path = "../support/operations.rs"]
mod operations;
#[cfg(test)]
#[path = "../support/s3/mod.rs"]
mod s3;
#[cfg(test)]
#[path = "../support/small_disk.rs"]
mod small_disk;
#[cfg(test)]
#[path = "../support/steps.rs"]
mod steps;
