//! A change on its way: one connection, from what is read to decide on to the call that changes something.
//!
//! The connection is taken first. Decided on before the wait for a connection, a change of a busy object
//! would be decided on values that are out of date by the time the call is sent.

use super::PostgresStore;
use super::execute::arguments;
use super::gates::Pass;
use super::pool::Pooled;
use super::retry::{Backoff, admit, within};
use crate::metadata::{Answer, Error};
use crate::types::{Context, ObjectId, Phase};

/// The most decisions on values that had changed by the time the call was made.
const DECISIONS: u32 = 64;

/// Waits until everything committed before it is durable, where that is not so already: what is in the log
/// and not yet on the disk, or not yet on the standbys that commits wait for. A standby's own answers rest on
/// what it has replayed.
const FLUSH_SEEN: &str = "
    SELECT CASE WHEN pg_is_in_recovery() THEN NULL
                WHEN current_setting('synchronous_standby_names') <> ''
                     OR pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn()
                THEN pg_logical_emit_message(true, 'trunkfs', '') END";

/// A change that is being decided on.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) backoff: Backoff,
    /// Kept between what is read and the call that follows, and given back while the database is waited for.
    pub(super) connection: Option<Pooled>,
    /// Held from what is read to the answer of the call that follows, but not while that waits for the disk.
    pub(super) passes: Vec<Pass>,
    /// The decision rests on what was read and may not be durable yet: another call commits first, so that
    /// its locks are free, and waits for the disk afterwards.
    pub(super) unflushed: bool,
    decisions: u32,
    /// The objects that are to be changed, in one order: two changes never wait for each other's pass.
    objects: Vec<ObjectId>,
}

impl Attempt {
    /// The objects that are to be changed.
    pub(super) fn objects(&self) -> impl Iterator<Item = ObjectId> {
        self.objects.iter().copied()
    }

    /// Before the decision is made again on values that have changed meanwhile.
    pub(super) fn decide_again(&mut self, cx: &Context) -> Result<(), Error> {
        self.decisions += 1;
        if self.decisions >= DECISIONS {
            let text = format!("gave up after {DECISIONS} conflicting changes of the same object");
            return Err(Error::Unavailable(text.into()));
        }
        self.passes.iter().for_each(Pass::narrow);
        admit(&cx.call)
    }
}

impl PostgresStore {
    /// Begins a change of `objects`, which are the directories that get or lose an entry, or the object
    /// itself.
    pub(super) fn attempt<const N: usize>(&self, objects: [ObjectId; N]) -> Attempt {
        let mut objects = objects.to_vec();
        objects.sort_unstable();
        objects.dedup();
        Attempt {
            backoff: Backoff::new(),
            connection: None,
            passes: Vec::new(),
            unflushed: false,
            decisions: 0,
            objects,
        }
    }

    /// Waits for the objects' turn, where the attempt has it not already.
    pub(super) async fn pass(&self, cx: &Context, attempt: &mut Attempt) -> Result<(), Error> {
        for &object in attempt.objects.iter().skip(attempt.passes.len()) {
            let passing = within(&cx.call, self.gates.pass(cx.call.claimant, object));
            let passed = cx.call.timing.timed(Phase::Connection, passing).await?;
            attempt.passes.push(passed.map_err(|full| Error::Unavailable(full.into()))?);
        }
        Ok(())
    }

    /// An operation's answer, once everything that it rests on is durable: a refusal, or a success that
    /// changed nothing, must not be taken back by a crash of the database (RFC 1813 section 4.8).
    pub(super) async fn durable<T>(
        &self,
        cx: &Context,
        mut attempt: Attempt,
        answer: Answer<T>,
    ) -> Answer<T> {
        if attempt.unflushed {
            self.read_for(cx, &mut attempt, FLUSH_SEEN, arguments![].into()).await?;
            self.shown(cx).await?;
        }
        answer
    }
}
