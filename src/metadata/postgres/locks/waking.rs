//! Which files have waiters of this server that may succeed. What this server frees wakes its own waiters at
//! once; what others free is found by asking, as long as there are waiters here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::answer::Answer;
use crate::metadata::Error;
use crate::metadata::locks::Wakes;
use crate::metadata::postgres::PostgresStore;
use crate::metadata::postgres::execute::query_once;
use crate::metadata::postgres::rows::column;
use crate::types::ObjectId;

/// How often is asked at first, and at last where nothing comes of it.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The files on which the instance `$1` has waiters, and whether one of them is in nobody's way.
const WAITING: &str = "
    SELECT w.file_id, bool_or(NOT is_locked(w.file_id, w.client_id, w.svid, w.first, w.last, w.exclusive))
      FROM lock_waiters w WHERE w.instance = $1 AND w.cookie IS NULL GROUP BY w.file_id";

/// What wakes.
#[derive(Debug, Default)]
pub(in crate::metadata::postgres) struct LockWakes {
    wakes: Wakes,
    /// How many calls have begun to wait, and how many had when there were no waiters the last time.
    began: AtomicU64,
    idle_at: AtomicU64,
    /// The pause before the next question, in milliseconds; 0 begins anew.
    pause: AtomicU64,
    /// Where the last search for removed files ended.
    searched: Mutex<Option<ObjectId>>,
}

impl LockWakes {
    /// A call waits from now on.
    pub(super) fn waits(&self) {
        self.began.fetch_add(1, Ordering::AcqRel);
        self.pause.store(0, Ordering::Release);
        // Whoever waits for wakes begins to ask.
        self.wakes.rouse();
    }

    /// Whether there may be waiters.
    fn is_waiting(&self) -> bool {
        self.began.load(Ordering::Acquire) != self.idle_at.load(Ordering::Acquire)
    }

    /// Nothing follows.
    pub(in crate::metadata::postgres) fn close(&self) {
        self.wakes.close();
    }

    pub(super) fn searched(&self) -> Option<ObjectId> {
        *self.searched.lock()
    }

    pub(super) fn set_searched(&self, file: Option<ObjectId>) {
        *self.searched.lock() = file;
    }

    /// How long to pause before the next question.
    fn next_pause(&self) -> Duration {
        let last = Duration::from_millis(self.pause.load(Ordering::Acquire));
        let next = (last + last / 8).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.pause.store(u64::try_from(next.as_millis()).unwrap_or(0), Ordering::Release);
        next
    }
}

impl PostgresStore {
    /// Wakes the waiters that this server has on a file where something was freed.
    pub(super) fn wake_waiters(&self, answer: &Answer<'_>, file: ObjectId) -> Result<(), Error> {
        if answer.wakes(self.instance)? {
            self.lock_wakes.wakes.wake([file]);
        }
        Ok(())
    }

    /// See [`crate::metadata::Locks::woken`].
    pub(super) async fn woken_files(&self) -> Vec<ObjectId> {
        let state = &self.lock_wakes;
        let mut ask_at = None;
        loop {
            if let Some(files) = state.wakes.take() {
                return files;
            }
            if !state.is_waiting() {
                ask_at = None;
            } else if ask_at.is_none() {
                ask_at = Some(Instant::now() + state.next_pause());
            }
            let due = async {
                match ask_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = state.wakes.notified() => continue,
                () = due => {}
            }
            ask_at = None;
            let files = self.waiting_files().await;
            if !files.is_empty() {
                state.pause.store(0, Ordering::Release);
                return files;
            }
        }
    }

    /// The files on which a waiter of this server may succeed.
    async fn waiting_files(&self) -> Vec<ObjectId> {
        let began = self.lock_wakes.began.load(Ordering::Acquire);
        let rows = match query_once(&self.pool, WAITING, &[&self.instance]).await {
            Ok(rows) => rows,
            Err(failure) => {
                tracing::debug!(?failure, "it is not known which locks may be had");
                return Vec::new();
            }
        };
        if rows.is_empty() {
            self.lock_wakes.idle_at.store(began, Ordering::Release);
        }
        let free = rows.iter().filter(|row| column(row, 1).unwrap_or(false));
        free.filter_map(|row| column::<Uuid>(row, 0).ok().map(ObjectId)).collect()
    }
}
