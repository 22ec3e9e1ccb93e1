//! The configuration: YAML and environment become validated types, or an error that names the file,
//! the line, the key, the value and the remedy. Nothing here opens, listens or connects.
//!
//! `tree` reads YAML into nodes that know their place, `section` reads a mapping's keys, `values`
//! what stands behind them; a file for each part has its types and reads its keys, and `parse` makes the
//! whole and checks across them.

mod environment;
mod error;
mod filesystem;
mod parse;
mod postgres;
mod section;
mod server;
mod share;
mod stores;
mod tree;
mod values;

pub use error::Error;
pub use filesystem::Filesystem;
pub use postgres::Postgres;
pub use server::{DEFAULT_PORT, Server};
pub use share::{Access, Client, NOBODY, Root, Share, Squash};
pub use stores::{Content, Metadata};
pub use values::{Mode, Password};

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use ipnet::IpNet;

use crate::types::ShareName;

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
