use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};

use super::*;
use crate::rpc::Protocol;

const MOUNT: u32 = 100_005;

/// A rpcbind that keeps what it is told, with the rules of rpcbind(8): SET of an entry with another address
/// fails, UNSET takes any.
#[derive(Debug, Default)]
struct Scripted(Mutex<BTreeMap<(u32, u32, String), String>>);

struct Fixture {
    folder: tempfile::TempDir,
    server: Arc<Scripted>,
}

impl Scripted {
    fn answer(&self, mut call: Decoder) -> Encoder {
        let xid = call.u32().unwrap();
        let header = [(); 9].map(|()| call.u32().unwrap());
        assert_eq!(header[..4], [0, 2, PROGRAM, VERSION]);
        let mut reply = Encoder::new();
        [xid, 1, 0, 0, 0, 0].into_iter().for_each(|item| reply.u32(item));
        let mut entries = self.0.lock();
        match header[4] {
            NULL => {}
            DUMP => {
                for ((program, version, netid), address) in entries.iter() {
                    reply.boolean(true);
                    reply.u32(*program);
                    reply.u32(*version);
                    for text in [netid, address, "superuser"] {
                        reply.opaque(text.as_bytes());
                    }
                }
                reply.boolean(false);
            }
            procedure => {
                let entry = Entry::decode(&mut call).unwrap();
                let key = (entry.program, entry.version, entry.netid);
                let done = match procedure {
                    UNSET => entries.remove(&key).is_some(),
                    SET => entries.entry(key).or_insert(entry.address.clone()) == &entry.address,
                    _ => panic!("procedure {procedure}"),
                };
                reply.boolean(done);
            }
        }
        reply
    }

    fn entries(&self) -> Vec<String> {
        let entries = self.0.lock();
        entries
            .iter()
            .map(|((p, v, netid), address)| format!("{p} {v} {netid} {address}"))
            .collect()
    }

    fn set(&self, netid: &str, address: &str) {
        self.0.lock().insert((MOUNT, 3, netid.into()), address.into());
    }
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("rpcbind.sock")).unwrap();
        let server = Arc::new(Scripted::default());
        let answering = server.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let answering = answering.clone();
                tokio::spawn(async move {
                    while let Ok(mark) = stream.read_u32().await {
                        let mut call = vec![0; (mark & 0x7fff_ffff) as usize];
                        stream.read_exact(&mut call).await.unwrap();
                        let reply = answering.answer(Decoder::new(call.into()));
                        let length = u32::try_from(reply.len()).unwrap();
                        stream.write_u32(length | 0x8000_0000).await.unwrap();
                        for part in reply.finish().segments() {
                            stream.write_all(part).await.unwrap();
                        }
                    }
                });
            }
        });
        Self { folder, server }
    }

    fn rpcbind(&self) -> Rpcbind {
        Rpcbind { socket: self.folder.path().join("rpcbind.sock"), ..Rpcbind::default() }
    }
}

fn mappings(address: &str) -> Vec<Mapping> {
    let address = address.parse().unwrap();
    let mapping = |protocol| Mapping { program: MOUNT, version: 3, protocol, address };
    [Protocol::Tcp, Protocol::Udp].map(mapping).to_vec()
}

#[tokio::test]
async fn programs_are_registered_and_taken_back() {
    let fixture = Fixture::new();
    let rpcbind = fixture.rpcbind();
    assert!(rpcbind.answers().await);
    for _ in 0..2 {
        rpcbind.register(&mappings("0.0.0.0:2049")).await.unwrap();
        let entries = ["100005 3 tcp 0.0.0.0.8.1", "100005 3 udp 0.0.0.0.8.1"];
        assert_eq!(fixture.server.entries(), entries);
    }
    rpcbind.unregister(&mappings("0.0.0.0:2050")).await.unwrap();
    assert_eq!(fixture.server.entries().len(), 2, "another server's entries stay");
    rpcbind.unregister(&mappings("0.0.0.0:2049")).await.unwrap();
    assert_eq!(fixture.server.entries(), [""; 0]);
}

#[tokio::test]
async fn an_ipv6_socket_is_registered_for_both_families() {
    let fixture = Fixture::new();
    fixture.rpcbind().register(&mappings("[::]:2049")[..1]).await.unwrap();
    assert_eq!(fixture.server.entries(), ["100005 3 tcp 0.0.0.0.8.1", "100005 3 tcp6 ::.8.1"]);
}

#[tokio::test]
async fn a_stale_entry_gives_way() {
    let fixture = Fixture::new();
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let [high, low] = closed.local_addr().unwrap().port().to_be_bytes();
    fixture.server.set("tcp", &format!("0.0.0.0.{high}.{low}"));
    fixture.rpcbind().register(&mappings("0.0.0.0:2049")[..1]).await.unwrap();
    assert_eq!(fixture.server.entries(), ["100005 3 tcp 0.0.0.0.8.1"]);
}

