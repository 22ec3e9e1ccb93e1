//! Whether the stores that a configuration names can be used, found out without leaving anything in them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD};

use super::{StoreError, database, objects};
use crate::config::{self, Config};
use crate::content::{ContentStore as _, FilesystemContent, Look, Making, OpenError};
use crate::metadata;
use crate::metadata::postgres::PostgresStore;
use crate::metadata::sqlite::SqliteStore;

/// Tries every store that a share names: what is found, or why it cannot be used.
pub async fn try_stores(config: &Config) -> Vec<(String, Result<String, StoreError>)> {
    let metadata = config.shares.iter().map(|share| &share.metadata_store);
    let content = config.shares.iter().map(|share| &share.content_store);
    let mut tried = Vec::new();
    for (name, settings) in named(metadata, &config.metadata) {
        let found = try_metadata(name, settings).await;
        tried.push((format!("metadata.stores.{name}"), found));
    }
    for (name, settings) in named(content, &config.content) {
        let found = try_content(config, name, settings).await;
        tried.push((format!("content.stores.{name}"), found));
    }
    tried
}

/// Each of the stores once that somebody names, in their order.
fn named<'c, T>(
    names: impl Iterator<Item = &'c String>,
    stores: &'c BTreeMap<String, T>,
) -> BTreeMap<&'c String, &'c T> {
    names.filter_map(|name| stores.get_key_value(name)).collect()
}

/// Whether something can be made at a path where nothing is: the nearest folder above that is there can be written to.
fn makeable(path: &Path) -> io::Result<()> {
    let mut folders = path.ancestors().skip(1);
    let above = folders.find(|folder| folder.as_os_str().is_empty() || folder.exists());
    let above = above.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !above.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let access =
        rustix::fs::accessat(CWD, above, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    access.map_err(Into::into)
}

/// What a metadata store is, without changing anything.
async fn try_metadata(name: &str, settings: &config::Metadata) -> Result<String, StoreError> {
    match settings {
        config::Metadata::Memory => Ok("in memory".to_owned()),
        config::Metadata::Sqlite(settings) => {
            let path = &settings.path;
            let failed = |source| StoreError::Metadata {
                name: name.to_owned(),
                place: path.display().to_string(),
                waited: None,
                source,
            };
            match SqliteStore::look(path.clone()).await.map_err(failed)? {
                Some((present, wanted)) => Ok(versions(&path.display(), present, wanted)),
                None => {
                    makeable(path)
                        .map_err(|error| failed(metadata::Error::Backend(Box::new(error))))?;
                    Ok(format!("{} is made at the start", path.display()))
                }
            }
        }
        config::Metadata::Postgres(settings) => {
            let place = settings.target.to_string();
            let failed = |source| StoreError::Metadata {
                name: name.to_owned(),
                place: place.clone(),
                waited: None,
                source,
            };
            let found =
                PostgresStore::schema_versions(&database(settings), settings.auto_migrate).await;
            let (present, wanted) = found.map_err(failed)?;
            Ok(versions(&place, present, wanted))
        }
    }
}

fn versions(place: &dyn std::fmt::Display, present: i32, wanted: i32) -> String {
    let made =
        if present == wanted { String::new() } else { format!(", which the start makes {wanted}") };
    format!("{place} has schema version {present}{made}")
}

/// What a content store is. Nothing is left in it: a bucket gets one object, which is removed again.
async fn try_content(
    config: &Config,
    name: &str,
    settings: &config::Content,
) -> Result<String, StoreError> {
    match settings {
        config::Content::Memory => Ok("in memory".to_owned()),
        config::Content::Filesystem(settings) => {
            let failed = |source: OpenError| StoreError::Content {
                name: name.to_owned(),
                source: Box::new(source),
            };
            let path = &settings.base_path;
            let shown = path.display();
            Ok(match FilesystemContent::look(path.clone()).await.map_err(failed)? {
                Look::Content(Some(identity)) => format!("{shown} holds the content {identity}"),
                Look::Content(None) => format!("{shown} holds content"),
                Look::Empty => format!("{shown} is empty"),
                Look::Missing => {
                    makeable(path).map_err(|source| {
                        failed(OpenError::Unreachable { path: path.clone(), source })
                    })?;
                    format!("{shown} is made at the start")
                }
            })
        }
        config::Content::S3(_) | config::Content::Gcs(_) | config::Content::Azure(_) => {
            match objects(config, name, &at_once(settings), Making::Never).await {
                Ok(store) => Ok(match store.identity() {
                    Some(identity) => format!("the bucket holds the content {identity}"),
                    None => "the bucket holds content".to_owned(),
                }),
                Err(StoreError::NoContent { .. }) => {
                    Ok("the bucket has no content under the prefix yet".to_owned())
                }
                Err(error) => Err(error),
            }
        }
    }
}

/// The same store, not waited for, and without the folder of cached chunks, which a server may have.
pub(super) fn at_once(content: &config::Content) -> config::Content {
    let mut content = content.clone();
    let common = match &mut content {
        config::Content::Memory | config::Content::Filesystem(_) => return content,
        config::Content::S3(s3) => &mut s3.common,
        config::Content::Gcs(gcs) => &mut gcs.common,
        config::Content::Azure(azure) => &mut azure.common,
    };
    common.connect_retry = Duration::ZERO;
    common.cache_folder = None;
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_made_has_a_folder_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        std::fs::write(at.join("file"), "").unwrap();
        for (path, can) in
            [("new", true), ("a/b/c", true), ("file/new", false), ("file/a/b", false)]
        {
            assert_eq!(makeable(&at.join(path)).is_ok(), can, "{path}");
        }
        assert!(makeable(Path::new("somewhere")).is_ok(), "below the working directory");
    }
}
