//! A hold on a server while it runs: another configuration, of which it takes over what it can.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::admin_view::AdminView;
use super::{FLUSH_TIME, settings, upkeep};
use crate::config::{Change, Config, How, Loaded, Share, yaml};
use crate::http::{Reloaded, Token};
use crate::maintenance::Maintenance;
use crate::net::ServerHandle;
use crate::nlm::LockService;
use crate::stores::{StoreError, Stores, exports};
use crate::vfs::Vfs;

/// Who waits for the outcome of a reload.
pub(super) type Asked = oneshot::Sender<Reloaded>;

/// What a server runs by.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) stores: Stores,
    /// The configuration that counts.
    pub(super) config: Config,
}

/// Changes what can be changed of a server while it runs.
#[derive(Clone)]
pub struct Control {
    pub(super) server: ServerHandle,
    pub(super) vfs: Arc<Vfs>,
    pub(super) locks: Option<Arc<LockService>>,
    pub(super) maintenance: Arc<Maintenance>,
    pub(super) token: Option<Token>,
    pub(super) view: Option<Arc<AdminView>>,
    /// Held while a configuration is taken over: one after the other, and not while the stores are closed.
    pub(super) running: Arc<Mutex<Running>>,
    pub(super) asked: Arc<Mutex<mpsc::Receiver<Asked>>>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("server", &self.server).finish_non_exhaustive()
    }
}

/// What a server has taken over.
#[derive(Debug)]
pub struct Applied {
    /// The configuration that counts now.
    pub config: Config,
    /// What has changed.
    pub taken: Vec<Change>,
    /// What differs from the configuration that was read, and takes a restart.
    pub waits: Vec<Change>,
}

/// Why nothing was taken over.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The server stops.
    #[error("the server stops")]
    Stops,
    /// The process may not have as much open.
    #[error("{0}")]
    Limits(String),
    /// A store refuses its new settings, or one of a new share cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no random write verifier to be had.
    #[error("the system's random number generator failed")]
    Random(#[source] std::io::Error),
}

impl Control {
    /// Waits until the admin port is asked to have the configuration read again: all who ask.
    pub async fn reload_asked(&self) -> Vec<oneshot::Sender<Reloaded>> {
        let mut asked = self.asked.lock().await;
        let Some(first) = asked.recv().await else { return std::future::pending().await };
        let mut all = vec![first];
        while let Ok(more) = asked.try_recv() {
            all.push(more);
        }
        all
    }

    /// Has those who ask for a reload told from now on that the server stops.
    pub async fn end_reloads(&self) {
        let mut asked = self.asked.lock().await;
        asked.close();
        while asked.try_recv().is_ok() {}
    }

    /// Takes over what can be of another configuration: all of that, or nothing. First what may fail is done
    /// beside the server: new passwords and keys are tried, and new shares opened. Then the server goes on
    /// with it, and shares that are not there any more end: their handles are stale at once, their data is
    /// flushed, and their stores are closed where no other share has them. `prepare` fits a configuration to
    /// the process.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub async fn apply(
        &self,
        new: &Loaded,
        prepare: impl Fn(&Config) -> Result<Config, String>,
        stop: &CancellationToken,
    ) -> Result<Applied, ApplyError> {
        let mut running = self.running.lock().await;
        let Running { stores, config: before } = &mut *running;
        let now = before.taking(&new.config);
        let open = prepare(&now).map_err(ApplyError::Limits)?;
        let is_new = |new: &Share| !before.shares.iter().any(|share| share.name == new.name);
        let trying = async {
            stores.keep_exclusive(before, &now)?;
            let renewals = stores.try_settings(before, &now).await?;
            Ok::<_, StoreError>((renewals, exports::open_those(stores, &open, is_new).await?))
        };
        let tried: Result<_, ApplyError> = match stop.run_until_cancelled(trying).await {
            Some(tried) => tried.map_err(ApplyError::Store),
            None => Err(ApplyError::Stops),
        };
        let added = tried.and_then(|(renewals, exports)| {
            self.vfs.add_shares(exports).map_err(ApplyError::Random)?;
            Ok(renewals)
        });
        let renewals = match added {
            Ok(renewals) => renewals,
            Err(error) => {
                stores.close_unused(before).await;
                return Err(error);
            }
        };
        let mut taken = before.changes(&now);
        for store in &renewals.reread {
            taken.push(Change { key: format!("{store}: a secret"), how: How::Changed });
        }
        let waits = now.changes(&new.config);
        stores.take_over(renewals);
        self.adjust(&now, stores);
        self.show(new, &now, &waits, stores);
        let gone: Vec<_> = before
            .shares
            .iter()
            .filter(|share| !now.shares.iter().any(|it| it.name == share.name))
            .map(|share| &share.name)
            .collect();
        let drain = now.server.settings.drain_timeout;
        join_all(gone.iter().map(|share| self.vfs.remove_share(share, drain, FLUSH_TIME))).await;
        stores.close_unused(&now).await;
        if !gone.is_empty() {
            self.show(new, &now, &waits, stores);
        }
        before.clone_from(&now);
        Ok(Applied { config: now, taken, waits })
    }

    /// Sets what counts from the next call on.
    fn adjust(&self, config: &Config, stores: &Stores) {
        if let Some(locks) = &self.locks {
            locks.set_stores(stores.locks(&config.shares));
        }
        for share in &config.shares {
            self.vfs.set_rules(&share.name, share.clients.clone());
        }
        let settings = settings(config);
        self.server.set_times(
            settings.request_timeout,
            settings.slow_calls,
            settings.drain_timeout,
        );
        self.server.set_limits(
            settings.max_connections,
            settings.max_connections_per_client,
            settings.memory_budget,
        );
        self.server.set_idle_timeout(settings.idle_timeout);
        self.server.set_admission(settings.admission);
        if let Some(token) = &self.token {
            token.set(&config.admin);
        }
        self.maintenance.set(upkeep::plan(config, stores));
    }

    fn show(&self, new: &Loaded, config: &Config, waits: &[Change], stores: &Stores) {
        let Some(view) = &self.view else { return };
        let text = match waits.is_empty() {
            true => new.effective.clone(),
            false => {
                let waits = waits.iter().map(|change| format!("# {change}: takes a restart\n"));
                waits.chain([yaml(config)]).collect()
            }
        };
        let restart = waits.iter().map(ToString::to_string).collect();
        view.show(config, stores, text, restart);
    }
}
