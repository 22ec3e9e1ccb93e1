//! PgBouncer in front of the database: in session mode it serves, in transaction mode it is refused by name.

use std::process::{Child, Stdio};
use std::time::Duration;

use tokio::time::Instant;
use trunkfs::metadata::postgres::{PostgresSchema, PostgresStore, Settings};
use trunkfs::metadata::{Invariants as _, MetadataStore, Namespace as _};
use trunkfs::types::Chain;

use crate::cluster::{as_postgres, own};
use crate::connecting::{has, line};
use crate::database::TestDatabase;
use crate::port::Reserved;
use crate::support::{CALL_LIMIT, context, mode, name, share_spec};

/// A PgBouncer that ends with the value.
struct Bouncer {
    process: Child,
    _reserved: Reserved,
    _folder: tempfile::TempDir,
    settings: Settings,
}

impl Bouncer {
    async fn before(database: &TestDatabase, pool_mode: &str) -> Self {
        let mut settings = database.settings();
        let folder = tempfile::Builder::new().prefix("trunkfs-pooler.").tempdir().unwrap();
        let reserved = Reserved::new();
        let port = reserved.port;
        let target = &mut settings.target;
        let text = format!(
            "[databases]\n{} = host={} port={}\n[pgbouncer]\npool_mode = {pool_mode}\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             logfile = {}/log\n",
            target.database,
            target.hosts[0].name,
            target.hosts[0].port,
            folder.path().display()
        );
        // `any` logs everybody in as this user.
        let text = text.replace("port=", &format!("user={} port=", target.user));
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, text).unwrap();
        own(folder.path());
        own(&file);
        (target.hosts[0].name, target.hosts[0].port) = ("127.0.0.1".to_owned(), port);
        let program = std::env::var_os("PATH").unwrap_or_default();
        let program = std::env::split_paths(&program)
            .chain(["/usr/sbin".into()])
            .map(|folder| folder.join("pgbouncer"))
            .find(|path| path.is_file())
            .expect("PgBouncer is needed: run the tests with ./tests/run.sh");
        let process = as_postgres(program)
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + CALL_LIMIT;
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(Instant::now() < until, "PgBouncer does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { process, _reserved: reserved, _folder: folder, settings }
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transaction_mode_is_refused() {
    let database = TestDatabase::create().await;
    for mode in ["transaction", "statement"] {
        let bouncer = Bouncer::before(&database, mode).await;
        let line = line(bouncer.settings.clone()).await;
        let words = ["a pooler", "pool_mode = transaction", "pool_mode = session"];
        has(&line, &words);
        let migrating = PostgresSchema::connect(&bouncer.settings).await.unwrap_err();
        has(&Chain(&migrating).to_string(), &words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session_mode_serves() {
    let database = TestDatabase::create().await;
    let bouncer = Bouncer::before(&database, "session").await;
    let store = PostgresStore::connect(bouncer.settings.clone()).await.unwrap();
    let share = store.open_share(&share_spec()).await.unwrap();
    let made = store.mkdir(&context(share.id), share.root, &name("d"), &mode(0o755)).await.unwrap();
    assert!(made.made);
    assert_eq!(store.inconsistencies().await.unwrap(), Vec::<String>::new());
    store.close().await;
}
