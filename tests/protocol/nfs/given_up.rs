//! Calls whose client goes away, whose time is over, or whose server is told to end, while a store makes them
//! wait: a lock of a row that the test holds, a message of the database that does not come, content that
//! hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_postgres::Client as Database;
use trunkfs::content::{ContentStore, Error, MemoryContent};
use trunkfs::net::ServerSettings;
use trunkfs::types::{self, ContentId};

use super::args::{self, *};
use super::client::Client;
use super::fixture::{Stores, TestServer};
use super::results::status_of;
use super::rpc::{NFS, wait};
use super::types::*;
use super::xdr::Args;
use crate::altered::{Alter, Altered};
use crate::client::{Call, Connection, Outcome, PATIENCE, Reply};
use crate::database::connect;
use crate::gate::{Gate, Side};

/// How long calls of a server that is short of time may take: enough for those that nothing holds up.
const SHORT: Duration = Duration::from_secs(5);

/// A server whose database can be made to wait.
struct Scene {
    server: TestServer,
    gate: Gate,
    root: Client,
    dir: Handle,
    /// A connection beside the server's.
    database: Database,
}

impl Scene {
    fn new(change: impl FnOnce(&mut ServerSettings)) -> Self {
        let (server, gate, database) = wait(async {
            let (stores, gate) = Stores::behind_gate().await;
            let database = connect(&stores.database()).await;
            (TestServer::start_with(stores, change).await, gate, database)
        });
        let root = server.client(0);
        let dir = root.dir_of(&server.root_of("/t"), b"dir", 0o777);
        Self { server, gate, root, dir, database }
    }

    async fn connect(&self) -> Connection {
        Connection::open(self.server.address).await
    }

