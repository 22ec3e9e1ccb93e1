use bytes::Bytes;

use super::*;
use crate::rpc::Standing;
use crate::types::Caller;

const NFS: u32 = 100_003;
const MOUNT: u32 = 100_005;

fn listening(address: &str) -> Vec<PortMapper> {
    let address: SocketAddr = address.parse().unwrap();
    let mapping = |program, version, protocol| Mapping { program, version, protocol, address };
    let programs = [
        mapping(NFS, 3, Protocol::Tcp),
        mapping(MOUNT, 3, Protocol::Tcp),
        mapping(MOUNT, 1, Protocol::Tcp),
        mapping(MOUNT, 3, Protocol::Udp),
    ];
    let own = [Protocol::Tcp, Protocol::Udp]
        .map(|protocol| (protocol, SocketAddr::new(address.ip(), PORT)));
    PortMapper::versions(&programs, &own)
}

fn mapper(version: u32) -> PortMapper {
    listening("0.0.0.0:2049").into_iter().find(|it| it.version == version).unwrap()
}

/// What GETADDR of version 4 gives where every address of both families is listened on.
#[tokio::test]
async fn an_ipv6_caller_gets_an_ipv6_address() {
    let mapper = listening("[::]:2049").pop().unwrap();
    let v6 = ("2001:db8::1", Protocol::Tcp);
    for (netid, way) in [(&b"tcp6"[..], v6), (b"tcp", v6), (b"tcp", TCP)] {
        let mut found = results(&mapper, way, 3, rpcb(NFS, 3, netid)).await;
        let found = found.opaque(MAX_STRING_BYTES).unwrap();
        assert_eq!(found, format!("{}.8.1", way.0).as_bytes(), "{way:?}");
    }
}

/// The reply to a call that came to `local`.
async fn reply(
    mapper: &PortMapper,
    (local, protocol): (&str, Protocol),
    procedure: u32,
    arguments: Encoder,
) -> Reply {
    let parts = arguments.finish();
    let arguments: Vec<u8> = parts.segments().iter().flatten().copied().collect();
    let caller = Caller::new(([10, 0, 0, 9], 700).into(), None, std::time::Duration::from_secs(9));
    let call = CallMessage {
        caller,
        arrival: Arrival { address: local.parse().unwrap(), protocol },
        standing: Standing::default(),
        procedure,
        arguments: Decoder::new(Bytes::from(arguments)),
    };
    mapper.call(call).await
}

async fn results(mapper: &PortMapper, way: (&str, Protocol), number: u32, of: Encoder) -> Decoder {
    let Reply::Success(results) = reply(mapper, way, number, of).await else {
        panic!("no results")
    };
    let bytes: Vec<u8> = results.segments().iter().flatten().copied().collect();
    Decoder::new(bytes.into())
}

const TCP: (&str, Protocol) = ("10.0.0.1", Protocol::Tcp);

async fn port(program: u32, version: u32, protocol: u32) -> u32 {
    let mut asked = Encoder::new();
    for item in [program, version, protocol, 0] {
        asked.u32(item);
    }
    results(&mapper(2), TCP, 3, asked).await.u32().unwrap()
}

fn rpcb(program: u32, version: u32, netid: &[u8]) -> Encoder {
    let mut asked = Encoder::new();
    asked.u32(program);
    asked.u32(version);
    for text in [netid, b"127.0.0.1.0.111", b"superuser"] {
        asked.opaque(text);
    }
    asked
}

