//! A server without a network, and arguments by hand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use trunkfs::content::MemoryContent;
use trunkfs::metadata::memory::MemoryStore;
use trunkfs::metadata::{MetadataStore as _, RootSpec, ShareSpec};
use trunkfs::mount::Mount;
use trunkfs::nfs3::Nfs3;
use trunkfs::rpc::{Arrival, CallMessage, Program, Protocol, Reply, Standing};
use trunkfs::types::{Caller, Credentials, FileHandle, ShareName};
use trunkfs::vfs::{Access, ClientRule, ExportSettings, GroupSource, Squash, Vfs, WriteBehind};
use trunkfs::xdr::{Decoder, Encoder};

/// Arguments of a call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Args(pub(crate) Vec<u8>);

impl Args {
    pub(crate) fn words(mut self, words: &[u32]) -> Self {
        self.0.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        self
    }

    pub(crate) fn opaque(mut self, bytes: &[u8]) -> Self {
        let mut encoder = Encoder::new();
        encoder.opaque(bytes);
        self.0.extend(encoder.finish().segments().concat());
        self
    }

    /// sattr3 with a mode only.
    pub(crate) fn mode(self, mode: u32) -> Self {
        self.words(&[1, mode, 0, 0, 0, 0, 0])
    }
}

/// Arguments that begin with a handle or a path.
pub(crate) fn of(bytes: &[u8]) -> Args {
    Args::default().opaque(bytes)
}

pub(crate) struct Server {
    pub(crate) nfs: Nfs3,
    pub(crate) mount: Mount,
    pub(crate) vfs: Arc<Vfs>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) root: Vec<u8>,
}

impl Server {
    /// Exports `/t` to 127.0.0.0/8 and nothing to the others; its root is 0777 and root's.
    pub(crate) async fn new() -> Self {
        Self::with(MemoryContent::new()).await
    }

    /// The same over other content.
    pub(crate) async fn with(content: MemoryContent) -> Self {
        super::log::keep();
        let store = Arc::new(MemoryStore::new());
        let spec = ShareSpec {
            name: ShareName::parse("/t").unwrap(),
            root: RootSpec { uid: 0, gid: 0, mode: 0o777 },
            chunk_size: 4 << 20,
        };
        let share = store.open_share(&spec).await.unwrap();
        let root = FileHandle { share: share.name.clone(), object: share.root };
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
            content: Arc::new(content),
            write_behind: WriteBehind::default(),
        };
        let vfs = Vfs::new(vec![export]).unwrap();
        let root = root.to_wire().into_bytes();
        let (nfs, mount) = (Nfs3::new(Arc::clone(&vfs)), Mount::new(Arc::clone(&vfs)));
        Self { nfs, mount, vfs, store, root }
    }

    /// Calls NFS as uid and gid 1000.
    pub(crate) async fn nfs(&self, procedure: u32, arguments: Args) -> Reply {
        call(&self.nfs, procedure, arguments, caller()).await
    }

    /// Calls NFS and returns the results.
    pub(crate) async fn results(&self, procedure: u32, arguments: Args) -> Decoder {
        success(self.nfs(procedure, arguments).await)
    }

    /// Calls MOUNT and returns the results.
    pub(crate) async fn mount_results(&self, procedure: u32, arguments: Args) -> Decoder {
        success(call(&self.mount, procedure, arguments, caller()).await)
    }
}

pub(crate) fn caller() -> Caller {
    let credentials = Credentials { uid: 1000, gid: 1000, gids: Vec::new() };
    Caller::new("127.0.0.1:50000".parse().unwrap(), Some(credentials), Duration::from_secs(60))
}

/// A call by a connection of its own.
pub(crate) fn message(caller: Caller, procedure: u32, arguments: Decoder) -> CallMessage {
    let arrival = Arrival { address: [10, 0, 0, 1].into(), protocol: Protocol::Tcp };
    CallMessage { caller, arrival, standing: Standing::default(), procedure, arguments }
}

pub(crate) async fn call(
    program: &impl Program,
    procedure: u32,
    arguments: Args,
    caller: Caller,
) -> Reply {
    let arguments = Decoder::new(Bytes::from(arguments.0));
    let answer = program.call(message(caller, procedure, arguments));
    tokio::time::timeout(Duration::from_secs(120), answer).await.expect("an answer in time")
}

pub(crate) fn success(reply: Reply) -> Decoder {
    let Reply::Success(message) = reply else { panic!("{reply:?}") };
    Decoder::new(message.segments().concat().into())
}

/// Reads post_op_attr, and of it what tests look at.
pub(crate) fn post_op(results: &mut Decoder) -> Option<Attributes> {
    results.boolean().unwrap().then(|| fattr(results))
}

/// Some of fattr3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) kind: u32,
    pub(crate) mode: u32,
    pub(crate) nlink: u32,
    pub(crate) size: u64,
    pub(crate) fileid: u64,
    pub(crate) mtime: u64,
    pub(crate) ctime: u64,
}

pub(crate) fn fattr(results: &mut Decoder) -> Attributes {
    let [kind, mode, nlink] = [(); 3].map(|()| results.u32().unwrap());
    results.fixed::<8>().unwrap();
    let size = results.u64().unwrap();
    results.fixed::<24>().unwrap();
    let [fileid, _atime, mtime, ctime] = [(); 4].map(|()| results.u64().unwrap());
    Attributes { kind, mode, nlink, size, fileid, mtime, ctime }
}

/// wcc_data: size, mtime and ctime before, and the attributes after.
pub(crate) type Wcc = (Option<(u64, u64, u64)>, Option<Attributes>);

pub(crate) fn wcc(results: &mut Decoder) -> Wcc {
    let before = results.boolean().unwrap().then(|| {
        let [size, mtime, ctime] = [(); 3].map(|()| results.u64().unwrap());
        (size, mtime, ctime)
    });
    (before, post_op(results))
}

/// Reads the results of what makes an object: its handle, attributes, and the directory's change.
pub(crate) fn created(mut results: Decoder) -> (Vec<u8>, Attributes, Wcc) {
    assert_eq!(results.u32().unwrap(), 0);
    assert!(results.boolean().unwrap());
    let handle = results.opaque(64).unwrap().to_vec();
    let attributes = post_op(&mut results).unwrap();
    let directory = wcc(&mut results);
    assert_eq!(results.remaining(), 0);
    (handle, attributes, directory)
}
