//! Versions from a folder in place of the embedded ones.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use refinery::Migration;

use super::catalog::Version;
use super::error::SchemaError;

/// The longest file that is read, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// The versions in a folder's files `V<N>__<name>.sql` and `V<N>__<name>.down.sql`, ascending. Other kinds of
/// file are passed over; an .sql of another name is not.
pub(super) fn versions(folder: &Path) -> Result<Vec<Version>, SchemaError> {
    let wrong = |problem: String| SchemaError::Folder { folder: folder.to_path_buf(), problem };
    let unreadable = |error: std::io::Error| wrong(format!("cannot be read: {error}"));
    let mut up = BTreeMap::new();
    let mut down = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let file = entry.file_name();
        let Some(stem) = file.to_str().and_then(|file| file.strip_suffix(".sql")) else { continue };
        let (stem, files) = match stem.strip_suffix(".down") {
            Some(stem) => (stem, &mut down),
            None => (stem, &mut up),
        };
        let migration = read(stem, &entry.path()).map_err(wrong)?;
        if let Some(other) = files.insert(migration.version(), migration) {
            return Err(wrong(format!("two files have version {}", other.version())));
        }
    }
    if up.is_empty() {
        return Err(wrong("no file V<number>__<name>.sql found".to_owned()));
    }
    let mut versions = Vec::new();
    for (number, migration) in up {
        let back = down.remove(&number);
        if back.as_ref().is_some_and(|back| back.name() != migration.name()) {
            return Err(wrong(format!("the two files of version {number} have different names")));
        }
        let back = back.and_then(|back| back.sql().map(str::to_owned));
        versions.push(Version::new(&migration, back));
    }
    match down.first_key_value() {
        Some((number, _)) => {
            Err(wrong(format!("version {number} has a .down.sql but no .sql file")))
        }
        None => Ok(versions),
    }
}

/// A file; `stem` is its name without what all have.
fn read(stem: &str, path: &Path) -> Result<Migration, String> {
    let name = path.file_name().unwrap_or_default().display();
    let named = stem.starts_with('V')
        && stem.split_once("__").is_some_and(|(_, name)| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        });
    let misnamed = || {
        format!(
            "{name} is not of the form V<number>__<name>.sql (letters, digits and _ in the name)"
        )
    };
    if !named {
        return Err(misnamed());
    }
    let length = fs::metadata(path).map_err(|error| format!("{name}: {error}"))?.len();
    if length > MAX_BYTES {
        return Err(format!("{name} has {length} bytes (limit {MAX_BYTES})"));
    }
    let sql = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let migration = Migration::unapplied(stem, &sql).map_err(|_| misnamed())?;
    if migration.version() < 1 {
        return Err(format!("{name}: versions start at 1"));
    }
    Ok(migration)
}
