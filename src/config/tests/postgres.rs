//! Keys and URLs of a database, right and wrong.

use std::time::Duration;

use super::super::{Config, Errors, Metadata};
use crate::metadata::postgres::Settings;
use crate::metadata::postgres::target::{Host, Roots, SessionAttributes, SslMode};

fn parse(server: &str, keys: &str) -> Result<Settings, Errors> {
    let text = format!(
        "server: {{ {server} }}
metadata: {{ stores: {{ m: {{ type: postgres, postgres: {{ {keys} }} }} }} }}
content: {{ stores: {{ c: {{ type: memory }} }} }}
shares: [ {{ name: /e, metadata_store: m, content_store: c, clients: [ {{ network: '::/0' }} ] }} ]
"
    );
    let config = Config::parse("t.yaml", &text, &|_| None)?;
    match &config.metadata["m"] {
        Metadata::Postgres(postgres) => Ok((**postgres).clone()),
        other => panic!("{other:?}"),
    }
}

fn refused(keys: &str, words: &[&str]) {
    let error = parse("", keys).map(|taken| panic!("{keys}: taken as {taken:?}")).unwrap_err();
    let shown = error.to_string();
    for word in words {
        assert!(shown.contains(word), "{keys}: no {word:?} in\n{shown}");
    }
    assert!(shown.starts_with("t.yaml:"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
}

fn host(name: &str, port: u16) -> Host {
    Host { name: name.to_owned(), port }
}

#[test]
fn hosts_and_ports_are_text_or_lists() {
    for keys in [
        "host: 'a,b', port: '1,2'",
        "host: [a, b], port: [1, 2]",
        "host: [a, b], port: ['1', 2]",
        "url: 'postgres://trunkfs@a:1,b:2/trunkfs'",
    ] {
        let hosts = parse("", keys).unwrap().target.hosts;
        assert_eq!(hosts, [host("a", 1), host("b", 2)], "{keys}");
    }
    assert_eq!(parse("", "").unwrap().target.hosts, [host("localhost", 5432)]);
    let hosts = parse("", "host: ['::1', /run/postgresql], port: 7").unwrap().target.hosts;
    assert_eq!(hosts, [host("::1", 7), host("/run/postgresql", 7)]);
}

#[test]
fn keys_stand_beside_a_url() {
    let keys = "url: 'postgres://u@db/d?sslmode=verify-ca&connect_timeout=7', password: secret,
                sslrootcert: /ca.pem, target_session_attrs: any";
    let found = parse("", keys).unwrap();
    assert_eq!(found.connect_timeout, Duration::from_secs(7));
    assert_eq!(found.target.password.as_deref(), Some("secret"));
    assert_eq!(found.target.sslmode, SslMode::VerifyCa);
    assert_eq!(found.target.roots, Roots::File("/ca.pem".into()));
    assert_eq!(found.target.session, SessionAttributes::Any);
    assert!(!format!("{found:?}").contains("secret"));
}

#[test]
fn what_stands_twice_is_refused() {
    let url = "url: 'postgres://u:secret@db/d?sslmode=require&connect_timeout=7'";
    for (key, other) in [
        ("host", "host: a"),
        ("port", "port: 1"),
        ("database", "database: d"),
        ("user", "user: u"),
        ("password", "password: other"),
        ("sslmode", "sslmode: require"),
        ("connect_timeout", "connect_timeout: 7s"),
    ] {
        let key = format!("postgres.{key}: ");
        refused(&format!("{url}, {other}"), &[&key, "also in url; keep one"]);
    }
}

#[test]
fn what_is_wrong_names_its_key() {
    refused("url: 'postgres://u:sec@ret@db/d'", &["stores.m.postgres.url: ", "%40"]);
    refused("url: 'postgres://u:secret@db/d?sslmode=prefer'", &["postgres.url: sslmode: prefer"]);
    refused("url: 'postgres://u:secret@db/d', sslmode: prefer", &["postgres.sslmode: prefer"]);
    refused("url: 'postgres://u:secret@db/d', sslcert: x", &["postgres.sslcert", "sslkey"]);
    refused("host: db, sslmode: true", &["sslmode: true is not a string", "quotes"]);
    refused("sslrootcert: /ca", &["postgres.sslrootcert", "sslmode: disable", "verify-full"]);
    refused("host: [a, '']", &["postgres.host", "empty host"]);
    refused("host: a, port: [1, 2]", &["postgres.port", "2 ports for 1 hosts"]);
    refused("port: 70000", &["postgres.port", "\"70000\"", "65535"]);
    refused("database: ''", &["postgres.database", "empty"]);
    refused("target_session_attrs: read-only", &["target_session_attrs", "read-write"]);
    refused("channel_binding: require", &["channel_binding", "TLS is off"]);
}

#[test]
fn limits_are_checked_against_each_other() {
    refused("min_conns: 9, max_conns: 8", &["min_conns: 9 exceeds max_conns", "8"]);
    refused("statement_timeout: 31s", &["statement_timeout: 31s", "server.request_timeout", "30s"]);
    refused("acquire_timeout: 31s", &["acquire_timeout: 31s", "server.request_timeout"]);
    refused("statement_timeout: 5ms", &["statement_timeout", "100ms"]);
    let error = parse("request_timeout: 5m", "statement_timeout: 61s").unwrap_err().to_string();
    assert!(error.contains("60s"), "{error}");
    // What is not written gives way.
    let short = parse("request_timeout: 2s", "max_conns: 1").unwrap();
    assert_eq!(short.statement_timeout, Duration::from_secs(2));
    assert_eq!(short.acquire_timeout, Duration::from_secs(2));
    assert_eq!(short.min_connections, 1);
}
