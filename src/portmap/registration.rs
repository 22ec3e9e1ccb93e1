//! Whether clients find the server's programs by the machine's rpcbind, for those who watch the server.

use std::net::SocketAddr;

use parking_lot::Mutex;

use super::Elsewhere;
use crate::counters::{Measured, Readings};

/// What the last look at rpcbind came to.
#[derive(Debug)]
pub struct Registration(Mutex<Standing>);

#[derive(Debug)]
enum Standing {
    /// All is registered but what is elsewhere.
    Registered(Elsewhere),
    /// Nothing is, and why.
    Lost(String),
}

impl Registration {
    /// After the first look; `None`: it failed, and the log says why.
    #[must_use]
    pub fn new(registered: Option<Elsewhere>) -> Self {
        Self(Mutex::new(match registered {
            Some(elsewhere) => Standing::Registered(elsewhere),
            None => Standing::Lost("the programs are not registered with rpcbind".to_owned()),
        }))
    }

    pub(super) fn registered(&self, elsewhere: Elsewhere) {
        *self.0.lock() = Standing::Registered(elsewhere);
    }

    pub(super) fn lost(&self, why: String) {
        *self.0.lock() = Standing::Lost(why);
    }

    /// Where rpc.statd of this machine takes datagrams, which clients that reboot tell.
    #[must_use]
    pub fn statd(&self) -> Option<SocketAddr> {
        match &*self.0.lock() {
            Standing::Registered(elsewhere) => elsewhere.statd,
            Standing::Lost(_) => None,
        }
    }

    /// What clients do not find; `None` where they find all.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        match &*self.0.lock() {
            Standing::Registered(Elsewhere { locks: true, .. }) => Some(
                "locks: the registration is lost to another lock manager of this machine, where clients' locks \
                 go now"
                    .to_owned(),
            ),
            // Of reboots rpc.statd tells.
            Standing::Registered(Elsewhere { locks: false, .. }) => None,
            Standing::Lost(why) => Some(why.clone()),
        }
    }
}

impl Measured for Registration {
    fn read(&self, to: &mut Readings) {
        let (programs, locks, status) = match &*self.0.lock() {
            Standing::Registered(elsewhere) => (true, !elsewhere.locks, !elsewhere.status),
            Standing::Lost(_) => (false, false, false),
        };
        for (program, is_own) in [("nfs", programs), ("nlm", locks), ("nsm", status)] {
            let help = "1 where rpcbind names this server to clients: for NFS and MOUNT, locks, notices of reboots";
            to.level(
                "trunkfs_rpcbind_registered",
                help,
                &[("program", program)],
                u64::from(is_own),
            );
        }
    }
}
