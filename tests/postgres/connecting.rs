//! What an administrator reads where there is no connection: one line with what is wrong, where, and what to
//! do.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;
use trunkfs::metadata::postgres::target::PasswordSource;
use trunkfs::metadata::postgres::{PostgresStore, Settings};
use trunkfs::metadata::{Catalog as _, Error, MetadataStore as _};

use crate::cluster::Cluster;
use crate::port::Reserved;

/// The error of a store that cannot be opened.
pub(crate) async fn refused(url: &str) -> String {
    line(Settings::from_url(url).unwrap()).await
}

pub(crate) async fn line(settings: Settings) -> String {
    let (Error::Backend(source) | Error::Unavailable(source)) =
        PostgresStore::connect(settings).await.unwrap_err()
    else {
        panic!("another kind of error")
    };
    let line = source.to_string();
    assert!(!line.contains('\n') && !line.contains("secret"), "{line}");
    line
}

#[track_caller]
pub(crate) fn has(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "no {word:?} in: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_names_the_remedy() {
    let cluster =
        Cluster::start(&["password_encryption=scram-sha-256", "max_connections=60"]).await;
    let setup = "CREATE ROLE fs LOGIN PASSWORD 'secret'; CREATE ROLE narrow LOGIN CONNECTION LIMIT 3;
                 CREATE ROLE shut LOGIN; CREATE ROLE stranger LOGIN; CREATE DATABASE trunk;
                 REVOKE CONNECT ON DATABASE trunk FROM PUBLIC; GRANT CONNECT ON DATABASE trunk TO fs, narrow;
                 GRANT CREATE ON DATABASE trunk TO fs, narrow";
    for statement in setup.split(';') {
        cluster.sql(statement).await;
    }
    cluster
        .admit(
            "host all fs 127.0.0.1/32 scram-sha-256\nhost all narrow,shut,ghost 127.0.0.1/32 trust\n\
             hostssl all stranger 127.0.0.1/32 trust",
        )
        .await;
    let port = cluster.port;
    let at = |user: &str, database: &str| format!("postgres://{user}@127.0.0.1:{port}/{database}");
    let place = format!("127.0.0.1, port {port}: ");

    let wrong = refused(&at("fs:wrong-secret", "trunk")).await;
    has(
        &wrong,
        &[&place, "password authentication failed for user \"fs\"", "check user and password"],
    );
    has(&refused(&at("fs", "trunk")).await, &[&place, "a password for fs", "set password"]);
    let missing = refused(&at("fs:secret", "nowhere")).await;
    has(&missing, &[&place, "database \"nowhere\" does not exist", "createdb --owner fs nowhere"]);
    has(
        &refused(&at("ghost", "trunk")).await,
        &[&place, "\"ghost\"", "createuser --pwprompt ghost"],
    );
    has(&refused(&at("shut", "trunk")).await, &[&place, "GRANT CONNECT ON DATABASE trunk TO shut"]);
    let stranger = refused(&at("stranger", "trunk")).await;
    has(&stranger, &[&place, "pg_hba.conf", "stranger", "without TLS", "sslmode: verify-full"]);

    let mut settings = Settings::from_url(&at("narrow", "trunk")).unwrap();
    settings.max_connections = 4;
    let line = line(settings.clone()).await;
    has(&line, &["max_conns is 4", "limited to 3 connections", "CONNECTION LIMIT"]);
    let ended = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'narrow'";
    let superuser = cluster.superuser().await;
    while superuser.query_one(ended, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let held = [(); 3].map(|()| crate::database::connect(&settings));
    let mut clients = Vec::new();
    for client in held {
        clients.push(client.await);
    }
    settings.max_connections = 3;
    let full = self::line(settings).await;
    has(&full, &[&place, "too many connections for role \"narrow\"", "lower max_conns"]);
}

/// A password that was changed in its file, as rotating programs do, is the next connection's.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_read_from_its_file_for_every_connection() {
    let cluster = Cluster::start(&["password_encryption=scram-sha-256"]).await;
    cluster.sql("CREATE ROLE fs LOGIN PASSWORD 'secret-1'").await;
    cluster.sql("CREATE DATABASE trunk OWNER fs").await;
    cluster.admit("host all fs 127.0.0.1/32 scram-sha-256").await;
    let port = cluster.port;
    let url = |password: &str| format!("postgres://fs:{password}@127.0.0.1:{port}/trunk");
    let folder = tempfile::tempdir().unwrap();
    for (number, file) in [(1, "password"), (3, "url")] {
        let path = folder.path().join(file);
        let write = |password: &str| {
            let text = if file == "url" { url(password) } else { format!("{password}\n") };
            std::fs::write(&path, text).unwrap();
        };
        let (one, two) = (format!("secret-{number}"), format!("secret-{}", number + 1));
        cluster.sql(&format!("ALTER ROLE fs PASSWORD '{one}'")).await;
        write(&one);
        let mut settings = Settings::from_url(&url("stale-secret")).unwrap();
        settings.auto_migrate = true;
        settings.target.password_source = Some(match file {
            "url" => PasswordSource::Url(path.clone()),
            _ => PasswordSource::Password(path.clone()),
        });
        let store = PostgresStore::connect(settings.clone()).await.unwrap();
        cluster.sql(&format!("ALTER ROLE fs PASSWORD '{two}'")).await;
        write(&two);
        let end =
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'fs'";
        cluster.superuser().await.execute(end, &[]).await.unwrap();
        store.shares().await.unwrap();
        store.close().await;
        std::fs::remove_file(&path).unwrap();
        let gone = PostgresStore::connect(settings).await.unwrap_err();
        let source = std::error::Error::source(&gone).unwrap().to_string();
        has(&source, &["cannot read the password from", file]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_names_the_remedy() {
    let closed = Reserved::new();
    let free = closed.port;
    let away = refused(&format!("postgres://u:secret@127.0.0.1:{free}/d")).await;
    has(&away, &[&format!("127.0.0.1, port {free}: connection refused"), "listen_addresses"]);
    // No name has a label this long: the answer needs no network.
    let unknown = refused(&format!("postgres://u@{}/d", "x".repeat(64))).await;
    has(&unknown, &[", port 5432: the host name cannot be resolved", "spelling of host"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let absent = refused(&format!("postgres://u@/d?host={path}&port=5433")).await;
    has(&absent, &[&format!("{path}, port 5433: no socket .s.PGSQL.5433")]);
    // Each place has its reason; the same reason is said once.
    let several = format!("postgres://u@127.0.0.1:{free},localhost:{free}/d");
    let several = refused(&several).await;
    assert_eq!(several.matches("connection refused").count(), 1, "{several}");
    has(&several, &[&format!("127.0.0.1, port {free} and localhost (")]);
}

/// Other services on the port: each answers with this, and closes the connection or waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_no_postgresql_is_said_to_be_none() {
    for (banner, waits) in [
        (&b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"[..], true),
        (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", false),
        (b"J\0\0\0\x0a8.0.36\0", true),
        (b"-ERR unknown command\r\n", false),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                assert!(stream.read(&mut [0; 512]).await.is_ok());
                stream.write_all(banner).await.unwrap();
                held.extend(waits.then_some(stream));
            }
        });
        for mode in ["disable", "require"] {
            let url = format!("postgres://u:secret@127.0.0.1:{port}/d?sslmode={mode}");
            let mut settings = Settings::from_url(&url).unwrap();
            settings.connect_timeout = Duration::from_millis(500);
            let line = line(settings).await;
            has(
                &line,
                &[&format!("127.0.0.1, port {port}: "), "is not PostgreSQL", "check host and port"],
            );
        }
    }
}

/// A server that takes connections and says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn connect_timeout_bounds_the_whole_of_connecting() {
    for (mode, answer) in [("disable", &b""[..]), ("require", b""), ("require", b"S")] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(answer).await.unwrap();
                held.push(stream);
            }
        });
        let url = format!("postgres://u@127.0.0.1:{port}/d?sslmode={mode}");
        let mut settings = Settings::from_url(&url).unwrap();
        settings.connect_timeout = Duration::from_millis(300);
        let start = Instant::now();
        // Without a bound it would never end.
        has(&line(settings).await, &["no answer within 300ms (connect_timeout)"]);
        assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    }
}

/// A message of the protocol (PostgreSQL manual 55.7).
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

/// There is no old server to be had: this one says of itself that it is one.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_too_old_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 4096];
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        let ready = message(b'Z', b"I");
        let key = message(b'K', &[0; 8]);
        stream.write_all(&[message(b'R', &[0; 4]), key, ready.clone()].concat()).await.unwrap();
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        let values = ["140012", "14.12", "read committed", "off", "f"];
        let count = u16::try_from(values.len()).unwrap().to_be_bytes();
        let (mut fields, mut row) = (count.to_vec(), count.to_vec());
        for value in values {
            fields.extend([&b"c\0"[..], &[0; 6], &25_u32.to_be_bytes(), &[0; 8]].concat());
            row.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
            row.extend(value.as_bytes());
        }
        let answer =
            [message(b'T', &fields), message(b'D', &row), message(b'C', b"SELECT 1\0"), ready];
        stream.write_all(&answer.concat()).await.unwrap();
        while stream.read(&mut buffer).await.unwrap() > 0 {}
    });
    let line = refused(&format!("postgres://u@127.0.0.1:{port}/d")).await;
    has(&line, &[&format!("127.0.0.1, port {port}: "), "PostgreSQL 15 or later", "this is 14.12"]);
}
