//! The task that keeps an instance's part in the lease: registers it, renews it, takes the lease where no
//! other instance is there, and gives it up where one comes.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::observed::Observed;
use super::session::{Seen, Session};
use super::{Holder, Inner, LeaseState, wall_clock};
use crate::metadata::Source;
use crate::metadata::postgres::connect::Connector;
use crate::metadata::postgres::error::PostgresError;
use crate::types::Vital;

/// Between any two attempts to connect.
const PAUSE: Duration = Duration::from_millis(250);
/// Between attempts that no call asks for.
const RETRY: Duration = Duration::from_secs(1);
/// How often one who waits for the end of another's lease looks.
const WAITING: Duration = Duration::from_millis(75);

pub(super) struct Keeper {
    inner: Arc<Inner>,
    connector: Connector,
    /// Without it the lease is never taken.
    holder: Option<Weak<dyn Holder>>,
    /// When another instance was last seen to live, or a call wanted the lease to be free.
    company: Option<Instant>,
    next_renewal: Instant,
    /// When the last renewal of this instance's row was sent, by the clock of the licence. No other instance
    /// takes the lease within a TTL from then.
    renewed: Duration,
    /// The lease is this instance's, and is to stay so.
    holds: bool,
    /// The lease may be this instance's, and is to be given up.
    gives_up: bool,
    /// The holder has begun and not ended.
    active: bool,
}

impl Keeper {
    pub(super) fn new(
        inner: Arc<Inner>,
        connector: Connector,
        holder: Option<Weak<dyn Holder>>,
    ) -> Self {
        Self {
            inner,
            connector,
            holder,
            company: None,
            next_renewal: Instant::now(),
            renewed: Duration::ZERO,
            holds: false,
            gives_up: false,
            active: false,
        }
    }

    /// Goes on until the instance leaves.
    pub(super) async fn run(mut self) {
        let _vital = Vital::new("postgres-lease");
        loop {
            // Taken before the attempt: calls that come later want another.
            let request = self.inner.requests.load(Ordering::Acquire);
            let Err(failure) = self.attempt().await else { return };
            self.lost(request, failure).await;
            if self.is_leaving() {
                return;
            }
            sleep(PAUSE).await;
            tokio::select! {
                () = self.inner.wake.notified() => {}
                () = sleep(RETRY) => {}
            }
        }
    }

    async fn attempt(&mut self) -> Result<(), PostgresError> {
        let inner = Arc::clone(&self.inner);
        // A renewal that comes so late finds the licence over.
        let limit = inner.times.ttl / 2;
        let session = Session::open(&self.connector, inner.instance, limit);
        let session = Box::pin(session).await?;
        self.keep(&session).await
    }

    /// As long as the connection lasts. What was observed lasts no longer: another server may answer on the
    /// next one.
    async fn keep(&mut self, session: &Session) -> Result<(), PostgresError> {
        let mut observed = Observed::default();
        loop {
            let request = self.inner.requests.load(Ordering::Acquire);
            if self.inner.evicted.swap(false, Ordering::AcqRel) {
                self.company = Some(Instant::now());
                self.gives_up |= self.holds;
            }
            let seen = self.look(session, Instant::now() >= self.next_renewal).await?;
            let now = Instant::now();
            if observed.note(&seen, self.inner.instance, now) {
                self.company = Some(now);
            }
            if self.is_leaving() {
                return self.leave(session).await;
            }
            let pause = self.act(session, &seen, &observed, request).await?;
            tokio::select! {
                () = self.inner.wake.notified() => {}
                () = sleep(pause) => {}
                () = sleep_until(self.next_renewal) => {}
            }
        }
    }

