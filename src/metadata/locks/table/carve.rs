//! What a lock or an unlock makes of the rows that its owner has. Pure.

use crate::metadata::{LockBytes, LockKind, LockRange};
use crate::types::Timestamp;

/// A range that an owner holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::metadata) struct Held {
    pub(in crate::metadata) range: LockRange,
    pub(in crate::metadata) kind: LockKind,
    pub(in crate::metadata) oh: LockBytes,
    pub(in crate::metadata) state: i32,
    pub(in crate::metadata) since: Timestamp,
}

impl Held {
    /// Whether the two are one row where they touch. Rows of two states of the client stay apart: its reboot
    /// frees one and not the other.
    fn joins(&self, other: &Self) -> bool {
        self.kind == other.kind && self.state == other.state
    }

    fn part(&self, first: u64, last: u64) -> Option<Self> {
        Some(Self { range: LockRange::new(first, last)?, ..self.clone() })
    }
}

/// The rows that take the place of `touching`, which are those of one owner that overlap or touch `range`:
/// `new` is put into the range, or nothing.
pub(super) fn carve(touching: &[Held], range: LockRange, new: Option<&Held>) -> Vec<Held> {
    let mut rows = Vec::with_capacity(touching.len() + 2);
    let mut union = new.cloned();
    for row in touching {
        match &mut union {
            Some(union) if union.joins(row) => {
                union.range = union.range.hull(row.range);
                union.since = union.since.min(row.since);
            }
            Some(_) | None => {
                if let Some(before) = range.first().checked_sub(1) {
                    rows.extend(row.part(row.range.first(), row.range.last().min(before)));
                }
                let behind = range.last().saturating_add(1);
                rows.extend(row.part(row.range.first().max(behind), row.range.last()));
            }
        }
    }
    rows.extend(union);
    rows
}
