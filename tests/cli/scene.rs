//! A server with a database behind it, and calls on it.

use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::client::{Call, Connection, Reader, Writer};
use super::database::{TestDatabase, connect};
use super::process::{PATIENCE, Running, folder, patiently};

pub(crate) const NFS: u32 = 100_003;

/// A configuration with metadata in a database and content in a folder.
pub(crate) struct Scene<'a> {
    /// The keys that say where the database is, as a YAML flow mapping has them.
    pub(crate) database: String,
    /// Further keys of the store, each with a comma before it.
    pub(crate) store: &'a str,
    pub(crate) drain_timeout: &'a str,
    /// Further top-level sections.
    pub(crate) top: &'a str,
}

impl Scene<'_> {
    pub(crate) fn of(database: &TestDatabase) -> Self {
        let target = database.settings().target;
        Self::at(&target.hosts[0].name, target.hosts[0].port, database)
    }

    /// The database by another way.
    pub(crate) fn at(host: &str, port: u16, database: &TestDatabase) -> Self {
        let target = database.settings().target;
        let password = target.password.unwrap_or_default();
        let (name, user) = (target.database, target.user);
        Self::on(format!(
            "host: {host:?}, port: {port}, database: {name:?}, user: {user:?}, password: {password:?}"
        ))
    }

    pub(crate) fn on(database: String) -> Self {
        Self { database, store: "", drain_timeout: "20s", top: "" }
    }

    pub(crate) fn folder(&self) -> TempDir {
        let Self { database, store, drain_timeout, top } = self;
        folder(&format!(
            "
server: {{ listen: '127.0.0.1:0', drain_timeout: {drain_timeout} }}
metadata: {{ stores: {{ db: {{ type: postgres, postgres: {{ {database}{store}, auto_migrate: true }} }} }} }}
content: {{ stores: {{ disk: {{ type: filesystem, filesystem: {{ base_path: content }} }} }} }}
shares:
  - name: /e
    metadata_store: db
    content_store: disk
    root: {{ mode: '0700' }}
    clients: [ {{ network: 127.0.0.0/8, squash: no_root_squash }} ]
{top}
"
        ))
    }
}

pub(crate) async fn started(folder: &TempDir) -> (Running, Connection) {
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    let connection = Connection::open(server.address).await;
    (server, connection)
}

/// MNT of `/e`.
pub(crate) async fn root(connection: &mut Connection) -> Vec<u8> {
    let call = Call::new(100_005, 3, 1).arguments(Writer::new().opaque(b"/e"));
    let mut results = connection.call(call).await.results();
    assert_eq!(results.u32(), 0, "mountstat3");
    results.opaque()
}

/// A call of NFS that succeeds, made again where the server asks for patience, as a busy one does: what
/// follows its status.
pub(crate) async fn ok(connection: &mut Connection, procedure: u32, arguments: Writer) -> Reader {
    const JUKEBOX: u32 = 10_008;
    let call = Call::new(NFS, 3, procedure).arguments(arguments);
    patiently(async {
        loop {
            let mut results = connection.call(call.clone()).await.results();
            match results.u32() {
                0 => return results,
                JUKEBOX => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
                status => panic!("nfsstat3 {status} of procedure {procedure}"),
            }
        }
    })
    .await
}

pub(crate) fn of(handle: &[u8]) -> Writer {
    Writer::new().opaque(handle)
}

/// Waits until a call of a server waits for a lock in its database.
pub(crate) async fn until_a_call_waits(database: &TestDatabase) {
    let watch = connect(&database.settings()).await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = \
                   current_database()";
    let start = Instant::now();
    while watch.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(start.elapsed() < PATIENCE, "no call waits");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
