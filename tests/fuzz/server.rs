//! Records of a kernel's mount, mutated, on their way to a server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trunkfs::content::{FilesystemContent, FilesystemSettings};
use trunkfs::metadata::memory::MemoryStore;
use trunkfs::metadata::{
    CreateHow, Locks, MetadataStore as _, Namespace as _, RootSpec, SetAttributes, ShareSpec,
};
use trunkfs::mount::Mount;
use trunkfs::net::{Server, ServerSettings};
use trunkfs::nfs3::Nfs3;
use trunkfs::nlm::{self, LockService, LockStores, Nlm};
use trunkfs::nsm::Nsm;
use trunkfs::types::{Context, FileHandle, Name, ObjectId, ShareName, SymlinkTarget};
use trunkfs::vfs::{Access, ClientRule, ExportSettings, GroupSource, Squash, Vfs, WriteBehind};

use crate::client::{Call, Connection, Outcome, PATIENCE, Reply};
use crate::inputs::Inputs;
use crate::mutate::mutated;

/// Calls of a Linux client on a mount of `/export`, one a line in hexadecimal digits.
const CORPUS: &str = include_str!("corpus/linux.records");
/// Calls of lock managers and status monitors.
const LOCKS: &str = include_str!("corpus/locks.records");
/// How a handle of `/export` begins, and its length.
const HANDLE_START: &[u8] = b"L2V4cG9yd";
const HANDLE_BYTES: usize = 32;
/// For the longest records and their replies, and what the files that are made take.
const BOUND: usize = 64 << 20;
const NFS: u32 = 100_003;
const MOUNT: u32 = 100_005;
const NLM: u32 = 100_021;
const NSM: u32 = 100_024;

/// RFC 1813 section 2.6.
const NFS_STATUS: [u32; 29] = [
    0, 1, 2, 5, 6, 13, 17, 18, 19, 20, 21, 22, 27, 28, 30, 31, 63, 66, 69, 70, 71, 10001, 10002,
    10003, 10004, 10005, 10006, 10007, 10008,
];
/// RFC 1813 section 5.1.5.
const MOUNT_STATUS: [u32; 10] = [0, 1, 2, 5, 13, 20, 22, 63, 10004, 10006];

struct Fixture {
    address: SocketAddr,
    /// Of objects of every kind.
    handles: Vec<Vec<u8>>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    _folder: TempDir,
}

