//! Whether the parts of the server work: each is asked again and again, and since when it is so is kept.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

use super::seconds;
use super::subject::Subject;

/// The time from one round of questions to the next.
pub(super) const PERIOD: Duration = Duration::from_secs(5);
/// How long a part may take to answer. The database is waited for by itself for two seconds, and tells then
/// why it cannot be reached.
const ANSWER_TIME: Duration = Duration::from_secs(4);
/// An answer that is older counts for nothing: the questions themselves do not go on.
const STALE: Duration = Duration::from_secs(30);

/// A part of the server that can be asked whether it works: a store, the port of NFS.
#[async_trait::async_trait]
pub trait Part: Send + Sync + 'static {
    /// Its name, as the configuration has it: `metadata.stores.main`.
    fn name(&self) -> String;

    /// Its type: `postgres`, `filesystem`.
    fn kind(&self) -> &'static str;

    /// Whether the server is not ready without it.
    fn is_vital(&self) -> bool {
        true
    }

    /// Asks it.
    ///
    /// # Errors
    /// Why it does not work, in a line.
    async fn ask(&self) -> Result<(), String>;
}

/// What is known of one part.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PartHealth {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    /// Whether the newest answer was good.
    pub(super) ok: bool,
    /// Whether the server is not ready without it.
    pub(super) vital: bool,
    /// Since when it has been so, in seconds since 1970.
    #[serde(serialize_with = "seconds")]
    pub(super) since: SystemTime,
    /// How long the newest answer took.
    pub(super) took_ms: f64,
    /// Why it does not work.
    pub(super) error: Option<String>,
}

/// The health of every part.
pub(super) struct Health {
    state: Mutex<State>,
}

struct State {
    known: Vec<PartHealth>,
    asked: Option<Instant>,
}

impl Health {
    pub(super) fn new(parts: &[Arc<dyn Part>]) -> Self {
        let now = SystemTime::now();
        let unknown = |part: &Arc<dyn Part>| PartHealth {
            name: part.name(),
            kind: part.kind(),
            ok: false,
            vital: part.is_vital(),
            since: now,
            took_ms: 0.0,
            error: Some("not asked yet".to_owned()),
        };
        let known = parts.iter().map(unknown).collect();
        Self { state: Mutex::new(State { known, asked: None }) }
    }

    /// Asks every part that the server has, for ever.
    pub(super) async fn watch(&self, subject: &dyn Subject) -> std::convert::Infallible {
        loop {
            self.ask(&subject.parts()).await;
            sleep(PERIOD).await;
        }
    }

    /// Asks every part once, all at the same time.
    pub(super) async fn ask(&self, parts: &[Arc<dyn Part>]) {
        let asking = parts.iter().map(|part| async {
            let began = Instant::now();
            let answer = match timeout(ANSWER_TIME, part.ask()).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("no answer within {ANSWER_TIME:?}")),
            };
            (answer, began.elapsed())
        });
        let answers = join_all(asking).await;
        let mut state = self.state.lock();
        let first = state.asked.replace(Instant::now()).is_none();
        let before = std::mem::take(&mut state.known);
        state.known = parts
            .iter()
            .zip(answers)
            .map(|(part, (answer, took))| {
                let (name, kind, ok) = (part.name(), part.kind(), answer.is_ok());
                let same = before.iter().find(|it| it.name == name && it.ok == ok && !first);
                PartHealth {
                    name,
                    kind,
                    ok,
                    vital: part.is_vital(),
                    since: same.map_or_else(SystemTime::now, |it| it.since),
                    took_ms: took.as_secs_f64() * 1000.0,
                    error: answer.err(),
                }
            })
            .collect();
    }

    /// What is known. Nothing is well where the questions have ended.
    pub(super) fn read(&self) -> Vec<PartHealth> {
        let state = self.state.lock();
        let mut known = state.known.clone();
        if state.asked.is_some_and(|asked| asked.elapsed() >= STALE) {
            for part in &mut known {
                part.ok = false;
                part.error = Some(format!("not asked for {STALE:?}"));
            }
        }
        known
    }

    /// Whether every part works that is needed.
    pub(super) fn is_ready(&self) -> bool {
        is_ready(&self.read())
    }
}

/// Whether every part works that is needed.
pub(super) fn is_ready(parts: &[PartHealth]) -> bool {
    parts.iter().all(|part| part.ok || !part.vital)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    struct Switch(AtomicBool);

    #[async_trait::async_trait]
    impl Part for Switch {
        fn name(&self) -> String {
            "metadata.stores.m".to_owned()
        }

        fn kind(&self) -> &'static str {
            "memory"
        }

        async fn ask(&self) -> Result<(), String> {
            if self.0.load(Ordering::Relaxed) { Ok(()) } else { std::future::pending().await }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_does_not_answer_is_not_ready_and_is_when_it_does() {
        let part = Arc::new(Switch(AtomicBool::new(true)));
        let parts: [Arc<dyn Part>; 1] = [part.clone()];
        let health = Health::new(&parts);
        assert!(!health.is_ready(), "it was not asked");
        health.ask(&parts).await;
        let since = health.read()[0].since;
        assert!(health.is_ready());
        health.ask(&parts).await;
        assert_eq!(health.read()[0].since, since, "nothing has changed");
        part.0.store(false, Ordering::Relaxed);
        health.ask(&parts).await;
        let [known] = &health.read()[..] else { panic!() };
        assert!(!known.ok && known.since > since);
        assert_eq!(known.error.as_deref(), Some("no answer within 4s"));
        part.0.store(true, Ordering::Relaxed);
        health.ask(&parts).await;
        assert!(health.is_ready());
        tokio::time::advance(STALE).await;
        assert!(!health.is_ready(), "nobody asks any more");
        health.ask(&[]).await;
        assert!(health.is_ready() && health.read().is_empty(), "the part is gone");
    }
}
