//! Calls that are given up at every place where they wait: told to end, or dropped. Afterwards no lock is
//! held, names are as before or as after, what was acknowledged is there, and no old byte shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use trunkfs::content::{self, ContentStore, MemoryContent, ObjectContent};
use trunkfs::metadata::memory::MemoryStore;
use trunkfs::metadata::{self, CreateHow, Invariants as _, SetAttributes};
use trunkfs::types::Caller;
use trunkfs::types::{ContentId, Cookie, FileHandle, Name, ObjectId};
use trunkfs::vfs::{Error, ExportSettings, Failure, GroupSource, Stability, Vfs, WriteBehind};

use crate::altered::Altered;
use crate::fixture::{Fixture, caller, rule};
use crate::s3::S3Server;
use crate::stepping::Stepping;
use crate::steps::{Giving, Left, every_wait, give};

/// A call on the scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Read,
    Getattr,
    /// In the middle of the file and beyond its end.
    Write(Stability),
    /// Beyond a gap behind the file's end.
    WriteBeyond,
    Commit,
    Chmod,
    Empty,
    Shrink,
    Grow,
    CreateSized,
    EmptyByCreate,
    Remove,
    RemoveOneName,
    Replace,
    Link,
}

use Operation::{
    Chmod, Commit, CreateSized, Empty, EmptyByCreate, Getattr, Grow, Link, Read, Remove,
    RemoveOneName, Replace, Shrink, Write, WriteBeyond,
};

const ALL: [Operation; 17] = [
    Read,
    Getattr,
    Write(Stability::Unstable),
    Write(Stability::DataSync),
    Write(Stability::FileSync),
    WriteBeyond,
    Commit,
    Chmod,
    Empty,
    Shrink,
    Grow,
    CreateSized,
    EmptyByCreate,
    Remove,
    RemoveOneName,
    Replace,
    Link,
];

/// Bytes of `file` and of `other`, written and not flushed when the call comes.
const OLD: usize = 100;

/// A directory with `file`, also `second`, and `other`, as one instance that waits everywhere and another
/// that has no state of its own see it.
struct Scene {
    one: Arc<Vfs>,
    two: Arc<Vfs>,
    metadata: Arc<MemoryStore>,
    content: Arc<dyn ContentStore>,
    /// No content of the scene is older.
    since: ContentId,
    root: FileHandle,
    file: FileHandle,
    other: FileHandle,
    /// Under which everything was written.
    verifier: [u8; 8],
}

/// What is seen of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    which: &'static str,
    nlink: u32,
    mode: u32,
    bytes: String,
}

/// By name; with the object's id, which differs between scenes.
type State = BTreeMap<String, (ObjectId, Seen)>;

fn without_ids(state: &State) -> BTreeMap<&str, &Seen> {
    state.iter().map(|(name, (_, seen))| (name.as_str(), seen)).collect()
}

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

fn size(size: u64) -> SetAttributes {
    SetAttributes { size: Some(size), ..SetAttributes::default() }
}

/// Locks that stay held would let this wait for ever.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(120), work).await.expect("no lock is held")
}

/// Where content is.
enum Place {
    Memory,
    /// In a bucket; each instance has a store of its own.
    Bucket([Arc<dyn ContentStore>; 2]),
}

impl Place {
    async fn bucket(server: &S3Server) -> Self {
        let store = || async { ObjectContent::open(server.settings()).await.unwrap() };
        Self::Bucket([Arc::new(store().await), Arc::new(store().await)])
    }

    fn stores(&self) -> [Arc<dyn ContentStore>; 2] {
        match self {
            Self::Memory => {
                let store = Arc::new(MemoryContent::new());
                [store.clone(), store]
            }
            Self::Bucket(stores) => stores.clone(),
        }
    }
}