impl Fixture {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base_path = folder.path().join("content");
        let settings = FilesystemSettings { base_path, max_open_files: Some(64) };
        let content = Arc::new(FilesystemContent::open(settings).await.unwrap());
        let metadata = Arc::new(MemoryStore::new());
        let spec = ShareSpec {
            name: ShareName::parse("/export").unwrap(),
            root: RootSpec { uid: 0, gid: 0, mode: 0o777 },
            chunk_size: 1 << 16,
        };
        let share = metadata.open_share(&spec).await.unwrap();
        let cx = Context::internal(share.id, PATIENCE);
        let (root, set) =
            (share.root, SetAttributes { mode: Some(0o777), ..SetAttributes::default() });
        let name = |text: &str| Name::parse(text.as_bytes()).unwrap();
        let folder_of = metadata.mkdir(&cx, root, &name("folder"), &set).await.unwrap();
        let file =
            metadata.create(&cx, root, &name("file"), &CreateHow::Guarded(set.clone())).await;
        let target = SymlinkTarget::parse(b"target").unwrap();
        let link = metadata.symlink(&cx, root, &name("link"), &target, &set).await.unwrap();
        let objects = [root, folder_of.object.id, file.unwrap().object.id, link.object.id];
        let gone = ObjectId::generate();
        let handle =
            |object| FileHandle { share: share.name.clone(), object }.to_wire().into_bytes();
        let handles: Vec<_> = objects.into_iter().chain([gone]).map(handle).collect();
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
            metadata: metadata.clone(),
            content,
            write_behind: WriteBehind::default(),
        };
        let vfs = Vfs::new(vec![export]).unwrap();
        let mut settings = ServerSettings::new(vec!["127.0.0.1:0".parse().unwrap()]);
        settings.request_timeout = PATIENCE;
        let mut programs: Vec<Arc<dyn trunkfs::rpc::Program>> =
            vec![Arc::new(Nfs3::new(vfs.clone())), Arc::new(Mount::new(vfs.clone()))];
        let store: Arc<dyn Locks> = metadata;
        let stores = LockStores::from([(ShareName::parse("/export").unwrap(), store)]);
        // No client has a port mapper at that port.
        let settings_of_locks = nlm::Settings { mapper_port: 1, ..nlm::Settings::default() };
        let locks = LockService::new(vfs.clone(), stores, &settings_of_locks);
        programs.push(Arc::new(Nsm::new(locks.clone())));
        for version in Nlm::versions(&locks) {
            programs.push(Arc::new(version));
        }
        let server = Server::bind(settings, programs).await.unwrap();
        let (address, shutdown) = (server.local_addr(), CancellationToken::new());
        let token = shutdown.clone();
        let task = tokio::spawn(async move {
            let locking = locks.run(server.handle().clients().clone(), token.clone());
            let (ran, (), ()) =
                tokio::join!(server.run(token.clone()), vfs.maintain(token), locking);
            ran.unwrap();
        });
        Self { address, handles, shutdown, task, _folder: folder }
    }

    /// The records, with a handle of the server's for each of theirs.
    fn corpus(&self, random: &mut StdRng, records: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut records = records.to_vec();
        for record in &mut records {
            let mut at = 0;
            while at + HANDLE_BYTES <= record.len() {
                if record[at..].starts_with(HANDLE_START) {
                    let handle = self.handles.choose(random).unwrap();
                    record[at..at + HANDLE_BYTES].copy_from_slice(handle);
                    at += HANDLE_BYTES;
                } else {
                    at += 1;
                }
            }
        }
        records
    }

    async fn connect(&self) -> Connection {
        Connection::open(self.address).await
    }
}

fn records() -> Vec<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    let lines = CORPUS.lines().chain(LOCKS.lines()).filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            line.as_bytes().chunks(2).map(|two| digit(two[0]) * 16 + digit(two[1])).collect()
        })
        .collect()
}

fn word(record: &[u8], index: usize) -> Option<u32> {
    let bytes = record.get(index * 4..index * 4 + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().unwrap()))
}

/// What the server says of `record` is one of the answers that the RFCs have.
fn check(record: &[u8], reply: &Reply) {
    let Outcome::Success(results) = &reply.outcome else {
        assert_ne!(reply.outcome, Outcome::SystemError);
        return;
    };
    let (program, procedure) = (word(record, 3).unwrap(), word(record, 5).unwrap());
    let status = match (program, procedure) {
        (NFS, 1..) => &NFS_STATUS[..],
        (MOUNT, 1) => &MOUNT_STATUS[..],
        (NLM, 1..=4 | 20..=22) => return check_lock(word(record, 4).unwrap(), results),
        _ => return,
    };
    let answered = word(results, 0).expect("a status");
    assert!(status.contains(&answered), "status {answered} of procedure {procedure}");
}

/// A cookie, and a status that the version has.
fn check_lock(version: u32, results: &[u8]) {
    let cookie = word(results, 0).expect("a cookie").div_ceil(4) as usize;
    let status = word(results, 1 + cookie).expect("a status");
    assert!(status <= if version == 4 { 9 } else { 4 }, "status {status} of version {version}");
}

