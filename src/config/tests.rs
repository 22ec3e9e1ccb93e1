//! The example, the defaults, and every way to be wrong.

mod bucket;
mod documentation;
mod messages;
mod postgres;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::effective::{effective, scalars};
use super::*;
use crate::types::settings;
use crate::vfs::{Access, Squash};

const EXAMPLE: &str = include_str!("../../config.example.yaml");

/// Keys, and the scalars behind each.
type Shown = BTreeMap<String, Vec<String>>;

const MINIMAL: &str = "
metadata: { stores: { m: { type: memory } } }
content: { stores: { c: { type: memory } } }
shares: [ { name: /e, metadata_store: m, content_store: c, clients: [ { network: '::/0' } ] } ]
";

fn variable(name: &str) -> Option<String> {
    match name {
        "POSTGRES_PASSWORD" | "S3_SECRET_KEY" | "AZURE_STORAGE_KEY" => Some("secret".to_owned()),
        "S3_CUSTOMER_KEY" => Some("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned()),
        "PORT" => Some("6000".to_owned()),
        "MODE" => Some("0700".to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Config, Errors> {
    Config::parse("t.yaml", text, &variable)
}

/// Every key of a tree, in the form that `Document::offered` has, and each scalar that stands behind it.
fn keys(yaml: &str) -> Shown {
    let mut shown = Shown::new();
    for (path, location) in scalars(yaml) {
        let line = usize::try_from(location.line()).unwrap().checked_sub(1);
        let line = line.and_then(|line| yaml.lines().nth(line)).unwrap_or_default();
        let value = line.split_once(": ").map_or("", |(_, value)| value.trim());
        shown.entry(path.pattern()).or_default().push(value.to_owned());
        let mut above = path.parent();
        while !above.0.is_empty() {
            let key = above.pattern().trim_end_matches("[]").to_owned();
            if !key.ends_with(".*") {
                shown.entry(key).or_default();
            }
            above = above.parent();
        }
    }
    shown
}

/// Every key that there is.
pub(super) fn offered() -> BTreeSet<String> {
    let document = Document::new("config.example.yaml", EXAMPLE, &variable, &[]).unwrap();
    Config::read(&document).unwrap();
    document.offered.take()
}

/// What keys hold that are left out, of those that hold something then: a scalar as the effective
/// configuration has it.
fn defaults() -> BTreeMap<String, String> {
    let text = "
metadata:
  stores: { m: { type: memory }, s: { type: sqlite, sqlite: { path: s } }, p: { type: postgres, postgres: {} } }
content:
  stores:
    f: { type: filesystem, filesystem: { base_path: f } }
    m: { type: memory }
    s: { type: s3, s3: { bucket: b } }
    g: { type: gcs, gcs: { bucket: b } }
    a: { type: azure, azure: { account: a, container: c } }
shares: [ { name: /e, metadata_store: m, content_store: m, clients: [ { network: '::/0' } ] } ]
";
    let document = Document::new("t.yaml", text, &variable, &[]).unwrap();
    let config = Config::read(&document).unwrap();
    let written: BTreeSet<_> = scalars(text).into_iter().map(|(path, _)| path.pattern()).collect();
    let shown = keys(&effective(&document, &config)).into_iter();
    let default = |(key, values): (String, Vec<String>)| {
        let value = values.into_iter().next();
        let value = value.filter(|value| !["null", "[]", ""].contains(&value.as_str()));
        // What follows from hosts and endpoint.
        let depends = key.ends_with(".sslmode") || key.ends_with(".path_style");
        value.filter(|_| !depends && !written.contains(&key)).map(|value| (key, value))
    };
    shown.filter_map(default).collect()
}

/// Whether two scalars are the same, durations in any unit.
fn same(one: &str, other: &str) -> bool {
    let millis = settings::millis(one);
    one == other || millis.is_some() && millis == settings::millis(other)
}

#[test]
fn the_example_shows_every_known_key_with_its_default() {
    let shown = keys(EXAMPLE);
    for (key, default) in defaults() {
        let values = &shown[&key];
        assert!(values.iter().any(|it| same(it, &default)), "{key}: {default} or {values:?}?");
    }
    // A secret's other forms are shown by one of them.
    let forms = |key: &String| !key.ends_with("_file") && !key.ends_with("_credential");
    let shown: BTreeSet<_> = shown.into_keys().filter(forms).collect();
    let offered: BTreeSet<_> = offered().into_iter().filter(forms).collect();
    assert_eq!(shown, offered);
    assert!(shown.contains("metadata.stores.*.postgres.max_conns"), "{shown:?}");
    assert!(shown.contains("shares[].clients[].require_reserved_port"), "{shown:?}");
}

#[test]
fn the_example_shows_the_defaults() {
    let config = parse(EXAMPLE).unwrap();
    let share = &config.shares[0];
    let defaults = parse(
        "
metadata: { stores: { main: { type: postgres, postgres: { password: '${POSTGRES_PASSWORD}' } } } }
content: { stores: { disk: { type: filesystem, filesystem: { base_path: /var/lib/trunkfs, max_open_files: 1024 } } } }
shares:
  - { name: /export, metadata_store: main, content_store: disk, clients: [ { network: 10.0.0.0/8 } ] }
",
    )
    .unwrap();
    assert_eq!(config.server, defaults.server);
    assert_eq!(config.metadata["main"], defaults.metadata["main"]);
    assert_eq!(config.content["disk"], defaults.content["disk"]);
    assert_eq!(share.root, defaults.shares[0].root);
    assert_eq!(share.clients[0], defaults.shares[0].clients[0]);
}

#[test]
fn a_minimal_file_has_the_defaults() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.server.listener.listen, "0.0.0.0:12049".parse().unwrap());
    assert_eq!(config.server.settings.request_timeout, Duration::from_secs(30));
    assert_eq!(config.shares[0].root, Root { uid: 0, gid: 0, mode: Mode::default() });
    assert_eq!(config.shares[0].clients[0].squash, Squash::Root);
}

#[test]
fn values_take_variables_and_text() {
    let config = parse(
        r#"
server: { listen: "[::1]:${PORT}", request_timeout: 1500ms, drain_timeout: 2m, max_connections: "7", probe_networks: [192.0.2.7, "fd00::/8"], idle_timeout: 90s, memory_budget: "${PORT}MiB" }
metadata:
  stores:
    db: { type: postgres, postgres: { port: "${PORT}", password: "a$${b}", auto_migrate: "true", cache: off } }
content: { stores: { c: { type: memory } } }
shares:
  - name: /a/b
    metadata_store: db
    content_store: c
    root: { uid: 4294967294, mode: "${MODE}" }
    clients:
      - { network: 192.168.1.7, access: ro, squash: all_squash, anonuid: 99, anongid: 98 }
"#,
    )
    .unwrap();
    assert_eq!(config.server.listener.listen, "[::1]:6000".parse().unwrap());
    assert_eq!(config.server.settings.request_timeout, Duration::from_millis(1500));
    assert_eq!(config.server.settings.drain_timeout, Duration::from_secs(120));
    assert_eq!(config.server.settings.max_connections, 7);
    assert_eq!(config.server.settings.idle_timeout, Duration::from_secs(90));
    let probes: Vec<_> =
        config.server.listener.probe_networks.iter().map(ToString::to_string).collect();
    assert_eq!(probes, ["192.0.2.7/32", "fd00::/8"]);
    assert_eq!(config.server.settings.memory_budget, 6000 << 20);
    let Metadata::Postgres(postgres) = &config.metadata["db"] else { panic!("{config:?}") };
    assert_eq!(postgres.target.hosts[0].port, 6000);
    assert_eq!(postgres.target.password.as_deref(), Some("a${b}"));
    assert!(postgres.auto_migrate);
    assert_eq!(postgres.cache, crate::metadata::postgres::Cache::Off);
    assert!(!format!("{config:?}").contains("a${b}"));
    let share = &config.shares[0];
    assert_eq!((share.root.uid, share.root.mode.bits()), (4_294_967_294, 0o700));
    let client = &share.clients[0];
    assert_eq!(client.network, "192.168.1.7/32".parse().unwrap());
    assert_eq!((client.anonuid, client.anongid), (99, 98));
    assert_eq!((client.access, client.squash), (Access::ReadOnly, Squash::All));
}

/// In [`MINIMAL`] `from` becomes `to`; the error has every one of the words.
fn refused(from: &str, to: &str, words: &[&str]) {
    assert!(MINIMAL.contains(from), "{from}");
    let text = MINIMAL.replace(from, to);
    let error = parse(&text).map(|config| panic!("{to}: taken as {config:?}")).unwrap_err();
    let shown = error.to_string();
    for word in words {
        assert!(shown.contains(word), "{to}: no {word:?} in\n{shown}");
    }
    assert!(shown.starts_with("t.yaml:"), "{shown}");
}

#[test]
fn deep_nesting_is_refused_before_the_stack_ends() {
    let aliases = (0..30).fold(String::from("a0: &a0 [x]\n"), |text, level| {
        text + &format!("a{}: &a{} [[[*a{level}]]]\n", level + 1, level + 1)
    });
    let cases = [
        "[".repeat(10_000),
        "[".repeat(60) + &"]".repeat(60),
        "{a: ".repeat(60) + &"}".repeat(60),
        "- ".repeat(60) + "x",
        aliases,
    ];
    let parsed = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
        for text in cases {
            let shown = parse(&text).unwrap_err().to_string();
            assert!(shown.starts_with("t.yaml:") && shown.contains("more than 16"), "{shown}");
        }
    });
    parsed.unwrap().join().unwrap();
}

