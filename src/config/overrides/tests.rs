//! Variables over files: what they reach, what they mean, and every way to be wrong.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use super::super::document::Document;
use super::super::effective::effective;
use super::super::{Config, Content, Errors, Metadata};
use super::among;

const FILE: &str = "
server: { max_connections: 7 }
metadata: { stores: { m: { type: memory } } }
content: { stores: { c: { type: memory } } }
shares: [ { name: /e, metadata_store: m, content_store: c, clients: [ { network: '::/0' } ] } ]
";

fn variables(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables.iter().map(|(name, text)| (name.into(), text.into())).collect()
}

fn read(text: &str, variables: Vec<(OsString, OsString)>) -> Result<(Config, String), Errors> {
    let overrides = among(variables.into_iter());
    let document = Document::new("t.yaml", text, &|_| None, &overrides)?;
    let config = Config::read(&document)?;
    let effective = effective(&document, &config);
    Ok((config, effective))
}

fn with(set: &[(&str, &str)]) -> Config {
    read(FILE, variables(set)).unwrap().0
}

fn refused(set: &[(&str, &str)], words: &[&str]) {
    let error = read(FILE, variables(set)).map(|(config, _)| panic!("{set:?}: {config:?}"));
    let shown = error.unwrap_err().to_string();
    for word in words {
        assert!(shown.contains(word), "{set:?}: no {word:?} in\n{shown}");
    }
}

#[test]
fn every_kind_of_value_is_overridden() {
    let config = with(&[
        ("TRUNKFS__SERVER__MAX_CONNECTIONS", "8"),
        ("TRUNKFS__SERVER__LISTEN", "[::1]:5"),
        ("TRUNKFS__SERVER__REQUEST_TIMEOUT", " 1m "),
        ("TRUNKFS__SHARES__0__NAME", "/other"),
        ("TRUNKFS__SHARES__0__ROOT__MODE", "0700"),
        ("TRUNKFS__SHARES__0__ROOT__UID", "\"7\""),
        ("TRUNKFS__SHARES__0__CLIENTS__0__NETWORK", "10.0.0.0/8"),
        ("TRUNKFS__SHARES__0__CLIENTS__0__REQUIRE_RESERVED_PORT", "true"),
        ("TRUNKFS_CONFIG", "elsewhere"),
        ("TRUNKFS_NOTHING", "1"),
        ("trunkfs__server__lisen", "not ours"),
    ]);
    assert_eq!(config.server.settings.max_connections, 8);
    assert_eq!(config.server.listener.listen, "[::1]:5".parse().unwrap());
    assert_eq!(config.server.settings.request_timeout.as_secs(), 60);
    let share = &config.shares[0];
    assert_eq!(share.name.as_str(), "/other");
    assert_eq!((share.root.mode.bits(), share.root.uid), (0o700, 7));
    assert_eq!(share.clients[0].network, "10.0.0.0/8".parse().unwrap());
    assert!(share.clients[0].require_reserved_port);
}