async fn address(way: (&str, Protocol), number: u32, asked: Encoder) -> String {
    let mut found = results(&mapper(4), way, number, asked).await;
    String::from_utf8(found.opaque(MAX_STRING_BYTES).unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn getport_gives_the_port_of_a_program_and_protocol() {
    assert_eq!(port(NFS, 3, 6).await, 2049);
    assert_eq!(port(NFS, 3, 17).await, 0, "NFS is not served over UDP");
    assert_eq!(port(MOUNT, 3, 17).await, 2049);
    assert_eq!(port(NFS, 4, 6).await, 2049, "its caller learns the versions from PROG_MISMATCH");
    assert_eq!(port(PROGRAM, 2, 17).await, 111);
    assert_eq!((port(100_021, 4, 6).await, port(NFS, 3, 132).await), (0, 0));
}

#[tokio::test]
async fn getaddr_gives_the_address_that_the_caller_used() {
    assert_eq!(address(TCP, 3, rpcb(NFS, 3, b"tcp")).await, "10.0.0.1.8.1");
    assert_eq!(address(TCP, 3, rpcb(NFS, 3, b"tcp6")).await, "", "IPv6 is not listened on");
    let mapped = ("::ffff:10.0.0.1", Protocol::Udp);
    assert_eq!(address(mapped, 3, rpcb(MOUNT, 3, b"udp")).await, "10.0.0.1.8.1");
    assert_eq!(address(mapped, 3, rpcb(NFS, 3, b"tcp")).await, "10.0.0.1.8.1", "asked over UDP");
    assert_eq!(address(mapped, 3, rpcb(NFS, 3, b"")).await, "", "the call's own protocol");
    assert_eq!(
        address(mapped, 3, rpcb(MOUNT, 3, b"sctp")).await,
        "10.0.0.1.8.1",
        "unknown: the same"
    );
    assert_eq!(address(TCP, 3, rpcb(100_021, 4, b"tcp")).await, "");
}

#[tokio::test]
async fn getversaddr_wants_the_version() {
    assert_eq!(address(TCP, 9, rpcb(MOUNT, 1, b"tcp")).await, "10.0.0.1.8.1");
    assert_eq!(address(TCP, 9, rpcb(MOUNT, 2, b"tcp")).await, "");
    assert_eq!(address(TCP, 3, rpcb(MOUNT, 2, b"tcp")).await, "10.0.0.1.8.1");
    assert_eq!(mapper(3).procedure_name(9), None);
}

#[tokio::test]
async fn dump_lists_every_program_and_the_port_mapper() {
    let mut list = results(&mapper(2), TCP, 4, Encoder::new()).await;
    let mut entries = Vec::new();
    while list.boolean().unwrap() {
        entries.push([(); 4].map(|()| list.u32().unwrap()));
    }
    let own: Vec<_> =
        entries.iter().filter(|it| it[0] == PROGRAM).map(|it| (it[1], it[2])).collect();
    assert_eq!(own, [(4, 6), (4, 17), (3, 6), (3, 17), (2, 6), (2, 17)]);
    assert_eq!(
        entries[6..],
        [[NFS, 3, 6, 2049], [MOUNT, 3, 6, 2049], [MOUNT, 1, 6, 2049], [MOUNT, 3, 17, 2049]]
    );
}

#[tokio::test]
async fn a_socket_for_every_address_is_listed_for_both_families() {
    let mapper = listening("[::]:2049").pop().unwrap();
    let mut list = results(&mapper, TCP, 4, Encoder::new()).await;
    let mut found = Vec::new();
    while list.boolean().unwrap() {
        let program = (list.u32().unwrap(), list.u32().unwrap());
        let mut text = || String::from_utf8(list.opaque(128).unwrap().to_vec()).unwrap();
        let entry = (text(), text(), text());
        if program == (NFS, 3) {
            found.push(entry);
        }
    }
    let entry = |netid: &str, address: &str| (netid.into(), address.into(), "trunkfs".into());
    assert_eq!(found, [entry("tcp", "0.0.0.0.8.1"), entry("tcp6", "::.8.1")]);
}

#[tokio::test]
async fn nothing_is_registered_or_forwarded_for_anybody() {
    let mapping = || {
        let mut mapping = Encoder::new();
        [NFS, 3, 6, 1234].into_iter().for_each(|item| mapping.u32(item));
        mapping
    };
    for number in [1, 2] {
        assert!(!results(&mapper(2), TCP, number, mapping()).await.boolean().unwrap());
        assert!(!results(&mapper(4), TCP, number, rpcb(NFS, 3, b"tcp")).await.boolean().unwrap());
    }
    let udp = ("10.0.0.1", Protocol::Udp);
    for (version, number) in [(2, 5), (3, 5), (4, 5), (4, 10)] {
        let tcp = reply(&mapper(version), TCP, number, mapping()).await;
        assert!(matches!(tcp, Reply::ProcedureUnavailable), "{version} {number}: {tcp:?}");
        let udp = reply(&mapper(version), udp, number, mapping()).await;
        assert!(matches!(udp, Reply::Dropped), "{version} {number}: {udp:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_decoded_is_garbage() {
    let long = rpcb(NFS, 3, &[b'x'; MAX_STRING_BYTES + 1]);
    assert!(matches!(reply(&mapper(4), TCP, 3, long).await, Reply::GarbageArguments));
    let short = Encoder::new();
    assert!(matches!(reply(&mapper(2), TCP, 3, short).await, Reply::GarbageArguments));
}
