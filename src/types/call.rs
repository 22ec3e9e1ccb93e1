//! What every call into a store carries.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{CallTiming, Claimant, ClientAddress, Credentials, Replay, ShareId, Timestamp};

/// How long a call may take, and whose it is: all that a content store has to know of it.
#[derive(Clone, Debug)]
pub struct Call {
    /// Whose turn the call takes in queues.
    pub claimant: Claimant,
    /// Fires on client disconnect, request timeout and shutdown.
    pub cancel: CancellationToken,
    /// When the answer is no longer of use.
    pub deadline: Instant,
    /// For the log: the call, and where its time goes.
    pub timing: Arc<CallTiming>,
}

impl Call {
    /// A call of a client.
    #[must_use]
    pub fn of_client(client: SocketAddr, limit: Duration) -> Self {
        Self { claimant: Some(ClientAddress::of(client.ip())), ..Self::internal(limit) }
    }

    /// A call of the server itself, which no client waits for.
    #[must_use]
    pub fn internal(limit: Duration) -> Self {
        let (cancel, deadline) = (CancellationToken::new(), Instant::now() + limit);
        Self { claimant: None, cancel, deadline, timing: Arc::default() }
    }

    /// Whether the token has fired or the time is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.cancel.is_cancelled() || self.deadline <= Instant::now()
    }

    /// What `work` gives, unless the token fires or the time is over first. Only for what may be dropped half
    /// done.
    pub async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => None,
            done = timeout_at(self.deadline, work) => done.ok(),
        }
    }
}

/// Where a call comes from and how long it may take.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The peer's address and port.
    pub address: SocketAddr,
    /// The credentials of AUTH_SYS (RFC 5531 appendix A) as sent, before any squashing; `None` for AUTH_NONE.
    pub credentials: Option<Credentials>,
    /// The call's limits.
    pub call: Call,
    /// By what the call is known, where it must not be done twice and other servers may get a repeat.
    pub replay: Option<Replay>,
}

impl Caller {
    /// A caller whose call begins now.
    #[must_use]
    pub fn new(address: SocketAddr, credentials: Option<Credentials>, limit: Duration) -> Self {
        Self { address, credentials, call: Call::of_client(address, limit), replay: None }
    }
}

/// The context of one call: who asks, for which share, and the call's limits.
#[derive(Clone, Debug)]
pub struct Context {
    /// The call's limits.
    pub call: Call,
    /// The caller after squashing.
    pub credentials: Credentials,
    /// Where the call came from.
    pub client: SocketAddr,
    /// The share the call is about.
    pub share: ShareId,
    /// The time of the call: the base of every time it sets.
    pub now: Timestamp,
    /// By what the change is recorded, so that a repeat of the call is not done.
    pub replay: Option<Replay>,
}

impl Context {
    /// A call of the server itself on a share, with the superuser's rights, now.
    #[must_use]
    pub fn internal(share: ShareId, limit: Duration) -> Self {
        Self {
            call: Call::internal(limit),
            credentials: Credentials::ROOT,
            client: (Ipv4Addr::UNSPECIFIED, 0).into(),
            share,
            now: Timestamp::now(),
            replay: None,
        }
    }

    /// The context of the one change by which the caller's call is done.
    #[must_use]
    pub fn recorded(&self, caller: &Caller) -> Self {
        Self { replay: caller.replay, ..self.clone() }
    }

    /// The context in which a call finishes that has changed something already. What told the call to end
    /// does not end this: its client would hear that nothing was changed.
    #[must_use]
    pub fn detached(&self, limit: Duration) -> Self {
        let Call { claimant, timing, .. } = self.call.clone();
        Self {
            call: Call { claimant, timing, ..Call::internal(limit) },
            replay: None,
            ..self.clone()
        }
    }
}
