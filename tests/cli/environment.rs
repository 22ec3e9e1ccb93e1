//! Which file counts, and the variables that go over it.

use std::fs;
use std::path::Path;

use super::process::{Finished, Running, folder, run, trunkfs};

const FILE: &str = "
server: { listen: '127.0.0.1:0', request_timeout: 17s }
metadata:
  stores:
    db:
      type: postgres
      postgres: { host: db.example, password: \"${SECRET}\", sslmode: disable }
    m: { type: memory }
content: { stores: { c: { type: memory } } }
shares:
  - name: /e
    metadata_store: m
    content_store: c
    clients: [ { network: 127.0.0.0/8 }, { network: 10.0.0.0/8, access: ro } ]
";

async fn checked(folder: &Path, variables: &[(&str, &str)]) -> Finished {
    let mut command = trunkfs(folder, &["check-config"]);
    command.envs(variables.iter().copied());
    run(command).await
}

#[tokio::test]
async fn the_file_is_looked_for_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let local = checked(at, &[]).await;
    assert_eq!(local.status, Some(0), "{local:?}");
    assert!(local.out.starts_with("# the built-in configuration is valid."), "{local:?}");
    fs::write(at.join("config.yaml"), FILE).unwrap();
    let found = checked(at, &[("SECRET", "hush")]).await;
    assert!(found.out.starts_with("# ./config.yaml is valid."), "{found:?}");
    fs::write(at.join("named.yaml"), FILE.replace("/e", "/named")).unwrap();
    let variables = [("SECRET", "hush"), ("TRUNKFS_CONFIG", "named.yaml")];
    let named = checked(at, &variables).await;
    assert!(
        named.out.starts_with("# named.yaml is valid.") && named.out.contains("name: /named"),
        "{named:?}"
    );
    fs::write(at.join("option.yaml"), FILE.replace("/e", "/option")).unwrap();
    let mut command = trunkfs(at, &["check-config", "--config", "option.yaml"]);
    command.envs(variables);
    assert!(run(command).await.out.contains("name: /option"));
    // One that is there and cannot be read is not passed over.
    fs::remove_file(at.join("config.yaml")).unwrap();
    fs::create_dir(at.join("config.yaml")).unwrap();
    checked(at, &[]).await.failed_with(2, &["./config.yaml: cannot be read", "--config"]);
}

#[tokio::test]
async fn a_folder_goes_over_the_variable_and_not_over_the_option() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let with = |arguments: &[&str]| {
        let mut command = trunkfs(at, &[&["check-config"], arguments].concat());
        command.env("TRUNKFS_CONFIG", "named.yaml");
        run(command)
    };
    let local = with(&["--data", "here"]).await;
    assert_eq!(local.status, Some(0), "{local:?}");
    assert!(local.out.contains("here/metadata.sqlite"), "{local:?}");
    let both = with(&["--data", "here", "--config", "named.yaml"]).await;
    both.failed_with(2, &["--data", "--config"]);
    // What a script makes of a variable that is not set.
    with(&["--data", ""]).await.failed_with(2, &["--data", "must not be empty"]);
}

#[tokio::test]
async fn variables_go_over_the_file() {
    let folder = folder(FILE);
    fs::rename(folder.path().join("t.yaml"), folder.path().join("config.yaml")).unwrap();
    let variables = [
        ("SECRET", "hush"),
        ("TRUNKFS__METADATA__STORES__DB__POSTGRES__HOST", "other.example"),
        ("TRUNKFS__SHARES__0__NAME", "/f"),
    ];
    let found = checked(folder.path(), &variables).await;
    assert_eq!(found.status, Some(0), "{found:?}");
    for line in [
        "        host: other.example  # TRUNKFS__METADATA__STORES__DB__POSTGRES__HOST\n",
        "        password: \"***\"\n",
        "        max_conns: 15\n",
        "  - name: /f  # TRUNKFS__SHARES__0__NAME\n",
        "# mount -t nfs -o vers=3,",
    ] {
        assert!(found.out.contains(line), "no {line:?} in\n{}", found.out);
    }
    assert!(!found.out.contains("hush"), "{}", found.out);
    let variables = [
        ("SECRET", "hush"),
        ("TRUNKFS__SERVER__LISEN", "127.0.0.1:0"),
        ("TRUNKFS__SHARES__0__CLIENTS__5__NETWORK", "::1"),
    ];
    for command in ["check-config", "serve"] {
        let mut command = trunkfs(folder.path(), &[command]);
        command.envs(variables);
        run(command).await.failed_with(
            2,
            &[
                "error: the environment variable TRUNKFS__SERVER__LISEN: server.lisen: unknown key; did you mean \
                 'listen' (TRUNKFS__SERVER__LISTEN)?",
                "error: the environment variable TRUNKFS__SHARES__0__CLIENTS__5__NETWORK: \
                 shares.0.clients.5.network: shares.0.clients is a list",
            ],
        );
    }
}

/// What is printed is a configuration itself, and the same one.
#[tokio::test]
async fn what_is_printed_can_be_used_as_a_file() {
    let folder = folder(FILE);
    let print = async |file: &str| {
        let mut command = trunkfs(folder.path(), &["check-config", "--config", file]);
        command.env("SECRET", "hu\"sh ${X}");
        let printed = run(command).await;
        assert_eq!(printed.status, Some(0), "{printed:?}");
        let first = printed.out.split_once('\n').unwrap();
        assert_eq!(
            first.0,
            format!(
                "# {file} is valid. Effective configuration (defaults and environment applied):"
            )
        );
        first.1.to_owned()
    };
    let once = print("t.yaml").await;
    assert!(!once.contains("hu"), "{once}");
    fs::write(folder.path().join("again.yaml"), once.replace("\"***\"", "\"${SECRET}\"")).unwrap();
    assert_eq!(print("again.yaml").await, once);
}

#[tokio::test]
async fn serve_says_what_configures_it() {
    let folder = folder(FILE);
    fs::write(folder.path().join("secret"), "hush\n").unwrap();
    let text = FILE.replace("password: \"${SECRET}\"", "password_file: secret");
    fs::write(folder.path().join("t.yaml"), text).unwrap();
    let mut command = trunkfs(folder.path(), &["serve", "--config", "t.yaml"]);
    command.env("TRUNKFS__SERVER__MAX_CONNECTIONS", "9");
    let server = Running::spawn(command, 1).await;
    server.signal(rustix::process::Signal::TERM);
    let finished = server.finish().await;
    assert_eq!(finished.status, Some(0), "{finished:?}");
    assert!(
        finished.err.contains("overrides=\"TRUNKFS__")
            && finished.err.contains("TRUNKFS__SERVER__MAX_CONNECTIONS"),
        "{finished:?}"
    );
    assert!(
        finished.err.contains("postgres.password_file: secret is readable by every user"),
        "{finished:?}"
    );
}
