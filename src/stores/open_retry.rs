//! Stores that are not available yet when the server starts: opening is retried, with a warning now and then.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::types::Chain;

/// The first pause between two attempts; each is twice as long as the one before, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The time between two warnings.
const REMINDER: Duration = Duration::from_secs(10);

/// A store that did not become available in time, or whose error does not pass by itself.
#[derive(Debug)]
pub(super) struct Failed<E> {
    /// What the last attempt met.
    pub(super) error: E,
    /// How long it was waited, where it was.
    pub(super) waited: Option<Duration>,
}

/// Opens `what`, again and again for at most `limit` while `passes` says that its error may pass. The first
/// attempt has all the time that it takes; what comes later ends with the limit.
pub(super) async fn opened<T, E: std::error::Error + 'static>(
    what: &str,
    limit: Duration,
    mut open: impl AsyncFnMut() -> Result<T, E>,
    passes: impl Fn(&E) -> bool,
) -> Result<T, Failed<E>> {
    let mut error = match open().await {
        Ok(opened) => return Ok(opened),
        Err(error) if limit.is_zero() || !passes(&error) => {
            return Err(Failed { error, waited: None });
        }
        Err(error) => error,
    };
    tracing::warn!(error = %Chain(&error), "waiting for {what}, at most {limit:?}");
    let began = Instant::now();
    let deadline = began + limit;
    let (mut pause, mut said) = (FIRST_PAUSE, began);
    loop {
        sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
        pause = LONGEST_PAUSE.min(pause * 2);
        match timeout_at(deadline, open()).await {
            Ok(Ok(opened)) => {
                tracing::info!("{what} is available after {:.1?}", began.elapsed());
                return Ok(opened);
            }
            Ok(Err(latest)) if passes(&latest) => error = latest,
            Ok(Err(error)) => return Err(Failed { error, waited: None }),
            // It did not end: what the attempt before met still says most.
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            return Err(Failed { error, waited: Some(began.elapsed()) });
        }
        if said.elapsed() >= REMINDER {
            said = Instant::now();
            let waited = began.elapsed();
            tracing::warn!(error = %Chain(&error), "still waiting for {what}, for {waited:.0?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Trouble {
        #[error("away")]
        Away,
        #[error("refused")]
        Refused,
    }

    fn passes(trouble: &Trouble) -> bool {
        matches!(trouble, Trouble::Away)
    }

    /// Attempt number `there` succeeds, and those before it fail.
    async fn after(there: u32, limit: u64) -> (Result<(), Failed<Trouble>>, u32) {
        let attempts = Cell::new(0);
        let open = async || {
            attempts.set(attempts.get() + 1);
            if attempts.get() < there { Err(Trouble::Away) } else { Ok(()) }
        };
        let outcome = opened("it", Duration::from_secs(limit), open, passes).await;
        (outcome, attempts.get())
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_is_waited_for_and_what_does_not_has_an_end() {
        assert!(matches!(after(1, 60).await, (Ok(()), 1)));
        assert!(matches!(after(9, 60).await, (Ok(()), 9)));
        let began = Instant::now();
        let (outcome, attempts) = after(u32::MAX, 60).await;
        let failed = outcome.unwrap_err();
        assert!(matches!(failed.error, Trouble::Away) && failed.waited.is_some());
        assert_eq!(began.elapsed().as_secs(), 60);
        assert!((20..60).contains(&attempts), "{attempts}");
        let (outcome, attempts) = after(u32::MAX, 0).await;
        assert!(outcome.unwrap_err().waited.is_none() && attempts == 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_pass_is_told_at_once() {
        let answers = Cell::new(3);
        let open = async || {
            answers.set(answers.get() - 1);
            Err::<(), _>(if answers.get() == 0 { Trouble::Refused } else { Trouble::Away })
        };
        let failed = opened("it", Duration::from_secs(60), open, passes).await.unwrap_err();
        assert!(matches!(failed.error, Trouble::Refused) && answers.get() == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_hangs_ends_with_the_limit() {
        let first = Cell::new(true);
        let open = async || {
            if !first.replace(false) {
                std::future::pending::<()>().await;
            }
            Err::<(), _>(Trouble::Away)
        };
        let began = Instant::now();
        let failed = opened("it", Duration::from_secs(5), open, passes).await.unwrap_err();
        assert!(matches!(failed.error, Trouble::Away));
        assert_eq!(began.elapsed().as_secs(), 5);
    }
}
