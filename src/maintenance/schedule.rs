//! When jobs are due.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::record::{Outcome, Record};

const DAY: u64 = 24 * 3600;
/// A job whose server has not been seen for so long runs no more.
pub(super) const UNSEEN: Duration = Duration::from_secs(180);

/// A time of day (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOfDay {
    pub hour: u8,
    pub minute: u8,
}

impl TimeOfDay {
    /// Hours and minutes with a colon between them.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let number = |digits: &str| {
            let is_number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse().ok()).flatten()
        };
        let (hour, minute) = text.split_once(':')?;
        let time = Self { hour: number(hour)?, minute: number(minute)? };
        (time.hour < 24 && time.minute < 60).then_some(time)
    }

    fn seconds(self) -> u64 {
        u64::from(self.hour) * 3600 + u64::from(self.minute) * 60
    }

    /// The last such time that is not after `now`, both in seconds since 1970.
    pub(super) fn last(self, now: u64) -> u64 {
        let today = now - now % DAY + self.seconds();
        if today <= now { today } else { today.saturating_sub(DAY) }
    }

    /// The next such time after `now`.
    pub(super) fn next(self, now: u64) -> u64 {
        self.last(now) + DAY
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The days since 1970.
pub(super) fn day(seconds: u64) -> u64 {
    seconds / DAY
}

/// Whether a job is due in the round that began at `round`, by what is recorded of it. `days` are those
/// between two successes.
pub(super) fn is_due(record: Option<&Record>, round: u64, days: u32, now: u64) -> bool {
    let Some(record) = record else { return true };
    if record.is_running(now) {
        return false;
    }
    let ran = record.outcome.is_some_and(|outcome| outcome != Outcome::Interrupted);
    if ran && record.begun >= round {
        return false;
    }
    // A round begins some minutes late at times.
    let pause = (u64::from(days) * DAY).saturating_sub(DAY / 2);
    record.last_success.is_none_or(|last| last.saturating_add(pause) <= round)
}

/// Whether a server that starts now has missed a round.
pub(super) fn is_missed<'r>(mut records: impl Iterator<Item = &'r Record>, last: u64) -> bool {
    records.any(|record| record.begun < last || record.outcome == Some(Outcome::Interrupted))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: u64 = 1_772_330_400;

    fn record(begun: u64, outcome: Option<Outcome>) -> Record {
        Record { begun, seen: begun, outcome, ..Record::default() }
    }

    #[test]
    fn times_of_day_are_hours_and_minutes() {
        let two = TimeOfDay { hour: 2, minute: 0 };
        assert_eq!(TimeOfDay::parse("02:00"), Some(two));
        assert_eq!(TimeOfDay::parse("23:59").unwrap().to_string(), "23:59");
        for wrong in ["2:00", "24:00", "02:60", "0200", "02:00:00", "+2:00", "", "aa:bb"] {
            assert_eq!(TimeOfDay::parse(wrong), None, "{wrong}");
        }
        // 2026-03-01T02:00:00Z.
        assert_eq!(two.last(ROUND), ROUND);
        assert_eq!(two.next(ROUND), ROUND + DAY);
        assert_eq!(two.last(ROUND - 1), ROUND - DAY);
        assert_eq!(two.next(ROUND - 1), ROUND);
    }

    #[test]
    fn one_server_runs_a_job_once_a_round() {
        assert!(is_due(None, ROUND, 1, ROUND));
        let done = |begun| record(begun, Some(Outcome::Done));
        assert!(is_due(Some(&done(ROUND - 1)), ROUND, 1, ROUND));
        assert!(!is_due(Some(&done(ROUND + 5)), ROUND, 1, ROUND + 9));
        let failed = record(ROUND + 5, Some(Outcome::Failed));
        assert!(!is_due(Some(&failed), ROUND, 1, ROUND + 9), "it is tried again the next day");
        let interrupted = record(ROUND + 5, Some(Outcome::Interrupted));
        assert!(is_due(Some(&interrupted), ROUND, 1, ROUND + 9));
        let running = record(ROUND + 5, None);
        assert!(!is_due(Some(&running), ROUND, 1, ROUND + 5 + UNSEEN.as_secs()));
        assert!(is_due(Some(&running), ROUND, 1, ROUND + 6 + UNSEEN.as_secs()), "its server died");
    }

    #[test]
    fn days_are_counted_from_the_last_success() {
        let last = |ago: u64| Record {
            last_success: Some(ROUND - ago),
            ..record(ROUND - ago, Some(Outcome::Done))
        };
        assert!(!is_due(Some(&last(6 * DAY)), ROUND, 7, ROUND));
        assert!(is_due(Some(&last(7 * DAY - 600)), ROUND, 7, ROUND));
        assert!(is_due(Some(&last(DAY - 600)), ROUND, 1, ROUND));
        let failed = Record { outcome: Some(Outcome::Failed), begun: ROUND - DAY, ..last(8 * DAY) };
        assert!(is_due(Some(&failed), ROUND, 7, ROUND));
    }

    #[test]
    fn a_new_server_has_missed_nothing() {
        assert!(!is_missed([].iter(), ROUND));
        assert!(!is_missed([record(ROUND, Some(Outcome::Failed))].iter(), ROUND));
        assert!(is_missed([record(ROUND - 1, Some(Outcome::Done))].iter(), ROUND));
        assert!(is_missed([record(ROUND + 1, Some(Outcome::Interrupted))].iter(), ROUND));
    }
}
