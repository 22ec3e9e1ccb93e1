//! Calls on connections: reads, which may be abandoned, and mutations, whose outcome is always found out.
//!
//! Every call runs in a task of its own that holds the connection: a caller that goes away leaves neither a
//! connection that is still busy to the next caller, nor a mutation without an end.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::PostgresStore;
use super::attempt::Attempt;
use super::error::PostgresError;
use super::gates::Pass;
use super::lease::{HeldHere, Mode};
use super::pool::{Pool, Pooled, ReadOnlyReason};
use super::read::View;
use super::retry::{Backoff, within};
use super::rows::{self, Stored};
use super::session::{self, ServerStart, Slot};
use super::settle::Question;
use crate::metadata::{Change, Error, Source};
use crate::types::{Context, Fsid, ObjectId, Phase, ShareId};

/// An argument of a statement.
pub(super) type Argument = Box<dyn ToSql + Send + Sync>;

/// Arguments as the driver takes them.
pub(super) fn borrowed(arguments: &[Argument]) -> Vec<&(dyn ToSql + Sync)> {
    arguments.iter().map(|it| it.as_ref() as &(dyn ToSql + Sync)).collect()
}

/// A statement's arguments.
macro_rules! arguments {
    ($($value:expr),* $(,)?) => { vec![$(Box::new($value) as $crate::metadata::postgres::execute::Argument),*] };
}
pub(super) use arguments;

/// Waits until everything committed before it is durable: its own commit is a synchronous one. Sent right
/// behind a mutation, which commits without waiting so that its row locks are free while the disk turns
/// (`finish`).
pub(super) const FLUSH: &str = "SELECT pg_logical_emit_message(true, 'trunkfs', '')";
const SETTLE: &str = "SELECT * FROM settle($1, $2, $3, $4)";
/// What [`SETTLE`] answers. The epoch of a slot that was given up is negative.
const SETTLED: &str = "
    SELECT 0::smallint, o.* FROM writer_slots w, unnest(w.last_answer) o
     WHERE w.share_id = $1 AND w.slot = $2 AND abs(w.epoch) = $3 AND w.last_batch = $4";

/// What a function says of its call; the numbers of `answer.verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    /// The values that the decision rests on have changed. The answer has the present ones.
    Again,
    /// A directory that must be empty is not.
    NotEmpty,
    /// A directory would become its own descendant.
    Loop,
    /// The content is another one.
    Superseded,
    /// The object is gone.
    Gone,
}

impl Verdict {
    fn from_number(number: i16) -> Result<Self, Error> {
        Ok(match number {
            0 => Self::Done,
            1 => Self::Again,
            2 => Self::NotEmpty,
            3 => Self::Loop,
            4 => Self::Superseded,
            5 => Self::Gone,
            other => return Err(rows::damaged(format_args!("verdict {other}"))),
        })
    }
}

/// A function's answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) verdict: Verdict,
    objects: std::vec::IntoIter<Option<Stored>>,
}

/// What was read, and where.
#[derive(Debug)]
pub(super) struct Read<T> {
    pub(super) value: T,
    pub(super) server: ServerStart,
}

impl<T> Read<T> {
    /// Another value that was read there.
    pub(super) fn with<U>(&self, value: U) -> Read<U> {
        Read { value, server: self.server }
    }

    pub(super) fn try_map<U, E>(self, map: impl FnOnce(T) -> Result<U, E>) -> Result<Read<U>, E> {
        Ok(Read { value: map(self.value)?, server: self.server })
    }
}

/// A connection, and the rows that a statement on it gave. The connection goes back to the pool where the
/// caller is gone.
pub(super) type Executed = Result<(Pooled, Vec<Row>), PostgresError>;
/// The same of a mutation, with the passes of its attempt where the decision is to be made again.
type Sent = Result<(Pooled, Vec<Row>, Vec<Pass>), PostgresError>;

impl Reply {
    pub(super) fn of(verdict: Verdict, objects: Vec<Option<Stored>>) -> Self {
        Self { verdict, objects: objects.into_iter() }
    }

