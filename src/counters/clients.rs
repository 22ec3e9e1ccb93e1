//! Who calls what: clients, the shares that they use, and the procedures that they call.
//!
//! A connection counts its own calls, so that no two connections meet; what it has counted goes to its client
//! when it ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Calls;
use crate::types::{CallTiming, ClientAddress};

/// Clients without a connection that are remembered; the one that went first is forgotten.
const MOST_GONE: usize = 1024;
/// Pairs of share and procedure that one connection or client tells apart; calls of others are not shown by
/// client. Every procedure of two dozen shares fits.
const MOST_USES: usize = 512;

/// The clients of a server.
#[derive(Debug)]
pub struct Clients {
    calls: Calls,
    known: Mutex<HashMap<ClientAddress, Known>>,
}

#[derive(Debug)]
struct Known {
    connections: Vec<Arc<Mutex<Vec<Use>>>>,
    /// What connections that have ended have counted.
    ended: Vec<Use>,
    /// When the last connection ended.
    gone: Instant,
}

/// The calls of one procedure to one share.
#[derive(Clone, Copy, Debug)]
struct Use {
    /// The share's number, from 1; 0 where there is none.
    share: u32,
    procedure: u16,
    counted: Counted,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    calls: u64,
    failures: u64,
    read: u64,
    written: u64,
    nanoseconds: u64,
}

/// What one connection counts with.
#[derive(Debug)]
pub struct Meter {
    clients: Arc<Clients>,
    client: ClientAddress,
    uses: Arc<Mutex<Vec<Use>>>,
}

/// A client and what it has done.
#[derive(Clone, Debug)]
pub struct ClientReading {
    /// The client.
    pub client: ClientAddress,
    /// Its open connections.
    pub connections: usize,
    /// Its calls since it was first seen.
    pub uses: Vec<ClientUse>,
}

/// The calls of one procedure to one share.
#[derive(Clone, Copy, Debug)]
pub struct ClientUse {
    /// The share's number, from 1; none for a call that is about no share.
    pub share: Option<u32>,
    /// The procedure.
    pub procedure: &'static str,
    /// Calls, failed ones included.
    pub calls: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Bytes of files that were read.
    pub read: u64,
    /// Bytes of files that were written.
    pub written: u64,
    /// How long all the calls took together.
    pub took: Duration,
}

fn add(uses: &mut Vec<Use>, share: u32, procedure: u16, counted: Counted) {
    let found = uses.iter().position(|it| it.share == share && it.procedure == procedure);
    let Some(found) = found else {
        if uses.len() < MOST_USES {
            uses.push(Use { share, procedure, counted });
        }
        return;
    };
    let sum = &mut uses[found].counted;
    sum.calls += counted.calls;
    sum.failures += counted.failures;
    sum.read += counted.read;
    sum.written += counted.written;
    sum.nanoseconds += counted.nanoseconds;
}

impl Clients {
    /// No client yet; `calls` counts those of all.
    #[must_use]
    pub fn new(calls: Calls) -> Arc<Self> {
        Arc::new(Self { calls, known: Mutex::default() })
    }

    /// The calls of all clients together.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// What a new connection of a client counts with.
    #[must_use]
    pub fn connect(self: &Arc<Self>, client: ClientAddress) -> Meter {
        let uses = Arc::<Mutex<Vec<Use>>>::default();
        let mut known = self.known.lock();
        let entry = known.entry(client).or_insert_with(|| Known {
            connections: Vec::new(),
            ended: Vec::new(),
            gone: Instant::now(),
        });
        entry.connections.push(uses.clone());
        Meter { clients: self.clone(), client, uses }
    }

    fn disconnect(&self, client: ClientAddress, uses: &Arc<Mutex<Vec<Use>>>) {
        let mut known = self.known.lock();
        let Some(entry) = known.get_mut(&client) else { return };
        entry.connections.retain(|it| !Arc::ptr_eq(it, uses));
        for it in uses.lock().iter() {
            add(&mut entry.ended, it.share, it.procedure, it.counted);
        }
        if !entry.connections.is_empty() {
            return;
        }
        entry.gone = Instant::now();
        let is_gone = |it: &Known| it.connections.is_empty();
        if known.values().filter(|it| is_gone(it)).count() > MOST_GONE {
            let gone = known.iter().filter(|(_, it)| is_gone(it));
            let first = gone.min_by_key(|(_, it)| it.gone).map(|(client, _)| *client);
            first.map(|client| known.remove(&client));
        }
    }