/// Nothing but variables: what is missing on the way is made, and elements are added in their order.
#[test]
fn a_whole_configuration_from_variables() {
    let (config, effective) = read(
        "",
        variables(&[
            ("TRUNKFS__METADATA__STORES__MAIN_1__TYPE", "postgres"),
            ("TRUNKFS__METADATA__STORES__MAIN_1__POSTGRES__HOST", "12"),
            ("TRUNKFS__METADATA__STORES__MAIN_1__POSTGRES__PASSWORD", "0123 #4: ${X} {"),
            ("TRUNKFS__CONTENT__STORES__7__TYPE", "memory"),
            ("TRUNKFS__SHARES__0__NAME", "/e"),
            ("TRUNKFS__SHARES__0__METADATA_STORE", "main_1"),
            ("TRUNKFS__SHARES__0__CONTENT_STORE", "7"),
            ("TRUNKFS__SHARES__0__CLIENTS__1__NETWORK", "::1"),
            ("TRUNKFS__SHARES__0__CLIENTS__0__NETWORK", "127.0.0.1"),
            ("TRUNKFS__SHARES__0__CLIENTS__2__NETWORK", "127.0.0.2"),
            ("TRUNKFS__SHARES__0__CLIENTS__3__NETWORK", "127.0.0.3"),
            ("TRUNKFS__SHARES__0__CLIENTS__4__NETWORK", "127.0.0.4"),
            ("TRUNKFS__SHARES__0__CLIENTS__5__NETWORK", "127.0.0.5"),
            ("TRUNKFS__SHARES__0__CLIENTS__6__NETWORK", "127.0.0.6"),
            ("TRUNKFS__SHARES__0__CLIENTS__7__NETWORK", "127.0.0.7"),
            ("TRUNKFS__SHARES__0__CLIENTS__8__NETWORK", "127.0.0.8"),
            ("TRUNKFS__SHARES__0__CLIENTS__9__NETWORK", "127.0.0.9"),
            ("TRUNKFS__SHARES__0__CLIENTS__10__NETWORK", "127.0.0.10"),
        ]),
    )
    .unwrap();
    let Metadata::Postgres(database) = &config.metadata["main_1"] else { panic!("{config:?}") };
    assert_eq!(database.target.hosts[0].name, "12");
    assert_eq!(database.target.password.as_deref(), Some("0123 #4: ${X} {"));
    assert_eq!(config.content["7"], Content::Memory { max_size: None });
    let networks: Vec<_> = config.shares[0].clients.iter().map(|each| each.network).collect();
    assert_eq!(networks.len(), 11);
    assert_eq!(networks[0], "127.0.0.1/32".parse().unwrap());
    assert_eq!(networks[10], "127.0.0.10/32".parse().unwrap());
    assert!(
        effective.contains("password: \"***\"  # TRUNKFS__METADATA__STORES__MAIN_1"),
        "{effective}"
    );
    assert!(!effective.contains("0123"), "{effective}");
}

#[test]
fn an_empty_variable_takes_a_value_away() {
    for nothing in ["", " ", "null", "~"] {
        let config = with(&[("TRUNKFS__SERVER__MAX_CONNECTIONS", nothing)]);
        assert_eq!(config.server.settings.max_connections, 1024, "{nothing:?}: the default");
    }
}

