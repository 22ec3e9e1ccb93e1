//! The schema of a file, for who wants to see it or to bring it up to date before the start that does so by
//! itself.

use std::time::Instant;

use super::dump::blocking;
use super::{Settings, SqliteStore, connect, migrations};
use crate::metadata::schema::{
    Applied, Catalog, Descent, Direction, Event, Report, Schema, Status, present,
};
use crate::metadata::{Error, MetadataStore as _};

/// Why there is no way down.
const NO_WAY_BACK: &str = "a SQLite file is not taken back to an older version: stop the server, and put a \
     copy of the file from before the upgrade in its place";

/// The schema of a SQLite file. Nothing is opened until something is asked.
#[derive(Debug)]
pub struct SqliteSchema {
    settings: Settings,
    catalog: Catalog,
}

impl SqliteSchema {
    /// That of the file which the settings name, whether it is there or not.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, catalog: migrations::catalog() }
    }

    async fn applied(&self) -> Result<Vec<Applied>, Error> {
        let path = self.settings.path.clone();
        blocking(move || connect::history(&path)).await
    }
}

#[async_trait::async_trait]
impl Schema for SqliteSchema {
    async fn status(&mut self) -> Result<Status, Error> {
        Ok(self.catalog.status(&self.applied().await?))
    }

    /// All pending versions are one transaction.
    async fn up(&mut self, to: Option<i32>, report: Report<'_>) -> Result<i32, Error> {
        let applied = self.applied().await?;
        let newest = self.catalog.newest();
        let steps = self.catalog.ascent(&applied, to)?;
        if steps.is_empty() {
            return Ok(present(&applied));
        }
        if to.is_some_and(|to| to != newest) {
            let text = format!("a SQLite file goes to version {newest} at once; leave --to out");
            return Err(Error::Backend(text.into()));
        }
        for step in steps {
            report(Event::Begun(Direction::Up, step.number, &step.name));
        }
        let start = Instant::now();
        SqliteStore::open(self.settings.clone()).await?.close().await;
        for step in steps {
            report(Event::Done(Direction::Up, step.number, &step.name, start.elapsed()));
        }
        Ok(present(&self.applied().await?))
    }

    async fn descent(&mut self, _: Option<i32>) -> Result<Descent, Error> {
        Err(Error::Backend(NO_WAY_BACK.into()))
    }

    async fn down(&mut self, _: Option<i32>, _: Report<'_>) -> Result<i32, Error> {
        Err(Error::Backend(NO_WAY_BACK.into()))
    }
}
