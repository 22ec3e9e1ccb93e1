//! Changes of several callers in one call of a function and one commit, while several servers change the
//! database.
//!
//! A caller decides on what it has read and queues its change. A task takes everything that is queued, never
//! waiting for more, has `run_batch` carry it out, and answers each; two tasks at most are under way, so that
//! one batch is carried out while the other waits for the disk. The function compares what each decision
//! rests on, as the functions of single calls do, and answers each call with a verdict of its own.
//!
//! Whatever a batch is not made for goes its own way: calls of an object whose changes conflict or whose lock
//! is held for long, calls while few are under way, and every call of a batch that has failed and changed
//! nothing.

mod operation;
mod settled;
mod writer;

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(super) use self::operation::{Kind, Operation, guard_of};
use self::writer::Writer;
use super::PostgresStore;
use super::execute::{Reply, Verdict};
use super::lease::Lease;
use super::pool::Pool;
use super::settle::UnknownOutcome;
use crate::counters::{Histogram, Measured, Readings};
use crate::metadata::cache::two_generations::TwoGenerationMap;
use crate::metadata::{Error, Share};
use crate::types::{
    Attributes, Bounds, Claimant, Context, FairQueue, Fsid, ObjectId, Phase, Replay, ShareId,
    Ticket,
};

/// The most calls of one batch.
const BATCH: usize = 128;
/// Batches of one share under way at once.
const WRITERS: usize = 2;
/// With fewer changes under way each takes its own way: a batch of one is not quicker than a single call.
const FEWEST: usize = 3;
/// How long an object is kept out of batches whose lock was waited for in vain, or whose changes conflict.
const AVOIDED: Duration = Duration::from_secs(4);
/// The most such objects that are remembered.
const MOST_AVOIDED: usize = 1 << 12;
/// The most objects of answers that are remembered.
const MOST_SEEN: usize = 1 << 13;

/// What is known of the objects of a change before it is sent, for an answer that was lost.
#[derive(Debug)]
pub(super) struct Known {
    /// The directory, or the object before the change.
    pub(super) place: Box<Attributes>,
    /// What is made or removed, or the object after the change.
    pub(super) object: Box<Attributes>,
}

/// What became of a change that was queued.
#[derive(Debug)]
enum Outcome {
    Answered(Reply),
    /// Nothing was changed: it is to take its own way.
    Alone,
    /// It was carried out, and the answer was lost. The file number of what it has made.
    Settled(i64),
    /// It may have been carried out.
    Unknown(UnknownOutcome),
}

/// A change that waits.
#[derive(Debug)]
struct Waiting {
    operation: Operation,
    replay: Option<Replay>,
    fsid: Fsid,
    answer: oneshot::Sender<Outcome>,
}

impl Waiting {
    /// A caller that is gone needs no answer.
    fn answer(self, outcome: Outcome) {
        self.answer.send(outcome).ok();
    }
}

/// The changes of a share.
#[derive(Debug)]
struct Lane {
    waiting: FairQueue<Claimant, Waiting>,
    /// Tasks that write.
    writers: usize,
}

impl Default for Lane {
    fn default() -> Self {
        Self { waiting: FairQueue::new(Bounds::CALLS), writers: 0 }
    }
}

/// The changes of one store.
#[derive(Debug)]
pub(super) struct Batches {
    pool: Arc<Pool>,
    lease: Arc<Lease>,
    /// A share without changes has no entry.
    lanes: Mutex<HashMap<ShareId, Lane>>,
    under_way: AtomicUsize,
    avoided: Mutex<HashMap<ObjectId, Instant>>,
    /// Objects as answers have last shown them. Others may have changed them since: a decision that rests on
    /// them holds only where the function finds the same mode, uid and gid.
    seen: Mutex<TwoGenerationMap<ObjectId, Attributes, RandomState>>,
    sizes: Histogram,
}

/// A change that is under way, in a batch or not.
#[derive(Debug)]
pub(super) struct UnderWay<'a> {
    batches: &'a Batches,
    /// How many are, with this one.
    count: usize,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.batches.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Measured for Batches {
    fn read(&self, to: &mut Readings) {
        let help = "Changes of one transaction while several servers use the database";
        to.histogram("trunkfs_postgres_shared_batch_changes", help, &[], &self.sizes);
    }
}

impl Batches {
    pub(super) fn new(pool: &Arc<Pool>, lease: &Arc<Lease>) -> Arc<Self> {
        Arc::new(Self {
            pool: Arc::clone(pool),
            lease: Arc::clone(lease),
            lanes: Mutex::default(),
            under_way: AtomicUsize::new(0),
            avoided: Mutex::default(),
            seen: Mutex::new(TwoGenerationMap::new(MOST_SEEN)),
            sizes: Histogram::of_batches(),
        })
    }

