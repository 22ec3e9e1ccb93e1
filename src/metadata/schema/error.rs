//! Why a schema is not served or not changed.

use std::fmt;
use std::path::PathBuf;

use crate::metadata::Source;

/// Towards newer or older versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A version is applied.
    Up,
    /// A version is taken back.
    Down,
}

/// What is wrong with a schema, or with what is to be done to it.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// It has an older version than this program serves, or there is none.
    #[error("{}", behind(*.present, *.needed))]
    Behind {
        /// The version it has; 0 for none.
        present: i32,
        needed: i32,
    },
    /// It has a newer version than this program serves.
    #[error(
        "the schema has version {present}, newer than version {known} of this program: upgrade TrunkFS to \
         the release that introduced version {present}, or a later one"
    )]
    Newer { present: i32, known: i32 },
    /// Its history is not a part of what is known.
    #[error(
        "the schema has diverged: {0}. Nothing was changed; use the release of TrunkFS or the \
         migrations_path that migrated it, or restore a backup"
    )]
    Diverged(String),
    /// There is no such version.
    #[error("version {asked} does not exist; known versions: {known}")]
    NoVersion { asked: i32, known: String },
    /// The way back from a version is not known.
    #[error("version {0} cannot be reverted: there is no file V{0}__*.down.sql")]
    NoWayBack(i32),
    /// Servers use the store.
    #[error("the store is in use by a server: {}; stop it first", .0.join(", "))]
    InUse(Vec<String>),
    /// A folder of migrations is of no use.
    #[error("the migrations_path {}: {problem}", .folder.display())]
    Folder { folder: PathBuf, problem: String },
    /// A version failed; nothing of it was done.
    #[error("{} version {version} failed and changed nothing{place}", .direction.doing())]
    Step {
        direction: Direction,
        version: i32,
        /// Where in the file, and what to do about it, where known.
        place: String,
        source: Source,
    },
}

impl Direction {
    fn doing(self) -> &'static str {
        match self {
            Self::Up => "applying",
            Self::Down => "reverting",
        }
    }
}

fn behind(present: i32, needed: i32) -> impl fmt::Display {
    if present == 0 {
        format!("schema missing: no TrunkFS tables found (version {needed} is needed)")
    } else {
        format!("the schema has version {present}, this program needs {needed}")
    }
}
