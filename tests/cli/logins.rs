//! A database with TLS and a plain role: what the program says where it is not let in, and that it serves
//! where it is.

use super::certificates::Authority;
use super::cluster::Cluster;
use super::process::{Finished, run, trunkfs};
use super::scene::{Scene, ok, root, started};

async fn failed(database: String, words: &[&str]) {
    let folder = Scene::on(database).folder();
    let finished: Finished = run(trunkfs(folder.path(), &["serve", "--config", "t.yaml"])).await;
    finished.failed_with(1, words);
    assert!(!finished.err.contains("secret-"), "{finished:?}");
    let errors = finished.err.lines().filter(|line| line.starts_with("error: "));
    assert_eq!(errors.count(), 1, "{finished:?}");
}

#[tokio::test]
async fn a_plain_role_serves_over_tls_and_refusals_name_the_remedy() {
    let authority = Authority::new("the authority");
    let pair = authority.sign("server", &["localhost"]);
    let cluster = Cluster::start(&["password_encryption=scram-sha-256"]).await;
    let root_file = cluster.file("root.crt", &authority.own.certificate);
    let port = cluster.port;
    let url = |password: &str, host: &str| {
        format!(
            "url: 'postgres://plain:{password}@{host}:{port}/plain', sslmode: verify-full, sslrootcert: {}",
            root_file.display()
        )
    };
    cluster.sql("CREATE ROLE plain LOGIN PASSWORD 'secret-1'").await;
    cluster.sql("CREATE DATABASE plain OWNER plain").await;
    cluster.admit("hostssl plain plain 127.0.0.1/32 scram-sha-256").await;
    let place = format!("localhost (127.0.0.1), port {port}: ");
    failed(url("secret-1", "localhost"), &["stores.db", &place, "does not support TLS"]).await;

    for (setting, name, text) in [
        ("ssl_cert_file", "server.crt", &pair.certificate),
        ("ssl_key_file", "server.key", &pair.key),
    ] {
        let file = cluster.file(name, text);
        cluster.sql(&format!("ALTER SYSTEM SET {setting} = '{}'", file.display())).await;
    }
    cluster.sql("ALTER SYSTEM SET ssl = on").await;
    cluster.reload().await;
    failed(url("secret-2", "localhost"), &[&place, "\"plain\"", "check user and password"]).await;
    let name = "is for localhost, not for 127.0.0.1";
    failed(url("secret-1", "127.0.0.1"), &["stores.db", name, "verify-ca"]).await;
    let plain = format!("url: 'postgres://plain:secret-1@localhost:{port}/plain'");
    failed(plain, &[&place, "pg_hba.conf", "sslmode: verify-full"]).await;

    let folder = Scene::on(url("secret-1", "localhost")).folder();
    let (server, mut connection) = started(&folder).await;
    let handle = root(&mut connection).await;
    ok(&mut connection, 1, super::scene::of(&handle)).await;
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                      WHERE usename = 'plain'";
    let row = cluster.superuser().await.query_one(encrypted, &[]).await.unwrap();
    assert_eq!(row.get::<_, Option<bool>>(0), Some(true));
    server.stop().await;
}
