//! Histories of clients that call several servers of one database, checked for linearizability: each name and
//! each object by itself, and all of them together. Servers are paused, cut off from the database and killed
//! meanwhile; what a killed one was doing may have been done, or may be done later, or not.
//!
//! `TRUNKFS_HISTORY_SECONDS=600` says how long each of these tests runs, `TRUNKFS_HISTORY_SEED` from which
//! seed; each round prints its own.

mod checked;
mod instance;
mod load;
mod model;
mod search;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::Instant;
use tokio_postgres::Client;
use trunkfs::metadata::postgres::{Cache, LeaseTimes, Settings};
use trunkfs::metadata::{MetadataStore as _, Namespace as _, Share};
use trunkfs::types::Attributes;

use self::instance::Instance;
use self::load::{Recorder, Servers};
use crate::database::connect;
use crate::proxy::{Cut, Proxy};
use crate::support::{Fixture, context, mode, name, share_spec};

/// How long clients call before their history is checked.
const ROUND: Duration = Duration::from_millis(400);
const CLIENTS: u64 = 12;

/// How long a test runs, and from which seed.
fn length() -> (Duration, u64) {
    let number = |variable| -> Option<u64> { std::env::var(variable).ok()?.parse().ok() };
    let time = number("TRUNKFS_HISTORY_SECONDS").map_or(ROUND * 3, Duration::from_secs);
    (time, number("TRUNKFS_HISTORY_SEED").unwrap_or_else(rand::random))
}

/// What happens to servers, in one of so many cases each.
#[derive(Clone, Copy)]
struct Trouble {
    lease: LeaseTimes,
    servers: usize,
    kills: bool,
}

/// Nobody is taken for dead, and nobody is alone.
fn for_ever() -> LeaseTimes {
    let hour = Duration::from_secs(3600);
    let watch = Duration::from_millis(50);
    LeaseTimes { ttl: hour, quiet: hour, watch, ..LeaseTimes::default() }
}

/// A server that stands still for a moment is taken for dead, and the other one is alone then.
fn brief() -> LeaseTimes {
    let [ttl, margin, watch, quiet] = [300, 100, 15, 60].map(Duration::from_millis);
    LeaseTimes { ttl, margin, watch, quiet }
}

/// Servers of one database, each behind a proxy.
struct Scene {
    fixture: Fixture,
    share: Share,
    proxies: Vec<Proxy>,
    settings: Vec<Settings>,
    servers: Arc<Servers>,
    client: Client,
}

impl Scene {
    async fn new(trouble: Trouble) -> Self {
        // The fixture's own store is a server too, which only looks on.
        let fixture = Fixture::new().await;
        fixture.store.close().await;
        let (mut proxies, mut settings, mut servers) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..trouble.servers {
            let way = fixture.database.settings();
            let proxy = Proxy::before(&way).await;
            let through = proxy.settings(&way);
            let through = Settings { cache: Cache::Auto, lease: trouble.lease, ..through };
            servers.push(RwLock::new(Arc::new(Instance::start(through.clone()).await)));
            proxies.push(proxy);
            settings.push(through);
        }
        let client = connect(&fixture.database.settings()).await;
        let share = fixture.share.clone();
        Self { fixture, share, proxies, settings, servers: Arc::new(servers), client }
    }

    /// An empty directory.
    async fn directory(&self, text: &str) -> Attributes {
        let (cx, root, name) = (context(self.share.id), self.share.root, name(text));
        let server = Arc::clone(&self.servers[0].read());
        let set = mode(0o755);
        let call = |store: Arc<dyn trunkfs::metadata::Namespace>| async move {
            store.mkdir(&cx, root, &name, &set).await.unwrap().object
        };
        server.call(call).await.unwrap()
    }

    /// Disturbs the servers until `end`.
    async fn disturb(&self, trouble: Trouble, end: Instant, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut kills, mut cuts) = (1, 3);
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(random.random_range(5..60))).await;
            let at = random.random_range(0..self.servers.len());
            match random.random_range(0..9) {
                0..3 => {
                    let time = Duration::from_millis(random.random_range(1..500));
                    self.servers[at].read().pause(time);
                }
                3 | 4 if cuts > 0 => {
                    cuts -= 1;
                    let cut = match random.random_range(0..3) {
                        0 => Cut::BeforeTheCall,
                        1 => Cut::BeforeTheAnswer,
                        _ => Cut::WhileItRuns,
                    };
                    self.proxies[at].arm(random.random_range(0..20), cut);
                }
                5 | 6 if trouble.kills && kills > 0 => {
                    kills -= 1;
                    self.servers[at].read().kill();
                    let again = Instance::start(self.settings[at].clone()).await;
                    *self.servers[at].write() = Arc::new(again);
                }
                7 => self.ask("SELECT prune_changes(pg_snapshot_xmax(pg_current_snapshot())::text::bigint, true)").await,
                8 => {
                    self.ask(
                        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                          WHERE datname = current_database() AND application_name LIKE '% changes'",
                    )
                    .await;
                }
                _ => {}
            }
        }
    }

    async fn ask(&self, statement: &str) {
        self.client.query(statement, &[]).await.unwrap();
    }
}

async fn histories(trouble: Trouble) {
    let (time, first) = length();
    let scene = Scene::new(trouble).await;
    let end = Instant::now() + time;
    let (mut seed, mut calls) = (first, 0);
    while Instant::now() < end {
        println!("seed {seed}");
        let directories = [
            scene.directory(&format!("{seed}-a")).await,
            scene.directory(&format!("{seed}-b")).await,
        ];
        let recorder = Arc::new(Recorder::new(scene.share.id, directories.to_vec()));
        tokio::join!(
            load::run(&recorder, &scene.servers, CLIENTS, ROUND, seed),
            scene.disturb(trouble, Instant::now() + ROUND, !seed),
        );
        let (cells, history) = recorder.history();
        calls += history.len();
        let unknown = history.iter().filter(|call| call.returned.is_none()).count();
        println!("{} calls, {unknown} of unknown outcome", history.len());
        let checked = tokio::task::spawn_blocking(move || cells.check(&history)).await.unwrap();
        checked.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        seed = seed.wrapping_add(1);
    }
    assert!(calls > 20, "{calls} calls");
    for server in scene.servers.iter() {
        let server = Arc::clone(&server.read());
        server.end().await;
    }
    let Scene { fixture, .. } = scene;
    let store = trunkfs::metadata::postgres::PostgresStore::connect(fixture.database.settings());
    let store = store.await.unwrap();
    let again = store.open_share(&share_spec()).await.unwrap();
    store.getattr(&context(again.id), again.root).await.unwrap();
    let fixture = Fixture { store, ..fixture };
    fixture.sound().await;
    fixture.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_are_one() {
    histories(Trouble { lease: for_ever(), servers: 2, kills: false }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_of_which_some_are_killed_are_one() {
    histories(Trouble { lease: for_ever(), servers: 3, kills: true }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_alone_and_not_by_turns_are_one() {
    histories(Trouble { lease: brief(), servers: 2, kills: true }).await;
}