    /// Every client with what it has done, in the order of addresses.
    #[must_use]
    pub fn read(&self) -> Vec<ClientReading> {
        let known = self.known.lock();
        let mut readings: Vec<_> = known
            .iter()
            .map(|(client, entry)| {
                let mut uses = entry.ended.clone();
                for connection in &entry.connections {
                    for it in connection.lock().iter() {
                        add(&mut uses, it.share, it.procedure, it.counted);
                    }
                }
                let connections = entry.connections.len();
                (*client, connections, uses)
            })
            .collect();
        drop(known);
        readings.sort_by_key(|(client, ..)| *client);
        let shown = |it: Use| ClientUse {
            share: Some(it.share).filter(|share| *share > 0),
            procedure: self.calls.procedure(it.procedure.into()),
            calls: it.counted.calls,
            failures: it.counted.failures,
            read: it.counted.read,
            written: it.counted.written,
            took: Duration::from_nanos(it.counted.nanoseconds),
        };
        let readings = readings.into_iter().map(|(client, connections, uses)| ClientReading {
            client,
            connections,
            uses: uses.into_iter().map(shown).collect(),
        });
        readings.collect()
    }
}

impl Meter {
    /// Counts a call of a procedure (by its index in [`Calls`]) that has ended.
    pub fn count(&self, procedure: usize, took: Duration, timing: &CallTiming) {
        let (failure, read, written) = (timing.failure(), timing.read(), timing.written());
        self.clients.calls.count(procedure, took, failure);
        self.clients.calls.moved(read, written);
        let counted = Counted {
            calls: 1,
            failures: u64::from(failure != 0),
            read: read.into(),
            written: written.into(),
            nanoseconds: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
        };
        let procedure = u16::try_from(procedure).unwrap_or(u16::MAX);
        add(&mut self.uses.lock(), timing.share(), procedure, counted);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.clients.disconnect(self.client, &self.uses);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NULL is counted as 0, READ as 1.
    fn named() -> Arc<Clients> {
        let calls = Calls::default();
        assert_eq!((calls.index("nfs", "NULL"), calls.index("nfs", "READ")), (0, 1));
        Clients::new(calls)
    }

    fn client(last: u16) -> ClientAddress {
        let [high, low] = last.to_be_bytes();
        ClientAddress::of([10, 0, high, low].into())
    }

    #[test]
    fn a_clients_calls_outlive_its_connections() {
        let clients = named();
        let timing = CallTiming::new(1);
        timing.set_share(2);
        timing.set_read(10);
        let (one, other) = (clients.connect(client(1)), clients.connect(client(1)));
        one.count(1, Duration::from_millis(2), &timing);
        other.count(1, Duration::from_millis(1), &timing);
        timing.set_failure(5);
        other.count(1, Duration::ZERO, &timing);
        other.count(0, Duration::ZERO, &CallTiming::new(2));
        drop(other);
        let readings = clients.read();
        let [reading] = &readings[..] else { panic!("{readings:?}") };
        assert_eq!((reading.connections, reading.uses.len()), (1, 2));
        let read = reading.uses.iter().find(|it| it.procedure == "READ").unwrap();
        assert_eq!((read.share, read.calls, read.failures, read.read), (Some(2), 3, 1, 30));
        assert_eq!(read.took, Duration::from_millis(3));
        let null = reading.uses.iter().find(|it| it.procedure == "NULL").unwrap();
        assert_eq!((null.share, null.calls), (None, 1));
        drop(one);
        assert_eq!(clients.read()[0].connections, 0);
        assert_eq!(clients.calls().bytes(), (30, 0));
    }

    #[test]
    fn clients_that_went_long_ago_are_forgotten() {
        let clients = named();
        let stays = clients.connect(client(0));
        let most = u16::try_from(MOST_GONE).unwrap();
        (1..=most + 1).for_each(|last| drop(clients.connect(client(last))));
        let known: Vec<_> = clients.read().into_iter().map(|it| it.client).collect();
        assert_eq!(known.len(), MOST_GONE + 1);
        assert!(known.contains(&client(0)) && !known.contains(&client(1)));
        drop(stays);
    }
}
