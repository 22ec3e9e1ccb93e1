//! The configuration: YAML and environment become validated types, or an error that names the file,
//! the line, the key, the value and the remedy. Nothing here opens, listens or connects.
//!
//! `tree` reads YAML into nodes that know their place, `section` reads a mapping's keys, `values`
//! what stands behind them; a file for each part has its types and reads its keys, and `parse` makes the
//! whole and checks across them.

mod bucket;
mod changes;
mod effective;
mod environment;
mod error;
mod filesystem;
mod load;
mod logging;
mod overrides;
mod parse;
mod postgres;
mod renamed;
mod secrets;
mod section;
mod server;
mod share;
mod sqlite;
mod stores;
mod tree;
mod values;
mod warnings;

pub use bucket::{Azure, Bucket, Gcs, S3, Sse};
pub use changes::{Change, How, Takes};
pub use error::{Error, Errors};
pub use filesystem::Filesystem;
pub use load::{Loaded, Source};
pub use logging::{Level, Levels, LevelsError, LogFormat, Logging};
pub use postgres::Postgres;
pub use secrets::Secret;
pub use server::{DEFAULT_PORT, Server};
pub use share::{Access, Client, NOBODY, Root, Share, Squash};
pub use sqlite::Sqlite;
pub use stores::{Content, Metadata};
pub use values::Mode;
pub(crate) use values::{bytes, millis};
pub use warnings::{FILE_VARIABLE, URL_VARIABLE};

use std::collections::BTreeMap;

/// A whole configuration. Every store that a share names is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How the server listens and what it bounds.
    pub server: Server,
    /// What is logged, and how.
    pub logging: Logging,
    /// Metadata stores by name.
    pub metadata: BTreeMap<String, Metadata>,
    /// Content stores by name.
    pub content: BTreeMap<String, Content>,
    /// The shares, at least one, each name once.
    pub shares: Vec<Share>,
}

impl Config {
    /// Reads `text`; `file` is its name in errors, `variable` looks a `${VAR}` up. No variable overrides
    /// anything.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(
        file: &str,
        text: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Errors> {
        parse::config(&section::Document::new(file, text, variable, &[]))
    }
}

#[cfg(test)]
mod tests;
