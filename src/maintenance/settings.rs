//! The section `maintenance` of the configuration.

use std::fmt;
use std::path::PathBuf;

use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::schedule::TimeOfDay;
use crate::types::Retention;
use crate::types::settings::{Number, Size};

/// What turns maintenance off.
const OFF: &str = "off";

/// When the server looks after its stores by itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Settings {
    /// When a round of jobs begins each day (UTC); none: never by itself.
    #[serde(deserialize_with = "start", serialize_with = "write_start")]
    pub start: Option<TimeOfDay>,
    /// The bytes of content that jobs read per second.
    #[serde(with = "Size::<{ 64 << 10 }, { 1 << 40 }>")]
    pub rate: u64,
    /// Days between two removals of unused content; 0: never.
    #[serde(with = "Number::<0, 365>")]
    pub gc_days: u32,
    /// Whether a share is checked each day, in turn.
    pub fsck: bool,
    /// Where and how a backup is made each day; none: never.
    pub backup: Option<Backup>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            start: Some(TimeOfDay { hour: 2, minute: 0 }),
            rate: 64 << 20,
            gc_days: 7,
            fsck: true,
            backup: None,
        }
    }
}

/// A series of backups; see `trunkfs backup --into`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// The folder of the backups.
    pub into: PathBuf,
    /// Which of them are kept.
    #[serde(default)]
    pub keep: Retention,
    /// Days in which each file of the backups is verified once.
    #[serde(default = "seven", with = "Number::<1, 10000>")]
    pub verify_parts: u32,
}

fn seven() -> u32 {
    7
}

fn start<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TimeOfDay>, D::Error> {
    from.deserialize_any(StartVisitor)
}

fn write_start<S: Serializer>(start: &Option<TimeOfDay>, to: S) -> Result<S::Ok, S::Error> {
    match start {
        Some(time) => to.collect_str(time),
        None => to.serialize_str(OFF),
    }
}

struct StartVisitor;

impl Visitor<'_> for StartVisitor {
    type Value = Option<TimeOfDay>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time of day (UTC), such as 02:00, or off")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        if text == OFF {
            return Ok(None);
        }
        let time = TimeOfDay::parse(text).map(Some);
        time.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        if value { Err(E::invalid_value(Unexpected::Bool(value), &self)) } else { Ok(None) }
    }
}
