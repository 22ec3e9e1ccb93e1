//! The configuration: YAML and environment become validated types, or an error that names the file,
//! the line, the key, the value and the remedy. Nothing here opens, listens or connects.
//!
//! `tree` reads YAML into nodes that know their place, and variables are laid on it; `de` makes serde's
//! structs of it, each the settings of the part that uses them; `check` checks across them; `effective`
//! writes them as YAML again.

mod changes;
mod check;
mod de;
mod document;
mod effective;
mod environment;
mod error;
mod load;
mod logging;
mod overrides;
mod path;
mod reach;
mod renamed;
mod secrets;
mod server;
mod share;
mod stores;
mod tree;
mod warnings;

pub use changes::{Change, How};
pub(crate) use effective::yaml;
pub use error::{Error, Errors};
pub use load::{Loaded, Source};
pub use logging::{Level, Levels, LevelsError, LogFormat, Logging};
pub use reach::Reach;
pub use server::{DEFAULT_PORT, Listener, Server};
pub use share::{Mode, Root, Share};
pub use stores::{Content, Metadata};
pub use warnings::{FILE_VARIABLE, URL_VARIABLE};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::document::Document;
use crate::{http, maintenance, nlm};

/// A whole configuration. Every store that a share names is there.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Config {
    /// How the server listens and what it bounds.
    pub server: Server,
    /// Where the server is seen from outside.
    pub admin: http::Settings,
    /// What is logged, and how.
    pub logging: Logging,
    /// Locks of clients.
    pub locks: nlm::Settings,
    /// What the server does for its stores by itself.
    pub maintenance: maintenance::Settings,
    /// Metadata stores by name, at least one.
    #[serde(with = "stores")]
    pub metadata: BTreeMap<String, Metadata>,
    /// Content stores by name, at least one.
    #[serde(with = "stores")]
    pub content: BTreeMap<String, Content>,
    /// The shares, at least one, each name once.
    pub shares: Vec<Share>,
}

impl Config {
    /// Reads `text`; `file` is its name in errors, `variable` looks a `${VAR}` up. No variable overrides
    /// anything.
    pub fn parse(
        file: &str,
        text: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Errors> {
        Self::read(&Document::new(file, text, variable, &[])?)
    }

    /// Reads a document.
    fn read(document: &Document<'_>) -> Result<Self, Errors> {
        let mut config = de::read::<Self>(document);
        if let Some(config) = &mut config {
            check::check(document, config);
        }
        let errors = document.take_errors();
        config.filter(|_| errors.is_empty()).ok_or_else(|| Errors::new(errors))
    }
}

#[cfg(test)]
mod tests;
