//! The values behind keys: numbers, flags, durations, addresses, networks, modes, passwords.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::error::Error;
use super::section::{Field, hint};
use super::tree::Value;

/// The largest number of connections and open files that a configuration may ask for.
pub(super) const MOST: u32 = 1 << 20;
/// How many content files are kept open where the configuration does not say.
pub(super) const DEFAULT_OPEN_FILES: usize = 1024;

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

/// A password; shown by nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// What to send to the server.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Text of at least one character.
pub(super) fn nonempty(field: &Field<'_>) -> Result<String, Error> {
    let text = field.text()?;
    if text.is_empty() {
        return Err(field.error("the empty text is nothing to go by; write a value"));
    }
    Ok(text)
}

/// A password; the empty one too.
pub(super) fn password(field: &Field<'_>) -> Result<Password, Error> {
    field.text().map(Password)
}

/// A whole number from `least` to `most`; text that is one counts, since variables are text.
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
    number
        .filter(|number| (least..=most).contains(number))
        .and_then(|n| T::try_from(n).ok())
        .ok_or_else(|| {
            field.error(format!("{} is no whole number from {least} to {most}", field.shown()))
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
    flag.ok_or_else(|| field.error(format!("{} is neither true nor false", field.shown())))
}

/// A duration with its unit, from one millisecond to a day.
pub(super) fn duration(field: &Field<'_>) -> Result<Duration, Error> {
    let wrong = || {
        field.error(format!(
            "{} is no duration from 1ms to 24h; write a whole number and its unit (ms, s, m or h), such as \
             30s",
            field.shown()
        ))
    };
    if !matches!(field.value(), Value::Text(_)) {
        return Err(wrong());
    }
    let text = field.text()?;
    let split = text.find(|each: char| !each.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit: u64 = match unit.trim() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(unit)
        .map(Duration::from_millis)
        .filter(|duration| {
            (Duration::from_millis(1)..=Duration::from_secs(86_400)).contains(duration)
        })
        .ok_or_else(wrong)
}

/// A number of bytes with its unit, from `least` to `most` bytes.
pub(super) fn size(field: &Field<'_>, least: u64, most: u64) -> Result<u64, Error> {
    let wrong = || {
        field.error(format!(
            "{} is no size from {} to {}; write a whole number and its unit (B, KiB, MiB, GiB or TiB), such \
             as 256MiB",
            field.shown(),
            Size(least),
            Size(most)
        ))
    };
    if !matches!(field.value(), Value::Text(_)) {
        return Err(wrong());
    }
    let text = field.text()?;
    let split = text.find(|each: char| !each.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit = UNITS.iter().find(|(_, name)| *name == unit.trim()).ok_or_else(wrong)?.0;
    let bytes = number.checked_mul(unit).filter(|bytes| (least..=most).contains(bytes));
    bytes.ok_or_else(wrong)
}

/// Units of sizes, the largest first.
const UNITS: [(u64, &str); 5] =
    [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];

/// A number of bytes in the largest unit in which it is whole.
pub(super) struct Size(pub(super) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |unit: u64| self.0 >= unit && self.0.is_multiple_of(unit);
        let (unit, name) = UNITS.into_iter().find(|(unit, _)| fits(*unit)).unwrap_or((1, "B"));
        write!(f, "{}{name}", self.0 / unit)
    }
}

/// An address and a port; port 0 takes one that is free.
pub(super) fn address(field: &Field<'_>) -> Result<SocketAddr, Error> {
    let text = field.text()?;
    text.parse().map_err(|_| {
        field.error(format!(
            "{text:?} is no address and port; write an IP address and a port, such as 0.0.0.0:12049 or \
             [::]:12049"
        ))
    })
}

/// A network, or one address.
pub(super) fn network(field: &Field<'_>) -> Result<IpNet, Error> {
    let text = field.text()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let network: IpNet = text.parse().map_err(|_| {
        field.error(format!(
            "{text:?} is no network; write an address and the length of its prefix, such as 10.0.0.0/8 \
             or fd00::/8, or one address"
        ))
    })?;
    if network.trunc() != network {
        return Err(field.error(format!(
            "{text:?} is an address inside a network; write {} for the network or {} for the address",
            network.trunc(),
            network.addr()
        )));
    }
    Ok(network)
}

/// A mode in octal. A bare number is refused: YAML 1.2 reads 0755 as seven hundred fifty-five.
pub(super) fn mode(field: &Field<'_>) -> Result<Mode, Error> {
    let remedy = "write permission bits in octal and in quotes, such as \"0755\"";
    let Value::Text(_) = field.value() else {
        return Err(field.error(format!(
            "{} is no mode in quotes (YAML reads digits without quotes as decimal); {remedy}",
            field.shown()
        )));
    };
    let text = field.text()?;
    let digits = text.strip_prefix("0o").unwrap_or(&text);
    let octal = !digits.is_empty() && digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    let bits = u32::from_str_radix(digits, 8).ok().filter(|bits| octal && *bits <= 0o7777);
    bits.map(Mode).ok_or_else(|| field.error(format!("{text:?} is no mode; {remedy}")))
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
        field.error(format!("{text:?} is none of {known}{near}"))
    })
}
