//! A server that can be paused and killed: a store in a runtime of its own.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use trunkfs::metadata::postgres::{PostgresStore, Settings};
use trunkfs::metadata::{Error, MetadataStore as _, Namespace};

/// A server of the test.
pub(super) struct Instance {
    /// Its store, as calls see it.
    store: Arc<dyn Namespace>,
    postgres: Option<Arc<PostgresStore>>,
    handle: Handle,
    /// None of one that shares the test's, or was killed.
    runtime: Mutex<Option<Runtime>>,
}

impl Instance {
    /// A store of the test's own runtime.
    pub(super) fn here(store: Arc<dyn Namespace>) -> Self {
        Self { store, postgres: None, handle: Handle::current(), runtime: Mutex::default() }
    }

    pub(super) async fn start(settings: Settings) -> Self {
        // One thread: what blocks it pauses all of the server.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let connecting = handle.spawn(async move {
            // A cut that waits for a connection may meet this one.
            loop {
                match PostgresStore::connect(settings.clone()).await {
                    Err(Error::Unavailable(_)) => {}
                    connected => return connected.unwrap(),
                }
            }
        });
        let store = Arc::new(connecting.await.unwrap());
        let runtime = Mutex::new(Some(runtime));
        Self { store: store.clone(), postgres: Some(store), handle, runtime }
    }

    /// A call's reply; none where the server was killed meanwhile.
    pub(super) async fn call<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        work: impl FnOnce(Arc<dyn Namespace>) -> F,
    ) -> Option<T> {
        match self.handle.spawn(work(self.store.clone())).await {
            Ok(reply) => Some(reply),
            Err(error) if error.is_cancelled() => None,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// The server stands still, its timers and its connections too, as with SIGSTOP.
    pub(super) fn pause(&self, time: Duration) {
        drop(self.handle.spawn(async move { std::thread::sleep(time) }));
    }

    /// The server is gone in the middle of what it does; its connections end.
    pub(super) fn kill(&self) {
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }

    /// The server ends in order.
    pub(super) async fn end(&self) {
        if let Some(store) = self.postgres.clone() {
            let closing = self.handle.spawn(async move { store.close().await });
            closing.await.unwrap();
        }
        self.kill();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
    }
}
