//! The values behind keys: numbers, flags, durations, addresses, networks, modes.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::error::Error;
use super::section::{Field, hint};
use super::tree::Value;

/// The largest number of connections and open files that a configuration may ask for.
pub(super) const MOST: u32 = 1 << 20;

/// Permission bits with set-uid, set-gid and sticky: `0o7777` at most.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mode(u32);

impl Mode {
    /// A root directory's where the configuration does not say.
    pub const ROOT: Self = Self(0o755);

    /// The bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// Text of at least one character.
pub(super) fn nonempty(field: &Field<'_>) -> Result<String, Error> {
    let text = field.text()?;
    if text.is_empty() {
        return Err(field.error("must not be empty"));
    }
    Ok(text)
}

/// An integer from `least` to `most`; text that is one counts, since variables are text.
pub(super) fn number<T>(field: &Field<'_>, least: T, most: T) -> Result<T, Error>
where
    T: TryFrom<i128> + Into<i128> + Copy,
{
    let (least, most): (i128, i128) = (least.into(), most.into());
    let number = match field.value() {
        Value::Integer(number) => Some(*number),
        Value::Text(_) => field.text()?.parse().ok(),
        Value::Null | Value::Flag(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => None,
    };
    let Some(number) = number else {
        return Err(field.error(format!("{} is not an integer ({least} to {most})", field.shown())));
    };
    let within = Some(number).filter(|number| (least..=most).contains(number));
    within.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
        field.error(format!("{} is out of range ({least} to {most})", field.shown()))
    })
}

/// A count from 1 to `most`.
pub(super) fn count(field: &Field<'_>, most: u32) -> Result<usize, Error> {
    let number = number::<u32>(field, 1, most)?;
    usize::try_from(number).map_err(|error| field.error(error.to_string()))
}

/// `true` or `false`; as text too, since variables are text.
pub(super) fn flag(field: &Field<'_>) -> Result<bool, Error> {
    let flag = match field.value() {
        Value::Flag(flag) => Some(*flag),
        Value::Text(_) => field.text()?.parse().ok(),
        Value::Null | Value::Integer(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => None,
    };
    flag.ok_or_else(|| {
        field.error(format!("{} is not a boolean; write true or false", field.shown()))
    })
}

/// The units of durations in milliseconds.
const TIMES: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
/// The units of sizes in bytes; the binary ones first, the largest of them first.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
];

/// A whole number and its unit, in the smallest unit.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|each: char| !each.is_ascii_digit())?);
    let (_, factor) = units.iter().find(|(each, _)| *each == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A duration as it is written, in milliseconds.
pub(crate) fn millis(text: &str) -> Option<u64> {
    with_unit(text, &TIMES)
}

/// A size as it is written, in bytes.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    with_unit(text, &SIZES)
}

/// A duration with its unit, from one millisecond to a day.
pub(super) fn duration(field: &Field<'_>) -> Result<Duration, Error> {
    duration_from(field, 1, "1ms")
}

/// The same, or zero.
pub(super) fn duration_or_none(field: &Field<'_>) -> Result<Duration, Error> {
    duration_from(field, 0, "0s")
}

fn duration_from(field: &Field<'_>, least: u64, shown: &str) -> Result<Duration, Error> {
    let millis = if field.is_text() { with_unit(&field.text()?, &TIMES) } else { None };
    let duration =
        millis.filter(|millis| (least..=86_400_000).contains(millis)).map(Duration::from_millis);
    duration.ok_or_else(|| {
        field.error(format!(
            "{} is not a duration from {shown} to 24h; write an integer and a unit (ms, s, m, h or d), such as \
             30s",
            field.shown()
        ))
    })
}

/// A size in bytes, from `least` to `most`; a number without a unit is bytes.
pub(super) fn size(field: &Field<'_>, least: u64, most: u64) -> Result<u64, Error> {
    let bytes = match field.value() {
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::Text(_) => {
            let text = field.text()?;
            text.parse().ok().or_else(|| with_unit(&text, &SIZES))
        }
        Value::Null | Value::Flag(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => None,
    };
    bytes.filter(|bytes| (least..=most).contains(bytes)).ok_or_else(|| {
        field.error(format!(
            "{} is not a size from {} to {}; write an integer and a unit (B, KiB, MiB, GiB, TiB, kB, MB, GB or \
             TB; bytes without a unit), such as 256MiB",
            field.shown(),
            Size(least),
            Size(most)
        ))
    })
}

/// A number of bytes in the largest unit in which it is whole.
pub(super) struct Size(pub(super) u64);

impl Size {
    /// A size in memory.
    pub(super) fn of(bytes: usize) -> Self {
        Self(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |unit: u64| self.0 >= unit && self.0.is_multiple_of(unit);
        let (name, unit) = SIZES.into_iter().find(|(_, unit)| fits(*unit)).unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

/// An address and a port; port 0 takes one that is free.
pub(super) fn address(field: &Field<'_>) -> Result<SocketAddr, Error> {
    let wrong = |shown: String| {
        field.error(format!(
            "{shown} is not an address; write an IP address and a port, such as 0.0.0.0:12049 or [::]:12049"
        ))
    };
    if matches!(field.value(), Value::Integer(_) | Value::Float(_)) {
        return Err(wrong(field.shown()));
    }
    let text = field.text()?;
    text.parse().map_err(|_| wrong(format!("{text:?}")))
}

/// A network, or one address.
pub(super) fn network(field: &Field<'_>) -> Result<IpNet, Error> {
    let text = field.text()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let network: IpNet = text.parse().map_err(|_| {
        field.error(format!(
            "{text:?} is not a network; write an address and a prefix length, such as 10.0.0.0/8 or fd00::/8, or a \
             single address"
        ))
    })?;
    if network.trunc() != network {
        return Err(field.error(format!(
            "{text:?} has host bits set; write {} for the network or {} for the single address",
            network.trunc(),
            network.addr()
        )));
    }
    Ok(network)
}

/// A mode in octal. A bare number is refused: YAML 1.2 reads 0755 as seven hundred fifty-five.
pub(super) fn mode(field: &Field<'_>) -> Result<Mode, Error> {
    let remedy = "write an octal mode in quotes, such as \"0755\"";
    if !field.is_text() {
        return Err(field.error(format!(
            "{} is not a quoted mode (YAML reads digits without quotes as decimal); {remedy}",
            field.shown()
        )));
    }
    let text = field.text()?;
    let digits = text.strip_prefix("0o").unwrap_or(&text);
    let octal = !digits.is_empty() && digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    let bits = u32::from_str_radix(digits, 8).ok().filter(|bits| octal && *bits <= 0o7777);
    bits.map(Mode).ok_or_else(|| field.error(format!("{text:?} is not a mode; {remedy}")))
}

/// One of a few words.
pub(super) fn word<T: Copy>(field: &Field<'_>, words: &[(&str, T)]) -> Result<T, Error> {
    let text = field.text()?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let words = words.iter().map(|(word, _)| *word);
        let known = words.clone().collect::<Vec<_>>().join(", ");
        let near = hint(&text, words);
        let near = if near.contains("did you") { near } else { String::new() };
        field.error(format!("{text:?} is not one of {known}{near}"))
    })
}