    /// One look, which extends the licence where it renews and the lease is this instance's.
    async fn look(&mut self, session: &Session, renews: bool) -> Result<Seen, PostgresError> {
        let (sent, began) = (self.inner.clock.now(), Instant::now());
        let (asked, renewal) = (wall_clock::now(), self.inner.renewal());
        let seen = session.look(renews.then_some(renewal)).await?;
        self.inner.wall_clock.note(asked, seen.time, wall_clock::now());
        let others = u64::try_from(seen.others.len()).unwrap_or(u64::MAX);
        self.inner.others.store(others, Ordering::Relaxed);
        if renews {
            self.next_renewal = began + self.inner.times.ttl / 3;
            self.renewed = sent;
            if self.holds && self.is_own(&seen) {
                self.inner.extend_licence(sent);
            }
        }
        let others = seen.holder.is_some_and(|holder| holder != self.inner.instance);
        self.inner.note_others(!seen.registered || others, self.renewed);
        Ok(seen)
    }

    /// Whether the lease is this instance's. One whose row is gone was taken for dead.
    fn is_own(&self, seen: &Seen) -> bool {
        seen.registered && seen.holder == Some(self.inner.instance)
    }

    /// What follows from a look; how long nothing more does.
    async fn act(
        &mut self,
        session: &Session,
        seen: &Seen,
        observed: &Observed,
        request: u64,
    ) -> Result<Duration, PostgresError> {
        let ttl = self.inner.times.ttl;
        if !self.is_own(seen) {
            self.drop_lease().await;
            self.gives_up = false;
        }
        if !seen.registered {
            self.renewed = self.inner.clock.now();
            session.register(self.inner.address.as_deref()).await?;
            self.next_renewal = Instant::now() + ttl / 3;
            return Ok(Duration::ZERO);
        }
        match seen.holder {
            Some(holder) if holder == self.inner.instance => {
                if seen.wanted || !seen.others.is_empty() {
                    self.company = Some(Instant::now());
                    self.gives_up = true;
                }
                if !self.gives_up && !self.active {
                    self.begin(session).await?;
                }
                if self.gives_up {
                    self.give_up(session).await?;
                    return Ok(WAITING);
                }
                self.report(LeaseState::Alone, request);
                Ok(self.inner.times.watch)
            }
            Some(holder) => {
                self.report(LeaseState::Waiting, 0);
                if !seen.wanted {
                    session.want(holder).await?;
                }
                let now = Instant::now();
                if observed.is_still(holder, now, ttl)
                    && !self.take(session, seen, observed).await?
                {
                    let count = observed.count(holder);
                    if session.end(holder, count).await? {
                        tracing::info!(%holder, "ended the lease of a server that is gone");
                    }
                }
                Ok(WAITING)
            }
            None => {
                if self.take(session, seen, observed).await? {
                    return Ok(Duration::ZERO);
                }
                self.report(LeaseState::Joined, request);
                let dead = observed.still(Instant::now(), ttl * 10);
                if !dead.0.is_empty() {
                    session.forget(&dead).await?;
                }
                Ok(ttl / 3)
            }
        }
    }

    /// Takes the lease where this instance may and no other is alive. The next look begins.
    async fn take(
        &mut self,
        session: &Session,
        seen: &Seen,
        observed: &Observed,
    ) -> Result<bool, PostgresError> {
        let (now, times) = (Instant::now(), self.inner.times);
        let has_company = self.company.is_some_and(|last| now - last < times.quiet);
        let wanted = self.holder.as_ref().is_some_and(|holder| holder.strong_count() > 0);
        if !wanted || has_company || seen.crowded || !observed.all_still(now, times.ttl) {
            return Ok(false);
        }
        session.take(seen.holder, &observed.still(now, times.ttl)).await
    }

    /// The lease is this instance's, by its own look: its holder begins.
    async fn begin(&mut self, session: &Session) -> Result<(), PostgresError> {
        let Some(holder) = self.holder.as_ref().and_then(Weak::upgrade) else {
            self.gives_up = true;
            return Ok(());
        };
        self.holds = true;
        // Slots of before are fenced from now on, or soon.
        self.inner.generation.fetch_add(1, Ordering::AcqRel);
        self.report(LeaseState::Between, 0);
        let seen = self.look(session, true).await?;
        if !self.is_own(&seen) {
            self.holds = false;
            return Ok(());
        }
        self.active = true;
        let (begun, renewed) = self.renewing(session, holder.begin()).await;
        self.active = begun;
        renewed?;
        if begun {
            tracing::info!(
                "no other server uses the database: reads are answered from memory, changes are written in \
                 batches"
            );
        } else {
            self.company = Some(Instant::now());
            self.gives_up = true;
        }
        Ok(())
    }

