//! The one place that names concrete stores: from the configuration to open shares.

mod binding;
mod binding_error;
pub(crate) mod exports;
mod health;
mod metered;
mod offline;
mod open_retry;
pub(crate) mod owners;
mod preflight;
mod renewal;
mod size_limit;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

pub use self::binding::{Binding, settle_binding};
pub use self::binding_error::BindingError;
pub(crate) use self::health::StoreProbe;
use self::metered::MeteredContent;
pub use self::offline::{
    BoundShare, LockAdmin, OfflineError, OfflineStores, lasting_content, lasting_metadata,
    open_for_load, open_for_locks, open_for_reading, open_for_repair, servers,
};
use self::open_retry::{Failed, opened};
use self::preflight::summary;
pub use self::preflight::try_stores;
pub use self::size_limit::{Oversized, SizeCheck, largest_file};
use crate::config::{self, Config};
use crate::content::{
    self, ContentStore, CreateMode, FilesystemContent, MemoryContent, ObjectContent,
    ObjectOpenError, ObjectSettings, OpenError,
};
use crate::counters::{Level, Measured};
use crate::metadata::memory::MemoryStore;
use crate::metadata::postgres::{PostgresSchema, PostgresStore, Settings};
use crate::metadata::schema::Schema;
use crate::metadata::sqlite::{SqliteSchema, SqliteStore};
use crate::metadata::{self, Locks, MetadataStore, RootSpec, ShareSpec};
use crate::types::ShareName;
use crate::vfs::{ExportSettings, WriteBehind};

/// The chunk size of a new share in bytes, for content stores that keep chunks.
const CHUNK_SIZE: u32 = 4 << 20;
/// How long stores may take to give their connections back.
pub(crate) const CLOSE_TIME: Duration = Duration::from_secs(5);

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A metadata store cannot be opened.
    #[error("metadata.stores.{name}: cannot open {place}{}", after(waited.as_ref()))]
    Metadata {
        name: String,
        place: String,
        /// How long it was waited for, where it was.
        waited: Option<Duration>,
        source: metadata::Error,
    },
    /// A content store cannot be opened.
    #[error("content.stores.{name}")]
    Content { name: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// A content store that must be there is not.
    #[error("content.stores.{name}")]
    NoContent { name: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// What a content store holds cannot be listed.
    #[error("content.stores.{name}: the content cannot be listed")]
    Unlisted { name: String, source: content::Error },
    /// A share is not served over the content that the configuration names.
    #[error(transparent)]
    Binding(Box<BindingError>),
    /// A share cannot be opened in its metadata store.
    #[error("cannot open the share {share} in the metadata store {store}")]
    Share { share: ShareName, store: String, source: metadata::Error },
    /// A URL names no database that can be used.
    #[error("the database URL cannot be used")]
    Url(#[source] metadata::Source),
    /// The database of a URL cannot be opened.
    #[error("cannot open {place}")]
    Database { place: String, source: metadata::Error },
    /// The configuration has no such metadata store.
    #[error("metadata.stores has no store {name}; {known}")]
    NoSuchStore { name: String, known: String },
    /// A store has no schema that could be migrated.
    #[error("metadata.stores.{name} is in memory: there is nothing to migrate")]
    NoSchema { name: String },
    /// A store has the migrations that are built in, and no others.
    #[error(
        "metadata.stores.{name} is of type sqlite, which has only built-in migrations: omit --migrations-path"
    )]
    BuiltIn { name: String },
    /// A content store that is open is used by this server alone, and further shares change that.
    #[error(
        "the share {share} has the content store {name}, which was opened as one that this server alone uses, \
         and a metadata store that several servers may use: restart the server to serve it"
    )]
    Exclusive { share: ShareName, name: String },
    /// A share names a store that the configuration does not have.
    #[error("the share {share} names the store {name}, which is not configured")]
    Unknown { share: ShareName, name: String },
}

impl From<BindingError> for StoreError {
    fn from(error: BindingError) -> Self {
        Self::Binding(Box::new(error))
    }
}

/// Which section of the configuration a store stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Metadata,
    Content,
}

