//! A client's own port mapper and lock manager, on a loopback address that no other client has.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::{PATIENCE, Reader, Writer};
use crate::nfs::fixture::MAPPER_PORT;
use crate::nfs::rpc::{runtime, wait};

const NLM: u32 = 100_021;
const NSM: u32 = 100_024;
const PORTMAP: u32 = 100_000;
const PROC_UNAVAIL: u32 = 3;

/// How a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Tcp,
    Udp,
}

/// A call of the server.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) way: Way,
    pub(crate) version: u32,
    pub(crate) procedure: u32,
    pub(crate) from: SocketAddr,
    pub(crate) arguments: Vec<u8>,
}

impl Received {
    /// The arguments of GRANTED and GRANTED_MSG of version 4.
    pub(crate) fn granted(&self) -> Granted {
        let mut from = Reader::new(self.arguments.clone());
        let it = Granted {
            cookie: from.opaque(),
            exclusive: from.boolean(),
            caller_name: from.opaque(),
            handle: from.opaque(),
            oh: from.opaque(),
            svid: from.u32(),
            range: (from.u64(), from.u64()),
        };
        from.end();
        it
    }

    /// The arguments of a `_RES` without more than a status.
    pub(crate) fn result(&self) -> (Vec<u8>, u32) {
        let mut from = Reader::new(self.arguments.clone());
        let it = (from.opaque(), from.u32());
        from.end();
        it
    }
}

/// What GRANTED is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) cookie: Vec<u8>,
    pub(crate) exclusive: bool,
    pub(crate) caller_name: Vec<u8>,
    pub(crate) handle: Vec<u8>,
    pub(crate) oh: Vec<u8>,
    pub(crate) svid: u32,
    pub(crate) range: (u64, u64),
}

/// What the lock manager says to GRANTED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    Status(u32),
    Nothing,
    /// It knows GRANTED_MSG alone.
    Unavailable,
}

#[derive(Debug)]
struct State {
    says: Mutex<Says>,
    received: Mutex<VecDeque<Received>>,
    arrived: Notify,
    udp: u16,
    tcp: u16,
    is_v6: bool,
    /// Look-ups of the port.
    asked: AtomicU32,
    /// Of the status monitor; none: it does not run.
    status: Mutex<Option<u32>>,
}

/// A client's programs. They end when it is dropped.
#[derive(Debug)]
pub(crate) struct Manager {
    pub(crate) address: IpAddr,
    /// Where its port mapper listens.
    pub(crate) mapper: u16,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

/// An address that no other client of this process has, and hardly one of another.
pub(crate) fn fresh_address() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let process = u8::try_from(64 + std::process::id() % 128).unwrap();
    let [_, _, high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(127, process, high, low).into()
}

impl Manager {
    pub(crate) fn start() -> Self {
        Self::start_at(fresh_address(), MAPPER_PORT)
    }

    /// The same at any address, with a port mapper at any port; 0: at one that is free.
    pub(crate) fn start_at(address: IpAddr, mapper: u16) -> Self {
        wait(async move {
            let own = SocketAddr::new(address, 0);
            let udp = UdpSocket::bind(own).await.unwrap();
            let tcp = TcpListener::bind(own).await.unwrap();
            let state = Arc::new(State {
                says: Mutex::new(Says::Status(0)),
                received: Mutex::default(),
                arrived: Notify::new(),
                udp: udp.local_addr().unwrap().port(),
                tcp: tcp.local_addr().unwrap().port(),
                is_v6: address.is_ipv6(),
                asked: AtomicU32::new(0),
                status: Mutex::new(None),
            });
            let map_tcp = TcpListener::bind(SocketAddr::new(address, mapper)).await.unwrap();
            let mapper = map_tcp.local_addr().unwrap();
            let map_udp = UdpSocket::bind(mapper).await.unwrap();
            let mut tasks = JoinSet::new();
            for (socket, is_mapper) in [(udp, false), (map_udp, true)] {
                tasks.spawn_on(datagrams(socket, state.clone(), is_mapper), runtime().handle());
            }
            for (listener, is_mapper) in [(tcp, false), (map_tcp, true)] {
                tasks.spawn_on(streams(listener, state.clone(), is_mapper), runtime().handle());
            }
            Self { address, mapper: mapper.port(), state, _tasks: tasks }
        })
    }

    /// What is said to GRANTED from now on.
    pub(crate) fn says(&self, says: Says) {
        *self.state.says.lock().unwrap() = says;
    }

    /// The client's status monitor runs from now on, in this state.
    pub(crate) fn is_in_state(&self, state: u32) {
        *self.state.status.lock().unwrap() = Some(state);
    }

