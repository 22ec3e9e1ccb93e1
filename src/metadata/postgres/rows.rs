//! Rows become objects. Every statement and function answers with rows of one form: a number that says
//! what the row is, then an object's columns.

use std::fmt;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use crate::metadata::Error;
pub(super) use crate::metadata::decide::Stored;
use crate::types::{
    Attributes, ContentId, ContentRef, ContentVersion, DeviceNumbers, FileType, Fileid, Fsid,
    ObjectId, Timestamp,
};

/// An object's columns of `$alias`, a row of the view `objects`, in the order of the SQL type `object`.
macro_rules! object_columns {
    ($alias:literal) => {
        concat!(
            $alias,
            ".id, ",
            $alias,
            ".fileid, ",
            $alias,
            ".file_type, ",
            $alias,
            ".mode, ",
            $alias,
            ".nlink, ",
            $alias,
            ".uid, ",
            $alias,
            ".gid, ",
            $alias,
            ".size, ",
            $alias,
            ".atime, ",
            $alias,
            ".mtime, ",
            $alias,
            ".ctime, ",
            $alias,
            ".rdev, ",
            $alias,
            ".content_id, ",
            $alias,
            ".content_version, ",
            $alias,
            ".mtime_version, ",
            $alias,
            ".parent_id, ",
            $alias,
            ".create_verifier, ",
            $alias,
            ".used"
        )
    };
}
pub(super) use object_columns;

/// How many columns an object has.
const OBJECT_COLUMNS: usize = 18;
/// The first column behind the row's number and its object.
pub(super) const BEHIND_OBJECT: usize = 1 + OBJECT_COLUMNS;

/// A column's value.
pub(super) fn column<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, Error> {
    row.try_get(index).map_err(|error| Error::Backend(Box::new(error)))
}

/// A value that the database's type holds and ours does not.
pub(super) fn damaged(what: impl fmt::Display) -> Error {
    Error::Damaged(what.to_string())
}

/// What a row is.
pub(super) fn number(row: &Row) -> Result<i16, Error> {
    column(row, 0)
}

/// A row's object, of the share that has `fsid`; `None` where the row stands for one that is not there.
pub(super) fn object(row: &Row, fsid: Fsid) -> Result<Option<Stored>, Error> {
    let Some(id) = column::<Option<Uuid>>(row, 1)? else { return Ok(None) };
    let signed = |index| column::<i64>(row, index);
    let unsigned = |index| {
        let value = signed(index)?;
        u64::try_from(value).map_err(|_| damaged(format_args!("object {id} has {value}")))
    };
    let narrow = |index| {
        let value = signed(index)?;
        u32::try_from(value).map_err(|_| damaged(format_args!("object {id} has {value}")))
    };
    let file_type = FileType::from_number(column(row, 3)?)
        .ok_or_else(|| damaged(format_args!("object {id} is of no known kind")))?;
    let mode: i32 = column(row, 4)?;
    let content = column::<Option<Uuid>>(row, 13)?;
    let version = ContentVersion(signed(14)?);
    Ok(Some(Stored {
        attributes: Attributes {
            id: ObjectId(id),
            fileid: Fileid(unsigned(2)?),
            fsid,
            file_type,
            mode: u32::try_from(mode)
                .map_err(|_| damaged(format_args!("object {id} has mode {mode}")))?,
            nlink: narrow(5)?,
            uid: narrow(6)?,
            gid: narrow(7)?,
            size: unsigned(8)?,
            used: unsigned(18)?,
            atime: Timestamp(signed(9)?),
            mtime: Timestamp(signed(10)?),
            ctime: Timestamp(signed(11)?),
            rdev: DeviceNumbers::from_stored(column(row, 12)?),
            content: content.map(|id| ContentRef { id: ContentId(id), version }),
            mtime_version: column(row, 15)?,
            parent: column::<Option<Uuid>>(row, 16)?.map(ObjectId),
        },
        verifier: column::<Option<i64>>(row, 17)?.map(i64::cast_unsigned),
    }))
}

/// A row's object where there must be one.
pub(super) fn present(row: &Row, fsid: Fsid) -> Result<Stored, Error> {
    object(row, fsid)?.ok_or_else(|| damaged("an answer names no object"))
}
