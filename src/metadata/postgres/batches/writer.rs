//! The tasks that carry batches out.

use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::operation::{Columns, RUN};
use super::{BATCH, Batches, Lane, Outcome, Waiting};
use crate::metadata::Error;
use crate::metadata::postgres::error::PostgresError;
use crate::metadata::postgres::execute::{Reply, claimed, flushed};
use crate::metadata::postgres::pool::Pooled;
use crate::metadata::postgres::rows::{BEHIND_OBJECT, column, damaged};
use crate::metadata::postgres::session::Slot;
use crate::metadata::postgres::settle::{Question, UnknownOutcome};
use crate::types::{ObjectId, ShareId};

const SETTLE: &str = "SELECT * FROM settle_batch($1, $2, $3, $4)";
/// What [`SETTLE`] answers. The epoch of a slot that was given up is negative.
const SETTLED: &str = "
    SELECT w.last_results FROM writer_slots w
     WHERE w.share_id = $1 AND w.slot = $2 AND abs(w.epoch) = $3 AND w.last_batch = $4
       AND w.last_results IS NOT NULL";

/// A task's right to write. Where the task ends before its time, changes that nobody would carry out take
/// their own way.
pub(super) struct Writer {
    batches: Arc<Batches>,
    share: ShareId,
    is_over: bool,
}

impl Writer {
    /// The right of a task that was counted.
    pub(super) fn new(batches: Arc<Batches>, share: ShareId) -> Self {
        Self { batches, share, is_over: false }
    }

    /// The next batch. Where nothing waits the task is counted out at once: a change that comes later starts
    /// another.
    fn next(&mut self) -> Option<Vec<Waiting>> {
        let mut lanes = self.batches.lanes.lock();
        let lane = lanes.get_mut(&self.share)?;
        let batch = lane.take();
        if batch.is_empty() {
            self.is_over = true;
            lane.writers -= 1;
            if lane.writers == 0 {
                lanes.remove(&self.share);
            }
            return None;
        }
        Some(batch)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut lanes = self.batches.lanes.lock();
        let Some(lane) = lanes.get_mut(&self.share) else { return };
        lane.writers -= 1;
        if lane.writers == 0 {
            let left = lanes.remove(&self.share);
            drop(lanes);
            left.into_iter().flat_map(|mut lane| lane.take_all()).for_each(|waiting| {
                waiting.answer(Outcome::Alone);
            });
        }
    }
}

impl Lane {
    /// Up to [`BATCH`] changes whose callers are still there, each client in its turn.
    fn take(&mut self) -> Vec<Waiting> {
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some(next) = self.waiting.pop()
        {
            if !next.answer.is_closed() {
                batch.push(next);
            }
        }
        // Changes of one directory lie side by side: its row is written once.
        batch.sort_by_key(|waiting| waiting.operation.place);
        batch
    }

    fn take_all(&mut self) -> Vec<Waiting> {
        self.waiting.take(usize::MAX)
    }
}

/// Carries batches out until nothing waits.
pub(super) async fn write_all(mut writer: Writer) {
    while let Some(batch) = writer.next() {
        write(&writer.batches, writer.share, batch).await;
    }
}

async fn write(batches: &Batches, share: ShareId, batch: Vec<Waiting>) {
    batches.sizes.count(batch.len() as u64);
    let (connection, slot) = match connected(batches).await {
        Ok(connected) => connected,
        Err(failure) => return send_away(batch, &failure),
    };
    let calls = batch.iter().map(|waiting| (&waiting.operation, waiting.replay.as_ref()));
    let columns = Columns::of(calls);
    let number: i64 = rand::random();
    let mut arguments: Vec<&(dyn ToSql + Sync)> =
        vec![&slot.number, &slot.epoch, &number, &share.0];
    arguments.extend(columns.arguments());
    match flushed(connection, RUN, &arguments, |_| {}).await {
        Ok((connection, rows)) => {
            drop(connection);
            answer(batch, &rows);
        }
        Err(PostgresError::Lost(source)) => {
            tracing::debug!(error = %source, changes = batch.len(), "a batch's answer was lost");
            settle(batches, share, slot, number, batch).await;
        }
        Err(failure) => {
            if matches!(failure, PostgresError::Transient(_)) {
                batches.avoid(columns.locked().map(ObjectId));
            }
            send_away(batch, &failure);
        }
    }
}

/// A connection with a writer slot.
async fn connected(batches: &Batches) -> Result<(Pooled, Slot), PostgresError> {
    let connection = batches.pool.get_for_mutation(None).await?;
    let generation = batches.lease.generation();
    match connection.slot {
        Some(slot) if slot.generation == generation => Ok((connection, slot)),
        Some(_) | None => claimed(connection, generation, batches.pool.instance()).await,
    }
}

/// Has each change take its own way, on which it meets the failure by itself.
fn send_away(batch: Vec<Waiting>, failure: &PostgresError) {
    tracing::debug!(?failure, changes = batch.len(), "a batch was not carried out");
    batch.into_iter().for_each(|waiting| waiting.answer(Outcome::Alone));
}

/// Gives each call the rows that have its number, in the order of the calls.
fn answer(batch: Vec<Waiting>, rows: &[Row]) {
    let mut rest = rows;
    for (number, waiting) in (1_i64..).zip(batch) {
        let is_its =
            |row: &&Row| column::<i16>(row, BEHIND_OBJECT).is_ok_and(|it| i64::from(it) == number);
        let (its, others) = rest.split_at(rest.iter().take_while(is_its).count());
        rest = others;
        let outcome = match Reply::from_rows(its, waiting.fsid) {
            Ok(reply) => Outcome::Answered(reply),
            Err(error) => Outcome::Unknown(UnknownOutcome(error)),
        };
        waiting.answer(outcome);
    }
}

/// Finds out what became of a batch whose answer was lost.
async fn settle(batches: &Batches, share: ShareId, slot: Slot, number: i64, batch: Vec<Waiting>) {
    let question = Question {
        fencing: SETTLE,
        reading: SETTLED,
        arguments: &[&share.0, &slot.number, &slot.epoch, &number],
        slot: slot.number,
    };
    let results = match question.ask(&batches.pool).await {
        Ok(rows) => match rows.first() {
            None => Ok(None),
            Some(row) => column::<Vec<i64>>(row, 0).map(Some).map_err(UnknownOutcome),
        },
        Err(unknown) => Err(unknown),
    };
    let results = match results {
        Ok(None) => vec![-1; batch.len()],
        Ok(Some(results)) if results.len() == batch.len() => results,
        Ok(Some(results)) => {
            let error = damaged(format_args!("{} results of {} calls", results.len(), batch.len()));
            return leave_unknown(batch, &UnknownOutcome(error));
        }
        Err(unknown) => return leave_unknown(batch, &unknown),
    };
    for (waiting, result) in batch.into_iter().zip(results) {
        // A refusal was lost: the call decides anew.
        waiting.answer(if result < 0 { Outcome::Alone } else { Outcome::Settled(result) });
    }
}

fn leave_unknown(batch: Vec<Waiting>, unknown: &UnknownOutcome) {
    let text = unknown.0.to_string();
    for waiting in batch {
        waiting.answer(Outcome::Unknown(UnknownOutcome(Error::Backend(text.clone().into()))));
    }
}
