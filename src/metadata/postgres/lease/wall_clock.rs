//! How far this machine's wall clock is from the database's. Nothing is decided by it: times of files come
//! from the servers' clocks, and clients of several servers see them side by side.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Beyond this a clock is off.
const MOST: f64 = 1.0;

/// What the last look showed.
#[derive(Debug, Default)]
pub(super) struct WallClock {
    /// The bits of seconds ahead.
    ahead: AtomicU64,
    off: AtomicBool,
}

impl WallClock {
    /// Seconds that this machine's clock is ahead of the database's.
    pub(super) fn ahead(&self) -> f64 {
        f64::from_bits(self.ahead.load(Ordering::Relaxed))
    }

    /// Notes what the database's clock said between two times of this machine's, in seconds since 1970.
    pub(super) fn note(&self, sent: f64, database: f64, received: f64) {
        // It was looked at somewhere in between.
        let ahead = if received < database {
            received - database
        } else if sent > database {
            sent - database
        } else {
            0.0
        };
        self.ahead.store(ahead.to_bits(), Ordering::Relaxed);
        let off = ahead.abs() > MOST;
        if off == self.off.swap(off, Ordering::Relaxed) {
            return;
        }
        if off {
            let by = format!("{ahead:+.1} s");
            tracing::warn!(
                ahead = by,
                "this machine's clock differs from the database's: set both by NTP"
            );
        } else {
            tracing::info!("this machine's clock agrees with the database's again");
        }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_slow_answer_may_have_taken_is_not_counted() {
        let clock = WallClock::default();
        for (sent, database, received, ahead) in [
            (100.0, 100.4, 101.0, 0.0),
            (100.0, 102.5, 101.0, -1.5),
            (100.0, 98.0, 101.0, 2.0),
            (100.0, 99.5, 110.0, 0.5),
        ] {
            clock.note(sent, database, received);
            assert!((clock.ahead() - ahead).abs() < 1e-9, "{sent} {database} {received}");
            assert_eq!(clock.off.load(Ordering::Relaxed), ahead.abs() > 1.0);
        }
    }
}
