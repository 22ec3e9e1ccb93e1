//! What the PostgreSQL store does beyond the conformance suite: interleavings, lost connections, plans,
//! round trips, schema versions.

#[cfg(test)]
mod basics;
#[cfg(test)]
mod damage;
#[cfg(test)]
#[path = "../support/database.rs"]
mod database;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod links;
#[cfg(test)]
mod load;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod round_trips;
#[cfg(test)]
mod session;
#[cfg(test)]
mod startup;
#[cfg(test)]
mod support;
