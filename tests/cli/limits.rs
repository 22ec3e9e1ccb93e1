//! Limits, as whoever meets them and whoever set them sees them.

use super::client::{Call, Connection};
use super::process::{Running, folder, run};
use super::scene::{NFS, of, ok, root};
use super::tree::{create, mkdir, mode, remove, write};

/// NULL of NFS.
fn null() -> Call {
    Call::new(100_003, 3, 0)
}

/// A configuration with further keys of `server`.
fn limited(keys: &str) -> tempfile::TempDir {
    folder(&format!(
        "
server: {{ listen: '127.0.0.1:0', {keys} }}
metadata: {{ stores: {{ m: {{ type: memory }} }} }}
content: {{ stores: {{ c: {{ type: memory }} }} }}
shares:
  - {{ name: /e, metadata_store: m, content_store: c, clients: [ {{ network: 127.0.0.0/8 }} ] }}
"
    ))
}

#[tokio::test]
async fn who_has_too_many_connections_is_refused_and_named() {
    let folder = limited("max_connections_per_client: 1");
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    let client = [127, 0, 0, 2].into();
    let mut first = Connection::open_from(client, server.address).await;
    first.call(null()).await.results().end();
    let mut second = Connection::open_from(client, server.address).await;
    let refused = second.local();
    second.closed().await;
    let mut other = Connection::open_from([127, 0, 0, 3].into(), server.address).await;
    other.call(null()).await.results().end();
    let err = server.stop().await.err;
    let line = err.lines().find(|line| line.contains(&refused.to_string()));
    let line = line.unwrap_or_else(|| panic!("{refused} is not named in\n{err}"));
    assert!(line.contains("server.max_connections_per_client"), "{line}");
    assert!(line.contains("limit=1"), "{line}");
}

/// Content in memory has a bound where the configuration says so.
#[tokio::test]
async fn content_in_memory_that_is_full_is_no_space() {
    const NO_SPACE: u32 = 28;
    let folder = folder(
        "
server: { listen: '127.0.0.1:0' }
metadata: { stores: { m: { type: memory } } }
content: { stores: { c: { type: memory, memory: { max_size: 1MiB } } } }
shares:
  - name: /e
    metadata_store: m
    content_store: c
    root: { mode: '0777' }
    clients: [ { network: 127.0.0.0/8 } ]
",
    );
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    let mut connection = Connection::open(server.address).await;
    let top = root(&mut connection).await;
    let create = of(&top).opaque(b"file").u32(0).u32(1).u32(0o666);
    let mut created = ok(&mut connection, 8, create.u32(0).u32(0).u32(0).u32(0).u32(0)).await;
    assert_eq!(created.u32(), 1, "a handle follows");
    let file = created.opaque();
    let (half, length) = (vec![7; 600 << 10], 600 << 10);
    let write = |at: u64| of(&file).u64(at).u32(length).u32(2).opaque(&half);
    ok(&mut connection, 7, write(0)).await;
    let call = Call::new(NFS, 3, 7).arguments(write(length.into()));
    assert_eq!(connection.call(call).await.results().u32(), NO_SPACE);
    ok(&mut connection, 7, write(0)).await;
    server.stop().await;
}

