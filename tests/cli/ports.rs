//! How clients learn the ports: the port mapper that the server is itself, and calls over UDP.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::time::timeout;

use super::client::{Auth, Call, Connection, Outcome, Reply, Writer};
use super::port::Reserved;
use super::process::{Running, folder, patiently, run, trunkfs};

const PORTMAP: u32 = 100_000;
const NFS: u32 = 100_003;
const MOUNT: u32 = 100_005;
const NLM: u32 = 100_021;
const NSM: u32 = 100_024;
const TCP: u32 = 6;
const UDP: u32 = 17;

fn configuration(mode: &str, port: u16) -> String {
    format!(
        "server: {{ listen: '127.0.0.1:0', portmap: {mode}, portmap_port: {port} }}
metadata: {{ stores: {{ m: {{ type: memory }} }} }}
content: {{ stores: {{ c: {{ type: memory }} }} }}
shares: [ {{ name: /e, metadata_store: m, content_store: c, clients: [ {{ network: 127.0.0.0/8 }} ] }} ]"
    )
}

/// A client's socket for datagrams.
struct Datagrams(UdpSocket);

impl Datagrams {
    async fn open(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // A reply from any other address is not received.
        socket.connect(server).await.unwrap();
        Self(socket)
    }

    /// Sends a call until it is answered.
    async fn call(&self, call: Call) -> Reply {
        let call = call.encode(7);
        let mut reply = vec![0; 65_536];
        let answered = async {
            loop {
                self.0.send(&call).await.unwrap();
                let received = timeout(Duration::from_secs(5), self.0.recv(&mut reply)).await;
                if let Ok(bytes) = received {
                    return bytes.unwrap();
                }
            }
        };
        let bytes = patiently(answered).await;
        reply.truncate(bytes);
        Reply::decode(reply)
    }

    /// The first reply to one of two calls is to the second: the first is dropped.
    async fn only_the_second_is_answered(&self, first: &[u8], second: Call) {
        self.0.send(first).await.unwrap();
        self.call(second).await.results();
    }
}

fn getport(program: u32, protocol: u32) -> Call {
    let asked = Writer::new().u32(program).u32(3).u32(protocol).u32(0);
    Call::new(PORTMAP, 2, 3).arguments(asked)
}

#[tokio::test]
async fn a_server_that_is_the_port_mapper_is_mounted_without_ports() {
    let reserved = Reserved::new();
    let folder = folder(&configuration("serve", reserved.port));
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    assert_eq!(server.mounts, ["mount -t nfs 127.0.0.1:/e /mnt"]);
    let port = u32::from(server.address.port());

    let mut mapper = Connection::open(reserved.address()).await;
    let datagrams = Datagrams::open(reserved.address()).await;
    for (program, protocol, expected) in
        [(NFS, TCP, port), (NFS, UDP, 0), (MOUNT, TCP, port), (NLM, TCP, port), (100_011, TCP, 0)]
    {
        assert_eq!(mapper.call(getport(program, protocol)).await.results().u32(), expected);
        assert_eq!(datagrams.call(getport(program, protocol)).await.results().u32(), expected);
    }
    let nfs = mapper.call(Call::new(NFS, 3, 0)).await;
    assert!(nfs.outcome == Outcome::ProgramUnavailable, "its port has no other program: {nfs:?}");

    // MOUNT over UDP at the port that it tells.
    let mount = datagrams.call(getport(MOUNT, UDP)).await.results().u32();
    let mount = SocketAddr::new(server.address.ip(), mount.try_into().unwrap());
    let mount = Datagrams::open(mount).await;
    let mnt = |version| Call::new(MOUNT, version, 1).arguments(Writer::new().opaque(b"/e"));
    let mut root = mount.call(mnt(3)).await.results();
    assert_eq!(root.u32(), 0, "MNT3_OK");
    let refused = mount.call(mnt(1)).await;
    assert!(refused.outcome == Outcome::ProcedureUnavailable, "version 1 has no MNT: {refused:?}");
    for version in [1, 3] {
        let mut mounts = mount.call(Call::new(MOUNT, version, 2)).await.results();
        assert!(mounts.boolean());
        assert_eq!((mounts.opaque(), mounts.opaque()), (b"127.0.0.1".into(), b"/e".into()));
    }
    for (program, version) in [(NLM, 1), (NLM, 3), (NLM, 4), (NSM, 1)] {
        mount.call(Call::new(program, version, 0)).await.results().end();
    }
    let nfs = mount.call(Call::new(NFS, 3, 0)).await;
    assert!(nfs.outcome == Outcome::ProgramUnavailable, "NFS is served over TCP alone: {nfs:?}");
    server.stop().await;
}

