//! TLS between store and database: every mode, with certificates that are right and wrong in every way.

use std::path::PathBuf;

use trunkfs::metadata::MetadataStore;
use trunkfs::metadata::postgres::{PostgresStore, Settings};

use crate::bad_certificates::{expired, version_one};
use crate::certificates::{Authority, Pair};
use crate::cluster::Cluster;
use crate::connecting::{has, refused};
use crate::support::share_spec;

/// A server that has TLS, and the authority that its certificate comes from.
struct Fixture {
    cluster: Cluster,
    authority: Authority,
    root: PathBuf,
}

impl Fixture {
    async fn new() -> Self {
        let authority = Authority::new("the authority");
        let server = authority.sign("server", &["localhost", "db.example"]);
        let cluster = Cluster::start(&["password_encryption=scram-sha-256"]).await;
        cluster.file("server.crt", &server.certificate);
        cluster.file("server.key", &server.key);
        let root = cluster.file("root.crt", &authority.own.certificate);
        for statement in [
            "CREATE ROLE fs LOGIN PASSWORD 'secret'",
            "CREATE ROLE card LOGIN",
            "CREATE ROLE pair LOGIN PASSWORD 'secret'",
            "CREATE DATABASE fs OWNER fs",
            "CREATE DATABASE card OWNER card",
            "CREATE DATABASE pair OWNER pair",
        ] {
            cluster.sql(statement).await;
        }
        cluster
            .admit(
                "hostssl all fs all scram-sha-256\nhostssl all card all cert\n\
                 hostssl all pair all scram-sha-256 clientcert=verify-full",
            )
            .await;
        let fixture = Self { cluster, authority, root };
        for (name, file) in [
            ("ssl_cert_file", "server.crt"),
            ("ssl_key_file", "server.key"),
            ("ssl_ca_file", "root.crt"),
        ] {
            let file = fixture.cluster.path().join(file).display().to_string();
            fixture.cluster.sql(&format!("ALTER SYSTEM SET {name} = '{file}'")).await;
        }
        fixture.cluster.sql("ALTER SYSTEM SET ssl = on").await;
        fixture.cluster.reload().await;
        fixture
    }

    /// Gives the server another certificate.
    async fn serve(&self, pair: &Pair) {
        self.cluster.file("server.crt", &pair.certificate);
        self.cluster.file("server.key", &pair.key);
        self.cluster.reload().await;
    }

    fn url(&self, user: &str, host: &str, parameters: &str) -> String {
        let database = user.split(':').next().unwrap();
        format!("postgres://{user}@{host}:{}/{database}?{parameters}", self.cluster.port)
    }

    /// `user` with its parameters and the right root on the right host.
    fn checked(&self, user: &str, parameters: &str) -> String {
        let root = self.root.display();
        self.url(user, "localhost", &format!("sslmode=verify-full&sslrootcert={root}&{parameters}"))
    }

    /// A client certificate's parameters.
    fn card(&self, name: &str, pair: &Pair) -> String {
        let certificate = self.cluster.file(&format!("{name}.crt"), &pair.certificate);
        let key = self.cluster.file(&format!("{name}.key"), &pair.key);
        format!("sslcert={}&sslkey={}", certificate.display(), key.display())
    }

    /// Every connection of a store that opens is encrypted.
    async fn works(&self, url: &str) {
        let store = PostgresStore::connect(Settings {
            auto_migrate: true,
            ..Settings::from_url(url).unwrap()
        })
        .await;
        let store =
            store.unwrap_or_else(|error| panic!("{url}: {error:?} {:?}", error_source(&error)));
        store.open_share(&share_spec()).await.unwrap();
        let plain: i64 = self
            .cluster
            .superuser()
            .await
            .query_one(
                "SELECT count(*) FILTER (WHERE NOT ssl) + CASE WHEN count(*) = 0 THEN 1 ELSE 0 END
                   FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                  WHERE application_name = 'trunkfs'",
                &[],
            )
            .await
            .unwrap()
            .get(0);
        assert_eq!(plain, 0, "{url}");
        store.close().await;
    }
}