/// Open stores. Those that no share names stay closed.
#[derive(Default)]
pub(crate) struct Stores {
    metadata: BTreeMap<String, Arc<dyn MetadataStore>>,
    content: BTreeMap<String, Arc<dyn ContentStore>>,
    /// Those of them that take over new settings.
    databases: BTreeMap<String, Arc<PostgresStore>>,
    buckets: BTreeMap<String, Arc<ObjectContent>>,
    /// What counts, by where its store stands in the configuration.
    measured: Vec<(Kind, String, Arc<dyn Measured>)>,
    /// How many clients the server has, for those who list servers.
    clients: Level,
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stores = self.metadata.keys().chain(self.content.keys());
        f.debug_list().entries(stores).finish()
    }
}

impl Stores {
    /// How many clients the server has: whoever counts them sets it.
    pub(crate) fn clients(&self) -> Level {
        self.clients.clone()
    }

    /// Opens a share whose stores are open.
    pub(super) async fn export(
        &mut self,
        config: &Config,
        share: &config::Share,
    ) -> Result<ExportSettings, StoreError> {
        let content = self.content(config, share, CreateMode::Never).await?;
        let chunk_size = match config.content.get(&share.content_store) {
            Some(config::Content::Object(settings)) => settings.chunk_size,
            Some(config::Content::Memory { .. } | config::Content::Filesystem(_)) | None => {
                CHUNK_SIZE
            }
        };
        let metadata = self.metadata(config, share).await?;
        let config::Root { uid, gid, mode } = share.root;
        let spec = ShareSpec {
            name: share.name.clone(),
            root: RootSpec { uid, gid, mode: mode.bits() },
            chunk_size,
        };
        let what = format!("the share {}", share.name);
        let limit = config.metadata.get(&share.metadata_store).map_or(Duration::ZERO, patience);
        let open = async || metadata.open_share(&spec).await;
        let opened = opened(&what, limit, open, is_away).await;
        let mut opened = opened.map_err(|failed| StoreError::Share {
            share: share.name.clone(),
            store: share.metadata_store.clone(),
            source: failed.error,
        })?;
        if opened.chunk_size != chunk_size {
            tracing::info!(share = %share.name, "content stays in chunks of {} bytes, with which the share \
                                                 was made",
                opened.chunk_size);
        }
        let content = content.in_chunks(opened.chunk_size);
        let capabilities = &mut opened.capabilities;
        capabilities.max_file_size =
            capabilities.max_file_size.min(size_limit::of(share.max_file_size, &*content));
        Ok(ExportSettings {
            share: opened,
            rules: share.clients.clone(),
            metadata,
            content,
            groups: share.groups,
            write_behind: WriteBehind::default(),
        })
    }

    /// The stores of shares that are open, for their locks.
    pub(crate) fn locks(&self, shares: &[config::Share]) -> BTreeMap<ShareName, Arc<dyn Locks>> {
        let store = |share: &config::Share| {
            let store: Arc<dyn Locks> = self.metadata.get(&share.metadata_store)?.clone();
            Some((share.name.clone(), store))
        };
        shares.iter().filter_map(store).collect()
    }

    /// What counts, by the store's name.
    pub(crate) fn measured(&self) -> Vec<(String, Arc<dyn Measured>)> {
        self.measured.iter().map(|(_, name, part)| (name.clone(), part.clone())).collect()
    }

    /// Keeps what counts of a store.
    fn measure(&mut self, kind: Kind, name: &str, part: Arc<impl Measured>) {
        self.measured.push((kind, name.to_owned(), part));
    }

