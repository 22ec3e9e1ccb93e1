//! Removals: those that come while others are under way are done by the same threads, one after the other. A
//! thread of its own for each would take longer to wake than a file takes to go.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::descriptors::Permit;
use super::{Error, Shared};
use crate::types::ContentId;

/// How many threads remove at most: a large file may take its time.
const MOST_THREADS: usize = 8;
/// So many removals wait for each thread before there is another.
const MANY: usize = 8;

/// The removals that wait; no more than there are permits.
#[derive(Debug, Default)]
pub(super) struct Removals(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    removals: VecDeque<Removal>,
    threads: usize,
}

#[derive(Debug)]
struct Removal {
    id: ContentId,
    permit: Permit,
    done: oneshot::Sender<Result<(), Error>>,
}

impl Shared {
    /// Removes a content; done even where the caller does not wait for it.
    pub(super) async fn remove(self: &Arc<Self>, id: ContentId) -> Result<(), Error> {
        let permit = self.descriptors.permit(None).await?;
        let (done, outcome) = oneshot::channel();
        let another = {
            let mut waiting = self.removals.0.lock();
            waiting.removals.push_back(Removal { id, permit, done });
            let Waiting { removals, threads } = &mut *waiting;
            let another = *threads < MOST_THREADS && removals.len() > *threads * MANY;
            *threads += usize::from(another);
            another
        };
        if another {
            let thread = Thread { shared: Arc::clone(self), counted: true };
            tokio::task::spawn_blocking(move || thread.run());
        }
        // The runtime is shutting down where nothing comes.
        outcome.await.unwrap_or(Err(Error::Cancelled))
    }

    fn remove_now(&self, id: ContentId) -> Result<(), Error> {
        self.folder.unlink(id)?;
        self.syncs.forget(id);
        self.descriptors.discard_removed(&self.folder, id)
    }
}

/// A thread that removes. Where it never begins, or panics, what waits for the last one ends with it.
struct Thread {
    shared: Arc<Shared>,
    /// Whether it is among [`Waiting::threads`].
    counted: bool,
}

impl Thread {
    fn run(mut self) {
        while let Some(Removal { id, permit, done }) = self.next() {
            let removed = self.shared.remove_now(id);
            drop(permit);
            // The caller may not wait any more.
            done.send(removed).ok();
        }
    }

    /// The next removal. Without one the thread counts no more: a removal that comes then begins another.
    fn next(&mut self) -> Option<Removal> {
        let mut waiting = self.shared.removals.0.lock();
        let next = waiting.removals.pop_front();
        if next.is_none() {
            waiting.threads -= 1;
            self.counted = false;
        }
        next
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        let mut waiting = self.shared.removals.0.lock();
        waiting.threads -= 1;
        let abandoned = (waiting.threads == 0).then(|| std::mem::take(&mut waiting.removals));
        drop(waiting);
        drop(abandoned);
    }
}
