//! A whole server from a configuration: stores, exports, programs, the listening server, and their
//! orderly end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::mount::Mount;
use crate::net::{
    Admission, BindError, LAST_GRACE, Server, ServerHandle, ServerSettings, TaskFailed, supervised,
};
use crate::nfs3::Nfs3;
use crate::stores::{self, StoreError, Stores, exports};
use crate::vfs::Vfs;

/// How long unflushed data may take to be written at the end, after the requests.
const FLUSH_TIME: Duration = Duration::from_secs(10);
/// How long the end may take after the drain timeout: cancelled requests, unflushed data, and stores that
/// are closed.
pub const AFTER_DRAIN: Duration =
    LAST_GRACE.saturating_add(FLUSH_TIME).saturating_add(stores::CLOSE_TIME);

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A store or share cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no random write verifier to be had.
    #[error("the system's random number generator failed")]
    Random(#[source] std::io::Error),
    /// The address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// A server that listens on its address and has its shares open, but does not answer yet.
#[derive(Debug)]
pub struct Daemon {
    server: Server,
    vfs: Arc<Vfs>,
    stores: Stores,
}

impl Daemon {
    /// Opens the stores and shares, then listens. Clients that connect wait until
    /// [`Daemon::run`].
    ///
    /// # Errors
    /// The first store, share or address that cannot be had; what was open is closed again, and nothing
    /// listens.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let mut stores = Stores::default();
        match Self::assemble(config, &mut stores).await {
            Ok((server, vfs)) => Ok(Self { server, vfs, stores }),
            Err(error) => {
                stores.close().await;
                Err(error)
            }
        }
    }

    async fn assemble(
        config: &Config,
        stores: &mut Stores,
    ) -> Result<(Server, Arc<Vfs>), StartError> {
        // Before anything is created. Connections are refused until the shares are open.
        Server::look_at(config.server.listener.listen)?;
        let exports = exports::open(stores, config).await?;
        let vfs = Vfs::new(exports).map_err(StartError::Random)?;
        let server = Server::bind(
            settings(config),
            vec![Arc::new(Nfs3::new(vfs.clone())), Arc::new(Mount::new(vfs.clone()))],
        )
        .await?;
        Ok((server, vfs))
    }

    /// Where the server listens, with the port that it was given.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// A hold on the server while it runs.
    #[must_use]
    pub fn control(&self) -> Control {
        Control { server: self.server.handle(), vfs: self.vfs.clone() }
    }

    /// Serves until `shutdown` fires; then requests in flight are finished within the drain timeout,
    /// unflushed data is written and the stores are closed.
    ///
    /// # Errors
    /// [`TaskFailed`] where a task of the server panicked; `shutdown` has fired then, and the end was as
    /// orderly as without.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), TaskFailed> {
        let Self { server, vfs, stores } = self;
        let stopped = CancellationToken::new();
        let maintain = {
            let (vfs, stopped) = (vfs.clone(), stopped.clone());
            async move { vfs.maintain(stopped).await }
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(supervised("flushing files by age", shutdown.clone(), maintain));
        let served = server.run(shutdown).await;
        stopped.cancel();
        let deadline = Instant::now() + FLUSH_TIME;
        let maintained = match timeout_at(deadline, tasks.join_next()).await {
            Ok(Some(Ok(maintained))) => maintained,
            Ok(Some(Err(_)) | None) => Ok(()),
            Err(_) => {
                tracing::warn!("a flush did not finish in time; clients resend its data");
                Ok(())
            }
        };
        vfs.flush_all(deadline).await;
        stores.close().await;
        served.and(maintained)
    }
}

/// Changes what can be changed of a server while it runs.
#[derive(Clone, Debug)]
pub struct Control {
    server: ServerHandle,
    vfs: Arc<Vfs>,
}

impl Control {
    /// Takes over what another configuration says of the clients of shares that there are and of the times of
    /// calls, from the next call on. Nothing else of it counts.
    pub fn apply(&self, config: &Config) {
        for share in &config.shares {
            self.vfs.set_rules(&share.name, stores::rules(share));
        }
        let settings = settings(config);
        self.server.set_times(
            settings.request_timeout,
            settings.slow_calls,
            settings.drain_timeout,
        );
        self.server.set_idle_timeout(settings.idle_timeout);
        self.server.set_admission(settings.admission);
    }
}

/// The networks that the rules of any share admit.
fn clients(config: &Config) -> Vec<IpNet> {
    let clients = config.shares.iter().flat_map(|share| &share.clients);
    clients.map(|client| client.network).collect()
}

fn settings(config: &Config) -> ServerSettings {
    let listener = &config.server.listener;
    ServerSettings {
        listen: vec![listener.listen],
        admission: Admission::new(&clients(config), &listener.probe_networks),
        slow_calls: config.logging.slow_calls,
        ..config.server.settings.clone()
    }
}
