//! The task that writes while this process is alone with the database: it takes all calls that wait, decides
//! each on the tables as they are, and sends what they come to as one batch. The next batch is decided on
//! while the one before it is on its way; a call is answered when its batch is durable, and so is everything
//! that it rests on.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Alone;
use super::apply::Batch;
use super::fetch::{Fetched, WALKING, fetch};
use super::line::{Line, Refused, settle};
use super::tables::{Missing, Overlay, TablesError};
use crate::metadata::batch::{Job, Queue};
use crate::metadata::cache::Begun;
use crate::metadata::postgres::error::PostgresError;
use crate::metadata::postgres::retry::{PATIENCE, TRANSIENT_REPEATS, jittered};
use crate::metadata::{Error, Source};
use crate::types::Attributes;

/// How many calls go into one batch.
const MOST: usize = 256;
/// How many batches are on their way at once.
const MOST_FLIGHTS: usize = 2;
/// For so many batches names are not taken for free any more, after one that was not.
const CAUTIOUS: u32 = 64;

/// Calls, and the rows that were fetched for them.
type Answered = (Vec<Waiting>, Result<Fetched, Error>);
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A call that is not answered yet.
struct Waiting {
    job: Box<dyn Job<Overlay>>,
    /// How often rows were fetched for it.
    fetches: u32,
    /// How often its batch was not applied.
    repeats: u32,
}

/// A batch on its way.
struct Flight {
    number: i64,
    calls: Vec<Waiting>,
    begun: Begun,
    /// The objects as they are after it.
    now: Vec<Attributes>,
}

/// The writer, for as long as it has a slot.
pub(super) struct Writer<'a> {
    alone: &'a Alone,
    queue: Arc<Queue<Overlay>>,
    line: Line,
    overlay: Overlay,
    flights: VecDeque<Flight>,
    answers: FuturesOrdered<BoxFuture<Result<(), Refused>>>,
    fetches: FuturesUnordered<BoxFuture<Answered>>,
    /// Calls to be decided on.
    ready: VecDeque<Waiting>,
    /// Calls that ask about entries which a batch under way changes.
    postponed: Vec<Waiting>,
    is_drawing: bool,
    cautious: u32,
    /// So many calls are carried out each by itself, so that none fails for another's sake.
    single: usize,
    /// An operation has failed half done: what is known is forgotten once nothing is on its way.
    is_doubtful: bool,
}

/// Why a writer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It was told to, or its slot is another's.
    Over,
}

impl<'a> Writer<'a> {
    pub(super) fn new(alone: &'a Alone, queue: Arc<Queue<Overlay>>, line: Line) -> Self {
        Self {
            alone,
            queue,
            line,
            overlay: Overlay::new(Arc::clone(&alone.shares)),
            flights: VecDeque::new(),
            answers: FuturesOrdered::new(),
            fetches: FuturesUnordered::new(),
            ready: VecDeque::new(),
            postponed: Vec::new(),
            is_drawing: false,
            cautious: 0,
            single: 0,
            is_doubtful: false,
        }
    }

    /// Carries calls out until it is told to stop, or cannot go on. The batches on their way are brought to
    /// their end; every other call has changed nothing then, and its caller takes the shared path. Gives the
    /// connection back.
    pub(super) async fn run(mut self, stop: &CancellationToken) -> Line {
        while self.step(stop).await.is_ok() {}
        self.queue.close();
        while let Some(outcome) = self.answers.next().await {
            match outcome {
                Ok(()) => self.land(),
                Err(refused) => {
                    let (_, calls) = self.ground(refused).await;
                    drop(calls);
                }
            }
        }
        self.queue.abandon();
        self.line
    }

    async fn step(&mut self, stop: &CancellationToken) -> Result<(), End> {
        if self.is_doubtful && self.flights.is_empty() {
            self.overlay.forget();
            self.is_doubtful = false;
        }
        if let Some(least) = self.least()
            && self.ready.len() + self.queue.len() >= least
        {
            let calls = self.take();
            self.decide(calls);
            return Ok(());
        }
        let awaited = self.least().map(|least| least.saturating_sub(self.ready.len()));
        tokio::select! {
            biased;
            Some(outcome) = self.answers.next(), if !self.answers.is_empty() => match outcome {
                Ok(()) => self.land(),
                Err(refused) => return self.recover(refused, stop).await,
            },
            Some((calls, fetched)) = self.fetches.next(), if !self.fetches.is_empty() => {
                self.learn(calls, fetched);
            }
            () = stop.cancelled() => return Err(End::Over),
            () = self.queue.ready(awaited.unwrap_or(1)), if awaited.is_some() => {
                if self.queue.is_closed() {
                    return Err(End::Over);
                }
            }
        }
        Ok(())
    }

