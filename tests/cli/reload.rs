//! SIGHUP: what a server takes over while it serves, and what it says of the rest.

use std::io::Read as _;
use std::process::Stdio;

use rustix::process::Signal;

use super::client::{Call, Connection, Writer};
use super::notices::{Systemd, status};
use super::process::{Running, patiently, run, trunkfs};

const NFS: u32 = 100_003;

const BEFORE: &str = "
server: { listen: '127.0.0.1:0', max_connections: 100 }
metadata: { stores: { m: { type: memory } } }
content: { stores: { c: { type: memory } } }
shares:
  - name: /e
    metadata_store: m
    content_store: c
    clients: [ { network: 127.0.0.0/8, squash: no_root_squash } ]
";

/// A server with a connection to it, whose notices say when a signal's work is done.
struct Fixture {
    systemd: Systemd,
    server: Running,
    connection: Connection,
    root: Vec<u8>,
}

impl Fixture {
    async fn new(environment: &[(&str, &str)]) -> Self {
        let systemd = Systemd::at_a_path();
        std::fs::write(systemd.folder.path().join("t.yaml"), BEFORE).unwrap();
        let server = systemd.serve_with(&["--config", "t.yaml"], environment).await;
        systemd.until("READY=1");
        let mut connection = Connection::open(server.address).await;
        let mount = Call::new(100_005, 3, 1).arguments(Writer::new().opaque(b"/e"));
        let mut results = connection.call(mount).await.results();
        assert_eq!(results.u32(), 0, "mountstat3");
        Self { systemd, server, connection, root: results.opaque() }
    }

    /// The configuration with `to` in place of `from` is read; what systemd is told of it.
    fn reload(&self, from: &str, to: &str) -> Vec<String> {
        assert!(BEFORE.contains(from), "{from}");
        let text = BEFORE.replace(from, to);
        std::fs::write(self.systemd.folder.path().join("t.yaml"), text).unwrap();
        self.server.signal(Signal::HUP);
        let reloading = self.systemd.next();
        assert_eq!(reloading[0], "RELOADING=1");
        let time = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap();
        assert!(time.parse::<u64>().unwrap() > 0);
        let ready = self.systemd.next();
        assert_eq!(ready[0], "READY=1");
        ready
    }

    /// GETATTR of the root: nfsstat3.
    async fn getattr(&mut self) -> u32 {
        let call = Call::new(NFS, 3, 1).arguments(Writer::new().opaque(&self.root));
        self.connection.call(call).await.results().u32()
    }

    /// MKDIR in the root: nfsstat3.
    async fn mkdir(&mut self, name: &str) -> u32 {
        let arguments = Writer::new().opaque(&self.root).opaque(name.as_bytes());
        let arguments = arguments.u32(1).u32(0o755).u32(0).u32(0).u32(0).u32(0).u32(0);
        let call = Call::new(NFS, 3, 9).arguments(arguments);
        self.connection.call(call).await.results().u32()
    }

    /// Stops the server: what it logged.
    async fn log(self) -> String {
        self.server.stop().await.err
    }
}

const CLIENTS: &str = "{ network: 127.0.0.0/8, squash: no_root_squash }";

#[tokio::test]
async fn clients_meet_new_rules_at_their_next_call() {
    let mut t = Fixture::new(&[]).await;
    assert_eq!(t.mkdir("a").await, 0);
    t.reload(CLIENTS, "{ network: 127.0.0.0/8, squash: no_root_squash, access: ro }");
    assert_eq!((t.mkdir("b").await, t.getattr().await), (30, 0), "NFS3ERR_ROFS");
    t.reload(CLIENTS, "{ network: 127.0.0.0/8, squash: root_squash }");
    assert_eq!((t.mkdir("b").await, t.getattr().await), (13, 0), "NFS3ERR_ACCES");
    t.reload(CLIENTS, "{ network: 10.0.0.0/8 }");
    t.connection.closed().await;
    // Loopback may connect all the same.
    t.connection = Connection::open(t.server.address).await;
    assert_eq!((t.mkdir("b").await, t.getattr().await), (70, 70), "NFS3ERR_STALE");
    t.reload(CLIENTS, CLIENTS);
    assert_eq!((t.mkdir("b").await, t.getattr().await), (0, 0));
    let log = t.log().await;
    let told = log.matches("SIGHUP: t.yaml: shares[/e].clients has changed").count();
    assert_eq!(told, 4, "{log}");
    assert!(log.contains("are closed connections=1"), "{log}");
    assert!(!log.contains("takes effect at the next restart"), "{log}");
}

