//! What every call into a store carries.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{CallTiming, Credentials, ShareId, Timestamp};

/// The context of one call: who asks, for which share, until when, and the token that ends it.
#[derive(Clone, Debug)]
pub struct Context {
    /// The caller after squashing.
    pub credentials: Credentials,
    /// Where the call came from.
    pub client: SocketAddr,
    /// The share the call is about.
    pub share: ShareId,
    /// The time of the call: the base of every time it sets.
    pub now: Timestamp,
    /// Fires on client disconnect, request timeout and shutdown.
    pub cancel: CancellationToken,
    /// When the answer is no longer of use.
    pub deadline: Instant,
    /// For the log: the call, and where its time goes.
    pub timing: Arc<CallTiming>,
}
