//! The invariants, checked by reading everything.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::connect::reader;
use super::error::Failure;
use super::log::Log;
use super::rows::number;
use super::usage::Tally;
use crate::metadata::Error;

const CHECK: &str = include_str!("check.sql");
/// Sizes are summed in two halves, since a sum of three may need more than 64 bits.
const COUNTERS: &str = "
    SELECT s.name, u.objects, u.bytes_high, u.bytes_low, count(f.id),
           COALESCE(sum(f.size >> 32) FILTER (WHERE f.file_type IN (1, 5)), 0),
           COALESCE(sum(f.size & 4294967295) FILTER (WHERE f.file_type IN (1, 5)), 0)
      FROM shares s JOIN share_usage u ON u.share_id = s.id LEFT JOIN files f ON f.share_id = s.id
     GROUP BY s.id";
/// Memory for the pages of a check, in bytes.
const MEMORY: usize = 16 << 20;

/// Runs on a connection of its own, and is ended where the write-ahead log grows too large under it.
pub(super) fn inconsistencies(path: &Path, log: &Arc<Log>) -> Result<Vec<String>, Error> {
    let connection = reader(path, MEMORY)?;
    let _named = log.long_reader(&connection);
    find(&connection).map_err(Failure::into_error)
}

/// What is broken as of one moment.
pub(super) fn find(connection: &Connection) -> Result<Vec<String>, Failure> {
    broken(&*connection.unchecked_transaction()?)
}

/// What is broken in the transaction that is open.
pub(super) fn broken(connection: &Connection) -> Result<Vec<String>, Failure> {
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
    found.sort();
    Ok(found)
}
