//! Replies that outlive the server that gave them (`metadata/replies.rs`). No other process changes the file,
//! so what a repeat may ask for was recorded before this start: it is read once. What this process records
//! is for the next.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::error::SqliteError;
use crate::metadata::Replayed;
use crate::metadata::replies::KEPT_SECONDS;
use crate::types::{ObjectId, Replay, Timestamp};

/// The most calls of before that are kept, the newest ones: as many as a table of 1,048,576 places takes
/// (seven of eight).
const MOST: usize = 7 << 17;
/// What a call takes of a row: its key, and what it has made.
const CALL_BYTES: usize = 32;
/// How often old rows are removed.
const ROUND: Duration = Duration::from_secs(30);
const KEPT: Duration = Duration::from_secs(KEPT_SECONDS.unsigned_abs());

pub(super) const INSERT: &str = "INSERT INTO replies (at, calls) VALUES (?1, ?2)";
/// Rows are in the order of their numbers.
pub(super) const PRUNE: &str = "DELETE FROM replies WHERE rowid <= ?1";
const NEWEST: &str = "SELECT max(rowid) FROM replies";
const READ: &str = "SELECT calls FROM replies WHERE at > ?1 ORDER BY rowid DESC";

/// What the batch under way records, and how long what is recorded stays.
#[derive(Debug, Default)]
pub(super) struct Replies {
    new: Vec<u8>,
    /// The newest row at some times, the oldest first.
    marks: VecDeque<(Instant, i64)>,
}

impl Replies {
    pub(super) fn add(&mut self, call: &Replay, made: Option<ObjectId>) {
        self.new.extend(call.key.as_bytes());
        self.new.extend(made.map_or(Uuid::nil(), |made| made.0).as_bytes());
    }

    /// The transaction was undone.
    pub(super) fn forget(&mut self) {
        self.new.clear();
    }

    /// Writes what the batch records, and removes what is old.
    pub(super) fn write(&mut self, connection: &Connection) -> Result<(), SqliteError> {
        if self.new.is_empty() {
            return Ok(());
        }
        connection.prepare_cached(INSERT)?.execute(params![Timestamp::now().0, self.new])?;
        self.new.clear();
        let now = Instant::now();
        if self.marks.back().is_some_and(|(last, _)| now - *last < ROUND) {
            return Ok(());
        }
        let newest: Option<i64> =
            connection.prepare_cached(NEWEST)?.query_row([], |row| row.get(0))?;
        self.marks.push_back((now, newest.unwrap_or(0)));
        while let Some((then, row)) = self.marks.front()
            && now - *then > KEPT
        {
            connection.prepare_cached(PRUNE)?.execute([row])?;
            self.marks.pop_front();
        }
        Ok(())
    }
}

/// The calls that were done before this start, as long as a client may repeat them.
#[derive(Debug)]
pub(super) struct Earlier {
    calls: RwLock<HashMap<Uuid, Replayed>>,
    until: Instant,
}

impl Earlier {
    /// Reads them.
    pub(super) fn read(connection: &Connection) -> Result<Self, SqliteError> {
        let since = Timestamp::now().0.saturating_sub(KEPT_SECONDS * 1_000_000_000);
        let mut asked = connection.prepare(READ)?;
        let mut rows = asked.query(params![since])?;
        let mut calls = HashMap::new();
        while let Some(row) = rows.next()?
            && calls.len() < MOST
        {
            let row: Vec<u8> = row.get(0)?;
            for call in row.chunks_exact(CALL_BYTES).take(MOST - calls.len()) {
                let (key, made) = call.split_at(CALL_BYTES / 2);
                let id = |bytes| Uuid::from_slice(bytes).unwrap_or_default();
                let made = Some(ObjectId(id(made))).filter(|made| !made.0.is_nil());
                calls.insert(id(key), Replayed { made });
            }
        }
        Ok(Self { calls: RwLock::new(calls), until: Instant::now() + KEPT })
    }

    /// Gives their memory back when no client may repeat one any more: many megabytes after a busy time.
    pub(super) fn forget_in_time(self: &Arc<Self>) {
        if self.calls.read().is_empty() {
            return;
        }
        let earlier = Arc::downgrade(self);
        let until = self.until.into();
        tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            if let Some(earlier) = earlier.upgrade() {
                *earlier.calls.write() = HashMap::new();
            }
        });
    }

    /// What a call came to that was done before.
    pub(super) fn find(&self, call: &Replay) -> Option<Replayed> {
        if Instant::now() > self.until {
            return None;
        }
        self.calls.read().get(&call.key).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::sqlite::connect::{Settings, writer};

    #[tokio::test(start_paused = true)]
    async fn calls_of_before_take_memory_for_as_long_as_they_are_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let connection = writer(&Settings::new(folder.path().join("m"))).unwrap();
        let key = Uuid::from_u128(7);
        let call = Replay { key, peer: 1, may_be_repeat: false, looks_first: true };
        let mut replies = Replies::default();
        replies.add(&call, None);
        replies.write(&connection).unwrap();
        let earlier = Arc::new(Earlier::read(&connection).unwrap());
        earlier.forget_in_time();
        tokio::time::sleep(KEPT / 2).await;
        assert_eq!(earlier.find(&call), Some(Replayed { made: None }));
        tokio::time::sleep(KEPT).await;
        assert_eq!(earlier.calls.read().capacity(), 0);
    }
}
