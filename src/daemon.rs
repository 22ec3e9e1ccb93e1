//! A whole server from a configuration: stores, exports, programs, the listening server, and their
//! orderly end.

mod admin_view;
mod control;
mod locks_view;
mod ports;
mod upkeep;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use self::admin_view::{AdminView, Serving};
use self::control::Running;
pub use self::control::{Applied, ApplyError, Control};
use self::ports::{PortMapperError, Ports};
use crate::config::{Config, Loaded};
use crate::http::{About, Port, PortError};
use crate::maintenance::{Executable, Maintenance};
use crate::mount::{Mount, MountVersion1};
use crate::net::{
    Admission, BindError, LAST_GRACE, Server, ServerSettings, Service, TaskFailed, supervised,
};
use crate::nfs3::Nfs3;
use crate::nlm::{LockService, Nlm};
use crate::nsm::{self, Nsm};
use crate::portmap::Mapping;
use crate::rpc::{Program, Protocol};
use crate::stores::{self, StoreError, Stores, exports};
use crate::types::Chain;
use crate::vfs::Vfs;

/// How long unflushed data may take to be written at the end, after the requests.
const FLUSH_TIME: Duration = Duration::from_secs(10);
/// How long the end may take after the drain timeout: cancelled requests, unflushed data, and stores that
/// are closed.
pub const AFTER_DRAIN: Duration =
    LAST_GRACE.saturating_add(FLUSH_TIME).saturating_add(stores::CLOSE_TIME);

/// Requests for a reload that may wait for one: as many as the admin port has connections.
const RELOADS: usize = 64;

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
    /// The port mapper's port cannot be listened on.
    #[error(transparent)]
    PortMapper(#[from] PortMapperError),
    /// The admin port cannot be had.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The program that serves.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// Its version.
    pub version: &'static str,
    /// The source revision that it was built from.
    pub commit: &'static str,
}

/// A server that listens on its address and has its shares open, but does not answer yet.
pub struct Daemon {
    server: Server,
    ports: Ports,
    port: Option<Port>,
    control: Control,
}

/// What serves.
struct Assembled {
    server: Server,
    ports: Ports,
    vfs: Arc<Vfs>,
    locks: Option<Arc<LockService>>,
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Daemon {
    /// Listens on the admin port, opens the stores and shares, then listens. Clients that connect wait until
    /// [`Daemon::run`]. `fitting` is the configuration as it fits the process, `source` what it was read
    /// from, and `program` runs the jobs of its maintenance.
    ///
    /// # Errors
    /// The first store, share or address that cannot be had; what was open is closed again, and nothing
    /// listens.
    pub async fn start(
        loaded: &Loaded,
        fitting: &Config,
        source: &str,
        build: Build,
        program: Executable,
    ) -> Result<Self, StartError> {
        let started = SystemTime::now();
        // Before anything is created.
        let port = Port::bind(&fitting.admin).await?;
        let mut stores = Stores::default();
        let Assembled { server, ports, vfs, locks } =
            match Self::assemble(fitting, &mut stores).await {
                Ok(assembled) => assembled,
                Err(error) => {
                    stores.close().await;
                    return Err(error);
                }
            };
        let plan = upkeep::plan(fitting, &stores);
        let maintenance = Arc::new(Maintenance::new(program, plan));
        let (ask, asked) = mpsc::channel(RELOADS);
        let view = port.as_ref().map(|_| {
            let about = About {
                version: build.version,
                commit: build.commit,
                source: source.to_owned(),
                configuration: loaded.effective.clone(),
                nfs: server.local_addr(),
                restart: Vec::new(),
                started,
            };
            let serving = Serving {
                server: server.handle(),
                vfs: vfs.clone(),
                locks: locks.clone(),
                registration: ports.registration(),
                reload: ask,
                maintenance: maintenance.clone(),
            };
            Arc::new(AdminView::new(about, fitting, &stores, serving))
        });
        let control = Control {
            server: server.handle(),
            vfs,
            locks,
            maintenance,
            token: port.as_ref().map(Port::token),
            view,
            running: Arc::new(Mutex::new(Running { stores, config: loaded.config.clone() })),
            asked: Arc::new(Mutex::new(asked)),
        };
        Ok(Self { server, ports, port, control })
    }

    async fn assemble(config: &Config, stores: &mut Stores) -> Result<Assembled, StartError> {
        // Before anything is created. Connections are refused until the shares are open.
        Server::look_at(config.server.listener.listen)?;
        let exports = exports::open(stores, config).await?;
        let vfs = Vfs::new(exports).map_err(StartError::Random)?;
        let mount = Arc::new(Mount::new(vfs.clone()));
        let locks = config
            .locks
            .enabled
            .then(|| LockService::new(vfs.clone(), stores.locks(&config.shares), &config.locks));
        // What is served over UDP too: NFS is not.
        let mut beside: Vec<Arc<dyn Program>> = vec![mount.clone(), Arc::new(MountVersion1(mount))];
        if let Some(locks) = &locks {
            let versions = Nlm::versions(locks);
            beside.extend(versions.into_iter().map(|it| Arc::new(it) as Arc<dyn Program>));
            beside.push(Arc::new(Nsm::new(locks.clone())));
        }
        let mut programs: Vec<Arc<dyn Program>> = vec![Arc::new(Nfs3::new(vfs.clone()))];
        programs.extend_from_slice(&beside);
        let mut server = Server::bind(settings(config), programs.clone()).await?;
        server.count_clients(stores.clients());
        let address = server.local_addr();
        let mut mappings = mappings(&programs, Protocol::Tcp, address);
        // mount(8) and umount(8) ask for MOUNT over UDP first, and wait where that is not there. Clients that
        // have rebooted send their notices over UDP alone.
        let datagrams = Service { address, protocol: Protocol::Udp, programs: beside.clone() };
        match server.also(datagrams).await {
            Ok(address) => mappings.extend(self::mappings(&beside, Protocol::Udp, address)),
            Err(error) => {
                tracing::warn!(error = %Chain(&error),
                    "MOUNT and locks are not served over UDP, only over TCP");
            }
        }
        let ports = Ports::open(&mut server, &config.server.listener, mappings).await?;
        Ok(Assembled { server, ports, vfs, locks })
    }

    /// Where the admin port is, unless it is off.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.port.as_ref().map(Port::address)
    }

