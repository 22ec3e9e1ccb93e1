//! Which instance decides changes in its own memory. The one that holds the lease is alone: no other
//! changes rows, so what it has read stays true. All others join before they change anything, which makes the
//! holder give the lease up; without a holder every instance changes rows through the functions of the
//! schema, which look and lock.
//!
//! The lease is a row of the database, and `migrations/postgres/V5__lease.sql` has its rules. An instance
//! renews its own row, and one whose row has not moved for a TTL of another's clock is taken for dead. A
//! holder may answer from its memory while it has a licence, which is over before any other instance can
//! take it for dead.

mod clock;
mod keeper;
mod observed;
mod session;
#[cfg(test)]
mod tests;
mod wall_clock;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use self::clock::Clock;
use self::keeper::Keeper;
use self::session::Renewal;
use self::wall_clock::WallClock;
use super::Settings;
use super::connect::Connector;
use super::error::PostgresError;
use super::settings::{Cache, LeaseTimes};
use crate::counters::Level;
use crate::metadata::{Licence, Source};

/// Keeps the lease from being taken until the transaction ends, of an instance that has joined. For those
/// that change rows without a writer slot.
pub(super) const SHARE: &str = "SELECT FROM share_lease($1)";

/// An end that takes longer leaves its row to be taken for dead.
const LONGEST_LEAVE: Duration = Duration::from_secs(10);

/// What decides changes in this process while the lease is its own.
#[async_trait::async_trait]
pub(super) trait Holder: fmt::Debug + Send + Sync + 'static {
    /// The lease is this instance's. The holder claims its slot with `claim_alone_slot`, which fences all
    /// others; what it reads afterwards it may keep. Answers whether it decides changes from now on: where it
    /// does not, the lease is given up.
    async fn begin(&self) -> bool;

    /// Waits for calls that rely on it that this instance is alone. Changes are still decided here: such a
    /// call may wait for one.
    async fn settle(&self);

    /// No change is decided here any more: what is under way comes to its end, waiting calls go the shared
    /// path, and what was kept is dropped. The lease may be another's as soon as this has returned, and may
    /// be so already.
    async fn end(&self);
}

/// Where an instance that has joined changes rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Through the functions of the schema, on a claimed slot.
    Shared,
    /// In this process: it holds the lease.
    Alone,
}

/// A call that needs the shared path, in a process that is alone: its holder is to be asked.
#[derive(Debug, thiserror::Error)]
#[error("this server decides all changes itself")]
pub(super) struct HeldHere;

/// Where an instance stands with the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaseState {
    /// It is not known, or the instance has not registered.
    Apart,
    /// Registered; another holds the lease.
    Waiting,
    /// Registered; the lease is free.
    Joined,
    /// The lease is its own, and the holder begins or ends.
    Between,
    /// The lease is its own, and the holder decides changes.
    Alone,
}

