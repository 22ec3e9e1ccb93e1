//! A client of the lock manager: calls with every field to choose, from an address of its own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::manager::{Manager, Way};
use crate::client::{Auth, Call, Outcome, PATIENCE, Reader, Reply, Writer};
use crate::nfs::fixture::{Fs, TestServer};
use crate::nfs::rpc::{Wire, user, wait};

pub(crate) const NLM: u32 = 100_021;
pub(crate) const NSM: u32 = 100_024;

pub(crate) const GRANTED: u32 = 0;
pub(crate) const DENIED: u32 = 1;
pub(crate) const NOLOCKS: u32 = 2;
pub(crate) const BLOCKED: u32 = 3;
pub(crate) const GRACE: u32 = 4;
pub(crate) const DEADLCK: u32 = 5;
pub(crate) const STALE_FH: u32 = 7;
pub(crate) const FBIG: u32 = 8;
pub(crate) const FAILED: u32 = 9;

pub(crate) const TEST: u32 = 1;
pub(crate) const LOCK: u32 = 2;
pub(crate) const CANCEL: u32 = 3;
pub(crate) const UNLOCK: u32 = 4;
/// From a procedure to its message form.
pub(crate) const MESSAGE: u32 = 5;
/// From a procedure to the one that brings its results.
pub(crate) const RESPONSE: u32 = 10;

/// A client. Clones are of the same machine.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) manager: Arc<Manager>,
    pub(crate) name: Vec<u8>,
    pub(crate) version: u32,
    pub(crate) way: Way,
    pub(crate) auth: Auth,
    /// Where the server takes calls as datagrams.
    pub(crate) udp: SocketAddr,
    wire: Wire,
}

impl Host {
    pub(crate) fn new(t: &Fs) -> Self {
        Self::of(&t.server)
    }

    /// A client of any server.
    pub(crate) fn of(of: &TestServer) -> Self {
        Self::with(Manager::start(), of)
    }

    /// One with programs that run already.
    pub(crate) fn with(manager: Manager, of: &TestServer) -> Self {
        let manager = Arc::new(manager);
        let wire = Wire::open_from(manager.address, of.address);
        let name = format!("host{}", manager.address).into_bytes();
        let (udp, auth) = (of.udp, user(1000, 1000, &[]));
        Self { manager, name, version: 4, way: Way::Tcp, auth, udp, wire }
    }

    pub(crate) fn address(&self) -> IpAddr {
        self.manager.address
    }

    /// The same by another address of the server.
    pub(crate) fn by(&self, server: SocketAddr) -> Self {
        let wire = Wire::open_from(self.address(), server);
        Self { wire, ..self.clone() }
    }

    pub(crate) fn named(&self, name: &[u8]) -> Self {
        Self { name: name.to_vec(), ..self.clone() }
    }

    pub(crate) fn version(&self, version: u32) -> Self {
        Self { version, ..self.clone() }
    }

    pub(crate) fn auth(&self, auth: Auth) -> Self {
        Self { auth, ..self.clone() }
    }

    pub(crate) fn over(&self, way: Way) -> Self {
        Self { way, ..self.clone() }
    }

    /// A lock of byte 0 to the end, exclusive, of svid 1.
    pub(crate) fn ask<'a>(&'a self, file: &'a [u8]) -> Ask<'a> {
        Ask {
            host: self,
            file,
            cookie: vec![0xc0, 0, 0, 1],
            svid: 1,
            range: (0, 0),
            exclusive: true,
            block: false,
            reclaim: false,
            state: 1,
        }
    }

    pub(crate) fn prepare(&self, procedure: u32, arguments: Writer) -> Call {
        let call = Call::new(NLM, self.version, procedure);
        call.credentials(self.auth.clone()).arguments(arguments)
    }

    /// A call of NLM by the host's way.
    pub(crate) fn call(&self, procedure: u32, arguments: Writer) -> Outcome {
        self.send(self.prepare(procedure, arguments))
    }

