//! What the PostgreSQL store does beyond the conformance suite: interleavings, lost connections, plans,
//! round trips, schema versions.

#[cfg(test)]
mod alone;
#[cfg(test)]
mod bad_certificates;
#[cfg(test)]
mod basics;
#[cfg(test)]
mod batches;
#[cfg(test)]
mod cancellation;
#[cfg(test)]
#[path = "../support/certificates.rs"]
mod certificates;
#[cfg(test)]
mod changes;
#[cfg(test)]
#[path = "../support/cluster.rs"]
mod cluster;
#[cfg(test)]
mod coherent;
#[cfg(test)]
mod connecting;
#[cfg(test)]
mod contention;
#[cfg(test)]
mod damage;
#[cfg(test)]
#[path = "../support/database.rs"]
mod database;
#[cfg(test)]
mod durable;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod fsck;
#[cfg(test)]
#[path = "../support/fsck.rs"]
#[allow(dead_code, reason = "each program uses what it needs of it")]
mod fsck_support;
#[cfg(test)]
#[path = "../support/gate.rs"]
mod gate;
#[cfg(test)]
mod history;
#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod lease;
#[cfg(test)]
mod links;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod load;
#[cfg(test)]
mod loading;
#[cfg(test)]
#[path = "../support/loading.rs"]
mod loading_support;
#[cfg(test)]
mod locks;
#[cfg(test)]
mod merged;
#[cfg(test)]
mod migrations;
#[cfg(test)]
mod moments;
#[cfg(test)]
#[path = "../support/operations.rs"]
mod operations;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod pool;
#[cfg(test)]
mod pooler;
#[cfg(test)]
#[path = "../support/port.rs"]
#[allow(dead_code, reason = "each program uses what it needs of it")]
mod port;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod read_only;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod roles;
#[cfg(test)]
mod round_trips;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod session;
#[cfg(test)]
#[path = "../support/spread.rs"]
mod spread;
#[cfg(test)]
mod standby;
#[cfg(test)]
mod startup;
#[cfg(test)]
#[path = "../support/steps.rs"]
#[allow(dead_code, reason = "each program uses what it needs of it")]
mod steps;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tls;
#[cfg(test)]
#[path = "../support/view_columns.rs"]
mod view_columns;
#[cfg(test)]
mod views;
