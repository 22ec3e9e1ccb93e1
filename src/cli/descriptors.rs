//! The limit of open file descriptors.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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
    /// Content stores whose number of open files follows the limit.
    stores: usize,
}

/// Raises the limit as far as the process may (getrlimit(2), `RLIMIT_NOFILE`), and returns the configuration
/// with the `max_open_files` that follow from it.
///
/// # Errors
/// It is lower than what the configuration may have open at once: a server that meets it refuses clients and
/// cannot open files, with errors that do not point here.
pub(super) fn raise(config: &Config) -> Result<Config, String> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let needed = Needed::by(config);
    let limit_here = usize::try_from(limit).unwrap_or(usize::MAX);
    let Some(left) = limit_here.checked_sub(needed.sum()) else {
        return Err(needed.refusal(limit));
    };
    let mut config = config.clone();
    for content in config.content.values_mut() {
        if let Content::Filesystem(settings) = content {
            settings.limit_open_files(needed.stores, left);
        }
    }
    Ok(config)
}

impl Needed {
    fn by(config: &Config) -> Self {
        let files = config.content.values().map(|content| match content {
            Content::Memory { .. } => 0,
            Content::Filesystem(settings) => settings.descriptors(),
            Content::Object(settings) => settings.max_concurrency,
        });
        let databases = config.metadata.values().map(|metadata| match metadata {
            Metadata::Memory { .. } => 0,
            Metadata::Sqlite(_) => SQLITE,
            Metadata::Postgres(postgres) => postgres.max_connections,
        });
        let without = config.content.values().filter(
            |content| matches!(content, Content::Filesystem(it) if it.max_open_files.is_none()),
        );
        Self {
            connections: config.server.settings.max_connections,
            admin: config.admin.listen.map_or(0, |_| http::MAX_CONNECTIONS),
            files: files.sum(),
            databases: databases.sum(),
            stores: without.count(),
        }
    }

    fn sum(&self) -> usize {
        self.connections + self.admin + self.files + self.databases + OTHERS
    }

    fn refusal(&self, limit: u64) -> String {
        let Self { connections, admin, files, databases, .. } = self;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(stores: &str) -> Config {
        let text = format!(
            "
server: {{ max_connections: 100 }}
metadata: {{ stores: {{ m: {{ type: memory }} }} }}
content: {{ stores: {{ {stores} }} }}
shares: [ {{ name: /e, metadata_store: m, content_store: a, clients: [ {{ network: '::/0' }} ] }} ]
"
        );
        Config::parse("t.yaml", &text, &|_| None).unwrap()
    }

    fn folder(name: &str) -> String {
        format!("{name}: {{ type: filesystem, filesystem: {{ base_path: /{name} }} }}")
    }

    #[test]
    fn a_folder_needs_its_folders_and_few_files_or_as_many_as_it_is_told() {
        let other = 100 + http::MAX_CONNECTIONS + OTHERS;
        let one = Needed::by(&config(&folder("a")));
        assert_eq!((one.sum(), one.stores), (other + 256 + 64, 1));
        let two = Needed::by(&config(&format!("{}, {}", folder("a"), folder("b"))));
        assert_eq!((two.sum(), two.stores), (other + 2 * (256 + 64), 2));
        let text = "a: { type: filesystem, filesystem: { base_path: /a, max_open_files: 5 } }";
        let told = Needed::by(&config(text));
        assert_eq!((told.sum(), told.stores), (other + 256 + 5, 0));
    }
}