    /// Frees the lease. Where that cannot be yet, the next look does it.
    async fn give_up(&mut self, session: &Session) -> Result<(), PostgresError> {
        self.holds = false;
        self.inner.end_licence();
        self.report(LeaseState::Between, 0);
        if self.active && !self.inner.leaving.load(Ordering::Acquire) {
            tracing::info!(
                "other servers use the database, too: changes are decided there, and reads ask it for changes"
            );
        }
        let active = std::mem::take(&mut self.active);
        if let Some(holder) = self.holder.as_ref().and_then(Weak::upgrade) {
            let ttl = self.inner.times.ttl;
            let ending = async {
                // Calls may go on whose holder has ended with a lost connection. A call whose change waits for
                // the lease would never end: it has no licence after a TTL.
                tokio::time::timeout(ttl, holder.settle()).await.ok();
                if active {
                    holder.end().await;
                }
            };
            // A holder that takes long is not to be taken for dead.
            let ((), renewed) = self.renewing(session, ending).await;
            renewed?;
        }
        if session.end(self.inner.instance, None).await? {
            self.gives_up = false;
        }
        Ok(())
    }

    /// The lease is not this instance's any more, or may not be.
    async fn drop_lease(&mut self) {
        self.holds = false;
        self.inner.end_licence();
        if self.active {
            self.report(LeaseState::Between, 0);
            if let Some(holder) = self.holder.as_ref().and_then(Weak::upgrade) {
                holder.end().await;
            }
            self.active = false;
        }
    }

    /// Does `work` while the instance's row is renewed. Fails where the lease is another's by then, once the
    /// work is done.
    async fn renewing<T>(
        &mut self,
        session: &Session,
        work: impl Future<Output = T>,
    ) -> (T, Result<(), PostgresError>) {
        let mut work = pin!(work);
        let mut renewed = Ok(());
        loop {
            let next = self.next_renewal;
            tokio::select! {
                biased;
                done = &mut work => return (done, renewed),
                () = sleep_until(next), if renewed.is_ok() => {
                    renewed = self.look(session, true).await.and_then(|seen| {
                        match self.is_own(&seen) {
                            true => Ok(()),
                            false => Err(PostgresError::Lost("the lease is another server's".into())),
                        }
                    });
                }
            }
        }
    }

    /// Ends everything; what is left in the database says so.
    async fn leave(&mut self, session: &Session) -> Result<(), PostgresError> {
        // Its own lease, whether it has been begun or not.
        self.gives_up = true;
        while self.gives_up {
            self.give_up(session).await?;
        }
        session.leave().await
    }

    /// The connection is gone, or there is none: what is known of the lease is not true for long.
    async fn lost(&mut self, request: u64, failure: PostgresError) {
        self.drop_lease().await;
        tracing::debug!(?failure, "the lease is not kept");
        if matches!(failure, PostgresError::ReadOnly(_)) {
            // No other instance changes anything.
            self.inner.note_others(false, self.inner.clock.now());
        }
        let source: Source = match failure {
            PostgresError::Refused(error) => Box::new(error),
            PostgresError::Transient(source)
            | PostgresError::Lost(source)
            | PostgresError::Retired(source)
            | PostgresError::NotJoined(source)
            | PostgresError::ReadOnly(source) => source,
        };
        self.inner.report.send_modify(|report| {
            report.state = LeaseState::Apart;
            report.failed = report.failed.max(request);
            report.failure = Some(source.into());
        });
    }

    fn report(&self, state: LeaseState, request: u64) {
        self.inner.report.send_if_modified(|report| {
            let news = report.state != state || report.answered < request;
            report.state = state;
            report.answered = report.answered.max(request);
            news
        });
    }

    fn is_leaving(&self) -> bool {
        self.inner.leaving.load(Ordering::Acquire)
    }
}