#[test]
fn unknown_keys_are_refused_by_the_variables_name() {
    refused(
        &[("TRUNKFS__SERVER__LISEN", "hush")],
        &[
            "the environment variable TRUNKFS__SERVER__LISEN: server.lisen: unknown key",
            "'listen' (TRUNKFS__SERVER__LISTEN)",
        ],
    );
    refused(
        &[("TRUNKFS__SEVER__LISTEN", "1")],
        &["TRUNKFS__SEVER__LISTEN: sever: ", "TRUNKFS__SERVER)"],
    );
    refused(
        &[("TRUNKFS__SHARES__0__CLIENTS__0__NETWROK", "x")],
        &["'network' (TRUNKFS__SHARES__0__CLIENTS__0__NETWORK)"],
    );
    refused(
        &[("TRUNKFS__METADATA__STORES__M__POSTGRES__PASSWROD", "hush")],
        &["TRUNKFS__METADATA__STORES__M__POSTGRES__PASSWROD"],
    );
    for name in [
        "TRUNKFS__",
        "TRUNKFS__SERVER____LISTEN",
        "TRUNKFS___SERVER__LISTEN",
        "TRUNKFS__SERVER__",
        "TRUNKFS__SERVER.LISTEN",
    ] {
        refused(&[(name, "hush")], &[name, "not a key", "TRUNKFS__SERVER__LISTEN or"]);
    }
    let all = read(
        FILE,
        variables(&[("TRUNKFS__A", "hush"), ("TRUNKFS__B__C", "hush"), ("TRUNKFS__", "hush")]),
    );
    let shown = all.unwrap_err().to_string();
    assert_eq!(shown.lines().count(), 3, "{shown}");
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn values_that_do_not_fit_are_refused() {
    refused(
        &[("TRUNKFS__SERVER__MAX_CONNECTIONS", "many")],
        &[
            "the environment variable TRUNKFS__SERVER__MAX_CONNECTIONS: server.max_connections: \"many\"",
        ],
    );
    refused(&[("TRUNKFS__SERVER", "5")], &["server: is a mapping", "TRUNKFS__SERVER__…"]);
    refused(&[("TRUNKFS__SHARES", "")], &["shares: is a list", "a variable of its own"]);
    refused(
        &[("TRUNKFS__SERVER__MAX_CONNECTIONS__X", "5")],
        &["server.max_connections is a number, which has no keys"],
    );
    refused(
        &[("TRUNKFS__SHARES__3__NAME", "/f")],
        &["shares is a list, and 3 is not an index of it", "0 to 0 exist, 1 appends"],
    );
    refused(&[("TRUNKFS__SHARES__FIRST__NAME", "/f")], &["first is not an index of it"]);
    refused(
        &[("TRUNKFS__SHARES__1__NAME", "/f")],
        &["TRUNKFS__SHARES__1__NAME: shares[1].metadata_store: missing"],
    );
    for value in ["[a, b]", "{ a: b }", " [1] "] {
        refused(
            &[("TRUNKFS__SERVER__LISTEN", value)],
            &["a list or a mapping", "TRUNKFS__SERVER__LISTEN__0"],
        );
    }
    for value in ["'a", "\"a\" b", "'a' 'b'", "\"", "'a' # b'"] {
        refused(&[("TRUNKFS__SERVER__LISTEN", value)], &["quotation mark"]);
    }
    refused(
        &[("TRUNKFS__SERVER__LISTEN", "[::1]:1"), ("TRUNKFS__Server__Listen", "[::1]:2")],
        &["TRUNKFS__Server__Listen", "TRUNKFS__SERVER__LISTEN sets the same key"],
    );
    refused(
        &[
            ("TRUNKFS__CONTENT__STORES__C__FILESYSTEM", "5"),
            ("TRUNKFS__CONTENT__STORES__C__FILESYSTEM__BASE_PATH", "/x"),
        ],
        &["content.stores.c.filesystem is a number, which has no keys"],
    );
    let name: OsString = "TRUNKFS__SERVER__LISTEN".into();
    let error = read(FILE, vec![(name, OsString::from_vec(vec![0xff]))]).unwrap_err().to_string();
    assert!(error.contains("is not valid UTF-8"), "{error}");
}

/// What goes wrong with a secret says nothing of it.
#[test]
fn secrets_stay_secret() {
    let postgres = [
        ("TRUNKFS__METADATA__STORES__M__TYPE", "postgres"),
        ("TRUNKFS__METADATA__STORES__M__POSTGRES__PORT", "5432"),
    ];
    for value in ["[hush]", "'hush", "\"hush\" hush"] {
        let set = [&postgres[..], &[("TRUNKFS__METADATA__STORES__M__POSTGRES__PASSWORD", value)]]
            .concat();
        let shown = read(FILE, variables(&set)).unwrap_err().to_string();
        assert!(shown.contains("postgres.password"), "{shown}");
        assert!(!shown.contains("hush"), "{shown}");
    }
    let set = [&postgres[..], &[("TRUNKFS__METADATA__STORES__M__POSTGRES__PASSWORD__X", "hush")]]
        .concat();
    let shown = read(FILE, variables(&set)).unwrap_err().to_string();
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn names_of_stores_fit_into_variables() {
    for name in ["a", "main", "disk_2", "0", "a_b_c"] {
        let text = FILE
            .replace("m: {", &format!("{name}: {{"))
            .replace("store: m", &format!("store: '{name}'"));
        read(&text, Vec::new()).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for name in ["Main", "a-b", "a__b", "_a", "a_", "a.b", "ä", "''"] {
        let text = FILE
            .replace("m: {", &format!("{name}: {{"))
            .replace("store: m", &format!("store: {name}"));
        let shown = read(&text, Vec::new()).unwrap_err().to_string();
        assert!(
            shown.contains("is not a valid store name") && shown.contains("a to z"),
            "{name}: {shown}"
        );
    }
}