#[test]
fn wrong_keys_name_the_nearest() {
    refused("name: /e", "nmae: /e", &["t.yaml:4:13: shares[0].nmae: unknown key", "'name'"]);
    refused("\nmetadata", "\nmetadta: 1\nmetadata", &["t.yaml:2:1: metadta", "'metadata'"]);
    refused("\nmetadata", "\nserver: { x: 1 }\nmetadata", &["server.x", "known keys: listen,"]);
    refused("network:", "netwrok:", &["shares[0].clients[0].netwrok", "'network'"]);
    refused("type: memory } } }\nc", "typ: memory } } }\nc", &["metadata.stores.m.typ", "'type'"]);
    refused(
        "name: /e",
        "name: /e, name: /e",
        &["t.yaml:4:23: name: duplicate key in this mapping; keep one\n"],
    );
    refused("\nmetadata", "\na:\n\tb: 1\nmetadata", &["t.yaml:3:", "indent with spaces\n"]);
    refused("\nmetadata", "\na: b\n c: d\nmetadata", &["t.yaml:3:", "like its siblings"]);
    refused("'::/0'", "*", &["t.yaml:4:", "in quotes\n"]);
    let quotes = |value: &str, place: &str, written: &str| {
        let server = format!("\nserver: {value}\nmetadata");
        refused("\nmetadata", &server, &[place, "in quotes, such as", written]);
    };
    quotes("{ listen: ${HOST}:2049 }", "t.yaml:2:20: ", "\"${HOST}\"");
    quotes("{\n  listen: 0.0.0.0:${PORT}, x: 1 }", "t.yaml:3:20: ", "\"${PORT}\"");
    quotes("{ probe_networks: [ ${NET} ] }", "t.yaml:2:30: ", "\"${NET}\"");
    quotes("{ listen: ${1 }", "t.yaml:2:20: ", "\"${NAME}\"");
    refused("content_store: c,", "", &["shares[0].content_store: missing"]);
    refused("name: /e,", "", &["t.yaml:4:11: shares[0].name: missing", "/export"]);
    refused(
        "metadata_store: m",
        "metadata_store: mm",
        &["\"mm\" is not a defined store", "mean 'm'"],
    );
}

