//! Lines that a client can cause: a burst is a few lines and its count, whatever the client sends.

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::{Call, Connection, Writer};
use super::process::{Finished, Running, folder, patiently};

const MOUNT: u32 = 100_005;
const NO_ENTRY: u32 = 2;
const ACCESS_DENIED: u32 = 13;

const CONFIGURATION: &str = "
server: { listen: '127.0.0.1:0' }
logging: { format: json }
metadata: { stores: { m: { type: memory } } }
content: { stores: { c: { type: memory } } }
shares:
  - { name: /e, metadata_store: m, content_store: c, clients: [ { network: 127.0.0.0/8 } ] }
  - { name: /other, metadata_store: m, content_store: c, clients: [ { network: 192.0.2.0/24 } ] }
";

/// The lines of standard error with this message, and those that were left out by the counts of it.
fn written_and_left_out(finished: &Finished, message: &str) -> (Vec<Value>, u64) {
    let lines = finished.err.lines();
    let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let counts = lines.iter().filter(|line| line["line"] == message);
    let left_out = counts.map(|line| line["left_out"].as_u64().unwrap()).sum();
    (lines.into_iter().filter(|line| line["message"] == message).collect(), left_out)
}

/// MNT of each path, a hundred at a time.
async fn mount(server: &Running, paths: &[Vec<u8>], status: u32) {
    let mut connection = Connection::open(server.address).await;
    for some in paths.chunks(100) {
        for path in some {
            let call = Call::new(MOUNT, 3, 1).arguments(Writer::new().opaque(path));
            connection.send(&call).await;
        }
        for _ in some {
            assert_eq!(connection.reply().await.results().u32(), status);
        }
    }
}

#[tokio::test]
async fn ten_thousand_mounts_are_a_few_lines_with_their_number_and_an_excerpt_of_the_path() {
    let folder = folder(CONFIGURATION);
    for (path, status) in [(vec![0xff; 1024], NO_ENTRY), (b"/other".to_vec(), ACCESS_DENIED)] {
        let server = Running::start(folder.path(), &["--config", "t.yaml"], 2).await;
        mount(&server, &vec![path; 10_000], status).await;
        server.signal(Signal::TERM);
        let finished = server.finish().await;
        let (lines, left_out) = written_and_left_out(&finished, "a mount was refused");
        assert_eq!(lines.len() as u64 + left_out, 10_000);
        // Three in ten seconds.
        assert!(lines.len() < 60, "{} lines", lines.len());
        let path = lines[0]["path"].as_str().unwrap();
        assert!(path.len() < 600, "{} bytes", path.len());
    }
}

#[tokio::test]
async fn connections_without_calls_are_a_few_lines_with_their_number() {
    let folder = folder(CONFIGURATION);
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 2).await;
    for _ in 0..300 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        patiently(stream.read_to_end(&mut Vec::new())).await.ok();
    }
    server.signal(Signal::TERM);
    let finished = server.finish().await;
    let (lines, left_out) = written_and_left_out(&finished, "closing connection");
    assert_eq!(lines.len() as u64 + left_out, 300);
    assert!(lines.len() < 60, "{} lines", lines.len());
    assert_eq!(lines[0]["level"], "WARN");
}