#[tokio::test]
async fn datagrams_that_are_no_calls_get_no_reply() {
    let reserved = Reserved::new();
    let folder = folder(&configuration("serve", reserved.port));
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    let datagrams = Datagrams::open(reserved.address()).await;
    let null = || Call::new(PORTMAP, 2, 0);
    // CALLIT would forward a call, and is too good a tool for who forges addresses.
    let callit =
        Call::new(PORTMAP, 2, 5).arguments(Writer::new().u32(MOUNT).u32(3).u32(0).opaque(b""));
    let long = Call::new(PORTMAP, 2, 0).arguments(vec![0; 8 << 10]);
    let reply = [[0, 0, 0, 7], [0, 0, 0, 1], [0; 4], [0; 4], [0; 4], [0; 4]].concat();
    for dropped in [callit.encode(1), long.encode(1), reply, Vec::new(), vec![0; 7]] {
        datagrams.only_the_second_is_answered(&dropped, null()).await;
    }
    server.stop().await;
}

/// What the whole server says of itself.
#[tokio::test]
async fn a_port_mapper_lists_all_programs_and_knows_three_versions() {
    let reserved = Reserved::new();
    let folder = folder(&configuration("serve", reserved.port));
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    let mut mapper = Connection::open(reserved.address()).await;
    let datagrams = Datagrams::open(reserved.address()).await;
    for credentials in [Auth::none(), Auth::sys(0, 0), Auth::sys(1000, 1000)] {
        let null = || Call::new(PORTMAP, 2, 0).credentials(credentials.clone());
        mapper.call(null()).await.results().end();
        datagrams.call(null()).await.results().end();
    }
    for version in [0, 1, 5] {
        let expected = Outcome::ProgramMismatch { low: 2, high: 4 };
        let null = || Call::new(PORTMAP, version, 0);
        assert_eq!(mapper.call(null()).await.outcome, expected, "version {version}");
        assert_eq!(datagrams.call(null()).await.outcome, expected, "version {version}");
    }
    // Nobody's SET or UNSET changes it.
    for number in [1, 2] {
        let mapping = Writer::new().u32(NFS).u32(3).u32(TCP).u32(9);
        let mut answer =
            mapper.call(Call::new(PORTMAP, 2, number).arguments(mapping)).await.results();
        assert!(!answer.boolean());
    }
    let mut list = mapper.call(Call::new(PORTMAP, 2, 4)).await.results();
    let mut entries = Vec::new();
    while list.boolean() {
        entries.push((list.u32(), list.u32(), list.u32()));
        assert_ne!(list.u32(), 0, "the port");
    }
    list.end();
    entries.sort_unstable();
    let mut expected = vec![(NFS, 3, TCP)];
    for (program, versions) in
        [(PORTMAP, &[2, 3, 4][..]), (MOUNT, &[1, 3]), (NLM, &[1, 3, 4]), (NSM, &[1])]
    {
        let each = |version: &u32| [TCP, UDP].map(|way| (program, *version, way));
        expected.extend(versions.iter().flat_map(each));
    }
    expected.sort_unstable();
    assert_eq!(entries, expected);
    server.stop().await;
}

#[tokio::test]
async fn a_reply_as_a_datagram_comes_from_the_address_that_was_asked() {
    let reserved = Reserved::new();
    let text = configuration("serve", reserved.port).replace("127.0.0.1:0", "0.0.0.0:0");
    let folder = folder(&text);
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    for address in ["127.0.0.1", "127.0.0.2"] {
        let asked = SocketAddr::new(address.parse().unwrap(), reserved.port);
        Datagrams::open(asked).await.call(getport(NFS, TCP)).await.results();
    }
    server.stop().await;
}

#[tokio::test]
async fn a_port_mapper_that_cannot_listen_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = folder(&configuration("serve", port));
    let finished = run(trunkfs(folder.path(), &["serve", "--config", "t.yaml"])).await;
    finished.failed_with(
        1,
        &["server.portmap: serve", &format!("127.0.0.1:{port}"), "rpcbind", "CAP_NET_BIND_SERVICE"],
    );
}

#[tokio::test]
async fn on_loopback_nothing_is_mapped_by_itself() {
    let folder = folder(&configuration("auto", 111));
    let server = Running::start(folder.path(), &["--config", "t.yaml"], 1).await;
    let port = server.address.port();
    assert!(server.mounts[0].contains(&format!("port={port},mountport={port}")), "{server:?}");
    server.stop().await;
}