/// The record in fragments.
fn fragments(random: &mut StdRng, record: &[u8]) -> Vec<u8> {
    let mut cuts: BTreeSet<usize> = BTreeSet::from([record.len()]);
    for _ in 0..random.random_range(0..4) {
        cuts.insert(random.random_range(0..=record.len()));
    }
    let (mut bytes, mut start) = (Vec::new(), 0);
    for end in cuts {
        let last = if end == record.len() { 1 << 31 } else { 0 };
        bytes.extend_from_slice(&(u32::try_from(end - start).unwrap() | last).to_be_bytes());
        bytes.extend_from_slice(&record[start..end]);
        start = end;
    }
    bytes
}

#[test]
fn the_corpus_has_every_procedure_that_a_mount_calls() {
    let called: BTreeSet<_> = records()
        .iter()
        .map(|record| (word(record, 3).unwrap(), word(record, 5).unwrap()))
        .collect();
    let nfs = (1..=21).map(|procedure| (NFS, procedure));
    let locks = (0..=4).chain(6..=9).chain(11..=16).chain(20..=23).map(|it| (NLM, it));
    let all = nfs.chain([(MOUNT, 1)]).chain(locks).chain((0..=6).map(|it| (NSM, it)));
    let missing: Vec<_> = all.filter(|it| !called.contains(it)).collect();
    assert_eq!(missing, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_answers_records_as_the_rfcs_say_or_closes() {
    let fixture = Fixture::start().await;
    let (records, mut answered, mut closed) = (records(), 0, 0);
    let mut connection = fixture.connect().await;
    let mut inputs = Inputs::new("records", BOUND);
    // Calls of this connection without a reply, by their xid.
    let (mut calls, mut xid) = (BTreeMap::new(), 0_u32);
    while let Some(mut random) = inputs.next() {
        let corpus = fixture.corpus(&mut random, &records);
        let mut record = mutated(&mut random, &corpus);
        xid += 2;
        if let Some(first) = record.get_mut(..4) {
            first.copy_from_slice(&xid.to_be_bytes());
        }
        let null = Call::new(NFS, 3, 0).encode(xid + 1);
        let sent = [fragments(&mut random, &record), fragments(&mut random, &null)].concat();
        calls.insert(xid, record);
        // Where the server has closed meanwhile, nothing comes back.
        connection.try_send_bytes(&sent).await.ok();
        loop {
            let Some(reply) = connection.record_or_end().await.map(Reply::decode) else {
                closed += 1;
                calls.clear();
                connection = fixture.connect().await;
                break;
            };
            if reply.xid == xid + 1 {
                assert_eq!(reply.outcome, Outcome::Success(Vec::new()));
                break;
            }
            let call = calls.remove(&reply.xid).expect("one reply to each call");
            check(&call, &reply);
            answered += 1;
        }
    }
    assert!(answered > 0 && closed > 0, "{answered} answered, {closed} closed");
    drop(connection);
    fixture.shutdown.cancel();
    fixture.task.await.unwrap();
}

/// Marks that promise what does not come, and bytes between records. The client sends nothing more, so the
/// server closes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_closes_after_a_stream_that_is_cut() {
    let fixture = Fixture::start().await;
    let mut random = StdRng::seed_from_u64(0);
    let records: Vec<_> = records().iter().map(|it| fragments(&mut random, it)).collect();
    let mut inputs = Inputs::new("streams", BOUND);
    while let Some(mut random) = inputs.next() {
        let mut connection = fixture.connect().await;
        let stream = mutated(&mut random, &records);
        // The server may have closed meanwhile.
        if connection.try_send_bytes(&stream).await.is_ok() {
            connection.try_finish().await.ok();
        }
        while let Some(record) = connection.record_or_end().await {
            Reply::decode(record);
        }
    }
    let mut connection = fixture.connect().await;
    let null = tokio::time::timeout(Duration::from_secs(60), connection.call(Call::new(NFS, 3, 0)));
    assert_eq!(null.await.unwrap().outcome, Outcome::Success(Vec::new()));
    drop(connection);
    fixture.shutdown.cancel();
    fixture.task.await.unwrap();
}
