//! Two servers that write to the same files: through a folder that both have, and through a bucket.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng as _;
use tempfile::TempDir;
use trunkfs::content::{
    ContentStore, FilesystemContent, FilesystemSettings, MemoryContent, ObjectContent,
};
use trunkfs::metadata::memory::MemoryStore;
use trunkfs::metadata::{MetadataStore as _, Namespace as _, RootSpec, Share, ShareSpec};
use trunkfs::types::{Context, FileHandle, ShareName};
use trunkfs::vfs::{ExportSettings, GroupSource, Stability, Vfs, WriteBehind};

use crate::altered::Altered;
use crate::fixture::{rule, unstable, write};
use crate::s3::S3Server;
use crate::spread::{Client, calls_at_once, many_clients, new_file, one_client, read, set_size};
use crate::stepping::{Several, Stepping};
use crate::steps::{every_wait, wait_times};

/// Where the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Memory,
    Folder,
    Bucket,
}

const PLACES: [Place; 3] = [Place::Memory, Place::Folder, Place::Bucket];

/// Servers of one share.
struct Scene {
    servers: Vec<Arc<Vfs>>,
    metadata: Arc<MemoryStore>,
    share: Share,
    root: FileHandle,
    _folder: TempDir,
    _bucket: Option<S3Server>,
}

impl Scene {
    async fn new(place: Place) -> Self {
        Self::around(place, |content| content).await
    }

    /// The first server's content goes through `around`.
    async fn around(
        place: Place,
        around: impl FnOnce(Arc<dyn ContentStore>) -> Arc<dyn ContentStore>,
    ) -> Self {
        let metadata = Arc::new(MemoryStore::new());
        let spec = ShareSpec {
            name: ShareName::parse("/t").unwrap(),
            root: RootSpec { uid: 0, gid: 0, mode: 0o777 },
            chunk_size: 64 << 10,
        };
        let share = metadata.open_share(&spec).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let bucket = match place {
            Place::Bucket => Some(S3Server::start().await),
            Place::Memory | Place::Folder => None,
        };
        let memory = Arc::new(MemoryContent::new());
        let open = async || -> Arc<dyn ContentStore> {
            match (place, &bucket) {
                (Place::Bucket, Some(bucket)) => {
                    Arc::new(ObjectContent::open(bucket.settings()).await.unwrap()) as _
                }
                (Place::Folder, _) => {
                    let base_path = folder.path().join("content");
                    let settings = FilesystemSettings { base_path, max_open_files: Some(64) };
                    Arc::new(FilesystemContent::open(settings).await.unwrap()) as _
                }
                (Place::Memory | Place::Bucket, _) => Arc::clone(&memory) as _,
            }
        };
        let (first, second) = (around(open().await), open().await);
        let servers = [first, second].map(|content| server(&share, &metadata, content));
        let root = FileHandle { share: share.name.clone(), object: share.root };
        let servers = servers.to_vec();
        Self { servers, metadata, share, root, _folder: folder, _bucket: bucket }
    }

    async fn file(&self) -> FileHandle {
        new_file(&self.servers[0], &self.root, &format!("{:x}", rand::rng().random::<u64>())).await
    }
}

