//! Work that blocks, on threads for it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::descriptors::Permit;
use super::{FilesystemContent, Shared};
use crate::content::Error;
use crate::types::{Call, ContentId};

impl FilesystemContent {
    /// Runs `job` on a thread that may block, with the store and a permit, which it keeps until it is over.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        call: &Call,
        permit: Permit,
        job: impl FnOnce(&Shared, &Permit) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (turn, job) = self.job(permit, job);
        let thread = tokio::task::spawn_blocking(job);
        awaited(call, turn, async { settle(thread.await) }).await
    }

    /// The same for a job that takes no longer than a thread takes to wake: few threads do the jobs that come
    /// at once.
    pub(super) async fn run_short<T: Send + 'static>(
        &self,
        call: &Call,
        permit: Permit,
        job: impl FnOnce(&Shared, &Permit) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (turn, job) = self.job(permit, job);
        awaited(call, turn, self.shared.short_writes.run(job)).await
    }

    /// A job for another thread, which does nothing where the caller has taken its turn.
    fn job<T, J>(
        &self,
        permit: Permit,
        job: J,
    ) -> (Turn, impl FnOnce() -> Result<T, Error> + Send + use<T, J>)
    where
        J: FnOnce(&Shared, &Permit) -> Result<T, Error> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let turn = Turn::default();
        let threads = turn.clone();
        let job = move || {
            if !threads.take() {
                return Err(Error::Cancelled);
            }
            let answer = job(&shared, &permit);
            drop(permit);
            answer
        };
        (turn, job)
    }

    /// Removes a content; done even where the caller does not wait for it.
    pub(super) async fn remove_content(&self, id: ContentId) -> Result<(), Error> {
        let permit = self.shared.descriptors.permit(None).await?;
        let shared = Arc::clone(&self.shared);
        let removal = self.shared.removals.run(move || {
            let removed = shared.remove_now(id);
            drop(permit);
            removed
        });
        removal.await
    }
}

/// The outcome of a job, unless the call is cancelled before a thread has begun with it. However this future
/// ends, a job that no thread has begun is taken back.
async fn awaited<T>(
    call: &Call,
    turn: Turn,
    done: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let callers = CallersTurn(turn);
    let mut done = pin!(done);
    tokio::select! {
        biased;
        done = &mut done => done,
        () = call.cancel.cancelled() => {
            if callers.0.take() {
                return Err(Error::Cancelled);
            }
            done.await
        }
    }
}

/// A job belongs to the first to take its turn: the thread that would do it, or the caller that gives it up.
#[derive(Clone, Debug, Default)]
struct Turn(Arc<AtomicBool>);

impl Turn {
    fn take(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }
}

/// Takes the turn when the caller goes away.
struct CallersTurn(Turn);

impl Drop for CallersTurn {
    fn drop(&mut self) {
        self.0.take();
    }
}

pub(super) fn settle<T>(
    joined: Result<Result<T, Error>, tokio::task::JoinError>,
) -> Result<T, Error> {
    match joined {
        Ok(answer) => answer,
        // The runtime is shutting down.
        Err(error) if error.is_cancelled() => Err(Error::Cancelled),
        Err(error) => Err(Error::Io(std::io::Error::other(error))),
    }
}
