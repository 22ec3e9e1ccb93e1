//! Reads from memory while several servers change the database.
//!
//! A call joins the next poll: one statement that gives the changes which were committed since the poll
//! before it ([`poll`]). What they touch is dropped from the cache, which then holds what the poll's snapshot
//! holds. The snapshot is younger than the call: the call is answered from the cache, or by a statement of
//! its own where the cache has no answer. One poll is under way at most, and one is waited for, so that the
//! database sees polls and not calls. While few calls are under way, each asks for itself.
//!
//! The result of a statement is kept at a poll that was sent after the statement was answered, and only where
//! no change of its keys was listed since the statement was sent. So everything in the cache holds at the
//! snapshot of the last poll, and an answer that is made of several entries holds at one moment.
//!
//! The cache lasts as long as the connection of the polls: a crash of the database may take changes back. A
//! statement counts where it ran on the server that the polls ask.

mod poll;
mod round;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use self::poll::{Changes, Poller};
use self::round::Round;
use super::PostgresStore;
use super::connect::Connector;
use super::error::PostgresError;
use super::execute::Read;
use super::lease::Lease;
use super::retry::admit;
use super::session::ServerStart;
use super::settings::{Cache as CacheSetting, Presence, Settings};
use crate::metadata::Error;
use crate::metadata::cache::{Cache, Since};
use crate::types::{Context, Phase};

/// With fewer reads under way, and fewer calls in the last poll, each asks for itself: a poll costs more than
/// their statements.
const FEWEST: usize = 4;
/// Results that wait for a poll weigh no more than this; an object and an entry weigh 1.
const MOST_WAITING: usize = 1 << 14;
/// How long nobody is to have joined a poll before its connection is closed.
const IDLE: Duration = Duration::from_secs(60);
/// How long results wait for a poll that no call joins.
const LINGER: Duration = Duration::from_millis(10);
/// How long calls wait for a poll; those of one that takes longer ask for themselves.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long reads ask for themselves after a connection was lost, before another is made.
const PAUSE: Duration = Duration::from_secs(1);

/// A result, to be kept.
type Fill = Box<dyn FnOnce(&Cache) + Send>;

/// The reads of one store.
pub(super) struct ReadIndex {
    connector: Connector,
    session: String,
    lease: Arc<Lease>,
    cache: Arc<Cache>,
    is_used: bool,
    /// Reads under way.
    reads: AtomicUsize,
    /// The last poll has answered no fewer calls than are worth one: the next call does not look for company.
    is_busy: AtomicBool,
    state: Mutex<State>,
    /// Wakes the task that polls.
    joined: Notify,
}

struct State {
    /// The poll that is sent next.
    next: Arc<Round>,
    /// The server that polls ask.
    server: Option<ServerStart>,
    /// The poll under way takes long: no call joins the next one.
    is_late: bool,
    waiting: Vec<Fill>,
    weight: usize,
    task: Option<JoinHandle<()>>,
    /// No connection is made before.
    pause: Option<Instant>,
}

/// A poll that ends without an outcome has failed.
struct Sent(Arc<Round>);

impl Drop for Sent {
    fn drop(&mut self) {
        self.0.end(false);
    }
}

impl ReadIndex {
    pub(super) fn new(settings: &Settings, lease: Arc<Lease>, cache: Arc<Cache>) -> Arc<Self> {
        let state = State {
            next: Arc::default(),
            server: None,
            is_late: false,
            waiting: Vec::new(),
            weight: 0,
            task: None,
            pause: None,
        };
        Arc::new(Self {
            connector: Connector::new(settings),
            session: super::session::session(settings.statement_timeout),
            lease,
            cache,
            is_used: settings.cache == CacheSetting::Auto && settings.presence == Presence::Server,
            reads: AtomicUsize::new(0),
            is_busy: AtomicBool::new(false),
            state: Mutex::new(state),
            joined: Notify::new(),
        })
    }

    /// Whether calls may join a poll.
    pub(super) fn is_polling(&self) -> bool {
        self.state.lock().server.is_some()
    }

    /// Ends the polls; calls that have joined one ask for themselves.
    pub(super) fn close(&self) {
        if let Some(task) = self.state.lock().task.take() {
            task.abort();
        }
    }

    /// Waits for a poll that is sent after this call. Answers whether the cache may be asked then.
    async fn join(self: &Arc<Self>, cx: &Context) -> Result<bool, Error> {
        let joined = {
            let mut state = self.state.lock();
            if state.server.is_none() {
                self.begin(&mut state);
                return Ok(false);
            }
            if state.is_late { None } else { state.next.join() }
        };
        let Some((joined, is_first)) = joined else { return Ok(false) };
        if is_first {
            self.joined.notify_one();
        }
        let outcome = cx.call.timing.timed(Phase::Database, joined).await;
        admit(&cx.call)?;
        Ok(outcome)
    }

    /// Has polls begin, unless a task is about to.
    fn begin(self: &Arc<Self>, state: &mut State) {
        let is_under_way = state.task.as_ref().is_some_and(|task| !task.is_finished());
        if is_under_way || state.pause.is_some_and(|pause| Instant::now() < pause) {
            return;
        }
        let polling = Polling(Arc::clone(self));
        state.task = Some(tokio::spawn(async move {
            if let Err(failure) = polling.0.poll_all().await {
                tracing::debug!(?failure, "changes are not polled");
            }
        }));
    }

