//! What happens to connections that no call uses: enough are made ahead, idle ones are asked whether they
//! still work, and those that no call needs are closed.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use deadpool::managed::{Object, Pool, PoolError, WeakPool};
use deadpool_postgres::ClientWrapper;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::Settings;
use super::error::PostgresError;
use super::pool::Manager;
use crate::types::Vital;

/// What the settings say of it.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Which may change.
    min_connections: Arc<AtomicUsize>,
    max_idle_time: Duration,
    max_lifetime: Option<Duration>,
    health_check_period: Duration,
    /// An idle connection answers within it.
    answer_limit: Duration,
}

/// The fewest connections.
fn fewest(settings: &Settings) -> usize {
    settings.min_connections.min(settings.max_connections)
}

impl Rules {
    /// Takes over the fewest connections of other settings.
    pub(super) fn set(&self, settings: &Settings) {
        self.min_connections.store(fewest(settings), Ordering::Relaxed);
    }

    fn fewest(&self) -> usize {
        self.min_connections.load(Ordering::Relaxed)
    }
}

impl From<&Settings> for Rules {
    fn from(settings: &Settings) -> Self {
        Self {
            min_connections: Arc::new(AtomicUsize::new(fewest(settings))),
            max_idle_time: settings.max_idle_time,
            max_lifetime: Some(settings.max_lifetime).filter(|most| !most.is_zero()),
            health_check_period: settings.health_check_period,
            answer_limit: settings.connect_timeout,
        }
    }
}

/// Rounds are no closer to each other, whatever ends how often.
const PAUSE: Duration = Duration::from_millis(100);
/// When the fewest connections are tried for again after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// How often idle connections are looked at at least.
const LONGEST_ROUND: Duration = Duration::from_secs(30);

/// Goes on until the pool is gone. `ended` wakes it where a connection ended.
pub(super) async fn run(pool: WeakPool<Manager>, ended: Arc<Notify>, rules: Rules) {
    let _vital = Vital::new("postgres-maintenance");
    let shortest = rules.max_lifetime.unwrap_or(Duration::MAX).min(rules.max_idle_time);
    let round = (shortest / 4).clamp(PAUSE, LONGEST_ROUND);
    let mut health = interval(rules.health_check_period.max(PAUSE));
    health.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut filled = true;
    loop {
        let wait = if filled { round } else { RETRY };
        let check = tokio::select! {
            _ = health.tick() => true,
            () = ended.notified() => false,
            () = sleep(wait) => false,
        };
        let Some(pool) = pool.upgrade() else { return };
        if check {
            drop_dead(&pool, rules.answer_limit).await;
        }
        drop_idle(&pool, &rules);
        filled = fill(&pool, rules.fewest()).await;
        drop(pool);
        sleep(PAUSE).await;
    }
}

/// Asks every idle connection for a sign of life. They stay in the pool meanwhile: a call that takes one is
/// behind an empty query at most. What does not answer and is still idle is dropped.
async fn drop_dead(pool: &Pool<Manager>, limit: Duration) {
    let mut asked = JoinSet::new();
    pool.retain(|connection, _| {
        let client = Arc::clone(&connection.client);
        asked.spawn(async move {
            let answer = timeout(limit, client.simple_query("")).await;
            if matches!(answer, Ok(Ok(_))) { None } else { Some(client) }
        });
        true
    });
    let mut dead: Vec<Arc<ClientWrapper>> = Vec::new();
    while let Some(answer) = asked.join_next().await {
        dead.extend(answer.ok().flatten());
    }
    if dead.is_empty() {
        return;
    }
    let dropped = pool
        .retain(|connection, _| !dead.iter().any(|client| Arc::ptr_eq(client, &connection.client)));
    tracing::warn!(
        connections = dropped.removed.len(),
        "idle connections to PostgreSQL did not answer; replacing them"
    );
}

/// Drops connections that are closed, that have reached their lifetime, and those that no call has needed for
/// too long.
fn drop_idle(pool: &Pool<Manager>, rules: &Rules) {
    let mut size = pool.status().size;
    pool.retain(|connection, metrics| {
        let unneeded = size > rules.fewest() && metrics.last_used() >= rules.max_idle_time;
        let kept = !connection.client.is_closed() && !connection.is_old() && !unneeded;
        if !kept {
            size -= 1;
        }
        kept
    });
}

type Getting<'a> =
    Pin<Box<dyn Future<Output = Result<Object<Manager>, PoolError<PostgresError>>> + Send + 'a>>;

/// Makes connections until the pool has `fewest`. Answers whether it has them.
async fn fill(pool: &Pool<Manager>, fewest: usize) -> bool {
    let missing = fewest.saturating_sub(pool.status().size);
    let mut making: Vec<Getting<'_>> = Vec::with_capacity(missing);
    // The pool makes one only where none is idle: idle ones are held until the new ones are under way.
    let mut idle = Vec::new();
    while making.len() < missing && idle.len() <= pool.status().max_size {
        let mut getting: Getting<'_> = Box::pin(pool.get());
        match poll_fn(|cx| Poll::Ready(getting.as_mut().poll(cx))).await {
            Poll::Ready(Ok(connection)) => idle.push(connection),
            Poll::Ready(Err(_)) => return false,
            Poll::Pending => making.push(getting),
        }
    }
    drop(idle);
    for getting in making {
        match getting.await {
            Ok(connection) => drop(connection),
            Err(PoolError::Backend(failure)) => {
                tracing::debug!(?failure, "no connection to PostgreSQL can be made ahead");
                return false;
            }
            Err(_) => return false,
        }
    }
    true
}