    /// How many calls the next batch is to have at least, where one may be sent. While a batch is on its way,
    /// a smaller one would only delay the calls that come right after it.
    fn least(&self) -> Option<usize> {
        match self.flights.back() {
            None => Some(1),
            Some(_)
                if self.single > 0 || self.is_doubtful || self.flights.len() >= MOST_FLIGHTS =>
            {
                None
            }
            Some(flight) => Some(flight.calls.len().clamp(1, MOST)),
        }
    }

    /// The calls of the next batch.
    fn take(&mut self) -> Vec<Waiting> {
        let most = if self.single > 0 { 1 } else { MOST };
        self.single = self.single.saturating_sub(1);
        let taken = self.ready.len().min(most);
        let mut calls: Vec<Waiting> = self.ready.drain(..taken).collect();
        let fresh = self.queue.take_now(most - taken).into_iter();
        calls.extend(fresh.map(|job| Waiting { job, fetches: 0, repeats: 0 }));
        calls.retain_mut(|call| call.job.is_wanted());
        self.alone.batches.count(calls.len() as u64);
        calls
    }

    /// Decides calls, and sends what they come to.
    fn decide(&mut self, calls: Vec<Waiting>) {
        let mut missing = Missing::default();
        let (mut decided, mut incomplete) = (Vec::with_capacity(calls.len()), Vec::new());
        for mut call in calls {
            match self.overlay.attempt(|tables| call.job.run(tables)) {
                Ok(()) => decided.push(call),
                Err(TablesError::Missing(rows)) => {
                    missing.add(*rows);
                    call.fetches += 1;
                    incomplete.push(call);
                }
                Err(TablesError::Unsettled) => self.postponed.push(call),
                Err(TablesError::Damaged(error)) => {
                    call.job.fail(error);
                    self.is_doubtful = true;
                }
            }
        }
        if self.is_doubtful {
            self.single += decided.len();
            decided.into_iter().rev().for_each(|call| self.ready.push_front(call));
        } else {
            self.send(decided);
        }
        if self.overlay.numbers.are_few() && !self.is_drawing {
            missing.numbers = true;
            self.is_drawing = true;
        }
        if missing.numbers || !incomplete.is_empty() {
            let walking = incomplete.iter().any(|call| call.fetches >= WALKING);
            let moment = self.overlay.moment();
            // In a task of its own: while the outcome of a batch is awaited no fetch is polled, and its
            // connection of the pool may be the last one.
            let fetching =
                tokio::spawn(fetch(Arc::clone(&self.alone.pool), missing, moment, walking));
            self.fetches.push(Box::pin(async move {
                let fetched = fetching.await;
                (
                    incomplete,
                    fetched.unwrap_or_else(|panicked| Err(Error::Backend(Box::new(panicked)))),
                )
            }));
        }
    }

    /// Sends what decided calls come to. Where that is nothing, they are answered with what they rest on:
    /// with the batch before them, or at once while nobody else can have changed a row. Without a licence
    /// somebody can, and they go the shared path.
    fn send(&mut self, mut decided: Vec<Waiting>) {
        if !self.overlay.has_changes() {
            self.overlay.drop_replies();
            match self.flights.back_mut() {
                Some(flight) => flight.calls.append(&mut decided),
                None if self.alone.lease.is_licensed() => {
                    decided.iter_mut().for_each(|call| call.job.answer());
                }
                None => drop(decided),
            }
            return;
        }
        let changes = self.overlay.take_changes();
        let batch = match Batch::of(&changes, &mut self.overlay) {
            Ok(batch) => batch,
            Err(error) => {
                let error = Arc::new(error);
                for call in &mut decided {
                    call.job.fail(Error::Damaged(error.to_string()));
                }
                self.is_doubtful = true;
                return;
            }
        };
        let begun = self.alone.cache.begin(self.overlay.touched(&changes));
        let ids = begun.touched().objects.iter();
        let now = ids.filter_map(|id| Some(self.overlay.stored(*id)?.attributes.clone())).collect();
        let (number, way) = self.line.send(batch);
        self.answers.push_back(Box::pin(way));
        self.flights.push_back(Flight { number, calls: decided, begun, now });
    }

    /// The oldest batch on its way is durable.
    fn land(&mut self) {
        let Some(mut flight) = self.flights.pop_front() else { return };
        self.overlay.applied();
        self.alone.cache.end(&flight.begun, Some(flight.now.iter()));
        flight.calls.iter_mut().for_each(|call| call.job.answer());
        self.ready.extend(self.postponed.drain(..));
        if self.cautious > 0 {
            self.cautious -= 1;
            self.overlay.be_cautious(self.cautious > 0);
        }
    }

