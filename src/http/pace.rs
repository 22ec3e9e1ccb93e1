//! How many events of all clients begin in a second; the others wait for their turn.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// Events with at least `interval` between them, on average: a few may come at once.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    burst: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    /// So many in a second, and as many at once after a pause as come in a tenth of one.
    pub(super) fn per_second(events: u32) -> Self {
        let interval = Duration::from_secs(1) / events.max(1);
        Self { interval, burst: Duration::from_millis(100), next: Mutex::new(Instant::now()) }
    }

    /// Waits for the turn of one more.
    pub(super) async fn turn(&self) {
        let now = Instant::now();
        let at = {
            let mut next = self.next.lock();
            let at = (*next).max(now.checked_sub(self.burst).unwrap_or(now));
            *next = at + self.interval;
            at
        };
        sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn events_keep_their_distance() {
        let pace = Pace::per_second(100);
        let began = Instant::now();
        for _ in 0..200 {
            pace.turn().await;
        }
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(1880) && took <= Duration::from_secs(2), "{took:?}");
    }
}
