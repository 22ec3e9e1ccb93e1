//! The schema's versions (`migrations/postgres`) in a database: looked at, applied, taken back.

mod session;

use std::time::Instant;

use tokio_postgres::error::ErrorPosition;

use self::session::Session;
use super::Settings;
use super::connect::CLOSING;
use super::error::{fatal, remedy};
use super::server_check;
use crate::metadata::schema::{
    Applied, Catalog, Descent, Direction, Event, Report, Schema, SchemaError, Status, Version,
    present,
};
use crate::metadata::{Error, Source, Summary};

mod embedded {
    refinery::embed_migrations!("migrations/postgres");
}

/// The way back from each version.
const DOWNS: &[(i32, &str)] = &[
    (1, include_str!("../../../../migrations/postgres/V1__tables.down.sql")),
    (2, include_str!("../../../../migrations/postgres/V2__operations.down.sql")),
    (3, include_str!("../../../../migrations/postgres/V3__used.down.sql")),
    (4, include_str!("../../../../migrations/postgres/V4__conflicts.down.sql")),
    (5, include_str!("../../../../migrations/postgres/V5__lease.down.sql")),
    (6, include_str!("../../../../migrations/postgres/V6__alone.down.sql")),
    (7, include_str!("../../../../migrations/postgres/V7__keys.down.sql")),
    (8, include_str!("../../../../migrations/postgres/V8__changes.down.sql")),
    (9, include_str!("../../../../migrations/postgres/V9__locks.down.sql")),
    (10, include_str!("../../../../migrations/postgres/V10__servers.down.sql")),
    (11, include_str!("../../../../migrations/postgres/V11__sets.down.sql")),
    (12, include_str!("../../../../migrations/postgres/V12__views.down.sql")),
    (13, include_str!("../../../../migrations/postgres/V13__batches.down.sql")),
    (14, include_str!("../../../../migrations/postgres/V14__clients.down.sql")),
    (15, include_str!("../../../../migrations/postgres/V15__waiters.down.sql")),
];

/// Refinery's table, as it makes it.
const HISTORY: &str = "
    SET LOCAL lock_timeout = '1min';
    CREATE TABLE IF NOT EXISTS refinery_schema_history (
        version int4 PRIMARY KEY, name varchar(255), applied_on varchar(255), checksum varchar(255))";
const ADD: &str = "
    INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
    VALUES ($1, $2, to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), $3)";
const REMOVE: &str = "DELETE FROM refinery_schema_history WHERE version = $1";

/// Checks the server and that its schema is the one this program serves; brings it there first where the
/// settings allow that. Waits while another process changes it.
///
/// # Errors
/// [`Error::Schema`] where the schema is another; [`Error::Backend`] where the server does not fit, or there
/// is no way to it.
pub(super) async fn prepare(settings: &Settings) -> Result<(), Error> {
    let mut schema = PostgresSchema::open(settings).await?;
    let catalog = &schema.catalog;
    if !settings.auto_migrate {
        schema.session.lock_shared(&told).await?;
        return Ok(catalog.verdict(&schema.session.history().await?)?);
    }
    if let (Some(folder), true) = (&settings.migrations_path, catalog.newest() != catalog.needed())
    {
        let (newest, needed) = (catalog.newest(), catalog.needed());
        let problem =
            format!("its newest version is {newest}, this program needs version {needed}");
        return Err(SchemaError::Folder { folder: folder.clone(), problem }.into());
    }
    // Where nothing is pending, there is no wait, and no right to change tables is needed.
    schema.session.lock_shared(&told).await?;
    let found = catalog.verdict(&schema.session.history().await?);
    schema.session.unlock_shared().await?;
    match found {
        Err(SchemaError::Behind { .. }) => schema.up(None, &told).await.map(|_| ()),
        other => Ok(other?),
    }
}

