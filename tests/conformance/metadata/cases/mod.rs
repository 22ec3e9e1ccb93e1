//! The cases: each a function that takes a [`World`](super::world::World).

pub(crate) mod getattr;
pub(crate) mod lookup;
