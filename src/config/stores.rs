//! `metadata.stores` and `content.stores`: stores under names of the user's choice, each with a type
//! and that type's block.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::bucket::{Azure, Gcs, S3, azure, gcs, s3};
use super::error::Error;
use super::filesystem::{Filesystem, filesystem};
use super::postgres::{Postgres, postgres};
use super::section::{Field, Section, hint};
use super::sqlite::{Sqlite, sqlite};
use super::values::{number, size, word};

/// The least and the most of `max_size` of content in memory, in bytes.
const LEAST_MEMORY: u64 = 1 << 20;
const MOST_MEMORY: u64 = 1 << 40;
/// How many objects a namespace in memory has at most where the configuration does not say: about half a gibibyte.
const MAX_OBJECTS: u32 = 1_000_000;

/// Where a namespace lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// In this process; gone when it stops.
    Memory {
        /// The most objects, each further name of a file counted as one.
        max_objects: u64,
    },
    /// In a SQLite file.
    Sqlite(Sqlite),
    /// In a PostgreSQL database.
    Postgres(Box<Postgres>),
}

/// Where file bytes live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// In this process; gone when it stops.
    Memory {
        /// The most that all content may take, in bytes; without it there is no bound.
        max_size: Option<u64>,
    },
    /// In a folder.
    Filesystem(Filesystem),
    /// In a bucket of S3.
    S3(Box<S3>),
    /// In a bucket of Google Cloud Storage.
    Gcs(Box<Gcs>),
    /// In a container of Azure Blob Storage.
    Azure(Box<Azure>),
}

/// Stores by name, each with its place in the file.
pub(super) type Stores<'a, T> = BTreeMap<String, (Field<'a>, T)>;

/// Stores, and the names of those that are wrong too.
pub(super) struct Found<'a, T> {
    /// Those that are right.
    pub(super) stores: Stores<'a, T>,
    /// The names of all; none where they cannot be read.
    pub(super) names: BTreeSet<String>,
}

impl<T> Default for Found<'_, T> {
    fn default() -> Self {
        Self { stores: BTreeMap::new(), names: BTreeSet::new() }
    }
}

impl<T> Found<'_, T> {
    /// By name alone.
    pub(super) fn kept(self) -> BTreeMap<String, T> {
        self.stores.into_iter().map(|(name, (_, store))| (name, store)).collect()
    }
}

pub(super) fn stores<'a, T>(
    top: &Section<'a>,
    key: &str,
    read: impl Fn(&Field<'a>) -> Result<T, Error>,
) -> Result<Found<'a, T>, Error> {
    let remedy = "define at least one store";
    let section = top
        .required(key, "it defines where the data of the shares is stored")?
        .section(&["stores"])?;
    let listed = section.required("stores", remedy)?;
    let mut found = Found::default();
    for (name, field) in listed.named()? {
        found.names.insert(name.clone());
        let store = check_name(&field, &name).and_then(|()| read(&field));
        if let Some(store) = field.keep(store) {
            found.stores.insert(name, (field, store));
        }
    }
    if found.names.is_empty() {
        return Err(listed.error(format!("must not be empty; {remedy}")));
    }
    Ok(found)
}

/// A store's name is a part of the names of environment variables, which two underscores take apart.
fn check_name(field: &Field<'_>, name: &str) -> Result<(), Error> {
    let fits = |each: char| each.is_ascii_lowercase() || each.is_ascii_digit() || each == '_';
    let parts = name.split('_').all(|part| !part.is_empty());
    if parts && name.chars().all(fits) {
        return Ok(());
    }
    Err(field.error(format!(
        "{name:?} is not a valid store name; use a to z, 0 to 9 and single '_' between them, such as main or disk_2"
    )))
}

/// The store's type and the block of its name; `None` for the type memory, which needs none.
fn block<'a>(
    section: &Section<'a>,
    blocks: &[&'static str],
) -> Result<Option<(&'static str, Field<'a>)>, Error> {
    let words: Vec<_> = ["memory"].iter().chain(blocks).map(|name| (*name, *name)).collect();
    let known = words.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" or ");
    let kind = word(&section.required("type", &format!("write {known}"))?, &words)?;
    for other in blocks.iter().chain(&["memory"]).filter(|other| **other != kind) {
        if let Some(field) = section.optional(other) {
            return Err(field.error(format!(
                "the store has type {kind}, and this block is for another type; remove it, or write type: {other}"
            )));
        }
    }
    if !blocks.contains(&kind) {
        return Ok(None);
    }
    let field = section.required(kind, &format!("a store of type {kind} needs this block"))?;
    Ok(Some((kind, field)))
}

pub(super) fn metadata(field: &Field<'_>, request_timeout: Duration) -> Result<Metadata, Error> {
    let section = field.section(&["type", "memory", "sqlite", "postgres"])?;
    Ok(match block(&section, &["sqlite", "postgres"])? {
        None => section.part("memory", |field| {
            let section = field.section(&["max_objects"])?;
            let max_objects =
                section.or("max_objects", MAX_OBJECTS, |field| number(field, 1, u32::MAX))?;
            Ok(Metadata::Memory { max_objects: max_objects.into() })
        })?,
        Some(("sqlite", field)) => Metadata::Sqlite(sqlite(&field)?),
        Some((_, field)) => Metadata::Postgres(Box::new(postgres(&field, request_timeout)?)),
    })
}

pub(super) fn content(field: &Field<'_>) -> Result<Content, Error> {
    let blocks = ["filesystem", "s3", "gcs", "azure"];
    let section = field.section(&["type", "memory", "filesystem", "s3", "gcs", "azure"])?;
    Ok(match block(&section, &blocks)? {
        None => section.part("memory", |field| {
            let section = field.section(&["max_size"])?;
            let max_size =
                section.maybe("max_size", |field| size(field, LEAST_MEMORY, MOST_MEMORY))?;
            Ok(Content::Memory { max_size })
        })?,
        Some(("s3", field)) => Content::S3(Box::new(s3(&field)?)),
        Some(("gcs", field)) => Content::Gcs(Box::new(gcs(&field)?)),
        Some(("azure", field)) => Content::Azure(Box::new(azure(&field)?)),
        Some((_, field)) => Content::Filesystem(filesystem(&field)?),
    })
}

/// The name of a store that is there.
pub(super) fn store(
    section: &Section<'_>,
    key: &str,
    names: &BTreeSet<String>,
) -> Result<String, Error> {
    let field = section.required(key, "write the name of a store")?;
    let name = field.text()?;
    // Where the stores cannot be read, that is told already.
    if !names.is_empty() && !names.contains(&name) {
        let near = hint(&name, names.iter().map(String::as_str));
        return Err(field.error(format!("{name:?} is not a defined store{near}")));
    }
    Ok(name)
}