    pub(super) fn from_rows(rows: &[Row], fsid: Fsid) -> Result<Self, Error> {
        let first = rows.first().ok_or_else(|| rows::damaged("a function gave no answer"))?;
        let verdict = Verdict::from_number(rows::number(first)?)?;
        let objects: Result<Vec<_>, _> = rows.iter().map(|row| rows::object(row, fsid)).collect();
        Ok(Self::of(verdict, objects?))
    }

    /// The present values of what a decision rests on, by the places that [`View`] has for them.
    pub(super) fn into_view(self) -> View {
        View::of(self.objects)
    }

    /// The objects that were not taken yet.
    pub(super) fn objects(&self) -> &[Option<Stored>] {
        self.objects.as_slice()
    }

    /// The next object, where there is one.
    pub(super) fn next_if_there(&mut self) -> Option<crate::types::Attributes> {
        self.objects.next().flatten().map(|stored| stored.attributes)
    }

    /// The next object, which must be there.
    pub(super) fn next(&mut self) -> Result<crate::types::Attributes, Error> {
        self.next_if_there().ok_or_else(|| rows::damaged("an answer lacks an object"))
    }

    /// The next object before, where that is known, and behind it the same object after.
    pub(super) fn change(&mut self) -> Result<Change, Error> {
        Ok(Change { before: self.next_if_there(), after: self.next()? })
    }
}

/// A call of a function that changes something; `arguments` follow the writer's slot, epoch, batch and the
/// share.
#[derive(Debug)]
pub(super) struct Mutation {
    pub(super) statement: &'static str,
    /// The same with three parameters more, by which the call is recorded where it may be repeated.
    pub(super) recorded: Option<&'static str>,
    pub(super) arguments: Vec<Argument>,
    /// What it makes.
    pub(super) made: Option<ObjectId>,
}

/// What is needed to find out what became of a call.
#[derive(Clone, Copy, Debug)]
struct Ticket {
    share: ShareId,
    slot: Slot,
    batch: i64,
}

impl Mutation {
    /// Records the call, where it is one that may be repeated.
    fn for_call(mut self, cx: &Context) -> Self {
        if let (Some(statement), Some(call)) = (self.recorded, &cx.replay) {
            self.statement = statement;
            let made = self.made.map(|made| made.0);
            self.arguments.extend(arguments![call.peer, call.key, made]);
        }
        self
    }
}

impl PostgresStore {
    /// Runs a statement that changes nothing.
    pub(super) async fn read(
        &self,
        cx: &Context,
        statement: &'static str,
        arguments: Vec<Argument>,
    ) -> Result<Read<Vec<Row>>, Error> {
        let arguments = Arc::new(arguments);
        let mut backoff = Backoff::new();
        loop {
            let connecting = within(&cx.call, self.pool.get(cx.call.claimant));
            let failure = match self.connected(cx, connecting).await? {
                Ok(connection) => {
                    let task = query(connection, statement, Arc::clone(&arguments));
                    match cx
                        .call
                        .timing
                        .timed(Phase::Database, within(&cx.call, finished(task)))
                        .await?
                    {
                        Ok((connection, value)) => {
                            return Ok(Read { value, server: connection.server });
                        }
                        Err(failure) => failure,
                    }
                }
                Err(failure) => failure,
            };
            backoff.pause(&cx.call, failure).await?;
        }
    }

    /// Waits for a connection. Where none can be made, before or after, the database was away.
    async fn connected<T>(&self, cx: &Context, connecting: impl Future<Output = T>) -> T {
        let was_lost = self.pool.is_lost();
        let phase =
            || if was_lost || self.pool.is_lost() { Phase::Away } else { Phase::Connection };
        cx.call.timing.timed_as(phase, connecting).await
    }

    /// Runs a statement that changes nothing on the connection of an attempt at a change, which the attempt
    /// keeps.
    pub(super) async fn read_for(
        &self,
        cx: &Context,
        attempt: &mut Attempt,
        statement: &'static str,
        arguments: Arc<Vec<Argument>>,
    ) -> Result<Vec<Row>, Error> {
        loop {
            let failure = match self.connection(cx, attempt).await? {
                Ok(connection) => {
                    let task = query(connection, statement, Arc::clone(&arguments));
                    match cx
                        .call
                        .timing
                        .timed(Phase::Database, within(&cx.call, finished(task)))
                        .await?
                    {
                        Ok((connection, rows)) => {
                            attempt.connection = Some(connection);
                            return Ok(rows);
                        }
                        Err(failure) => failure,
                    }
                }
                Err(failure) => failure,
            };
            attempt.backoff.pause(&cx.call, failure).await?;
        }
    }

