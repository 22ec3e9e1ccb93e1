//! The raw client, waited for: the cases are plain functions, so that they read from top to bottom.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock, Mutex};

use tokio::runtime::{Builder, Runtime};

pub(crate) use crate::client::{Auth, Call, Connection, Outcome as Reply};

pub(crate) const NFS: u32 = 100_003;
pub(crate) const MOUNT: u32 = 100_005;

/// Runs servers and clients of all cases.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    });
    &RUNTIME
}

pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

/// A user named by AUTH_SYS.
pub(crate) fn user(uid: u32, gid: u32, gids: &[u32]) -> Auth {
    Auth::sys_with(b"client", uid, gid, gids)
}

/// A connection that several users of a test share.
#[derive(Clone, Debug)]
pub(crate) struct Wire(Arc<Mutex<Connection>>);

impl Wire {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self(Arc::new(Mutex::new(wait(Connection::open(address)))))
    }

    /// A connection from an address of one's own.
    pub(crate) fn open_from(client: IpAddr, address: SocketAddr) -> Self {
        Self(Arc::new(Mutex::new(wait(Connection::open_from(client, address)))))
    }

    /// A connection from a port of one's own, which no open connection has.
    pub(crate) fn open_at(client: SocketAddr, address: SocketAddr) -> Self {
        Self(Arc::new(Mutex::new(wait(Connection::open_at(client, address)))))
    }

    /// One call, and how it ended.
    pub(crate) fn call(&self, call: Call) -> Reply {
        wait(self.0.lock().unwrap().call(call)).outcome
    }

    /// One call and its whole reply.
    pub(crate) fn exchange(&self, xid: u32, call: &Call) -> Vec<u8> {
        let mut connection = self.0.lock().unwrap();
        wait(async {
            connection.send_record(&call.encode(xid)).await;
            connection.record().await
        })
    }
}
