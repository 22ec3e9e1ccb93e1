//! Whether a peer is known to be a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a connection's peer has used a valid handle. Clones are of one connection.
#[derive(Clone, Debug, Default)]
pub struct Standing(Arc<AtomicBool>);

impl Standing {
    /// The peer has used a valid handle.
    pub fn prove(&self) {
        // Looked at first, as nearly every call finds it set.
        if !self.is_proven() {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether [`Standing::prove`] was called.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
