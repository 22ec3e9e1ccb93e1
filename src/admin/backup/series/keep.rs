//! Which backups of a series are kept.

use serde::{Deserialize, Serialize};
use time::{Date, Month, OffsetDateTime};

/// The newest backups that are kept, and the newest one of each of the last days, weeks (ISO 8601) and months
/// that have one. Days are those of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keep {
    /// With --into: the newest backups that are kept, whatever their times
    #[arg(long, value_name = "N", default_value_t = Keep::default().keep_last, value_parser = clap::value_parser!(u32).range(1..))]
    pub keep_last: u32,
    /// With --into: days of which the newest backup is kept
    #[arg(long, value_name = "N", default_value_t = Keep::default().keep_daily)]
    pub keep_daily: u32,
    /// With --into: weeks of which the newest backup is kept
    #[arg(long, value_name = "N", default_value_t = Keep::default().keep_weekly)]
    pub keep_weekly: u32,
    /// With --into: months of which the newest backup is kept
    #[arg(long, value_name = "N", default_value_t = Keep::default().keep_monthly)]
    pub keep_monthly: u32,
}

impl Default for Keep {
    fn default() -> Self {
        Self { keep_last: 2, keep_daily: 7, keep_weekly: 4, keep_monthly: 6 }
    }
}

impl Keep {
    /// The backups that go, of names from the newest to the oldest.
    pub(super) fn outdated(self, names: &[String]) -> Vec<&str> {
        let mut days = Newest::of(self.keep_daily);
        let mut weeks = Newest::of(self.keep_weekly);
        let mut months = Newest::of(self.keep_monthly);
        let mut outdated = Vec::new();
        for (number, name) in (0_u32..).zip(names) {
            let Some(day) = day(name) else { continue };
            let (year, week, _) = day.to_iso_week_date();
            let kept = [
                number < self.keep_last,
                days.keeps(i64::from(day.to_julian_day())),
                weeks.keeps(i64::from(year) * 100 + i64::from(week)),
                months.keeps(i64::from(day.year()) * 100 + i64::from(u8::from(day.month()))),
            ];
            if !kept.contains(&true) {
                outdated.push(name.as_str());
            }
        }
        outdated
    }
}

/// The newest backup of each of the last periods.
struct Newest {
    left: u32,
    last: Option<i64>,
}

impl Newest {
    fn of(left: u32) -> Self {
        Self { left, last: None }
    }

    fn keeps(&mut self, period: i64) -> bool {
        if self.left == 0 || self.last == Some(period) {
            return false;
        }
        self.left -= 1;
        self.last = Some(period);
        true
    }
}

/// The name of a backup that is complete now: its time (UTC).
pub(super) fn name(now: OffsetDateTime) -> String {
    let (date, (hour, minute, second)) = (now.date(), now.time().as_hms());
    let month = u8::from(date.month());
    format!("{:04}-{month:02}-{:02}T{hour:02}{minute:02}{second:02}Z", date.year(), date.day())
}

/// The day of a backup with such a name; none for other names.
pub(super) fn day(name: &str) -> Option<Date> {
    let form: String =
        name.chars().map(|each| if each.is_ascii_digit() { '0' } else { each }).collect();
    if form != "0000-00-00T000000Z" {
        return None;
    }
    let month = Month::try_from(name[5..7].parse::<u8>().ok()?).ok()?;
    Date::from_calendar_date(name[..4].parse().ok()?, month, name[8..10].parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(keep: Keep, mut names: Vec<String>) -> Vec<String> {
        names.sort_unstable_by(|a, b| b.cmp(a));
        let outdated: Vec<_> = keep.outdated(&names).into_iter().map(str::to_owned).collect();
        names.retain(|name| !outdated.contains(name));
        names
    }

    fn nightly(days: i64) -> Vec<String> {
        let last = OffsetDateTime::from_unix_timestamp(1_772_330_400).unwrap();
        (0..days).map(|ago| name(last - time::Duration::days(ago))).collect()
    }

    #[test]
    fn names_are_times() {
        let [name] = &nightly(1)[..] else { panic!() };
        assert_eq!(name, "2026-03-01T020000Z");
        assert_eq!(day(name), Date::from_calendar_date(2026, Month::March, 1).ok());
        for other in [
            "2026-03-01",
            "2026-13-01T020000Z",
            "2026-03-01T020000Z.damaged",
            "2026-02-30T020000Z",
            "ä",
        ] {
            assert_eq!(day(other), None, "{other}");
        }
    }

    #[test]
    fn days_weeks_and_months_have_their_newest() {
        let keep = Keep { keep_last: 1, keep_daily: 3, keep_weekly: 3, keep_monthly: 3 };
        // 2026-03-01 is a Sunday, the last day of its week.
        let expected =
            ["2026-03-01", "2026-02-28", "2026-02-27", "2026-02-22", "2026-02-15", "2026-01-31"];
        assert_eq!(kept(keep, nightly(200)), expected.map(|day| format!("{day}T020000Z")));
        assert_eq!(kept(keep, nightly(2)).len(), 2);
    }

    #[test]
    fn periods_without_a_backup_count_for_nothing() {
        let names: Vec<_> = nightly(700).into_iter().step_by(100).collect();
        let keep = Keep { keep_last: 1, keep_daily: 2, keep_weekly: 3, keep_monthly: 4 };
        assert_eq!(kept(keep, names.clone()), names[..4]);
    }

    #[test]
    fn two_of_a_day_are_two_where_the_newest_are_kept() {
        let names =
            ["2026-03-01T020000Z", "2026-03-01T010000Z", "2026-03-01T000000Z"].map(str::to_owned);
        let none = Keep { keep_last: 2, keep_daily: 0, keep_weekly: 0, keep_monthly: 0 };
        assert_eq!(kept(none, names.to_vec()), names[..2]);
        assert_eq!(kept(Keep { keep_last: 1, keep_daily: 5, ..none }, names.to_vec()), names[..1]);
        // A name that is no time stays, and counts for nothing.
        assert_eq!(kept(none, vec!["2026-99-01T020000Z".to_owned()]).len(), 1);
    }
}
