//! `trunkfs bench` against servers that run, and against one that answers errors.

use std::net::SocketAddr;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::client::Connection;
use super::process::{Finished, Running, folder, patiently, run, trunkfs};
use super::tree::tree;

const MEMORY: &str = "m: { type: memory }";
const SQLITE: &str = "m: { type: sqlite, sqlite: { path: names.db } }";

async fn serving(metadata: &str) -> (TempDir, Running) {
    let folder = folder(&format!(
        "
server: {{ listen: '127.0.0.1:0' }}
metadata: {{ stores: {{ {metadata} }} }}
content: {{ stores: {{ c: {{ type: memory }} }} }}
shares:
  - name: /e
    metadata_store: m
    content_store: c
    root: {{ mode: '0777' }}
    clients: [ {{ network: 127.0.0.0/8, squash: no_root_squash }} ]
"
    ));
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    (folder, server)
}

/// Everything that a load takes, little of it.
const LITTLE: [&str; 14] = [
    "--connections",
    "2",
    "--depth",
    "3",
    "--time",
    "60ms",
    "--warm-up",
    "10ms",
    "--files",
    "5",
    "--file-size",
    "1MiB",
    "--threads",
    "1",
];

async fn bench(address: SocketAddr, arguments: &[&str]) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("nfs://{address}/e");
    let all = [&["bench", &url][..], &LITTLE, arguments].concat();
    run(trunkfs(folder.path(), &all)).await
}

/// The share has its root, and nothing else.
async fn is_empty(address: SocketAddr) -> bool {
    tree(&mut Connection::open(address).await).await.len() == 1
}

/// A server ends connections on which no handle was used, where there are more than 64.
#[tokio::test]
async fn a_hundred_connections_stay_open() {
    let (_folder, server) = serving(MEMORY).await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("nfs://{}/e", server.address);
    let load = ["--connections", "100", "--depth", "1", "--time", "60ms", "--warm-up", "10ms"];
    let arguments = [&["bench", &url, "--workload", "null,getattr"][..], &load].concat();
    let done = run(trunkfs(folder.path(), &arguments)).await;
    assert_eq!(done.status, Some(0), "{done:?}");
}

async fn every_workload_runs_on(metadata: &str) {
    let (_folder, server) = serving(metadata).await;
    let done = bench(server.address, &["--json"]).await;
    assert_eq!(done.status, Some(0), "{done:?}");
    let figures: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(figures["address"], server.address.to_string());
    assert_eq!(
        (&figures["load"]["connections"], &figures["load"]["depth"]),
        (&2.into(), &3.into())
    );
    let workloads = figures["workloads"].as_array().unwrap();
    assert_eq!(workloads.len(), 35, "{done:?}");
    for it in workloads {
        let number = |key: &str| it[key].as_f64().unwrap_or_else(|| panic!("{key} of {it}"));
        assert!(number("operations") > 0.0 && number("calls") >= number("operations"), "{it}");
        assert!(number("seconds") > 0.0 && number("per_second") > 0.0, "{it}");
        assert_eq!(
            (&it["error_count"], &it["errors"]),
            (&0.into(), &serde_json::json!({})),
            "{it}"
        );
        let latency = |key: &str| it["latency_us"][key].as_f64().unwrap();
        let sorted = ["p50", "p95", "p99", "p99.9", "max"].map(latency);
        assert!(sorted[0] > 0.0 && sorted.is_sorted(), "{it}");
        if cfg!(target_os = "linux") {
            assert!(number("server_cpu_us_per_call") >= 0.0, "{it}");
            assert!(number("client_cpu_us_per_call") >= 0.0, "{it}");
        }
        let name = it["workload"].as_str().unwrap();
        // On a busy machine a short run of the mix may have no call of a kind.
        let calls = |of: [&str; 2]| of.iter().any(|call| !it["procedures"][call].is_null());
        let has_data = name.starts_with("read-") || name.starts_with("write-");
        let mixed_data = name == "mixed" && calls(["READ", "WRITE"]);
        assert_eq!(number("bytes") > 0.0, has_data || mixed_data || name == "small-files", "{it}");
        let lists = name.starts_with("readdir");
        let mixed_lists = name == "mixed" && calls(["READDIR", "READDIRPLUS"]);
        assert_eq!(number("entries") > 0.0, lists || mixed_lists, "{it}");
        // Unstable writes are durable at the end.
        let commits = it["procedures"]["COMMIT"]["calls"].as_u64().unwrap_or(0);
        let unstable = name.starts_with("write-") && !name.ends_with("-sync");
        assert!(!unstable || commits >= 2, "{it}");
        assert!(!name.ends_with("-sync") || commits == 0, "{it}");
    }
    assert!(is_empty(server.address).await);
    server.stop().await;
}