#[test]
fn wrong_values_name_the_remedy() {
    let server = |line: &str, words: &[&str]| {
        refused("\nmetadata", &format!("\nserver: {{ {line} }}\nmetadata"), words);
    };
    server(
        "listen: localhost:1",
        &["t.yaml:2:19: server.listen: \"localhost:1\"", "0.0.0.0:12049"],
    );
    server("listen: 12049", &["server.listen: 12049 is not an address"]);
    server("listen: '${NOPE}'", &["server.listen", "variable NOPE is not set"]);
    server("request_timeout: 30", &["30 is not a duration", "unit", "30s"]);
    server("request_timeout: 30 parsecs", &["\"30 parsecs\"", "unit"]);
    server("request_timeout: 25h", &["24h"]);
    server("drain_timeout: 0s", &["1ms"]);
    server("max_connections: 0", &["0 is out of range (1 to"]);
    server("max_connections: many", &["\"many\""]);
    server("max_connections: [1]", &["a list"]);
    server("max_connections_per_client: 0", &["0 is out of range (1 to"]);
    server("idle_timeout: 360", &["360 is not a duration", "unit"]);
    server("probe_networks: 10.0.0.0/8", &["server.probe_networks", "a list"]);
    server("probe_networks: [10.0.0.1/8]", &["server.probe_networks[0]", "10.0.0.0/8"]);
    server(
        "memory_budget: 1048576",
        &["1048576 is not a size", "16MiB", "16TiB", "unit", "256MiB"],
    );
    server("memory_budget: 256mb", &["\"256mb\"", "MiB"]);
    server("memory_budget: 256 mb", &["\"256 mb\""]);
    server("memory_budget: 1.5GiB", &["\"1.5GiB\"", "integer"]);
    server("request_timeout: 2d", &["24h"]);
    server("memory_budget: 1KiB", &["\"1KiB\"", "from 16MiB"]);
    server("memory_budget: 99999999999TiB", &["to 16TiB"]);
    refused("name: /e", "name: e", &["\"e\"", "start with '/'", "/export"]);
    refused("name: /e", "name: 7", &["7 is not a string", "quotes"]);
    refused(
        "'::/0'",
        "10.0.0.1/8",
        &["10.0.0.0/8 for the network", "10.0.0.1 for the single address"],
    );
    refused("'::/0'", "example.org", &["\"example.org\"", "not a network"]);
    refused(
        "[ { network: '::/0' } ]",
        "[]",
        &["shares[0].clients", "must not be empty", "network: 10.0.0.0/8"],
    );
    refused(", clients: [ { network: '::/0' } ]", "", &["shares[0].clients: missing"]);
    refused(
        "clients: [",
        "clients: [ { network: '::/0' },",
        &["clients[1]", "duplicate rule for ::/0"],
    );
    refused("'::/0' }", "'::/0', access: rx }", &["access: \"rx\" is not one of rw, ro"]);
    refused("'::/0' }", "'::/0', squash: root_sqash }", &["mean 'root_squash'"]);
    refused("'::/0' }", "'::/0', require_reserved_port: yes }", &["\"yes\"", "true or false"]);
    refused("'::/0' }", "'::/0', anonuid: -1 }", &["-1 is out of range (0 to 4294967294)"]);
    let root = |mode: &str, words: &[&str]| {
        refused("name: /e", &format!("name: /e, root: {{ mode: {mode} }}"), words);
    };
    root("0755", &["shares[0].root.mode", "in quotes", "\"0755\""]);
    root("755", &["755 is not a quoted mode", "\"0755\""]);
    root("'0888'", &["\"0888\"", "octal"]);
    root("'17777'", &["\"17777\"", "octal"]);
}

