//! `locks.expire_after`: the locks of clients that are silent for so long are freed.
//!
//! A client with an idle lock sends nothing for days, so silence alone says nothing: its lock manager is
//! asked (NULL), as it is called for GRANTED. A client is alive that answers, that makes calls of any kind,
//! or that another server of the same store has seen. One is silent when nothing came of [`PROBES`] such
//! questions of this very process in a row, over the whole time: neither a restart of the server, nor a store
//! that was away, nor a clock that was set makes a client silent.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::ports::Destination;
use super::sender::{Sent, any_address};
use super::service::LockService;
use super::wire::Version;
use crate::counters::Clients;
use crate::log_limit::{About, limited};
use crate::metadata::{Error, Locks, QuietClient, WhichClients};
use crate::rpc::{Protocol, is_own_address};
use crate::types::{BoundedChain, Call, ClientAddress};
use crate::xdr::Message;

/// Questions without an answer in a row, over the whole time, that make a client silent.
const PROBES: u32 = 10;
/// Clients that are asked in a round, and at a time.
const MOST: usize = 4096;
const AT_ONCE: usize = 32;
/// How long a client may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a store may take.
const STORE_TIME: Duration = Duration::from_secs(30);

/// A client that has not answered.
#[derive(Clone, Copy, Debug)]
struct Silence {
    since: Instant,
    probes: u32,
}

/// What a process knows of its clients from round to round.
#[derive(Debug, Default)]
struct Watch {
    silent: HashMap<IpAddr, Silence>,
    /// Their calls until the last round.
    calls: HashMap<ClientAddress, u64>,
}

impl LockService {
    /// Asks quiet clients, and frees what the silent ones have, for ever.
    pub(super) async fn expire(self: &Arc<Self>, clients: &Clients, after: Duration) {
        let mut watch = Watch::default();
        watch.active(clients);
        loop {
            sleep(after / PROBES).await;
            let active = watch.active(clients);
            let mut asked = BTreeSet::new();
            for store in self.stores() {
                let round = self.round(&*store, &active, after, &mut watch, &mut asked);
                match round.await {
                    Ok(()) | Err(Error::Unavailable(_) | Error::Cancelled) => {}
                    Err(error) => {
                        let error = BoundedChain(&error);
                        limited!(error, About::default(), "silent clients cannot be looked for", %error);
                    }
                }
            }
            watch.silent.retain(|client, _| asked.contains(client));
        }
    }

    async fn round(
        self: &Arc<Self>,
        store: &dyn Locks,
        active: &BTreeSet<ClientAddress>,
        after: Duration,
        watch: &mut Watch,
        asked: &mut BTreeSet<IpAddr>,
    ) -> Result<(), Error> {
        let call = || Call::internal(STORE_TIME);
        let quiet = store.quiet_clients(&call(), after / PROBES, MOST).await?;
        let mut questions = JoinSet::new();
        let mut waiting = quiet.into_iter();
        loop {
            while questions.len() < AT_ONCE
                && let Some(client) = waiting.next()
            {
                let (service, is_active) =
                    (self.clone(), active.contains(&ClientAddress::of(client.address)));
                questions.spawn(async move {
                    (client.address, is_active || service.answers(&client).await)
                });
            }
            let Some(answer) = questions.join_next().await else { return Ok(()) };
            let Ok((client, lives)) = answer else { continue };
            // Another store's round has counted this one.
            let is_first = asked.insert(client);
            if lives {
                watch.silent.remove(&client);
                store.clients_seen(&call(), client).await?;
            } else if watch.is_silent(client, is_first, after) {
                self.free_silent(store, client, after).await?;
            }
        }
    }

    /// Whether a client's lock manager answers, by TCP or by UDP.
    async fn answers(&self, client: &QuietClient) -> bool {
        let local = client.servers.iter().filter_map(|server| server.parse().ok());
        let local = local.into_iter().find(|local| is_own_address(*local));
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let to = Destination {
                client: client.address,
                local: local.unwrap_or_else(|| any_address(client.address)),
                version: Version::Four,
                protocol,
            };
            match self.callbacks.sender.call(to, 0, Message::default(), PATIENCE).await {
                // One that lacks the version is there all the same.
                Sent::Answered(_) | Sent::Refused => return true,
                Sent::Silent | Sent::Unsent(_) => {}
            }
        }
        false
    }

    async fn free_silent(
        &self,
        store: &dyn Locks,
        address: IpAddr,
        silent: Duration,
    ) -> Result<(), Error> {
        let which = WhichClients::Silent { address, silent };
        let freed = store.free_client(&Call::internal(STORE_TIME), &which).await?;
        if freed.clients > 0 {
            self.freed.expired.add(freed.rows());
            limited!(warn, address, "a client has been silent for locks.expire_after: its locks are freed",
                client = %address, locks = freed.locks, waiters = freed.waiters, shares = freed.shares);
        }
        Ok(())
    }
}

impl Watch {
    /// The clients that have made calls since the last time.
    fn active(&mut self, clients: &Clients) -> BTreeSet<ClientAddress> {
        let mut calls = HashMap::new();
        let mut active = BTreeSet::new();
        for client in clients.read() {
            let count: u64 = client.uses.iter().map(|it| it.calls).sum();
            if self.calls.get(&client.client) != Some(&count) {
                active.insert(client.client);
            }
            calls.insert(client.client, count);
        }
        self.calls = calls;
        active
    }

    /// Counts a question without an answer; whether the client is silent.
    fn is_silent(&mut self, client: IpAddr, counts: bool, after: Duration) -> bool {
        let since = Instant::now();
        let silence = self.silent.entry(client).or_insert(Silence { since, probes: 0 });
        silence.probes += u32::from(counts);
        silence.probes > PROBES && silence.since.elapsed() >= after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_is_silent_after_questions_over_the_whole_time() {
        let (client, after) = (IpAddr::from([192, 0, 2, 1]), Duration::from_secs(600));
        let mut watch = Watch::default();
        for probe in 0..PROBES {
            assert!(!watch.is_silent(client, true, after), "probe {probe}");
            sleep(after / PROBES).await;
        }
        assert!(watch.is_silent(client, true, after));
        // The store was away in between: few questions were asked.
        let mut watch = Watch::default();
        assert!(!watch.is_silent(client, true, after));
        sleep(after * 100).await;
        assert!(!watch.is_silent(client, true, after));
        // Many at once are no time.
        let mut watch = Watch::default();
        for _ in 0..100 {
            assert!(!watch.is_silent(client, true, after));
        }
    }
}
