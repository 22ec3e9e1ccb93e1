//! Which backups of a series are kept.

use time::{Date, Month, OffsetDateTime};

use crate::types::Retention;

/// The backups that go, of names from the newest to the oldest.
pub(super) fn outdated(keep: Retention, names: &[String]) -> Vec<&str> {
    let mut days = Newest::of(keep.daily);
    let mut weeks = Newest::of(keep.weekly);
    let mut months = Newest::of(keep.monthly);
    let mut outdated = Vec::new();
    for (number, name) in (0_u32..).zip(names) {
        let Some(day) = day(name) else { continue };
        let (year, week, _) = day.to_iso_week_date();
        let kept = [
            number < keep.last,
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

    fn kept(keep: Retention, mut names: Vec<String>) -> Vec<String> {
        names.sort_unstable_by(|a, b| b.cmp(a));
        let gone: Vec<_> = outdated(keep, &names).into_iter().map(str::to_owned).collect();
        names.retain(|name| !gone.contains(name));
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
        let keep = Retention { last: 1, daily: 3, weekly: 3, monthly: 3 };
        // 2026-03-01 is a Sunday, the last day of its week.
        let expected =
            ["2026-03-01", "2026-02-28", "2026-02-27", "2026-02-22", "2026-02-15", "2026-01-31"];
        assert_eq!(kept(keep, nightly(200)), expected.map(|day| format!("{day}T020000Z")));
        assert_eq!(kept(keep, nightly(2)).len(), 2);
    }

    #[test]
    fn periods_without_a_backup_count_for_nothing() {
        let names: Vec<_> = nightly(700).into_iter().step_by(100).collect();
        let keep = Retention { last: 1, daily: 2, weekly: 3, monthly: 4 };
        assert_eq!(kept(keep, names.clone()), names[..4]);
    }

    #[test]
    fn two_of_a_day_are_two_where_the_newest_are_kept() {
        let names =
            ["2026-03-01T020000Z", "2026-03-01T010000Z", "2026-03-01T000000Z"].map(str::to_owned);
        let none = Retention { last: 2, daily: 0, weekly: 0, monthly: 0 };
        assert_eq!(kept(none, names.to_vec()), names[..2]);
        assert_eq!(kept(Retention { last: 1, daily: 5, ..none }, names.to_vec()), names[..1]);
        // A name that is no time stays, and counts for nothing.
        assert_eq!(kept(none, vec!["2026-99-01T020000Z".to_owned()]).len(), 1);
    }
}
