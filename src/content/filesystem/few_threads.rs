//! Short jobs that block. Jobs that come while others are under way are done by the same threads, one after
//! the other: a thread takes longer to wake than a removal or the write of a page takes.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::content::Error;

/// The most threads: the removal of a large file takes time, and so does a slow disk.
const MOST_THREADS: usize = 8;
/// Another thread begins where more jobs than this wait for each one.
const MANY: usize = 8;

/// Does not panic.
type Job = Box<dyn FnOnce() + Send>;

/// The jobs that wait; each has a permit, so they are bounded.
#[derive(Clone, Default)]
pub(super) struct FewThreads(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    threads: usize,
}

impl std::fmt::Debug for FewThreads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting = self.0.lock();
        f.debug_struct("FewThreads")
            .field("jobs", &waiting.jobs.len())
            .field("threads", &waiting.threads)
            .finish()
    }
}

impl FewThreads {
    /// Has a job done, whether or not its outcome is waited for. [`Error::Cancelled`] where the runtime is
    /// shutting down.
    pub(super) fn run<T: Send + 'static, J>(
        &self,
        job: J,
    ) -> impl Future<Output = Result<T, Error>> + Send + use<T, J>
    where
        J: FnOnce() -> Result<T, Error> + Send + 'static,
    {
        let (done, outcome) = oneshot::channel();
        self.add(Box::new(move || {
            let panicked = |_| Err(Error::Io(std::io::Error::other("a job panicked")));
            // The caller may have gone.
            done.send(catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(panicked)).ok();
        }));
        async { outcome.await.unwrap_or(Err(Error::Cancelled)) }
    }

    fn add(&self, job: Job) {
        let another = {
            let mut waiting = self.0.lock();
            waiting.jobs.push_back(job);
            let Waiting { jobs, threads } = &mut *waiting;
            let another = *threads < MOST_THREADS && jobs.len() > *threads * MANY;
            *threads += usize::from(another);
            another
        };
        if another {
            let thread = Thread { waiting: self.clone(), counted: true };
            tokio::task::spawn_blocking(move || thread.run());
        }
    }
}

/// A thread that does jobs. Where the last one never begins, the jobs that wait are dropped.
struct Thread {
    waiting: FewThreads,
    /// Whether it is among [`Waiting::threads`].
    counted: bool,
}

impl Thread {
    fn run(mut self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    /// The next job. Without one the thread is not counted any more, and the next job begins another.
    fn next(&mut self) -> Option<Job> {
        let mut waiting = self.waiting.0.lock();
        let next = waiting.jobs.pop_front();
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
        let mut waiting = self.waiting.0.lock();
        waiting.threads -= 1;
        let abandoned = (waiting.threads == 0).then(|| std::mem::take(&mut waiting.jobs));
        drop(waiting);
        drop(abandoned);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn jobs_that_come_at_once_are_done_by_few_threads() {
        let threads = FewThreads::default();
        let (go_on, may_go_on) = channel::<()>();
        let slow = threads.run(move || {
            may_go_on.recv().ok();
            Ok(())
        });
        // Jobs behind one that takes long are done by other threads, once there are many.
        let jobs = (0..20).map(|_| threads.run(|| Ok(std::thread::current().id())));
        let by = futures_util::future::try_join_all(jobs.collect::<Vec<_>>()).await.unwrap();
        drop(go_on);
        slow.await.unwrap();
        assert!(by.iter().collect::<HashSet<_>>().len() <= 3);
        while threads.0.lock().threads > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_panic_is_the_outcome_of_its_job_alone() {
        let threads = FewThreads::default();
        let broken = threads.run(|| -> Result<(), Error> { panic!("as the case wants it") });
        let others: Vec<_> = (0..5).map(|number| threads.run(move || Ok(number))).collect();
        assert!(matches!(broken.await, Err(Error::Io(_))));
        assert_eq!(futures_util::future::try_join_all(others).await.unwrap(), [0, 1, 2, 3, 4]);
    }
}
