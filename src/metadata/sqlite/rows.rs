//! Rows become objects.

use std::fmt;

use rusqlite::Row;
use rusqlite::types::FromSql;
use uuid::Uuid;

use super::error::SqliteError;
use crate::types::{
    Attributes, ContentId, ContentRef, ContentVersion, DeviceNumbers, FileType, Fileid, Fsid,
    ObjectId, ShareId, Timestamp,
};

/// An object's columns of `o`, a row of the view `objects`.
macro_rules! object_columns {
    () => {
        "o.id, o.share_id, o.fileid, o.file_type, o.mode, o.nlink, o.uid, o.gid, o.size, o.atime, o.mtime, \
         o.ctime, o.rdev, o.content_id, o.content_version, o.mtime_version, o.parent_id, o.create_verifier, \
         o.used"
    };
}
pub(super) use object_columns;

/// How many columns an object has.
pub(super) const OBJECT_COLUMNS: usize = 19;

/// An object as the database holds it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) share: ShareId,
    pub(super) attributes: Attributes,
    /// The verifier of the exclusive create that made it, if nothing has touched it since.
    pub(super) verifier: Option<u64>,
}

/// A value that the database's type holds and ours does not.
pub(super) fn damaged(what: impl fmt::Display) -> SqliteError {
    SqliteError::Damaged(what.to_string())
}

/// A column's number, which fits into `T`.
pub(super) fn number<T: TryFrom<i64>>(row: &Row<'_>, index: usize) -> Result<T, SqliteError> {
    let value: i64 = row.get(index)?;
    T::try_from(value).map_err(|_| {
        damaged(format_args!(
            "column {} holds {value}",
            row.as_ref().column_name(index).unwrap_or("?")
        ))
    })
}

/// A column's identity.
pub(super) fn uuid(row: &Row<'_>, index: usize) -> Result<Uuid, SqliteError> {
    Ok(Uuid::from_bytes(row.get(index)?))
}

fn optional<T: FromSql>(row: &Row<'_>, index: usize) -> Result<Option<T>, SqliteError> {
    Ok(row.get(index)?)
}

/// The object in the columns from `first` on. Its `fsid` is the one of its share, which `fsid_of` knows.
pub(super) fn object(
    row: &Row<'_>,
    first: usize,
    fsid_of: impl FnOnce(ShareId) -> Option<Fsid>,
) -> Result<Stored, SqliteError> {
    let at = |index: usize| first + index;
    let id = ObjectId(uuid(row, at(0))?);
    let share = ShareId(number(row, at(1))?);
    let file_type = FileType::from_number(number(row, at(3))?)
        .ok_or_else(|| damaged(format_args!("object {id} is of no known kind")))?;
    let version = ContentVersion(row.get(at(14))?);
    let content: Option<[u8; 16]> = optional(row, at(13))?;
    let parent: Option<[u8; 16]> = optional(row, at(16))?;
    let verifier: Option<i64> = optional(row, at(17))?;
    Ok(Stored {
        share,
        attributes: Attributes {
            id,
            fileid: Fileid(number(row, at(2))?),
            fsid: fsid_of(share)
                .ok_or_else(|| damaged(format_args!("object {id} belongs to no share")))?,
            file_type,
            mode: number(row, at(4))?,
            nlink: number(row, at(5))?,
            uid: number(row, at(6))?,
            gid: number(row, at(7))?,
            size: number(row, at(8))?,
            used: number(row, at(18))?,
            atime: Timestamp(row.get(at(9))?),
            mtime: Timestamp(row.get(at(10))?),
            ctime: Timestamp(row.get(at(11))?),
            rdev: DeviceNumbers::from_stored(optional(row, at(12))?),
            content: content.map(|id| ContentRef { id: ContentId(Uuid::from_bytes(id)), version }),
            mtime_version: row.get(at(15))?,
            parent: parent.map(|id| ObjectId(Uuid::from_bytes(id))),
        },
        verifier: verifier.map(i64::cast_unsigned),
    })
}
