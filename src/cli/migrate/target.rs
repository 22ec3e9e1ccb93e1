//! Which database a migration is about.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{Configured, Failure, quoted};
use crate::config::URL_VARIABLE;
use crate::metadata;
use crate::metadata::schema::Schema;
use crate::stores::{StoreError, open_schema, open_schema_at, stores_with_schema};
use crate::types::Chain;

/// Which database, and which migrations. The database is that of --database-url, else of --store, else of
/// --config, else of the variable `DATABASE_URL`, else of a configuration that is found; one without --store
/// must have a single store with a schema.
#[derive(Debug, Args)]
pub(super) struct Target {
    #[command(flatten)]
    configured: Configured,
    /// Metadata store, by its name in the configuration; optional if there is only one
    #[arg(long, value_name = "NAME")]
    store: Option<String>,
    /// Database to use instead of a configured store, such as postgres://user@host/database. To keep a
    /// password out of the process list, set the variable DATABASE_URL instead; it is used without
    /// --database-url, --store and --config
    #[arg(long, value_name = "URL", conflicts_with = "store")]
    database_url: Option<String>,
    /// Folder of V<number>__<name>.sql and .down.sql files, overriding migrations_path and the built-in
    /// migrations
    #[arg(long, value_name = "FOLDER")]
    migrations_path: Option<PathBuf>,
}

/// A schema to work on.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) schema: Box<dyn Schema>,
    /// The store's name, where it has one.
    pub(super) store: Option<String>,
    /// What it is, for people.
    pub(super) place: String,
    /// What follows `trunkfs migrate up` to mean this again.
    pub(super) again: String,
}

impl Opened {
    /// A failure, and where.
    pub(super) fn failed(&self, error: metadata::Error) -> Failure {
        Failure::Run(format!("{}: {}", self.place, Chain(&error)).into())
    }
}

impl Target {
    /// Connects.
    pub(super) async fn open(&self) -> Result<Opened, Failure> {
        let mut again = String::new();
        if let Some(folder) = &self.migrations_path {
            again = format!(" --migrations-path {}", quoted(folder));
        }
        let variable = || std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty());
        if let Some(url) = &self.database_url {
            return self.at(url, format!(" --database-url …{again}")).await;
        }
        if self.store.is_none()
            && !self.configured.is_told()
            && let Some(url) = variable()
        {
            return self.at(&url, again).await;
        }
        let config = self.configured.load_for_stores()?;
        let store = match &self.store {
            Some(name) => name.clone(),
            None => only(stores_with_schema(&config))?,
        };
        let opening = open_schema(&config, &store, self.migrations_path.as_deref());
        let (schema, place) = opening.await.map_err(|error| match error {
            StoreError::NoSuchStore { .. }
            | StoreError::NoSchema { .. }
            | StoreError::BuiltIn { .. } => Failure::Wrong(error.to_string()),
            other => Failure::Run(other.into()),
        })?;
        let again = format!("{}{again}", self.configured.again(&store));
        Ok(Opened { schema, place: format!("store {store}, {place}"), store: Some(store), again })
    }

    async fn at(&self, url: &str, again: String) -> Result<Opened, Failure> {
        let opening = open_schema_at(url, self.migrations_path.as_deref()).await;
        let (schema, place) = opening.map_err(|error| match error {
            StoreError::Url(_) => Failure::Wrong(Chain(&error).to_string()),
            other => Failure::Run(other.into()),
        })?;
        Ok(Opened { schema, place, store: None, again })
    }
}

/// The only one.
fn only(stores: Vec<&str>) -> Result<String, Failure> {
    match stores.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(Failure::Wrong(
            "the configuration has no metadata store with a schema to migrate; choose another with --config, \
             or a database with --database-url"
                .to_owned(),
        )),
        many => Err(Failure::Wrong(format!(
            "the configuration has several metadata stores; choose one with --store: {}",
            many.join(", ")
        ))),
    }
}