#[tokio::test]
async fn a_wrong_file_changes_nothing_and_says_what_is_wrong() {
    let mut t = Fixture::new(&[]).await;
    let ready = t.reload(CLIENTS, "{ network: 10.0.0.0/8, acces: ro }");
    let address = t.server.address;
    let expected = format!("serving /e on {address}; the configuration is invalid, see the log");
    assert_eq!(status(&ready), expected);
    assert_eq!(t.mkdir("a").await, 0);
    let checked = run(trunkfs(t.systemd.folder.path(), &["check-config", "--config", "t.yaml"]));
    let checked = checked.await;
    assert_eq!(checked.status, Some(2), "{checked:?}");
    // Mended.
    let ready = t.reload(CLIENTS, CLIENTS);
    assert_eq!(status(&ready), format!("serving /e on {address}"));
    let log = t.log().await;
    let error = checked.err.strip_prefix("error: ").unwrap().trim_end();
    assert!(error.contains("did you mean 'access'") && log.contains(error), "{error}\n{log}");
    assert!(log.contains("SIGHUP: t.yaml is invalid; nothing was changed"), "{log}");
    assert!(log.contains("SIGHUP: t.yaml: no changes"), "{log}");
}

#[tokio::test]
async fn what_takes_a_restart_is_named_every_time() {
    let t = Fixture::new(&[]).await;
    for _ in 0..2 {
        t.reload(
            "max_connections: 100 }",
            "max_connections: 100, portmap_port: 1111, request_timeout: 7s, drain_timeout: 5s }",
        );
    }
    t.reload("content_store: c\n", "content_store: c\n    groups: server\n");
    t.server.signal(Signal::TERM);
    let (stopping, _) = t.systemd.until("STOPPING=1");
    // The drain timeout is the default again.
    assert!(stopping.contains(&"EXTEND_TIMEOUT_USEC=40000000".to_owned()), "{stopping:?}");
    let log = t.server.finish().await.err;
    let restart =
        "SIGHUP: t.yaml: server.portmap_port has changed; it takes effect at the next restart";
    assert_eq!(log.matches(restart).count(), 2, "{log}");
    assert_eq!(log.matches("t.yaml: server.request_timeout has changed\n").count(), 2, "{log}");
    assert!(
        log.contains("shares[/e].groups has changed; it takes effect at the next restart"),
        "{log}"
    );
}

#[tokio::test]
async fn levels_of_the_log_change_at_once() {
    let with_levels = |levels: &str| format!("logging: {{ levels: {levels} }}\nmetadata:");
    let mut t = Fixture::new(&[]).await;
    assert_eq!((t.mkdir("a").await, t.mkdir("a").await), (0, 17), "NFS3ERR_EXIST");
    t.reload("metadata:", &with_levels("debug"));
    assert_eq!(t.mkdir("a").await, 17);
    t.reload("metadata:", &with_levels("warn"));
    assert_eq!(t.mkdir("a").await, 17);
    let log = t.log().await;
    assert!(log.contains("t.yaml: logging.levels has changed"), "{log}");
    // A refusal has a line where the level is debug.
    assert_eq!(log.matches("a call was refused").count(), 1, "{log}");
    assert!(!log.contains("stopped"), "what is told at the level info is not: {log}");

    let t = Fixture::new(&[("RUST_LOG", "info")]).await;
    t.reload("metadata:", &with_levels("debug"));
    let log = t.log().await;
    assert!(log.contains("logging.levels has changed, but RUST_LOG overrides it"), "{log}");
}

#[tokio::test]
async fn the_environment_still_overrides_what_is_read() {
    let access = ("TRUNKFS__SHARES__0__CLIENTS__0__ACCESS", "ro");
    let mut t = Fixture::new(&[access, ("TRUNKFS__SERVER__MAX_CONNECTIONS", "50")]).await;
    assert_eq!(t.mkdir("a").await, 30, "NFS3ERR_ROFS");
    t.reload("max_connections: 100", "max_connections: 101");
    assert_eq!(t.mkdir("a").await, 30, "NFS3ERR_ROFS");
    assert!(t.log().await.contains("SIGHUP: t.yaml: no changes"));
}

#[tokio::test]
async fn a_server_whose_terminal_is_gone_stops() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let folder = tempfile::tempdir().unwrap();
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let stdin = std::fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
    let mut seen = stdin.try_clone().unwrap();
    let mut command = trunkfs(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    command.stdin(Stdio::from(stdin));
    let server = Running::spawn(command, 1).await;
    // A hang-up of somebody's own is a reload.
    server.signal(Signal::HUP);
    Connection::open(server.address).await.call(Call::new(NFS, 3, 0)).await.results().end();
    drop(terminal);
    // It is gone when no child has it any more that was begun meanwhile: then there is nothing to read.
    assert_eq!(seen.read(&mut [0; 1]).unwrap_or(0), 0);
    server.signal(Signal::HUP);
    let finished = patiently(server.finish()).await;
    assert_eq!(finished.status, Some(0), "{finished:?}");
    assert!(finished.err.contains("the terminal is gone"), "{finished:?}");
}
