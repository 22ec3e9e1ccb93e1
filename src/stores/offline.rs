//! Stores as maintenance opens them: beside the servers that serve them, one at a time, and not waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::binding::{self, Binding};
use super::{StoreError, Stores, preflight};
use crate::config::{self, Config};
use crate::content::{ContentStore, CreateMode};
use crate::metadata::postgres::{PostgresStore, Presence, Settings};
use crate::metadata::sqlite::{self, SqliteFile, SqliteStore};
use crate::metadata::{
    self, Catalog as _, Checkable, Dump, Load, LockRecords, Repairable, Server, Share,
};
use crate::types::ShareName;

/// Why a store cannot be looked after.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The configuration has no such store.
    #[error("the configuration has no metadata store {name}; it has {}", known.join(", "))]
    NoStore { name: String, known: Vec<String> },
    /// The store is in another process's memory.
    #[error("the metadata store {0} is in memory: only its server can access it")]
    InMemory(String),
    /// The configuration has no such content store.
    #[error("the configuration has no content store {name}; it has {}", known.join(", "))]
    NoContent { name: String, known: Vec<String> },
    /// The content is in another process's memory.
    #[error("the content store {0} is in memory: only its server can access it")]
    ContentInMemory(String),
    /// A content store cannot be opened.
    #[error(transparent)]
    Content(#[from] StoreError),
    /// What a metadata store says of itself cannot be read.
    #[error("metadata.stores.{name}")]
    Unread { name: String, source: metadata::Error },
    /// A file has a server, or another repair.
    #[error(
        "metadata.stores.{name}: stop the server of a SQLite store before --repair (a check without --repair \
         works while it runs)"
    )]
    Served { name: String, source: metadata::Error },
    /// The store cannot be opened.
    #[error("metadata.stores.{name}: cannot open {place}")]
    Closed { name: String, place: String, source: metadata::Error },
}

/// A metadata store to be changed as a whole. A SQLite file must have no server.
pub async fn open_for_load(config: &Config, name: &str) -> Result<Box<dyn Load>, OfflineError> {
    Ok(match named(config, name)? {
        config::Metadata::Memory { .. } => return Err(OfflineError::InMemory(name.to_owned())),
        config::Metadata::Sqlite(settings) => {
            let store = SqliteStore::open(settings.clone()).await;
            Box::new(store.map_err(|error| closed(name, settings.path.display(), error))?)
        }
        config::Metadata::Postgres(settings) => Box::new(connect(name, settings).await?),
    })
}

/// A metadata store to be read: dumped or checked, whether servers have it open or not.
pub async fn open_for_reading(
    config: &Config,
    name: &str,
) -> Result<Box<dyn Checkable>, OfflineError> {
    Ok(match named(config, name)? {
        config::Metadata::Memory { .. } => return Err(OfflineError::InMemory(name.to_owned())),
        config::Metadata::Sqlite(settings) => Box::new(look(name, settings).await?),
        config::Metadata::Postgres(settings) => Box::new(connect(name, settings).await?),
    })
}

/// The locks of a metadata store, whether servers have it open or not.
#[derive(Debug)]
pub struct LockAdmin {
    pub records: Box<dyn LockRecords>,
    /// The store's shares.
    pub shares: Vec<Share>,
}

/// A metadata store whose locks are to be listed or broken.
pub async fn open_for_locks(config: &Config, name: &str) -> Result<LockAdmin, OfflineError> {
    let unread = |source| OfflineError::Unread { name: name.to_owned(), source };
    let (records, shares): (Box<dyn LockRecords>, _) = match named(config, name)? {
        config::Metadata::Memory { .. } => return Err(OfflineError::InMemory(name.to_owned())),
        config::Metadata::Sqlite(settings) => {
            let file = look(name, settings).await?;
            let shares = file.shares().await;
            (Box::new(file), shares)
        }
        config::Metadata::Postgres(settings) => {
            let store = connect(name, settings).await?;
            let shares = store.shares().await;
            (Box::new(store), shares)
        }
    };
    Ok(LockAdmin { records, shares: shares.map_err(unread)? })
}

/// A metadata store to be repaired. A database may be served meanwhile; a SQLite file must have no server.
pub async fn open_for_repair(
    config: &Config,
    name: &str,
) -> Result<Box<dyn Repairable>, OfflineError> {
    Ok(match named(config, name)? {
        config::Metadata::Memory { .. } => return Err(OfflineError::InMemory(name.to_owned())),
        config::Metadata::Sqlite(settings) => {
            // It must be there: none is made to be repaired.
            look(name, settings).await?;
            match SqliteStore::open(settings.clone()).await {
                Ok(store) => Box::new(store),
                Err(source @ metadata::Error::Unavailable(_)) => {
                    return Err(OfflineError::Served { name: name.to_owned(), source });
                }
                Err(error) => return Err(closed(name, settings.path.display(), error)),
            }
        }
        config::Metadata::Postgres(settings) => Box::new(connect(name, settings).await?),
    })
}

/// The servers of a PostgreSQL database; `None` of a store that is one process's.
pub async fn servers(config: &Config, name: &str) -> Result<Option<Vec<Server>>, OfflineError> {
    match named(config, name)? {
        config::Metadata::Memory { .. } | config::Metadata::Sqlite(_) => Ok(None),
        config::Metadata::Postgres(settings) => {
            let servers = PostgresStore::servers(settings).await;
            servers.map(Some).map_err(|error| closed(name, &settings.target, error))
        }
    }
}

