//! The writer's connection: its slot, and the batches that were sent on it.

use std::sync::Arc;

use deadpool_postgres::ClientWrapper;
use tokio::time::timeout;
use tokio_postgres::Statement;
use uuid::Uuid;

use super::apply::{APPLY, Batch};
use crate::metadata::postgres::Settings;
use crate::metadata::postgres::connect::Connector;
use crate::metadata::postgres::error::{PostgresError, duplicate_of};
use crate::metadata::postgres::pool::{FLIGHT_MARGIN, Pool};
use crate::metadata::postgres::rows::column;
use crate::metadata::postgres::session::{self, ServerRole};
use crate::metadata::postgres::settle::{Question, UnknownOutcome};

const CLAIM: &str = "SELECT slot, epoch FROM claim_alone_slot($1)";
const BEGIN: &str = "INSERT INTO writers (slot, epoch, last_batch) VALUES ($1, $2, 0)
    ON CONFLICT (slot) DO UPDATE SET epoch = EXCLUDED.epoch, last_batch = 0";
const SETTLE: &str = "SELECT settle_alone($1, $2)";
/// What [`SETTLE`] answers, from no row where that answers nothing.
const SETTLED: &str = "SELECT last_batch FROM writers WHERE slot = $1 AND epoch = $2";

/// Why a batch was not applied, or may not have been.
#[derive(Debug)]
pub(super) enum Refused {
    /// A name that was taken for free is not.
    NameTaken(PostgresError),
    /// Anything else.
    Failed(PostgresError),
}

impl Refused {
    /// Whether the batch may be applied for all that.
    pub(super) fn may_be_applied(&self) -> bool {
        matches!(
            self,
            Self::NameTaken(PostgresError::Lost(_)) | Self::Failed(PostgresError::Lost(_))
        )
    }
}

/// The slot of a writer that is alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) number: i32,
    pub(super) epoch: i64,
}

/// A connection with the slot of the writer that is alone.
#[derive(Debug)]
pub(super) struct Line {
    client: Arc<ClientWrapper>,
    apply: Statement,
    pub(super) slot: Slot,
    /// The number of the last batch that was sent.
    last: i64,
    settings: Arc<Settings>,
}

impl Line {
    /// Connects and claims a slot, which fences every other one: what is under way there has ended then, and
    /// nothing follows.
    pub(super) async fn open(
        settings: &Arc<Settings>,
        instance: Uuid,
    ) -> Result<Self, PostgresError> {
        let session = session::session(settings.statement_timeout);
        let connected = Connector::new(settings).open(&session).await?;
        match connected.role {
            ServerRole::Primary => {}
            ServerRole::ReadOnly => {
                return Err(PostgresError::ReadOnly("the database is read-only".into()));
            }
            ServerRole::Standby => {
                return Err(PostgresError::Lost("no primary available, only a standby".into()));
            }
        }
        let client = Arc::new(connected.client);
        let claiming = async {
            let row = client.query_one(CLAIM, &[&instance]).await?;
            let slot = Slot { number: row.try_get(0)?, epoch: row.try_get(1)? };
            client.execute(BEGIN, &[&slot.number, &slot.epoch]).await?;
            Ok::<_, PostgresError>((slot, client.prepare(APPLY).await?))
        };
        let limit = settings.statement_timeout + FLIGHT_MARGIN;
        let claimed = timeout(limit, claiming).await;
        let (slot, apply) =
            claimed.unwrap_or_else(|late| Err(PostgresError::Lost(Box::new(late))))?;
        Ok(Self { client, apply, slot, last: 0, settings: Arc::clone(settings) })
    }

    /// The next batch has this number: neither the one that had it nor any behind it was applied.
    pub(super) fn repeat_from(&mut self, number: i64) {
        self.last = number - 1;
    }

    /// The number of the next batch, and its way, which begins when it is polled first. Batches are applied
    /// in the order of their numbers or not at all, and durable when the way ends well.
    pub(super) fn send(
        &mut self,
        batch: Batch,
    ) -> (i64, impl Future<Output = Result<(), Refused>> + Send + 'static) {
        self.last += 1;
        let (number, slot, apply) = (self.last, self.slot, self.apply.clone());
        let client = Arc::clone(&self.client);
        let limit = self.settings.statement_timeout + FLIGHT_MARGIN;
        let way = async move {
            let arguments = batch.arguments(&slot, &number);
            match timeout(limit, client.execute(&apply, &arguments)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => {
                    let is_taken = duplicate_of(&error) == Some("parent_child_map_pkey");
                    let failure = PostgresError::in_flight(error);
                    Err(if is_taken {
                        Refused::NameTaken(failure)
                    } else {
                        Refused::Failed(failure)
                    })
                }
                Err(late) => Err(Refused::Failed(PostgresError::Lost(Box::new(late)))),
            }
        };
        (number, way)
    }
}

/// Finds out which batches of a slot were applied: the number of the last. Nothing is applied there
/// afterwards.
///
/// # Errors
/// Where the database is away for too long.
pub(super) async fn settle(pool: &Pool, slot: Slot) -> Result<i64, UnknownOutcome> {
    let question = Question {
        fencing: SETTLE,
        reading: SETTLED,
        arguments: &[&slot.number, &slot.epoch],
        slot: slot.number,
    };
    match question.ask(pool).await?.first() {
        Some(row) => Ok(column::<Option<i64>>(row, 0).map_err(UnknownOutcome)?.unwrap_or(0)),
        None => Ok(0),
    }
}
