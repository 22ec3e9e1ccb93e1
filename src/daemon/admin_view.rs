//! The server as its admin port shows it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};

use super::control::Asked;
use super::{locks_view, upkeep};
use crate::config::Config;
use crate::counters::{Clients, Measured, Readings, SlowCall};
use crate::http::{About, LocksState, MaintenanceState, Part, Reloaded, ShareState, Subject};
use crate::maintenance::Maintenance;
use crate::net::ServerHandle;
use crate::nlm::LockService;
use crate::portmap::Registration;
use crate::rpc::null_probe::{Service, own_address, probe};
use crate::stores::{StoreProbe, Stores};
use crate::types::Chain;
use crate::vfs::{ShareOverview, Vfs};

/// How long the server may take to answer on its own port.
const ANSWER_TIME: Duration = Duration::from_secs(3);

/// What serves.
pub(super) struct Serving {
    pub(super) server: ServerHandle,
    pub(super) vfs: Arc<Vfs>,
    pub(super) locks: Option<Arc<LockService>>,
    pub(super) registration: Option<Arc<Registration>>,
    pub(super) reload: mpsc::Sender<Asked>,
    pub(super) maintenance: Arc<Maintenance>,
}

/// What the port shows.
pub(super) struct AdminView {
    serving: Serving,
    shown: RwLock<Shown>,
}

/// What changes with the configuration.
struct Shown {
    about: Arc<About>,
    measured: Vec<(String, Arc<dyn Measured>)>,
    parts: Vec<Arc<dyn Part>>,
    /// The names of each share's stores, by the share's name.
    stores: BTreeMap<String, (String, String)>,
}

impl Shown {
    fn new(about: About, config: &Config, stores: &Stores, serving: &Serving) -> Self {
        let mut parts: Vec<Arc<dyn Part>> = vec![Arc::new(Nfs(own_address(about.nfs)))];
        for store in stores.probes(config) {
            parts.push(Arc::new(store));
        }
        if let Some(registration) = &serving.registration {
            parts.push(Arc::new(locks_view::Registered(registration.clone())));
        }
        let names = config.shares.iter().map(|share| {
            let stores = (share.metadata_store.clone(), share.content_store.clone());
            (share.name.to_string(), stores)
        });
        let (stores, measured) = (names.collect(), stores.measured());
        Self { about: Arc::new(about), measured, parts, stores }
    }
}

impl AdminView {
    pub(super) fn new(about: About, config: &Config, stores: &Stores, serving: Serving) -> Self {
        let shown = RwLock::new(Shown::new(about, config, stores, &serving));
        Self { serving, shown }
    }

    /// Shows another configuration, `configuration` as text, and what of it waits for a restart.
    pub(super) fn show(
        &self,
        config: &Config,
        stores: &Stores,
        configuration: String,
        restart: Vec<String>,
    ) {
        let about = About { configuration, restart, ..(*self.about()).clone() };
        *self.shown.write() = Shown::new(about, config, stores, &self.serving);
    }
}

#[async_trait::async_trait]
impl Subject for AdminView {
    fn about(&self) -> Arc<About> {
        self.shown.read().about.clone()
    }

    async fn reload(&self) -> Option<Reloaded> {
        let (asked, outcome) = oneshot::channel();
        self.serving.reload.send(asked).await.ok()?;
        outcome.await.ok()
    }

    fn maintenance(&self) -> MaintenanceState {
        upkeep::state(&self.serving.maintenance)
    }

    fn begin_maintenance(&self) -> bool {
        self.serving.maintenance.begin();
        self.serving.maintenance.has_work()
    }

    fn parts(&self) -> Vec<Arc<dyn Part>> {
        self.shown.read().parts.clone()
    }

    fn clients(&self) -> &Arc<Clients> {
        self.serving.server.clients()
    }

    fn slow(&self) -> Vec<SlowCall> {
        self.serving.server.slow().read()
    }

    fn locks(&self) -> Option<LocksState> {
        self.serving.locks.as_ref().map(|locks| locks_view::state(locks.overview()))
    }

    fn share_name(&self, number: u32) -> Option<String> {
        self.serving.vfs.share_name(number).map(|name| name.to_string())
    }

    fn measure(&self) -> Readings {
        let mut readings = Readings::default();
        self.serving.server.read(&mut readings);
        Measured::read(&*self.serving.vfs, &mut readings);
        if let Some(locks) = &self.serving.locks {
            Measured::read(&**locks, &mut readings);
        }
        if let Some(registration) = &self.serving.registration {
            Measured::read(&**registration, &mut readings);
        }
        Measured::read(&*self.serving.maintenance, &mut readings);
        let measured = self.shown.read().measured.clone();
        for (store, part) in &measured {
            readings.of_store(store, &**part);
        }
        readings
    }

    async fn shares(&self) -> Vec<ShareState> {
        let shares = self.serving.vfs.overview().await.into_iter();
        let shown = self.shown.read();
        shares.map(|share| state(share, &shown.stores)).collect()
    }
}

fn state(share: ShareOverview, stores: &BTreeMap<String, (String, String)>) -> ShareState {
    let ShareOverview { name, usage, capacity, unflushed } = share;
    let (metadata_store, content_store) = stores.get(name.as_str()).cloned().unwrap_or_default();
    let errors = [usage.as_ref().err(), capacity.as_ref().err()];
    let errors: Vec<_> = errors.into_iter().flatten().map(String::as_str).collect();
    let error = (!errors.is_empty()).then(|| errors.join("; "));
    let capacity = capacity.ok().flatten();
    ShareState {
        name: name.to_string(),
        metadata_store,
        content_store,
        used_bytes: usage.as_ref().ok().map(|usage| usage.bytes),
        objects: usage.as_ref().ok().map(|usage| usage.objects),
        total_bytes: capacity.map(|capacity| capacity.total),
        available_bytes: capacity.map(|capacity| capacity.available),
        unflushed_files: unflushed.files,
        unflushed_bytes: unflushed.bytes,
        error,
    }
}

/// The port of NFS, called as a client calls it.
struct Nfs(SocketAddr);

#[async_trait::async_trait]
impl Part for Nfs {
    fn name(&self) -> String {
        "nfs".to_owned()
    }

    fn kind(&self) -> &'static str {
        "port"
    }

    async fn ask(&self) -> Result<(), String> {
        match probe(self.0, Service::Nfs, ANSWER_TIME).await {
            Ok(()) => Ok(()),
            // It has as many connections as it may.
            Err(error) if error.is_alive() => Ok(()),
            Err(error) => Err(Chain(&error).to_string()),
        }
    }
}

#[async_trait::async_trait]
impl Part for StoreProbe {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn kind(&self) -> &'static str {
        self.kind
    }

    async fn ask(&self) -> Result<(), String> {
        StoreProbe::ask(self).await
    }
}
