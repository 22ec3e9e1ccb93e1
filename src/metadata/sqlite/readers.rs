//! The connections that read, each with snapshots of its own; none waits for the writer.
//!
//! Point reads run on the thread that asks: they touch a dozen pages, and a hop to another thread would cost
//! more than all of them, as long as they are in memory. A read that the disk must answer holds the thread up
//! for as long as that takes. Scans run on threads made for blocking.

use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;

use super::connect::{Settings, reader};
use super::error::SqliteError;
use crate::metadata::batch::closed;
use crate::metadata::single_writer::OpError;
use crate::metadata::{Answer, Error};
use crate::types::{Bounds, Context, FairPermits, NoPermit};

/// How many scans run at once.
const SCANS: usize = 4;

/// A connection; none where the store is closed.
type Slot = Mutex<Option<Connection>>;

/// The connections.
#[derive(Debug)]
pub(super) struct Readers {
    points: Vec<Slot>,
    scans: Arc<Vec<Slot>>,
    turns: FairPermits,
}

impl Readers {
    /// Opens as many connections as there are processors and some for scans.
    pub(super) fn open(settings: &Settings) -> Result<Self, Error> {
        let points = std::thread::available_parallelism().map_or(2, usize::from) + 1;
        let memory = settings.cache_size / (points + SCANS);
        let open = |_| reader(&settings.path, memory).map(|it| Mutex::new(Some(it)));
        Ok(Self {
            points: (0..points).map(open).collect::<Result<_, _>>()?,
            scans: Arc::new((0..SCANS).map(open).collect::<Result<_, _>>()?),
            turns: FairPermits::new(SCANS, Bounds::CALLS),
        })
    }

    /// A read of a few rows, on this thread.
    pub(super) fn point<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, OpError<SqliteError>>,
    ) -> Answer<T> {
        on_first_free(&self.points, work)
    }

    /// A read of many rows, on another thread. A caller that goes away leaves it to end by itself.
    pub(super) async fn scan<T: Send + 'static>(
        &self,
        cx: &Context,
        work: impl FnOnce(&Connection) -> Result<T, OpError<SqliteError>> + Send + 'static,
    ) -> Answer<T> {
        let scanning = async {
            let turn = self.turns.acquire(cx.call.claimant, 1).await;
            let turn = turn.map_err(|reason| match reason {
                NoPermit::Closed => closed(),
                NoPermit::Full(full) => Error::Unavailable(Box::new(full)),
            })?;
            let scans = self.scans.clone();
            let scanned = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                on_first_free(&scans, work)
            });
            scanned.await.map_err(|error| Error::Backend(Box::new(error)))?
        };
        cx.call.within(scanning).await.unwrap_or_else(|| Err(Error::Cancelled.into()))
    }

    /// Closes the connections, when those who read now are done.
    pub(super) fn close(&self) {
        for slot in self.points.iter().chain(self.scans.iter()) {
            slot.lock().take();
        }
    }
}

/// Always the first free one, so that few connections keep warm pages.
fn on_first_free<T>(
    slots: &[Slot],
    work: impl FnOnce(&Connection) -> Result<T, OpError<SqliteError>>,
) -> Answer<T> {
    let free = slots.iter().find_map(Mutex::try_lock);
    let slot = match (free, slots.first()) {
        (Some(slot), _) => slot,
        (None, Some(first)) => first.lock(),
        (None, None) => return Err(closed().into()),
    };
    let connection = slot.as_ref().ok_or_else(closed)?;
    work(connection).map_err(|stop| match stop {
        OpError::Refused(refusal) => refusal,
        OpError::Failed(failure) => failure.into_error().into(),
    })
}
