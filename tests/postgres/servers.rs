//! Two whole servers on one database and one folder: the bytes of files whose calls come to both.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng as _;
use tempfile::TempDir;
use tokio::time::Instant;
use trunkfs::content::{FilesystemContent, FilesystemSettings};
use trunkfs::metadata::postgres::{Cache, LeaseTimes, PostgresStore, Settings};
use trunkfs::metadata::{
    CreateHow, Invariants as _, MetadataStore as _, Namespace as _, RootSpec, SetAttributes,
    ShareSpec,
};
use trunkfs::types::{FileHandle, Name, ShareName};
use trunkfs::vfs::{
    Access, ClientRule, ExportSettings, GroupSource, Squash, Stability, Vfs, WriteBehind,
};

use crate::database::TestDatabase;
use crate::spread::{
    Client, caller, calls_at_once, many_clients, new_file, one_client, read, set_size,
};
use crate::support::CALL_LIMIT;

/// Servers of one share.
struct Scene {
    stores: Vec<Arc<PostgresStore>>,
    servers: Vec<Arc<Vfs>>,
    root: FileHandle,
    database: TestDatabase,
    folder: TempDir,
}

fn settings(database: &TestDatabase, quiet: Duration) -> Settings {
    let ttl = Duration::from_secs(3600);
    let lease =
        LeaseTimes { ttl, quiet, watch: Duration::from_millis(20), ..LeaseTimes::default() };
    Settings { cache: Cache::Auto, lease, ..database.settings() }
}

impl Scene {
    /// One server, which is alone.
    async fn alone() -> Self {
        let database = TestDatabase::create().await;
        let folder = tempfile::tempdir().unwrap();
        let share = ShareName::parse("/t").unwrap();
        let object = trunkfs::types::ObjectId::generate();
        let root = FileHandle { share, object };
        let mut scene = Self { stores: Vec::new(), servers: Vec::new(), root, database, folder };
        scene.add(Duration::ZERO).await;
        let limit = Instant::now() + CALL_LIMIT;
        while !scene.stores[0].is_alone() {
            assert!(Instant::now() < limit, "the lease is not taken");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        scene
    }

    async fn pair() -> Self {
        let mut scene = Self::alone().await;
        scene.add(Duration::from_secs(3600)).await;
        scene
    }

    async fn add(&mut self, quiet: Duration) {
        let store = PostgresStore::connect(settings(&self.database, quiet)).await.unwrap();
        let store = Arc::new(store);
        let spec = ShareSpec {
            name: self.root.share.clone(),
            root: RootSpec { uid: 0, gid: 0, mode: 0o777 },
            chunk_size: 4 << 20,
        };
        let share = store.open_share(&spec).await.unwrap();
        self.root.object = share.root;
        let base_path = self.folder.path().join("content");
        let content = FilesystemSettings { base_path, max_open_files: Some(64) };
        let rule = ClientRule {
            network: "127.0.0.0/8".parse().unwrap(),
            access: Access::ReadWrite,
            squash: Squash::None,
            anonuid: 65_534,
            anongid: 65_534,
            require_reserved_port: false,
        };
        let export = ExportSettings {
            groups: GroupSource::Client,
            share,
            rules: vec![rule],
            metadata: Arc::clone(&store) as _,
            content: Arc::new(FilesystemContent::open(content).await.unwrap()),
            write_behind: WriteBehind::default(),
        };
        self.servers.push(Vfs::new(vec![export]).unwrap());
        self.stores.push(store);
    }

    async fn file(&self) -> FileHandle {
        new_file(&self.servers[0], &self.root, &format!("{:x}", rand::rng().random::<u64>())).await
    }

    async fn end(self) {
        assert_eq!(self.stores[0].inconsistencies().await.unwrap(), Vec::<String>::new());
        for (store, server) in self.stores.iter().zip(&self.servers) {
            server.flush_all(Instant::now() + CALL_LIMIT).await;
            store.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_calls_are_spread_finds_what_it_wrote() {
    let scene = Scene::pair().await;
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let client = Client::new(scene.servers.clone(), scene.file().await, seed);
    one_client(client, 60, 200_000, seed).await;
    let client = Client::new(scene.servers.clone(), scene.file().await, seed).in_turn();
    one_client(client, 60, 200_000, seed).await;
    many_clients(scene.servers.clone(), scene.file().await, (4, 10, 40_000), seed).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_writes_come_to_both_at_once_is_whole() {
    let scene = Scene::pair().await;
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    calls_at_once(scene.servers.clone(), scene.root.clone(), (40, 6, 100_000), seed).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_commits_come_to_the_other_server_comes_to_an_end() {
    let scene = Scene::pair().await;
    let mut client = Client::new(scene.servers.clone(), scene.file().await, 1).in_turn();
    for round in 0..10_u8 {
        let data = Bytes::from(vec![round + 1; 10_000]);
        client.write(u64::from(round) * 10_000, data, Stability::Unstable).await;
        client.commit().await;
    }
    assert!(client.rounds <= 2, "{} rounds", client.rounds);
    let expected: Vec<u8> = (0..10_u8).flat_map(|round| vec![round + 1; 10_000]).collect();
    for server in &scene.servers {
        assert!(read(server, &client.file).await == expected);
    }
    scene.end().await;
}

/// A server that is alone cuts content where it is. Another server's first change comes after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lease_is_given_up_after_what_only_its_holder_may_do() {
    let mut scene = Scene::alone().await;
    let hold = scene.stores[0].sole().unwrap();
    assert!(hold.left().is_some());
    let file = scene.file().await;
    scene.add(Duration::from_secs(3600)).await;
    let (server, other) = (Arc::clone(&scene.servers[1]), file.clone());
    let change = tokio::spawn(async move { set_size(&server, &other, 7).await });
    let limit = Instant::now() + CALL_LIMIT;
    while hold.left().is_some() {
        assert!(Instant::now() < limit, "the lease is not given up");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(scene.stores[0].sole().is_none());
    // Its own changes go on meanwhile: the holder may wait for one.
    let how = CreateHow::Guarded(SetAttributes::default());
    let (root, name) = (scene.root.clone(), Name::parse(b"meanwhile").unwrap());
    let caller = caller();
    let create = scene.servers[0].create(&caller, &root, &name, &how);
    tokio::time::timeout(Duration::from_secs(20), create).await.unwrap().unwrap();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!change.is_finished(), "it was changed beside the holder");
    }
    drop(hold);
    change.await.unwrap();
    assert_eq!(read(&scene.servers[0], &file).await, [0; 7]);
    scene.end().await;
}

/// What was written while a server was alone, and what it had begun, goes on when another one comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_disturbs_no_writer() {
    for _ in 0..3 {
        let mut scene = Scene::alone().await;
        let seed: u64 = rand::rng().random();
        println!("seed {seed}");
        let client = Client::new(scene.servers.clone(), scene.file().await, seed);
        let work = tokio::spawn(one_client(client, 200, 100_000, seed));
        tokio::time::sleep(Duration::from_millis(50)).await;
        scene.add(Duration::from_secs(3600)).await;
        let client = Client::new(scene.servers.clone(), scene.file().await, seed);
        one_client(client, 10, 100_000, seed).await;
        work.await.unwrap();
        scene.end().await;
    }
}
