//! What systemd is told (sd_notify(3)), on a socket of the test's own.

use std::net::{SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::process::{PATIENCE, Running, patiently, trunkfs};

/// A socket that takes notices.
struct Systemd {
    socket: UnixDatagram,
    name: String,
    folder: TempDir,
}

impl Systemd {
    fn at_a_path() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self::new(socket, path.to_str().unwrap().to_owned(), folder)
    }

    fn at_an_abstract_name() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("{}/notify", folder.path().display());
        let address = UnixAddress::from_abstract_name(&name).unwrap();
        Self::new(UnixDatagram::bind_addr(&address).unwrap(), format!("@{name}"), folder)
    }

    fn new(socket: UnixDatagram, name: String, folder: TempDir) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, name, folder }
    }

    /// A server that notifies it.
    async fn serve(&self, environment: &[(&str, &str)]) -> Running {
        let mut command = trunkfs(self.folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
        command.env("NOTIFY_SOCKET", &self.name).envs(environment.iter().copied());
        Running::spawn(command, 1).await
    }

    /// The next notice's lines.
    fn next(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).expect("a notice in time");
        let text = std::str::from_utf8(&bytes[..length]).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The next notice that has the line, and whatever came before it.
    fn until(&self, line: &str) -> (Vec<String>, Vec<Vec<String>>) {
        let mut before = Vec::new();
        loop {
            let notice = self.next();
            if notice.iter().any(|each| each == line) {
                return (notice, before);
            }
            before.push(notice);
        }
    }
}

fn status(notice: &[String]) -> &str {
    notice.iter().find_map(|line| line.strip_prefix("STATUS=")).unwrap_or_default()
}

async fn told_of_start_and_end(systemd: Systemd) {
    let server = systemd.serve(&[]).await;
    let (ready, before) = systemd.until("READY=1");
    assert_eq!(status(&ready), format!("serving /export on {}", server.address));
    assert!(before.iter().any(|notice| status(notice) == "opening stores"), "{before:?}");
    TcpStream::connect(server.address).unwrap();
    server.signal(Signal::TERM);
    let (stopping, before) = systemd.until("STOPPING=1");
    assert!(before.is_empty(), "{before:?}");
    // drain_timeout, and what follows it: 20 and 20 seconds.
    assert!(stopping.contains(&"EXTEND_TIMEOUT_USEC=40000000".to_owned()), "{stopping:?}");
    assert_eq!(server.finish().await.status, Some(0));
}

#[tokio::test]
async fn a_socket_at_a_path_is_told_of_start_and_end() {
    told_of_start_and_end(Systemd::at_a_path()).await;
}

#[tokio::test]
async fn an_abstract_socket_is_told_of_start_and_end() {
    told_of_start_and_end(Systemd::at_an_abstract_name()).await;
}

#[tokio::test]
async fn ready_is_said_when_calls_are_answered_and_not_before() {
    let systemd = Systemd::at_a_path();
    // A database that takes connections and says nothing: the start waits.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen: SocketAddr = taken.local_addr().unwrap();
    drop(taken);
    let yaml = format!(
        "
metadata:
  stores: {{ db: {{ type: postgres, postgres: {{ host: 127.0.0.1, port: {port}, connect_timeout: 1h }} }} }}
content: {{ stores: {{ c: {{ type: memory }} }} }}
shares:
  - {{ name: /e, metadata_store: db, content_store: c, clients: [ {{ network: 127.0.0.0/8 }} ] }}
"
    );
    std::fs::write(systemd.folder.path().join("t.yaml"), yaml).unwrap();
    let listen = listen.to_string();
    let arguments = ["serve", "--config", "t.yaml", "--listen", &listen];
    let mut command = trunkfs(systemd.folder.path(), &arguments);
    command.env("NOTIFY_SOCKET", &systemd.name).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    assert_eq!(status(&systemd.next()), "opening stores");
    let _connection = patiently(silent.accept()).await.unwrap();
    systemd.socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(systemd.socket.recv(&mut [0; 100]).is_err(), "not ready, and nothing else to say");
    assert_eq!(child.try_wait().unwrap(), None, "it waits");
    child.kill().await.unwrap();
}

#[tokio::test]
async fn the_watchdog_hears_of_a_server_that_lives_and_of_no_other() {
    let systemd = Systemd::at_a_path();
    let server = systemd.serve(&[("WATCHDOG_USEC", "2000000")]).await;
    systemd.until("READY=1");
    for _ in 0..3 {
        assert_eq!(systemd.next(), ["WATCHDOG=1"]);
    }
    server.signal(Signal::STOP);
    systemd.socket.set_nonblocking(true).unwrap();
    // What was sent before it stopped.
    while systemd.socket.recv(&mut [0; 100]).is_ok() {}
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(systemd.socket.recv(&mut [0; 100]).is_err(), "a process that is stopped is silent");
    systemd.socket.set_nonblocking(false).unwrap();
    server.signal(Signal::CONT);
    systemd.until("WATCHDOG=1");
    server.stop().await;
}

#[tokio::test]
async fn without_a_watchdog_nothing_is_sent_to_it() {
    let systemd = Systemd::at_a_path();
    // Another process's watchdog is none of the server's.
    let server = systemd.serve(&[("WATCHDOG_USEC", "100000"), ("WATCHDOG_PID", "1")]).await;
    systemd.until("READY=1");
    systemd.socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(systemd.socket.recv(&mut [0; 100]).is_err());
    server.stop().await;
}
