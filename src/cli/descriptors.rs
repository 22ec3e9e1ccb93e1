//! The limit of open file descriptors.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, Content};

/// Descriptors that are neither connections nor content: standard streams, the listener, the runtime's.
const OTHERS: usize = 64;

/// Raises the limit as far as the process may (getrlimit(2), `RLIMIT_NOFILE`), and warns where the
/// configuration may need more.
pub(super) fn raise(config: &Config) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let Some(limit) = getrlimit(Resource::Nofile).current else { return };
    let needed = needed(config);
    if usize::try_from(limit).is_ok_and(|limit| limit < needed) {
        tracing::warn!(
            limit,
            needed,
            "the limit of open files is lower than max_connections and max_open_files need together"
        );
    }
}

fn needed(config: &Config) -> usize {
    let content = config.content.values().map(|content| match content {
        Content::Memory => 0,
        Content::Filesystem(filesystem) => filesystem.max_open_files,
        Content::S3(s3) => s3.common.max_concurrency,
        Content::Gcs(gcs) => gcs.common.max_concurrency,
        Content::Azure(azure) => azure.common.max_concurrency,
    });
    content.sum::<usize>() + config.server.max_connections + OTHERS
}