#[test]
fn units_of_durations_and_sizes() {
    let server =
        |keys: &str| parse(&format!("{MINIMAL}\nserver: {{ {keys} }}")).unwrap().server.settings;
    for (text, millis) in
        [("250ms", 250), ("3s", 3_000), ("2m", 120_000), ("5 h", 18_000_000), ("1d", 86_400_000)]
    {
        assert_eq!(server(&format!("request_timeout: {text}")).request_timeout.as_millis(), millis);
    }
    for (text, bytes) in [
        ("33554432", 33_554_432),
        ("'33554432'", 33_554_432),
        ("33554432B", 33_554_432),
        ("32768KiB", 33_554_432),
        ("32 MiB", 33_554_432),
        ("2GiB", 2 << 30),
        ("1TiB", 1 << 40),
        ("40000kB", 40_000_000),
        ("40MB", 40_000_000),
        ("1GB", 1_000_000_000),
        ("1TB", 1_000_000_000_000),
    ] {
        assert_eq!(server(&format!("memory_budget: {text}")).memory_budget, bytes, "{text}");
    }
}

#[test]
fn wrong_stores_name_the_remedy() {
    let first = |store: &str, words: &[&str]| {
        refused("m: { type: memory }", &format!("m: {{ {store} }}"), words);
    };
    first("type: postgres", &["metadata.stores.m.postgres: missing", "needs this block"]);
    first("type: memory, postgres: { port: 1 }", &["has type memory", "type: postgres"]);
    first(
        "type: postgrse",
        &["\"postgrse\" is not one of memory, sqlite, postgres", "mean 'postgres'"],
    );
    first("type: ", &["metadata.stores.m.type: missing", "memory or sqlite or postgres"]);
    first("type: sqlite, sqlite: { }", &["sqlite.path: missing", "write the path"]);
    first("type: sqlite, sqlite: { path: m, cache_size: 1KiB }", &["\"1KiB\"", "from 1MiB"]);
    first(
        "type: sqlite, sqlite: { path: d/m } }, n: { type: sqlite, sqlite: { path: ./d/m }",
        &["metadata.stores.n", "that of the store m", "its own file"],
    );
    let database = |keys: &str, words: &[&str]| {
        first(&format!("type: postgres, postgres: {{ {keys} }}"), words);
    };
    database(
        "sslmode: verify_full",
        &["\"verify_full\"", "disable, require, verify-ca, verify-full"],
    );
    database("port: 70000", &["70000", "65535"]);
    database("max_connections: 3", &["postgres.max_connections: unknown key", "'max_conns'"]);
    database("password: 12345", &["password: a number is not a string", "quotes"]);
    database("password: '${UNSET}'", &["postgres.password", "UNSET is not set", "$${"]);
    refused(
        "stores: { m: { type: memory } }",
        "stores: {}",
        &["metadata.stores: must not be empty", "at least one store"],
    );
    refused(
        "c: { type: memory }",
        "c: { type: filesystem, filesystem: { } }",
        &["base_path: missing"],
    );
}

