//! `shares`: what clients mount, and who may.

use std::fmt;

use serde::de::{Deserializer, Error as _, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use crate::types::settings::{Identity, Size, text};
use crate::types::{ContentIdentity, ShareName};
use crate::vfs::{ClientRule, GroupSource};

/// What clients mount.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Its name, which is the path that clients mount.
    #[serde(deserialize_with = "share_name", serialize_with = "shown")]
    pub name: ShareName,
    /// The name of its metadata store.
    pub metadata_store: String,
    /// The name of its content store.
    pub content_store: String,
    /// Content that the share goes on with though another is recorded, and that a new store gets.
    #[serde(default, deserialize_with = "content_identity", serialize_with = "shown_if_any")]
    pub content_identity: Option<ContentIdentity>,
    /// The claim of another metadata store on the content, which the share's may replace.
    #[serde(default, deserialize_with = "content_owner")]
    pub content_owner: Option<Uuid>,
    /// The largest size of a file, in bytes; without it the content store's bounds it alone.
    #[serde(default, with = "Size::<{ 1 << 20 }, { i64::MAX as u64 }>")]
    pub max_file_size: Option<u64>,
    /// Its root directory when it is made.
    #[serde(default)]
    pub root: Root,
    /// Whose word counts for the supplementary groups of users.
    #[serde(default)]
    pub groups: GroupSource,
    /// Who may mount it, at least one, no network twice; the narrowest that holds a client counts.
    pub clients: Vec<ClientRule>,
}

/// A root directory's owner and mode when it is made.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Root {
    /// Owner.
    #[serde(with = "Identity")]
    pub uid: u32,
    /// Group.
    #[serde(with = "Identity")]
    pub gid: u32,
    /// Permission bits.
    pub mode: Mode,
}

/// Permission bits with set-uid, set-gid and sticky: `0o7777` at most.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mode(u32);

fn shown<S: Serializer>(value: &impl fmt::Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

fn shown_if_any<S: Serializer>(
    value: &Option<impl fmt::Display>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.collect_str(value),
        None => to.serialize_none(),
    }
}

fn share_name<'de, D: Deserializer<'de>>(from: D) -> Result<ShareName, D::Error> {
    let text = text(from)?;
    ShareName::parse(&text).map_err(|error| {
        D::Error::custom(format!("{text:?}: {error}; write a path such as /export"))
    })
}

fn content_identity<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<ContentIdentity>, D::Error> {
    uuid(from, "a content identity").map(|uuid| Some(ContentIdentity(uuid)))
}

fn content_owner<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Uuid>, D::Error> {
    uuid(from, "a claim").map(Some)
}

fn uuid<'de, D: Deserializer<'de>>(from: D, expected: &str) -> Result<Uuid, D::Error> {
    let text = text(from)?;
    Uuid::try_parse(&text).map_err(|_| {
        D::Error::custom(format!(
            "{text:?} is not {expected}; write the UUID in the server's error, or remove the key"
        ))
    })
}

impl Mode {
    /// The bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl Default for Mode {
    fn default() -> Self {
        Self(0o755)
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{self:?}"))
    }
}

impl<'de> Deserialize<'de> for Mode {
    /// Octal in quotes. A bare number is refused: YAML 1.2 reads 0755 as seven hundred fifty-five.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ModeVisitor)
    }
}

struct ModeVisitor;

impl Visitor<'_> for ModeVisitor {
    type Value = Mode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a quoted mode (YAML reads digits without quotes as decimal); write an octal mode in quotes, \
             such as \"0755\"",
        )
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Mode, E> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let octal = !digits.is_empty() && digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        let bits = u32::from_str_radix(digits, 8).ok().filter(|bits| octal && *bits <= 0o7777);
        bits.map(Mode).ok_or_else(|| {
            let expected = "a mode; write an octal mode in quotes, such as \"0755\"";
            E::invalid_value(Unexpected::Str(text), &expected)
        })
    }
}
