//! The shares of the database.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::error::SqliteError;
use super::rows::{damaged, number, uuid};
use crate::metadata::known_shares::KnownShares;
use crate::metadata::{Capabilities, Share, ShareSpec, rules};
use crate::types::{Fsid, ObjectId, ShareId, ShareName, Timestamp};

const ALL: &str = "
    SELECT s.id, s.name, s.root, s.fsid, s.chunk_size, c.max_read, c.max_write, c.multiple,
           c.preferred_readdir, c.max_file_size, c.time_delta, c.max_links, c.max_name
      FROM shares s
      JOIN filesystem_capabilities c ON c.share_id = s.id
     ORDER BY s.id";

/// Reads every share; the process knows them from then on.
pub(super) fn load(
    known: &KnownShares,
    connection: &Connection,
) -> Result<Vec<Share>, SqliteError> {
    let shares = all(connection)?;
    known.add(&shares);
    Ok(shares)
}

/// Every share.
pub(super) fn all(connection: &Connection) -> Result<Vec<Share>, SqliteError> {
    let mut statement = connection.prepare_cached(ALL)?;
    let mut rows = statement.query([])?;
    let mut shares = Vec::new();
    while let Some(row) = rows.next()? {
        shares.push(share(row)?);
    }
    Ok(shares)
}

fn share(row: &Row<'_>) -> Result<Share, SqliteError> {
    let name: String = row.get(1)?;
    Ok(Share {
        id: ShareId(number(row, 0)?),
        name: ShareName::parse(&name)
            .map_err(|error| damaged(format_args!("share {name}: {error}")))?,
        root: ObjectId(uuid(row, 2)?),
        fsid: Fsid(number(row, 3)?),
        chunk_size: number(row, 4)?,
        capabilities: Capabilities {
            max_read: number(row, 5)?,
            max_write: number(row, 6)?,
            multiple: number(row, 7)?,
            preferred_readdir: number(row, 8)?,
            max_file_size: number(row, 9)?,
            time_delta: number(row, 10)?,
            max_links: number(row, 11)?,
            max_name: number(row, 12)?,
        },
    })
}

/// Makes a share's rows where there is none of its name; its root, with what it uses, is for the caller.
/// `None` where it is there.
pub(super) fn make(
    connection: &Connection,
    spec: &ShareSpec,
) -> Result<Option<Share>, SqliteError> {
    let name = spec.name.as_str();
    let known = connection
        .prepare_cached("SELECT 1 FROM shares WHERE name = ?1")?
        .query_row([name], |_| Ok(()))
        .optional()?;
    if known.is_some() {
        return Ok(None);
    }
    let root = ObjectId::generate();
    // 63 random bits, so that stores which know nothing of each other give different ones; never 0.
    let fsid = rand::random_range(1..=i64::MAX);
    let share = Share {
        id: ShareId(0),
        name: spec.name.clone(),
        root,
        fsid: Fsid(fsid.cast_unsigned()),
        chunk_size: spec.chunk_size,
        capabilities: Capabilities::default(),
    };
    Ok(Some(Share { id: insert(connection, &share)?, ..share }))
}

/// Adds a share's rows, under a number of its own.
pub(super) fn insert(connection: &Connection, share: &Share) -> Result<ShareId, SqliteError> {
    let (name, root) = (share.name.as_str(), share.root.0.as_bytes());
    let id: i16 = connection
        .prepare_cached(
            "INSERT INTO shares (id, name, root, fsid, chunk_size)
             SELECT COALESCE(max(id), 0) + 1, ?1, ?2, ?3, ?4 FROM shares RETURNING id",
        )?
        .query_row(params![name, root, share.fsid.0.cast_signed(), share.chunk_size], |row| {
            row.get(0)
        })?;
    let it = share.capabilities;
    connection
        .prepare_cached(
            "INSERT INTO filesystem_capabilities VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            id,
            it.max_read,
            it.max_write,
            it.multiple,
            it.preferred_readdir,
            it.max_file_size.cast_signed(),
            it.time_delta,
            it.max_links,
            it.max_name,
        ])?;
    connection.prepare_cached("INSERT INTO share_usage VALUES (?1, 0, 0, 0)")?.execute([id])?;
    Ok(ShareId(id))
}

/// A setting; `None` where it was never set.
pub(super) fn setting(connection: &Connection, key: &str) -> Result<Option<String>, SqliteError> {
    let mut statement =
        connection.prepare_cached("SELECT value FROM server_config WHERE key = ?1")?;
    Ok(statement.query_row([key], |row| row.get(0)).optional()?)
}

/// Every setting.
pub(super) fn settings(connection: &Connection) -> Result<BTreeMap<String, String>, SqliteError> {
    let mut statement = connection.prepare("SELECT key, value FROM server_config")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Sets a setting whose present value is `seen`.
pub(super) fn set_setting(
    connection: &Connection,
    key: &str,
    seen: Option<&str>,
    value: &str,
) -> Result<(), SqliteError> {
    if setting(connection, key)?.as_deref() == seen {
        connection
            .prepare_cached("INSERT OR REPLACE INTO server_config (key, value) VALUES (?1, ?2)")?
            .execute([key, value])?;
    }
    Ok(())
}

/// The attributes of a new share's root.
pub(super) fn root(
    share: &Share,
    spec: &ShareSpec,
    fileid: crate::types::Fileid,
) -> crate::types::Attributes {
    rules::root(share.root, fileid, share.fsid, spec.root, Timestamp::now())
}
