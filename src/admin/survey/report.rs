//! Files by owner, age or extension.

use std::collections::HashMap;

use clap::ValueEnum;
use serde::Serialize;

use super::Totals;
use crate::metadata::ObjectState;
use crate::types::Timestamp;

/// The most groups; the files of further ones are one group.
const MAX_GROUPS: usize = 65_536;
/// What the group of the others is called.
const OTHERS: &str = "(others)";
/// What the group of files without an extension is called.
const NO_EXTENSION: &str = "(none)";
/// Ages in days, and what the group below each is called.
const AGES: [(i64, &str); 6] = [
    (1, "under a day"),
    (7, "under a week"),
    (30, "under 30 days"),
    (90, "under 90 days"),
    (365, "under a year"),
    (3 * 365, "under 3 years"),
];
const OLDER: &str = "3 years and older";
const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// What files are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GroupBy {
    /// The uid.
    Owner,
    /// The time since the last change of the bytes.
    Age,
    /// What stands behind the last dot of the name, in small letters.
    Extension,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// What its files have in common.
    pub group: String,
    /// Its files.
    pub files: u64,
    /// The sum of their sizes, in bytes.
    pub size: u64,
    /// What they take, in bytes.
    pub used: u64,
}

/// Groups in the making.
#[derive(Debug)]
pub struct Report {
    by: GroupBy,
    now: Timestamp,
    groups: HashMap<String, Totals>,
}

impl Report {
    pub(super) fn new(by: GroupBy) -> Self {
        Self { by, now: Timestamp::now(), groups: HashMap::new() }
    }

    pub(super) fn add(&mut self, name: &[u8], object: &ObjectState) {
        let group = match self.by {
            GroupBy::Owner => object.uid.to_string(),
            GroupBy::Age => age(object.mtime, self.now).to_owned(),
            GroupBy::Extension => extension(name),
        };
        let full = self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&group);
        let group = if full { OTHERS.to_owned() } else { group };
        self.groups.entry(group).or_default().add(Totals::of(object));
    }

    /// The groups, the one that takes most first.
    pub(super) fn groups(self) -> Vec<Group> {
        let group = |(group, totals): (String, Totals)| {
            let Totals { files, size, used, .. } = totals;
            Group { group, files, size, used }
        };
        let mut groups: Vec<_> = self.groups.into_iter().map(group).collect();
        groups.sort_by(|one, other| (other.used, &one.group).cmp(&(one.used, &other.group)));
        groups
    }
}

fn age(mtime: Timestamp, now: Timestamp) -> &'static str {
    let days = now.0.saturating_sub(mtime.0) / NANOS_PER_DAY;
    AGES.iter().find(|(limit, _)| days < *limit).map_or(OLDER, |(_, name)| name)
}

fn extension(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    match name.rsplit_once('.') {
        // A name that begins with its only dot is one of a hidden file.
        Some((stem, extension)) if !stem.is_empty() && !extension.is_empty() => {
            extension.to_lowercase()
        }
        Some(_) | None => NO_EXTENSION.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_stands_behind_the_last_dot() {
        for (name, expected) in [
            ("a.TXT", "txt"),
            ("a.tar.gz", "gz"),
            (".bashrc", NO_EXTENSION),
            ("Makefile", NO_EXTENSION),
            ("a.", NO_EXTENSION),
        ] {
            assert_eq!(extension(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn ages_have_bounds() {
        let now = Timestamp(5000 * NANOS_PER_DAY);
        let of = |days: i64| age(Timestamp(now.0 - days * NANOS_PER_DAY), now);
        assert_eq!((of(0), of(1), of(7)), ("under a day", "under a week", "under 30 days"));
        assert_eq!((of(-3), of(1094), of(1095)), ("under a day", "under 3 years", OLDER));
    }
}