    /// Rows that were fetched for calls, which are decided on again.
    fn learn(&mut self, mut calls: Vec<Waiting>, fetched: Result<Fetched, Error>) {
        self.is_drawing = false;
        let learned = fetched.and_then(|it| it.learn(&mut self.overlay, &self.alone.shares));
        match learned {
            Ok(()) => self.ready.extend(calls),
            Err(Error::Damaged(text)) => {
                calls.iter_mut().for_each(|call| call.job.fail(Error::Damaged(text.clone())));
            }
            // Nothing was changed: the callers take the shared path, which reports the fault.
            Err(error) => tracing::debug!(%error, calls = calls.len(), "rows were not fetched"),
        }
    }

    /// After a batch that was refused: whatever of it and of those behind it was not applied is tried again.
    async fn recover(&mut self, refused: Refused, stop: &CancellationToken) -> Result<(), End> {
        let was_cautious = self.cautious > 0;
        let (refused, mut calls) = self.ground(refused).await;
        let failure = match refused {
            Refused::NameTaken(_) if !was_cautious => {
                self.cautious = CAUTIOUS;
                self.overlay.be_cautious(true);
                self.again(calls);
                return Ok(());
            }
            Refused::NameTaken(failure) | Refused::Failed(failure) => failure,
        };
        match failure {
            PostgresError::Transient(source) => {
                self.give_up_on(&mut calls, &source);
                self.single += calls.len();
                self.again(calls);
                tokio::time::sleep(jittered(1)).await;
                Ok(())
            }
            PostgresError::Refused(error) => {
                if let [call] = calls.as_mut_slice() {
                    call.job.fail(error);
                } else {
                    self.single += calls.len();
                    self.again(calls);
                }
                Ok(())
            }
            PostgresError::Lost(_) | PostgresError::Retired(_) => {
                // The instance that fenced this slot may have changed rows.
                self.overlay.forget();
                self.again(calls);
                tokio::select! {
                    biased;
                    () = stop.cancelled() => Err(End::Over),
                    reopened = self.reopen() => reopened,
                }
            }
            PostgresError::ReadOnly(_) | PostgresError::NotJoined(_) => Err(End::Over),
        }
    }

    /// Calls that were repeated too often fail.
    fn give_up_on(&self, calls: &mut Vec<Waiting>, source: &Source) {
        calls.retain_mut(|call| {
            call.repeats += 1;
            let goes_on = call.repeats <= TRANSIENT_REPEATS;
            if !goes_on {
                call.job.fail(Error::Unavailable(source.to_string().into()));
            }
            goes_on
        });
    }

    /// Calls are decided on again, before the others.
    fn again(&mut self, calls: Vec<Waiting>) {
        calls.into_iter().rev().for_each(|call| self.ready.push_front(call));
    }

    /// Waits for all batches on their way, of which the first was refused; answers the calls whose changes
    /// are there for all that, and gives the others back. Rows that they touch are met anew.
    async fn ground(&mut self, refused: Refused) -> (Refused, Vec<Waiting>) {
        let mut is_lost = refused.may_be_applied();
        self.flights.iter().for_each(|flight| self.alone.cache.doubt(&flight.begun));
        while let Some(outcome) = self.answers.next().await {
            // One behind a batch that was refused is refused too.
            is_lost |= outcome.map_or_else(|refused| refused.may_be_applied(), |()| true);
        }
        let applied = match is_lost {
            true => settle(&self.alone.pool, self.line.slot).await.map_err(Arc::new),
            false => Ok(0),
        };
        if let Some(first) = self.flights.front() {
            self.line.repeat_from(first.number);
        }
        let mut calls = Vec::new();
        for mut flight in std::mem::take(&mut self.flights) {
            self.alone.cache.end(&flight.begun, None::<std::slice::Iter<'_, Attributes>>);
            match &applied {
                Ok(last) if flight.number <= *last => {
                    flight.calls.iter_mut().for_each(|call| call.job.answer());
                }
                Ok(_) => {
                    self.overlay.retract(flight.begun.touched());
                    calls.append(&mut flight.calls);
                }
                Err(unknown) => {
                    for call in &mut flight.calls {
                        call.job.fail(Error::Backend(Box::new(Arc::clone(unknown))));
                    }
                }
            }
        }
        if is_lost {
            self.overlay.forget();
        }
        self.ready.extend(self.postponed.drain(..));
        (refused, calls)
    }

    /// Makes the connection anew, for as long as a call waits for a database that is away.
    async fn reopen(&mut self) -> Result<(), End> {
        let since = Instant::now();
        let mut repeat = 0;
        loop {
            match Line::open(&self.alone.settings, self.alone.instance).await {
                Ok(line) => {
                    self.line = line;
                    return Ok(());
                }
                Err(PostgresError::NotJoined(_) | PostgresError::ReadOnly(_)) => {
                    return Err(End::Over);
                }
                Err(failure) if since.elapsed() >= PATIENCE => {
                    tracing::debug!(?failure, "the writer's connection");
                    return Err(End::Over);
                }
                Err(_) => {}
            }
            repeat += 1;
            tokio::time::sleep(jittered(repeat)).await;
        }
    }
}
