//! From the socket to a program's call and back (RFC 5531), with a program made for the purpose.

mod connections;
mod flow;
mod memory;
mod messages;
mod program;
mod records;
mod replay;
mod shutdown;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use trunkfs::net::{Server, ServerHandle, ServerSettings, TaskFailed};

use self::program::{NUMBER, Scripted, VERSION};
use crate::again::{again, given};
use crate::client::{Call, Connection, PATIENCE};

/// Long enough for what must not happen to happen.
const A_WHILE: Duration = Duration::from_millis(150);

/// A server with the scripted program, in this process.
struct Fixture {
    address: SocketAddr,
    script: Arc<Scripted>,
    handle: ServerHandle,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), TaskFailed>>,
}

impl Fixture {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut ServerSettings)) -> Self {
        let mut settings = ServerSettings::new(vec![([127, 0, 0, 1], 0).into()]);
        // The scripted program has no handles.
        settings.unproven_connections = settings.max_connections;
        // Most connections come from one address.
        settings.max_connections_per_client = settings.max_connections;
        change(&mut settings);
        let script = Arc::new(Scripted::default());
        let server = Server::bind(settings, vec![script.clone()]).await.unwrap();
        let (address, handle) = (server.local_addr(), server.handle());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(server.run(shutdown.clone()));
        Self { address, script, handle, shutdown, task }
    }

    async fn connect(&self) -> Connection {
        Connection::open(self.address).await
    }

    /// Connects as another client, 127.0.1.`last`.
    async fn connect_as(&self, last: u8) -> Connection {
        Connection::open_from([127, 0, 1, last].into(), self.address).await
    }

    /// Waits until the server has ended by itself.
    async fn ended(self) {
        timeout(PATIENCE, self.task).await.expect("the server ends in time").unwrap().unwrap();
    }
}

/// Runs a case in a process of its own, as it measures the whole process.
fn alone<F: Future<Output = ()>>(test: &str, case: impl FnOnce() -> F) {
    if given().is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        return runtime.unwrap().block_on(case());
    }
    let ran = again(test, "alone").output().unwrap();
    let out = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && out.contains("1 passed"), "{ran:?}");
}

/// A call of the scripted program.
fn call(procedure: u32) -> Call {
    Call::new(NUMBER, VERSION, procedure)
}
