//! Locks as the admin port shows them, and whether rpcbind names the server.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::http::{LockClientState, LocksState, Part};
use crate::metadata::{LockClientUse, LockTotals};
use crate::nlm::Overview;
use crate::portmap::Registration;
use crate::types::Timestamp;

/// What there is, as it was counted last.
pub(super) fn state(overview: Overview) -> LocksState {
    let LockTotals { clients, locks, waiters, reservations, shares } = overview.totals;
    let counted = overview.at.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    LocksState {
        counted: counted.map(|at| at.as_secs()),
        held: locks,
        waiting: waiters,
        unconfirmed: reservations,
        shares,
        known_clients: clients,
        clients: overview.clients.into_iter().map(client).collect(),
    }
}

fn client(it: LockClientUse) -> LockClientState {
    LockClientState {
        client: it.client.address().to_string(),
        name: it.client.caller_name.to_string(),
        server: it.client.server.to_string(),
        held: it.locks,
        waiting: it.waiters,
        unconfirmed: it.reservations,
        shares: it.shares,
        oldest: seconds(it.oldest),
        seen: seconds(it.seen),
    }
}

fn seconds(time: Timestamp) -> u64 {
    u64::try_from(time.0 / 1_000_000_000).unwrap_or(0)
}

/// The registration with rpcbind. NFS goes on without it: clients that know the ports need none.
pub(super) struct Registered(pub(super) Arc<Registration>);

#[async_trait::async_trait]
impl Part for Registered {
    fn name(&self) -> String {
        "server.portmap".to_owned()
    }

    fn kind(&self) -> &'static str {
        "rpcbind"
    }

    fn is_vital(&self) -> bool {
        false
    }

    async fn ask(&self) -> Result<(), String> {
        self.0.problem().map_or(Ok(()), Err)
    }
}
