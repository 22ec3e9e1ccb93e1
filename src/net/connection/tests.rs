//! Every way in which a connection ends gives its permit back, and its calls have a bound.

use std::io::ErrorKind::{ConnectionReset, WouldBlock};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use super::*;
use crate::net::{Admission, Server, ServerHandle, ServerSettings};
use crate::rpc::{CallMessage, Program, Reply};
use crate::types::{Bounds, FairPermits, FilePages};
use crate::xdr::Encoder;

const NULL: u32 = 0;
/// Answers with 1 MiB.
const LARGE: u32 = 1;
/// Waits for the gate, whatever happens to its connection.
const WAIT: u32 = 2;
/// The same, and must not be done twice.
const CHANGE: u32 = 3;
/// Panics.
const PANIC: u32 = 4;
/// Finds a valid handle.
const VALID: u32 = 5;
/// Answers with as many bytes of a file.
const PAGES: u32 = 6;

const PATIENCE: Duration = Duration::from_secs(120);
const LARGE_BYTES: usize = 1 << 20;
/// How many replies may keep the file open.
const OPEN_FILES: usize = 40;

#[derive(Debug)]
struct Script {
    begun: watch::Sender<usize>,
    gate: Semaphore,
    /// 1 MiB of sevens.
    file: Arc<OwnedFd>,
    open_files: FairPermits,
}

#[async_trait::async_trait]
impl Program for Script {
    fn number(&self) -> u32 {
        7
    }

    fn version(&self) -> u32 {
        1
    }

    fn procedure_name(&self, procedure: u32) -> Option<&'static str> {
        (procedure <= PAGES).then_some("scripted")
    }

    fn is_replayed(&self, procedure: u32) -> bool {
        procedure == CHANGE
    }

    async fn call(&self, call: CallMessage) -> Reply {
        let mut results = Encoder::new();
        match call.procedure {
            LARGE => results.shared_opaque(vec![0; LARGE_BYTES].into()),
            WAIT | CHANGE => {
                self.begun.send_modify(|begun| *begun += 1);
                self.gate.acquire().await.unwrap().forget();
            }
            PANIC => panic!("as the case wants it"),
            VALID => call.standing.prove(),
            PAGES => {
                let permit = self.open_files.acquire(None, 1).await.unwrap();
                results.file_opaque(FilePages::of(&self.file, 0, LARGE_BYTES, permit).unwrap());
            }
            _ => {}
        }
        Reply::Success(results.finish())
    }
}

struct Fixture {
    address: SocketAddr,
    script: Arc<Script>,
    shared: Arc<Shared>,
    handle: ServerHandle,
    _end: DropGuard,
}

impl Fixture {
    async fn new(change: impl FnOnce(&mut ServerSettings)) -> Self {
        let mut settings = ServerSettings::new(vec![([127, 0, 0, 1], 0).into()]);
        settings.request_timeout = PATIENCE;
        settings.unproven_connections = usize::MAX;
        change(&mut settings);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; LARGE_BYTES]).unwrap();
        let script = Script {
            begun: watch::Sender::new(0),
            gate: Semaphore::new(0),
            file: Arc::new(file.into()),
            open_files: FairPermits::new(OPEN_FILES, Bounds::CALLS),
        };
        let script = Arc::new(script);
        let server = Server::bind(settings, vec![script.clone()]).await.unwrap();
        let (address, shared) = (server.local_addr(), server.shared.clone());
        let handle = server.handle();
        let shutdown = CancellationToken::new();
        tokio::spawn(server.run(shutdown.clone()));
        Self { address, script, shared, handle, _end: shutdown.drop_guard() }
    }

    /// A connection from an address of 127.0.0.0/8, and calls that it has sent.
    fn peer(&self, last: u8, procedures: &[u32]) -> Peer {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_recv_buffer_size(&socket, 2048).unwrap();
        bind(&socket, &SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
        connect(&socket, &self.address).unwrap();
        let mut peer = Peer(TcpStream::from(socket));
        peer.call(procedures);
        peer
    }

    async fn begun(&self, calls: usize) {
        let mut begun = self.script.begun.subscribe();
        timeout(PATIENCE, begun.wait_for(|now| *now >= calls)).await.unwrap().unwrap();
    }

    async fn connections_open(&self, open: usize) {
        until(|| self.shared.connections.taken() == open).await;
    }

    async fn orphans(&self, calls: usize) {
        until(|| self.shared.orphans.total() == calls).await;
    }
}

