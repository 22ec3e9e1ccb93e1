//! What is no error of a configuration, and most likely not meant: variables that nothing reads, and secrets
//! that others can read.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::Metadata as FileMetadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::effective::scalars;
use super::overrides::PREFIX;
use super::path::Path as KeyPath;
use super::{Config, Metadata};
use crate::metadata::postgres::Settings as PostgresSettings;

/// The variable that names the configuration file.
pub const FILE_VARIABLE: &str = "TRUNKFS_CONFIG";
/// The variable that names the database of `trunkfs migrate`, and of no other command.
pub const URL_VARIABLE: &str = "DATABASE_URL";
/// What the names of this program's variables begin with.
const OWN: &str = "TRUNKFS_";
/// Names that are no mistake: of the configuration file, and of the revision that the build takes (Cargo sets
/// it for what it runs).
const KNOWN: [&str; 2] = [FILE_VARIABLE, "TRUNKFS_COMMIT"];

/// Warns of variables that look like this program's and that neither the program nor a value of the file
/// (`named`) reads.
pub(super) fn unread(
    variables: &[(OsString, OsString)],
    named: &BTreeSet<String>,
    effective: &str,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for (name, text) in variables {
        let (name, text) = (name.to_string_lossy(), text.to_string_lossy());
        let Some(rest) = name.strip_prefix(OWN).filter(|_| !name.starts_with(PREFIX)) else {
            continue;
        };
        if KNOWN.contains(&&*name) || named.contains(&*name) || is_service_link(&name, &text) {
            continue;
        }
        let joined = |name: &str| name.replace("__", "_");
        let end = format!("_{}", joined(rest));
        let mut keys: Vec<_> =
            scalars(effective).into_iter().map(|(path, _)| path.variable()).collect();
        keys.retain(|key| joined(key).ends_with(&end));
        let remedy = match &keys[..] {
            [key] => format!("did you mean {key}?"),
            [key, other] => format!("did you mean {key} or {other}?"),
            _ => format!(
                "a variable that sets a key has two underscores between its parts, such as \
                 {PREFIX}SERVER__LISTEN"
            ),
        };
        warnings.push(format!("the environment variable {name} is not read; {remedy}"));
    }
    warnings
}

/// Whether Kubernetes has made a variable for a Service whose name begins with `trunkfs` (Kubernetes
/// documentation, Service, "Environment variables").
fn is_service_link(name: &str, text: &str) -> bool {
    let of_port = |(_, port): (&str, &str)| {
        ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| port.contains(protocol))
    };
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT") && text.contains("://")
        || name.split_once("_PORT_").is_some_and(of_port)
}

/// Warns of `DATABASE_URL` where no value of the file names it and its database is that of no store.
pub(super) fn database_url(
    url: Option<&str>,
    named: &BTreeSet<String>,
    config: &Config,
) -> Option<String> {
    let url = url.filter(|url| !url.is_empty() && !named.contains(URL_VARIABLE))?;
    let meant = PostgresSettings::from_url(url).ok().map(|it| it.target);
    let used = config.metadata.values().any(|store| match store {
        Metadata::Postgres(store) => meant.as_ref().is_some_and(|meant| {
            (&meant.hosts, &meant.database) == (&store.target.hosts, &store.target.database)
        }),
        Metadata::Memory { .. } | Metadata::Sqlite(_) => false,
    });
    (!used).then(|| {
        format!(
            "the environment variable {URL_VARIABLE} is read by trunkfs migrate alone, and its database is \
             that of no store here; to serve from it write url: \"${{{URL_VARIABLE}}}\" in \
             metadata.stores.NAME.postgres"
        )
    })
}

/// Warns of a token that crosses a network unencrypted.
pub(super) fn exposed_token(config: &Config) -> Option<String> {
    config.admin.exposes_token().then(|| {
        "admin.token goes over the network unencrypted; set admin.certificate and admin.key, or keep that network private"
            .to_owned()
    })
}

/// Warns of secrets in a file that others than the server can read; `secrets` are their keys.
pub(super) fn exposed(
    path: &Path,
    file: &FileMetadata,
    secrets: &BTreeSet<KeyPath>,
) -> Vec<String> {
    let user = rustix::process::geteuid().as_raw();
    let Some((readers, change)) = readers(file.mode(), file.uid(), user) else {
        return Vec::new();
    };
    let (path, mode) = (path.display(), file.mode() & 0o7777);
    let warnings = secrets.iter().map(|key| {
        let last = key.last();
        format!(
            "{key}: this secret is readable by {readers} of this machine: {path} has mode {mode:04o}; run \
             chmod {change} {path}, or write the secret to a file of its own and its path under {last}_file"
        )
    });
    warnings.collect()
}

/// Who else can read a file, and the mode that ends it. The server runs as `user`, and reads a file of
/// another user or of root's by its group or as everybody does.
fn readers(mode: u32, owner: u32, user: u32) -> Option<(&'static str, &'static str)> {
    let (group, every) = (mode & 0o040 != 0, mode & 0o004 != 0);
    let own = owner == user && user != 0;
    match (group, every, own) {
        (_, true, true) => Some(("every user", "600")),
        (_, true, false) => Some(("every user", "o-r")),
        (true, false, true) => Some(("the group", "600")),
        (true, false, false) | (false, false, _) => None,
    }
}

#[cfg(test)]
mod tests;
