//! Whether changes may still be made: not after a write whose fate the disk has not told.

use parking_lot::RwLock;

use super::error::Failure;
use crate::metadata::Error;

/// Set once; nothing but a new start mends it.
#[derive(Debug, Default)]
pub(super) struct Health(RwLock<Option<String>>);

impl Health {
    /// Nothing is written from now on.
    pub(super) fn lost(&self, failure: &Failure) {
        let mut lost = self.0.write();
        if lost.is_none() {
            tracing::error!(
                %failure,
                "the disk or the database failed under a write; no change is taken until the server is started again"
            );
            *lost = Some(failure.to_string());
        }
    }

    /// Why no change is made, if so.
    pub(super) fn error(&self) -> Option<Error> {
        let lost = self.0.read();
        lost.as_ref().map(|failure| {
            Error::Backend(
                format!("a write failed ({failure}); no change is taken until the server is started again")
                    .into(),
            )
        })
    }
}