async fn until(mut reached: impl FnMut() -> bool) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < PATIENCE, "it does not come to that");
        sleep(Duration::from_millis(5)).await;
    }
}

struct Peer(TcpStream);

/// Every call is another one.
static XIDS: AtomicU32 = AtomicU32::new(0);

impl Peer {
    /// Sends calls with AUTH_NONE.
    fn call(&mut self, procedures: &[u32]) {
        let mut bytes = Vec::new();
        for &procedure in procedures {
            let xid = XIDS.fetch_add(1, Ordering::Relaxed);
            let header = [xid, 0, 2, 7, 1, procedure, 0, 0, 0, 0];
            bytes.extend((0x8000_0000_u32 | 40).to_be_bytes());
            bytes.extend(header.into_iter().flat_map(u32::to_be_bytes));
        }
        self.0.write_all(&bytes).unwrap();
    }

    /// Waits for a reply's first bytes.
    fn taste(mut self) -> Self {
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        self.0.read_exact(&mut [0; 16]).unwrap();
        self
    }

    fn is_open(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let read = self.0.peek(&mut [0; 16]);
        self.0.set_nonblocking(false).unwrap();
        match read {
            Ok(bytes) => bytes > 0,
            Err(error) => error.kind() == WouldBlock,
        }
    }