    /// A metadata store that is open.
    pub(crate) fn open_metadata(&self, name: &str) -> Option<Arc<dyn MetadataStore>> {
        self.metadata.get(name).cloned()
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
            config::Metadata::Memory { max_objects } => {
                Arc::new(MemoryStore::with_limit(*max_objects))
            }
            config::Metadata::Sqlite(settings) => {
                let failed = |source| StoreError::Metadata {
                    name: name.clone(),
                    place: settings.path.display().to_string(),
                    waited: None,
                    source,
                };
                let store = Arc::new(SqliteStore::open(settings.clone()).await.map_err(failed)?);
                self.measure(Kind::Metadata, name, store.clone());
                store
            }
            config::Metadata::Postgres(settings) => {
                let place = settings.target.to_string();
                let address = Some(config.server.listener.listen.to_string());
                let settings = Settings { address, ..(**settings).clone() };
                let open = async || PostgresStore::connect(settings.clone()).await;
                let store = opened(&place, settings.connect_retry, open, is_away).await;
                let store = store.map_err(|Failed { error, waited }| StoreError::Metadata {
                    name: name.clone(),
                    place,
                    waited,
                    source: error,
                })?;
                store.count_clients(self.clients.clone());
                let store = Arc::new(store);
                self.measure(Kind::Metadata, name, store.clone());
                self.databases.insert(name.clone(), store.clone());
                store
            }
        };
        self.metadata.insert(name.clone(), store.clone());
        Ok(store)
    }

    /// Another metadata store of the configuration that has the share, open or not. One that cannot be asked
    /// does not count: it is no store of this share.
    pub(super) async fn other_with(
        &self,
        config: &Config,
        share: &config::Share,
    ) -> Option<String> {
        for (name, settings) in config.metadata.iter().filter(|it| *it.0 != share.metadata_store) {
            let shares = match self.metadata.get(name) {
                Some(open) => {
                    let shares = open.shares().await.ok();
                    shares.map(|shares| shares.into_iter().map(|share| share.name).collect())
                }
                None => summary(settings).await.ok().flatten().map(|summary| summary.shares),
            };
            if shares.is_some_and(|shares| shares.contains(&share.name)) {
                return Some(name.clone());
            }
        }
        None
    }

    /// The content store of a share, opened or made where it is not open yet.
    pub(super) async fn content(
        &mut self,
        config: &Config,
        share: &config::Share,
        making: CreateMode,
    ) -> Result<Arc<dyn ContentStore>, StoreError> {
        let name = &share.content_store;
        let settings = config.content.get(name).ok_or_else(|| unknown(share, name))?;
        self.named_content(config, name, settings, making).await
    }

    /// A content store, opened or made where it is not open yet.
    async fn named_content(
        &mut self,
        config: &Config,
        name: &str,
        settings: &config::Content,
        making: CreateMode,
    ) -> Result<Arc<dyn ContentStore>, StoreError> {
        if let Some(store) = self.content.get(name) {
            return Ok(store.clone());
        }
        let named = || name.to_owned();
        let store: Arc<dyn ContentStore> = match settings {
            config::Content::Memory { max_size } => Arc::new(match max_size {
                Some(bytes) => MemoryContent::with_limit(*bytes),
                None => MemoryContent::new(),
            }),
            config::Content::Filesystem(settings) => {
                let failed = |error| match error {
                    OpenError::Absent { .. } => {
                        StoreError::NoContent { name: named(), source: Box::new(error) }
                    }
                    error => StoreError::Content { name: named(), source: Box::new(error) },
                };
                let opened = FilesystemContent::open_or_make(settings.clone(), making).await;
                Arc::new(opened.map_err(failed)?)
            }
            config::Content::Object(settings) => {
                let store = objects(config, name, (**settings).clone(), making).await?;
                let store = Arc::new(store);
                self.measure(Kind::Content, name, store.clone());
                self.buckets.insert(named(), store.clone());
                store
            }
        };
        let store = Arc::new(MeteredContent::around(store));
        self.measure(Kind::Content, name, store.clone());
        self.content.insert(named(), store.clone());
        Ok(store)
    }

    /// Gives back the stores that no share of the configuration has.
    pub(crate) async fn close_unused(&mut self, config: &Config) {
        let metadata = |name: &str| config.shares.iter().any(|it| it.metadata_store == name);
        let content = |name: &str| config.shares.iter().any(|it| it.content_store == name);
        let (kept, unused) =
            std::mem::take(&mut self.metadata).into_iter().partition(|(name, _)| metadata(name));
        self.metadata = kept;
        self.content.retain(|name, _| content(name));
        self.databases.retain(|name, _| metadata(name));
        self.buckets.retain(|name, _| content(name));
        self.measured.retain(|(kind, name, _)| match kind {
            Kind::Metadata => metadata(name),
            Kind::Content => content(name),
        });
        close(unused).await;
    }

    /// Closes every metadata store, for at most [`CLOSE_TIME`].
    pub(crate) async fn close(&self) {
        close(self.metadata.clone()).await;
    }
}

async fn close(stores: BTreeMap<String, Arc<dyn MetadataStore>>) {
    let mut closing = JoinSet::new();
    for (name, store) in stores {
        closing.spawn(async move {
            if tokio::time::timeout(CLOSE_TIME, store.close()).await.is_err() {
                tracing::warn!(store = name, "the metadata store did not close in time");
            }
        });
    }
    closing.join_all().await;
}

