//! A database that goes away under load: clients go on by themselves, and what was acknowledged is there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinHandle;

use super::client::{Call, Connection, Writer};
use super::cluster::Cluster;
use super::process::Running;
use super::scene::{NFS, Scene, of, root, started};

const LOOKUP: u32 = 3;
const MKDIR: u32 = 9;
const JUKEBOX: u32 = 10_008;
/// How long anything may take: a crash recovery, a promotion, and the pauses of those who wait.
const PATIENCE: Duration = Duration::from_secs(120);
/// What each client does before and after the outage.
const STEPS: usize = 10;

/// One client's state.
#[derive(Debug, Default)]
struct Client {
    /// Directories made: the numbers below it.
    made: AtomicUsize,
}

/// A client that only looks.
struct Reader {
    connection: Connection,
    top: Vec<u8>,
}

impl Reader {
    async fn of(server: SocketAddr) -> Self {
        let mut connection = Connection::open(server).await;
        let top = root(&mut connection).await;
        Self { connection, top }
    }

    /// The status of a LOOKUP.
    async fn look(&mut self, name: &str) -> u32 {
        let arguments = of(&self.top).opaque(name.as_bytes());
        let call = Call::new(NFS, 3, LOOKUP).arguments(arguments);
        self.connection.call(call).await.results().u32()
    }

    /// The database is away: it is told so.
    async fn is_delayed(&mut self) {
        assert_eq!(self.look("anything").await, JUKEBOX);
    }
}

/// Clients at work.
struct Load {
    clients: Vec<Arc<Client>>,
    tasks: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Two clients for each server.
    async fn on(servers: &[SocketAddr]) -> Self {
        let mut load = Self { clients: Vec::new(), tasks: Vec::new(), stop: Arc::default() };
        for server in servers.iter().flat_map(|server| [server, server]) {
            let client = Arc::new(Client::default());
            let number = load.clients.len();
            let working = work(*server, number, client.clone(), load.stop.clone());
            load.clients.push(client);
            load.tasks.push(tokio::spawn(working));
        }
        load
    }

    fn made(&self) -> Vec<usize> {
        self.clients.iter().map(|client| client.made.load(Ordering::SeqCst)).collect()
    }

    /// Waits until every client has made so many more.
    async fn goes_on(&self) {
        let before = self.made();
        let limit = Instant::now() + PATIENCE;
        while self.made().iter().zip(&before).any(|(now, before)| *now < before + STEPS) {
            assert!(Instant::now() < limit, "stuck: {before:?}, then {:?}", self.made());
            assert!(self.tasks.iter().all(|task| !task.is_finished()), "a client gave up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it and looks for everything that was acknowledged.
    async fn nothing_is_lost(mut self, server: SocketAddr) {
        self.stop.store(true, Ordering::SeqCst);
        for task in std::mem::take(&mut self.tasks) {
            task.await.unwrap();
        }
        let mut reader = Reader::of(server).await;
        for (client, made) in self.made().into_iter().enumerate() {
            for index in 0..made {
                let name = name(client, index);
                assert_eq!(reader.look(&name).await, 0, "{name} was acknowledged");
            }
        }
    }
}

fn name(client: usize, index: usize) -> String {
    format!("client-{client}-{index}")
}

/// Makes directories one after the other, as a client does that asks again where it is told to.
async fn work(server: SocketAddr, number: usize, client: Arc<Client>, stop: Arc<AtomicBool>) {
    let mut connection = Connection::open(server).await;
    let top = root(&mut connection).await;
    while !stop.load(Ordering::SeqCst) {
        let index = client.made.load(Ordering::SeqCst);
        // No attributes are set.
        let arguments: Writer = of(&top)
            .opaque(name(number, index).as_bytes())
            .u32(0)
            .u32(0)
            .u32(0)
            .u32(0)
            .u32(0)
            .u32(0);
        let call = Call::new(NFS, 3, MKDIR).arguments(arguments);
        // Its answer may need the database to be back.
        connection.send(&call).await;
        let reply = connection.reply_within(PATIENCE).await.expect("an answer");
        match reply.results().u32() {
            0 => client.made.store(index + 1, Ordering::SeqCst),
            JUKEBOX => tokio::time::sleep(Duration::from_millis(100)).await,
            status => panic!("{}: nfsstat3 {status}", name(number, index)),
        }
    }
}

/// The log has an object on every line.
const TOP: &str = "logging: { format: json, slow_calls: 1s }";

/// Ends a server: its log tells the outage and its end in a line each, and no call that waited; a call that
/// was slow spent its time on a database that was away.
async fn told(server: Running) {
    let finished = server.stop().await;
    let object = |line: &str| -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    let lines: Vec<Value> = finished.err.lines().map(object).collect();
    let with = |message: &str| {
        let text = |line: &&Value| line["message"].as_str().unwrap().starts_with(message);
        lines.iter().filter(text).collect::<Vec<_>>()
    };
    let (lost, back) = (with("database lost"), with("database back"));
    assert_eq!((lost.len(), back.len()), (1, 1), "{}", finished.err);
    assert_eq!((&lost[0]["level"], &back[0]["level"]), (&"WARN".into(), &"INFO".into()));
    assert!(lost[0]["error"].is_string() && back[0]["away_ms"].as_u64() > Some(0), "{back:?}");
    assert_eq!(with("a call failed").len(), 0, "{}", finished.err);
    assert!(!lines.iter().any(|line| line["level"] == "ERROR"), "{}", finished.err);
    // A LOOKUP waits for two seconds before its client is told to come again.
    let lookups = with("a call was slow").into_iter().filter(|line| line["procedure"] == "LOOKUP");
    let away: Vec<_> = lookups.filter(|line| line["away_ms"].as_u64() >= Some(1_000)).collect();
    assert!(!away.is_empty(), "{}", finished.err);
    for line in away {
        let time = |name: &str| line[name].as_u64().unwrap();
        assert!(time("other_ms") < time("away_ms"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_outlive_a_crash_of_their_database() {
    let mut cluster = Cluster::start(&[]).await;
    let target =
        format!("host: 127.0.0.1, port: {}, database: postgres, user: postgres", cluster.port);
    let folder = Scene { top: TOP, ..Scene::on(target) }.folder();
    let (one, _) = started(&folder).await;
    let (two, _) = started(&folder).await;
    let load = Load::on(&[one.address, two.address]).await;
    load.goes_on().await;
    let mut readers = [Reader::of(one.address).await, Reader::of(two.address).await];
    cluster.stop();
    for reader in &mut readers {
        reader.is_delayed().await;
    }
    cluster.run().await;
    load.goes_on().await;
    load.nothing_is_lost(two.address).await;
    told(one).await;
    told(two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_under_load() {
    // What is acknowledged is on both.
    let mut primary = Cluster::start(&["synchronous_standby_names=*"]).await;
    let standby = Cluster::standby_of(&primary).await;
    let target = format!(
        "host: [127.0.0.1, 127.0.0.1], port: [{}, {}], database: postgres, user: postgres",
        primary.port, standby.port
    );
    let folder = Scene { top: TOP, ..Scene::on(target) }.folder();
    let (server, _) = started(&folder).await;
    let load = Load::on(&[server.address]).await;
    load.goes_on().await;
    let mut reader = Reader::of(server.address).await;
    primary.stop();
    reader.is_delayed().await;
    standby.sql("SELECT pg_promote()").await;
    load.goes_on().await;
    load.nothing_is_lost(server.address).await;
    told(server).await;
}
