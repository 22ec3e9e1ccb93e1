//! The one place that names concrete stores: from the configuration to open shares.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::shares::HomeError;
use super::waiting::{Failed, opened};
use crate::config::{self, Config};
use crate::content::{
    self, ContentStore, FilesystemContent, FilesystemSettings, Making, MemoryContent, OpenError,
};
use crate::metadata::memory::MemoryStore;
use crate::metadata::postgres::{PostgresStore, Settings};
use crate::metadata::sqlite::{self, SqliteFile, SqliteStore};
use crate::metadata::{self, Dump, MetadataStore, RootSpec, ShareSpec, Upkeep};
use crate::types::ShareName;
use crate::vfs::{ClientRule, ExportSettings, Squash, WriteBehind};

/// The chunk size of a new share in bytes, for content stores that keep chunks.
const CHUNK_SIZE: u32 = 4 << 20;
/// How long stores may take to give their connections back.
pub(super) const CLOSE_TIME: Duration = Duration::from_secs(5);

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A metadata store cannot be opened.
    #[error("metadata.stores.{name}: cannot open {place}{}", after(waited.as_ref()))]
    Metadata {
        /// Its name in the configuration.
        name: String,
        /// Where it is.
        place: String,
        /// How long it was waited for, where it was.
        waited: Option<Duration>,
        /// Why.
        source: metadata::Error,
    },
    /// A content store cannot be opened.
    #[error("content.stores.{name}")]
    Content {
        /// Its name in the configuration.
        name: String,
        /// Why.
        source: OpenError,
    },
    /// A content store that must be there is not.
    #[error("content.stores.{name}")]
    NoContent {
        /// Its name in the configuration.
        name: String,
        /// What is missing.
        source: OpenError,
    },
    /// What a content store holds cannot be listed.
    #[error("content.stores.{name}: cannot be listed")]
    Unlisted {
        /// Its name in the configuration.
        name: String,
        /// Why.
        source: content::Error,
    },
    /// A share's content is elsewhere.
    #[error(transparent)]
    Home(Box<HomeError>),
    /// A share cannot be opened in its metadata store.
    #[error("cannot open the share {share} in the metadata store {store}")]
    Share {
        /// The share.
        share: ShareName,
        /// The store's name in the configuration.
        store: String,
        /// Why.
        source: metadata::Error,
    },
    /// A share names a store that the configuration does not have.
    #[error("the share {share} names the store {name}, which is not configured")]
    Unknown {
        /// The share.
        share: ShareName,
        /// The name.
        name: String,
    },
}

impl From<HomeError> for StoreError {
    fn from(error: HomeError) -> Self {
        Self::Home(Box::new(error))
    }
}

/// Open stores. Those that no share names stay closed.
#[derive(Debug, Default)]
pub(super) struct Stores {
    metadata: BTreeMap<String, Arc<dyn MetadataStore>>,
    content: BTreeMap<String, Arc<dyn ContentStore>>,
}

impl Stores {
    /// Opens a share whose stores are open.
    pub(super) async fn export(
        &mut self,
        config: &Config,
        share: &config::Share,
    ) -> Result<ExportSettings, StoreError> {
        let content = self.content(config, share, Making::Never).await?;
        let metadata = self.metadata(config, share).await?;
        let config::Root { uid, gid, mode } = share.root;
        let spec = ShareSpec {
            name: share.name.clone(),
            root: RootSpec { uid, gid, mode: mode.bits() },
            chunk_size: CHUNK_SIZE,
        };
        let what = format!("the share {}", share.name);
        let limit = config.metadata.get(&share.metadata_store).map_or(Duration::ZERO, patience);
        let open = async || metadata.open_share(&spec).await;
        let opened = opened(&what, limit, open, is_away).await;
        let opened = opened.map_err(|failed| StoreError::Share {
            share: share.name.clone(),
            store: share.metadata_store.clone(),
            source: failed.error,
        })?;
        Ok(ExportSettings {
            share: opened,
            rules: rules(share),
            metadata,
            content,
            write_behind: WriteBehind::default(),
        })
    }

