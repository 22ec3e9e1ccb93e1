//! That one process alone changes a store's files.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedRwLockReadGuard;

/// How long nobody else may take a process for dead.
pub trait Licence: fmt::Debug + Send + Sync {
    /// How many times the process has become alone.
    fn generation(&self) -> u64;

    /// The time that is left; `None` where it is over.
    fn left(&self) -> Option<Duration>;
}

/// This process alone changes a store's files: bytes may be cut off and zeroed where they are. Who hands the
/// store over to others waits until it is dropped. A process that stood still, or lost its connection, may
/// have been taken for dead meanwhile: content is cut within [`Sole::left`] only.
#[derive(Debug)]
pub struct Sole(Option<Shared>);

#[derive(Debug)]
struct Shared {
    licence: Arc<dyn Licence>,
    generation: u64,
    _hold: OwnedRwLockReadGuard<()>,
}

impl Sole {
    /// Of a store that no other process ever changes.
    #[must_use]
    pub fn always() -> Self {
        Self(None)
    }

    /// For as long as `licence` lasts; `hold` keeps the store from being handed over.
    pub(super) fn licensed(licence: Arc<dyn Licence>, hold: OwnedRwLockReadGuard<()>) -> Self {
        let generation = licence.generation();
        Self(Some(Shared { licence, generation, _hold: hold }))
    }

    /// How long it lasts, unless it is renewed meanwhile; `None` where it is over, for good.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let Some(Shared { licence, generation, .. }) = &self.0 else { return Some(Duration::MAX) };
        let left = licence.left();
        // Asked last: a licence of another generation is not taken for this one's.
        left.filter(|_| licence.generation() == *generation)
    }
}