    /// A call of NSM.
    pub(crate) fn monitor(&self, procedure: u32, arguments: Writer) -> Outcome {
        self.send(Call::new(NSM, 1, procedure).credentials(Auth::none()).arguments(arguments))
    }

    fn send(&self, call: Call) -> Outcome {
        match self.way {
            Way::Tcp => self.wire.call(call),
            Way::Udp => Port::new(self).call(&call),
        }
    }

    /// SM_NOTIFY.
    pub(crate) fn notify(&self, name: &[u8], state: u32) {
        let reply = self.monitor(6, Writer::new().opaque(name).u32(state));
        assert_eq!(reply, Outcome::Success(Vec::new()));
    }

    /// FREE_ALL.
    pub(crate) fn free_all(&self, name: &[u8]) {
        let reply = self.call(23, Writer::new().opaque(name).u32(3));
        assert_eq!(reply, Outcome::Success(Vec::new()));
    }
}

/// A socket for datagrams with a port of its own.
#[derive(Debug)]
pub(crate) struct Port(UdpSocket);

impl Port {
    pub(crate) fn new(host: &Host) -> Self {
        wait(async {
            let socket = UdpSocket::bind(SocketAddr::new(host.address(), 0)).await.unwrap();
            socket.connect(host.udp).await.unwrap();
            Self(socket)
        })
    }

    /// Sends a call until it is answered; its copies have the same xid.
    pub(crate) fn call(&self, call: &Call) -> Outcome {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let xid = call.xid.unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed));
        let bytes = call.encode(xid);
        let mut reply = vec![0; 65_536];
        wait(async {
            let answered = async {
                loop {
                    self.0.send(&bytes).await.unwrap();
                    let received = timeout(Duration::from_secs(10), self.0.recv(&mut reply)).await;
                    if let Ok(length) = received {
                        let reply = Reply::decode(reply[..length.unwrap()].to_vec());
                        if reply.xid == xid {
                            return reply.outcome;
                        }
                    }
                }
            };
            timeout(PATIENCE, answered).await.expect("a reply by a datagram")
        })
    }
}

/// A lock that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    host: &'a Host,
    file: &'a [u8],
    pub(crate) cookie: Vec<u8>,
    svid: u32,
    range: (u64, u64),
    exclusive: bool,
    block: bool,
    reclaim: bool,
    state: u32,
}

/// Who is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) exclusive: bool,
    pub(crate) svid: u32,
    pub(crate) oh: Vec<u8>,
    pub(crate) range: (u64, u64),
}