    /// The connection that an attempt has, or one of those that changes may use.
    async fn connection(
        &self,
        cx: &Context,
        attempt: &mut Attempt,
    ) -> Result<Result<Pooled, PostgresError>, Error> {
        if let Some(connection) = attempt.connection.take() {
            return Ok(Ok(connection));
        }
        self.pass(cx, attempt).await?;
        let connecting = within(&cx.call, self.pool.get_for_mutation(cx.call.claimant));
        self.connected(cx, connecting).await
    }

    /// The same with a writer slot.
    async fn writer(
        &self,
        cx: &Context,
        attempt: &mut Attempt,
    ) -> Result<Result<(Pooled, Slot), PostgresError>, Error> {
        let connection = match self.connection(cx, attempt).await? {
            Ok(connection) => connection,
            Err(failure) => return Ok(Err(failure)),
        };
        let generation = self.lease.generation();
        if let Some(slot) = connection.slot
            && slot.generation == generation
        {
            return Ok(Ok((connection, slot)));
        }
        let reason = connection.read_only_reason();
        let claiming = tokio::spawn(claimed(connection, generation, self.pool.instance()));
        let claiming = async {
            claiming.await.unwrap_or_else(|panicked| Err(PostgresError::Lost(Box::new(panicked))))
        };
        Ok(match cx.call.timing.timed(Phase::Connection, within(&cx.call, claiming)).await? {
            Err(PostgresError::ReadOnly(source)) => Err(self.refused(reason, source)),
            claimed => claimed,
        })
    }

    /// The failure of a change that a server refused because it is read-only. Where it may be otherwise by
    /// now, every idle connection is as old as that, and is given up.
    pub(super) fn refused(&self, reason: ReadOnlyReason, source: Source) -> PostgresError {
        match reason {
            ReadOnlyReason::Configured => PostgresError::ReadOnly(source),
            ReadOnlyReason::Failover => {
                self.pool.renew_idle();
                PostgresError::Retired(source)
            }
        }
    }

    /// Runs a mutation. Once it is sent its outcome is awaited, whatever becomes of the call: an error says
    /// that nothing was changed, unless it says that the outcome is not known. The answer is durable, and so
    /// is everything that it rests on. The attempt keeps its connection where the decision is to be made
    /// again.
    pub(super) async fn mutate(
        &self,
        cx: &Context,
        attempt: &mut Attempt,
        fsid: Fsid,
        mutation: Mutation,
    ) -> Result<Reply, Error> {
        let mutation = Arc::new(mutation.for_call(cx));
        let share = cx.share;
        attempt.unflushed = false;
        loop {
            let failure = match self.writer(cx, attempt).await? {
                Ok((connection, slot)) => {
                    let ticket = Ticket { share, slot, batch: rand::random() };
                    let mutation = Arc::clone(&mutation);
                    let reason = connection.read_only_reason();
                    let passes = std::mem::take(&mut attempt.passes);
                    let task =
                        tokio::spawn(
                            async move { send(connection, &mutation, ticket, passes).await },
                        );
                    match cx.call.timing.timed(Phase::Database, finished(task)).await {
                        Ok((connection, rows, passes)) => {
                            let reply = Reply::from_rows(&rows, fsid)?;
                            if reply.verdict == Verdict::Again {
                                attempt.connection = Some(connection);
                                attempt.passes = passes;
                            }
                            return Ok(reply);
                        }
                        Err(PostgresError::Lost(source)) => {
                            let settling = self.settle(ticket);
                            let applied = cx.call.timing.timed(Phase::Away, settling).await?;
                            if !applied.is_empty() {
                                return Reply::from_rows(&applied, fsid);
                            }
                            PostgresError::Lost(source)
                        }
                        Err(PostgresError::ReadOnly(source)) => self.refused(reason, source),
                        Err(failure) => failure,
                    }
                }
                Err(failure) => failure,
            };
            if matches!(failure, PostgresError::Transient(_)) {
                self.batches.avoid(attempt.objects());
            }
            let failure = match failure {
                PostgresError::NotJoined(source) => match self.enter(cx, attempt, source).await? {
                    Ok(()) => continue,
                    Err(failure) => failure,
                },
                other => other,
            };
            attempt.backoff.pause(&cx.call, failure).await?;
        }
    }

