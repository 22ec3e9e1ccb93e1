//! The admin port of a server: health, who may ask, and its bounds.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::backup::bucket;
use super::certificates::Authority;
use super::client::{Call, Connection};
use super::cluster::Cluster;
use super::port::Reserved;
use super::process::{ADMIN, Finished, PATIENCE, Running, folder, patiently, run, trunkfs};
use super::s3::S3Server;
use super::scene::{NFS, of, root};

const TOKEN: &str = "a token of the tests";

/// A server with an admin port.
pub(crate) struct Served {
    pub(crate) folder: TempDir,
    pub(crate) server: Running,
    pub(crate) admin: SocketAddr,
    _port: Reserved,
}

/// A configuration over stores in memory, but for what `metadata` says.
fn yaml(admin: &str, metadata: &str, content: &str) -> String {
    format!(
        "
server: {{ listen: '127.0.0.1:0' }}
admin: {{ {admin} }}
metadata: {{ stores: {{ names: {{ {metadata} }} }} }}
content: {{ stores: {{ {content} bytes: {{ type: memory }}, folder: {{ type: filesystem, filesystem: {{ base_path: bytes }} }} }} }}
shares:
  - name: /e
    metadata_store: names
    content_store: bytes
    root: {{ mode: '1777' }}
    clients: [ {{ network: 127.0.0.0/8, squash: no_root_squash }} ]
"
    )
}

fn serve(folder: &Path) -> tokio::process::Command {
    let mut command = trunkfs(folder, &["serve", "--config", "t.yaml"]);
    command.env_remove(ADMIN);
    command
}

impl Served {
    pub(crate) async fn with(keys: &str, metadata: &str) -> Self {
        Self::serving(keys, metadata, ("", "", 1)).await
    }

    /// Also with shares over the metadata store `file`, and content in a folder and in the bucket.
    async fn with_further_shares(keys: &str, metadata: &str, s3: &S3Server) -> Self {
        let shares = "  - { name: /e/f, metadata_store: file, content_store: folder,
      clients: [ { network: 127.0.0.0/8 } ] }
  - { name: /e/b, metadata_store: file, content_store: disk,
      clients: [ { network: 127.0.0.0/8 } ] }
";
        let content = bucket(s3) + ",";
        Self::serving(keys, metadata, (&content, shares, 3)).await
    }

    async fn serving(
        keys: &str,
        metadata: &str,
        (content, shares, count): (&str, &str, usize),
    ) -> Self {
        let port = Reserved::new();
        let admin = port.address();
        let text = yaml(&format!("listen: '{admin}', {keys}"), metadata, content) + shares;
        let folder = folder(&text);
        let server = Running::spawn(serve(folder.path()), count).await;
        Self { folder, server, admin, _port: port }
    }

    pub(crate) async fn status(&self, arguments: &[&str]) -> Finished {
        run(trunkfs(self.folder.path(), &[&["status", "--timeout", "2m"], arguments].concat()))
            .await
    }
}