/// What waiting calls learn.
#[derive(Clone, Debug)]
struct Report {
    state: LeaseState,
    /// Calls up to this one have their answer in `state`.
    answered: u64,
    /// Calls up to this one have their answer in `failure`.
    failed: u64,
    failure: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What calls and the task that keeps the lease share.
#[derive(Debug)]
struct Inner {
    instance: Uuid,
    times: LeaseTimes,
    clock: Clock,
    wall_clock: WallClock,
    /// Where it serves, for those who list servers.
    address: Option<String>,
    /// How many clients it has; nobody says so of a tool.
    clients: OnceLock<Level>,
    /// How many others were there at the last look.
    others: AtomicU64,
    /// Until when the holder may answer from its memory, in nanoseconds of the clock. 0: not at all.
    licence: AtomicU64,
    /// Until when no other instance holds the lease, in nanoseconds of the clock. 0: one may.
    free: AtomicU64,
    /// How many times the lease was taken.
    generation: AtomicU64,
    /// How many calls have asked where the instance stands.
    requests: AtomicU64,
    /// A call needs the shared path, also where this instance holds the lease.
    evicted: AtomicBool,
    leaving: AtomicBool,
    /// Wakes the task.
    wake: Notify,
    report: watch::Sender<Report>,
}

/// One instance's part in the lease.
pub(super) struct Lease {
    inner: Arc<Inner>,
    connector: Connector,
    cache: Cache,
    holder: OnceLock<Weak<dyn Holder>>,
    keeping: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Lease {
    /// An instance that is not registered yet.
    pub(super) fn new(settings: &Settings, instance: Uuid) -> Self {
        Self::with_clock(settings, instance, Clock::Machine)
    }

    fn with_clock(settings: &Settings, instance: Uuid, clock: Clock) -> Self {
        let nothing = Report { state: LeaseState::Apart, answered: 0, failed: 0, failure: None };
        let inner = Inner {
            instance,
            times: settings.lease,
            clock,
            wall_clock: WallClock::default(),
            address: settings.address.clone(),
            clients: OnceLock::new(),
            others: AtomicU64::new(0),
            licence: AtomicU64::new(0),
            free: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            evicted: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            wake: Notify::new(),
            report: watch::Sender::new(nothing),
        };
        Self {
            inner: Arc::new(inner),
            connector: Connector::new(settings),
            cache: settings.cache,
            holder: OnceLock::new(),
            keeping: Mutex::new(None),
        }
    }

    /// Names what decides changes when the lease is this instance's. Without it, or with [`Cache::Off`], the
    /// lease is never taken. Before the first call of [`Lease::announce`]. The holder is not kept alive.
    pub(super) fn set_holder(&self, holder: Weak<dyn Holder>) {
        // A second one would not be asked.
        let first = self.holder.set(holder);
        debug_assert!(first.is_ok(), "a lease has one holder");
    }

    /// Whether what the holder has kept is true. To be asked after it was looked up: what was kept may have
    /// been overtaken since a licence that is over.
    pub(super) fn is_licensed(&self) -> bool {
        self.inner.is_licensed()
    }

    /// How many instances use the database, this one among them.
    pub(super) fn instances(&self) -> u64 {
        self.inner.others.load(Ordering::Relaxed) + 1
    }

    /// Seconds that this machine's clock is ahead of the database's.
    pub(super) fn clock_ahead(&self) -> f64 {
        self.inner.wall_clock.ahead()
    }

    /// Names where it is said how many clients the server has. The first one counts.
    pub(super) fn count_clients(&self, level: Level) {
        let _first = self.inner.clients.set(level);
    }

    /// Whether no other instance holds the lease. To be asked after a statement, which may be ahead of the
    /// memory that a holder answers from.
    pub(super) fn is_free(&self) -> bool {
        let end = self.inner.free.load(Ordering::Acquire);
        end != 0 && self.inner.clock.now() < Duration::from_nanos(end)
    }

    /// How many times this instance has had the lease. A slot that was claimed in an earlier generation is
    /// fenced.
    pub(super) fn generation(&self) -> u64 {
        self.inner.generation.load(Ordering::Acquire)
    }

    /// Whose part it is.
    pub(super) fn instance(&self) -> Uuid {
        self.inner.instance
    }

    /// Whether slots may be claimed, as far as is known here.
    pub(super) fn is_joined(&self) -> bool {
        self.inner.report.borrow().state == LeaseState::Joined
    }

    /// Registers the instance, and waits until it is known who holds the lease. Without a database, that is
    /// looked for in the background.
    pub(super) async fn announce(&self) {
        let request = self.request();
        let known = |report: &Report| report.answered >= request || report.failed >= request;
        let mut report = self.inner.report.subscribe();
        let waiting = report.wait_for(|it| known(it) || it.state != LeaseState::Apart);
        if tokio::time::timeout(self.inner.times.ttl, waiting).await.is_err() {
            tracing::debug!("who holds the lease is not known yet");
        }
    }

    /// Waits until rows may be changed, where `claim_slot` says that they may not. A holder elsewhere gives
    /// the lease up; one here is left alone, and its caller is to ask it.
    pub(super) async fn enter(&self) -> Result<Mode, PostgresError> {
        let request = self.request();
        self.answer(request).await
    }

    /// The same for what cannot be done alone: a holder here gives the lease up too.
    pub(super) async fn join(&self) -> Result<(), PostgresError> {
        loop {
            self.inner.evicted.store(true, Ordering::Release);
            match self.enter().await? {
                Mode::Shared => return Ok(()),
                // The lease was taken between the two.
                Mode::Alone => {}
            }
        }
    }

    /// Ends the instance's part, cleanly where the database answers: its holder ends, the lease is free at
    /// once, and no other instance waits for this one's return.
    pub(super) async fn leave(&self) {
        let keeping = self.keeping.lock().take();
        let Some(mut keeping) = keeping else { return };
        // Without a connection there is nothing to take leave of, and no holder that has begun.
        if self.inner.report.borrow().state == LeaseState::Apart {
            keeping.abort();
            return;
        }
        self.inner.leaving.store(true, Ordering::Release);
        self.inner.wake.notify_one();
        let limit = (self.inner.times.ttl * 3).min(LONGEST_LEAVE);
        if tokio::time::timeout(limit, &mut keeping).await.is_err() {
            tracing::debug!(?limit, "the lease was not left in time");
            keeping.abort();
        }
        self.inner.end_licence();
        self.inner.leaving.store(false, Ordering::Release);
        self.inner.report.send_modify(|report| report.state = LeaseState::Apart);
    }

    /// Asks the task where the instance stands. The number of the request.
    fn request(&self) -> u64 {
        let request = self.inner.requests.fetch_add(1, Ordering::AcqRel) + 1;
        self.inner.wake.notify_one();
        let mut keeping = self.keeping.lock();
        if keeping.as_ref().is_none_or(JoinHandle::is_finished) {
            let holder = match self.cache {
                Cache::Auto => self.holder.get().cloned(),
                Cache::Off => None,
            };
            let keeper = Keeper::new(Arc::clone(&self.inner), self.connector.clone(), holder);
            *keeping = Some(tokio::spawn(keeper.run()));
        }
        request
    }

    async fn answer(&self, request: u64) -> Result<Mode, PostgresError> {
        let mut report = self.inner.report.subscribe();
        let answered = async {
            loop {
                let Report { state, answered, failed, failure } =
                    report.borrow_and_update().clone();
                match state {
                    LeaseState::Joined if answered >= request => return Ok(Mode::Shared),
                    LeaseState::Alone if answered >= request => return Ok(Mode::Alone),
                    LeaseState::Apart
                    | LeaseState::Waiting
                    | LeaseState::Joined
                    | LeaseState::Between
                    | LeaseState::Alone => {}
                }
                if failed >= request {
                    let source: Source = match failure {
                        Some(failure) => Box::new(failure),
                        None => "the lease cannot be looked at".into(),
                    };
                    return Err(PostgresError::Lost(source));
                }
                if report.changed().await.is_err() {
                    return Err(PostgresError::Lost("the lease is not kept any more".into()));
                }
            }
        };
        let limit = self.inner.times.ttl * 3;
        match tokio::time::timeout(limit, answered).await {
            Ok(answer) => answer,
            Err(late) => Err(PostgresError::NotJoined(Box::new(late))),
        }
    }
}

impl Licence for Lease {
    fn generation(&self) -> u64 {
        self.generation()
    }