/// The universal address of a program that answers any call.
async fn served() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let [high, low] = listener.local_addr().unwrap().port().to_be_bytes();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut call = [0; 44];
            stream.read_exact(&mut call).await.unwrap();
            let reply = b"\x80\0\0\x18trun\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
            stream.write_all(reply).await.unwrap();
        }
    });
    format!("0.0.0.0.{high}.{low}")
}

#[tokio::test]
async fn the_machines_own_lock_manager_and_statd_stay() {
    let fixture = Fixture::new();
    let served = served().await;
    let own = [(LOCK_MANAGER, 4), (STATUS_MONITOR, 1)];
    for (program, version) in own {
        fixture.server.0.lock().insert((program, version, "tcp".into()), served.clone());
    }
    let mut mappings = mappings("0.0.0.0:2049")[..1].to_vec();
    mappings.extend(own.map(|(program, version)| Mapping { program, version, ..mappings[0] }));
    let elsewhere = fixture.rpcbind().register(&mappings).await.unwrap();
    assert_eq!(elsewhere, Elsewhere { locks: true, status: true, statd: None });
    assert!(fixture.server.entries().contains(&"100005 3 tcp 0.0.0.0.8.1".to_owned()));
    fixture.rpcbind().unregister(&mappings).await.unwrap();
    let left = own.map(|(program, version)| format!("{program} {version} tcp {served}"));
    assert_eq!(fixture.server.entries(), left);
    fixture.server.0.lock().clear();
    let elsewhere = fixture.rpcbind().register(&mappings).await.unwrap();
    assert_eq!((elsewhere, fixture.server.entries().len()), (Elsewhere::default(), 3));
}

/// rpc.statd has a port of its own for datagrams.
#[tokio::test]
async fn a_statd_that_takes_datagrams_stays() {
    let fixture = Fixture::new();
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut call = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut call).await {
            assert_eq!(length, 40);
            let mut reply = [0; 24];
            reply[..4].copy_from_slice(&call[..4]);
            reply[7] = 1;
            socket.send_to(&reply, from).await.unwrap();
        }
    });
    let [high, low] = address.port().to_be_bytes();
    let served = format!("0.0.0.0.{high}.{low}");
    fixture.server.0.lock().insert((STATUS_MONITOR, 1, "udp".into()), served.clone());
    let mapping = mappings("0.0.0.0:2049")[0];
    let status =
        Mapping { program: STATUS_MONITOR, version: 1, protocol: Protocol::Udp, ..mapping };
    let elsewhere = fixture.rpcbind().register(&[status]).await.unwrap();
    assert_eq!(elsewhere, Elsewhere { status: true, statd: Some(address), ..Elsewhere::default() });
    assert_eq!(fixture.server.entries(), [format!("100024 1 udp {served}")]);
}

#[tokio::test]
async fn an_entry_that_is_served_stays() {
    let fixture = Fixture::new();
    let served = served().await;
    fixture.server.set("tcp", &served);
    let mut mappings = mappings("0.0.0.0:2049");
    mappings.insert(0, Mapping { program: 100_003, ..mappings[0] });
    let error = fixture.rpcbind().register(&mappings).await.unwrap_err();
    assert_eq!(fixture.server.entries(), [format!("100005 3 tcp {served}")], "none or all");
    let RpcbindError::Taken { address, owner, netid, .. } = error else { panic!("{error}") };
    assert_eq!((address, owner.as_str(), netid), (served, "superuser", "tcp"));
}

#[tokio::test(start_paused = true)]
async fn what_rpcbind_has_forgotten_is_registered_again() {
    let fixture = Fixture::new();
    let stop = CancellationToken::new();
    let registration = Arc::new(Registration::new(None));
    assert!(registration.problem().is_some());
    let watched = registration.clone();
    let keeping = fixture.rpcbind();
    let ends = stop.clone();
    let keeping = tokio::spawn(async move {
        keeping.keep(mappings("0.0.0.0:2049"), None, &watched, ends).await;
    });
    for _ in 0..2 {
        while fixture.server.entries().len() < 2 {
            sleep(Duration::from_secs(1)).await;
        }
        fixture.server.0.lock().clear();
    }
    while fixture.server.entries().len() < 2 {
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(registration.problem(), None);
    stop.cancel();
    keeping.await.unwrap();
    assert_eq!(fixture.server.entries(), [""; 0]);
}

#[tokio::test]
async fn without_rpcbind_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = closed.local_addr().unwrap();
    let rpcbind = Rpcbind { socket: folder.path().join("none"), address };
    assert!(!rpcbind.answers().await);
    let error = rpcbind.register(&mappings("0.0.0.0:2049")).await.unwrap_err();
    assert!(matches!(error, RpcbindError::Unavailable(_)), "{error}");
}