impl Ask<'_> {
    pub(crate) fn svid(self, svid: u32) -> Self {
        Self { svid, ..self }
    }

    /// Offset and length.
    pub(crate) fn range(self, offset: u64, length: u64) -> Self {
        Self { range: (offset, length), ..self }
    }

    pub(crate) fn shared(self) -> Self {
        Self { exclusive: false, ..self }
    }

    pub(crate) fn block(self) -> Self {
        Self { block: true, ..self }
    }

    pub(crate) fn reclaim(self) -> Self {
        Self { reclaim: true, state: 0, ..self }
    }

    pub(crate) fn state(self, state: u32) -> Self {
        Self { state, ..self }
    }

    pub(crate) fn cookie(self, cookie: &[u8]) -> Self {
        Self { cookie: cookie.to_vec(), ..self }
    }

    /// The oh of an owner: as Linux makes it.
    pub(crate) fn oh(&self) -> Vec<u8> {
        [format!("{}@", self.svid).as_bytes(), &self.host.name].concat()
    }

    fn lock_of(&self, to: Writer) -> Writer {
        let to = to.opaque(&self.host.name).opaque(self.file).opaque(&self.oh()).u32(self.svid);
        let (offset, length) = self.range;
        if self.host.version == 4 {
            return to.u64(offset).u64(length);
        }
        to.u32(offset.try_into().unwrap()).u32(length.try_into().unwrap())
    }

    /// The arguments of a procedure, whichever its form.
    pub(crate) fn arguments(&self, procedure: u32) -> Writer {
        let to = Writer::new().opaque(&self.cookie);
        let (block, exclusive) = (self.block, self.exclusive);
        match procedure % MESSAGE {
            TEST => self.lock_of(to.boolean(exclusive)),
            // NM_LOCK too, which is 22.
            LOCK => {
                let to = self.lock_of(to.boolean(block).boolean(exclusive));
                to.boolean(self.reclaim).u32(self.state)
            }
            CANCEL => self.lock_of(to.boolean(block).boolean(exclusive)),
            UNLOCK => self.lock_of(to),
            other => panic!("procedure {other}"),
        }
    }

    /// The call, to be sent again and again.
    pub(crate) fn prepare(&self, procedure: u32) -> Call {
        self.host.prepare(procedure, self.arguments(procedure))
    }

    fn status(&self, procedure: u32) -> u32 {
        let mut results = self.results(procedure);
        let status = results.u32();
        results.end();
        status
    }

    fn results(&self, procedure: u32) -> Reader {
        let outcome = self.host.call(procedure, self.arguments(procedure));
        let Outcome::Success(results) = outcome else { panic!("{procedure}: {outcome:?}") };
        let mut results = Reader::new(results);
        assert_eq!(results.opaque(), self.cookie, "the cookie");
        results
    }

    pub(crate) fn lock(&self) -> u32 {
        self.status(LOCK)
    }

    pub(crate) fn nm_lock(&self) -> u32 {
        self.status(22)
    }

    pub(crate) fn unlock(&self) -> u32 {
        self.status(UNLOCK)
    }

    pub(crate) fn cancel(&self) -> u32 {
        self.status(CANCEL)
    }

    /// TEST: nothing in the way, or who.
    pub(crate) fn test(&self) -> Result<(), Holder> {
        match self.tested() {
            (GRANTED, None) => Ok(()),
            (DENIED, Some(holder)) => Err(holder),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn tested(&self) -> (u32, Option<Holder>) {
        let mut results = self.results(TEST);
        let status = results.u32();
        let wide = self.host.version == 4;
        let holder = (status == DENIED).then(|| Holder {
            exclusive: results.boolean(),
            svid: results.u32(),
            oh: results.opaque(),
            range: if wide {
                (results.u64(), results.u64())
            } else {
                (results.u32().into(), results.u32().into())
            },
        });
        results.end();
        (status, holder)
    }

    /// The message form of a procedure, which gets a void reply.
    pub(crate) fn message(&self, procedure: u32) {
        let outcome = self.host.call(procedure + MESSAGE, self.arguments(procedure));
        assert_eq!(outcome, Outcome::Success(Vec::new()));
    }

    /// SHARE or UNSHARE.
    pub(crate) fn share(&self, procedure: u32, mode: u32, access: u32) -> u32 {
        let to = Writer::new().opaque(&self.cookie).opaque(&self.host.name).opaque(self.file);
        let to = to.opaque(&self.oh()).u32(mode).u32(access).boolean(false);
        let outcome = self.host.call(procedure, to);
        let Outcome::Success(results) = outcome else { panic!("{outcome:?}") };
        let mut results = Reader::new(results);
        assert_eq!(results.opaque(), self.cookie, "the cookie");
        let status = results.u32();
        assert_eq!(results.u32(), 0, "the sequence");
        results.end();
        status
    }
}

/// A client whose port mapper and lock manager are gone.
#[derive(Debug)]
pub(crate) struct Dead(Wire);

impl Dead {
    pub(crate) fn new(t: &Fs) -> Self {
        Self::of(&t.server)
    }

    pub(crate) fn of(server: &TestServer) -> Self {
        Self(Wire::open_from(super::manager::fresh_address(), server.address))
    }

    /// LOCK of another host's lock, in this one's name.
    pub(crate) fn lock(&self, ask: &Ask<'_>) -> u32 {
        let Outcome::Success(results) = self.0.call(ask.prepare(LOCK)) else { panic!("no answer") };
        let mut results = Reader::new(results);
        assert_eq!(results.opaque(), ask.cookie);
        results.u32()
    }
}