/// A SQLite file as others than its server see it.
async fn look(name: &str, settings: &sqlite::Settings) -> Result<SqliteFile, OfflineError> {
    let file = SqliteFile::open(settings.path.clone()).await;
    file.map_err(|error| closed(name, settings.path.display(), error))
}

async fn connect(name: &str, settings: &Settings) -> Result<PostgresStore, OfflineError> {
    let store =
        PostgresStore::connect(Settings { presence: Presence::Tool, ..settings.clone() }).await;
    store.map_err(|error| closed(name, &settings.target, error))
}

fn closed(name: &str, place: impl std::fmt::Display, source: metadata::Error) -> OfflineError {
    OfflineError::Closed { name: name.to_owned(), place: place.to_string(), source }
}

fn named<'c>(config: &'c Config, name: &str) -> Result<&'c config::Metadata, OfflineError> {
    config.metadata.get(name).ok_or_else(|| OfflineError::NoStore {
        name: name.to_owned(),
        known: config.metadata.keys().cloned().collect(),
    })
}

/// The metadata stores that outlive their process, by their names in the configuration.
#[must_use]
pub fn lasting_metadata(config: &Config) -> Vec<String> {
    let lasting = config.metadata.iter().filter(|(_, settings)| match settings {
        config::Metadata::Memory { .. } => false,
        config::Metadata::Sqlite(_) | config::Metadata::Postgres(_) => true,
    });
    lasting.map(|(name, _)| name.clone()).collect()
}

/// The content stores that the shares of a configuration name and that outlive their process.
#[must_use]
pub fn lasting_content(config: &Config) -> Vec<String> {
    let named: BTreeSet<&String> = config.shares.iter().map(|share| &share.content_store).collect();
    let lasting = |name: &&String| match config.content.get(*name) {
        Some(config::Content::Filesystem(_) | config::Content::Object(_)) => true,
        Some(config::Content::Memory { .. }) | None => false,
    };
    named.into_iter().filter(lasting).cloned().collect()
}

/// A share of a metadata store that outlives its process.
#[derive(Clone, Debug)]
pub struct BoundShare {
    /// The metadata store, by its name in the configuration.
    pub metadata: String,
    pub share: Share,
    /// Where its content is; `None` where it was never served.
    pub binding: Option<Binding>,
}

/// The stores of a configuration for maintenance, each opened once. Servers may serve them meanwhile.
#[derive(Debug)]
pub struct OfflineStores<'c> {
    config: &'c Config,
    metadata: BTreeMap<String, Arc<dyn Dump>>,
    content: Stores,
}

impl<'c> OfflineStores<'c> {
    /// Opens nothing yet.
    #[must_use]
    pub fn new(config: &'c Config) -> Self {
        Self { config, metadata: BTreeMap::new(), content: Stores::default() }
    }

    /// What is served, and where.
    #[must_use]
    pub fn config(&self) -> &'c Config {
        self.config
    }

    /// A metadata store, to be read.
    pub async fn metadata(&mut self, name: &str) -> Result<Arc<dyn Dump>, OfflineError> {
        if let Some(store) = self.metadata.get(name) {
            return Ok(store.clone());
        }
        let store: Box<dyn Dump> = open_for_reading(self.config, name).await?;
        let store: Arc<dyn Dump> = store.into();
        self.metadata.insert(name.to_owned(), store.clone());
        Ok(store)
    }

    /// A content store. Its folder of cached chunks is left to its server, and it must be there already
    /// unless it may be made.
    pub async fn content(
        &mut self,
        name: &str,
        making: CreateMode,
    ) -> Result<Arc<dyn ContentStore>, OfflineError> {
        let settings = self.config.content.get(name).ok_or_else(|| OfflineError::NoContent {
            name: name.to_owned(),
            known: self.config.content.keys().cloned().collect(),
        })?;
        if matches!(settings, config::Content::Memory { .. }) {
            return Err(OfflineError::ContentInMemory(name.to_owned()));
        }
        let settings = match settings {
            config::Content::Object(object) => {
                &config::Content::Object(Box::new(preflight::at_once(object)))
            }
            config::Content::Memory { .. } | config::Content::Filesystem(_) => settings,
        };
        Ok(self.content.named_content(self.config, name, settings, making).await?)
    }

    /// Where a metadata store says that the content of a share is; `None` where the share was never served.
    pub async fn binding(
        &mut self,
        metadata: &str,
        share: &ShareName,
    ) -> Result<Option<Binding>, OfflineError> {
        let store = self.metadata(metadata).await?;
        let failed = |source| OfflineError::Unread { name: metadata.to_owned(), source };
        let text = store.setting(&binding::key(share)).await.map_err(failed)?;
        text.map(|text| Binding::parse(&text)).transpose().map_err(failed)
    }

    /// Every share of the metadata stores that outlive their process, served or not.
    pub async fn bound_shares(&mut self) -> Result<Vec<BoundShare>, OfflineError> {
        let mut found = Vec::new();
        for metadata in lasting_metadata(self.config) {
            let shares = self.metadata(&metadata).await?.shares().await;
            let unread = |source| OfflineError::Unread { name: metadata.clone(), source };
            for share in shares.map_err(unread)? {
                let binding = self.binding(&metadata, &share.name).await?;
                found.push(BoundShare { metadata: metadata.clone(), share, binding });
            }
        }
        Ok(found)
    }
}
