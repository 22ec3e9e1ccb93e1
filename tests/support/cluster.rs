//! A PostgreSQL server of one test's own, on a free port of 127.0.0.1 and a socket in its folder.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio_postgres::{Client, Config, NoTls};

use crate::port::Reserved;

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that ends with the value.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: TempDir,
    pub(crate) port: u16,
    /// Also while the server is away.
    _reserved: Reserved,
    options: Vec<String>,
    server: Option<Child>,
}

impl Cluster {
    /// A new cluster whose superuser `postgres` needs no password. `options` are settings (`name=value`).
    pub(crate) async fn start(options: &[&str]) -> Self {
        let cluster = Self::folder(options);
        let data = cluster.data();
        let arguments =
            ["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"];
        let mut initdb = program("initdb");
        run(initdb.arg("-D").arg(data).args(arguments));
        cluster.running().await
    }

    /// A standby of `primary`, which it follows.
    pub(crate) async fn standby_of(primary: &Self) -> Self {
        let cluster = Self::folder(&[]);
        let mut copy = program("pg_basebackup");
        copy.args(["-h", "127.0.0.1", "-p", &primary.port.to_string(), "-U", "postgres"])
            .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "-D"])
            .arg(cluster.data());
        run(&mut copy);
        let standby = cluster.running().await;
        let follows = "SELECT count(*) FROM pg_stat_replication
                        WHERE state = 'streaming' AND application_name <> 'pg_basebackup'";
        let (client, until) = (primary.superuser().await, Instant::now() + PATIENCE);
        while client.query_one(follows, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            assert!(Instant::now() < until, "it does not follow: {}", standby.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        standby
    }

    /// A folder and a port, with no cluster yet.
    pub(crate) fn folder(options: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("trunkfs-cluster.").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        own(folder.path());
        let reserved = Reserved::new();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Self { folder, port: reserved.port, _reserved: reserved, options, server: None }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// With its server running.
    pub(crate) async fn running(mut self) -> Self {
        self.run().await;
        self
    }

    /// Starts the server, again where it was stopped.
    pub(crate) async fn run(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.path().join("log"));
        let log = log.unwrap();
        let mut command = program("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k"])
            .arg(self.path())
            .args(["-c", "fsync=off", "-c", "shared_buffers=16MB"])
            .args(["-c", "dynamic_shared_memory_type=mmap"])
            .args(self.options.iter().flat_map(|option| ["-c", option]))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut server = command.spawn().unwrap();
        let until = Instant::now() + PATIENCE;
        while self.try_connect().await.is_none() {
            assert!(server.try_wait().unwrap().is_none(), "it ended: {}", self.log());
            assert!(Instant::now() < until, "it does not start: {}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.server = Some(server);
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    /// Over the socket, whose rule in `pg_hba.conf` comes first.
    async fn try_connect(&self) -> Option<Client> {
        let mut config = Config::new();
        config.host_path(self.path()).port(self.port).user("postgres").dbname("postgres");
        let (client, connection) = config.connect(NoTls).await.ok()?;
        tokio::spawn(connection);
        Some(client)
    }

    /// The superuser's connection, waited for: those that were dropped before it may have its place a while
    /// longer.
    pub(crate) async fn superuser(&self) -> Client {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(client) = self.try_connect().await {
                return client;
            }
            assert!(Instant::now() < until, "no connection: {}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn sql(&self, statements: &str) {
        self.superuser().await.batch_execute(statements).await.unwrap();
    }

    /// Who may log in: the superuser over the socket, and what `lines` say.
    pub(crate) async fn admit(&self, lines: &str) {
        let text = format!("local all postgres trust\n{lines}\n");
        fs::write(self.data().join("pg_hba.conf"), text).unwrap();
        self.reload().await;
    }

    /// A file in the cluster's folder that its server may read, and nobody else.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        own(&path);
        path
    }

    /// Makes the server read its configuration anew, and waits until new connections see it.
    pub(crate) async fn reload(&self) {
        let client = self.superuser().await;
        let loaded = "SELECT pg_conf_load_time()::text";
        let before: String = client.query_one(loaded, &[]).await.unwrap().get(0);
        client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            // Each new process inherits what the postmaster has loaded.
            let client = self.superuser().await;
            if client.query_one(loaded, &[]).await.unwrap().get::<_, String>(0) != before {
                return;
            }
            assert!(Instant::now() < until, "it does not reload: {}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends the server at once, as a crash would.
    pub(crate) fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let id = Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap();
        kill_process(id, Signal::QUIT).unwrap();
        server.wait().unwrap();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The folder of PostgreSQL's programs, which Debian keeps out of PATH.
fn programs() -> PathBuf {
    let mut folders: Vec<PathBuf> = Vec::new();
    for parent in ["/usr/lib/postgresql", "/usr/local/lib/postgresql"] {
        let found = fs::read_dir(parent).into_iter().flatten().flatten();
        folders.extend(found.map(|entry| entry.path().join("bin")));
    }
    // The newest first.
    folders.sort_by_key(|folder| {
        let version = folder.parent().and_then(Path::file_name).and_then(OsStr::to_str);
        std::cmp::Reverse(version.and_then(|it| it.parse::<u32>().ok()).unwrap_or(0))
    });
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let found = folders.into_iter().find(|folder| folder.join("initdb").is_file());
    found.expect("PostgreSQL's initdb is needed: run the tests with ./tests/run.sh")
}

/// A program of PostgreSQL. They refuse root: as root they run as the user postgres.
pub(crate) fn program(name: &str) -> Command {
    as_postgres(programs().join(name))
}

/// Any program that refuses root.
pub(crate) fn as_postgres(path: impl AsRef<OsStr>) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "postgres", "--regid", "postgres", "--init-groups", "--"]);
        command.arg(path);
        command
    } else {
        Command::new(path)
    };
    command.env("LC_ALL", "C").env("HOME", "/tmp").current_dir("/");
    command
}

/// Runs a program, which must succeed.
pub(crate) fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Gives a file to the user that PostgreSQL runs as.
pub(crate) fn own(path: &Path) {
    if rustix::process::geteuid().is_root() {
        run(Command::new("chown").arg("postgres").arg(path));
    }
}