    /// Waits until the server has ended the connection.
    fn ended(mut self) {
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        match self.0.read_to_end(&mut Vec::new()) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ConnectionReset),
        }
    }

    fn reset(self) {
        sockopt::set_socket_linger(&self.0, Some(Duration::ZERO)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_is_answered_of_an_input_that_takes_many_reads() {
    const CALLS: usize = 20_000;
    let fixture = Fixture::new(|_| {}).await;
    let mut peer = fixture.peer(1, &[]);
    spawn_blocking(move || {
        peer.0.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut replies = peer.0.try_clone().unwrap();
        let sending = std::thread::spawn(move || peer.call(&[NULL; CALLS]));
        let mut reply = [0; 28];
        (0..CALLS).for_each(|_| replies.read_exact(&mut reply).unwrap());
        sending.join().unwrap();
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_a_file_is_sent_between_other_replies() {
    let fixture = Arc::new(Fixture::new(|_| {}).await);
    let calls = [NULL, PAGES, PAGES, LARGE, PAGES, NULL];
    let mut peer = fixture.peer(1, &calls);
    let file = Arc::clone(&fixture.script.file);
    rustix::fs::fdatasync(&file).unwrap();
    let read = spawn_blocking(move || {
        peer.0.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut lengths = Vec::new();
        for _ in calls {
            let mut mark = [0; 4];
            peer.0.read_exact(&mut mark).unwrap();
            let mut reply = vec![0; (u32::from_be_bytes(mark) & 0x7fff_ffff) as usize];
            peer.0.read_exact(&mut reply).unwrap();
            lengths.push(reply.len());
            if let Some(data) = reply.get(28..) {
                let byte = data[data.len() / 2];
                assert!(data.len() == LARGE_BYTES && data.iter().all(|each| *each == byte));
            }
            // The next pages are evicted, where the file system does that, and have to be looked at again.
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            std::thread::sleep(Duration::from_millis(150));
        }
        lengths.sort_unstable();
        (peer, lengths)
    });
    let (peer, lengths) = read.await.unwrap();
    const LARGE_REPLY: usize = 28 + LARGE_BYTES;
    assert_eq!(lengths, [24, 24, LARGE_REPLY, LARGE_REPLY, LARGE_REPLY, LARGE_REPLY]);
    assert_eq!(fixture.script.open_files.free(), OPEN_FILES);
    drop(peer);
    fixture.connections_open(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_ends_whose_data_is_not_there_any_more() {
    let fixture = Fixture::new(|_| {}).await;
    let peer = fixture.peer(1, &[PAGES; 8]).taste();
    rustix::fs::ftruncate(&fixture.script.file, 1000).unwrap();
    peer.ended();
    fixture.connections_open(0).await;
    assert_eq!(fixture.script.open_files.free(), OPEN_FILES);
}

/// Peers come from several addresses, more than one may have connections.
const PEERS: usize = 300;

async fn each_ends(fixture: &Arc<Fixture>, end: impl Fn(&Fixture, u8) + Send + 'static) {
    let peers = fixture.clone();
    spawn_blocking(move || (0..PEERS).for_each(|peer| end(&peers, if peer < 260 { 1 } else { 2 })))
        .await
        .unwrap();
    fixture.connections_open(0).await;
    fixture.orphans(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permit_is_free_after_a_reply_that_was_not_read() {
    let fixture =
        Arc::new(Fixture::new(|settings| settings.max_connections_per_client = 256).await);
    each_ends(&fixture, |fixture, last| drop(fixture.peer(last, &[LARGE, NULL, LARGE]).taste()))
        .await;
    each_ends(&fixture, |fixture, last| fixture.peer(last, &[LARGE]).taste().reset()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permit_is_free_after_a_connection_that_was_never_read_from() {
    let fixture = Arc::new(Fixture::new(|_| {}).await);
    each_ends(&fixture, |fixture, last| drop(fixture.peer(last, &[NULL; 300]))).await;
    each_ends(&fixture, |fixture, last| fixture.peer(last, &[]).reset()).await;
    each_ends(&fixture, |fixture, last| drop(fixture.peer(last, &[PANIC; 3]))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permit_is_free_after_the_write_timeout() {
    let fixture = Fixture::new(|settings| settings.write_timeout = Duration::from_millis(50)).await;
    let peers: Vec<_> = (0..20).map(|_| fixture.peer(1, &[LARGE; 8])).collect();
    until(|| fixture.shared.connections.taken() == 0).await;
    drop(peers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_a_byte_at_a_time_is_cut_off_too() {
    let fixture =
        Fixture::new(|settings| settings.write_timeout = Duration::from_millis(300)).await;
    let peer = fixture.peer(1, &[LARGE; 8]).taste();
    let mut reader = peer.0.try_clone().unwrap();
    let slow = spawn_blocking(move || {
        while reader.read(&mut [0; 64]).is_ok_and(|read| read > 0) {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    fixture.connections_open(0).await;
    peer.0.shutdown(std::net::Shutdown::Both).unwrap();
    slow.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permit_is_free_after_half_a_close() {
    let fixture = Fixture::new(|_| {}).await;
    let peer = fixture.peer(1, &[NULL; 10]);
    peer.0.shutdown(std::net::Shutdown::Write).unwrap();
    fixture.connections_open(0).await;
    drop(peer.taste());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permit_is_free_while_a_call_of_its_connection_goes_on() {
    let fixture = Fixture::new(|settings| settings.calls_per_connection = 4).await;
    // The second is not read from any more, as it has all the calls that it may have.
    for calls in [1, 4] {
        drop(fixture.peer(1, &vec![CHANGE; calls]));
    }
    fixture.begun(5).await;
    fixture.connections_open(0).await;
    fixture.orphans(5).await;
    fixture.script.gate.add_permits(5);
    fixture.orphans(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_may_be_repeated_does_not_outlive_its_connection_for_long() {
    let fixture = Fixture::new(|_| {}).await;
    drop(fixture.peer(1, &[WAIT; 40]));
    fixture.begun(40).await;
    fixture.connections_open(0).await;
    fixture.orphans(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_many_orphaned_calls_begins_no_more() {
    let fixture = Fixture::new(|settings| settings.calls_per_connection = 2).await;
    let bound = 2 * crate::net::ORPHANED_CONNECTIONS_PER_CLIENT;
    for begun in 1..=bound {
        let _ends = fixture.peer(1, &[CHANGE]);
        fixture.begun(begun).await;
    }
    fixture.orphans(bound).await;
    let mut held = fixture.peer(1, &[NULL]);
    fixture.peer(2, &[NULL]).taste();
    held.0.set_nonblocking(true).unwrap();
    assert!(held.0.read(&mut [0; 16]).is_err(), "the client waits");
    held.0.set_nonblocking(false).unwrap();
    fixture.script.gate.add_permits(bound);
    held.taste();
}

#[tokio::test]
async fn a_stop_waits_seconds_for_peers_that_do_not_read() {
    let fixture = Fixture::new(|settings| settings.write_timeout = PATIENCE).await;
    let peer = fixture.peer(1, &[LARGE; 8]);
    fixture.connections_open(1).await;
    let peer = spawn_blocking(move || peer.taste()).await.unwrap();
    tokio::time::pause();
    let began = Instant::now();
    fixture.shared.drain.cancel();
    until(|| fixture.shared.connections.taken() == 0).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(peer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_peer_without_a_valid_handle_gives_way_to_a_new_one() {
    let fixture = Fixture::new(|settings| settings.unproven_connections = 3).await;
    let clients: Vec<_> = (0..5).map(|_| fixture.peer(1, &[VALID]).taste()).collect();
    let strangers: Vec<_> = (1..=3).map(|last| fixture.peer(last, &[NULL]).taste()).collect();
    let _next = [fixture.peer(4, &[NULL]).taste(), fixture.peer(4, &[NULL]).taste()];
    let mut strangers = strangers.into_iter();
    strangers.by_ref().take(2).for_each(Peer::ended);
    let rest: Vec<_> = strangers.chain(clients).collect();
    assert!(rest.iter().all(Peer::is_open));
    fixture.connections_open(8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_calls_ends() {
    let fixture = Fixture::new(|settings| settings.idle_timeout = Duration::from_millis(300)).await;
    let busy = fixture.peer(1, &[CHANGE]);
    fixture.begun(1).await;
    let began = Instant::now();
    fixture.peer(1, &[]).ended();
    fixture.peer(1, &[VALID]).taste().ended();
    assert!(began.elapsed() >= Duration::from_millis(600));
    assert!(busy.is_open(), "a call is in flight");
    fixture.script.gate.add_permits(1);
    busy.taste().ended();
    fixture.connections_open(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_end_whose_client_is_admitted_no_more() {
    let networks = |last: u8| [ipnet::IpNet::from(IpAddr::from([127, 0, 0, last]))];
    let fixture =
        Fixture::new(|settings| settings.admission = Admission::new(&networks(2), &[])).await;
    let probe = fixture.peer(1, &[NULL]).taste();
    let client = fixture.peer(2, &[VALID, LARGE, CHANGE]).taste();
    fixture.begun(1).await;
    fixture.handle.set_admission(Admission::new(&networks(3), &[]));
    client.ended();
    fixture.connections_open(1).await;
    assert!(probe.is_open(), "it was no client before either");
    fixture.script.gate.add_permits(1);
    fixture.orphans(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_from_an_address_that_is_not_admitted_is_reset() {
    let client = ipnet::IpNet::from(IpAddr::from([127, 0, 0, 2]));
    let fixture =
        Fixture::new(|settings| settings.admission = Admission::without_own(&[client])).await;
    for _ in 0..3 {
        let mut stranger = fixture.peer(3, &[]);
        stranger.0.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(stranger.0.read(&mut [0; 16]).unwrap_err().kind(), ConnectionReset);
        fixture.peer(2, &[NULL]).taste();
    }
    fixture.connections_open(0).await;
}
