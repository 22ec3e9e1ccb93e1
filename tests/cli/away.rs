//! A bucket that is away and comes back: the log tells each once, whatever number of calls fails.

use rustix::process::Signal;
use serde_json::Value;

use super::client::{Call, Connection, Writer};
use super::gc::bucket;
use super::process::{Running, folder, patiently};
use super::s3::{Fate, S3Server};
use super::scene::{NFS, of, ok, root};

const CREATE: u32 = 8;
const WRITE: u32 = 7;
const JUKEBOX: u32 = 10_008;
const FILE_SYNC: u32 = 2;

fn write(file: &[u8]) -> Writer {
    of(file).u64(0).u32(4).u32(FILE_SYNC).opaque(b"data")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_lost_and_back_is_a_line_each() {
    let s3 = S3Server::start().await;
    let content = bucket(&s3).replace("connect_retry: 0s", "connect_retry: 0s, retries: 1");
    let folder = folder(&format!(
        "
server: {{ listen: '127.0.0.1:0' }}
logging: {{ format: json }}
metadata: {{ stores: {{ m: {{ type: memory }} }} }}
content: {{ stores: {{ c: {{ {content} }} }} }}
shares:
  - name: /e
    metadata_store: m
    content_store: c
    root: {{ mode: '0777' }}
    clients: [ {{ network: 127.0.0.0/8, squash: no_root_squash }} ]
"
    ));
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    let mut connection = Connection::open(server.address).await;
    let top = root(&mut connection).await;
    let create = of(&top).opaque(b"file").u32(0).u32(0).u32(0).u32(0).u32(0).u32(0).u32(0);
    let mut created = ok(&mut connection, CREATE, create).await;
    assert!(created.boolean(), "a handle");
    let file = created.opaque();
    ok(&mut connection, WRITE, write(&file)).await;

    s3.plan(|_, _| Fate::Refused(503));
    for _ in 0..5 {
        let call = Call::new(NFS, 3, WRITE).arguments(write(&file));
        connection.send(&call).await;
        let reply = patiently(connection.reply()).await;
        assert_eq!(reply.results().u32(), JUKEBOX);
    }
    s3.heal();
    ok(&mut connection, WRITE, write(&file)).await;

    server.signal(Signal::TERM);
    let finished = server.finish().await;
    let lines: Vec<Value> =
        finished.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let with =
        |message: &str| lines.iter().filter(|line| line["message"] == message).collect::<Vec<_>>();
    let lost = with("bucket lost: requests fail; retrying");
    let back = with("bucket back: requests succeed again");
    assert_eq!((lost.len(), back.len()), (1, 1), "{}", finished.err);
    assert_eq!((&lost[0]["level"], &back[0]["level"]), (&"WARN".into(), &"INFO".into()));
    assert!(lost[0]["error"].as_str().unwrap().contains("503"), "{}", lost[0]);
    assert!(back[0]["away_ms"].is_u64(), "{}", back[0]);
    let others = ["a call failed", "upload failed; the chunk is kept in memory and retried"];
    assert_eq!(others.map(|message| with(message).len()), [0, 0], "{}", finished.err);
}
