//! Memory for bytes that are not stored yet: bounded, and waited for. Clients take turns.

use std::time::Duration;

use crate::content::Error;
use crate::types::{Bounds, Call, FairPermits, NoPermit, Permit};

/// How often a call that waits for memory has some freed.
const RELIEF: Duration = Duration::from_secs(1);

/// What unstored bytes may take of memory.
#[derive(Debug)]
pub(super) struct Budget {
    free: FairPermits,
    total: usize,
}

/// A part of a budget; given back where it is dropped.
pub(super) type Charge = Permit;

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        let total = bytes.max(1);
        Self { free: FairPermits::new(total, Bounds::CALLS), total }
    }

    /// Takes `bytes`, or all there is in the world where that is less, if they are free.
    pub(super) fn try_take(&self, bytes: usize) -> Option<Charge> {
        self.free.try_acquire(bytes.min(self.total))
    }

    /// Takes `bytes`, waiting for them as long as the call is wanted and `relieve`, which is asked from time
    /// to time, does not say that it is in vain.
    pub(super) async fn take(
        &self,
        call: &Call,
        bytes: usize,
        relieve: impl Fn() -> Result<(), Error>,
    ) -> Result<Charge, Error> {
        let bytes = bytes.min(self.total);
        let mut taking = std::pin::pin!(self.free.acquire(call.claimant, bytes));
        loop {
            let taken = tokio::time::timeout(RELIEF, &mut taking);
            return match call.within(taken).await {
                Some(Ok(Ok(charge))) => Ok(charge),
                Some(Ok(Err(NoPermit::Full(full)))) => {
                    Err(Error::Unavailable(std::io::Error::other(full)))
                }
                Some(Ok(Err(NoPermit::Closed))) | None => Err(Error::Cancelled),
                Some(Err(_)) => {
                    relieve()?;
                    continue;
                }
            };
        }
    }

    /// A charge of nothing.
    pub(super) fn nothing(&self) -> Charge {
        self.free.nothing()
    }
}
