//! What a share uses: counters that are kept with every change.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::error::SqliteError;
use super::rows::number;
use crate::metadata::single_writer::{OpError, counted_bytes};
use crate::metadata::{Error, Usage};
use crate::types::{Attributes, ShareId};

const READ: &str = "SELECT objects, bytes_high, bytes_low FROM share_usage WHERE share_id = ?1";
const WRITE: &str =
    "UPDATE share_usage SET objects = ?2, bytes_high = ?3, bytes_low = ?4 WHERE share_id = ?1";

/// What `bytes_high` counts, as a power of two.
const HIGH: u32 = 62;

/// What a share uses. Sizes go up to 2⁶³−1, so that three files' sum needs more than 64 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) objects: u64,
    pub(super) bytes: u128,
}

impl Tally {
    /// What the columns from `first` on say.
    pub(super) fn of(row: &Row<'_>, first: usize) -> Result<Self, SqliteError> {
        let high: u64 = number(row, first + 1)?;
        let low: u64 = number(row, first + 2)?;
        Ok(Self {
            objects: number(row, first)?,
            bytes: (u128::from(high) << HIGH) + u128::from(low),
        })
    }

    pub(super) fn read(
        connection: &Connection,
        share: ShareId,
    ) -> Result<Option<Self>, SqliteError> {
        let mut statement = connection.prepare_cached(READ)?;
        let tally = statement.query_row([share.0], |row| Ok(Self::of(row, 0))).optional()?;
        tally.transpose()
    }

    pub(super) fn write(self, connection: &Connection, share: ShareId) -> Result<(), SqliteError> {
        let low = self.bytes & ((1 << HIGH) - 1);
        let part = |bytes: u128| i64::try_from(bytes).unwrap_or(i64::MAX);
        connection.prepare_cached(WRITE)?.execute(params![
            share.0,
            self.objects.cast_signed(),
            part(self.bytes >> HIGH),
            part(low),
        ])?;
        Ok(())
    }

    pub(super) fn add(&mut self, object: &Attributes) {
        self.objects = self.objects.saturating_add(1);
        self.bytes = self.bytes.saturating_add(counted_bytes(object));
    }

    pub(super) fn subtract(&mut self, object: &Attributes) {
        self.objects = self.objects.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(counted_bytes(object));
    }
}

/// What a share uses now.
pub(super) fn usage(
    connection: &Connection,
    share: ShareId,
) -> Result<Usage, OpError<SqliteError>> {
    let tally = Tally::read(connection, share)?.ok_or(Error::Stale)?;
    Ok(Usage { objects: tally.objects, bytes: u64::try_from(tally.bytes).unwrap_or(u64::MAX) })
}
