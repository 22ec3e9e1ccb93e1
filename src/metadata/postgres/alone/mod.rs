//! One server alone with the database, which the lease says: changes are decided in this process by the
//! operations of [`crate::metadata::single_writer`], written in batches, and reads are answered from the
//! cache.

mod apply;
mod fetch;
mod line;
mod numbers;
#[cfg(test)]
mod orders;
mod tables;
mod writer;

use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use tokio::sync::OwnedRwLockReadGuard;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::line::Line;
pub(super) use self::tables::Overlay;
use self::writer::Writer;
use super::Settings;
use super::lease::{Holder, Lease};
use super::pool::Pool;
use super::retry::{PATIENCE, jittered, within};
use crate::counters::{Counter, Histogram};
use crate::metadata::batch::Queue;
use crate::metadata::cache::Cache;
use crate::metadata::known_shares::KnownShares;
use crate::types::{Context, Vital};

/// What this process does while it is alone.
#[derive(Debug)]
pub(super) struct Alone {
    this: Weak<Self>,
    settings: Arc<Settings>,
    pool: Arc<Pool>,
    shares: Arc<KnownShares>,
    instance: Uuid,
    lease: Arc<Lease>,
    /// What was read while it is alone. Consulted while the lease says so.
    pub(super) cache: Arc<Cache>,
    /// How many changes go into one transaction.
    pub(super) batches: Arc<Histogram>,
    /// The calls that wait for the writer, while there is one.
    queue: RwLock<Option<Arc<Queue<Overlay>>>>,
    task: Mutex<Option<(CancellationToken, JoinHandle<()>)>>,
    /// Shared by calls that rely on it that this process alone changes files: the lease is given up after
    /// them. One that is lost is over for them with its generation.
    holds: Arc<tokio::sync::RwLock<()>>,
    /// The last writer's connection, whose lock of its slot shows that this server is there (`load`).
    last: Mutex<Option<Line>>,
    taken: Counter,
    given: Counter,
}

impl Alone {
    pub(super) fn new(
        settings: &Settings,
        pool: Arc<Pool>,
        shares: Arc<KnownShares>,
        lease: Arc<Lease>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            settings: Arc::new(settings.clone()),
            pool,
            shares,
            instance: lease.instance(),
            lease,
            cache: Arc::new(Cache::beside_others()),
            batches: Arc::new(Histogram::of_batches()),
            queue: RwLock::default(),
            task: Mutex::default(),
            holds: Arc::default(),
            last: Mutex::default(),
            taken: Counter::default(),
            given: Counter::default(),
        })
    }

    /// How often the lease was taken, and given up or lost.
    pub(super) fn changes(&self) -> (u64, u64) {
        (self.taken.total(), self.given.total())
    }

    /// The calls that wait for the writer; `None` while changes take the shared path.
    pub(super) fn queue(&self) -> Option<Arc<Queue<Overlay>>> {
        self.queue.read().clone()
    }

    /// Whether this process decides and remembers.
    pub(super) fn is_writing(&self) -> bool {
        self.queue.read().is_some()
    }

    /// Keeps the lease from being given up, unless that is under way.
    pub(super) fn hold(&self) -> Option<OwnedRwLockReadGuard<()>> {
        Arc::clone(&self.holds).try_read_owned().ok()
    }

    /// Ends the writer for good.
    pub(super) async fn close(&self) {
        self.end().await;
        *self.last.lock() = None;
    }

    /// Ends the writer without waiting for it.
    pub(super) fn abandon(&self) {
        if let Some((stop, _)) = &*self.task.lock() {
            stop.cancel();
        }
    }

    /// Waits for a writer, as long as a call waits for a database that is away; whether there is one.
    pub(super) async fn has_writer(&self, cx: &Context) -> bool {
        let since = Instant::now();
        let mut repeat = 0;
        while !self.is_writing() {
            repeat += 1;
            let pause = within(&cx.call, tokio::time::sleep(jittered(repeat))).await;
            if pause.is_err() || since.elapsed() >= PATIENCE {
                return false;
            }
        }
        true
    }

    /// Writes until it is told to stop. A writer that cannot go on leaves its calls to the shared path, and
    /// another follows.
    async fn write(&self, mut line: Line, stop: CancellationToken) {
        let _vital = Vital::new("postgres-writer");
        loop {
            // What was read before other writers were fenced may be out of date.
            drop(self.cache.forget());
            let queue = Arc::<Queue<Overlay>>::default();
            *self.queue.write() = Some(Arc::clone(&queue));
            let last = Writer::new(self, queue, line).run(&stop).await;
            *self.queue.write() = None;
            drop(self.cache.forget());
            *self.last.lock() = Some(last);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                opened = self.open_again() => line = opened,
            }
            *self.last.lock() = None;
        }
    }

    async fn open_again(&self) -> Line {
        let mut repeat = 0;
        loop {
            match Line::open(&self.settings, self.instance).await {
                Ok(line) => return line,
                Err(failure) => tracing::debug!(?failure, "the writer has no slot yet"),
            }
            repeat += 1;
            tokio::time::sleep(jittered(repeat)).await;
        }
    }
}

#[async_trait::async_trait]
impl Holder for Alone {
    async fn begin(&self) -> bool {
        let line = match Line::open(&self.settings, self.instance).await {
            Ok(line) => line,
            Err(failure) => {
                tracing::debug!(?failure, "the writer has no slot");
                return false;
            }
        };
        let Some(alone) = self.this.upgrade() else { return false };
        *self.last.lock() = None;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move { alone.write(line, stopped).await });
        *self.task.lock() = Some((stop, task));
        self.taken.increment();
        true
    }

    async fn settle(&self) {
        // None begins from now on: the licence is over.
        drop(self.holds.write().await);
    }

    async fn end(&self) {
        let task = self.task.lock().take();
        if let Some((stop, task)) = task {
            self.given.increment();
            stop.cancel();
            // A panic there ends the process.
            task.await.ok();
        }
    }
}