    /// The next call of the server.
    pub(crate) fn called(&self) -> Received {
        wait(async {
            let next = async {
                loop {
                    let arrived = self.state.arrived.notified();
                    if let Some(call) = self.state.received.lock().unwrap().pop_front() {
                        return call;
                    }
                    arrived.await;
                }
            };
            timeout(PATIENCE, next).await.expect("a call of the server")
        })
    }

    /// Calls that came and were not looked at.
    pub(crate) fn pending(&self) -> usize {
        self.state.received.lock().unwrap().len()
    }

    /// How often the port was asked for.
    pub(crate) fn asked(&self) -> u32 {
        self.state.asked.load(Ordering::SeqCst)
    }
}

async fn datagrams(socket: UdpSocket, state: Arc<State>, is_mapper: bool) {
    let mut bytes = vec![0; 65_536];
    loop {
        let (length, from) = socket.recv_from(&mut bytes).await.unwrap();
        if let Some(reply) = state.answer(&bytes[..length], from, Way::Udp, is_mapper) {
            socket.send_to(&reply, from).await.unwrap();
        }
    }
}

async fn streams(listener: TcpListener, state: Arc<State>, is_mapper: bool) {
    loop {
        let (stream, from) = listener.accept().await.unwrap();
        tokio::spawn(stream_of(stream, from, state.clone(), is_mapper));
    }
}

async fn stream_of(mut stream: TcpStream, from: SocketAddr, state: Arc<State>, is_mapper: bool) {
    while let Ok(mark) = stream.read_u32().await {
        let mut call = vec![0; (mark & 0x7fff_ffff) as usize];
        if stream.read_exact(&mut call).await.is_err() {
            return;
        }
        if let Some(reply) = state.answer(&call, from, Way::Tcp, is_mapper) {
            let mark = u32::try_from(reply.len()).unwrap() | 0x8000_0000;
            let record = [&mark.to_be_bytes(), &reply[..]].concat();
            if stream.write_all(&record).await.is_err() {
                return;
            }
        }
    }
}

impl State {
    fn answer(&self, call: &[u8], from: SocketAddr, way: Way, is_mapper: bool) -> Option<Vec<u8>> {
        let mut call = Reader::new(call.to_vec());
        let xid = call.u32();
        assert_eq!((call.u32(), call.u32()), (0, 2), "a call of RPC version 2");
        let (program, version, procedure) = (call.u32(), call.u32(), call.u32());
        for _ in ["credentials", "verifier"] {
            call.u32();
            call.opaque();
        }
        let reply =
            |status| [1, 0, 0, 0, status].into_iter().fold(Writer::new().u32(xid), Writer::u32);
        if is_mapper {
            return Some(self.port(program, version, procedure, &mut call, reply(0)));
        }
        if program == NSM {
            assert_eq!((version, procedure, way), (1, 1, Way::Udp), "SM_STAT");
            return (*self.status.lock().unwrap())
                .map(|state| reply(0).u32(0).u32(state).into_bytes());
        }
        assert_eq!(program, NLM);
        if procedure == 0 {
            return Some(reply(0).into_bytes());
        }
        let arguments = call.fixed(call.remaining());
        let received = Received { way, version, procedure, from, arguments };
        let cookie = Reader::new(received.arguments.clone()).opaque();
        // What is said from now on is for later calls.
        let says = *self.says.lock().unwrap();
        self.received.lock().unwrap().push_back(received);
        self.arrived.notify_one();
        match (procedure, says) {
            (5, Says::Status(status)) => Some(reply(0).opaque(&cookie).u32(status).into_bytes()),
            (5, Says::Unavailable) => Some(reply(PROC_UNAVAIL).into_bytes()),
            (5, Says::Nothing) => None,
            _ => Some(reply(0).into_bytes()),
        }
    }

    fn port(
        &self,
        program: u32,
        version: u32,
        procedure: u32,
        call: &mut Reader,
        reply: Writer,
    ) -> Vec<u8> {
        assert_eq!((program, procedure), (PORTMAP, 3), "GETPORT or GETADDR");
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.is_v6 {
            let asked = (version, call.u32(), call.u32(), call.opaque());
            assert_eq!(asked, (4, NLM, 4, b"tcp6".to_vec()), "GETADDR, which knows IPv6");
            let [high, low] = self.tcp.to_be_bytes();
            return reply.opaque(format!("::1.{high}.{low}").as_bytes()).into_bytes();
        }
        if version == 4 {
            // GETADDR, after GETPORT has said that there is no status monitor.
            return reply.opaque(b"").into_bytes();
        }
        let asked = call.u32();
        assert!([NLM, NSM].contains(&asked), "{asked}");
        call.u32();
        let port = match call.u32() {
            17 if asked == NSM && self.status.lock().unwrap().is_none() => 0,
            6 => self.tcp,
            17 => self.udp,
            other => panic!("protocol {other}"),
        };
        reply.u32(port.into()).into_bytes()
    }
}
