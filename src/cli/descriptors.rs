//! The limit of open file descriptors.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Failure;
use crate::config::{Config, Content, Metadata};
use crate::http;

/// Descriptors of nothing that is counted: standard streams, the listener, the runtime's, TLS and name
/// look-ups.
const OTHERS: usize = 64;
/// Descriptors of one SQLite store: its files, once for the writer and once for each reader.
const SQLITE: usize = 64;

/// What a configuration may have open at once.
#[derive(Debug, PartialEq, Eq)]
struct Needed {
    connections: usize,
    admin: usize,
    files: usize,
    databases: usize,
}

/// Raises the limit as far as the process may (getrlimit(2), `RLIMIT_NOFILE`).
///
/// # Errors
/// It is lower than what the configuration may have open at once: a server that meets it refuses clients and
/// cannot open files, with errors that do not point here.
pub(super) fn raise(config: &Config) -> Result<(), Failure> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let Some(limit) = getrlimit(Resource::Nofile).current else { return Ok(()) };
    let needed = Needed::by(config);
    if usize::try_from(limit).is_ok_and(|limit| limit < needed.sum()) {
        return Err(Failure::Run(needed.refusal(limit).into()));
    }
    Ok(())
}

impl Needed {
    fn by(config: &Config) -> Self {
        let files = config.content.values().map(|content| match content {
            Content::Memory { .. } => 0,
            Content::Filesystem(filesystem) => filesystem.max_open_files,
            Content::Object(settings) => settings.max_concurrency,
        });
        let databases = config.metadata.values().map(|metadata| match metadata {
            Metadata::Memory { .. } => 0,
            Metadata::Sqlite(_) => SQLITE,
            Metadata::Postgres(postgres) => postgres.max_connections,
        });
        Self {
            connections: config.server.settings.max_connections,
            admin: config.admin.listen.map_or(0, |_| http::MAX_CONNECTIONS),
            files: files.sum(),
            databases: databases.sum(),
        }
    }

    fn sum(&self) -> usize {
        self.connections + self.admin + self.files + self.databases + OTHERS
    }

    fn refusal(&self, limit: u64) -> String {
        let Self { connections, admin, files, databases } = self;
        let sum = self.sum();
        format!(
            "too few open files: the limit of this process is {limit}, and the configuration needs {sum}: \
             {connections} for server.max_connections, {admin} for admin.listen, {files} for max_open_files and \
             max_concurrency of content stores, {databases} for metadata stores, {OTHERS} for others; raise the limit \
             (LimitNOFILE= of a systemd unit, ulimits of a container, `ulimit -Hn` of a shell) to {sum} at \
             least, or lower those keys"
        )
    }
}
