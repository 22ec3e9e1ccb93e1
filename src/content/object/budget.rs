//! Memory for bytes that are not stored yet: bounded, and waited for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, TryAcquireError};

use super::bucket::within;
use crate::content::Error;
use crate::types::Context;

/// How often whoever waits for memory sees to it that some becomes free.
const RELIEF: Duration = Duration::from_secs(1);

/// What unstored bytes may take of memory.
#[derive(Debug)]
pub(super) struct Budget {
    free: Arc<Semaphore>,
    total: usize,
}

/// A part of a budget; given back where it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    bytes: usize,
    free: Arc<Semaphore>,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        let total = bytes.clamp(1, u32::MAX as usize);
        Self { free: Arc::new(Semaphore::new(total)), total }
    }

    /// Takes `bytes`, or all there is in the world where that is less, if they are free.
    pub(super) fn try_take(&self, bytes: usize) -> Option<Charge> {
        let bytes = bytes.min(self.total);
        match self.free.try_acquire_many(bytes as u32) {
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => return None,
        }
        Some(Charge { bytes, free: Arc::clone(&self.free) })
    }

    /// Takes `bytes`, waiting for them as long as the call is wanted and `relieve`, which is asked from time to time,
    /// does not say that it is in vain.
    pub(super) async fn take(
        &self,
        cx: &Context,
        bytes: usize,
        relieve: impl Fn() -> Result<(), Error>,
    ) -> Result<Charge, Error> {
        let bytes = bytes.min(self.total);
        let mut taking = std::pin::pin!(self.free.acquire_many(bytes as u32));
        loop {
            let taken = tokio::time::timeout(RELIEF, &mut taking);
            match within(&cx.cancel, cx.deadline, taken).await {
                Some(Ok(Ok(permit))) => permit.forget(),
                Some(Ok(Err(_))) | None => return Err(Error::Cancelled),
                Some(Err(_)) => {
                    relieve()?;
                    continue;
                }
            }
            return Ok(Charge { bytes, free: Arc::clone(&self.free) });
        }
    }

    /// A charge of nothing.
    pub(super) fn nothing(&self) -> Charge {
        Charge { bytes: 0, free: Arc::clone(&self.free) }
    }
}

impl Charge {
    /// A charge of nothing, of the same budget.
    pub(super) fn nothing(&self) -> Self {
        Self { bytes: 0, free: Arc::clone(&self.free) }
    }

    /// Adds another charge.
    pub(super) fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives back what is beyond `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        if let Some(excess) = self.bytes.checked_sub(bytes) {
            self.free.add_permits(excess);
            self.bytes = bytes;
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.free.add_permits(self.bytes);
    }
}
