//! What only the whole of a configuration shows: required sections, names, references between them, and
//! stores in one place.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};

use super::de::{CLIENTS, hint};
use super::document::Document;
use super::path::{Path, Step};
use super::{Config, Content, Metadata, Share};

/// Checks a configuration, and sets the defaults that depend on other keys. What is wrong is noted in the
/// document.
pub(super) fn check(document: &Document<'_>, config: &mut Config) {
    let stores = ["metadata", "content"];
    let paths = stores.map(|section| (Path::of([section]), Path::of([section, "stores"])));
    for (section, stores) in &paths {
        let remedy = "define at least one store";
        if !document.has(section) {
            let message = "missing; it defines where the data of the shares is stored";
            document.break_at(section, message);
        } else if !document.has(stores) {
            document.break_at(stores, format!("missing; {remedy}"));
        }
    }
    let [(_, metadata), (_, content)] = paths;
    for (name, store) in &mut config.metadata {
        let at = metadata.key(name);
        check_name(document, &at);
        let at = at.key(store.kind());
        let given = |key: &str| document.has(&at.key(key));
        let checked = match store {
            Metadata::Memory { .. } => Ok(()),
            Metadata::Sqlite(settings) => settings.check(),
            Metadata::Postgres(settings) => {
                settings.check(config.server.settings.request_timeout, &given)
            }
        };
        checked.unwrap_or_else(|wrong| document.break_at(&at.key(wrong.key), wrong.message));
    }
    for (name, store) in &mut config.content {
        let at = content.key(name);
        check_name(document, &at);
        let at = at.key(store.kind());
        let given = |key: &str| document.has(&at.key(key));
        let checked = match store {
            Content::Memory { .. } => Ok(()),
            Content::Filesystem(settings) => settings.check(),
            Content::Object(settings) => settings.service.check(&given),
        };
        checked.unwrap_or_else(|wrong| document.break_at(&at.key(wrong.key), wrong.message));
    }
    for (stores, count) in [(&metadata, config.metadata.len()), (&content, config.content.len())] {
        let written = document.find(stores).is_some_and(|node| !node.is_empty());
        if count == 0 && !written {
            document.wrong(stores, "must not be empty; define at least one store");
        }
    }
    let admin = Path::of(["admin"]);
    if !document.has_broken(&admin)
        && let Err(wrong) = config.admin.check()
    {
        document.break_at(&admin.key(wrong.key), wrong.message);
    }
    let locks = Path::of(["locks"]);
    if !document.has_broken(&locks)
        && let Err(wrong) = config.locks.check()
    {
        document.break_at(&locks.key(wrong.key), wrong.message);
    }
    check_places(document, config, &metadata, &content);
    check_shares(document, config);
}

/// A store's name is a part of the names of environment variables, which two underscores take apart.
fn check_name(document: &Document<'_>, at: &Path) {
    let name = at.last();
    let fits = |each: char| each.is_ascii_lowercase() || each.is_ascii_digit() || each == '_';
    let parts = name.split('_').all(|part| !part.is_empty());
    if !parts || !name.chars().all(fits) {
        document.wrong(at, format!(
            "{name:?} is not a valid store name; use a to z, 0 to 9 and single '_' between them, such as \
             main or disk_2"
        ));
    }
}

/// Two stores in one place would remove each other's data.
fn check_places(document: &Document<'_>, config: &Config, metadata: &Path, content: &Path) {
    let mut files = BTreeMap::new();
    for (name, store) in &config.metadata {
        let Metadata::Sqlite(settings) = store else { continue };
        if document.has_broken(&metadata.key(name)) {
            continue;
        }
        if let Some(other) = files.insert(resolved(&settings.path), name) {
            document.wrong(&metadata.key(name), format!(
                "the path {} is also that of the store {other}; give each store its own file, or use one \
                 store in both shares",
                settings.path.display()
            ));
        }
    }
    let mut folders = BTreeMap::new();
    let mut buckets = BTreeMap::new();
    let mut caches = BTreeMap::new();
    for (name, store) in &config.content {
        let at = content.key(name);
        match store {
            _ if document.has_broken(&at) => {}
            Content::Memory { .. } => {}
            Content::Filesystem(settings) => {
                let folder = &settings.base_path;
                if let Some(other) = folders.insert(resolved(folder), name) {
                    document.wrong(&at, format!(
                        "the base_path {} is also that of the store {other}; give each store its own folder",
                        folder.display()
                    ));
                }
            }
            Content::Object(settings) => {
                let bucket = (settings.service.identity(), &settings.prefix);
                if let Some(other) = buckets.insert(bucket, name) {
                    document.wrong(&at, format!(
                        "the bucket and prefix are also those of the store {other}; give each store its own \
                         prefix"
                    ));
                }
                let Some(folder) = &settings.cache_folder else { continue };
                if let Some(other) = caches.insert(folder, name) {
                    document.wrong(&at, format!(
                        "the cache_folder {} is also that of the store {other}; give each store its own \
                         folder",
                        folder.display()
                    ));
                }
            }
        }
    }
}

/// The folder itself where it is there; else what its path says.
fn resolved(path: &FilePath) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    absolute.canonicalize().unwrap_or_else(|_| absolute.components().collect())
}

fn check_shares(document: &Document<'_>, config: &Config) {
    let shares = Path::of(["shares"]);
    let remedy = "define at least one share";
    match document.find(&shares) {
        Some(node) if node.is_empty() => {
            document.wrong(&shares, format!("must not be empty; {remedy}"));
        }
        _ if !document.has(&shares) => document.wrong(&shares, format!("missing; {remedy}")),
        Some(_) | None => {}
    }
    // Those that are broken are not among the shares.
    let at =
        (0..).map(|index| shares.then(Step::Index(index))).filter(|at| !document.is_broken(at));
    let mut names = BTreeMap::new();
    for (share, at) in config.shares.iter().zip(at) {
        if names.insert(&share.name, ()).is_some() {
            document.wrong(
                &at,
                format!("duplicate share name {}; give each share its own name", share.name),
            );
        }
        check_share(document, share, &at);
    }
}

fn check_share(document: &Document<'_>, share: &Share, at: &Path) {
    for (key, section, name) in [
        ("metadata_store", "metadata", &share.metadata_store),
        ("content_store", "content", &share.content_store),
    ] {
        let stores = Path::of([section, "stores"]);
        let known: Vec<_> = document.keys(&stores).collect();
        // Where the stores cannot be read, that is noted already.
        if !known.is_empty() && !known.contains(&name.as_str()) {
            let near = hint(name, known.iter().copied());
            document.wrong(&at.key(key), format!("{name:?} is not a defined store{near}"));
        }
    }
    let clients = at.key("clients");
    if document.find(&clients).is_some_and(|node| node.is_empty()) {
        let message = format!("must not be empty: no client could mount the share; {CLIENTS}");
        document.wrong(&clients, message);
    }
    let each = (0..).map(|index| clients.then(Step::Index(index)));
    let mut networks = BTreeMap::new();
    for (client, at) in share.clients.iter().zip(each.filter(|at| !document.is_broken(at))) {
        if networks.insert(client.network, ()).is_some() {
            let network = client.network;
            document.wrong(
                &at,
                format!("duplicate rule for {network}, which would have no effect; keep one"),
            );
        }
    }
}
