//! How many backups of a series are kept.

use serde::{Deserialize, Serialize};

use super::settings::Number;

/// The newest backups that are kept, and the newest one of each of the last days, weeks (ISO 8601) and months
/// that have one. Days are those of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args, Deserialize, Serialize)]
#[serde(default)]
pub struct Retention {
    /// With --into: the newest backups that are kept, whatever their times
    #[arg(long = "keep-last", value_name = "N", default_value_t = Self::default().last)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    #[serde(with = "Number::<1, 10000>")]
    pub last: u32,
    /// With --into: days of which the newest backup is kept
    #[arg(long = "keep-daily", value_name = "N", default_value_t = Self::default().daily)]
    #[serde(with = "Number::<0, 10000>")]
    pub daily: u32,
    /// With --into: weeks of which the newest backup is kept
    #[arg(long = "keep-weekly", value_name = "N", default_value_t = Self::default().weekly)]
    #[serde(with = "Number::<0, 10000>")]
    pub weekly: u32,
    /// With --into: months of which the newest backup is kept
    #[arg(long = "keep-monthly", value_name = "N", default_value_t = Self::default().monthly)]
    #[serde(with = "Number::<0, 10000>")]
    pub monthly: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { last: 2, daily: 7, weekly: 4, monthly: 6 }
    }
}
