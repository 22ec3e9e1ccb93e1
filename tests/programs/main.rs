//! The NFS and MOUNT programs over memory stores, called without a network: whole ways of a client
//! through both, the form of every answer, and what is told to the RPC layer instead.

#[cfg(test)]
mod fixture;

#[cfg(test)]
mod forms;
#[cfg(test)]
mod log;
#[cfg(test)]
mod mount;
#[cfg(test)]
mod session;
