//! What is logged of a call that failed: once, with what an operator needs to find it.

use std::io::Write;
use std::sync::{Arc, Mutex, Once};

use trunkfs::content::MemoryContent;
use trunkfs::rpc::Reply;
use trunkfs::types::{CallTiming, FileHandle};

use super::fixture::{Args, Server, call, caller, created, of, success};

/// The lines of all tests of this program.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Keeps the log from now on. Before any other call: tracing decides once whether anybody wants a
/// line, by the subscriber of the thread that is the first to come to it.
pub(crate) fn keep() {
    static KEPT: Once = Once::new();
    KEPT.call_once(|| {
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG);
        log.with_ansi(false).with_writer(|| Log).init();
    });
}

/// The lines about the call with a transaction id.
fn lines_of(xid: u32) -> Vec<String> {
    let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
    let id = format!(" xid={xid} ");
    log.lines().filter(|line| line.contains(&id)).map(str::to_owned).collect()
}

async fn status(server: &Server, xid: u32, procedure: u32, arguments: Args) -> u32 {
    let mut caller = caller();
    caller.call.timing = Arc::new(CallTiming::new(xid));
    let reply: Reply = call(&server.nfs, procedure, arguments, caller).await;
    success(reply).u32().unwrap()
}

#[tokio::test]
async fn a_failure_below_is_logged_once_and_a_refusal_is_not() {
    let server = Server::with(MemoryContent::with_limit(1)).await;
    let make = of(&server.root).opaque(b"f").words(&[1]).mode(0o644);
    let (file, ..) = created(server.results(8, make).await);
    let (refused, failed) = (1001, 1002);

    assert_eq!(status(&server, refused, 3, of(&server.root).opaque(b"g")).await, 2);
    let lines = lines_of(refused);
    assert!(lines.iter().all(|line| line.contains("DEBUG")), "{lines:?}");

    let data = vec![7; 1 << 20];
    let write = of(&file).words(&[0, 0, 1 << 20, 0]).opaque(&data);
    assert_eq!(status(&server, failed, 7, write).await, 28);
    let lines = lines_of(failed);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let handle = format!("handle=\"/t:{}\"", FileHandle::parse(&file).unwrap().object);
    let cause = "no space left in the content store: ";
    for part in [" WARN ", "client=127.0.0.1:50000", "\"WRITE\"", &handle, "NFS3ERR_NOSPC", cause] {
        assert!(lines[0].contains(part), "{part}: {lines:?}");
    }
}
