//! Whether the stores that a configuration names can be used, found out without leaving anything in them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD};

mod shares;

use self::shares::{Seen, foresee};
use super::{StoreError, objects};
use crate::config::{self, Config};
use crate::content::{
    ContentStore as _, CreateMode, FilesystemContent, Look, ObjectSettings, OpenError,
};
use crate::metadata::postgres::PostgresStore;
use crate::metadata::sqlite::SqliteStore;
use crate::metadata::{self, Summary};

/// Tries every store that a share names, and then foresees what a start says of the shares: what is found, or
/// why it cannot be used.
pub async fn try_stores(config: &Config) -> Vec<(String, Result<String, StoreError>)> {
    let metadata = config.shares.iter().map(|share| &share.metadata_store);
    let content = config.shares.iter().map(|share| &share.content_store);
    let mut tried = Vec::new();
    let (mut summaries, mut seen) = (BTreeMap::new(), BTreeMap::new());
    for (name, settings) in named(metadata, &config.metadata) {
        let found = try_metadata(name, settings).await.map(|(found, summary)| {
            summaries.insert(name.as_str(), summary);
            found
        });
        tried.push((format!("metadata.stores.{name}"), found));
    }
    for (name, settings) in named(content, &config.content) {
        let found = match try_content(config, name, settings).await {
            Ok((found, sight)) => {
                seen.insert(name.as_str(), sight);
                Ok(found)
            }
            Err(error) => {
                // For a share that has its content elsewhere this is nothing.
                if matches!(&error, StoreError::Content { source, .. } if is_foreign(&**source)) {
                    seen.insert(name.as_str(), Seen::Nothing);
                }
                Err(error)
            }
        };
        tried.push((format!("content.stores.{name}"), found));
    }
    for (name, settings) in &config.metadata {
        if !summaries.contains_key(name.as_str())
            && let Ok(Some(summary)) = summary(settings).await
        {
            summaries.insert(name, summary);
        }
    }
    let shares = foresee(config, &summaries, &seen);
    tried.extend(shares.into_iter().map(|(share, outcome)| (format!("share {share}"), outcome)));
    tried
}

fn is_foreign(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(OpenError::Foreign { .. }))
}

/// What a metadata store holds that lasts, where it is there.
pub(in crate::stores) async fn summary(
    settings: &config::Metadata,
) -> Result<Option<Summary>, metadata::Error> {
    match settings {
        config::Metadata::Memory { .. } => Ok(None),
        config::Metadata::Sqlite(settings) => SqliteStore::summary(settings.path.clone()).await,
        config::Metadata::Postgres(settings) => {
            PostgresStore::summary(settings, settings.auto_migrate).await.map(Some)
        }
    }
}

/// Each of the stores that are named once, in their order.
fn named<'c, T>(
    names: impl Iterator<Item = &'c String>,
    stores: &'c BTreeMap<String, T>,
) -> BTreeMap<&'c String, &'c T> {
    names.filter_map(|name| stores.get_key_value(name)).collect()
}

/// Whether something can be made at a path where nothing is: the nearest folder above that is there can be
/// written to.
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
async fn try_metadata(
    name: &str,
    settings: &config::Metadata,
) -> Result<(String, Summary), StoreError> {
    let place = match settings {
        config::Metadata::Memory { .. } => return Ok(("in memory".to_owned(), Summary::default())),
        config::Metadata::Sqlite(settings) => settings.path.display().to_string(),
        config::Metadata::Postgres(settings) => settings.target.to_string(),
    };
    let failed = |source| StoreError::Metadata {
        name: name.to_owned(),
        place: place.clone(),
        waited: None,
        source,
    };
    if let Some(summary) = summary(settings).await.map_err(failed)? {
        return Ok((versions(&place, summary.present, summary.wanted), summary));
    }
    if let config::Metadata::Sqlite(settings) = settings {
        let made = makeable(&settings.path);
        let remedy =
            "create its folder for the user that runs the server, or set path to another file";
        made.map_err(|error| {
            failed(metadata::Error::Backend(format!("{error}; {remedy}").into()))
        })?;
    }
    Ok((format!("{place} is created at the start"), Summary::default()))
}

fn versions(place: &str, present: i32, wanted: i32) -> String {
    let made = if present == wanted {
        String::new()
    } else {
        format!(", which the start upgrades to {wanted}")
    };
    format!("{place} has schema version {present}{made}")
}

/// What a content store is. Nothing is left in it: a bucket gets one object, which is removed again.
async fn try_content(
    config: &Config,
    name: &str,
    settings: &config::Content,
) -> Result<(String, Seen), StoreError> {
    match settings {
        config::Content::Memory { .. } => Ok((
            "in memory".to_owned(),
            Seen::Content { identity: None, empty: true, owners: None },
        )),
        config::Content::Filesystem(settings) => {
            let failed = |source: OpenError| StoreError::Content {
                name: name.to_owned(),
                source: Box::new(source),
            };
            let path = &settings.base_path;
            let shown = path.display();
            Ok(match FilesystemContent::look(path.clone()).await.map_err(failed)? {
                Look::Content { identity, empty, owners } => {
                    let which = identity
                        .map_or("content".to_owned(), |identity| format!("the content {identity}"));
                    (format!("{shown} holds {which}"), Seen::Content { identity, empty, owners })
                }
                Look::Empty => (format!("{shown} is empty"), Seen::Nothing),
                Look::Missing => {
                    makeable(path).map_err(|source| {
                        failed(OpenError::Unreachable { path: path.clone(), source })
                    })?;
                    (format!("{shown} is created at the start"), Seen::Nothing)
                }
            })
        }
        config::Content::Object(settings) => {
            match objects(config, name, at_once(settings), CreateMode::Never).await {
                Ok(store) => {
                    let unlisted = |source| StoreError::Unlisted { name: name.to_owned(), source };
                    let listed = store.list(None, 1).await.map_err(unlisted)?;
                    let owners = store.owners().await.map_err(unlisted)?;
                    let identity = store.identity();
                    let found = match identity {
                        Some(identity) => format!("the bucket holds the content {identity}"),
                        None => "the bucket holds content".to_owned(),
                    };
                    Ok((found, Seen::Content { identity, empty: listed.is_empty(), owners }))
                }
                Err(StoreError::NoContent { .. }) => {
                    Ok(("the bucket has no content under the prefix yet".to_owned(), Seen::Nothing))
                }
                Err(error) => Err(error),
            }
        }
    }
}

/// The same store, not waited for, and without the folder of cached chunks, which a server may have.
pub(in crate::stores) fn at_once(settings: &ObjectSettings) -> ObjectSettings {
    ObjectSettings { connect_retry: Duration::ZERO, cache_folder: None, ..settings.clone() }
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