/// What the database holds, where a start with these settings serves it; with `migrates` with an older schema
/// too. Changes nothing and waits for no lock.
pub(super) async fn look(settings: &Settings, migrates: bool) -> Result<Summary, Error> {
    let mut schema = PostgresSchema::open(settings).await?;
    let status = schema.status().await?;
    match status.verdict {
        Err(SchemaError::Behind { .. }) if migrates => {}
        Ok(()) => {}
        Err(error) => return Err(error.into()),
    }
    let mut summary = Summary {
        present: status.present(),
        wanted: schema.catalog.needed(),
        ..Summary::default()
    };
    if summary.present > 0 {
        (summary.shares, summary.settings) = schema.session.contents().await?;
    }
    Ok(summary)
}

/// What a start says of migrations.
fn told(event: Event<'_>) {
    match event {
        Event::Waiting => {
            tracing::info!("waiting for another process that migrates the database")
        }
        Event::Begun(Direction::Up, version, name) => {
            tracing::info!(version, name, "migrating the database");
        }
        Event::Done(Direction::Up, version, name, took) => {
            tracing::info!(version, name, ?took, "migrated the database");
        }
        Event::Begun(Direction::Down, ..) | Event::Done(Direction::Down, ..) => {}
    }
}

/// The schema of a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresSchema {
    catalog: Catalog,
    session: Session,
}

impl PostgresSchema {
    /// Reads the settings' `migrations_path`, where there is one, and connects. The connection goes with the
    /// value.
    ///
    /// # Errors
    /// [`Error::Schema`] where the folder is of no use, [`Error::Backend`] where there is no way to the
    /// database, or it does not fit this program.
    pub async fn connect(settings: &Settings) -> Result<Self, Error> {
        server_check::check_for_migration(settings).await?;
        Self::open(settings).await
    }

    /// The same, for a start that has looked at the server already.
    async fn open(settings: &Settings) -> Result<Self, Error> {
        let known = embedded::migrations::runner();
        let mut catalog = Catalog::embedded(known.get_migrations(), DOWNS);
        if let Some(folder) = &settings.migrations_path {
            catalog = catalog.in_folder(folder)?;
        }
        Ok(Self { catalog, session: Session::open(settings).await? })
    }

    /// Applies versions, each in a transaction with its row of the history.
    async fn climb(&mut self, to: Option<i32>, report: Report<'_>) -> Result<i32, Error> {
        let applied = self.session.history().await?;
        for version in self.catalog.ascent(&applied, to)? {
            step(&mut self.session, Direction::Up, version, report).await?;
        }
        self.session.present().await
    }

    /// Who has the tables in use, when connections of a server that has just ended are closed.
    async fn lasting_users(&self) -> Result<Vec<String>, Error> {
        let end = Instant::now() + CLOSING;
        loop {
            let users = self.session.users().await?;
            if users.is_empty() || Instant::now() >= end {
                return Ok(users);
            }
            tokio::time::sleep(CLOSING / 30).await;
        }
    }

    async fn go_down(&mut self, to: Option<i32>, report: Report<'_>) -> Result<i32, Error> {
        let applied = self.session.history().await?;
        let steps = self.catalog.descent(&applied, to)?;
        let users = if steps.is_empty() { Vec::new() } else { self.lasting_users().await? };
        if !users.is_empty() {
            return Err(SchemaError::InUse(users).into());
        }
        for version in steps {
            step(&mut self.session, Direction::Down, version, report).await?;
        }
        self.session.present().await
    }
}

#[async_trait::async_trait]
impl Schema for PostgresSchema {
    async fn status(&mut self) -> Result<Status, Error> {
        Ok(self.catalog.status(&self.session.history().await?))
    }

    async fn up(&mut self, to: Option<i32>, report: Report<'_>) -> Result<i32, Error> {
        self.session.lock(report).await?;
        let done = self.climb(to, report).await;
        self.session.unlock().await?;
        done
    }