/// Sends a request, and gives the status and the rest of the answer.
pub(crate) async fn ask(admin: SocketAddr, request: &str, headers: &str) -> (u16, String) {
    let text = format!("{request} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
    let asking = async {
        let mut stream = TcpStream::connect(admin).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = patiently(asking).await;
    let (line, rest) = answer.split_once("\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (line.split(' ').nth(1).unwrap().parse().unwrap(), rest.to_owned())
}

pub(crate) async fn get(admin: SocketAddr, path: &str) -> (u16, String) {
    ask(admin, &format!("GET {path}"), "Host: localhost\r\n").await
}

/// Waits until `/readyz` has a status, and gives what it says.
async fn until_ready_is(admin: SocketAddr, status: u16) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let (found, text) = get(admin, "/readyz").await;
        if found == status {
            return text;
        }
        assert!(Instant::now() < until, "still {found}: {text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_server_shows_its_health_and_its_shares() {
    let served = Served::with("", "type: memory").await;
    let text = until_ready_is(served.admin, 200).await;
    for part in ["ok nfs (port", "ok metadata.stores.names (memory", "ok content.stores.bytes"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert_eq!(get(served.admin, "/livez").await.0, 200);
    assert_eq!(get(served.admin, "/nothing").await.0, 404);
    let (status, text) = get(served.admin, "/api/v1/shares").await;
    let body = text.split_once("\r\n\r\n").unwrap().1;
    let shares: Value = serde_json::from_str(body).unwrap();
    assert_eq!((status, &shares[0]["name"]), (200, &"/e".into()), "{text}");
    assert_eq!(shares[0]["objects"], 1, "its root: {text}");
    let asked = served.status(&["--config", "t.yaml"]).await;
    assert_eq!(asked.status, Some(0), "{asked:?}");
    for part in [": ready\n", "nfs ", "metadata.stores.names  memory  ok for "] {
        assert!(asked.out.contains(part), "no {part:?} in {asked:?}");
    }
    let asked = served.status(&[&format!("localhost:{}", served.admin.port()), "--json"]).await;
    let shown: Value = serde_json::from_str(&asked.out).unwrap();
    assert_eq!((asked.status, &shown["ready"]), (Some(0), &true.into()), "{asked:?}");
    served.server.stop().await;
}

#[tokio::test]
async fn pages_of_other_sites_and_changes_without_a_token_are_refused() {
    let served =
        Served::with(&format!("token: {TOKEN}, hosts: [files.example]"), "type: memory").await;
    let admin = served.admin;
    for (request, headers, status) in [
        ("GET /livez", "", 400),
        ("GET /livez", "Host: evil.example\r\n", 421),
        ("GET /livez", "Host: files.example:80\r\n", 200),
        ("GET /livez", "Host: localhost\r\nOrigin: http://evil.example\r\n", 403),
        ("GET /api/v1/status", "Host: localhost\r\nAuthorization: Bearer guessed\r\n", 401),
        ("POST /api/v1/status", "Host: localhost\r\n", 401),
        ("GET /api/v1/status", "Host: localhost\r\n", 200),
    ] {
        let (found, answer) = ask(admin, request, headers).await;
        assert_eq!(found, status, "{request} {headers:?}: {answer}");
    }
    let headers = format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n");
    let (status, answer) = ask(admin, "POST /api/v1/status", &headers).await;
    assert!(status == 405 && answer.contains("allow: GET, HEAD"), "{status} {answer}");
    let (_, answer) = get(admin, "/api/v1/configuration").await;
    assert!(answer.contains("token: \"***\"") && !answer.contains(TOKEN), "{answer}");
    let long = format!("Host: localhost\r\nX: {}\r\n", "x".repeat(20 << 10));
    assert_eq!(ask(admin, "GET /livez", &long).await.0, 431);
    served.server.stop().await;
}

#[tokio::test]
async fn the_configuration_is_read_again_where_the_token_asks_for_it() {
    let served = Served::with(&format!("token: {TOKEN}"), "type: memory").await;
    let mut connection = Connection::open(served.server.address).await;
    root(&mut connection).await;
    let file = served.folder.path().join("t.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let other = text.replace("network: 127.0.0.0/8", "network: 192.0.2.1");
    assert_ne!(text, other);
    std::fs::write(&file, other).unwrap();
    let reload = "POST /api/v1/reload";
    let (status, answer) = ask(served.admin, reload, "Host: localhost\r\n").await;
    assert_eq!(status, 401, "{answer}");
    let (status, answer) = get(served.admin, "/api/v1/reload").await;
    assert!(status == 405 && answer.contains("allow: POST"), "{status} {answer}");
    root(&mut connection).await;
    let headers = format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n");
    let (status, answer) = ask(served.admin, reload, &headers).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("shares[/e].clients has changed"), "{answer}");
    // No rule admits the client any more: its connection ends.
    patiently(connection.closed()).await;
    let finished = served.server.stop().await;
    assert!(finished.err.contains("admin: the configuration is read again"), "{finished:?}");
}

#[tokio::test]
async fn a_stopped_database_is_seen_and_so_is_its_return() {
    let mut cluster = Cluster::start(&[]).await;
    let metadata = format!(
        "type: postgres, postgres: {{ host: 127.0.0.1, port: {}, database: postgres, user: postgres, \
         auto_migrate: true }}",
        cluster.port
    );
    let served = Served::with("", &metadata).await;
    until_ready_is(served.admin, 200).await;
    cluster.stop();
    let text = until_ready_is(served.admin, 503).await;
    assert!(text.contains("FAILED metadata.stores.names (postgres): "), "{text}");
    assert!(text.contains("ok content.stores.bytes") && text.contains("ok nfs"), "{text}");
    assert_eq!(get(served.admin, "/livez").await.0, 200, "a restart would mend nothing");
    let asked = served.status(&["--config", "t.yaml"]).await;
    assert_eq!(asked.status, Some(1), "{asked:?}");
    assert!(asked.out.contains("NOT READY"), "{asked:?}");
    cluster.run().await;
    until_ready_is(served.admin, 200).await;
    served.server.stop().await;
}

/// The names of figures in a text, without what OpenMetrics adds to them.
fn figures(text: &str) -> BTreeSet<String> {
    let is_part = |each: char| each.is_ascii_lowercase() || each == '_';
    let words = text.split(|each| !is_part(each)).filter(|word| word.starts_with("trunkfs_"));
    let plain = words.map(|word| {
        let ends = ["_total", "_bucket", "_count", "_sum"];
        ends.iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).to_owned()
    });
    plain.collect()
}

#[tokio::test]
async fn the_board_and_the_alerts_name_figures_that_there_are() {
    let cluster = Cluster::start(&[]).await;
    let metadata = format!(
        "type: postgres, postgres: {{ host: 127.0.0.1, port: {}, database: postgres, user: postgres, \
         auto_migrate: true }} }}, file: {{ type: sqlite, sqlite: {{ path: names.sqlite }}",
        cluster.port
    );
    let s3 = S3Server::start().await;
    let token = format!("token: {TOKEN}");
    let served = Served::with_further_shares(&token, &metadata, &s3).await;
    let headers = format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n");
    ask(served.admin, "POST /api/v1/maintenance", &headers).await;
    let mut connection = Connection::open(served.server.address).await;
    let top = root(&mut connection).await;
    // LOOKUP of a name that there is not, and a word that is no handle.
    for (procedure, arguments) in [(3, of(&top).opaque(b"nothing")), (1, of(b"no handle"))] {
        connection.call(Call::new(NFS, 3, procedure).arguments(arguments)).await;
    }
    let until = Instant::now() + PATIENCE;
    let text = loop {
        let (status, text) = get(served.admin, "/metrics").await;
        assert_eq!(status, 200, "{text}");
        // The shares were asked, and a job has ended.
        let share = text.contains("trunkfs_share_total_bytes{share=\"/e/f\"}");
        let database = text.contains("trunkfs_postgres_wal_bytes");
        if share && database && text.contains("trunkfs_job_last_failed{job=\"fsck\"}") {
            break text;
        }
        assert!(Instant::now() < until, "{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    for line in [
        "trunkfs_call_failures_total{program=\"nfs\",procedure=\"LOOKUP\",status=\"NFS3ERR_NOENT\"} 1",
        "trunkfs_call_failures_total{program=\"nfs\",procedure=\"GETATTR\",status=\"NFS3ERR_BADHANDLE\"} 1",
        "trunkfs_call_duration_seconds_count{program=\"mount\",procedure=\"MNT\"} 1",
        "trunkfs_connections_limit 1024.0",
    ] {
        assert!(text.lines().any(|it| it == line), "no {line} in\n{text}");
    }
    assert!(text.ends_with("# EOF\n") && text.contains("application/openmetrics-text"), "{text}");
    let mut known = figures(&text);
    // Only where there is an rpcbind to register with.
    known.insert("trunkfs_rpcbind_registered".to_owned());
    let board = include_str!("../../packaging/grafana/trunkfs.json");
    let alerts = include_str!("../../packaging/prometheus/trunkfs.rules.yml");
    let page = include_str!("../../docs/monitoring.md");
    for named in [board, alerts, page].map(figures) {
        assert!(!named.is_empty());
        let unknown: Vec<_> = named.difference(&known).collect();
        assert_eq!(unknown, [""; 0], "not among {known:?}");
    }
    let described = figures(page);
    let undescribed: Vec<_> = known.difference(&described).collect();
    assert_eq!(undescribed, [""; 0], "docs/monitoring.md has every figure");
    served.server.stop().await;
}

#[tokio::test]
async fn clients_and_slow_calls_are_shown() {
    let served = Served::with("", "type: memory").await;
    let mut connection = Connection::open(served.server.address).await;
    let top = root(&mut connection).await;
    let call = Call::new(NFS, 3, 1).arguments(of(&top));
    connection.call(call).await;
    let (_, text) = get(served.admin, "/api/v1/clients").await;
    let clients: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
    let clients = clients.as_array().unwrap();
    let uses = clients.iter().filter(|client| client["client"] == "127.0.0.1");
    let mut uses = uses.flat_map(|client| client["uses"].as_array().unwrap());
    let found = uses.find(|it| it["procedure"] == "GETATTR").unwrap_or_else(|| panic!("{text}"));
    assert_eq!((&found["share"], &found["calls"]), (&"/e".into(), &1.into()), "{text}");
    let (status, text) = get(served.admin, "/").await;
    assert!(
        status == 200 && text.contains("content-security-policy: default-src 'none'"),
        "{text}"
    );
    for path in ["/api/v1/slow-calls", "/api/v1/history"] {
        let (status, text) = get(served.admin, path).await;
        assert!(status == 200 && text.contains("\r\n\r\n["), "{text}");
    }
    served.server.stop().await;
}

#[tokio::test]
async fn a_port_in_use_names_the_key() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = folder(&yaml(&format!("listen: '{address}'"), "type: memory", ""));
    let finished = run(serve(folder.path())).await;
    let words =
        ["admin: cannot listen on", &address, "another trunkfs", "admin.listen: off", ADMIN];
    finished.failed_with(1, &words);
}

#[tokio::test]
async fn other_machines_need_the_token_and_hear_one_word_without_it() {
    let authority = Authority::new("authority");
    let pair = authority.sign("server", &["localhost"]);
    let port = Reserved::new();
    let keys = format!(
        "listen: '0.0.0.0:{}', token_file: secret, certificate: own.pem, key: own.key",
        port.port
    );
    let folder = folder(&yaml(&keys, "type: memory", ""));
    for (name, text) in [("secret", TOKEN), ("own.pem", &pair.certificate), ("own.key", &pair.key)]
    {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let server = Running::spawn(serve(folder.path()), 1).await;
    let asked =
        run(trunkfs(folder.path(), &["status", "--config", "t.yaml", "--timeout", "2m"])).await;
    assert_eq!(
        asked.status,
        Some(0),
        "the configuration has the certificate and the token: {asked:?}"
    );
    std::fs::write(folder.path().join("ca.pem"), &authority.own.certificate).unwrap();
    let address = format!("https://localhost:{}", port.port);
    let by_name = |more: &[&str]| {
        let arguments = ["status", &address, "--timeout", "2m", "--ca", "ca.pem"];
        run(trunkfs(folder.path(), &[&arguments, more].concat()))
    };
    by_name(&[]).await.failed_with(1, &["401", "Authorization: Bearer TOKEN"]);
    let asked = by_name(&["--token-file", "secret"]).await;
    assert_eq!(asked.status, Some(0), "{asked:?}");
    let unknown = run(trunkfs(folder.path(), &["status", &address, "--timeout", "2m"])).await;
    unknown.failed_with(1, &["cannot connect"]);
    server.stop().await;
}

#[tokio::test]
async fn clients_that_send_nothing_cost_nfs_nothing() {
    let served = Served::with("", "type: memory").await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(served.admin).await.unwrap());
    }
    let mut connection = Connection::open(served.server.address).await;
    root(&mut connection).await;
    // Of one client 16 are open, and each of them ends by itself.
    let asking = async {
        loop {
            let mut stream = TcpStream::connect(served.admin).await.unwrap();
            let request = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            let mut answer = String::new();
            if stream.write_all(request.as_bytes()).await.is_ok()
                && stream.read_to_string(&mut answer).await.is_ok()
                && answer.starts_with("HTTP/1.1 200")
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    patiently(asking).await;
    served.server.stop().await;
}
