//! Tasks without which a server does not serve: their panic ends it.

use std::future::Future;

use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use crate::types::Chain;

/// A task of the server, or a thread of a store, panicked.
#[derive(Debug, thiserror::Error)]
#[error("an error in TrunkFS: the task \"{task}\" has ended, and the server with it")]
pub struct TaskFailed {
    task: &'static str,
    source: Option<JoinError>,
}

impl TaskFailed {
    fn new(task: &'static str, source: Option<JoinError>, shutdown: &CancellationToken) -> Self {
        let error = Self { task, source };
        tracing::error!(error = %Chain(&error), "the server stops");
        shutdown.cancel();
        error
    }

    /// Logs that a thread or task of a store panicked, and fires `shutdown`.
    #[must_use]
    pub fn of_store(task: &'static str, shutdown: &CancellationToken) -> Self {
        Self::new(task, None, shutdown)
    }
}

/// Runs a task of the server. A panic is logged, and fires `shutdown`.
///
/// # Errors
/// [`TaskFailed`] where the task panicked.
pub async fn supervised(
    task: &'static str,
    shutdown: CancellationToken,
    future: impl Future<Output = ()> + Send + 'static,
) -> Result<(), TaskFailed> {
    tokio::spawn(future).await.map_err(|source| TaskFailed::new(task, Some(source), &shutdown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_fires_the_shutdown_at_once() {
        let shutdown = CancellationToken::new();
        let task = supervised("accept", shutdown.clone(), async { panic!("as the case wants it") });
        let error = task.await.unwrap_err();
        assert!(error.source.is_some_and(|it| it.is_panic()) && shutdown.is_cancelled());
    }

    #[tokio::test]
    async fn a_task_may_end_by_itself() {
        let shutdown = CancellationToken::new();
        supervised("watchdog", shutdown.clone(), async {}).await.unwrap();
        assert!(!shutdown.is_cancelled());
    }
}
