//! From `serve` to a signal.

use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

use rustix::process::Signal;

use super::client::{Auth, Call, Connection, Writer};
use super::process::{Running, folder, patiently, run, trunkfs};

const NFS: u32 = 100_003;
const MOUNT: u32 = 100_005;

/// MNT of a share: its root's handle, or mountstat3.
async fn mount(connection: &mut Connection, path: &str) -> Result<Vec<u8>, u32> {
    let call = Call::new(MOUNT, 3, 1).arguments(Writer::new().opaque(path.as_bytes()));
    let mut results = connection.call(call).await.results();
    match results.u32() {
        0 => Ok(results.opaque()),
        status => Err(status),
    }
}

/// MKDIR by a user of a name in a directory: nfsstat3.
async fn mkdir(connection: &mut Connection, uid: u32, directory: &[u8], name: &str) -> u32 {
    let arguments = Writer::new().opaque(directory).opaque(name.as_bytes());
    // sattr3: a mode, and nothing else.
    let arguments = arguments.u32(1).u32(0o755).u32(0).u32(0).u32(0).u32(0).u32(0);
    let call = Call::new(NFS, 3, 9).credentials(Auth::sys(uid, uid)).arguments(arguments);
    connection.call(call).await.results().u32()
}

#[tokio::test]
async fn without_a_configuration_it_serves_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), &["--listen", "127.0.0.1:0"], 1).await;
    let port = server.address.port();
    assert_eq!(
        server.mounts,
        [format!(
            "mount -t nfs -o vers=3,proto=tcp,port={port},mountport={port},mountproto=tcp,nolock \
             127.0.0.1:/export /mnt"
        )]
    );
    let mut connection = Connection::open(server.address).await;
    let root = mount(&mut connection, "/export").await.unwrap();
    // Root is root, and who started the server may write.
    let starter = std::fs::metadata(folder.path()).unwrap().uid();
    assert_eq!(mkdir(&mut connection, 0, &root, "root's").await, 0);
    assert_eq!(mkdir(&mut connection, starter, &root, "starter's").await, 0);
    assert_eq!(mkdir(&mut connection, starter + 1, &root, "other's").await, 13, "NFS3ERR_ACCES");
    assert_eq!(mount(&mut connection, "/other").await, Err(2), "MNT3ERR_NOENT");
    let data = folder.path().join("trunkfs-data");
    assert!(data.join("metadata.sqlite").is_file() && data.join("content").is_dir());

    server.signal(Signal::TERM);
    let finished = server.finish().await;
    assert_eq!(finished.status, Some(0), "{finished:?}");
    // On a busy machine a call may be slow.
    let warnings = finished.err.lines().filter(|line| line.contains("WARN"));
    assert_eq!(warnings.filter(|line| !line.contains("slow")).count(), 0, "{finished:?}");
    connection.closed().await;
    let left: Vec<_> =
        std::fs::read_dir(&data).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert!(
        !left.iter().any(|name| name == "metadata.sqlite-wal"),
        "one file has it all: {left:?}"
    );

    // A second start finds everything; the folder may be named.
    let arguments = ["--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let server = Running::start(folder.path(), &arguments, 1).await;
    let mut connection = Connection::open(server.address).await;
    assert_eq!(mount(&mut connection, "/export").await.unwrap(), root);
    assert_eq!(mkdir(&mut connection, 0, &root, "root's").await, 17, "NFS3ERR_EXIST");
    server.stop().await;
}

#[tokio::test]
async fn a_folder_takes_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), &["--listen", "127.0.0.1:0"], 1).await;
    let second = run(trunkfs(folder.path(), &["serve", "--listen", "127.0.0.1:0"])).await;
    let holder = format!("process {} on ", server.id());
    second.failed_with(
        1,
        &["metadata.stores.names", "in use by another server", &holder, " since 2"],
    );
    // However it ends, the next one may have it.
    server.signal(Signal::KILL);
    assert_eq!(server.finish().await.status, None);
    Running::start(folder.path(), &["--listen", "127.0.0.1:0"], 1).await.stop().await;
}

