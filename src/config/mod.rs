//! The configuration: YAML and environment become validated types, or an error that names the file,
//! the line, the key, the value and the remedy. Nothing here opens, listens or connects.
//!
//! `tree` reads YAML into nodes that know their place, `section` reads a mapping's keys, `values`
//! what stands behind them, and `parse` makes the types of this module and checks across keys.

mod environment;
mod error;
mod parse;
mod section;
mod tree;
mod values;

pub use error::Error;
pub use values::{Mode, Password};

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::types::ShareName;

/// The port that is listened on where the configuration names none.
pub const DEFAULT_PORT: u16 = 12049;
/// The user and group that squashed callers become where the configuration names none.
pub const NOBODY: u32 = 65534;

/// A whole configuration. Every store that a share names is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How the server listens and what it bounds.
    pub server: Server,
    /// Metadata stores by name.
    pub metadata: BTreeMap<String, Metadata>,
    /// Content stores by name.
    pub content: BTreeMap<String, Content>,
    /// The shares, at least one, each name once.
    pub shares: Vec<Share>,
}

/// How the server listens and what it bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where NFS and MOUNT are served.
    pub listen: SocketAddr,
    /// How long a request may take before it is given up.
    pub request_timeout: Duration,
    /// How long running requests may take after the signal to stop.
    pub drain_timeout: Duration,
    /// How many connections may be open at once.
    pub max_connections: usize,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), DEFAULT_PORT),
            request_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(20),
            max_connections: 1024,
        }
    }
}

/// Where a namespace lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// In this process; gone when it stops.
    Memory,
    /// In a PostgreSQL database.
    Postgres(Postgres),
}

/// A PostgreSQL database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postgres {
    /// Host name, address, or the folder of a Unix socket.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// User.
    pub user: String,
    /// Password, where one is needed.
    pub password: Option<Password>,
    /// How many connections may be open at once.
    pub max_connections: usize,
    /// Whether the schema is brought up to date at start.
    pub auto_migrate: bool,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
}

/// Where file bytes live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// In this process; gone when it stops.
    Memory,
    /// In a folder.
    Filesystem(Filesystem),
}

/// A folder of file content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filesystem {
    /// The folder; relative to the working directory.
    pub base_path: PathBuf,
    /// How many files are kept open.
    pub max_open_files: usize,
}

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

impl Config {
    /// Reads a file; `${VAR}` in its values is taken from this process's environment.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn load(file: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Error::unreadable(file.display().to_string(), error))?;
        Self::parse(&file.display().to_string(), &text, &|name| std::env::var(name).ok())
    }

    /// Reads `text`; `file` is its name in errors, `variable` looks a `${VAR}` up.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(
        file: &str,
        text: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        parse::config(&section::Document::new(file, text, variable))
    }

    /// What is served without a configuration: `/export` to this machine alone, writable for
    /// `uid` and for the superuser, with memory metadata and file content in `folder`.
    ///
    /// # Errors
    /// None in practice: the names in it are valid.
    pub fn local(folder: &Path, uid: u32, gid: u32) -> Result<Self, crate::types::ShareNameError> {
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_PORT);
        let client = Client {
            network: IpNet::V4(ipnet::Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
            access: Access::ReadWrite,
            squash: Squash::None,
            anonuid: NOBODY,
            anongid: NOBODY,
            require_reserved_port: false,
        };
        let filesystem = Filesystem {
            base_path: folder.to_path_buf(),
            max_open_files: values::DEFAULT_OPEN_FILES,
        };
        Ok(Self {
            server: Server { listen, ..Server::default() },
            metadata: BTreeMap::from([("memory".to_owned(), Metadata::Memory)]),
            content: BTreeMap::from([("files".to_owned(), Content::Filesystem(filesystem))]),
            shares: vec![Share {
                name: ShareName::parse("/export")?,
                metadata_store: "memory".to_owned(),
                content_store: "files".to_owned(),
                root: Root { uid, gid, mode: Mode::ROOT },
                clients: vec![client],
            }],
        })
    }
}

#[cfg(test)]
mod tests;