    pub(super) fn begin(&self) -> UnderWay<'_> {
        UnderWay { batches: self, count: self.under_way.fetch_add(1, Ordering::Relaxed) + 1 }
    }

    /// Keeps changes of these objects out of batches for a while: their locks are held for long, or they
    /// conflict.
    pub(super) fn avoid(&self, objects: impl Iterator<Item = ObjectId>) {
        let now = Instant::now();
        let mut avoided = self.avoided.lock();
        avoided.retain(|_, until| *until > now);
        for object in objects {
            if avoided.len() < MOST_AVOIDED {
                avoided.insert(object, now + AVOIDED);
            }
        }
    }

    fn is_avoided(&self, objects: &[ObjectId]) -> bool {
        let mut avoided = self.avoided.lock();
        if avoided.is_empty() {
            return false;
        }
        let now = Instant::now();
        avoided.retain(|_, until| *until > now);
        objects.iter().any(|object| avoided.contains_key(object))
    }

    /// An object as an answer has last shown it.
    pub(super) fn seen(&self, share: &Share, object: ObjectId) -> Option<Attributes> {
        self.seen.lock().get(&object).filter(|object| object.fsid == share.fsid).cloned()
    }

    /// Remembers the objects of an answer.
    fn see(&self, kind: Kind, reply: &Reply) {
        let shown = match (reply.verdict, kind) {
            (Verdict::Done, Kind::Make) => 1..3,
            (Verdict::Done, Kind::Remove | Kind::Set | Kind::Record) => 1..2,
            (Verdict::Again, _) => 0..1,
            (Verdict::NotEmpty | Verdict::Loop | Verdict::Superseded | Verdict::Gone, _) => return,
        };
        let mut seen = self.seen.lock();
        for stored in reply.objects().get(shown).into_iter().flatten().flatten() {
            seen.put(stored.attributes.id, stored.attributes.clone());
        }
    }

    /// Queues a change and waits for what becomes of it. Once it is sent that is awaited, whatever becomes of
    /// the call.
    async fn carry_out(
        self: &Arc<Self>,
        cx: &Context,
        share: &Share,
        operation: Operation,
    ) -> Result<Outcome, Error> {
        let (answer, mut answered) = oneshot::channel();
        let replay = cx.replay.filter(|_| operation.kind != Kind::Record);
        let waiting = Waiting { operation, replay, fsid: share.fsid, answer };
        let ticket = {
            let mut lanes = self.lanes.lock();
            let lane = lanes.entry(share.id).or_default();
            let Ok(ticket) = lane.waiting.push(cx.call.claimant, waiting) else {
                return Ok(Outcome::Alone);
            };
            if lane.writers < WRITERS {
                lane.writers += 1;
                tokio::spawn(writer::write_all(Writer::new(Arc::clone(self), share.id)));
            }
            ticket
        };
        let outcome = match cx.call.within(&mut answered).await {
            Some(outcome) => outcome,
            None if self.leave(share.id, &ticket) => return Err(Error::Cancelled),
            None => answered.await,
        };
        Ok(outcome.unwrap_or_else(|_| {
            let text = "the task that carries changes out has ended before its time";
            Outcome::Unknown(UnknownOutcome(Error::Backend(text.into())))
        }))
    }

    /// Takes a change out of the queue; false where a task has it.
    fn leave(&self, share: ShareId, ticket: &Ticket<Claimant>) -> bool {
        let mut lanes = self.lanes.lock();
        lanes.get_mut(&share).is_some_and(|lane| lane.waiting.remove(ticket).is_some())
    }
}

impl PostgresStore {
    /// Whether a change of these objects may be queued for a batch.
    pub(super) fn may_batch(&self, under_way: &UnderWay<'_>, objects: &[ObjectId]) -> bool {
        under_way.count >= FEWEST && !self.batches.is_avoided(objects)
    }

    /// Has a change carried out in a batch. The answer is durable, and so is everything that it rests on.
    /// `None` where nothing was changed and the change is to take its own way.
    pub(super) async fn in_batch(
        &self,
        cx: &Context,
        share: &Share,
        operation: Operation,
        known: Option<Known>,
    ) -> Result<Option<Reply>, Error> {
        let (kind, place, object) = (operation.kind, operation.place, operation.object);
        let carrying_out = self.batches.carry_out(cx, share, operation);
        match cx.call.timing.timed(Phase::Database, carrying_out).await? {
            Outcome::Answered(reply) => {
                self.batches.see(kind, &reply);
                Ok(Some(reply))
            }
            Outcome::Alone => Ok(None),
            Outcome::Settled(fileid) => {
                let change = settled::Settled { kind, place, object, fileid };
                let answering = change.answer(self, cx, share, known);
                cx.call.timing.timed(Phase::Away, answering).await.map(Some)
            }
            Outcome::Unknown(unknown) => Err(Error::Backend(Box::new(unknown))),
        }
    }
}