    async fn descent(&mut self, to: Option<i32>) -> Result<Descent, Error> {
        let applied = self.session.history().await?;
        let steps = self.catalog.descent(&applied, to)?;
        let from = present(&applied);
        let left = applied.iter().map(|row| row.version);
        let left = left.filter(|left| steps.iter().all(|step| step.number != *left));
        Ok(Descent {
            from,
            to: left.max().unwrap_or(0),
            steps: steps
                .iter()
                .map(|step| (step.number, step.name.clone(), step.destroys()))
                .collect(),
            holds: self.session.holds().await?,
            users: self.lasting_users().await?,
        })
    }

    async fn down(&mut self, to: Option<i32>, report: Report<'_>) -> Result<i32, Error> {
        self.session.lock(report).await?;
        let done = self.go_down(to, report).await;
        self.session.unlock().await?;
        done
    }
}

/// Applies a version or takes it back, with its row of the history, in one transaction.
async fn step(
    session: &mut Session,
    direction: Direction,
    version: &Version,
    report: Report<'_>,
) -> Result<(), Error> {
    let start = Instant::now();
    report(Event::Begun(direction, version.number, &version.name));
    let failed = |place: String, source: Source| SchemaError::Step {
        direction,
        version: version.number,
        place,
        source,
    };
    let sql = match direction {
        Direction::Up => version.up.as_str(),
        Direction::Down => version.down.as_deref().unwrap_or_default(),
    };
    // Rolled back where this is left early.
    let transaction = session.client.transaction().await.map_err(fatal)?;
    let around = |error: tokio_postgres::Error| failed(advice(&error), Box::new(error));
    transaction.batch_execute(HISTORY).await.map_err(around)?;
    transaction.batch_execute(sql).await.map_err(|error| {
        failed(line(&error, sql, direction, version) + &advice(&error), Box::new(error))
    })?;
    let number = version.number;
    match direction {
        Direction::Up => {
            transaction.execute(ADD, &[&number, &version.name, &version.checksum()]).await
        }
        Direction::Down => transaction.execute(REMOVE, &[&number]).await,
    }
    .map_err(around)?;
    transaction.commit().await.map_err(fatal)?;
    report(Event::Done(direction, number, &version.name, start.elapsed()));
    Ok(())
}

/// Where in a version's file the server found an error.
fn line(
    error: &tokio_postgres::Error,
    sql: &str,
    direction: Direction,
    version: &Version,
) -> String {
    let Some(ErrorPosition::Original(position)) = error.as_db_error().and_then(|it| it.position())
    else {
        return String::new();
    };
    // Counted in characters from 1.
    let before = usize::try_from(*position).unwrap_or(1).saturating_sub(1);
    let line = 1 + sql.chars().take(before).filter(|each| *each == '\n').count();
    let end = match direction {
        Direction::Up => "sql",
        Direction::Down => "down.sql",
    };
    format!(" (V{}__{}.{end}, line {line})", version.number, version.name)
}

fn advice(error: &tokio_postgres::Error) -> String {
    remedy(error).map(|remedy| format!("; {remedy}")).unwrap_or_default()
}

/// Rows of the history as this module reads them.
fn applied(row: &tokio_postgres::Row) -> Result<Applied, tokio_postgres::Error> {
    Ok(Applied {
        version: row.try_get(0)?,
        name: row.try_get(1)?,
        when: row.try_get(2)?,
        checksum: row.try_get(3)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_has_a_way_back_that_says_what_it_destroys() {
        let runner = embedded::migrations::runner();
        let catalog = Catalog::embedded(runner.get_migrations(), DOWNS);
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres");
        let in_folder = catalog.clone().in_folder(folder.as_ref()).unwrap();
        assert_eq!(catalog.versions(), in_folder.versions());
        for version in catalog.versions() {
            assert!(version.destroys().len() > 20, "{version:?}");
        }
    }
}
