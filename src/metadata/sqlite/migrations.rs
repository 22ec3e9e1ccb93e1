//! The schema's versions (`migrations/sqlite`). The file belongs to this process, so they are always applied.

use rusqlite::Connection;

use super::error::SqliteError;
use crate::metadata::Error;
use crate::metadata::schema::{Applied, Catalog};

mod embedded {
    refinery::embed_migrations!("migrations/sqlite");
}

/// Marks a file as this program's ("TRFS"); the first migration sets it.
const APPLICATION: i32 = 0x5452_4653;

/// Brings the schema to this program's version.
///
/// # Errors
/// [`Error::Backend`] where the file is another program's, or its schema newer than this program.
pub(super) fn apply(connection: &mut Connection) -> Result<(), Error> {
    let (present, wanted) = versions(connection)?;
    if present < wanted {
        // A migration and the record of it are one transaction: a start that is cut short leaves both or
        // none.
        let runner = embedded::migrations::runner().set_grouped(true);
        runner.run(connection).map_err(|error| Error::Backend(Box::new(error)))?;
        tracing::info!(from = present, to = wanted, "the schema was upgraded");
    }
    Ok(())
}

/// Looks whether the schema is this program's, and changes nothing.
///
/// # Errors
/// [`Error::Backend`] where it is another.
pub(super) fn check(connection: &Connection) -> Result<(), Error> {
    let (present, wanted) = versions(connection)?;
    if present < wanted {
        return Err(Error::Backend(
            format!(
                "the database has schema version {present}, this program needs {wanted}: \
                 `trunkfs serve` upgrades it"
            )
            .into(),
        ));
    }
    Ok(())
}

/// The newest version that was applied, and this program's, which is not older.
///
/// # Errors
/// [`Error::Backend`] where the file is another program's, or its schema newer than this program.
pub(super) fn versions(connection: &Connection) -> Result<(i32, i32), Error> {
    let runner = embedded::migrations::runner();
    let wanted = runner.get_migrations().iter().map(|it| it.version()).max().unwrap_or(0);
    let present = present_version(connection)?;
    if present > wanted {
        return Err(Error::Backend(
            format!(
                "the database has schema version {present}, newer than version {wanted} of this program: \
                 upgrade TrunkFS"
            )
            .into(),
        ));
    }
    Ok((present, wanted))
}

/// The versions that there are. There is no way back from any of them.
pub(super) fn catalog() -> Catalog {
    Catalog::embedded(embedded::migrations::runner().get_migrations(), &[])
}

/// What was applied, ascending.
///
/// # Errors
/// [`Error::Backend`] where the file is another program's.
pub(super) fn history(connection: &Connection) -> Result<Vec<Applied>, Error> {
    if present_version(connection)? == 0 {
        return Ok(Vec::new());
    }
    let rows =
        "SELECT version, name, applied_on, checksum FROM refinery_schema_history ORDER BY version";
    let read = || -> rusqlite::Result<Vec<Applied>> {
        let mut statement = connection.prepare(rows)?;
        let rows = statement.query_map([], |row| {
            Ok(Applied {
                version: row.get(0)?,
                name: row.get(1)?,
                when: row.get(2)?,
                checksum: row.get(3)?,
            })
        })?;
        rows.collect()
    };
    read().map_err(|error| SqliteError::from(error).into_error())
}

/// The newest version that was applied; 0 in an empty file.
fn present_version(connection: &Connection) -> Result<i32, Error> {
    let failed = |error: rusqlite::Error| SqliteError::from(error).into_error();
    let number =
        |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i32>(0)).map_err(failed);
    // The history alone is what a first start that was cut short leaves.
    let others =
        number("SELECT count(*) FROM sqlite_schema WHERE tbl_name <> 'refinery_schema_history'")?;
    let newest = match number("SELECT count(*) FROM sqlite_schema")? - others {
        0 => 0,
        _ => number("SELECT COALESCE(max(version), 0) FROM refinery_schema_history")?,
    };
    let is_ours = number("PRAGMA application_id")? == APPLICATION;
    if (newest > 0 && !is_ours) || (newest == 0 && others > 0) {
        return Err(Error::Backend("the file is a database of another program".into()));
    }
    Ok(newest)
}