/// So has a namespace in memory; further names of a file count too.
#[tokio::test]
async fn a_namespace_in_memory_that_is_full_is_no_space() {
    const NO_SPACE: u32 = 28;
    let folder = limited("max_connections: 8");
    let text = std::fs::read_to_string(folder.path().join("t.yaml")).unwrap();
    let text = text
        .replace("m: { type: memory }", "m: { type: memory, memory: { max_objects: 3 } }")
        .replace("content_store: c,", "content_store: c, root: { mode: '0777' },");
    std::fs::write(folder.path().join("t.yaml"), text).unwrap();
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    let mut connection = Connection::open(server.address).await;
    let top = root(&mut connection).await;
    // The root is the first.
    let file = create(&mut connection, &top, "file").await;
    mkdir(&mut connection, &top, "directory").await;
    let link = || of(&file).opaque(&top).opaque(b"link");
    let more = [
        (8, mode(of(&top).opaque(b"more").u32(0), 0o640)),
        (9, mode(of(&top).opaque(b"more"), 0o750)),
        (10, mode(of(&top).opaque(b"more"), 0o777).opaque(b"file")),
        (15, link()),
    ];
    for (procedure, arguments) in more {
        let call = Call::new(NFS, 3, procedure).arguments(arguments);
        assert_eq!(connection.call(call).await.results().u32(), NO_SPACE, "{procedure}");
    }
    ok(&mut connection, 13, of(&top).opaque(b"directory")).await;
    ok(&mut connection, 15, link()).await;
    let call = Call::new(NFS, 3, 9).arguments(mode(of(&top).opaque(b"more"), 0o750));
    assert_eq!(connection.call(call).await.results().u32(), NO_SPACE);
    remove(&mut connection, &top, "link").await;
    mkdir(&mut connection, &top, "more").await;
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_is_full_says_whom_it_refuses() {
    let folder = limited("max_connections: 2");
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    // The server's call to itself, by which it knew that it answers, may not have ended yet.
    let mut held = Vec::new();
    let mut refused = Vec::new();
    while held.len() < 2 || refused.is_empty() {
        let mut connection = Connection::open(server.address).await;
        let record = null().encode(1);
        let mark = 0x8000_0000 | u32::try_from(record.len()).unwrap();
        let sent = connection.try_send_bytes(&[&mark.to_be_bytes()[..], &record].concat()).await;
        if sent.is_ok() && connection.record_or_end().await.is_some() {
            held.push(connection);
        } else {
            refused.push(connection.local().to_string());
        }
    }
    assert_eq!(held.len(), 2);
    let err = server.stop().await.err;
    let line = err.lines().find(|line| line.contains("server.max_connections are open")).unwrap();
    assert!(refused.iter().any(|address| line.contains(address)), "{refused:?}: {line}");
    assert!(line.contains("limit=2"), "{line}");
}

/// The program where no more than `limit` files may be open.
fn with_few_files(folder: &std::path::Path, limit: u32) -> tokio::process::Command {
    let script = format!("ulimit -n {limit} && exec \"$0\" serve --config t.yaml");
    let mut command = tokio::process::Command::new("sh");
    command.env(super::process::ADMIN, "off");
    command.current_dir(folder).arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_trunkfs"));
    command.kill_on_drop(true);
    command
}

#[tokio::test]
async fn a_limit_of_open_files_that_is_too_low_is_told_before_anything_starts() {
    let folder = limited("max_connections: 100");
    // 100 connections and 64 others.
    let words = [
        "limit of this process is 163",
        "needs 164",
        "100 for server.max_connections",
        "LimitNOFILE=",
        "ulimit -Hn",
    ];
    run(with_few_files(folder.path(), 163)).await.failed_with(1, &words);
    let server = Running::spawn(with_few_files(folder.path(), 164), 1).await;
    server.stop().await;
}

/// A configuration with content in a folder, without `max_open_files`.
fn with_content_folder() -> tempfile::TempDir {
    folder(
        "
server: { listen: '127.0.0.1:0', max_connections: 100, portmap: off }
metadata: { stores: { m: { type: memory } } }
content: { stores: { c: { type: filesystem, filesystem: { base_path: content } } } }
shares:
  - name: /e
    metadata_store: m
    content_store: c
    root: { mode: '0777' }
    clients: [ { network: 127.0.0.0/8 } ]
",
    )
}

#[tokio::test]
async fn a_folder_without_max_open_files_starts_with_what_the_limit_leaves() {
    let folder = with_content_folder();
    // 100 connections, the folder's 256 folders and 64 files, and 64 others.
    let words = ["limit of this process is 483", "needs 484", "320 for max_open_files"];
    run(with_few_files(folder.path(), 483)).await.failed_with(1, &words);
    let server = Running::spawn(with_few_files(folder.path(), 484), 1).await;
    server.stop().await;
}

/// The files below a folder that a process has open.
#[cfg(target_os = "linux")]
fn open_files(process: u32, folder: &std::path::Path) -> usize {
    let folder = folder.canonicalize().unwrap();
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let open = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    open.filter(|file| file.starts_with(&folder) && file.is_file()).count()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_keeps_as_many_files_open_as_its_limit_leaves() {
    // What the server needs, and 50 others.
    const LIMIT: u32 = 484 + 50;
    const FILES: usize = 64 + 50;
    // All but those of replies that are to be sent.
    const KEPT: usize = FILES - FILES / 4;
    let folder = with_content_folder();
    let server = Running::spawn(with_few_files(folder.path(), LIMIT), 1).await;
    let mut connection = Connection::open(server.address).await;
    let top = root(&mut connection).await;
    let content = folder.path().join("content");
    let mut most = 0;
    for number in 0..2 * FILES {
        let file = create(&mut connection, &top, &format!("f{number}")).await;
        write(&mut connection, &file, 0, b"data").await;
        most = most.max(open_files(server.id(), &content));
    }
    assert_eq!(most, KEPT);
    server.stop().await;
}
