//! A store's schema: the versions that there are of it, which of them a database has, and the way up and
//! down.
//!
//! A version `N` is a file `VN__name.sql` and, for the way back, `VN__name.down.sql` beside it. The database
//! keeps what was applied in the table `refinery_schema_history`, as the crate refinery does: version, name,
//! when, and a checksum of the file. [`Catalog`] is what is known, [`Applied`] what a database says; what to
//! do about the difference is decided here, and carried out by the store ([`Schema`]).

mod catalog;
mod error;
mod folder;

use std::time::Duration;

pub(crate) use catalog::{Catalog, Version, present};
pub use error::{Direction, SchemaError};

use super::Error;

/// A row of `refinery_schema_history`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) version: i32,
    pub(crate) name: String,
    /// When it was applied (RFC 3339).
    pub(crate) when: String,
    /// The checksum of what was applied, in decimal.
    pub(crate) checksum: String,
}

/// What there is of a schema.
#[derive(Debug)]
pub struct Status {
    /// Every version that is known or was applied, ascending.
    pub versions: Vec<VersionStatus>,
    /// The version that this program serves.
    pub needed: i32,
    /// Whether this program can serve it as it is; else why not.
    pub verdict: Result<(), SchemaError>,
}

impl Status {
    /// The newest version that was applied; 0 where there is none.
    #[must_use]
    pub fn present(&self) -> i32 {
        let applied = self.versions.iter().filter(|version| version.applied.is_some());
        applied.map(|version| version.number).max().unwrap_or(0)
    }
}

/// One version of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionStatus {
    pub number: i32,
    pub name: String,
    /// When it was applied (RFC 3339); `None` where it is pending.
    pub applied: Option<String>,
    /// Whether this program knows it as it was applied.
    pub known: bool,
}

/// What happens while a schema is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Another process changes the schema; its end is awaited.
    Waiting,
    /// A version is being applied or taken back.
    Begun(Direction, i32, &'a str),
    /// It is done, and durable; the time it took.
    Done(Direction, i32, &'a str, Duration),
}

/// Who is told what happens.
pub type Report<'a> = &'a (dyn Fn(Event<'_>) + Send + Sync);

/// What the way down would cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descent {
    /// The version that the schema has.
    pub from: i32,
    /// The version it would have.
    pub to: i32,
    /// Each version that would be taken back, newest first: its number, its name, and what that destroys.
    pub steps: Vec<(i32, String, String)>,
    /// What the store holds, such as `shares: 1; files, directories and links: 7`.
    pub holds: String,
    /// Who uses the store now.
    pub users: Vec<String>,
}

/// A database whose schema can be looked at and changed. A version is applied or taken back wholly, with its
/// row of the history, or not at all; processes that change one schema take turns.
#[async_trait::async_trait]
pub trait Schema: std::fmt::Debug + Send {
    /// What there is. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Backend`] where the database does not answer as it should.
    async fn status(&mut self) -> Result<Status, Error>;

    /// Applies what is pending, up to the version `to` or all. Does nothing where nothing is pending. Gives
    /// the version that the schema has then.
    ///
    /// # Errors
    /// [`Error::Schema`] where the history is not what is known, `to` is no version, or a version cannot be
    /// applied; those before it stay applied.
    async fn up(&mut self, to: Option<i32>, report: Report<'_>) -> Result<i32, Error>;

    /// What [`Schema::down`] would do. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Schema`] where there is no way down to `to`.
    async fn descent(&mut self, to: Option<i32>) -> Result<Descent, Error>;

    /// Takes versions back, newest first, down to the version `to` (0: all), or the newest alone. Gives the
    /// version that the schema has then.
    ///
    /// # Errors
    /// [`Error::Schema`] as with [`Schema::descent`], and where a server uses the store; versions after the
    /// one that failed stay taken back.
    async fn down(&mut self, to: Option<i32>, report: Report<'_>) -> Result<i32, Error>;
}
