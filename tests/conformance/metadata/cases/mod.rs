//! The cases: each a function that takes a [`World`](super::world::World).

pub(crate) mod cancellation;
pub(crate) mod create;
pub(crate) mod exclusive;
pub(crate) mod flush;
pub(crate) mod getattr;
pub(crate) mod link;
pub(crate) mod load;
pub(crate) mod lookup;
pub(crate) mod mkdir;
pub(crate) mod mknod;
pub(crate) mod permissions;
pub(crate) mod race;
pub(crate) mod readdir;
pub(crate) mod remove;
pub(crate) mod rename;
pub(crate) mod rename_directory;
pub(crate) mod setattr;
pub(crate) mod settings;
pub(crate) mod shares;
pub(crate) mod symlink;
pub(crate) mod times;
pub(crate) mod usage;
