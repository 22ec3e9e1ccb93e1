//! What the SQLite store does beyond the conformance suite: starts, kills, disks that fail, and its log.

#[cfg(test)]
#[path = "../support/again.rs"]
mod again;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod fsck;
#[cfg(test)]
#[path = "../support/fsck.rs"]
#[allow(dead_code, reason = "each program uses what it needs of it")]
mod fsck_support;
#[cfg(test)]
mod full;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod loading;
#[cfg(test)]
#[path = "../support/loading.rs"]
mod loading_support;
#[cfg(test)]
mod locks;
#[cfg(test)]
mod log;
#[cfg(test)]
mod replaced;
#[cfg(test)]
#[path = "../support/small_disk.rs"]
mod small_disk;
#[cfg(test)]
mod startup;
#[cfg(test)]
mod support;
#[cfg(test)]
mod upgrade;
#[cfg(test)]
#[path = "../support/view_columns.rs"]
mod view_columns;
#[cfg(test)]
mod views;
