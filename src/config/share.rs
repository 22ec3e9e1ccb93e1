//! `shares`: what clients mount, and who may.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::de::{Deserializer, Error as _, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use crate::types::settings::{Number, Size, text};
use crate::types::{ContentIdentity, ShareName};

/// The user and group that squashed callers become where the configuration names none.
pub const NOBODY: u32 = 65534;

/// A uid or gid. The last of 32 bits means "nobody in particular" to chown(2).
type Identity = Number<0, { u32::MAX as u64 - 1 }>;

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
    /// Who may mount it, at least one, no network twice; the narrowest that holds a client counts.
    pub clients: Vec<Client>,
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

/// Clients of a network and what they may.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Client {
    /// Their addresses.
    #[serde(deserialize_with = "network")]
    pub network: IpNet,
    /// Whether they may change anything.
    #[serde(default)]
    pub access: Access,
    /// Whose identity is replaced by the anonymous one.
    #[serde(default)]
    pub squash: Squash,
    /// The anonymous user.
    #[serde(default = "nobody", with = "Identity")]
    pub anonuid: u32,
    /// The anonymous group.
    #[serde(default = "nobody", with = "Identity")]
    pub anongid: u32,
    /// Whether calls must come from a port below 1024.
    #[serde(default)]
    pub require_reserved_port: bool,
}

/// What clients may do.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub enum Access {
    /// Read and change.
    #[default]
    #[serde(rename = "rw")]
    ReadWrite,
    #[serde(rename = "ro")]
    ReadOnly,
}

/// Whose identity is replaced by the anonymous one (exports(5), "User ID Mapping").
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub enum Squash {
    /// The superuser's.
    #[default]
    #[serde(rename = "root_squash")]
    Root,
    /// No user's.
    #[serde(rename = "no_root_squash")]
    None,
    /// Everybody's.
    #[serde(rename = "all_squash")]
    All,
}

fn nobody() -> u32 {
    NOBODY
}

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

/// A network, or one address.
pub(super) struct Network(pub(super) IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        network(from).map(Self)
    }
}

fn network<'de, D: Deserializer<'de>>(from: D) -> Result<IpNet, D::Error> {
    let text = text(from)?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let network: IpNet = text.parse().map_err(|_| {
        D::Error::custom(format!(
            "{text:?} is not a network; write an address and a prefix length, such as 10.0.0.0/8 or fd00::/8, or a \
             single address"
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
            "a quoted mode (YAML reads digits without quotes as decimal); write an octal mode in quotes, such as \"0755\"",
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
