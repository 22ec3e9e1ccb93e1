//! `shares`: what clients mount, and who may.

use std::collections::BTreeSet;

use ipnet::IpNet;
use uuid::Uuid;

use super::error::Error;
use super::section::{Field, Section};
use super::stores::store;
use super::values::{Mode, flag, mode, network, number, size, word};
use crate::types::{ContentIdentity, ShareName};

/// The user and group that squashed callers become where the configuration names none.
pub const NOBODY: u32 = 65534;

/// The least of `max_file_size`, in bytes.
const LEAST_FILE_SIZE: u64 = 1 << 20;

/// What clients mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its name, which is the path that clients mount.
    pub name: ShareName,
    /// The name of its metadata store.
    pub metadata_store: String,
    /// The name of its content store.
    pub content_store: String,
    /// Its root directory when it is made.
    pub root: Root,
    /// The largest size of a file, in bytes; without it the content store's bounds it alone.
    pub max_file_size: Option<u64>,
    /// Content that the share goes on with though another is recorded, and that a new store gets.
    pub content_identity: Option<ContentIdentity>,
    /// The claim of another metadata store on the content, which the share's may replace.
    pub content_owner: Option<Uuid>,
    /// Who may mount it, at least one, no network twice; the narrowest that holds a client counts.
    pub clients: Vec<Client>,
}

/// A root directory's owner and mode when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: Mode,
}

/// Clients of a network and what they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Their addresses.
    pub network: IpNet,
    /// Whether they may change anything.
    pub access: Access,
    /// Whose identity is replaced by the anonymous one.
    pub squash: Squash,
    /// The anonymous user.
    pub anonuid: u32,
    /// The anonymous group.
    pub anongid: u32,
    /// Whether calls must come from a port below 1024.
    pub require_reserved_port: bool,
}

/// What clients may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read and change.
    ReadWrite,
    /// Read.
    ReadOnly,
}

/// Whose identity is replaced by the anonymous one (exports(5), "User ID Mapping").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Squash {
    /// The superuser's.
    Root,
    /// Nobody's.
    None,
    /// Everybody's.
    All,
}

pub(super) fn share(
    field: &Field<'_>,
    metadata: &BTreeSet<String>,
    content: &BTreeSet<String>,
) -> Result<Share, Error> {
    let section = field.section(&[
        "name",
        "metadata_store",
        "content_store",
        "content_identity",
        "content_owner",
        "max_file_size",
        "root",
        "clients",
    ])?;
    let named = section.required("name", "write the path for clients to mount, such as /export")?;
    let text = named.text()?;
    let name = ShareName::parse(&text)
        .map_err(|error| named.error(format!("{text:?}: {error}; write a path such as /export")))?;
    Ok(Share {
        name,
        metadata_store: store(&section, "metadata_store", metadata)?,
        content_store: store(&section, "content_store", content)?,
        content_identity: section.maybe("content_identity", content_identity)?,
        content_owner: section.maybe("content_owner", content_owner)?,
        max_file_size: section
            .maybe("max_file_size", |field| size(field, LEAST_FILE_SIZE, i64::MAX as u64))?,
        root: section.part("root", root)?,
        clients: clients(&section)?,
    })
}

fn content_identity(field: &Field<'_>) -> Result<ContentIdentity, Error> {
    let text = field.text()?;
    Uuid::try_parse(&text).map(ContentIdentity).map_err(|_| {
        field.error(format!(
            "{text:?} is not a content identity; write the UUID in the server's error, or remove the key"
        ))
    })
}

fn content_owner(field: &Field<'_>) -> Result<Uuid, Error> {
    let text = field.text()?;
    Uuid::try_parse(&text).map_err(|_| {
        field.error(format!(
            "{text:?} is not a claim; write the UUID in the server's error, or remove the key"
        ))
    })
}

fn root(field: &Field<'_>) -> Result<Root, Error> {
    let section = field.section(&["uid", "gid", "mode"])?;
    Ok(Root {
        uid: section.or("uid", 0, identity)?,
        gid: section.or("gid", 0, identity)?,
        mode: section.or("mode", "0755", mode)?,
    })
}

/// A uid or gid. The last of 32 bits means "nobody in particular" to chown(2).
fn identity(field: &Field<'_>) -> Result<u32, Error> {
    number(field, 0, u32::MAX - 1)
}

fn clients(section: &Section<'_>) -> Result<Vec<Client>, Error> {
    let remedy =
        "list the networks that may mount the share, such as - { network: 10.0.0.0/8, access: rw }";
    let field = section.required("clients", remedy)?;
    let mut clients: Vec<Client> = Vec::new();
    let fields = field.list()?;
    if fields.is_empty() {
        return Err(
            field.error(format!("must not be empty: no client could mount the share; {remedy}"))
        );
    }
    for field in fields {
        let Some(client) = field.keep(client(&field)) else { continue };
        if clients.iter().any(|other| other.network == client.network) {
            field.keep::<()>(Err(field.error(format!(
                "duplicate rule for {}, which would have no effect; keep one",
                client.network
            ))));
        }
        clients.push(client);
    }
    Ok(clients)
}

fn client(field: &Field<'_>) -> Result<Client, Error> {
    let section = field.section(&[
        "network",
        "access",
        "squash",
        "anonuid",
        "anongid",
        "require_reserved_port",
    ])?;
    let squashes = [
        ("root_squash", Squash::Root),
        ("no_root_squash", Squash::None),
        ("all_squash", Squash::All),
    ];
    let remedy = "write a network or an address, such as 10.0.0.0/8";
    Ok(Client {
        network: network(&section.required("network", remedy)?)?,
        access: section.or("access", "rw", |field| {
            word(field, &[("rw", Access::ReadWrite), ("ro", Access::ReadOnly)])
        })?,
        squash: section.or("squash", "root_squash", |field| word(field, &squashes))?,
        anonuid: section.or("anonuid", NOBODY, identity)?,
        anongid: section.or("anongid", NOBODY, identity)?,
        require_reserved_port: section.or("require_reserved_port", false, flag)?,
    })
}
