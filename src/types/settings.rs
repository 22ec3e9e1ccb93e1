//! How settings are written in a configuration file: ranges, durations, sizes, modes and secrets, for
//! `#[serde(with = "…")]` on the fields of a part's settings.
//!
//! Messages say what is wrong with a value and what to write. The configuration adds place and key.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::de::{Deserializer, Error, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The largest number of connections and open files that a configuration may ask for.
pub(crate) const MOST: u64 = 1 << 20;

/// A setting that does not fit the others of its section.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct WrongSetting {
    pub key: &'static str,
    pub message: String,
}

impl WrongSetting {
    /// A setting and what is wrong with it.
    pub fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self { key, message: message.into() }
    }

    /// A required setting that is missing; `remedy` says what to write.
    #[must_use]
    pub fn missing(key: &'static str, remedy: &str) -> Self {
        Self::new(key, format!("missing; {remedy}"))
    }
}

/// An integer from `LEAST` to `MOST`.
pub(crate) struct Number<const LEAST: u64, const MOST: u64>;

impl<const LEAST: u64, const MOST: u64> Number<LEAST, MOST> {
    /// Reads an integer; text that is one is accepted, since variables are text.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<u64>>(
        from: D,
    ) -> Result<T, D::Error> {
        let number = from.deserialize_any(Range { least: LEAST, most: MOST })?;
        T::try_from(number).map_err(|_| D::Error::custom("too large for this machine"))
    }

    /// Writes it.
    pub(crate) fn serialize<S: Serializer, T: Serialize>(
        number: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        number.serialize(to)
    }
}

struct Range {
    least: u64,
    most: u64,
}

impl Range {
    fn check<E: Error>(&self, number: impl TryInto<u64> + fmt::Display + Copy) -> Result<u64, E> {
        let Self { least, most } = self;
        let within = number.try_into().ok().filter(|number| (*least..=*most).contains(number));
        within.ok_or_else(|| E::custom(format!("{number} is out of range ({least} to {most})")))
    }
}

impl Visitor<'_> for Range {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an integer ({} to {})", self.least, self.most)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        self.check(number)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        self.check(number)
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<u64, E> {
        self.check(number)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        let number: i128 =
            text.parse().map_err(|_| E::invalid_type(Unexpected::Str(text), &self))?;
        self.check(number)
    }
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

/// An integer and its unit, in the smallest unit.
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

/// A duration with its unit, from `LEAST` milliseconds (0 or 1) to a day.
pub(crate) struct Time<const LEAST: u64>;

impl<const LEAST: u64> Time<LEAST> {
    /// Reads a duration.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: From<Duration>>(
        from: D,
    ) -> Result<T, D::Error> {
        from.deserialize_any(TimeVisitor { least: LEAST, most: DAY }).map(T::from)
    }

    /// Writes minutes, seconds or milliseconds, the largest unit in which it is an integer; one minute is
    /// 60s.
    pub(crate) fn serialize<S: Serializer, T: Copy + Into<Option<Duration>>>(
        duration: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match (*duration).into().map(|duration| duration.as_millis()) {
            None => to.serialize_none(),
            Some(millis) if !millis.is_multiple_of(1000) => {
                to.collect_str(&format_args!("{millis}ms"))
            }
            Some(millis) if millis > 60_000 && millis.is_multiple_of(60_000) => {
                to.collect_str(&format_args!("{}m", millis / 60_000))
            }
            Some(millis) => to.collect_str(&format_args!("{}s", millis / 1000)),
        }
    }
}

/// A duration with its unit, from `LEAST` milliseconds, some minutes, to `MOST`, some days.
pub(crate) struct LongTime<const LEAST: u64, const MOST: u64>;

impl<const LEAST: u64, const MOST: u64> LongTime<LEAST, MOST> {
    /// Reads a duration.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: From<Duration>>(
        from: D,
    ) -> Result<T, D::Error> {
        from.deserialize_any(TimeVisitor { least: LEAST, most: MOST }).map(T::from)
    }

    /// Writes it as [`Time`] does.
    pub(crate) fn serialize<S: Serializer, T: Copy + Into<Option<Duration>>>(
        duration: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        Time::<0>::serialize(duration, to)
    }
}

