//! `content.stores.*.filesystem`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Content;
use super::error::Error;
use super::section::Field;
use super::stores::Stores;
use super::values::{MOST, count, nonempty};

/// A folder of file content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filesystem {
    /// The folder; relative to the working directory.
    pub base_path: PathBuf,
    /// How many files are kept open.
    pub max_open_files: usize,
}

pub(super) fn filesystem(field: &Field<'_>) -> Result<Filesystem, Error> {
    let section = field.section(&["base_path", "max_open_files"])?;
    let base_path =
        section.required("base_path", "write the path of the folder for file content")?;
    Ok(Filesystem {
        base_path: nonempty(&base_path).map(PathBuf::from)?,
        max_open_files: section.or("max_open_files", 1024, |field| count(field, MOST))?,
    })
}

/// Two stores in one folder would remove each other's content.
pub(super) fn distinct_folders(stores: &Stores<'_, Content>) -> Result<(), Error> {
    let mut folders: BTreeMap<PathBuf, &str> = BTreeMap::new();
    for (name, (field, content)) in stores {
        let Content::Filesystem(filesystem) = content else { continue };
        let folder = resolved(&filesystem.base_path);
        if let Some(other) = folders.insert(folder, name) {
            return Err(field.error(format!(
                "the base_path {} is also that of the store {other}; give each store its own folder",
                filesystem.base_path.display()
            )));
        }
    }
    Ok(())
}

/// The folder itself where it is there; else what its path says.
pub(super) fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    absolute.canonicalize().unwrap_or_else(|_| absolute.components().collect())
}
