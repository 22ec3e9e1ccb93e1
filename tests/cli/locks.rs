//! `trunkfs locks`, and locks that outlive their server.

use rustix::process::Signal;
use serde_json::Value;

use super::client::{Call, Connection, Writer};
use super::process::{Finished, Running, folder, run, trunkfs};
use super::scene::{of, ok, root};

const CREATE: u32 = 8;
const NLM: u32 = 100_021;
const LOCK: u32 = 2;
const GRANTED: u32 = 0;
const DENIED: u32 = 1;
const BLOCKED: u32 = 3;

const CONFIGURATION: &str = "
server: { listen: '127.0.0.1:0' }
metadata: { stores: { names: { type: sqlite, sqlite: { path: names.sqlite } } } }
content: { stores: { bytes: { type: filesystem, filesystem: { base_path: bytes } } } }
shares:
  - name: /e
    metadata_store: names
    content_store: bytes
    clients: [ { network: 127.0.0.0/8, squash: no_root_squash } ]
";

/// LOCK of a whole file, exclusively.
async fn lock(at: &mut Connection, file: &[u8], svid: u32, block: bool, reclaim: bool) -> u32 {
    let arguments = Writer::new().opaque(b"cookie").boolean(block).boolean(true);
    let arguments = arguments.opaque(b"client.example").opaque(file).opaque(b"oh").u32(svid);
    let arguments = arguments.u64(0).u64(0).boolean(reclaim).u32(0);
    let mut results = at.call(Call::new(NLM, 4, LOCK).arguments(arguments)).await.results();
    assert_eq!(results.opaque(), b"cookie");
    results.u32()
}

#[tokio::test]
async fn locks_outlive_a_server_and_are_shown_and_broken() {
    let folder = folder(CONFIGURATION);
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    let mut connection = Connection::open(server.address).await;
    let top = root(&mut connection).await;
    // UNCHECKED, and sattr3 that sets nothing.
    let create = (0..7).fold(of(&top).opaque(b"f"), |arguments, _| arguments.u32(0));
    let mut made = ok(&mut connection, CREATE, create).await;
    assert!(made.boolean());
    let file = made.opaque();
    assert_eq!(lock(&mut connection, &file, 1, false, false).await, GRANTED);
    server.signal(Signal::KILL);
    server.finish().await;

    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    let mut connection = Connection::open(server.address).await;
    assert_eq!(lock(&mut connection, &file, 2, true, false).await, BLOCKED, "it is still held");
    assert_eq!(lock(&mut connection, &file, 2, false, true).await, DENIED);
    assert_eq!(lock(&mut connection, &file, 1, false, true).await, GRANTED, "a reclaim");

    let locks = |arguments: &'static [&'static str]| {
        let arguments = [&["locks"], arguments, &["--config", "t.yaml"]].concat();
        run(trunkfs(folder.path(), &arguments))
    };
    let listed: Vec<Value> = json(&locks(&["--json"]).await);
    let states: Vec<_> = listed.iter().map(|it| (&it["state"], &it["svid"])).collect();
    assert_eq!(states.len(), 2, "{listed:?}");
    assert!(states.contains(&(&"held".into(), &1.into())), "{listed:?}");
    assert!(states.contains(&(&"waiting".into(), &2.into())), "{listed:?}");
    let held = &listed[0];
    assert_eq!((&held["client"], &held["server"]), (&"127.0.0.1".into(), &"127.0.0.1".into()));
    assert_eq!((&held["name"], &held["share"]), (&"client.example".into(), &"/e".into()));
    assert_eq!((&held["first"], &held["last"]), (&0.into(), &Value::Null));
    assert_eq!(json(&locks(&["--json", "--waiting"]).await).len(), 1);
    assert_eq!(json(&locks(&["--json", "--client", "10.0.0.1"]).await).len(), 0);
    assert_eq!(json(&locks(&["--json", "--share", "/other"]).await).len(), 0);
    let table = locks(&[]).await;
    assert!(table.out.contains("client.example") && table.out.contains("exclusive"), "{table:?}");

    locks(&["break"]).await.failed_with(2, &["--client or --file"]);
    let dry = locks(&["break", "--client", "127.0.0.1"]).await;
    assert!(dry.status == Some(0) && dry.out.contains("dry run"), "{dry:?}");
    assert_eq!(json(&locks(&["--json"]).await).len(), 2);
    let broken = locks(&["break", "--client", "127.0.0.1", "--svid", "1", "--yes"]).await;
    assert!(broken.out.contains("freed: 1 locks, 0 waiting"), "{broken:?}");
    // Of a client that has no port mapper: its poll gets it.
    let again = async {
        while lock(&mut connection, &file, 2, true, false).await != GRANTED {
            tokio::task::yield_now().await;
        }
    };
    super::process::patiently(again).await;
    let none = locks(&["break", "--client", "10.0.0.1", "--yes"]).await;
    assert_eq!((none.status, none.out.as_str()), (Some(0), "no such locks\n"));
    server.stop().await;
}

fn json(finished: &Finished) -> Vec<Value> {
    assert_eq!(finished.status, Some(0), "{finished:?}");
    finished.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn locks_in_memory_are_the_servers_alone() {
    let text = CONFIGURATION
        .replace("{ type: sqlite, sqlite: { path: names.sqlite } }", "{ type: memory }");
    let folder = folder(&text);
    let listed = run(trunkfs(folder.path(), &["locks", "--config", "t.yaml"])).await;
    listed.failed_with(2, &["in memory"]);
}

#[tokio::test]
async fn without_locks_the_programs_are_not_there() {
    let folder = folder(&format!("{CONFIGURATION}locks: {{ enabled: false }}\n"));
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    let mut connection = Connection::open(server.address).await;
    for program in [NLM, 100_024] {
        let reply = connection.call(Call::new(program, 1, 0)).await;
        assert_eq!(reply.outcome, super::client::Outcome::ProgramUnavailable);
    }
    server.stop().await;
}
