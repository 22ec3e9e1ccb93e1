//! What goes on without a call: waiters that are woken, what other servers have left, and what is tidied and
//! counted.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::service::LockService;
use super::totals::Overview;
use crate::counters::Clients;
use crate::log_limit::{About, limited};
use crate::metadata::{Error, Locks};
use crate::rpc::is_own_address;
use crate::types::{BoundedChain, Call, ObjectId};

/// How long a waiter stays whose client does not ask again. Linux asks every 30 seconds, others more often.
const UNSEEN: Duration = Duration::from_secs(150);
const TIDY: Duration = Duration::from_secs(60);
/// How often locks are counted, and how many may be counted so often; more are when there is tidying.
const COUNT: Duration = Duration::from_secs(10);
const COUNTED_OFTEN: u64 = 20_000;
/// How often what other servers have left is looked for.
const TAKE_OVER: Duration = Duration::from_secs(2);
/// Reservations that are made at once.
const PORTION: usize = 64;
/// How long a store may take, and how soon one that is away is asked again.
const STORE_TIME: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(500);
/// How long the tasks may take to end.
const END_TIME: Duration = Duration::from_secs(5);

impl LockService {
    /// Wakes waiters and tidies until `shutdown` fires. What is on its way to clients then is given up; their
    /// reservations stay. `clients` has the calls of all clients.
    pub async fn run(self: Arc<Self>, clients: Arc<Clients>, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        let (service, stop) = (self.clone(), shutdown.clone());
        tasks.spawn(async move {
            stop.run_until_cancelled(service.tidy()).await;
        });
        if let Some(after) = self.expire_after {
            let (service, stop) = (self.clone(), shutdown.clone());
            tasks.spawn(async move {
                stop.run_until_cancelled(service.expire(&clients, after)).await;
            });
        }
        let mut woken: Vec<Arc<dyn Locks>> = Vec::new();
        loop {
            let now = self.stores();
            for store in &now {
                if woken.iter().any(|known| Arc::ptr_eq(known, store)) {
                    continue;
                }
                let (service, waking, stop) = (self.clone(), store.clone(), shutdown.clone());
                tasks.spawn(async move {
                    // It ends with the store, too.
                    stop.run_until_cancelled(service.wake(&waking)).await;
                });
                let (service, inherited, stop) = (self.clone(), store.clone(), shutdown.clone());
                tasks.spawn(async move {
                    stop.run_until_cancelled(service.inherit(&inherited)).await;
                });
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

    /// Takes over what waits by servers that have ended, this one before its start among them, and by those
    /// that have lost an address to this machine.
    async fn inherit(&self, store: &Arc<dyn Locks>) {
        while self.stores().iter().any(|served| Arc::ptr_eq(served, store)) {
            match self.take_over(store).await {
                Ok(()) | Err(Error::Unavailable(_) | Error::Cancelled) => {}
                Err(error) => {
                    let error = BoundedChain(&error);
                    limited!(error, About::default(),
                        "locks that are waited for cannot be taken over from another server", %error);
                }
            }
            sleep(TAKE_OVER).await;
        }
    }

    async fn take_over(&self, store: &Arc<dyn Locks>) -> Result<(), Error> {
        let abandoned = store.abandoned(&Call::internal(STORE_TIME)).await?;
        let own: Vec<IpAddr> =
            abandoned.into_iter().filter(|local| is_own_address(*local)).collect();
        if !own.is_empty() {
            let locks = store.take_over(&Call::internal(STORE_TIME), &own).await?;
            tracing::debug!(?own, told = locks.len(), "waiting locks were taken over");
            for lock in locks {
                self.callbacks.tell(store.clone(), lock);
            }
        }
        Ok(())
    }

    async fn tidy(&self) {
        let mut every = interval_at(Instant::now(), COUNT);
        // Not at once: what another server has reserved is told to its client by whoever takes it over, and
        // is a lock without a word once it is tidied.
        let mut tidied_at = Instant::now();
        loop {
            every.tick().await;
            let is_due = tidied_at.elapsed() >= TIDY;
            if is_due {
                tidied_at = Instant::now();
                for store in self.stores() {
                    self.tidy_store(&*store).await;
                }
            }
            if is_due || self.totals.rows() < COUNTED_OFTEN {
                self.count().await;
            }
        }
    }

    async fn tidy_store(&self, store: &dyn Locks) {
        let call = Call::internal(STORE_TIME);
        match store.tidy_locks(&call, UNSEEN, self.unconfirmed_after).await {
            Ok(tidied) => {
                self.freed.unconfirmed.add(tidied.unconfirmed);
                tracing::debug!(?tidied, "locks were tidied");
            }
            Err(Error::Unavailable(_) | Error::Cancelled) => {}
            Err(error) => {
                let error = BoundedChain(&error);
                limited!(error, About::default(), "locks cannot be tidied", %error);
            }
        }
    }

    /// Counts what there is; nothing changes where a store is away.
    async fn count(&self) {
        let mut overview = Overview::default();
        for store in self.stores() {
            match overview.add(&*store).await {
                Ok(()) => {}
                Err(Error::Unavailable(_) | Error::Cancelled) => return,
                Err(error) => {
                    let error = BoundedChain(&error);
                    limited!(error, About::default(), "locks cannot be counted", %error);
                    return;
                }
            }
        }
        self.totals.set(overview);
    }
}
