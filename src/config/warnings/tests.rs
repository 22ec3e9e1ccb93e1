//! What is warned of, and what is not.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::super::Source;
use super::{is_service_link, readers};

/// A configuration with `keys` of a database, in a file of `mode`: what is warned of.
fn warnings(keys: &str, mode: u32, variables: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.yaml");
    let text = format!(
        "metadata: {{ stores: {{ m: {{ type: postgres, postgres: {{ {keys} }} }} }} }}
content: {{ stores: {{ c: {{ type: memory }} }} }}
shares: [ {{ name: /e, metadata_store: m, content_store: c, clients: [ {{ network: '::/0' }} ] }} ]
"
    );
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    let os = |text: &str| OsString::from(text);
    let variables: Vec<_> = variables.iter().map(|(name, text)| (os(name), os(text))).collect();
    Source::File(file).load_with(&variables).unwrap().warnings
}

/// The one warning, which has all the words.
fn one(warnings: &[String], words: &[&str]) {
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    for word in words {
        assert!(warnings[0].contains(word), "no {word:?} in {warnings:?}");
    }
}

#[test]
fn a_variable_that_nothing_reads_is_told_with_the_one_that_is_meant() {
    let found = |name: &str| warnings("", 0o600, &[(name, "1")]);
    for (name, meant) in [
        ("TRUNKFS_SERVER_LISTEN", "did you mean TRUNKFS__SERVER__LISTEN?"),
        ("TRUNKFS_SERVER__DRAIN_TIMEOUT", "did you mean TRUNKFS__SERVER__DRAIN_TIMEOUT?"),
        ("TRUNKFS_LISTEN", "did you mean TRUNKFS__SERVER__LISTEN or TRUNKFS__ADMIN__LISTEN?"),
        ("TRUNKFS_SHARES_0_NAME", "did you mean TRUNKFS__SHARES__0__NAME?"),
        ("TRUNKFS_PASSWORD", "did you mean TRUNKFS__METADATA__STORES__M__POSTGRES__PASSWORD?"),
        ("TRUNKFS_DEBUG", "two underscores"),
    ] {
        one(&found(name), &[name, meant]);
    }
    for name in ["TRUNKFS_CONFIG", "TRUNKFSX", "OTHER", "TRUNKFS_NFS_SERVICE_HOST"] {
        assert_eq!(found(name), [""; 0], "{name}");
    }
    let named = warnings("user: '${TRUNKFS_USER}'", 0o600, &[("TRUNKFS_USER", "u")]);
    assert_eq!(named, [""; 0]);
}

#[test]
fn variables_of_services_in_kubernetes_are_known() {
    for (name, text) in [
        ("TRUNKFS_SERVICE_HOST", "10.0.0.1"),
        ("TRUNKFS_SERVICE_PORT_NFS", "2049"),
        ("TRUNKFS_PORT", "tcp://10.0.0.1:2049"),
        ("TRUNKFS_NFS_PORT_2049_TCP", "tcp://10.0.0.1:2049"),
        ("TRUNKFS_PORT_2049_TCP_ADDR", "10.0.0.1"),
    ] {
        assert!(is_service_link(name, text), "{name}");
    }
    assert!(!is_service_link("TRUNKFS_PORT", "2049"));
    assert!(!is_service_link("TRUNKFS_PORT_RANGE", "2049"));
}

#[test]
fn a_secret_in_a_file_that_others_can_read_is_told_without_being_shown() {
    let every = warnings("password: hush", 0o604, &[]);
    one(&every, &["metadata.stores.m.postgres.password", "every user", "t.yaml has mode 0604"]);
    one(&every, &["run chmod ", "password_file"]);
    assert!(!every[0].contains("hush"), "{every:?}");
    one(&warnings("url: 'postgres://u:hush@db/d'", 0o644, &[]), &["postgres.url: ", "url_file"]);
    for (keys, mode) in [
        ("password: hush", 0o600),
        ("password: '${P}'", 0o644),
        ("password: ''", 0o644),
        ("url: 'postgres://u@db/d'", 0o644),
        ("url: 'postgres://u:${P}@db/d'", 0o644),
        ("user: u", 0o644),
    ] {
        assert_eq!(warnings(keys, mode, &[("P", "hush")]), [""; 0], "{keys} {mode:o}");
    }
    let by_variable = ("TRUNKFS__METADATA__STORES__M__POSTGRES__PASSWORD", "hush");
    assert_eq!(warnings("", 0o644, &[by_variable]), [""; 0]);
}

#[test]
fn the_group_is_no_other_where_the_server_reads_the_file_by_it() {
    let (root, server) = (0, 7);
    assert_eq!(readers(0o640, server, server), Some(("the group", "600")));
    assert_eq!(readers(0o644, server, server), Some(("every user", "600")));
    assert_eq!(readers(0o600, server, server), None);
    // As docs/operations.md installs it, and `check-config` by root on it.
    assert_eq!(readers(0o640, root, server), None);
    assert_eq!(readers(0o640, root, root), None);
    assert_eq!(readers(0o644, root, server), Some(("every user", "o-r")));
}

#[test]
fn a_database_url_that_serve_does_not_read_is_told() {
    let url = [("DATABASE_URL", "postgres://u:hush@db.example/d")];
    let found = warnings("host: other", 0o600, &url);
    one(&found, &["DATABASE_URL", "trunkfs migrate", "url: \"${DATABASE_URL}\""]);
    assert!(!found[0].contains("hush"), "{found:?}");
    one(&warnings("", 0o600, &[("DATABASE_URL", "mysql://x")]), &["DATABASE_URL"]);
    assert_eq!(warnings("host: db.example, database: d", 0o600, &url), [""; 0]);
    assert_eq!(warnings("url: '${DATABASE_URL}'", 0o600, &url), [""; 0]);
    assert_eq!(warnings("", 0o600, &[("DATABASE_URL", "")]), [""; 0]);
}
