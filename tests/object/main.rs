//! The object store against a real S3 server: several stores over one bucket, and a network that fails,
//! stalls and reorders.

#[cfg(test)]
mod coherence;
#[cfg(test)]
mod costs;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod late;
#[cfg(test)]
mod opening;
#[cfg(test)]
mod races;
#[cfg(test)]
#[path = "../support/s3/mod.rs"]
mod s3;
#[cfg(test)]
mod support;
#[cfg(test)]
mod turns;
