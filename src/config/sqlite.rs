//! `metadata.stores.*.sqlite`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Metadata;
use super::error::Error;
use super::filesystem::resolved;
use super::section::Field;
use super::stores::Stores;
use super::values::{Size, flag, nonempty, size};
use crate::metadata::sqlite::Settings;

/// What `cache_size` may be, in bytes.
const CACHES: (u64, u64) = (1 << 20, 1 << 40);

/// A SQLite file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sqlite {
    /// The file; relative to the working directory.
    pub path: PathBuf,
    /// Whether the whole file is checked at start.
    pub quick_check: bool,
    /// Bytes of pages that the writer keeps, and all readers together.
    pub cache_size: usize,
}

pub(super) fn sqlite(field: &Field<'_>) -> Result<Sqlite, Error> {
    let section = field.section(&["path", "quick_check", "cache_size"])?;
    let path = section.required("path", "write the path of the SQLite file")?;
    let path = nonempty(&path).map(PathBuf::from)?;
    let defaults = Settings::new(path.clone());
    let cache_size = section
        .or("cache_size", Size::of(defaults.cache_size), |field| size(field, CACHES.0, CACHES.1))?;
    Ok(Sqlite {
        path,
        quick_check: section.or("quick_check", defaults.quick_check, flag)?,
        cache_size: usize::try_from(cache_size).unwrap_or(usize::MAX),
    })
}

/// One file takes one store.
pub(super) fn distinct_files(stores: &Stores<'_, Metadata>) -> Result<(), Error> {
    let mut files: BTreeMap<PathBuf, &str> = BTreeMap::new();
    for (name, (field, metadata)) in stores {
        let Metadata::Sqlite(sqlite) = metadata else { continue };
        if let Some(other) = files.insert(resolved(&sqlite.path), name) {
            return Err(field.error(format!(
                "the path {} is also that of the store {other}; give each store its own file, or use one store in \
                 both shares",
                sqlite.path.display()
            )));
        }
    }
    Ok(())
}
