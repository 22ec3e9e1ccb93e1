//! Short jobs that block: those that come while others are under way are done by the same threads, one after
//! the other. A thread of its own for each would take longer to wake than a file takes to go, or a page to be
//! written.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

/// How many threads there are at most: a large file may take its time to go, and so may a disk.
const MOST_THREADS: usize = 8;
/// So many jobs wait for each thread before there is another.
const MANY: usize = 8;

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
    /// Has a job done; it is dropped where the runtime is shutting down.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let another = {
            let mut waiting = self.0.lock();
            waiting.jobs.push_back(Box::new(job));
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

/// A thread that does jobs. Where it never begins, or panics, what waits for the last one ends with it.
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

    /// The next job. Without one the thread counts no more: a job that comes then begins another.
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
        threads.run(move || {
            may_go_on.recv().ok();
        });
        let (done, jobs_done) = channel();
        for _ in 0..20 {
            let done = done.clone();
            threads.run(move || done.send(std::thread::current().id()).unwrap());
        }
        drop(done);
        // Those behind a job that takes long are done by others, once there are many of them.
        let by = tokio::task::spawn_blocking(move || jobs_done.iter().collect::<Vec<_>>());
        let by = by.await.unwrap();
        drop(go_on);
        assert_eq!(by.len(), 20);
        assert!(by.iter().collect::<HashSet<_>>().len() <= 3);
        while threads.0.lock().threads > 0 {
            tokio::task::yield_now().await;
        }
    }
}
