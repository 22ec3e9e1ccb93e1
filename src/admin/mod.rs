//! Maintenance: work on stores that no client asks for. It imports `stores`, and no server.

pub mod backup;
pub mod copy;
pub mod dump;
pub mod fsck;
pub mod gc;
