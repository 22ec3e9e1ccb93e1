//! What goes on without a call: waiters that are woken, and what is tidied.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::service::LockService;
use crate::log_limit::{About, limited};
use crate::metadata::{Error, LockTotals, Locks};
use crate::types::{BoundedChain, Call, ObjectId};

/// How long a waiter stays whose client does not ask again. Linux asks every 30 seconds, others more often.
const UNSEEN: Duration = Duration::from_secs(150);
const TIDY: Duration = Duration::from_secs(60);
/// Reservations that are made at once.
const PORTION: usize = 64;
/// How long a store may take, and how soon one that is away is asked again.
const STORE_TIME: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(500);
/// How long the tasks may take to end.
const END_TIME: Duration = Duration::from_secs(5);

impl LockService {
    /// Wakes waiters and tidies until `shutdown` fires. What is on its way to clients then is given up; their
    /// reservations stay.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        let (service, stop) = (self.clone(), shutdown.clone());
        tasks.spawn(async move {
            stop.run_until_cancelled(service.tidy()).await;
        });
        let mut woken: Vec<Arc<dyn Locks>> = Vec::new();
        loop {
            let now = self.stores();
            for store in &now {
                if !woken.iter().any(|known| Arc::ptr_eq(known, store)) {
                    let (service, store, stop) = (self.clone(), store.clone(), shutdown.clone());
                    tasks.spawn(async move {
                        // It ends with the store, too.
                        stop.run_until_cancelled(service.wake(&store)).await;
                    });
                }
            }
            woken = now;
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.other_stores.notified() => {}
            }
        }
        self.stop.cancel();
        tasks.join_all().await;
        self.tasks.close();
        if timeout(END_TIME, self.tasks.wait()).await.is_err() {
            tracing::debug!("calls to lock managers are dropped");
        }
    }

    async fn wake(&self, store: &Arc<dyn Locks>) {
        loop {
            let files = store.woken().await;
            if files.is_empty() {
                return;
            }
            for file in files {
                self.wake_file(store, file).await;
            }
        }
    }

    async fn wake_file(&self, store: &Arc<dyn Locks>, file: ObjectId) {
        loop {
            let call = Call::internal(STORE_TIME);
            match store.reserve(&call, file, PORTION).await {
                Ok(reservations) => {
                    let all = reservations.len() < PORTION;
                    for reservation in reservations {
                        self.callbacks.begin(store.clone(), reservation);
                    }
                    if all {
                        return;
                    }
                }
                Err(Error::Unavailable(_) | Error::Cancelled) => sleep(AGAIN).await,
                Err(error) => {
                    let error = BoundedChain(&error);
                    limited!(error, About::default(), "locks that are waited for cannot be given", %error);
                    // Its clients ask again.
                    return;
                }
            }
        }
    }

    async fn tidy(&self) {
        let mut every = interval_at(Instant::now(), TIDY);
        loop {
            every.tick().await;
            let mut totals = LockTotals::default();
            for store in self.stores() {
                let call = Call::internal(STORE_TIME);
                let tidied = async {
                    let tidied = store.tidy_locks(&call, UNSEEN).await?;
                    Ok::<_, Error>((tidied, store.lock_totals().await?))
                };
                match tidied.await {
                    Ok((tidied, counted)) => {
                        tracing::debug!(?tidied, ?counted, "locks were tidied");
                        totals.clients += counted.clients;
                        totals.locks += counted.locks;
                        totals.waiters += counted.waiters;
                        totals.reservations += counted.reservations;
                        totals.shares += counted.shares;
                    }
                    Err(Error::Unavailable(_) | Error::Cancelled) => {}
                    Err(error) => {
                        let error = BoundedChain(&error);
                        limited!(error, About::default(), "locks cannot be tidied", %error);
                    }
                }
            }
            self.totals.set(totals);
        }
    }
}
