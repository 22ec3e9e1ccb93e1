//! Fileids and cookies that were drawn from the database's sequences and not given out yet.

use std::collections::VecDeque;

use tokio_postgres::Row;

use crate::metadata::Error;
use crate::metadata::postgres::rows::{column, damaged};
use crate::types::{Cookie, Fileid};

/// How many are drawn at once, as the statement [`DRAW`] has it.
const DRAWN: usize = 2048;
/// Fewer than these are few: more are drawn beside the operations that use them up.
const FEW: usize = DRAWN / 2;

/// Draws numbers. A session's numbers come in runs of the sequences' CACHE, so that an array of each is
/// mostly dense.
pub(super) const DRAW: &str = "
    SELECT ARRAY(SELECT nextval('fileids') FROM generate_series(1, 2048)),
           ARRAY(SELECT nextval('cookies') FROM generate_series(1, 2048))";

/// Numbers to give out.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    fileids: VecDeque<u64>,
    cookies: VecDeque<u64>,
}

impl Numbers {
    pub(super) fn next_fileid(&mut self) -> Option<Fileid> {
        self.fileids.pop_front().map(Fileid)
    }

    pub(super) fn next_cookie(&mut self) -> Option<Cookie> {
        self.cookies.pop_front().map(Cookie)
    }

    /// Whether more are to be drawn.
    pub(super) fn are_few(&self) -> bool {
        self.fileids.len().min(self.cookies.len()) < FEW
    }

    /// Takes what was drawn.
    pub(super) fn add(&mut self, row: &Row) -> Result<(), Error> {
        for (numbers, index) in [(&mut self.fileids, 0), (&mut self.cookies, 1)] {
            for number in column::<Vec<i64>>(row, index)? {
                let number = u64::try_from(number);
                numbers
                    .push_back(number.map_err(|_| damaged("a sequence gave a negative number"))?);
            }
        }
        Ok(())
    }
}