    /// A call of root's with an id that no other has.
    fn call(&self, procedure: u32, args: &Args) -> Call {
        static NEXT: AtomicU32 = AtomicU32::new(0x6000_0000);
        let call = self.root.prepare(NFS, 3, procedure, &args.bytes);
        call.xid(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Holds every object's lock.
    async fn lock(&self) {
        self.database.batch_execute("BEGIN; SELECT FROM files FOR UPDATE").await.unwrap();
    }

    async fn unlock(&self) {
        self.database.batch_execute("COMMIT").await.unwrap();
    }

    /// Waits until `calls` calls wait for a lock.
    async fn waiting(&self, calls: i64) {
        let count = "SELECT count(*) FROM pg_stat_activity \
                     WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let began = Instant::now();
        // What a transaction sees of other sessions stays as it was.
        let other = connect(&self.server.stores().database()).await;
        while other.query_one(count, &[]).await.unwrap().get::<_, i64>(0) != calls {
            assert!(began.elapsed() < PATIENCE, "{calls} calls wait for a lock");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What a procedure acts on, and its arguments.
    fn changes(&self, round: &str) -> Vec<(u32, Args)> {
        let Self { root, dir, .. } = self;
        let name = |it: &str| format!("{it}-{round}").into_bytes();
        let file = root.file(dir, &name("file"));
        root.file(dir, &name("old"));
        root.dir(dir, &name("dir"));
        let guard = root.attr(&file).ctime;
        vec![
            (SETATTR, args::setattr(&file, &mode(0o600), Some(guard))),
            (CREATE, args::create(dir, &name("guarded"), &How::Guarded(mode(0o644)))),
            (CREATE, args::create(dir, &name("exclusive"), &How::Exclusive([7; 8]))),
            (MKDIR, args::mkdir(dir, &name("made"), &mode(0o755))),
            (SYMLINK, args::symlink(dir, &name("symlink"), b"target", &mode(0o777))),
            (MKNOD, args::mknod(dir, &name("fifo"), FIFO, &mode(0o644), (0, 0))),
            (LINK, args::link(&file, dir, &name("link"))),
            (REMOVE, args::entry(dir, &name("old"))),
            (RMDIR, args::entry(dir, &name("dir"))),
            (RENAME, args::rename(dir, &name("file"), dir, &name("renamed"))),
        ]
    }
}

/// The status of a reply that RPC lets through.
fn status(reply: Reply) -> Status {
    match reply.outcome {
        Outcome::Success(body) => status_of(&body),
        other => panic!("{other:?}"),
    }
}

/// A client that loses its connection repeats its calls on a new one, while they still run or later: each is
/// done once and says so.
#[test]
fn a_change_whose_client_left_is_answered_when_it_is_repeated() {
    let t = Scene::new(|_| {});
    for (round, repeated_first) in [("early", true), ("late", false)] {
        for (procedure, args) in t.changes(round) {
            let call = t.call(procedure, &args);
            wait(async {
                t.lock().await;
                let mut first = t.connect().await;
                first.send(&call).await;
                t.waiting(1).await;
                first.leave().await;
                let mut second = t.connect().await;
                if repeated_first {
                    second.send(&call).await;
                    t.unlock().await;
                } else {
                    t.unlock().await;
                    t.waiting(0).await;
                    second.send(&call).await;
                }
                assert_eq!(status(second.reply().await), OK, "{round}: procedure {procedure}");
                assert_eq!(status(second.call(call).await), OK, "{round}: again");
            });
        }
    }
}

/// The same wherever between server and database the call is when its client leaves.
#[test]
fn a_change_whose_client_left_at_any_message_is_done_once() {
    let t = Scene::new(|_| {});
    for side in [Side::Client, Side::Server] {
        // The last time the database's answer is lost too.
        for (procedure, cut) in [(REMOVE, false), (RENAME, false), (CREATE, false), (REMOVE, true)]
        {
            let mut messages = 0;
            while left_at(&t, (procedure, cut), (side, messages)) {
                messages += 1;
            }
            assert!(messages > 5, "{messages} messages");
        }
    }
}

/// Leaves at the message that follows `pass` others; `false` where there was none.
fn left_at(t: &Scene, (procedure, cut): (u32, bool), (side, pass): (Side, usize)) -> bool {
    let name = format!("{procedure}-{cut}-{side:?}-{pass}").into_bytes();
    let args = match procedure {
        CREATE => args::create(&t.dir, &name, &How::Guarded(mode(0o644))),
        REMOVE => args::entry(&t.dir, &name),
        _ => args::rename(&t.dir, &name, &t.dir, b"renamed"),
    };
    if procedure != CREATE {
        t.root.file(&t.dir, &name);
    }
    let call = t.call(procedure, &args);
    wait(async {
        let mut first = t.connect().await;
        t.gate.arm(side, pass);
        first.send(&call).await;
        let untouched = tokio::select! {
            reply = first.reply() => Some(reply),
            () = t.gate.held() => None,
        };
        if let Some(reply) = untouched {
            t.gate.open();
            assert_eq!(status(reply), OK);
            return false;
        }
        first.leave().await;
        let mut second = t.connect().await;
        second.send(&call).await;
        if cut {
            t.gate.cut();
        }
        t.gate.open();
        assert_eq!(status(second.reply().await), OK, "{procedure} left at {side:?} {pass}");
        true
    })
}

#[test]
fn a_call_whose_time_is_over_may_be_made_again() {
    let t = Scene::new(|settings| settings.request_timeout = SHORT);
    let file = t.root.file(&t.dir, b"file");
    let call = t.call(REMOVE, &args::entry(&t.dir, b"file"));
    wait(async {
        let mut connection = t.connect().await;
        // A change that waits for a lock is told so when the database has given up.
        t.lock().await;
        assert_eq!(status(connection.call(call.clone()).await), JUKEBOX);
        t.unlock().await;
        // What reads waits for nothing any more.
        t.gate.arm(Side::Server, 0);
        let reply = connection.call(t.call(GETATTR, &args::handle(&file))).await;
        assert_eq!(status(reply), JUKEBOX);
        t.gate.open();
        // Nothing was removed, and nothing is recorded.
        assert_eq!(status(connection.call(call).await), OK);
    });
}

#[test]
fn a_server_that_ends_says_what_became_of_its_calls() {
    for released in [true, false] {
        let t = Scene::new(|settings| settings.drain_timeout = SHORT / 4);
        let file = t.root.file(&t.dir, b"file");
        wait(async {
            t.lock().await;
            let (mut changing, mut reading) = (t.connect().await, t.connect().await);
            changing.send(&t.call(REMOVE, &args::entry(&t.dir, b"file"))).await;
            t.waiting(1).await;
            t.gate.arm(Side::Server, 0);
            reading.send(&t.call(GETATTR, &args::handle(&file))).await;
            t.gate.held().await;
            t.server.shut_down();
            // Cancelled after the drain: what reads ends at once, what changes something is awaited.
            assert_eq!(status(reading.reply().await), JUKEBOX);
            reading.closed().await;
            t.gate.open();
            if released {
                t.unlock().await;
            }
            let expected = if released { OK } else { JUKEBOX };
            assert_eq!(status(changing.reply().await), expected);
            changing.closed().await;
            if !released {
                t.unlock().await;
            }
        });
    }
}

/// Content whose reads wait until they are told to end.
#[derive(Debug)]
struct Hanging {
    inner: MemoryContent,
    begun: watch::Sender<u32>,
    cancelled: watch::Sender<u32>,
}

impl Hanging {
    async fn reached(counter: &watch::Sender<u32>, count: u32) {
        let mut counter = counter.subscribe();
        let reached = counter.wait_for(|now| *now >= count);
        timeout(PATIENCE, reached).await.expect("in time").unwrap();
    }
}

#[async_trait::async_trait]
impl Alter for Hanging {
    fn inner(&self) -> &dyn ContentStore {
        &self.inner
    }

    async fn read(
        &self,
        call: &types::Call,
        _: ContentId,
        _: u64,
        _: usize,
    ) -> Result<Bytes, Error> {
        self.begun.send_modify(|begun| *begun += 1);
        call.cancel.cancelled().await;
        self.cancelled.send_modify(|cancelled| *cancelled += 1);
        Err(Error::Cancelled)
    }
}

#[test]
fn content_hears_of_a_disconnect_at_once() {
    // Nobody waits so long for the end of its time.
    let (content, server, read) = with_hanging_content(PATIENCE * 60);
    wait(async {
        let mut leaving = Connection::open(server.address).await;
        leaving.send(&read).await;
        Hanging::reached(&content.begun, 1).await;
        leaving.leave().await;
        Hanging::reached(&content.cancelled, 1).await;
    });
}

#[test]
fn content_hears_of_timeout_and_shutdown() {
    let (content, server, read) = with_hanging_content(SHORT);
    wait(async {
        let mut patient = Connection::open(server.address).await;
        assert_eq!(status(patient.call(read.clone()).await), JUKEBOX);
        assert_eq!(*content.cancelled.borrow(), 1);

        patient.send(&read).await;
        Hanging::reached(&content.begun, 2).await;
        server.shut_down();
        assert_eq!(status(patient.reply().await), JUKEBOX);
        patient.closed().await;
        assert_eq!(*content.cancelled.borrow(), 2);
    });
}

/// Content that hangs, a server of it, and a call that reads.
fn with_hanging_content(request_timeout: Duration) -> (Arc<Altered<Hanging>>, TestServer, Call) {
    let content = Arc::new(Altered(Hanging {
        inner: MemoryContent::new(),
        begun: watch::Sender::new(0),
        cancelled: watch::Sender::new(0),
    }));
    let server = wait(TestServer::start_with(Stores::with_content(content.clone()), |settings| {
        (settings.request_timeout, settings.drain_timeout) = (request_timeout, SHORT / 4);
    }));
    let root = server.client(0);
    let file = root.file_with(&server.root_of("/t"), b"file", b"bytes");
    let read = root.prepare(NFS, 3, READ, &args::read(&file, 0, 5).bytes);
    (content, server, read)
}