#[tokio::test]
async fn every_workload_runs_on_memory() {
    every_workload_runs_on(MEMORY).await;
}

#[tokio::test]
async fn every_workload_runs_on_sqlite() {
    every_workload_runs_on(SQLITE).await;
}

#[tokio::test]
async fn figures_for_people_are_a_table() {
    let (_folder, server) = serving(MEMORY).await;
    let done = bench(server.address, &["--workload", "null,create"]).await;
    assert_eq!(done.status, Some(0), "{done:?}");
    let lines: Vec<_> = done.out.lines().collect();
    assert!(lines[0].contains(&format!("nfs://{}/e: 2 connections", server.address)), "{done:?}");
    let firsts: Vec<_> = lines[1..].iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(firsts, ["workload", "null", "create"], "{done:?}");
    assert_eq!(done.err, "", "no bar without a terminal");
    server.stop().await;
}

#[tokio::test]
async fn two_servers_are_compared() {
    let ((_one, a), (_other, b)) = (serving(MEMORY).await, serving(MEMORY).await);
    let urls = [a.address, b.address].map(|address| format!("nfs://{address}/e"));
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--workload", "getattr,remove", "--rounds", "3", "--json"];
    let compare = ["bench", "--compare", &urls[0], &urls[1]];
    let done = run(trunkfs(folder.path(), &[&compare[..], &LITTLE, &arguments].concat())).await;
    assert_eq!(done.status, Some(0), "{done:?}");
    let figures: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(
        (&figures["a"], &figures["b"]),
        (&urls[0].as_str().into(), &urls[1].as_str().into())
    );
    for (it, name) in figures["comparisons"].as_array().unwrap().iter().zip(["getattr", "remove"]) {
        assert_eq!(it["workload"], name);
        let ratio = ["least", "most"].map(|key| it["rate_ratio"][key].as_f64().unwrap());
        assert!(ratio[0] > 0.0 && ratio.is_sorted(), "{it}");
        assert!(it["rate_ratio"]["median"].as_f64().unwrap() > 0.0, "{it}");
        assert_eq!(it["a"]["rounds"].as_array().unwrap().len(), 3);
        assert_eq!(it["b"]["rounds"].as_array().unwrap().len(), 3);
    }
    assert!(is_empty(a.address).await && is_empty(b.address).await);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn ctrl_c_removes_what_was_made() {
    let (_folder, server) = serving(SQLITE).await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("nfs://{}/e", server.address);
    let load = ["bench", &url, "--workload", "create", "--time", "10m", "--connections", "2"];
    let mut command = trunkfs(folder.path(), &load);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    // Its directory is there when the head of the table is.
    patiently(out.next_line()).await.unwrap().unwrap();
    assert!(!is_empty(server.address).await);
    let id = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(id, Signal::INT).unwrap();
    let ended = patiently(child.wait_with_output()).await.unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(String::from_utf8(ended.stderr).unwrap().contains("interrupted"));
    assert!(is_empty(server.address).await);
    server.stop().await;
}

/// The results of a server that answers GETATTR by NFS3ERR_STALE and finds every name; whatever is made has
/// one handle.
fn results(program: u32, procedure: u32) -> Vec<u32> {
    let handle = [8, 1, 2];
    match (program, procedure) {
        // MNT.
        (100_005, 1) => [&[0][..], &handle, &[0]].concat(),
        // GETATTR.
        (_, 1) => vec![70],
        // LOOKUP.
        (_, 3) => [&[0][..], &handle, &[0, 0]].concat(),
        // CREATE, MKDIR, SYMLINK: a handle follows.
        (_, 8..=10) => [&[0, 1][..], &handle, &[0, 0, 0]].concat(),
        // READDIRPLUS: nothing is there.
        (_, 17) => vec![0, 0, 0, 0, 0, 1],
        // FSINFO: rtmax and wtmax among others.
        (_, 19) => [&[0, 0][..], &[1 << 20; 6]].concat(),
        _ => vec![0, 0, 0],
    }
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let mark = stream.read_u32().await?;
        let mut call = vec![0; (mark & 0x7fff_ffff) as usize];
        stream.read_exact(&mut call).await?;
        let word = |at: usize| u32::from_be_bytes(call[4 * at..4 * at + 4].try_into().unwrap());
        let head = [word(0), 1, 0, 0, 0, 0];
        let reply = [&head[..], &results(word(3), word(5))].concat();
        let mark = 0x8000_0000 | u32::try_from(4 * reply.len()).unwrap();
        let words = std::iter::once(mark).chain(reply).flat_map(u32::to_be_bytes);
        stream.write_all(&words.collect::<Vec<_>>()).await?;
    }
}

