//! How long a call goes on trying.

use std::time::Duration;

use tokio::time::Instant;

use super::error::PostgresError;
use crate::metadata::Error;
use crate::types::{Call, Phase};

/// How long a database that is away is waited for; then the caller is told, who may ask again.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// The most repeats of a call that met a deadlock, waited too long for a lock or was overtaken by a lease.
pub(super) const TRANSIENT_REPEATS: u32 = 16;

/// Ends with [`Error::Cancelled`] where the call is over.
pub(super) fn admit(call: &Call) -> Result<(), Error> {
    if call.is_over() { Err(Error::Cancelled) } else { Ok(()) }
}

/// Waits for `work`, or until the call is over. Only for what may be dropped half done.
pub(super) async fn within<T>(call: &Call, work: impl Future<Output = T>) -> Result<T, Error> {
    admit(call)?;
    call.within(work).await.ok_or(Error::Cancelled)
}

/// A call's repeats.
#[derive(Debug)]
pub(super) struct Backoff {
    away_since: Option<Instant>,
    repeats: u32,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { away_since: None, repeats: 0 }
    }

    /// How long to pause before the next try of a call that failed and changed nothing, unless it is over.
    pub(super) fn after(&mut self, failure: PostgresError) -> Result<Duration, Error> {
        let over = match &failure {
            PostgresError::Refused(_) | PostgresError::ReadOnly(_) => true,
            PostgresError::Transient(_) | PostgresError::NotJoined(_) => {
                self.repeats >= TRANSIENT_REPEATS
            }
            PostgresError::Lost(_) | PostgresError::Retired(_) => {
                self.away_since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE
            }
        };
        if over {
            return Err(failure.into_error());
        }
        self.repeats += 1;
        Ok(jittered(self.repeats))
    }

    /// Pauses, unless the call is over.
    pub(super) async fn pause(&mut self, call: &Call, failure: PostgresError) -> Result<(), Error> {
        let phase = match &failure {
            PostgresError::Lost(_) => Phase::Away,
            PostgresError::Transient(_)
            | PostgresError::Retired(_)
            | PostgresError::NotJoined(_)
            | PostgresError::ReadOnly(_)
            | PostgresError::Refused(_) => Phase::Database,
        };
        let pause = self.after(failure)?;
        call.timing.timed(phase, within(call, tokio::time::sleep(pause))).await
    }
}

/// Between 1 ms and a limit that doubles from 8 ms to 256 ms, so that callers who met do not meet again.
pub(super) fn jittered(repeat: u32) -> Duration {
    let limit = 4_u64 << repeat.clamp(1, 6);
    Duration::from_millis(rand::random_range(1..=limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_within_their_bounds() {
        for repeat in 0..100 {
            let pause = jittered(repeat);
            assert!(pause >= Duration::from_millis(1) && pause <= Duration::from_millis(256));
        }
    }
}
