//! What goes over the wire, byte by byte: a client that makes every field of a call by hand, and
//! the cases that use it.

#[cfg(test)]
#[path = "../support/again.rs"]
mod again;
#[cfg(test)]
#[path = "../support/altered.rs"]
mod altered;
#[cfg(test)]
mod client;
#[cfg(test)]
#[path = "../support/database.rs"]
mod database;
#[cfg(test)]
#[path = "../support/gate.rs"]
mod gate;
#[cfg(test)]
mod nfs;
#[cfg(test)]
mod nlm;
#[cfg(test)]
#[path = "../support/port.rs"]
mod port;
#[cfg(test)]
mod rpc;
#[cfg(test)]
#[path = "../support/s3/mod.rs"]
mod s3;
#[cfg(test)]
#[path = "../support/splitter.rs"]
mod splitter;