#[tokio::test]
async fn unexpected_statuses_are_errors() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    let done = bench(address, &["--workload", "getattr,lookup,lookup-absent", "--json"]).await;
    assert_eq!(done.status, Some(1), "{done:?}");
    assert!(done.err.contains("unexpected replies"), "{done:?}");
    assert!(done.err.contains("getattr, lookup-absent"), "{done:?}");
    let figures: Value = serde_json::from_str(&done.out).unwrap();
    let errors = |index: usize, name: &str| figures["workloads"][index]["errors"][name].as_u64();
    assert!(errors(0, "NFS3ERR_STALE").unwrap() > 0, "{figures}");
    assert_eq!(figures["workloads"][0]["operations"], 0);
    assert_eq!(figures["workloads"][1]["error_count"], 0);
    assert!(errors(2, "NFS3_OK").unwrap() > 0, "{figures}");
    server.abort();
}

#[tokio::test]
async fn a_server_that_is_away_and_an_export_that_is_none_are_told() {
    let port = super::port::Reserved::new();
    bench(port.address(), &[]).await.failed_with(1, &["connecting failed", "refused"]);
    let (_folder, server) = serving(MEMORY).await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("nfs://{}/none", server.address);
    let done = run(trunkfs(folder.path(), &["bench", &url])).await;
    done.failed_with(1, &["mounting /none", "MNT3ERR_"]);
    server.stop().await;
}

#[tokio::test]
async fn wrong_arguments_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, words) in [
        (&[][..], &["URL"][..]),
        (&["127.0.0.1:2049"], &["nfs://127.0.0.1:12049/export"]),
        (&["nfs://h/e", "--workload", "nul"], &["no workload \"nul\"", "lookup-absent"]),
        (&["nfs://h/e", "--depth", "0"], &["--depth"]),
        (&["nfs://h/e", "--time", "5"], &["such as 5s"]),
        (&["nfs://h/e", "--file-size", "1B"], &["from 1MiB"]),
        (&["nfs://h/e", "--compare", "nfs://h/a", "nfs://h/b"], &["--compare"]),
        (&["--compare", "nfs://h/a"], &["2 values"]),
    ] {
        let done = run(trunkfs(folder.path(), &[&["bench"], arguments].concat())).await;
        done.failed_with(2, words);
    }
}