/// A day, in milliseconds.
const DAY: u64 = 86_400_000;

/// The bounds, in milliseconds.
struct TimeVisitor {
    least: u64,
    most: u64,
}

impl Visitor<'_> for TimeVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration from ")?;
        match self.least {
            0 => f.write_str("0s")?,
            least if least < 60_000 => write!(f, "{least}ms")?,
            least => write!(f, "{}m", least / 60_000)?,
        }
        match self.most / DAY {
            1 => f.write_str(" to 24h")?,
            days => write!(f, " to {days}d")?,
        }
        f.write_str("; write an integer and a unit (ms, s, m, h or d), such as 30s")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        let millis = millis(text).filter(|millis| (self.least..=self.most).contains(millis));
        let duration = millis.map(Duration::from_millis);
        duration.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// A size in bytes, from `LEAST` to `MOST`; a number without a unit is bytes. Also for an `Option` of it.
pub(crate) struct Size<const LEAST: u64, const MOST: u64>;

impl<const LEAST: u64, const MOST: u64> Size<LEAST, MOST> {
    /// Reads a size.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: Bytes>(from: D) -> Result<T, D::Error> {
        let bytes = from.deserialize_any(SizeVisitor { least: LEAST, most: MOST })?;
        T::from_bytes(bytes).ok_or_else(|| D::Error::custom("too large for this machine"))
    }

    /// Writes the largest unit in which it is an integer.
    pub(crate) fn serialize<S: Serializer, T: Bytes>(size: &T, to: S) -> Result<S::Ok, S::Error> {
        match size.bytes() {
            Some(bytes) => to.collect_str(&Shown(bytes)),
            None => to.serialize_none(),
        }
    }
}

/// Numbers that hold a size.
pub(crate) trait Bytes: Copy {
    /// From bytes, where they fit.
    fn from_bytes(bytes: u64) -> Option<Self>;
    /// To bytes, where there is a size.
    fn bytes(self) -> Option<u64>;
}

macro_rules! bytes {
    ($($number:ty),*) => {$(
        impl Bytes for $number {
            fn from_bytes(bytes: u64) -> Option<Self> {
                bytes.try_into().ok()
            }

            fn bytes(self) -> Option<u64> {
                self.try_into().ok()
            }
        }
    )*};
}

bytes!(u32, u64, usize);

impl Bytes for Option<u64> {
    fn from_bytes(bytes: u64) -> Option<Self> {
        Some(Some(bytes))
    }

    fn bytes(self) -> Option<u64> {
        self
    }
}

/// A number of bytes in the largest unit in which it is an integer.
struct Shown(u64);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |unit: u64| self.0 >= unit && self.0.is_multiple_of(unit);
        let (name, unit) = SIZES.into_iter().find(|(_, unit)| fits(*unit)).unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

struct SizeVisitor {
    least: u64,
    most: u64,
}

impl Visitor<'_> for SizeVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a size from {} to {}; write an integer and a unit (B, KiB, MiB, GiB, TiB, kB, MB, GB or TB; \
             bytes without a unit), such as 256MiB",
            Shown(self.least),
            Shown(self.most)
        )
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<u64, E> {
        let fits = (self.least..=self.most).contains(&bytes);
        if fits { Ok(bytes) } else { Err(E::invalid_value(Unexpected::Unsigned(bytes), &self)) }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        let size = text.parse().ok().or_else(|| bytes(text));
        let size = size.filter(|bytes| (self.least..=self.most).contains(bytes));
        size.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// Reads text, which may be empty. A `String` may not.
pub(crate) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    from.deserialize_str(Text)
}

struct Text;

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

/// Text or integers, one or a list of them, as one text with commas between them.
pub(crate) struct Joined;

