//! What systemd is told (sd_notify(3)), on a socket of the test's own.

use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use super::notices::{Systemd, status};
use super::process::{patiently, trunkfs};

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
    let arguments = ["serve", "--config", "t.yaml", "--listen", "127.0.0.1:0"];
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
    // A thread stops when it has ended what it does in the kernel.
    let threads = format!("/proc/{}/task", server.id());
    let is_stopped = |thread: &Path| {
        // One that has ended since is as silent.
        let stat = std::fs::read_to_string(thread.join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('T'))
    };
    patiently(async {
        while !std::fs::read_dir(&threads).unwrap().all(|it| is_stopped(&it.unwrap().path())) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
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