impl Scene {
    async fn new(place: &Place) -> Self {
        let Fixture { metadata, share, .. } = Fixture::new().await;
        let [content, elsewhere] = place.stores();
        let since = ContentId::generate();
        let export = |metadata, content| ExportSettings {
            groups: GroupSource::Client,
            share: share.clone(),
            rules: vec![rule()],
            metadata,
            content,
            write_behind: WriteBehind::default(),
        };
        let stepping = export(
            Arc::new(Stepping(metadata.clone())) as _,
            Arc::new(Altered(Stepping(content.clone()))) as _,
        );
        let one = Vfs::new(vec![stepping]).unwrap();
        let two = Vfs::new(vec![export(metadata.clone(), elsewhere)]).unwrap();
        let root = FileHandle { share: share.name.clone(), object: share.root };
        let (mut file, mut other) = (root.clone(), root.clone());
        for (it, handle) in [("file", &mut file), ("other", &mut other)] {
            let how = CreateHow::Guarded(SetAttributes { mode: Some(0o644), ..size(0) });
            handle.object = one.create(&caller(0), &root, &name(it), &how).await.unwrap().object.id;
        }
        one.link(&caller(0), &file, &root, &name("second")).await.unwrap();
        let mut scene =
            Self { one, two, metadata, content, since, root, file, other, verifier: [0; 8] };
        let caller = caller(0);
        for handle in [&scene.file, &scene.other] {
            // Nothing lies beyond the end, and it is known.
            scene.one.setattr(&caller, handle, &size(0)).await.unwrap();
            let data = Bytes::from(vec![b'o'; OLD]);
            let written = scene.one.write(&caller, handle, 0, data, Stability::Unstable);
            scene.verifier = written.await.unwrap().verifier;
        }
        scene
    }

    async fn call(&self, operation: Operation, caller: &Caller) -> Result<(), Failure> {
        let Self { one, root, file, .. } = self;
        let new = Bytes::from(vec![b'n'; OLD]);
        match operation {
            Read => one.read(caller, file, 0, 1 << 20).await.map(drop),
            Getattr => one.getattr(caller, file).await.map(drop),
            Write(how) => one.write(caller, file, 50, new, how).await.map(drop),
            WriteBeyond => one.write(caller, file, 500, new, Stability::Unstable).await.map(drop),
            Commit => one.commit(caller, file).await.map(drop),
            Chmod => {
                let set = SetAttributes { mode: Some(0o600), ..SetAttributes::default() };
                one.setattr(caller, file, &set).await.map(drop)
            }
            Empty => one.setattr(caller, file, &size(0)).await.map(drop),
            Shrink => one.setattr(caller, file, &size(40)).await.map(drop),
            Grow => one.setattr(caller, file, &size(400)).await.map(drop),
            CreateSized => {
                let how = CreateHow::Guarded(size(70));
                one.create(caller, root, &name("new"), &how).await.map(drop)
            }
            EmptyByCreate => {
                let how = CreateHow::Unchecked(size(0));
                one.create(caller, root, &name("file"), &how).await.map(drop)
            }
            Remove => one.remove(caller, root, &name("other")).await.map(drop),
            RemoveOneName => one.remove(caller, root, &name("file")).await.map(drop),
            Replace => {
                one.rename(caller, root, &name("file"), root, &name("other")).await.map(drop)
            }
            Link => one.link(caller, file, root, &name("third")).await.map(drop),
        }
    }

    async fn state(&self, vfs: &Vfs) -> State {
        let mut state = State::new();
        let done = vfs.readdir(&caller(0), &self.root, Cookie(0), 100, true).await.unwrap();
        for entry in done.page.entries {
            let handle = FileHandle { object: entry.object, ..self.root.clone() };
            let which = match &handle {
                it if *it == self.file => "file",
                it if *it == self.other => "other",
                _ => "new",
            };
            let attributes = entry.attributes.unwrap();
            let read = vfs.read(&caller(0), &handle, 0, 1 << 20).await.unwrap();
            assert_eq!((attributes.size, read.eof), (read.data.len() as u64, true), "{which}");
            let (nlink, mode) = (attributes.nlink, attributes.mode);
            let seen = Seen {
                which,
                nlink,
                mode,
                bytes: String::from_utf8(read.data.copy().unwrap()).unwrap(),
            };
            state.insert(entry.name.to_string(), (entry.object, seen));
        }
        state
    }

    /// What must hold whatever became of the call: everything seen is durable after COMMIT, or the verifier
    /// is another one, and what a file grows by is zeros.
    async fn sound(&self) {
        let seen = soon(self.state(&self.one)).await;
        let mut verifiers = Vec::new();
        for file in [&self.file, &self.other] {
            match soon(self.one.commit(&caller(0), file)).await {
                Ok(done) => verifiers.push(done.verifier),
                Err(failure) => assert!(is_stale(&failure), "{failure:?}"),
            }
        }
        if verifiers.iter().all(|verifier| *verifier == self.verifier) {
            assert_eq!(self.state(&self.two).await, seen, "what COMMIT promised");
        }
        let sizes: BTreeMap<_, _> =
            seen.values().map(|(object, seen)| (*object, seen.bytes.len())).collect();
        for (object, size) in sizes {
            let handle = FileHandle { object, ..self.root.clone() };
            let (end, data) = (size as u64 + 300, Bytes::from_static(b"end"));
            let caller = caller(0);
            let write = self.one.write(&caller, &handle, end, data, Stability::FileSync);
            soon(write).await.unwrap();
            let read =
                self.two.read(&caller, &handle, 0, 1 << 20).await.unwrap().data.copy().unwrap();
            assert_eq!(read[size..], [&[0; 300][..], b"end"].concat(), "old bytes show");
        }
        assert_eq!(self.metadata.inconsistencies().await.unwrap(), [""; 0]);
    }