    /// A metadata store, opened where it is not open yet.
    pub(super) async fn metadata(
        &mut self,
        config: &Config,
        share: &config::Share,
    ) -> Result<Arc<dyn MetadataStore>, StoreError> {
        let name = &share.metadata_store;
        if let Some(store) = self.metadata.get(name) {
            return Ok(store.clone());
        }
        let settings = config.metadata.get(name).ok_or_else(|| unknown(share, name))?;
        let store: Arc<dyn MetadataStore> = match settings {
            config::Metadata::Memory => Arc::new(MemoryStore::new()),
            config::Metadata::Sqlite(settings) => {
                let failed = |source| StoreError::Metadata {
                    name: name.clone(),
                    place: settings.path.display().to_string(),
                    waited: None,
                    source,
                };
                Arc::new(SqliteStore::open(file(settings)).await.map_err(failed)?)
            }
            config::Metadata::Postgres(settings) => {
                let place = settings.target.to_string();
                let open = async || PostgresStore::connect(database(settings)).await;
                let store = opened(&place, settings.connect_retry, open, is_away).await;
                Arc::new(store.map_err(|Failed { error, waited }| StoreError::Metadata {
                    name: name.clone(),
                    place,
                    waited,
                    source: error,
                })?)
            }
        };
        self.metadata.insert(name.clone(), store.clone());
        Ok(store)
    }

    /// A content store, opened or made where it is not open yet.
    pub(super) async fn content(
        &mut self,
        config: &Config,
        share: &config::Share,
        making: Making,
    ) -> Result<Arc<dyn ContentStore>, StoreError> {
        let name = &share.content_store;
        if let Some(store) = self.content.get(name) {
            return Ok(store.clone());
        }
        let settings = config.content.get(name).ok_or_else(|| unknown(share, name))?;
        let store: Arc<dyn ContentStore> = match settings {
            config::Content::Memory => Arc::new(MemoryContent::new()),
            config::Content::Filesystem(settings) => {
                let failed = |source| match source {
                    OpenError::Absent { .. } => {
                        StoreError::NoContent { name: name.clone(), source }
                    }
                    source => StoreError::Content { name: name.clone(), source },
                };
                let settings = FilesystemSettings {
                    base_path: settings.base_path.clone(),
                    max_open_files: settings.max_open_files,
                };
                Arc::new(FilesystemContent::open_or_make(settings, making).await.map_err(failed)?)
            }
        };
        self.content.insert(name.clone(), store.clone());
        Ok(store)
    }

    /// Closes every metadata store, for at most [`CLOSE_TIME`].
    pub(super) async fn close(&self) {
        let mut closing = JoinSet::new();
        for (name, store) in self.metadata.clone() {
            closing.spawn(async move {
                if tokio::time::timeout(CLOSE_TIME, store.close()).await.is_err() {
                    tracing::warn!(store = name, "the metadata store does not close; left open");
                }
            });
        }
        closing.join_all().await;
    }
}