impl Joined {
    /// Reads them.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<String>, D::Error> {
        from.deserialize_any(Self).map(Some)
    }

    /// Writes the text, or an integer where it is one.
    pub(crate) fn serialize<S: Serializer>(
        text: &Option<String>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match text.as_deref().map(|text| text.parse::<u16>().map_err(|_| text)) {
            None => to.serialize_none(),
            Some(Ok(number)) => to.serialize_u16(number),
            Some(Err(text)) => to.serialize_str(text),
        }
    }
}

impl<'de> Visitor<'de> for Joined {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, an integer or a list of them")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<String, A::Error> {
        let mut parts = Vec::new();
        while let Some(Part(part)) = list.next_element()? {
            parts.push(part);
        }
        Ok(parts.join(","))
    }
}

/// One of [`Joined`].
struct Part(String);

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Joined).map(Self)
    }
}

/// A section whose keys those of `A` and of `B` are. `#[serde(flatten)]` would lose the places of the values.
#[derive(Deserialize)]
#[serde(rename = "Flat")]
pub(crate) struct Flat<A, B>(pub(crate) A, pub(crate) B);

impl<A: Serialize, B: Serialize> Serialize for Flat<A, B> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Keys<'a, A, B> {
            #[serde(flatten)]
            first: &'a A,
            #[serde(flatten)]
            second: &'a B,
        }
        Keys { first: &self.0, second: &self.1 }.serialize(to)
    }
}

/// What is printed in place of a secret.
const MASK: &str = "***";

/// A password or another secret; shown by nothing. In the configuration the key KEY holds it, KEY_file names
/// a file, or KEY_credential a credential of the systemd service: each field has the two others as aliases.
#[derive(Clone, Deserialize, Eq)]
#[serde(rename = "Secret")]
pub struct Secret(String, #[serde(default)] PathBuf);

impl Secret {
    /// A secret that comes from no file.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text, PathBuf::new())
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The file that it was read from.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        Some(&*self.1).filter(|path| !path.as_os_str().is_empty())
    }

    /// Writes a URL without its password.
    pub(crate) fn as_url<S: Serializer>(url: &Option<Self>, to: S) -> Result<S::Ok, S::Error> {
        url.as_ref().map(|url| masked(&url.0)).serialize(to)
    }
}

/// Another secret of the same file is no other secret: what needs it reads it again.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1 && (self.file().is_some() || self.0 == other.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(MASK)
    }
}

/// A URL without its password. What is no URL is masked whole.
pub(crate) fn masked(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return MASK.to_owned() };
    // The last '@': a password that was not escaped may have others.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => match user.split_once(':') {
            Some((user, _)) => (format!("{user}:{MASK}@"), rest),
            None => (format!("{user}@"), rest),
        },
        None => (String::new(), rest),
    };
    let Some((place, query)) = rest.split_once('?') else {
        return format!("{scheme}://{user}{rest}");
    };
    let parts = query.split('&').map(|part| match part.split_once('=') {
        Some((key, _)) if key.to_ascii_lowercase().contains("pass") => format!("{key}={MASK}"),
        Some(_) | None => part.to_owned(),
    });
    format!("{scheme}://{user}{place}?{}", parts.collect::<Vec<_>>().join("&"))
}

/// A uid or gid. The last of 32 bits means "nobody in particular" to chown(2).
pub(crate) type Identity = Number<0, { u32::MAX as u64 - 1 }>;

/// A network, or one address.
#[derive(Debug)]
pub(crate) struct Network(pub(crate) IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        network(from).map(Self)
    }
}

/// The same, for a field.
pub(crate) fn network<'de, D: Deserializer<'de>>(from: D) -> Result<IpNet, D::Error> {
    let text = text(from)?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let network: IpNet = text.parse().map_err(|_| {
        D::Error::custom(format!(
            "{text:?} is not a network; write an address and a prefix length, such as 10.0.0.0/8 or \
             fd00::/8, or a single address"
        ))
    })?;
    if network.trunc() != network {
        return Err(D::Error::custom(format!(
            "{text:?} has host bits set; write {} for the network or {} for the single address",
            network.trunc(),
            network.addr()
        )));
    }
    Ok(network)
}
