//! Who holds memory and who waits for it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Peer;
use crate::types::ClientAddress;

/// Slow peers are looked for again after this time: those that gave way need a moment to end.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Whether memory is for something that begins or for a record that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Beginning,
    UnderWay,
}

/// A request for memory.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) connection: u64,
    pub(super) bytes: usize,
    /// For a record under way: all that it still needs.
    pub(super) rest: usize,
    pub(super) grant: oneshot::Sender<usize>,
}

/// What memory lacks for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    /// The client holds its part.
    OfClient,
    /// The client would hold more than it leaves to others.
    ForOthers,
    /// There is not enough in all.
    InAll,
}

/// One client that holds memory or waits for it.
#[derive(Debug, Default)]
struct Share {
    held: usize,
    /// Requests of records under way.
    under_way: VecDeque<Request>,
    beginning: VecDeque<Request>,
}

/// The account, without waiting. Every queue is bounded by the connections, of which each has one request at
/// most.
#[derive(Debug)]
pub(super) struct Queue {
    total: usize,
    /// What one client may hold.
    part: usize,
    /// The part of both that is kept for records under way. Nothing else takes it, so that one of them always
    /// ends.
    reserve: usize,
    held: usize,
    clients: HashMap<ClientAddress, Share>,
    /// Clients that wait, in the order of their turns.
    turns: VecDeque<ClientAddress>,
    /// Connections, in their order.
    peers: BTreeMap<u64, Arc<Peer>>,
    next_number: u64,
    look_from: Option<Instant>,
}

impl Share {
    fn queue(&mut self, stage: Stage) -> &mut VecDeque<Request> {
        match stage {
            Stage::Beginning => &mut self.beginning,
            Stage::UnderWay => &mut self.under_way,
        }
    }

    fn waits(&self) -> bool {
        !self.under_way.is_empty() || !self.beginning.is_empty()
    }
}

impl Queue {
    pub(super) fn new(total: usize, part: usize, reserve: usize) -> Self {
        Self {
            total,
            part,
            reserve,
            held: 0,
            clients: HashMap::new(),
            turns: VecDeque::new(),
            peers: BTreeMap::new(),
            next_number: 0,
            look_from: None,
        }
    }

    /// Changes what there is, and what one client may hold.
    pub(super) fn resize(&mut self, total: usize, part: usize) {
        (self.total, self.part) = (total, part);
        let most = total - self.reserve;
        for share in self.clients.values_mut() {
            for request in share.under_way.iter_mut().chain(&mut share.beginning) {
                request.bytes = request.bytes.min(most);
            }
        }
    }

