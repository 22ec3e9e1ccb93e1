//! By what a call is known that must not be done twice, in whatever server its repeat arrives.

use uuid::Uuid;

/// A call of a client, as it and its repeats have it in common: address and port, transaction id, procedure,
/// user, machine and arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replay {
    /// All of it.
    pub key: Uuid,
    /// The address and port alone.
    pub peer: i64,
    /// Whether another server may have done it, as far as its connection says: that is young.
    pub may_be_repeat: bool,
    /// Whether that is looked up before the call is done. A client repeats what it has no reply to as soon as
    /// it is connected again, so these are the first calls of a connection.
    pub looks_first: bool,
}