/// Why a store cannot be looked after.
#[derive(Debug, thiserror::Error)]
pub enum KeepingError {
    /// The configuration has no such store.
    #[error("the configuration has no metadata store {name}; it has {}", known.join(", "))]
    NoStore {
        /// The name.
        name: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// The store is in another process's memory.
    #[error("the metadata store {0} is in memory: nothing outside its server can see it")]
    InMemory(String),
    /// The store cannot be opened.
    #[error("metadata.stores.{name}: cannot open {place}")]
    Closed {
        /// Its name in the configuration.
        name: String,
        /// Where it is.
        place: String,
        /// Why.
        source: metadata::Error,
    },
}

/// A metadata store to be dumped, whether servers have it open or not.
///
/// # Errors
/// The store is not there.
pub async fn open_for_dump(config: &Config, name: &str) -> Result<Box<dyn Dump>, KeepingError> {
    let failed = |place, source| KeepingError::Closed { name: name.to_owned(), place, source };
    match named(config, name)? {
        config::Metadata::Memory => Err(KeepingError::InMemory(name.to_owned())),
        config::Metadata::Sqlite(settings) => {
            let place = settings.path.display().to_string();
            let file = SqliteFile::open(settings.path.clone()).await;
            Ok(Box::new(file.map_err(|error| failed(place, error))?))
        }
        config::Metadata::Postgres(settings) => {
            let place = settings.target.to_string();
            let store = PostgresStore::connect(database(settings)).await;
            Ok(Box::new(store.map_err(|error| failed(place, error))?))
        }
    }
}

/// A metadata store to be changed as a whole. A SQLite file must have no server.
///
/// # Errors
/// The store is not there, or somebody else's.
pub async fn open_for_load(config: &Config, name: &str) -> Result<Box<dyn Upkeep>, KeepingError> {
    let failed = |place, source| KeepingError::Closed { name: name.to_owned(), place, source };
    match named(config, name)? {
        config::Metadata::Memory => Err(KeepingError::InMemory(name.to_owned())),
        config::Metadata::Sqlite(settings) => {
            let place = settings.path.display().to_string();
            let store = SqliteStore::open(file(settings)).await;
            Ok(Box::new(store.map_err(|error| failed(place, error))?))
        }
        config::Metadata::Postgres(settings) => {
            let place = settings.target.to_string();
            let store = PostgresStore::connect(database(settings)).await;
            Ok(Box::new(store.map_err(|error| failed(place, error))?))
        }
    }
}

fn named<'c>(config: &'c Config, name: &str) -> Result<&'c config::Metadata, KeepingError> {
    config.metadata.get(name).ok_or_else(|| KeepingError::NoStore {
        name: name.to_owned(),
        known: config.metadata.keys().cloned().collect(),
    })
}

/// How long a store that is not there at the start is waited for.
fn patience(store: &config::Metadata) -> Duration {
    match store {
        config::Metadata::Memory | config::Metadata::Sqlite(_) => Duration::ZERO,
        config::Metadata::Postgres(settings) => settings.connect_retry,
    }
}

/// Whether a store may come by itself.
fn is_away(error: &metadata::Error) -> bool {
    matches!(error, metadata::Error::Unavailable(_))
}

fn after(waited: Option<&Duration>) -> String {
    waited.map(|waited| format!(" after {waited:.0?} (connect_retry)")).unwrap_or_default()
}

fn unknown(share: &config::Share, name: &str) -> StoreError {
    StoreError::Unknown { share: share.name.clone(), name: name.to_owned() }
}

fn file(settings: &config::Sqlite) -> sqlite::Settings {
    sqlite::Settings {
        quick_check: settings.quick_check,
        cache_size: settings.cache_size,
        ..sqlite::Settings::new(settings.path.clone())
    }
}

fn database(settings: &config::Postgres) -> Settings {
    Settings {
        target: settings.target.clone(),
        max_connections: settings.max_connections,
        min_connections: settings.min_connections,
        max_idle_time: settings.max_idle_time,
        health_check_period: settings.health_check_period,
        connect_timeout: settings.connect_timeout,
        acquire_timeout: settings.acquire_timeout,
        statement_timeout: settings.statement_timeout,
        auto_migrate: settings.auto_migrate,
    }
}

/// A share's rules.
pub(super) fn rules(share: &config::Share) -> Vec<ClientRule> {
    share.clients.iter().map(rule).collect()
}

fn rule(client: &config::Client) -> ClientRule {
    ClientRule {
        network: client.network,
        read_only: match client.access {
            config::Access::ReadWrite => false,
            config::Access::ReadOnly => true,
        },
        squash: match client.squash {
            config::Squash::Root => Squash::Root,
            config::Squash::None => Squash::None,
            config::Squash::All => Squash::All,
        },
        anonymous: (client.anonuid, client.anongid),
        reserved_port: client.require_reserved_port,
    }
}
