//! What the SQLite store does beyond the conformance suite: starts, kills, disks that fail, and its log.

#[cfg(test)]
mod again;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod log;
#[cfg(test)]
mod startup;
#[cfg(test)]
mod support;