#[test]
fn passwords_are_not_shown() {
    refused(
        "m: { type: memory }",
        "m: { type: postgres, postgres: { password: 987654, prot: 1 } }",
        &["prot", "port"],
    );
    let text = MINIMAL
        .replace("m: { type: memory }", "m: { type: postgres, postgres: { password: 987654 } }");
    assert!(!parse(&text).unwrap_err().to_string().contains("987654"));
}

#[test]
fn keys_are_checked_against_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    refused(
        "c: { type: memory }",
        &format!(
            "c: {{ type: filesystem, filesystem: {{ base_path: {path} }} }}, d: {{ type: filesystem, \
             filesystem: {{ base_path: {path}/../{}/ }} }}",
            folder.path().file_name().unwrap().display()
        ),
        &["content.stores.d", "that of the store c", "its own folder"],
    );
    let share =
        "{ name: /e, metadata_store: m, content_store: c, clients: [ { network: '::/0' } ] }";
    refused(share, &format!("{share}, {share}"), &["shares[1]", "duplicate share", "/e"]);
    refused(&format!("[ {share} ]"), "[]", &["shares: must not be empty"]);
    let nested = share.replace("/e", "/e/f");
    assert_eq!(
        parse(&MINIMAL.replace(share, &format!("{share}, {nested}"))).unwrap().shares.len(),
        2
    );
}

#[test]
fn what_is_no_document_is_an_error() {
    for (text, words) in [
        ("", ["metadata", "missing"]),
        ("just text", ["\"just text\"", "a mapping of server"]),
        ("a: [1", ["t.yaml:", "1"]),
        ("a: 1\n---\nb: 1\n", ["t.yaml", ""]),
    ] {
        let shown = parse(text).unwrap_err().to_string();
        for word in words {
            assert!(shown.contains(word), "{text:?}: no {word:?} in\n{shown}");
        }
    }
}

#[test]
fn all_errors_are_told_with_their_lines() {
    let text =
        MINIMAL.replace("name: /e", "name: e") + "server:\n  lisen: 1\n  max_connections: no\n";
    assert_eq!(
        parse(&text).unwrap_err().to_string(),
        "t.yaml:4:19: shares[0].name: \"e\": a share name must start with '/'; write a path such as /export\n 4 | \
         shares: [ { name: e, metadata_store: m, content_store: c, clients: [ { network: '::/0' } ] } ]\n   \
         |                   ^\nt.yaml:6:3: server.lisen: unknown key; did you mean 'listen'?\n 6 |   lisen: 1\n   \
         |   ^\nt.yaml:7:20: server.max_connections: \"no\" is not an integer (1 to 1048576)\n 7 |   \
         max_connections: no\n   |                    ^"
    );
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let error = Source::File("/nonexistent/trunkfs.yaml".into()).load().unwrap_err();
    let shown = error.to_string();
    assert!(shown.contains("/nonexistent/trunkfs.yaml: cannot be read: "), "{shown}");
    assert!(std::error::Error::source(&error).is_some());
}