fn error_source(error: &trunkfs::metadata::Error) -> Option<String> {
    std::error::Error::source(error).map(ToString::to_string)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_checked_as_sslmode_says() {
    let fixture = Fixture::new().await;
    let root = fixture.root.display();
    fixture.works(&fixture.checked("fs:secret", "")).await;
    fixture.works(&fixture.checked("fs:secret", "channel_binding=require")).await;
    let by_authority = format!("sslmode=verify-ca&sslrootcert={root}");
    fixture.works(&fixture.url("fs:secret", "127.0.0.1", &by_authority)).await;
    fixture.works(&fixture.url("fs:secret", "127.0.0.1", "sslmode=require")).await;
    let plain = refused(&fixture.url("fs:secret", "127.0.0.1", "sslmode=disable")).await;
    has(&plain, &["pg_hba.conf", "without TLS", "sslmode: verify-full"]);
    let place = format!("127.0.0.1, port {}: ", fixture.cluster.port);
    let named = format!("sslmode=verify-full&sslrootcert={root}");
    let misnamed = refused(&fixture.url("fs:secret", "127.0.0.1", &named)).await;
    has(
        &misnamed,
        &[&place, "is for localhost, db.example, not for 127.0.0.1", "sslmode: verify-ca"],
    );

    let other = Authority::new("another authority");
    let file = fixture.cluster.file("other.crt", &other.own.certificate);
    for mode in ["verify-ca", "verify-full"] {
        let parameters = format!("sslmode={mode}&sslrootcert={}", file.display());
        let unknown = refused(&fixture.url("fs:secret", "localhost", &parameters)).await;
        has(&unknown, &["not signed by a CA in sslrootcert", "other.crt", "sslrootcert"]);
    }
    let nowhere = fixture.url("fs:secret", "localhost", "sslmode=verify-ca&sslrootcert=/none.pem");
    has(&refused(&nowhere).await, &["sslrootcert /none.pem cannot be read"]);
    let key = fixture.cluster.path().join("server.key");
    let key = format!("sslmode=verify-ca&sslrootcert={}", key.display());
    let empty = refused(&fixture.url("fs:secret", "localhost", &key)).await;
    has(&empty, &["contains no certificate", "BEGIN CERTIFICATE"]);

    // A server that has no TLS at all.
    fixture.cluster.sql("ALTER SYSTEM SET ssl = off").await;
    fixture.cluster.reload().await;
    let without = refused(&fixture.checked("fs:secret", "")).await;
    has(&without, &["the server does not support TLS", "ssl = on", "sslmode: disable"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_servers_certificate_that_is_wrong_names_the_remedy() {
    let fixture = Fixture::new().await;
    let url = fixture.checked("fs:secret", "");
    let root = fixture.root.display();
    let by_authority =
        fixture.url("fs:secret", "localhost", &format!("sslmode=verify-ca&sslrootcert={root}"));
    fixture.serve(&expired(&fixture.authority, "localhost")).await;
    has(&refused(&url).await, &["the server's certificate has expired", "renew it"]);
    has(&refused(&by_authority).await, &["has expired"]);
    fixture.serve(&fixture.authority.own).await;
    has(&refused(&url).await, &["CA:TRUE", "basicConstraints = CA:FALSE"]);
    let first = version_one("localhost");
    fixture.serve(&first).await;
    has(&refused(&url).await, &["X.509 version 1", "version 3"]);
    has(&refused(&by_authority).await, &["X.509 version 1"]);
    let required = fixture.url("fs:secret", "localhost", "sslmode=require");
    has(&refused(&required).await, &["X.509 version 1"]);
    fixture.serve(&fixture.authority.sign("localhost", &[])).await;
    has(&refused(&url).await, &["for no name", "subjectAltName"]);
    fixture.works(&by_authority).await;

    // A certificate that is replaced, the authority too, is the next connection's.
    let later = Authority::new("a later authority");
    fixture.cluster.file("root.crt", &later.own.certificate);
    fixture.serve(&later.sign("server", &["localhost"])).await;
    fixture.works(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_shown_to_a_server_that_asks() {
    let fixture = Fixture::new().await;
    let card = fixture.authority.sign("card", &[]);
    let shown = fixture.card("card", &card);
    fixture.works(&fixture.checked("card", &shown)).await;
    let both = fixture.card("pair", &fixture.authority.sign("pair", &[]));
    fixture.works(&fixture.checked("pair:secret", &both)).await;

    let none = refused(&fixture.checked("card", "")).await;
    has(&none, &["client certificate", "pg_hba.conf", "set sslcert and sslkey"]);
    has(&refused(&fixture.checked("pair:secret", "")).await, &["set sslcert and sslkey"]);
    // Another role's.
    let other = refused(&fixture.checked("pair:secret", &shown)).await;
    has(&other, &["check user and password", "certificate in sslcert", "card.crt is for pair"]);
    let stranger = Authority::new("a stranger").sign("card", &[]);
    let unknown = refused(&fixture.checked("card", &fixture.card("unknown", &stranger))).await;
    has(&unknown, &["not accept the certificate in sslcert", "unknown.crt"]);

    let certificate = shown.split('&').next().unwrap();
    let path = |name: &str| fixture.cluster.path().join(name).display().to_string();
    let with = |key: &str| fixture.checked("card", &format!("{certificate}&sslkey={key}"));
    let other = refused(&with(&path("unknown.key"))).await;
    has(&other, &["sslkey", "unknown.key does not match", "card.crt"]);
    has(&refused(&with("/none.key")).await, &["sslkey /none.key cannot be read"]);
    let no_key = refused(&with(&path("card.crt"))).await;
    has(&no_key, &["sslkey", "card.crt contains no usable private key", "unencrypted"]);
}
