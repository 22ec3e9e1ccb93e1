//! Files between an unstable WRITE and its COMMIT: what clients see, what a failure or another
//! instance does to it, and what is on the store afterwards.

#[cfg(test)]
#[path = "../support/altered.rs"]
mod altered;
#[cfg(test)]
mod faulty;
#[cfg(test)]
mod fixture;

#[cfg(test)]
mod behind;
#[cfg(test)]
mod durability;
#[cfg(test)]
mod given_up;
#[cfg(test)]
mod instances;
#[cfg(test)]
mod model;
#[cfg(test)]
mod rules;
#[cfg(test)]
#[path = "../support/s3/mod.rs"]
mod s3;
#[cfg(test)]
mod servers;
#[cfg(test)]
#[path = "../support/spread.rs"]
mod spread;
#[cfg(test)]
mod stepping;
#[cfg(test)]
#[path = "../support/steps.rs"]
mod steps;
#[cfg(test)]
mod tails;
