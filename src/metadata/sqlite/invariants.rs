//! The invariants, checked by reading everything.

use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use super::SqliteStore;
use super::connect::reader;
use super::dump::blocking;
use super::error::SqliteError;
use super::lock_rows;
use super::rows::number;
use super::usage::Tally;
use crate::metadata::batch::closed;
use crate::metadata::locks::table::LockTable;
use crate::metadata::{Error, Invariants, Loaded, LockLimits};
use crate::types::ShareId;

const CHECK: &str = include_str!("invariants.sql");
/// Bytes are summed in two halves, since a sum of three may need more than 64 bits.
const COUNTERS: &str = "
    SELECT s.name, u.objects, u.bytes_high, u.bytes_low, count(f.id),
           COALESCE(sum(f.used >> 32) FILTER (WHERE f.file_type IN (1, 5)), 0),
           COALESCE(sum(f.used & 4294967295) FILTER (WHERE f.file_type IN (1, 5)), 0)
      FROM shares s JOIN share_usage u ON u.share_id = s.id LEFT JOIN files f ON f.share_id = s.id
     GROUP BY s.id";
/// The objects that the roots of some shares lead to: no index leads from a share to its objects.
const REACHED: &str = "
    INSERT INTO temp.reached
    WITH RECURSIVE walk(id) AS (
        SELECT root FROM main.shares WHERE id IN (SELECT value FROM json_each(?1))
        UNION
        SELECT c.id FROM walk w CROSS JOIN main.parent_child_map e ON e.parent_id = w.id
               CROSS JOIN main.files c ON c.id = e.child_id
         WHERE c.share_id IN (SELECT value FROM json_each(?1))
    )
    SELECT id FROM walk";
/// The tables as far as those objects go, under the names that [`CHECK`] has for them.
const OF_REACHED: &str = "
    WITH shares AS NOT MATERIALIZED (
        SELECT * FROM main.shares WHERE id IN (SELECT value FROM json_each(?1))
    ),
    files AS NOT MATERIALIZED (
        SELECT * FROM main.files
         WHERE id IN (SELECT id FROM temp.reached) AND share_id IN (SELECT value FROM json_each(?1))
    ),
    parent_child_map AS NOT MATERIALIZED (
        SELECT * FROM main.parent_child_map WHERE parent_id IN (SELECT id FROM temp.reached)
    ),
    link_counts AS NOT MATERIALIZED (
        SELECT * FROM main.link_counts WHERE file_id IN (SELECT id FROM temp.reached)
    )";
/// Every object and entry that came in is among them.
const ALL_REACHED: &str = "
    SELECT format('the roots lead to %d objects; there are %d', n, ?2) FROM (SELECT count(*) AS n FROM files) WHERE n <> ?2
    UNION ALL
    SELECT format('the directories have %d entries; there are %d', n, ?3) FROM (SELECT count(*) AS n FROM parent_child_map)
     WHERE n <> ?3";
/// Memory for the pages of a check, in bytes.
const MEMORY: usize = 16 << 20;

#[async_trait::async_trait]
impl Invariants for SqliteStore {
    /// Runs on a connection of its own, and is ended where the write-ahead log grows too large under it.
    async fn inconsistencies(&self) -> Result<Vec<String>, Error> {
        if self.queue.is_closed() {
            return Err(closed());
        }
        let (path, wal) = (self.settings.path.clone(), self.wal.clone());
        blocking(move || {
            let connection = reader(&path, MEMORY)?;
            let _named = wal.long_reader(&connection);
            find(&connection).map_err(SqliteError::into_error)
        })
        .await
    }
}

/// What is broken as of one moment.
pub(super) fn find(connection: &Connection) -> Result<Vec<String>, SqliteError> {
    broken(&*connection.unchecked_transaction()?)
}

/// The first thing that is broken in some shares that were loaded in the transaction that is open. Other
/// shares are not read, and their faults count for nothing.
pub(super) fn broken_in(
    connection: &Connection,
    shares: &[ShareId],
    loaded: Loaded,
) -> Result<Option<String>, SqliteError> {
    let numbers: Vec<_> = shares.iter().map(|share| share.0.to_string()).collect();
    let shares = format!("[{}]", numbers.join(","));
    connection.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS reached (id BLOB PRIMARY KEY) WITHOUT ROWID; DELETE FROM \
         temp.reached",
    )?;
    connection.execute(REACHED, [&shares])?;
    let mut statement = connection.prepare(&of_reached())?;
    let (objects, entries) = (loaded.objects.cast_signed(), loaded.entries.cast_signed());
    let first = statement.query_row(params![shares, objects, entries], |row| {
        Ok(String::from_utf8_lossy(row.get_ref(0)?.as_bytes().unwrap_or_default()).into_owned())
    });
    Ok(first.optional()?)
}

fn of_reached() -> String {
    format!("{OF_REACHED} SELECT * FROM (\n{CHECK}\n) UNION ALL {ALL_REACHED} LIMIT 1")
}

/// What is broken in the transaction that is open.
pub(super) fn broken(connection: &Connection) -> Result<Vec<String>, SqliteError> {
    let mut found = Vec::new();
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let said: String = row.get(0)?;
        if said != "ok" {
            found.push(said);
        }
    }
    let mut statement = connection.prepare(CHECK)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        found.push(String::from_utf8_lossy(row.get_ref(0)?.as_bytes().unwrap_or_default()).into());
    }
    let mut statement = connection.prepare(COUNTERS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let kept = Tally::of(row, 1)?;
        let (high, low): (u64, u64) = (number(row, 5)?, number(row, 6)?);
        let counted =
            Tally { objects: number(row, 4)?, bytes: (u128::from(high) << 32) + u128::from(low) };
        if kept != counted {
            found.push(format!(
                "share {name} counts {} objects and {} bytes of {} and {}",
                kept.objects, kept.bytes, counted.objects, counted.bytes
            ));
        }
    }
    let mut locks = LockTable::new(Uuid::nil(), LockLimits::default());
    lock_rows::load(connection, &mut locks)?;
    found.extend(locks.inconsistencies());
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::super::connect::writer;
    use super::*;

    /// No statement of [`broken_in`] reads a table that has other shares' rows from its beginning to its end.
    #[test]
    fn a_check_of_some_shares_searches_by_key() {
        let folder = tempfile::tempdir().unwrap();
        let connection = writer(&Settings::new(folder.path().join("m"))).unwrap();
        assert_eq!(broken_in(&connection, &[], Loaded::default()).unwrap(), None);
        let tables = ["shares", "files", "parent_child_map", "link_counts", "share_usage"];
        let mut searches = 0;
        for sql in [REACHED.to_owned(), of_reached()] {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            for number in 1..=plan.parameter_count() {
                plan.raw_bind_parameter(number, 1).unwrap();
            }
            let mut rows = plan.raw_query();
            while let Some(row) = rows.next().unwrap() {
                let step: String = row.get(3).unwrap();
                let table = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
                let table = table.map(|table| table.trim_start_matches("main."));
                assert!(!table.is_some_and(|table| tables.contains(&table)), "{step}: {sql}");
                searches += u32::from(step.starts_with("SEARCH main."));
            }
        }
        assert!(searches > 10, "the plan names its tables");
    }
}
