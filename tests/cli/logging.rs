//! What the log says of calls: read as JSON, as a program would.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::client::{Call, Connection, Writer};
use super::database::{TestDatabase, connect};
use super::process::{Finished, PATIENCE, Running, Watched, folder, patiently, run, trunkfs};
use super::scene::{NFS, Scene, of, ok, root};

const SERVE: [&str; 3] = ["serve", "--config", "t.yaml"];
const GETATTR: u32 = 1;
const MKDIR: u32 = 9;
const ROFS: u32 = 30;

/// The object of the next line whose message is this.
async fn line(server: &mut Watched, message: &str) -> Value {
    let line = server.line_with(&[&format!("\"message\":\"{message}\"")]).await;
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// MKDIR's arguments: no attributes are set.
fn mkdir(directory: &[u8], name: &str) -> Writer {
    of(directory).opaque(name.as_bytes()).u32(0).u32(0).u32(0).u32(0).u32(0).u32(0)
}

#[tokio::test]
async fn a_slow_call_says_where_its_time_went() {
    let database = TestDatabase::create().await;
    let top = "logging: { format: json, slow_calls: 300ms }";
    let folder = Scene { top, ..Scene::of(&database) }.folder();
    let mut server = Watched::start(trunkfs(folder.path(), &SERVE));
    let mut connection = Connection::open(server.ready().await).await;
    let top = root(&mut connection).await;
    ok(&mut connection, GETATTR, of(&top)).await;

    let mut lock = connect(&database.settings()).await;
    let held = lock.transaction().await.unwrap();
    held.batch_execute("LOCK TABLE files IN ACCESS EXCLUSIVE MODE").await.unwrap();
    // READDIR, which no server answers from memory.
    let readdir = of(&top).u64(0).u64(0).u32(4096);
    let xid = connection.send(&Call::new(NFS, 3, 16).arguments(readdir)).await;
    let looking = connect(&database.settings()).await;
    let waits = "SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND wait_event_type = 'Lock'";
    patiently(async {
        while looking.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    held.rollback().await.unwrap();
    assert_eq!(connection.reply().await.results().u32(), 0);

    // On a busy machine others may be slow too.
    let words = ["\"message\":\"a call was slow\"", &format!("\"xid\":{xid},")];
    let slow: Value = serde_json::from_str(&server.line_with(&words).await).unwrap();
    assert_eq!(slow["level"], "WARN", "{slow}");
    assert_eq!(slow["client"], connection.local().to_string(), "{slow}");
    assert_eq!(slow["procedure"], "READDIR", "{slow}");
    assert!(slow["handle"].as_str().unwrap().starts_with("/e:"), "{slow}");
    let time = |name: &str| slow[name].as_u64().unwrap_or_else(|| panic!("{name}: {slow}"));
    assert!(time("database_ms") >= 300 && time("took_ms") >= time("database_ms"), "{slow}");
    assert_eq!(time("content_ms"), 0, "{slow}");
    // Each is rounded down.
    let parts = time("connection_ms") + time("database_ms") + time("away_ms") + time("other_ms");
    assert!((parts..parts + 4).contains(&time("took_ms")), "{slow}");
    server.signal(Signal::TERM);
    assert_eq!(server.finish().await.status, Some(0));
}

#[tokio::test]
async fn a_failure_is_one_line_that_names_the_call() {
    let database = TestDatabase::create().await;
    let folder = Scene { top: "logging: { format: json }", ..Scene::of(&database) }.folder();
    let mut server = Watched::start(trunkfs(folder.path(), &SERVE));
    let mut connection = Connection::open(server.ready().await).await;
    let top = root(&mut connection).await;

    let name = database.settings().target.database;
    let superuser = connect(&database.settings()).await;
    superuser
        .batch_execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"))
        .await
        .unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'trunkfs'";
    superuser.execute(end, &[]).await.unwrap();

    let began = Instant::now();
    let mut refused = Vec::new();
    for index in 0..5 {
        let name = format!("d{index}");
        let call = Call::new(NFS, 3, MKDIR).arguments(mkdir(&top, &name));
        refused.push(connection.send(&call).await);
        assert_eq!(connection.reply().await.results().u32(), ROFS);
        ok(&mut connection, GETATTR, of(&top)).await;
    }
    let database_line = server.line_with(&["the database is read-only"]).await;
    assert!(database_line.contains("WARN"), "{database_line}");
    let failed = line(&mut server, "a call failed").await;
    assert_eq!((&failed["level"], &failed["xid"]), (&"WARN".into(), &refused[0].into()));
    assert_eq!(failed["client"], connection.local().to_string(), "{failed}");
    assert_eq!(failed["procedure"], "MKDIR", "{failed}");
    assert_eq!(failed["status"], "NFS3ERR_ROFS", "{failed}");
    assert!(failed["handle"].as_str().unwrap().starts_with("/e:"), "{failed}");
    let error = failed["error"].as_str().unwrap();
    assert!(
        error.starts_with("the metadata store is read-only: ")
            && error.contains("read-only transaction")
    );

    superuser.batch_execute("SET default_transaction_read_only = off").await.unwrap();
    superuser
        .batch_execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = off"))
        .await
        .unwrap();
    // No restart: it is found out by a client that tries again.
    let limit = Instant::now() + PATIENCE;
    for attempt in 0.. {
        let name = format!("again-{attempt}");
        let call = Call::new(NFS, 3, MKDIR).arguments(mkdir(&top, &name));
        match connection.call(call).await.results().u32() {
            0 => break,
            status => assert!(status == ROFS && Instant::now() < limit, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    line(&mut server, "the database is writable again").await;
    server.signal(Signal::TERM);
    let finished = server.finish().await;
    // Three in ten seconds, and the count of the others.
    let most = 3 * (1 + began.elapsed().as_secs() as usize / 10);
    let lines = finished.err.matches("\"message\":\"a call failed\"").count();
    assert!(lines <= most, "{lines} lines: {finished:?}");
}

/// Every line of both outputs: an object with a time, a level and a message.
fn objects(finished: &Finished) -> (Vec<Value>, Vec<Value>) {
    let read = |text: &str| -> Vec<Value> {
        let object = |line| serde_json::from_str(line).unwrap_or_else(|it| panic!("{it}: {line}"));
        let objects: Vec<Value> = text.lines().map(object).collect();
        for object in &objects {
            for key in ["timestamp", "level", "message", "target"] {
                assert!(object[key].is_string(), "{key}: {object}");
            }
        }
        objects
    };
    (read(&finished.out), read(&finished.err))
}

const IN_MEMORY: &str = "
server: { listen: '127.0.0.1:0' }
logging: { format: json }
metadata: { stores: { m: { type: memory } } }
content: { stores: { c: { type: memory } } }
shares:
  - { name: /e, metadata_store: m, content_store: c, clients: [ { network: 127.0.0.0/8 } ] }
";

#[tokio::test]
async fn every_line_of_a_server_is_an_object_from_the_first_to_the_last() {
    let folder = folder(IN_MEMORY);
    let mut server = Watched::start(trunkfs(folder.path(), &SERVE));
    server.ready().await;
    let lines =
        IN_MEMORY.replace("listen", "lisen").replace("type: memory } } }", "type: mem } } }");
    std::fs::write(folder.path().join("t.yaml"), lines).unwrap();
    server.signal(Signal::HUP);
    server.line_with(&["SIGHUP: ", "nothing was changed"]).await;
    server.signal(Signal::TERM);
    let finished = server.finish().await;
    assert_eq!(finished.status, Some(0), "{finished:?}");
    let (out, err) = objects(&finished);
    let first = &err[0];
    assert_eq!(first["message"], "trunkfs starts");
    assert_eq!(first["version"], env!("CARGO_PKG_VERSION"));
    assert!(first["commit"].is_string(), "{first}");
    assert_eq!(
        (&first["listen"], &first["configuration"]),
        (&"127.0.0.1:0".into(), &"t.yaml".into())
    );
    assert!(err.iter().any(|line| line["message"].as_str().unwrap().contains("lisen")), "{err:?}");
    assert_eq!(err.last().unwrap()["message"], "stopped");
    assert!(out.is_empty(), "{out:?}");

    std::fs::write(folder.path().join("t.yaml"), IN_MEMORY).unwrap();
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    let mount: Value = serde_json::from_str(&server.mounts[0]).unwrap();
    assert_eq!((&mount["message"], &mount["share"]), (&"mount command".into(), &"/e".into()));
    let command = mount["command"].as_str().unwrap();
    assert!(command.contains(&format!("port={}", server.address.port())), "{command}");
    server.stop().await;
}

#[tokio::test]
async fn every_line_of_a_start_that_fails_is_an_object() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let wrong = IN_MEMORY.replace("/e,", "e,").replace("127.0.0.0/8", "127.0.0.0/99");
    let unreadable = format!("shares: [\n{IN_MEMORY}");
    for (text, format, status, words) in [
        (wrong.as_str(), None, 2, &["shares[0].name", "network"][..]),
        (&IN_MEMORY.replace("127.0.0.1:0", &taken), None, 1, &["another program uses the port"]),
        (&unreadable, None, 2, &["t.yaml:"]),
        ("server: { lisen: 1 }", Some("json"), 2, &["did you mean 'listen'"]),
        ("", Some("json"), 2, &["shares: missing"]),
    ] {
        let folder = folder(text);
        let mut command = trunkfs(folder.path(), &SERVE);
        format.map(|format| command.env("TRUNKFS__LOGGING__FORMAT", format));
        let finished = run(command).await;
        finished.failed_with(status, words);
        let (_, err) = objects(&finished);
        assert!(err.iter().any(|line| line["level"] == "ERROR"), "{finished:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut missing = trunkfs(folder.path(), &SERVE);
    missing.env("TRUNKFS__LOGGING__FORMAT", "json").env("RUST_LOG", "nonsense");
    let finished = run(missing).await;
    finished.failed_with(2, &["RUST_LOG"]);
    objects(&finished);
}

#[tokio::test]
async fn levels_are_for_modules_and_the_variable_counts() {
    let configured = "
server: { listen: '127.0.0.1:0' }
logging: { levels: { default: error, 'trunkfs::mount': info } }
metadata: { stores: { m: { type: memory } } }
content: { stores: { c: { type: memory } } }
shares:
  - { name: /e, metadata_store: m, content_store: c, clients: [ { network: 127.0.0.0/8 } ] }
";
    let folder = folder(configured);
    for (variable, stops, mounts, spans) in [
        (None, false, true, false),
        (Some("info,trunkfs::mount=off"), true, false, false),
        (Some("debug"), true, true, true),
    ] {
        let mut command = trunkfs(folder.path(), &SERVE);
        variable.map(|levels| command.env("RUST_LOG", levels));
        let mut server = Watched::start(command);
        let mut connection = Connection::open(server.ready().await).await;
        root(&mut connection).await;
        server.signal(Signal::TERM);
        let finished = server.finish().await;
        let has = |words: &str| finished.err.contains(words);
        assert_eq!(has("stopping: "), stops, "{variable:?}: {finished:?}");
        assert_eq!(has("mounted"), mounts, "{variable:?}: {finished:?}");
        assert_eq!(has("call{xid="), spans, "{variable:?}: {finished:?}");
    }
    let wrong = configured.replace("trunkfs::mount", "trunkfs::mont");
    let folder = super::process::folder(&wrong);
    let finished = run(trunkfs(folder.path(), &SERVE)).await;
    finished.failed_with(2, &["t.yaml:3", "logging.levels", "no module \"mont\"", "'mount'"]);
}
