//! `metadata.stores` and `content.stores`: stores under names of the user's choice, each with a type and the
//! settings of that type, which are the store's own.

use std::collections::BTreeMap;

use serde::de::Deserializer;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::content::{Azure, FilesystemSettings, Gcs, ObjectSettings, S3, Service};
use crate::metadata::postgres::Settings as PostgresSettings;
use crate::metadata::postgres::target::Parameters;
use crate::metadata::sqlite::Settings as SqliteSettings;
use crate::types::settings::{Flat, Number, Size};

/// Where a namespace lives.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename = "Store", rename_all = "lowercase")]
pub enum Metadata {
    /// In this process; gone when it stops.
    Memory {
        /// The most objects, each further name of a file counted as one. A million take about half a
        /// gibibyte.
        #[serde(default = "million", with = "Number::<1, { u32::MAX as u64 }>")]
        max_objects: u64,
    },
    /// In a SQLite file.
    Sqlite(SqliteSettings),
    /// In a PostgreSQL database.
    #[serde(deserialize_with = "database")]
    Postgres(Box<PostgresSettings>),
}

/// Where file bytes live.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(from = "ContentKeys")]
pub enum Content {
    /// In this process; gone when it stops.
    Memory {
        /// The most that all content may take, in bytes; without it there is no bound.
        max_size: Option<u64>,
    },
    /// In a folder.
    Filesystem(FilesystemSettings),
    /// In a bucket.
    Object(Box<ObjectSettings>),
}

/// The types of content stores, and their keys.
#[derive(Deserialize)]
#[serde(rename = "Store", rename_all = "lowercase")]
enum ContentKeys {
    Memory {
        #[serde(default, with = "Size::<{ 1 << 20 }, { 1 << 40 }>")]
        max_size: Option<u64>,
    },
    Filesystem(FilesystemSettings),
    S3(Flat<S3, ObjectSettings>),
    Gcs(Flat<Gcs, ObjectSettings>),
    Azure(Flat<Azure, ObjectSettings>),
}

impl From<ContentKeys> for Content {
    fn from(keys: ContentKeys) -> Self {
        let object =
            |service, settings| Self::Object(Box::new(ObjectSettings { service, ..settings }));
        match keys {
            ContentKeys::Memory { max_size } => Self::Memory { max_size },
            ContentKeys::Filesystem(settings) => Self::Filesystem(settings),
            ContentKeys::S3(Flat(s3, settings)) => object(Service::S3(s3), settings),
            ContentKeys::Gcs(Flat(gcs, settings)) => object(Service::Gcs(gcs), settings),
            ContentKeys::Azure(Flat(azure, settings)) => object(Service::Azure(azure), settings),
        }
    }
}

fn million() -> u64 {
    1_000_000
}

fn database<'de, D: Deserializer<'de>>(from: D) -> Result<Box<PostgresSettings>, D::Error> {
    let Flat(parameters, settings) = Flat::<Parameters, PostgresSettings>::deserialize(from)?;
    Ok(Box::new(PostgresSettings { parameters, ..settings }))
}

impl Metadata {
    /// The type, as the configuration names it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Memory { .. } => "memory",
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }
}

impl Content {
    /// The type, as the configuration names it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Memory { .. } => "memory",
            Self::Filesystem(_) => "filesystem",
            Self::Object(settings) => settings.service.kind(),
        }
    }
}

/// As it is read: the type, and the settings under a key of its name.
fn typed<S: Serializer>(kind: &str, settings: &impl Serialize, to: S) -> Result<S::Ok, S::Error> {
    let mut keys = to.serialize_map(Some(2))?;
    keys.serialize_entry("type", kind)?;
    keys.serialize_entry(kind, settings)?;
    keys.end()
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Memory { max_objects } => {
                typed(self.kind(), &BTreeMap::from([("max_objects", max_objects)]), to)
            }
            Self::Sqlite(settings) => typed(self.kind(), settings, to),
            Self::Postgres(settings) => {
                typed(self.kind(), &Flat(&settings.parameters, &**settings), to)
            }
        }
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Memory {
            #[serde(with = "Size::<0, { u64::MAX }>")]
            max_size: Option<u64>,
        }
        match self {
            Self::Memory { max_size } => typed(self.kind(), &Memory { max_size: *max_size }, to),
            Self::Filesystem(settings) => typed(self.kind(), settings, to),
            Self::Object(settings) => typed(self.kind(), &Flat(&settings.service, &**settings), to),
        }
    }
}

/// `stores`, which is the one key of its section.
#[derive(Deserialize, Serialize)]
struct Stores<T> {
    #[serde(default = "BTreeMap::new")]
    stores: BTreeMap<String, T>,
}

/// Reads stores.
pub(super) fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    Ok(Stores::deserialize(from)?.stores)
}

/// Writes stores.
pub(super) fn serialize<S: Serializer, T: Serialize>(
    stores: &BTreeMap<String, T>,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_map([("stores", stores)])
}