#[tokio::test]
async fn every_share_has_its_command() {
    let folder = folder(
        "
server: { listen: '0.0.0.0:0', portmap: off }
metadata: { stores: { m: { type: memory } } }
content: { stores: { c: { type: memory } } }
shares:
  - { name: /e, metadata_store: m, content_store: c, clients: [ { network: 127.0.0.0/8 } ] }
  - { name: /e/f, metadata_store: m, content_store: c, clients: [ { network: 127.0.0.3 } ] }
",
    );
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 2).await;
    assert!(server.mounts[0].ends_with(",nolock 127.0.0.1:/e /mnt"), "{:?}", server.mounts);
    assert!(server.mounts[1].ends_with(",nolock 127.0.0.1:/e/f /mnt"), "{:?}", server.mounts);
    let address = (std::net::Ipv4Addr::LOCALHOST, server.address.port()).into();
    let mut connection = Connection::open(address).await;
    mount(&mut connection, "/e").await.unwrap();
    assert_eq!(mount(&mut connection, "/e/f").await, Err(13), "MNT3ERR_ACCES");
    server.stop().await;
}

#[tokio::test]
async fn signals_end_it_well_and_soon() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = trunkfs(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
        command.env("TRUNKFS__SERVER__DRAIN_TIMEOUT", "1h");
        let server = Running::spawn(command, 1).await;
        let mut idle = Connection::open(server.address).await;
        mount(&mut idle, "/export").await.unwrap();
        // A connection without a call is not waited for.
        server.signal(signal);
        let finished = server.finish().await;
        assert_eq!(finished.status, Some(0), "{finished:?}");
        idle.closed().await;
    }
}

#[tokio::test]
async fn a_port_in_use_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let finished = run(trunkfs(folder.path(), &["serve", "--listen", &listen])).await;
    finished.failed_with(1, &[&listen, "another program uses the port", "server.listen"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_is_named() {
    let folder = folder(
        "
metadata: { stores: { m: { type: memory } } }
content: { stores: { disk: { type: filesystem, filesystem: { base_path: t.yaml } } } }
shares:
  - { name: /e, metadata_store: m, content_store: disk, clients: [ { network: 127.0.0.0/8 } ] }
",
    );
    let arguments = ["serve", "--config", "t.yaml", "--listen", "127.0.0.1:0"];
    run(trunkfs(folder.path(), &arguments))
        .await
        .failed_with(1, &["content.stores.disk", "t.yaml"]);
}

/// A database that takes connections and says nothing.
fn silent_database(connect_timeout: &str) -> (TcpListener, tempfile::TempDir) {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let folder = folder(&format!(
        "
metadata:
  stores:
    db:
      type: postgres
      postgres: {{ host: 127.0.0.1, port: {port}, connect_timeout: {connect_timeout}, connect_retry: 0s }}
content: {{ stores: {{ c: {{ type: memory }} }} }}
shares:
  - {{ name: /e, metadata_store: db, content_store: c, clients: [ {{ network: 127.0.0.0/8 }} ] }}
"
    ));
    (silent, folder)
}

const ARGUMENTS: [&str; 5] = ["serve", "--config", "t.yaml", "--listen", "127.0.0.1:0"];

#[tokio::test]
async fn a_database_that_says_nothing_is_an_error() {
    let (silent, folder) = silent_database("300ms");
    let port = silent.local_addr().unwrap().port().to_string();
    let finished = run(trunkfs(folder.path(), &ARGUMENTS)).await;
    finished.failed_with(1, &["metadata.stores.db", &port]);
}

#[tokio::test]
async fn a_signal_ends_a_start_that_waits() {
    let (silent, folder) = silent_database("1h");
    silent.set_nonblocking(true).unwrap();
    let silent = tokio::net::TcpListener::from_std(silent).unwrap();
    let mut command = trunkfs(folder.path(), &ARGUMENTS);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let connection = patiently(silent.accept()).await.unwrap();
    let id = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    rustix::process::kill_process(id.unwrap(), Signal::TERM).unwrap();
    let output = patiently(child.wait_with_output()).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    drop(connection);
}
