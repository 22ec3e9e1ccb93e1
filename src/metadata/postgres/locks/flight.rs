//! Calls of the lock functions: each its own transaction, on a connection without a writer slot. All can be
//! repeated, so that a call whose connection was lost is made again; but not before the session that had it
//! has ended, since a late UNLOCK would give back what its client has locked anew.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout};
use tokio_postgres::Row;

use crate::metadata::Error;
use crate::metadata::postgres::PostgresStore;
use crate::metadata::postgres::error::PostgresError;
use crate::metadata::postgres::execute::{Argument, FLUSH, borrowed, finished, query_once};
use crate::metadata::postgres::pool::{Pool, Pooled, ReadOnlyReason};
use crate::metadata::postgres::retry::{Backoff, jittered, within};
use crate::types::{Call, Phase};

/// A call that is older changes nothing: a server that was paused must not undo what its client has done
/// since by another.
const OLDEST: Duration = Duration::from_secs(8);

/// Marks the session, and asks for its time.
/// Shared, so that two sessions with one number do not wait for each other.
const MARK: &str = "SELECT pg_advisory_lock_shared(19797, $1), clock_timestamp()";
/// Whether the marked session has ended. A standby does not have the locks of its primary.
const HAS_ENDED: &str = "SELECT NOT pg_is_in_recovery() AND pg_try_advisory_xact_lock(19797, $1)";

/// What the lock functions must know of a connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::metadata::postgres) struct Mark {
    /// The number of the advisory lock that the session has until it ends.
    number: i32,
    /// A time of the database, and a later one here.
    time: SystemTime,
    at: Instant,
}

