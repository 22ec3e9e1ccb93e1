//! GETATTR, LOOKUP, READLINK and READDIR, each on one snapshot.

use rusqlite::{Connection, params};

use super::error::SqliteError;
use super::rows::{self, OBJECT_COLUMNS, Stored, damaged, number, object_columns};
use crate::metadata::single_writer::OpError;
use crate::metadata::{DirectoryEntry, Error, Link, Lookup, Page, Refusal, Share, decide};
use crate::types::{Attributes, Cookie, FileType, Name, ObjectId, SymlinkTarget};

/// One object.
pub(super) const OBJECT: &str =
    concat!("SELECT ", object_columns!(), " FROM objects o WHERE o.id = ?1");
/// A directory and what it has under a name.
pub(super) const ENTRY: &str = concat!(
    "SELECT ",
    object_columns!(),
    ", 0 FROM objects o WHERE o.id = ?1 UNION ALL SELECT ",
    object_columns!(),
    ", 1 FROM parent_child_map e CROSS JOIN objects o ON o.id = e.child_id
     WHERE e.parent_id = ?1 AND e.child_name = ?2"
);
/// A directory and its parent.
pub(super) const PARENT: &str = concat!(
    "SELECT ",
    object_columns!(),
    ", 0 FROM objects o WHERE o.id = ?1 UNION ALL SELECT ",
    object_columns!(),
    ", 1 FROM files d CROSS JOIN objects o ON o.id = d.parent_id WHERE d.id = ?1"
);
/// A symbolic link.
pub(super) const LINK: &str =
    concat!("SELECT ", object_columns!(), ", o.link_target FROM objects o WHERE o.id = ?1");
/// Entries in cookie order, with their objects.
pub(super) const PAGE: &str = concat!(
    "SELECT ",
    object_columns!(),
    ", e.cookie, e.child_name
       FROM parent_child_map e INDEXED BY parent_child_map_cookie CROSS JOIN objects o ON o.id = e.child_id
      WHERE e.parent_id = ?1 AND e.cookie > ?2 ORDER BY e.cookie LIMIT ?3"
);

type Outcome<T> = Result<T, OpError<SqliteError>>;

/// An object of the share.
pub(super) fn attributes(
    connection: &Connection,
    share: &Share,
    object: ObjectId,
) -> Outcome<Attributes> {
    let mut statement = connection.prepare_cached(OBJECT)?;
    let mut rows = statement.query(params![object.0.as_bytes()])?;
    let Some(row) = rows.next()? else { return Err(Error::Stale.into()) };
    Ok(of_share(rows::object(row, 0, |_| Some(share.fsid))?, share)?.attributes)
}

/// Another share's object is as good as gone.
fn of_share(stored: Stored, share: &Share) -> Outcome<Stored> {
    if stored.share == share.id { Ok(stored) } else { Err(Error::Stale.into()) }
}

/// A directory of the share, and what the statement gives beside it.
fn pair(
    connection: &Connection,
    share: &Share,
    statement: &str,
    arguments: impl rusqlite::Params,
) -> Outcome<Lookup> {
    let mut statement = connection.prepare_cached(statement)?;
    let mut rows = statement.query(arguments)?;
    let (mut directory, mut object) = (None, None);
    while let Some(row) = rows.next()? {
        let is_second: bool = row.get(OBJECT_COLUMNS)?;
        let stored = rows::object(row, 0, |_| Some(share.fsid))?;
        *(if is_second { &mut object } else { &mut directory }) = Some(stored);
    }
    let directory = of_share(directory.ok_or(Error::Stale)?, share)?.attributes;
    let directory = decide::directory(Some(directory))?;
    Ok(Lookup { directory, object: object.map(|object| object.attributes) })
}

/// LOOKUP.
pub(super) fn lookup(
    connection: &Connection,
    share: &Share,
    directory: ObjectId,
    name: &Name,
) -> Outcome<Lookup> {
    pair(connection, share, ENTRY, params![directory.0.as_bytes(), name.as_bytes()])
}

/// LOOKUP of `..`.
pub(super) fn lookup_parent(
    connection: &Connection,
    share: &Share,
    directory: ObjectId,
) -> Outcome<Lookup> {
    let found = pair(connection, share, PARENT, params![directory.0.as_bytes()])?;
    if found.object.is_none() {
        return Err(damaged(format_args!("directory {directory} has no parent")).into());
    }
    Ok(found)
}

/// READLINK.
pub(super) fn readlink(connection: &Connection, share: &Share, link: ObjectId) -> Outcome<Link> {
    let mut statement = connection.prepare_cached(LINK)?;
    let mut rows = statement.query(params![link.0.as_bytes()])?;
    let Some(row) = rows.next()? else { return Err(Error::Stale.into()) };
    let attributes = of_share(rows::object(row, 0, |_| Some(share.fsid))?, share)?.attributes;
    if attributes.file_type != FileType::Symlink {
        return Err(Refusal::of(Error::Invalid, &attributes).into());
    }
    let target: Vec<u8> = row.get(OBJECT_COLUMNS)?;
    let target = SymlinkTarget::parse(&target)
        .map_err(|error| damaged(format_args!("link {link}: {error}")))?;
    Ok(Link { attributes, target })
}

/// READDIR.
pub(super) fn readdir(
    connection: &Connection,
    share: &Share,
    directory: ObjectId,
    after: Cookie,
    max_entries: usize,
    with_attributes: bool,
) -> Outcome<Page> {
    // The statements see one snapshot, which ends with this value.
    let snapshot = connection.unchecked_transaction()?;
    let Lookup { directory, object: parent } = lookup_parent(&snapshot, share, directory)?;
    let mut statement = snapshot.prepare_cached(PAGE)?;
    let after = i64::try_from(after.0).unwrap_or(i64::MAX);
    let limit = i64::try_from(max_entries).unwrap_or(i64::MAX).saturating_add(1);
    let mut rows = statement.query(params![directory.id.0.as_bytes(), after, limit])?;
    let mut entries = Vec::new();
    let mut eof = true;
    while let Some(row) = rows.next()? {
        if entries.len() == max_entries {
            eof = false;
            break;
        }
        let object = rows::object(row, 0, |_| Some(share.fsid))?.attributes;
        let name: Vec<u8> = row.get(OBJECT_COLUMNS + 1)?;
        entries.push(DirectoryEntry {
            cookie: Cookie(number(row, OBJECT_COLUMNS)?),
            name: Name::parse(&name)
                .map_err(|error| damaged(format_args!("an entry of {}: {error}", directory.id)))?,
            fileid: object.fileid,
            object: object.id,
            attributes: with_attributes.then_some(object),
        });
    }
    let parent_fileid = parent.map_or(directory.fileid, |parent| parent.fileid);
    Ok(Page { directory, parent_fileid, entries, eof })
}