    /// Where the server listens, with the port that it was given.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Whether clients may leave the ports out: a port mapper knows them.
    #[must_use]
    pub fn ports_are_known(&self) -> bool {
        self.ports.are_known()
    }

    /// A hold on the server while it runs.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Serves until `shutdown` fires; then requests in flight are finished within the drain timeout,
    /// unflushed data is written and the stores are closed.
    ///
    /// # Errors
    /// [`TaskFailed`] where a task of the server panicked; `shutdown` has fired then, and the end was as
    /// orderly as without.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), TaskFailed> {
        let Self { server, ports, port, control } = self;
        let Control { vfs, locks, maintenance, view, running, .. } = control;
        let stopped = CancellationToken::new();
        let _port_ends = stopped.clone().drop_guard();
        if let (Some(port), Some(subject)) = (port, view) {
            // Its end, a panic too, leaves NFS as it is.
            tokio::spawn(port.serve(subject, stopped.clone()));
        }
        let maintain = {
            let (vfs, stopped) = (vfs.clone(), stopped.clone());
            async move { vfs.maintain(stopped).await }
        };
        let mut tasks = JoinSet::new();
        let capacity = upkeep::watch_capacity(vfs.clone(), stopped.clone());
        tasks.spawn(supervised("watching the capacity", shutdown.clone(), capacity));
        // A job that runs ends while requests are drained.
        let rounds = maintenance.run(shutdown.clone());
        tasks.spawn(supervised("maintenance", shutdown.clone(), rounds));
        tasks.spawn(supervised("flushing files by age", shutdown.clone(), maintain));
        let watched = locks.clone();
        if let Some(locks) = locks {
            let run = locks.run(server.handle().clients().clone(), shutdown.clone());
            tasks.spawn(supervised("waking locks", shutdown.clone(), run));
        }
        if let Ports::Registered { rpcbind, mappings, registered, registration } = ports {
            if let Some(locks) = watched {
                let (statd, stop) = (registration.clone(), shutdown.clone());
                let watch = nsm::watch(locks, move || statd.statd(), stop);
                tasks.spawn(supervised("watching reboots of clients", shutdown.clone(), watch));
            }
            let stop = shutdown.clone();
            let keep = async move { rpcbind.keep(mappings, registered, &registration, stop).await };
            tasks.spawn(supervised("keeping the ports registered", shutdown.clone(), keep));
        }
        let served = server.run(shutdown).await;
        stopped.cancel();
        let deadline = Instant::now() + FLUSH_TIME;
        let mut maintained = Ok(());
        loop {
            match timeout_at(deadline, tasks.join_next()).await {
                Ok(Some(Ok(ended))) => maintained = maintained.and(ended),
                Ok(Some(Err(_))) => {}
                Ok(None) => break,
                Err(_) => {
                    tracing::warn!("a flush did not finish in time; clients resend its data");
                    break;
                }
            }
        }
        vfs.flush_all(deadline).await;
        // Shares that are being removed are flushed first, within the same times.
        running.lock().await.stores.close().await;
        served.and(maintained)
    }
}

/// Where programs are served.
fn mappings(
    programs: &[Arc<dyn Program>],
    protocol: Protocol,
    address: SocketAddr,
) -> Vec<Mapping> {
    let mapping = |it: &Arc<dyn Program>| Mapping {
        program: it.number(),
        version: it.version(),
        protocol,
        address,
    };
    programs.iter().map(mapping).collect()
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