impl Mark {
    /// A moment by the clock of the database, or shortly before it.
    fn time_of(self, moment: Instant) -> SystemTime {
        let since = moment.saturating_duration_since(self.at);
        let before = self.at.saturating_duration_since(moment);
        (self.time + since).checked_sub(before).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// A call that failed.
struct Failed {
    failure: PostgresError,
    /// Of the session that may still carry it out.
    mark: Option<Mark>,
    /// Why its server takes no changes, where it does not.
    reason: ReadOnlyReason,
}

impl PostgresStore {
    /// Calls a lock function whose first parameter is the time after which it changes nothing. Once it is
    /// sent its outcome is awaited; the answer is durable.
    pub(super) async fn call_locks(
        &self,
        call: &Call,
        statement: &'static str,
        arguments: Vec<Argument>,
    ) -> Result<Vec<Row>, Error> {
        self.call_locks_again(call, statement, arguments, None).await
    }

    /// The same for a function whose repeat, after an answer that was lost, has arguments of its own.
    pub(super) async fn call_locks_again(
        &self,
        call: &Call,
        statement: &'static str,
        arguments: Vec<Argument>,
        mut again: Option<Vec<Argument>>,
    ) -> Result<Vec<Row>, Error> {
        let until = call.deadline.min(Instant::now() + OLDEST);
        let mut arguments = Arc::new(arguments);
        let mut backoff = Backoff::new();
        loop {
            let connecting = within(call, self.pool.get_for_mutation(call.claimant));
            let failure = match call.timing.timed(Phase::Connection, connecting).await? {
                Ok(connection) => {
                    let sent = Arc::clone(&arguments);
                    let task =
                        tokio::spawn(
                            async move { send(connection, statement, &sent, until).await },
                        );
                    let sent =
                        async { task.await.map_err(|error| Error::Backend(Box::new(error))) };
                    match call.timing.timed(Phase::Database, sent).await? {
                        Ok(rows) => return Ok(rows),
                        Err(Failed {
                            failure: PostgresError::ReadOnly(source), reason, ..
                        }) => self.refused(reason, source),
                        Err(Failed { failure, mark, .. }) => {
                            if let (PostgresError::Lost(source), Some(mark)) = (&failure, mark) {
                                tracing::debug!(error = %source, "the outcome of a lock call is not known");
                                let ending = ended(&self.pool, mark, until);
                                call.timing.timed(Phase::Away, ending).await?;
                                if let Some(again) = again.take() {
                                    arguments = Arc::new(again);
                                }
                            }
                            failure
                        }
                    }
                }
                Err(failure) => failure,
            };
            backoff.pause(call, failure).await?;
        }
    }
}

/// One flight, two where the connection meets the locks for the first time.
async fn send(
    mut connection: Pooled,
    statement: &'static str,
    arguments: &[Argument],
    until: Instant,
) -> Result<Vec<Row>, Failed> {
    let reason = connection.read_only_reason();
    let mark = match connection.mark {
        Some(mark) => mark,
        None => match marked(&mut connection).await {
            Ok(mark) => mark,
            Err(failure) => {
                if failure.ends_connection() {
                    drop(Pooled::take(connection));
                }
                return Err(Failed { failure, mark: None, reason });
            }
        },
    };
    let before = mark.time_of(until);
    let mut all: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = vec![&before];
    all.extend(borrowed(arguments));
    let client = &connection.client;
    let call = async {
        let prepare = |statement| client.prepare_cached(statement);
        let prepared = prepare(statement).await.map_err(PostgresError::in_flight)?;
        let flush = prepare(FLUSH).await.map_err(PostgresError::in_flight)?;
        // Polled in this order, both leave in one flight.
        let (done, flushed) =
            tokio::join!(client.query(&prepared, &all), client.execute(&flush, &[]));
        let done = done.map_err(PostgresError::in_flight)?;
        // Done, but perhaps not durable.
        flushed.map_err(|error| PostgresError::Lost(Box::new(error)))?;
        Ok(done)
    };
    let began = Instant::now();
    let outcome = match timeout(connection.call_limit, call).await {
        Ok(outcome) => outcome,
        Err(late) => Err(PostgresError::Lost(Box::new(late))),
    };
    connection.statements.count(statement, began.elapsed());
    outcome.map_err(|failure| {
        if failure.ends_connection() {
            drop(Pooled::take(connection));
        }
        Failed { failure, mark: Some(mark), reason }
    })
}

/// Gives a connection its mark.
async fn marked(connection: &mut Pooled) -> Result<Mark, PostgresError> {
    let number: i32 = rand::random();
    let asked = async {
        let prepared = connection.client.prepare_cached(MARK).await?;
        let row = connection.client.query_one(&prepared, &[&number]).await?;
        row.try_get(1)
    };
    let time: SystemTime = match timeout(connection.call_limit, asked).await {
        Ok(time) => time.map_err(PostgresError::in_flight)?,
        Err(late) => return Err(PostgresError::Lost(Box::new(late))),
    };
    let mark = Mark { number, time, at: Instant::now() };
    connection.mark = Some(mark);
    Ok(mark)
}

/// Waits until a marked session has ended, and with it whatever it was asked to do.
async fn ended(pool: &Pool, mark: Mark, until: Instant) -> Result<(), Error> {
    let mut repeat = 0;
    loop {
        let failure = match query_once(pool, HAS_ENDED, &[&mark.number]).await {
            Ok(rows) if rows.first().is_some_and(|row| row.try_get(0).unwrap_or(false)) => {
                return Ok(());
            }
            Ok(_) => Error::Unavailable("a session that was lost has not ended".into()),
            Err(failure) => failure.into_error(),
        };
        if Instant::now() >= until || pool.is_closed() {
            // The function changes nothing from now on.
            return Err(Error::Unavailable(Box::new(failure)));
        }
        repeat += 1;
        tokio::time::sleep(jittered(repeat)).await;
    }
}

/// A statement that changes nothing, repeated while the database is away, as a call has the time.
pub(super) async fn read(
    store: &PostgresStore,
    call: &Call,
    statement: &'static str,
    arguments: Vec<Argument>,
) -> Result<Vec<Row>, Error> {
    let arguments = Arc::new(arguments);
    let mut backoff = Backoff::new();
    loop {
        let (pool, asked) = (Arc::clone(&store.pool), Arc::clone(&arguments));
        let task =
            tokio::spawn(async move { query_once(&pool, statement, &borrowed(&asked)).await });
        let reading = within(call, finished(task));
        match call.timing.timed(Phase::Database, reading).await? {
            Ok(rows) => return Ok(rows),
            Err(failure) => backoff.pause(call, failure).await?,
        }
    }
}