    pub(super) fn connect(&mut self, peer: Arc<Peer>) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.peers.insert(number, peer);
        number
    }

    pub(super) fn disconnect(&mut self, number: u64) {
        self.peers.remove(&number);
    }

    /// Bytes that are held.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Bytes that there are.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    pub(super) fn is_waited_for(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Queues a request, to be granted by [`Queue::serve`].
    pub(super) fn push(&mut self, client: ClientAddress, stage: Stage, mut request: Request) {
        // More than there ever is would be waited for in vain.
        request.bytes = request.bytes.min(self.total - self.reserve);
        let share = self.clients.entry(client).or_default();
        if !share.waits() {
            self.turns.push_back(client);
        }
        share.queue(stage).push_back(request);
    }

    /// Takes a connection's request back.
    pub(super) fn remove(&mut self, client: ClientAddress, stage: Stage, connection: u64) {
        if let Some(share) = self.clients.get_mut(&client) {
            share.queue(stage).retain(|request| request.connection != connection);
        }
        self.forget(client);
    }

    /// Takes memory back.
    pub(super) fn release(&mut self, client: ClientAddress, bytes: usize) {
        self.held -= bytes;
        if let Some(share) = self.clients.get_mut(&client) {
            share.held -= bytes;
        }
        self.forget(client);
    }

    /// Forgets that a client waits, and the client where it holds nothing either.
    fn forget(&mut self, client: ClientAddress) {
        let Some(share) = self.clients.get(&client) else { return };
        if share.waits() {
            return;
        }
        if share.held == 0 {
            self.clients.remove(&client);
        }
        self.turns.retain(|waiting| *waiting != client);
    }

    /// Grants what can be granted, and lets slow peers give way for what cannot.
    pub(super) fn serve(&mut self, now: Instant) {
        if self.turns.is_empty() {
            return;
        }
        self.serve_records();
        while let Some((client, bytes)) = self.next() {
            self.grant(client, Stage::Beginning, bytes);
        }
        self.look(now);
    }

    /// Lets slow peers give way for the requests that wait.
    pub(super) fn look(&mut self, now: Instant) {
        if !self.turns.is_empty() && self.look_from.is_none_or(|from| now >= from) {
            self.make_room(now);
        }
    }

    /// Records under way: a step where there is room for one, else all the rest from the reserve.
    fn serve_records(&mut self) {
        for client in self.turns.clone() {
            while let Some(share) = self.clients.get(&client)
                && let Some(Request { bytes, rest, .. }) = share.under_way.front()
            {
                let all = *rest;
                if self.lack(client, *bytes).is_none() {
                    self.grant(client, Stage::UnderWay, *bytes);
                } else if self.held + all <= self.total && share.held + all <= self.part {
                    self.grant(client, Stage::UnderWay, all);
                } else {
                    break;
                }
            }
        }
    }

    /// The next request that can be granted of those that begin something: clients that hold their part are
    /// passed over, but none that there is not enough for in all.
    fn next(&self) -> Option<(ClientAddress, usize)> {
        for client in &self.turns {
            let Some(first) = self.clients.get(client).and_then(|it| it.beginning.front()) else {
                continue;
            };
            match self.lack(*client, first.bytes) {
                None => return Some((*client, first.bytes)),
                Some(Lack::OfClient | Lack::ForOthers) => {}
                Some(Lack::InAll) => return None,
            }
        }
        None
    }

    fn lack(&self, client: ClientAddress, bytes: usize) -> Option<Lack> {
        let free = self.total - self.reserve;
        let Some(left) = free.checked_sub(self.held + bytes) else { return Some(Lack::InAll) };
        match self.clients.get(&client).map_or(0, |share| share.held) {
            0 => None,
            held if held + bytes > self.part - self.reserve => Some(Lack::OfClient),
            held if held + bytes > left => Some(Lack::ForOthers),
            _ => None,
        }
    }

    /// Grants a client's first request of `stage`, and puts the client behind the others.
    fn grant(&mut self, client: ClientAddress, stage: Stage, bytes: usize) {
        let Some(share) = self.clients.get_mut(&client) else { return };
        let Some(request) = share.queue(stage).pop_front() else { return };
        if request.grant.send(bytes).is_ok() {
            share.held += bytes;
            self.held += bytes;
        }
        let waits = share.waits();
        self.forget(client);
        if waits {
            self.turns.retain(|waiting| *waiting != client);
            self.turns.push_back(client);
        }
    }

    /// Lets the slowest peers give way, as many as the requests need: a client's own where it holds its part,
    /// else any.
    fn make_room(&mut self, now: Instant) {
        let mut slow: Vec<_> = self
            .peers
            .values()
            .filter(|peer| peer.slow.borrow().is_none())
            .filter_map(|peer| {
                let slowness = peer.pace.slowness(now, peer.held.load(Ordering::Relaxed))?;
                Some((peer, slowness))
            })
            .collect();
        self.look_from = Some(now + LOOK_AGAIN);
        slow.sort_by_key(|(_, (_, overdue, _))| *overdue);
        let (mut wanted_in_all, mut wanted) = (0, HashMap::new());
        for client in &self.turns {
            let Some(share) = self.clients.get(client) else { continue };
            for request in share.under_way.iter().chain(&share.beginning) {
                match self.lack(*client, request.bytes) {
                    Some(Lack::InAll | Lack::ForOthers) => wanted_in_all += request.bytes,
                    Some(Lack::OfClient) | None => {
                        *wanted.entry(*client).or_insert(0) += request.bytes
                    }
                }
            }
        }
        while let Some((peer, (how, _, bytes))) = slow.pop() {
            let own = wanted.get_mut(&peer.client).filter(|own| **own > 0);
            let want = if wanted_in_all > 0 { Some(&mut wanted_in_all) } else { own };
            let Some(want) = want else { continue };
            *want = want.saturating_sub(bytes);
            peer.slow.send_replace(Some(how));
        }
    }
}

#[cfg(test)]
impl Queue {
    pub(super) fn clients(&self) -> usize {
        self.clients.len()
    }
}
