//! From a handle of the log to a path, and back.

use serde_json::Value;

use super::client::{Connection, Writer};
use super::process::{Running, folder, run, trunkfs};
use super::scene::{of, ok, root};

const LOOKUP: u32 = 3;
const MKDIR: u32 = 9;

/// The handle that LOOKUP or MKDIR answers with.
async fn made(connection: &mut Connection, procedure: u32, parent: &[u8], name: &str) -> Vec<u8> {
    let arguments = of(parent).opaque(name.as_bytes());
    let arguments = if procedure == MKDIR { attributes(arguments) } else { arguments };
    let mut results = ok(connection, procedure, arguments).await;
    if procedure == MKDIR {
        assert_eq!(results.u32(), 1, "post_op_fh3 has a handle");
    }
    results.opaque()
}

/// sattr3 that sets nothing.
fn attributes(arguments: Writer) -> Writer {
    (0..6).fold(arguments, |arguments, _| arguments.u32(0))
}

#[tokio::test]
async fn a_handle_has_a_path_and_a_path_its_handle() {
    let folder = folder(
        "
server: { listen: '127.0.0.1:0' }
metadata: { stores: { names: { type: sqlite, sqlite: { path: names.sqlite } } } }
content: { stores: { bytes: { type: filesystem, filesystem: { base_path: bytes } } } }
shares:
  - name: /e
    metadata_store: names
    content_store: bytes
    clients: [ { network: 127.0.0.0/8, squash: no_root_squash } ]
",
    );
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    let mut connection = Connection::open(server.address).await;
    let top = root(&mut connection).await;
    let deep = made(&mut connection, MKDIR, &top, "a folder").await;
    let deep = made(&mut connection, MKDIR, &deep, "below").await;
    let deep = String::from_utf8(deep).unwrap();
    let locate = |what: String| {
        let arguments = ["locate", "--config", "t.yaml", "--json", &what];
        run(trunkfs(folder.path(), &arguments))
    };
    let path = "/e/a folder/below";
    for what in [deep.clone(), path.to_owned(), format!("{path}/")] {
        let asked = locate(what).await;
        let found: Value = serde_json::from_str(&asked.out).unwrap_or_else(|_| panic!("{asked:?}"));
        assert_eq!((&found["path"], &found["handle"]), (&path.into(), &deep.as_str().into()));
    }
    let whole = String::from_utf8(made(&mut connection, LOOKUP, &top, ".").await).unwrap();
    let asked = run(trunkfs(folder.path(), &["locate", "--config", "t.yaml", "/e"])).await;
    assert!(asked.out.contains("path    /e\n") && asked.out.contains(&whole), "{asked:?}");
    locate("/e/nothing".to_owned()).await.failed_with(1, &["/e/nothing", "no such file"]);
    locate("/other".to_owned()).await.failed_with(1, &["/other", "no share"]);
    locate("no handle".to_owned()).await.failed_with(2, &["neither a handle"]);
    server.stop().await;
}
