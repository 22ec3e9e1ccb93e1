//! Times as the stores keep them: signed nanoseconds since 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// The clock's time as RFC 3339 writes it, in UTC.
#[must_use]
pub fn utc_now() -> String {
    // Only years beyond 9999 cannot be written.
    time::OffsetDateTime::now_utc()
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_default()
}

/// Nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

const NANOS_PER_SECOND: i64 = 1_000_000_000;

impl Timestamp {
    /// The clock's time.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    /// As RFC 3339 writes it, in UTC.
    #[must_use]
    pub fn utc(self) -> String {
        let time = time::OffsetDateTime::from_unix_timestamp_nanos(self.0.into());
        let format = time::format_description::well_known::Rfc3339;
        // 64 bits of nanoseconds end in 2262.
        time.ok().and_then(|time| time.format(&format).ok()).unwrap_or_default()
    }

    /// From NFSv3's form (RFC 1813 section 2.5): unsigned seconds and nanoseconds. `None` where
    /// the nanoseconds make a second or more.
    #[must_use]
    pub fn from_parts(seconds: u32, nanoseconds: u32) -> Option<Self> {
        let nanoseconds = i64::from(nanoseconds);
        (nanoseconds < NANOS_PER_SECOND)
            .then(|| Self(i64::from(seconds) * NANOS_PER_SECOND + nanoseconds))
    }

    /// NFSv3's form. What lies outside 1970 to 2106 is shown as the nearest end.
    #[must_use]
    pub fn to_parts(self) -> (u32, u32) {
        if self.0 < 0 {
            return (0, 0);
        }
        match u32::try_from(self.0 / NANOS_PER_SECOND) {
            Ok(seconds) => (seconds, u32::try_from(self.0 % NANOS_PER_SECOND).unwrap_or(0)),
            Err(_) => (u32::MAX, 999_999_999),
        }
    }

    /// The ctime of a change made at `self` to an object whose ctime is `previous`: it grows
    /// strictly, whatever the clock does.
    #[must_use]
    pub fn after(self, previous: Self) -> Self {
        self.max(Self(previous.0.saturating_add(1)))
    }
}

/// The time since this machine's start, suspends included: [`std::time::Instant`] stands still while a
/// machine sleeps. It tells how long ago something was, and nothing else.
#[must_use]
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = Duration::from_secs(u64::try_from(now.tv_sec).unwrap_or(0));
    seconds + Duration::from_nanos(u64::try_from(now.tv_nsec).unwrap_or(0))
}