    /// Joins those that change rows. The call goes on afterwards, unless the lease is overtaken time and
    /// again.
    async fn enter(
        &self,
        cx: &Context,
        attempt: &mut Attempt,
        source: Source,
    ) -> Result<Result<(), PostgresError>, Error> {
        attempt.backoff.after(PostgresError::NotJoined(source))?;
        Ok(
            match cx
                .call
                .timing
                .timed(Phase::Database, within(&cx.call, self.lease.enter()))
                .await?
            {
                Ok(Mode::Shared) => Ok(()),
                Ok(Mode::Alone) => return Err(Error::Unavailable(Box::new(HeldHere))),
                Err(PostgresError::NotJoined(source)) => return Err(Error::Unavailable(source)),
                Err(failure) => Err(failure),
            },
        )
    }

    /// Runs a statement that may be repeated, for a caller without a context.
    pub(super) async fn ask(
        &self,
        statement: &'static str,
        arguments: Vec<Argument>,
    ) -> Result<Vec<Row>, Error> {
        let arguments = Arc::new(arguments);
        let mut backoff = Backoff::new();
        loop {
            let failure = match self.pool.get(None).await {
                Ok(connection) => {
                    match finished(query(connection, statement, Arc::clone(&arguments))).await {
                        Ok((_, rows)) => return Ok(rows),
                        Err(failure) => failure,
                    }
                }
                Err(failure) => failure,
            };
            tokio::time::sleep(backoff.after(failure)?).await;
        }
    }

    /// Finds out what became of a call whose answer was lost: its answer, or nothing where it was not applied
    /// and never will be.
    async fn settle(&self, ticket: Ticket) -> Result<Vec<Row>, Error> {
        let Ticket { share, slot, batch } = ticket;
        let question = Question {
            fencing: SETTLE,
            reading: SETTLED,
            arguments: &[&share.0, &slot.number, &slot.epoch, &batch],
            slot: slot.number,
        };
        question.ask(&self.pool).await.map_err(|unknown| Error::Backend(Box::new(unknown)))
    }
}

/// Claims a writer slot for a connection that has none, or one of an earlier generation. Nothing is applied
/// where it fails.
pub(super) async fn claimed(
    mut connection: Pooled,
    generation: u64,
    instance: Uuid,
) -> Result<(Pooled, Slot), PostgresError> {
    let earlier = connection.slot.take();
    let claiming = async {
        if let Some(slot) = earlier {
            session::release(&connection.client, slot).await?;
        }
        session::claim(&connection.client, generation, instance).await
    };
    match tokio::time::timeout(connection.call_limit, claiming).await {
        Ok(Ok(slot)) => {
            connection.slot = Some(slot);
            Ok((connection, slot))
        }
        Ok(Err(failure)) => {
            if failure.ends_connection() {
                drop(Pooled::take(connection));
            }
            Err(failure)
        }
        Err(late) => {
            drop(Pooled::take(connection));
            Err(PostgresError::Lost(Box::new(late)))
        }
    }
}