fn server(share: &Share, metadata: &Arc<MemoryStore>, content: Arc<dyn ContentStore>) -> Arc<Vfs> {
    let export = ExportSettings {
        groups: GroupSource::Client,
        share: share.clone(),
        rules: vec![rule()],
        metadata: Arc::new(Several(Arc::clone(metadata))),
        content,
        write_behind: WriteBehind::default(),
    };
    Vfs::new(vec![export]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_calls_are_spread_by_chance_finds_what_it_wrote() {
    for place in PLACES {
        let scene = Scene::new(place).await;
        let seed: u64 = rand::rng().random();
        println!("{place:?}: seed {seed}");
        let rounds = if place == Place::Bucket { 60 } else { 150 };
        let client = Client::new(scene.servers.clone(), scene.file().await, seed);
        one_client(client, rounds, 200_000, seed).await;
        let client = Client::new(scene.servers.clone(), scene.file().await, seed).in_turn();
        one_client(client, rounds, 200_000, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_one_file_lose_nothing_to_each_other() {
    for place in PLACES {
        let scene = Scene::new(place).await;
        let seed: u64 = rand::rng().random();
        println!("{place:?}: seed {seed}");
        let extent = if place == Place::Bucket { (4, 8, 40_000) } else { (4, 30, 40_000) };
        many_clients(scene.servers.clone(), scene.file().await, extent, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_writes_come_to_both_at_once_is_whole() {
    for place in PLACES {
        let scene = Scene::new(place).await;
        let seed: u64 = rand::rng().random();
        println!("{place:?}: seed {seed}");
        let extent = if place == Place::Bucket { (8, 6, 40_000) } else { (60, 6, 100_000) };
        calls_at_once(scene.servers.clone(), scene.root.clone(), extent, seed).await;
    }
}

/// A server that was alone recorded the size and died before it cut the content; the client repeats the call
/// while its successor is not alone yet.
#[tokio::test]
async fn a_truncation_that_is_repeated_after_a_crash_leaves_nothing_to_see() {
    for place in PLACES {
        let mut kept = None;
        let scene = Scene::around(place, |content| {
            kept = Some(Arc::clone(&content));
            content
        });
        let scene = scene.await;
        let (kept, server) = (kept.unwrap(), &scene.servers[1]);
        let file = scene.file().await;
        write(server, &file, 0, b"abc", Stability::FileSync).await.unwrap();
        let cx = Context::internal(scene.share.id, Duration::from_secs(60));
        let content = scene.metadata.getattr(&cx, file.object).await.unwrap().content.unwrap();
        let kept = kept.in_chunks(scene.share.chunk_size);
        kept.write(&cx.call, content.id, 3, Bytes::from_static(b"old old old")).await.unwrap();
        kept.commit(&cx.call, content.id).await.unwrap();
        set_size(server, &file, 3).await;
        unstable(server, &file, 6, b"xyz").await;
        assert_eq!(read(server, &file).await, b"abc\0\0\0xyz", "{place:?}");
    }
}

/// A WRITE and its COMMIT never come to the same server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_commits_come_to_another_server_comes_to_an_end() {
    for place in PLACES {
        let scene = Scene::new(place).await;
        let mut client = Client::new(scene.servers.clone(), scene.file().await, 1).in_turn();
        for round in 0..10_u8 {
            let data = Bytes::from(vec![round + 1; 10_000]);
            client.write(u64::from(round) * 10_000, data, Stability::Unstable).await;
            client.commit().await;
        }
        assert!(client.rounds <= 2, "{place:?}: {} rounds", client.rounds);
        let expected: Vec<u8> = (0..10_u8).flat_map(|round| vec![round + 1; 10_000]).collect();
        for server in &scene.servers {
            assert!(read(server, &client.file).await == expected, "{place:?}");
        }
    }
}

/// What one server does to a file of 3,000 bytes while the other stands still.
#[derive(Clone, Copy, Debug)]
enum Work {
    Size(u64),
    Write(u64, Stability),
}

impl Work {
    async fn run(self, server: &Vfs, file: &FileHandle, byte: u8) {
        match self {
            Self::Size(size) => set_size(server, file, size).await,
            Self::Write(offset, stability) => {
                let mut stability = stability;
                loop {
                    let sent = write(server, file, offset, &[byte; 100], stability).await.unwrap();
                    if sent.stability > Stability::Unstable
                        || crate::fixture::commit(server, file).await.unwrap().verifier
                            == sent.verifier
                    {
                        return;
                    }
                    stability = Stability::FileSync;
                }
            }
        }
    }

    fn apply(self, model: &mut Vec<u8>, byte: u8) {
        match self {
            Self::Size(size) => model.resize(size as usize, 0),
            Self::Write(offset, _) => {
                let end = offset as usize + 100;
                model.resize(model.len().max(end), 0);
                model[end - 100..end].fill(byte);
            }
        }
    }
}

/// The first server stands still at every place where it waits; what the second has answered meanwhile holds
/// when it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_on_late_undoes_nothing() {
    let works = [
        Work::Size(0),
        Work::Size(1_000),
        Work::Size(2_950),
        Work::Size(3_000),
        Work::Size(6_000),
        Work::Write(500, Stability::Unstable),
        Work::Write(2_950, Stability::FileSync),
        Work::Write(5_000, Stability::FileSync),
        Work::Write(7_000, Stability::Unstable),
    ];
    for place in PLACES {
        let around = |inner: Arc<dyn ContentStore>| -> Arc<dyn ContentStore> {
            Arc::new(Altered(Stepping(inner)))
        };
        let scene = Scene::around(place, around).await;
        let [one, two] = &scene.servers[..] else { panic!("two servers") };
        for late in works {
            for early in works {
                let few = place == Place::Bucket && !matches!((late, early), (Work::Size(_), _));
                for waits in every_wait().step_by(if few { 7 } else { 1 }) {
                    let file = scene.file().await;
                    write(two, &file, 0, &[b'-'; 3_000], Stability::FileSync).await.unwrap();
                    let mut work = pin!(late.run(one, &file, b'l'));
                    let ended = wait_times(work.as_mut(), waits).await.is_some();
                    early.run(two, &file, b'e').await;
                    if !ended {
                        work.await;
                    }
                    // And what is behind the end is nothing.
                    let orders = [[(late, b'l'), (early, b'e')], [(early, b'e'), (late, b'l')]];
                    let models = orders.map(|order| {
                        let mut model = vec![b'-'; 3_000];
                        for (work, byte) in order {
                            work.apply(&mut model, byte);
                        }
                        model.resize(9_000, 0);
                        model.push(b'!');
                        model
                    });
                    write(two, &file, 9_000, b"!", Stability::FileSync).await.unwrap();
                    let found = read(one, &file).await;
                    assert!(read(two, &file).await == found);
                    let fits = if ended { &models[..1] } else { &models[..] };
                    assert!(
                        fits.contains(&found),
                        "{place:?}: {late:?} waits {waits} times for {early:?}: {} bytes, {:?}",
                        found.len(),
                        summary(&found)
                    );
                    if ended {
                        break;
                    }
                }
            }
        }
    }
}

/// Runs of equal bytes.
fn summary(bytes: &[u8]) -> Vec<(usize, char)> {
    let runs = bytes.chunk_by(|one, two| one == two);
    runs.map(|run| (run.len(), char::from(run[0]))).collect()
}

/// What a client of a bucket has sent again to another server, and gone on from there, is not stored over by
/// the first one, whatever calls still come to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_again_elsewhere_is_not_stored_over_what_came_after() {
    for place in PLACES {
        let scene = Scene::new(place).await;
        let [one, two] = &scene.servers[..] else { panic!("two servers") };
        let file = scene.file().await;
        unstable(one, &file, 10, b"first").await;
        for data in [b"first", b"later"] {
            write(two, &file, 10, data, Stability::FileSync).await.unwrap();
        }
        write(one, &file, 20, b"other", Stability::FileSync).await.unwrap();
        one.flush_all(tokio::time::Instant::now() + Duration::from_secs(60)).await;
        for server in [one, two] {
            assert_eq!(read(server, &file).await[10..], b"later\0\0\0\0\0other"[..], "{place:?}");
        }
    }
}