/// Opens a content store in a bucket, and waits for its server where that may come by itself.
async fn objects(
    config: &Config,
    name: &str,
    mut settings: ObjectSettings,
    making: CreateMode,
) -> Result<ObjectContent, StoreError> {
    let mut shares = config.shares.iter().filter(|share| share.content_store == name);
    settings.exclusive |= shares.all(|share| is_of_one_process(config, share));
    let what = format!("content.stores.{name}");
    let open = async || ObjectContent::open_or_make(settings.clone(), making).await;
    let store = opened(&what, settings.connect_retry, open, ObjectOpenError::is_away).await;
    store.map_err(|Failed { error, waited }| match error.is_absent() {
        true => StoreError::NoContent { name: name.to_owned(), source: Box::new(error) },
        false => StoreError::Content {
            name: name.to_owned(),
            source: format!("{error}{}", after(waited.as_ref())).into(),
        },
    })
}

/// Whether a share's namespace is changed by one process alone: then the content that it names is, too.
fn is_of_one_process(config: &Config, share: &config::Share) -> bool {
    match config.metadata.get(&share.metadata_store) {
        Some(config::Metadata::Memory { .. } | config::Metadata::Sqlite(_)) => true,
        Some(config::Metadata::Postgres(_)) | None => false,
    }
}

/// How long a store that is not there at the start is waited for.
fn patience(store: &config::Metadata) -> Duration {
    match store {
        config::Metadata::Memory { .. } | config::Metadata::Sqlite(_) => Duration::ZERO,
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

/// The names of the metadata stores that are migrated by command; where there is none, of those that a start
/// migrates by itself.
pub(crate) fn stores_with_schema(config: &Config) -> Vec<&str> {
    let (mut by_command, mut by_themselves) = (Vec::new(), Vec::new());
    for (name, settings) in &config.metadata {
        match settings {
            config::Metadata::Memory { .. } => {}
            config::Metadata::Sqlite(_) => by_themselves.push(name.as_str()),
            config::Metadata::Postgres(_) => by_command.push(name.as_str()),
        }
    }
    if by_command.is_empty() { by_themselves } else { by_command }
}

/// The schema of a metadata store, and where it is; `migrations` goes before the configuration's folder.
///
/// # Errors
/// [`StoreError::NoSuchStore`], [`StoreError::NoSchema`], and [`StoreError::Metadata`] where it cannot be
/// opened.
pub(crate) async fn open_schema(
    config: &Config,
    name: &str,
    migrations: Option<&Path>,
) -> Result<(Box<dyn Schema>, String), StoreError> {
    let settings = config.metadata.get(name).ok_or_else(|| StoreError::NoSuchStore {
        name: name.to_owned(),
        known: format!("it has {}", stores_with_schema(config).join(", ")),
    })?;
    match settings {
        config::Metadata::Memory { .. } => Err(StoreError::NoSchema { name: name.to_owned() }),
        config::Metadata::Sqlite(_) if migrations.is_some() => {
            Err(StoreError::BuiltIn { name: name.to_owned() })
        }
        config::Metadata::Sqlite(settings) => {
            let place = settings.path.display().to_string();
            Ok((Box::new(SqliteSchema::new(settings.clone())), place))
        }
        config::Metadata::Postgres(settings) => {
            let place = settings.target.to_string();
            let settings = with_migrations((**settings).clone(), migrations);
            match PostgresSchema::connect(&settings).await {
                Ok(schema) => Ok((Box::new(schema), place)),
                Err(source) => {
                    Err(StoreError::Metadata { name: name.to_owned(), place, waited: None, source })
                }
            }
        }
    }
}

/// The schema of the database that a URL names, and where it is.
///
/// # Errors
/// [`StoreError::Url`], and [`StoreError::Database`] where it cannot be opened.
pub(crate) async fn open_schema_at(
    url: &str,
    migrations: Option<&Path>,
) -> Result<(Box<dyn Schema>, String), StoreError> {
    let settings = with_migrations(Settings::from_url(url).map_err(StoreError::Url)?, migrations);
    let place = settings.target.to_string();
    match PostgresSchema::connect(&settings).await {
        Ok(schema) => Ok((Box::new(schema), place)),
        Err(source) => Err(StoreError::Database { place, source }),
    }
}

fn with_migrations(settings: Settings, folder: Option<&Path>) -> Settings {
    match folder {
        Some(folder) => Settings { migrations_path: Some(folder.to_path_buf()), ..settings },
        None => settings,
    }
}

fn unknown(share: &config::Share, name: &str) -> StoreError {
    StoreError::Unknown { share: share.name.clone(), name: name.to_owned() }
}