/// One try of a statement that changes nothing, for a caller that will not be dropped before it ends.
pub(super) async fn query_once(
    pool: &Pool,
    statement: &'static str,
    arguments: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, PostgresError> {
    read_once(pool, statement, arguments).await.map(|read| read.value)
}

/// The same, with the server that was asked.
pub(super) async fn read_once(
    pool: &Pool,
    statement: &'static str,
    arguments: &[&(dyn ToSql + Sync)],
) -> Result<Read<Vec<Row>>, PostgresError> {
    let (connection, value) = execute(pool.get(None).await?, statement, arguments).await?;
    Ok(Read { value, server: connection.server })
}

/// A read in a task of its own.
fn query(
    connection: Pooled,
    statement: &'static str,
    arguments: Arc<Vec<Argument>>,
) -> JoinHandle<Executed> {
    tokio::spawn(async move { execute(connection, statement, &borrowed(&arguments)).await })
}

pub(super) async fn finished<T>(
    task: JoinHandle<Result<T, PostgresError>>,
) -> Result<T, PostgresError> {
    task.await.unwrap_or_else(|panicked| Err(PostgresError::Lost(Box::new(panicked))))
}

async fn send(
    connection: Pooled,
    mutation: &Mutation,
    ticket: Ticket,
    mut passes: Vec<Pass>,
) -> Sent {
    let Ticket { share, slot, batch } = ticket;
    let mut arguments: Vec<&(dyn ToSql + Sync)> = vec![&slot.number, &slot.epoch, &batch, &share.0];
    arguments.extend(borrowed(&mutation.arguments));
    let answered = |done: Option<&[Row]>| match done {
        Some(rows) if is_again(rows) => {}
        // The next change of the objects need not wait for the disk.
        Some(_) => passes.clear(),
        // Of a lock that was waited for in vain, among others.
        None => passes.iter().for_each(Pass::narrow),
    };
    let (connection, rows) = flushed(connection, mutation.statement, &arguments, answered).await?;
    Ok((connection, rows, passes))
}

/// Runs a statement that changes something, with [`FLUSH`] right behind it. `answered` gets its rows before
/// they are durable, or nothing where it has failed.
pub(super) async fn flushed(
    connection: Pooled,
    statement: &'static str,
    arguments: &[&(dyn ToSql + Sync)],
    answered: impl FnOnce(Option<&[Row]>),
) -> Executed {
    let client = &connection.client;
    let call = async {
        let prepare = |statement| client.prepare_cached(statement);
        let prepared = prepare(statement).await.map_err(PostgresError::in_flight)?;
        let flush = prepare(FLUSH).await.map_err(PostgresError::in_flight)?;
        let answer = async {
            let done = client.query(&prepared, arguments).await;
            answered(done.as_deref().ok());
            done
        };
        // Polled in this order, both leave in one flight.
        let (done, flushed) = tokio::join!(answer, client.execute(&flush, &[]));
        let done = done.map_err(PostgresError::in_flight)?;
        // Done, but perhaps not durable: whatever the reason, the outcome has to be settled.
        flushed.map_err(|error| PostgresError::Lost(Box::new(error)))?;
        Ok(done)
    };
    let began = Instant::now();
    let outcome = bounded(connection.call_limit, call).await;
    connection.statements.count(statement, began.elapsed());
    give_back(connection, outcome)
}

/// Whether an answer's verdict is [`Verdict::Again`].
fn is_again(rows: &[Row]) -> bool {
    let number = rows.first().and_then(|row| rows::number(row).ok());
    number.and_then(|number| Verdict::from_number(number).ok()) == Some(Verdict::Again)
}

/// One round trip, two where the connection meets the statement for the first time.
async fn execute(
    connection: Pooled,
    statement: &'static str,
    arguments: &[&(dyn ToSql + Sync)],
) -> Executed {
    let client = &connection.client;
    let call = async {
        let prepared = client.prepare_cached(statement).await.map_err(PostgresError::in_flight)?;
        client.query(&prepared, arguments).await.map_err(PostgresError::in_flight)
    };
    let began = Instant::now();
    let outcome = bounded(connection.call_limit, call).await;
    connection.statements.count(statement, began.elapsed());
    give_back(connection, outcome)
}

/// Waits for a call as long as one may take.
async fn bounded(
    limit: Duration,
    call: impl Future<Output = Result<Vec<Row>, PostgresError>>,
) -> Result<Vec<Row>, PostgresError> {
    match tokio::time::timeout(limit, call).await {
        Ok(outcome) => outcome,
        Err(late) => Err(PostgresError::Lost(Box::new(late))),
    }
}

/// Closes a connection that is of no more use after `outcome`.
fn give_back(connection: Pooled, outcome: Result<Vec<Row>, PostgresError>) -> Executed {
    match outcome {
        Ok(rows) => Ok((connection, rows)),
        Err(failure) => {
            if failure.ends_connection() {
                drop(Pooled::take(connection));
            }
            Err(failure)
        }
    }
}
