//! rpc.statd(8) of this machine, where it has the status monitor's number: clients that reboot tell it, and
//! it calls whoever has asked it to (SM_MON).
//!
//! It takes a notice for that of a client by the name in it or by the address that it comes from, so that it
//! passes on what anybody says. So the client's own status monitor is asked for its state (SM_STAT): a notice
//! counts that has the state which the client is in. What was locked in that state stays, so that a forged
//! notice frees what was locked before the last boot alone.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{PROGRAM, VERSION};
use crate::log_limit::limited;
use crate::nlm::LockService;
use crate::rpc::client::{CallError, Procedure, call_by_datagram};
use crate::types::Chain;
use crate::xdr::{Decoder, Encoder, Message};

/// How often clients that it is not asked for yet are looked for.
const PERIOD: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(3);
const INTERVAL: Duration = Duration::from_secs(1);
/// The most clients that it is asked for.
const MOST: usize = 4096;
/// What it calls: the lock manager's procedure for it, which is private to Linux.
const LOCK_MANAGER: [u32; 3] = [100_021, 4, 16];
const MONITOR: u32 = 2;
const DONE: u32 = 0;

/// Why rpc.statd does not tell of a client.
#[derive(Debug, thiserror::Error)]
enum NotWatched {
    /// It does not answer.
    #[error("it does not answer")]
    Call(#[from] CallError),
    /// It refuses.
    #[error("it refuses the client's address")]
    Refused,
}

/// Asks the machine's rpc.statd, where `statd` names one, to tell of the reboots of every client that has
/// locks, until `stop` fires.
pub async fn watch(
    locks: Arc<LockService>,
    statd: impl Fn() -> Option<SocketAddr>,
    stop: CancellationToken,
) {
    let mut watched = BTreeSet::new();
    let mut asked = None;
    loop {
        let now = statd();
        if now != asked {
            asked = now;
            watched.clear();
        }
        if let Some(statd) = now {
            let clients = locks.overview().clients;
            for client in clients.iter().map(|it| it.client.address()) {
                if watched.len() < MOST && !watched.contains(&client) {
                    match monitor(statd, client).await {
                        Ok(()) => {
                            watched.insert(client);
                        }
                        Err(error) => {
                            limited!(warn, client,
                                "rpc.statd of this machine does not tell of a client's reboots, which free nothing",
                                %client, error = %Chain(&error));
                        }
                    }
                }
            }
        }
        if stop.run_until_cancelled(sleep(PERIOD)).await.is_none() {
            return;
        }
    }
}

/// SM_MON: the name is the client's address, which comes back as it is.
async fn monitor(statd: SocketAddr, client: IpAddr) -> Result<(), NotWatched> {
    let mut arguments = Encoder::new();
    arguments.opaque(client.to_string().as_bytes());
    arguments.opaque(rustix::system::uname().nodename().to_bytes());
    LOCK_MANAGER.into_iter().for_each(|number| arguments.u32(number));
    let noted = match client {
        IpAddr::V4(client) => client.to_ipv6_mapped(),
        IpAddr::V6(client) => client,
    };
    arguments.fixed(&noted.octets());
    let any = if statd.is_ipv4() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    };
    let mut results = ask(any, statd, MONITOR, arguments.finish()).await?;
    let result = results.u32().map_err(CallError::from)?;
    if result == DONE { Ok(()) } else { Err(NotWatched::Refused) }
}

async fn ask(
    local: IpAddr,
    to: SocketAddr,
    number: u32,
    arguments: Message,
) -> Result<Decoder, CallError> {
    let procedure = Procedure { program: PROGRAM, version: VERSION, number };
    let asked = async {
        let socket = UdpSocket::bind((local, 0)).await?;
        socket.connect(to).await?;
        call_by_datagram(&socket, procedure, arguments, INTERVAL).await
    };
    let late = || Err(CallError::Connection(std::io::ErrorKind::TimedOut.into()));
    timeout(PATIENCE, asked).await.unwrap_or_else(|_| late())
}
