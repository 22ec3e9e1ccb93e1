//! Configurations, right and wrong, before anything is opened or listened on.

use std::collections::BTreeMap;
use std::net::TcpListener;

use super::process::{folder, run, trunkfs};

/// What the variables of examples hold.
const SECRETS: [(&str, &str); 4] = [
    ("POSTGRES_PASSWORD", "hush"),
    ("S3_SECRET_KEY", "hush"),
    ("S3_CUSTOMER_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
    ("AZURE_STORAGE_KEY", "hush"),
];

const RIGHT: &str = "
server: { listen: 127.0.0.1:0 }
metadata: { stores: { m: { type: memory } } }
content: { stores: { c: { type: memory } } }
shares:
  - name: /e
    metadata_store: m
    content_store: c
    clients: [ { network: 127.0.0.0/8 } ]
";

/// What is replaced in [`RIGHT`], by what, and the words of the error.
const WRONG: &[(&str, &str, &[&str])] = &[
    ("listen:", "lisen:", &["t.yaml:2:11: server.lisen: unknown key", "'listen'"]),
    (
        "127.0.0.1:0 }",
        "localhost }",
        &["t.yaml:2", "server.listen", "\"localhost\"", "0.0.0.0:12049"],
    ),
    ("127.0.0.1:0 }", "\"${TRUNKFS_NOT_SET}\" }", &["server.listen", "TRUNKFS_NOT_SET is not set"]),
    ("type: memory } } }\nc", "type: postgres } } }\nc", &["metadata.stores.m.postgres: missing"]),
    (
        "m: { type: memory }",
        "m: { type: postgres, postgres: { sslmode: prefer } }",
        &["t.yaml:3", "sslmode", "prefer", "verify-full", "disable"],
    ),
    (
        "c: { type: memory }",
        "c: { type: ftp }",
        &["content.stores.c.type", "\"ftp\"", "filesystem"],
    ),
    ("content_store: c", "content_store: d", &["t.yaml:8:20", "\"d\" is not a defined store"]),
    ("name: /e", "name: e", &["t.yaml:6:11: shares[0].name", "/export"]),
    ("name: /e", "name: /e\n    name: /f", &["t.yaml:7", "name"]),
    ("name: /e", "name: /e\n    root: { mode: 0755 }", &["root.mode", "\"0755\"", "quotes"]),
    ("[ { network: 127.0.0.0/8 } ]", "[]", &["t.yaml:9:14: shares[0].clients", "network: "]),
    ("127.0.0.0/8", "127.0.0.1/8", &["clients[0].network", "127.0.0.0/8"]),
    ("shares:", "shares: [", &["t.yaml:"]),
];

#[tokio::test]
async fn wrong_configurations_fail_before_anything_listens() {
    // Whoever went as far as listening would find the port taken, which is another error.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    for (from, to, words) in WRONG {
        assert!(RIGHT.contains(from), "{from}");
        let folder = folder(&RIGHT.replace(from, to));
        let serve = ["serve", "--config", "t.yaml", "--listen", &listen];
        for arguments in [&serve[..], &["check-config", "--config", "t.yaml"]] {
            run(trunkfs(folder.path(), arguments)).await.failed_with(2, words);
        }
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing is made: {left:?}");
    }
}

#[tokio::test]
async fn a_right_configuration_is_summed_up() {
    let folder = folder(RIGHT);
    let checked = run(trunkfs(folder.path(), &["check-config", "--config", "t.yaml"])).await;
    assert_eq!(checked.status, Some(0), "{checked:?}");
    assert!(checked.out.contains("t.yaml is valid"), "{checked:?}");
    assert!(checked.out.contains("    metadata_store: m\n    content_store: c\n"), "{checked:?}");
}

#[tokio::test]
async fn the_example_is_right() {
    let folder = folder(include_str!("../../config.example.yaml"));
    let mut command = trunkfs(folder.path(), &["check-config"]);
    command.env("TRUNKFS_CONFIG", "t.yaml").envs(SECRETS);
    let checked = run(command).await;
    assert_eq!(checked.status, Some(0), "{checked:?}");
    assert!(!checked.out.contains("hush") && !checked.out.contains("MDEy"), "{checked:?}");
}

/// The part of a Compose file that holds configurations.
#[derive(serde::Deserialize)]
struct Compose {
    configs: BTreeMap<String, Inline>,
}

#[derive(serde::Deserialize)]
struct Inline {
    content: String,
}

#[tokio::test]
async fn the_configuration_for_containers_is_right() {
    let compose = include_str!("../../docker-compose.yml");
    let compose: Compose = serde_saphyr::from_str(compose).unwrap();
    for config in ["trunkfs", "trunkfs-s3"] {
        let folder = folder(&compose.configs[config].content.replace("$${", "${"));
        let mut command = trunkfs(folder.path(), &["check-config", "--config", "t.yaml"]);
        command.envs(SECRETS);
        let checked = run(command).await;
        assert_eq!(checked.status, Some(0), "{config}: {checked:?}");
        assert!(checked.out.contains("  listen: 0.0.0.0:12049\n"), "{config}: {checked:?}");
    }
}

/// The first block of YAML after a heading of a page.
fn sample<'p>(page: &'p str, heading: &str) -> &'p str {
    let after = page.split_once(heading).unwrap().1.split_once("```yaml\n").unwrap().1;
    after.split_once("```").unwrap().0
}

#[tokio::test]
async fn the_quick_start_is_right() {
    let page = include_str!("../../docs/quick-start.md");
    let postgres = sample(page, "With PostgreSQL:");
    let rest = postgres.find("content:\n").unwrap();
    let sqlite = format!("{}{}", sample(page, "With SQLite"), &postgres[rest..]);
    for (text, kind) in [(postgres, "postgres"), (&sqlite, "sqlite")] {
        let folder = folder(text);
        let checked = run(trunkfs(folder.path(), &["check-config", "--config", "t.yaml"])).await;
        assert_eq!(checked.status, Some(0), "{checked:?}");
        assert!(checked.out.contains(&format!("      type: {kind}\n")), "{checked:?}");
        assert!(checked.out.contains("  - name: /export\n    metadata_store: main\n"));
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let folder = folder("");
    let command = trunkfs(folder.path(), &["serve", "--config", "none.yaml"]);
    run(command).await.failed_with(2, &["none.yaml: cannot be read", "--config"]);
}

#[tokio::test]
async fn the_command_line_is_checked() {
    let folder = folder("");
    run(trunkfs(folder.path(), &["sevre"])).await.failed_with(2, &["sevre", "serve"]);
    let version = run(trunkfs(folder.path(), &["--version"])).await;
    assert!(version.status == Some(0) && version.out.starts_with("trunkfs 0.1.0\n"), "{version:?}");
    let mut command = trunkfs(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    command.env("RUST_LOG", "a=b=c");
    run(command).await.failed_with(2, &["RUST_LOG", "\"b=c\" is not a log level", "info"]);
}
