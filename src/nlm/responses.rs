//! The `_RES` calls: a client that sends a procedure's `_MSG` form gets the results by a call of its lock
//! manager, at the port that its port mapper names. The source port of its own call is a throw-away socket.
//!
//! A result is sent once. A client that has not got it sends its call again; a copy that the reply cache
//! knows sends the result again.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ports::Destination;
use super::sender::{Sender, Sent};
use crate::log_limit::limited;
use crate::types::{BoundedChain, ClientPlaces};
use crate::xdr::Message;

/// How long a client may take to say that it has a result.
const PATIENCE: Duration = Duration::from_secs(5);
/// Results on their way, in all and of one client. Those beyond are lost, as datagrams may be.
const MOST: usize = 256;
const MOST_OF_CLIENT: usize = 32;
/// Results that are remembered for copies of their calls.
const MOST_KEPT: usize = 2048;

/// A call by what its copies have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CallKey {
    pub(super) peer: SocketAddr,
    pub(super) xid: u32,
    pub(super) procedure: u32,
    pub(super) to: Destination,
}

#[derive(Debug, Default)]
struct Kept {
    results: HashMap<CallKey, Message>,
    order: VecDeque<CallKey>,
}

#[derive(Debug)]
pub(super) struct Responses {
    sender: Arc<Sender>,
    kept: Mutex<Kept>,
    places: Arc<ClientPlaces>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Responses {
    pub(super) fn new(sender: Arc<Sender>, tasks: TaskTracker, stop: CancellationToken) -> Self {
        let places = ClientPlaces::new(MOST, MOST_OF_CLIENT);
        Self { sender, kept: Mutex::default(), places, tasks, stop }
    }

    /// Sends a result by procedure `number`, and keeps it for copies of its call where there may be some.
    pub(super) fn send(&self, call: CallKey, number: u32, results: Message, is_kept: bool) {
        if is_kept {
            let mut kept = self.kept.lock();
            if kept.results.insert(call, results.clone()).is_none() {
                kept.order.push_back(call);
            }
            if kept.order.len() > MOST_KEPT
                && let Some(oldest) = kept.order.pop_front()
            {
                kept.results.remove(&oldest);
            }
        }
        self.start(call.to, number, results);
    }

    /// Sends the result of a call again, of which a copy came.
    pub(super) fn again(&self, call: &CallKey, number: u32) {
        let results = self.kept.lock().results.get(call).cloned();
        if let Some(results) = results {
            self.start(call.to, number, results);
        }
    }

    fn start(&self, to: Destination, number: u32, results: Message) {
        let client = to.client;
        let Some(place) = self.places.take(client) else {
            limited!(warn, client, "results of lock calls are dropped: too many are on their way", %client);
            return;
        };
        let (sender, stop) = (self.sender.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let _place = place;
            let sent = stop.run_until_cancelled(sender.call(to, number, results, PATIENCE)).await;
            match sent {
                Some(Sent::Unsent(error)) => {
                    limited!(warn, client, "a client's lock manager cannot be called: it gets no results",
                        %client, error = %BoundedChain(&error));
                }
                Some(Sent::Answered(_) | Sent::Refused | Sent::Silent) | None => {}
            }
        });
    }
}