    fn left(&self) -> Option<Duration> {
        let end = Duration::from_nanos(self.inner.licence.load(Ordering::Acquire));
        end.checked_sub(self.inner.clock.now()).filter(|left| !left.is_zero())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(keeping) = self.keeping.lock().take() {
            keeping.abort();
        }
    }
}

impl Inner {
    fn is_licensed(&self) -> bool {
        let end = self.licence.load(Ordering::Acquire);
        end != 0 && self.clock.now() < Duration::from_nanos(end)
    }

    fn renewal(&self) -> Renewal {
        let clients =
            self.clients.get().map(|level| i32::try_from(level.now()).unwrap_or(i32::MAX));
        Renewal { ahead: self.wall_clock.ahead(), clients }
    }

    /// A renewal that was sent at this time has succeeded: no other takes the lease within a TTL from then.
    fn extend_licence(&self, sent: Duration) {
        self.licence.store(self.end_of(sent), Ordering::Release);
    }

    /// Another instance may hold the lease, or none takes it within a TTL from the renewal.
    fn note_others(&self, may_hold: bool, renewed: Duration) {
        let end = if may_hold { 0 } else { self.end_of(renewed) };
        self.free.store(end, Ordering::Release);
    }

    fn end_of(&self, sent: Duration) -> u64 {
        let end = sent + self.times.ttl.saturating_sub(self.times.margin);
        u64::try_from(end.as_nanos()).unwrap_or(0)
    }

    fn end_licence(&self) {
        self.licence.store(0, Ordering::Release);
    }
}