    /// Polls as long as calls join.
    async fn poll_all(&self) -> Result<(), PostgresError> {
        let mut poller = Box::pin(Poller::open(&self.connector, &self.session)).await?;
        let mut idle = Instant::now() + IDLE;
        loop {
            let (sent, fills) = {
                let mut state = self.state.lock();
                state.weight = 0;
                let fills = std::mem::take(&mut state.waiting);
                (Sent(std::mem::take(&mut state.next)), fills)
            };
            match self.polled(&mut poller, &sent.0).await? {
                Changes::Unknown => drop(self.cache.forget()),
                Changes::These(touched) => {
                    self.cache.drop_changed(&touched);
                    fills.into_iter().for_each(|fill| fill(&self.cache));
                }
            }
            {
                let mut state = self.state.lock();
                (state.server, state.is_late) = (Some(poller.server()), false);
            }
            self.is_busy.store(sent.0.calls() >= FEWEST, Ordering::Relaxed);
            sent.0.end(true);
            if !self.is_wanted(&mut idle).await {
                return Ok(());
            }
        }
    }

    /// Polls. Calls that have waited long ask for themselves: those of this poll, and those of the next.
    async fn polled(&self, poller: &mut Poller, sent: &Round) -> Result<Changes, PostgresError> {
        let mut poll = pin!(poller.poll());
        if let Ok(changes) = timeout(PATIENCE, &mut poll).await {
            return changes;
        }
        let next = {
            let mut state = self.state.lock();
            state.is_late = true;
            std::mem::take(&mut state.next)
        };
        sent.end(false);
        next.end(false);
        poll.await
    }

    /// Waits until a call joins the next poll, or results have waited long enough for it. `false` where no
    /// call has joined until `idle`, which each that does moves on.
    async fn is_wanted(&self, idle: &mut Instant) -> bool {
        loop {
            let waits = {
                let state = self.state.lock();
                if state.next.calls() > 0 {
                    *idle = Instant::now() + IDLE;
                    return true;
                }
                !state.waiting.is_empty()
            };
            let now = Instant::now();
            if now >= *idle {
                return false;
            }
            let until = if waits { (now + LINGER).min(*idle) } else { *idle };
            if timeout_at(until, self.joined.notified()).await.is_err() && waits {
                return true;
            }
        }
    }

    /// Keeps a result at the next poll.
    fn keep(&self, server: ServerStart, weight: usize, fill: Fill) {
        let mut state = self.state.lock();
        if state.server == Some(server) && state.weight + weight <= MOST_WAITING {
            state.weight += weight;
            state.waiting.push(fill);
            if state.waiting.len() == 1 {
                self.joined.notify_one();
            }
        }
    }
}

impl std::fmt::Debug for ReadIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadIndex").field("reads", &self.reads).finish_non_exhaustive()
    }
}

/// The task that polls. Where it ends nobody joins until another has begun.
struct Polling(Arc<ReadIndex>);

impl Drop for Polling {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        (state.server, state.is_late) = (None, false);
        state.pause = Instant::now().checked_add(PAUSE);
        (state.waiting, state.weight) = (Vec::new(), 0);
        std::mem::take(&mut state.next).end(false);
    }
}

/// A read that memory has no answer to.
pub(super) struct Gap<'a> {
    since: Since,
    keeper: Keeper<'a>,
}

/// Where its result goes.
enum Keeper<'a> {
    Alone(&'a Cache),
    Shared(&'a ReadIndex),
}

impl Drop for Gap<'_> {
    fn drop(&mut self) {
        match self.keeper {
            Keeper::Alone(_) => {}
            Keeper::Shared(index) => drop(index.reads.fetch_sub(1, Ordering::Relaxed)),
        }
    }
}

impl Gap<'_> {
    /// Keeps what was read, which counts as so many objects and entries, and answers with it.
    pub(super) fn keep<T: Clone + Send + 'static>(
        self,
        read: Read<T>,
        weight: usize,
        keep: impl FnOnce(&Cache, Since, &T) + Send + 'static,
    ) -> T {
        let (since, Read { value, server }) = (self.since, read);
        match self.keeper {
            Keeper::Alone(cache) => keep(cache, since, &value),
            Keeper::Shared(index) if index.is_used => {
                let kept = value.clone();
                index.keep(server, weight, Box::new(move |cache| keep(cache, since, &kept)));
            }
            Keeper::Shared(_) => {}
        }
        value
    }
}

impl PostgresStore {
    /// Looks for an answer in the cache: while this process is alone with the database, and after a poll
    /// while others use it too.
    pub(super) async fn recall<T>(
        &self,
        cx: &Context,
        look: impl Fn(&Cache) -> Result<T, Since> + Send,
    ) -> Result<Result<T, Gap<'_>>, Error> {
        if let Some(cache) = self.cache() {
            return Ok(match look(cache) {
                Ok(known) if self.lease.is_licensed() => Ok(known),
                Ok(_) => Err(Gap { since: cache.since(), keeper: Keeper::Alone(cache) }),
                Err(since) => Err(Gap { since, keeper: Keeper::Alone(cache) }),
            });
        }
        let index = &self.index;
        let earlier = index.reads.fetch_add(1, Ordering::Relaxed);
        let mut gap = Gap { since: index.cache.since(), keeper: Keeper::Shared(index) };
        let are_few = earlier + 1 < FEWEST && !index.is_busy.load(Ordering::Relaxed);
        if !index.is_used || are_few || !index.lease.is_joined() {
            return Ok(Err(gap));
        }
        // A poll would be in vain where there is nothing that it may leave.
        if let Err(since) = look(&index.cache)
            && index.is_polling()
        {
            gap.since = since;
            return Ok(Err(gap));
        }
        // On the heap: a call that is answered without it would carry the room for it along.
        if Box::pin(index.join(cx)).await? {
            match look(&index.cache) {
                Ok(known) => return Ok(Ok(known)),
                Err(since) => gap.since = since,
            }
        }
        Ok(Err(gap))
    }
}