    /// Content that no file has.
    async fn garbage(&self) -> Vec<ContentId> {
        let mut ids = self.content.list(Some(self.since), 100).await.unwrap();
        for (object, _) in self.state(&self.two).await.values() {
            let handle = FileHandle { object: *object, ..self.root.clone() };
            let content = self.two.getattr(&caller(0), &handle).await.unwrap().content.unwrap();
            ids.retain(|id| *id != content.id);
        }
        ids
    }
}

fn is_stale(failure: &Failure) -> bool {
    matches!(failure.error, Error::Metadata(metadata::Error::Stale))
}

fn is_cancelled(failure: &Failure) -> bool {
    matches!(
        failure.error,
        Error::Metadata(metadata::Error::Cancelled) | Error::Content(content::Error::Cancelled)
    )
}

/// Whether the state lies between the two as far as the operation may be done in part: of a WRITE any bytes
/// may be there, and of a CREATE that is dropped, never of one that is told to end, the file without its
/// size.
fn lies_between(operation: Operation, giving: Giving, state: &State, ends: [&State; 2]) -> bool {
    let state = without_ids(state);
    let [before, after] = ends.map(without_ids);
    match operation {
        Write(_) | WriteBeyond => {
            state.keys().eq(before.keys())
                && state.iter().all(|(name, seen)| {
                    let [old, new, seen] =
                        [before[name], after[name], seen].map(|it| it.bytes.as_bytes());
                    let mut bytes = seen.iter().enumerate();
                    [old.len(), new.len()].contains(&seen.len())
                        && bytes.all(|(at, byte)| [old.get(at), new.get(at)].contains(&Some(byte)))
                })
        }
        CreateSized if giving == Giving::Away => {
            let mut made = after;
            let empty = Seen { bytes: String::new(), ..made["new"].clone() };
            made.insert("new", &empty);
            state == made
        }
        _ => false,
    }
}

async fn given_up(place: &Place, operation: Operation, giving: Giving) {
    let undisturbed = Scene::new(place).await;
    let before = undisturbed.state(&undisturbed.one).await;
    undisturbed.call(operation, &caller(0)).await.unwrap();
    let after = undisturbed.state(&undisturbed.one).await;
    undisturbed.sound().await;
    for waits in every_wait() {
        let scene = Scene::new(place).await;
        let caller = caller(0);
        let left = give(giving, scene.call(operation, &caller), waits, &caller.call.cancel).await;
        let state = soon(scene.state(&scene.one)).await;
        let at = format!("{operation:?} given {giving:?} after {waits}: {left:?}");
        let between = lies_between(operation, giving, &state, [&before, &after]);
        let is = |end: &State| without_ids(&state) == without_ids(end);
        let (was, is) = (is(&before), is(&after));
        match &left {
            Left::Done(Ok(())) | Left::Ended(Ok(())) => assert!(is, "{at}: {state:?}"),
            Left::Ended(Err(failure)) if is_cancelled(failure) => {
                assert!(was || between, "{at}: {state:?}");
            }
            Left::Done(Err(_)) | Left::Ended(Err(_)) => panic!("{at}"),
            Left::Dropped => assert!(was || is || between, "{at}: {state:?}"),
        }
        scene.sound().await;
        if giving == Giving::Up {
            assert_eq!(scene.garbage().await, [], "{at}");
        }
        if matches!(left, Left::Done(_)) {
            return;
        }
    }
}

async fn every_call(place: &Place, giving: Giving) {
    for operation in ALL {
        given_up(place, operation, giving).await;
    }
}

#[tokio::test]
async fn every_call_is_cancelled_wherever_it_waits() {
    every_call(&Place::Memory, Giving::Up).await;
}

#[tokio::test]
async fn every_call_is_dropped_wherever_it_waits() {
    every_call(&Place::Memory, Giving::Away).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_on_content_in_a_bucket_is_cancelled_wherever_it_waits() {
    let server = S3Server::start().await;
    every_call(&Place::bucket(&server).await, Giving::Up).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_on_content_in_a_bucket_is_dropped_wherever_it_waits() {
    let server = S3Server::start().await;
    every_call(&Place::bucket(&server).await, Giving::Away).await;
}
