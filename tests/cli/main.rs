//! The program as its users run it: command line, configuration, standard output, exit status, signals.

#[cfg(test)]
mod admin;
#[cfg(test)]
mod alone;
#[cfg(test)]
mod away;
#[cfg(test)]
mod backup;
#[cfg(test)]
mod backup_holes;
#[cfg(test)]
mod backup_live;
#[cfg(test)]
mod backup_nightly;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod browser;
#[cfg(test)]
#[path = "../support/certificates.rs"]
mod certificates;
#[cfg(test)]
#[path = "../protocol/client/mod.rs"]
mod client;
#[cfg(test)]
#[path = "../support/cluster.rs"]
mod cluster;
#[cfg(test)]
mod configuration;
#[cfg(test)]
mod connect;
#[cfg(test)]
mod content;
#[cfg(test)]
#[path = "../support/database.rs"]
mod database;
#[cfg(test)]
mod dump;
#[cfg(test)]
mod durable;
#[cfg(test)]
mod environment;
#[cfg(test)]
mod files;
#[cfg(test)]
mod fsck;
#[cfg(test)]
mod fsck_served;
#[cfg(test)]
mod gc;
#[cfg(test)]
mod generated;
#[cfg(test)]
mod groups;
#[cfg(test)]
mod homes;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod locate;
#[cfg(test)]
mod locks;
#[cfg(test)]
mod log_limit;
#[cfg(test)]
mod logging;
#[cfg(test)]
mod logins;
#[cfg(test)]
mod maintenance;
#[cfg(test)]
mod migrate;
#[cfg(test)]
mod notices;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod owners;
#[cfg(test)]
#[path = "../support/port.rs"]
mod port;
#[cfg(test)]
mod ports;
#[cfg(test)]
mod process;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod root_commands;
#[cfg(test)]
#[path = "../support/s3/mod.rs"]
mod s3;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod service_user;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod shares;
#[cfg(test)]
mod sizes;
#[cfg(test)]
mod status;
#[cfg(test)]
mod survey;
#[cfg(test)]
mod systemd;
#[cfg(test)]
mod tree;
#[cfg(test)]
mod views;
#[cfg(test)]
mod waiting;
