//! What calls leave behind in the table of files with state.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::content::MemoryContent;
use crate::metadata::memory::MemoryStore;
use crate::metadata::{CreateHow, MetadataStore as _, RootSpec, SetAttributes, ShareSpec};
use crate::types::{Caller, Credentials, FileHandle, Name, ObjectId, ShareName, Timestamp};
use crate::vfs::export::Export;
use crate::vfs::{
    Access, ClientRule, ExportSettings, GroupSource, Squash, Stability, Vfs, WriteBehind,
};

struct World {
    vfs: Arc<Vfs>,
    share: crate::metadata::Share,
}

impl World {
    async fn new() -> Self {
        let metadata = Arc::new(MemoryStore::new());
        let name = ShareName::parse("/t").unwrap();
        let root = RootSpec { uid: 0, gid: 0, mode: 0o777 };
        let spec = ShareSpec { name, root, chunk_size: 4 << 20 };
        let share = metadata.open_share(&spec).await.unwrap();
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
            share: share.clone(),
            rules: vec![rule],
            metadata,
            content: Arc::new(MemoryContent::new()),
            write_behind: WriteBehind::default(),
        };
        Self { vfs: Vfs::new(vec![export]).unwrap(), share }
    }

    fn export(&self) -> Arc<Export> {
        self.vfs.exports.get(&self.share.name).unwrap()
    }

    fn files(&self) -> usize {
        self.export().files.len()
    }

    fn handle(&self, object: ObjectId) -> FileHandle {
        FileHandle { share: self.share.name.clone(), object }
    }

    fn root(&self) -> FileHandle {
        self.handle(self.share.root)
    }

    async fn file(&self, name: &str) -> FileHandle {
        let how =
            CreateHow::Guarded(SetAttributes { mode: Some(0o600), ..SetAttributes::default() });
        let name = Name::parse(name.as_bytes()).unwrap();
        let created = self.vfs.create(&caller(0), &self.root(), &name, &how).await;
        self.handle(created.unwrap().object.id)
    }

    async fn write(&self, uid: u32, file: &FileHandle, offset: u64, data: &'static [u8]) -> bool {
        let data = Bytes::from_static(data);
        self.vfs.write(&caller(uid), file, offset, data, Stability::Unstable).await.is_ok()
    }

    async fn resize(&self, uid: u32, file: &FileHandle, size: u64) -> bool {
        let set = SetAttributes { size: Some(size), ..SetAttributes::default() };
        self.vfs.setattr(&caller(uid), file, &set).await.is_ok()
    }
}

fn caller(uid: u32) -> Caller {
    Caller::new(
        "127.0.0.1:900".parse().unwrap(),
        Some(Credentials { uid, gid: uid, gids: Vec::new() }),
        Duration::from_secs(60),
    )
}

#[tokio::test]
async fn calls_on_objects_that_are_not_there_leave_no_state() {
    let world = World::new().await;
    let removed = world.file("removed").await;
    let name = Name::parse(b"removed").unwrap();
    world.vfs.remove(&caller(0), &world.root(), &name).await.unwrap();
    for object in (0..100).map(|_| ObjectId::generate()).chain([removed.object]) {
        let handle = world.handle(object);
        assert!(!world.write(0, &handle, 0, b"x").await);
        assert!(!world.write(0, &handle, 9, b"x").await);
        assert!(!world.resize(0, &handle, 0).await);
        assert!(!world.resize(0, &handle, 9).await);
        world.vfs.read(&caller(0), &handle, 0, 10).await.unwrap_err();
        world.vfs.commit(&caller(0), &handle).await.unwrap_err();
        assert_eq!(world.files(), 0);
    }
}

#[tokio::test]
async fn calls_that_are_refused_leave_no_state() {
    let world = World::new().await;
    let file = world.file("f").await;
    for uid in [1, 2] {
        assert!(!world.write(uid, &file, 0, b"x").await);
        assert!(!world.write(uid, &file, u64::MAX - 1, b"x").await);
        assert!(!world.resize(uid, &file, 9).await);
        world.vfs.read(&caller(uid), &file, 0, 10).await.unwrap_err();
        world.vfs.commit(&caller(uid), &file).await.unwrap_err();
    }
    assert!(!world.write(0, &file, u64::MAX - 1, b"x").await);
    assert!(!world.resize(0, &file, u64::MAX).await);
    assert!(!world.write(0, &world.root(), 0, b"x").await);
    assert!(!world.resize(0, &world.root(), 0).await);
    assert!(world.write(0, &file, 5, b"").await);
    assert_eq!(world.files(), 0);
}

#[tokio::test]
async fn removal_forgets_what_waited() {
    let world = World::new().await;
    for (number, name) in ["written", "read", "cut"].into_iter().enumerate() {
        let file = world.file(name).await;
        match number {
            0 => assert!(world.write(0, &file, 0, b"x").await),
            1 => drop(world.vfs.read(&caller(0), &file, 0, 10).await.unwrap()),
            _ => assert!(world.resize(0, &file, 0).await),
        }
        assert_eq!(world.files(), 1, "{name}");
        let name = Name::parse(name.as_bytes()).unwrap();
        world.vfs.remove(&caller(0), &world.root(), &name).await.unwrap();
        assert_eq!(world.files(), 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_share_that_goes_is_flushed_behind_the_calls_that_have_it() {
    const CALLS: Duration = Duration::from_secs(20);
    const LATER: Timestamp = Timestamp(4_000_000_000_000_000_000);
    let world = World::new().await;
    let file = world.file("f").await;
    assert!(world.write(0, &file, 0, b"bytes").await);
    let (stopped, name) = (CancellationToken::new(), world.share.name.clone());
    let (maintained, stop) = (world.vfs.clone(), stopped.clone());
    let maintained = tokio::spawn(async move { maintained.maintain(stop).await });
    tokio::task::yield_now().await;
    // As a call has it.
    let under_way = world.export();
    let (metadata, cx) = (under_way.metadata.clone(), under_way.background());
    let (vfs, began) = (world.vfs.clone(), Instant::now());
    let removing = tokio::spawn(async move { vfs.remove_share(&name, CALLS, CALLS).await });
    tokio::time::sleep(CALLS / 2).await;
    let stale = world.vfs.getattr(&caller(0), &file).await.unwrap_err();
    assert!(matches!(stale.error, crate::vfs::Error::UnknownShare), "{stale:?}");
    assert!(!removing.is_finished(), "a call has the share");
    assert_eq!(metadata.getattr(&cx, file.object).await.unwrap().size, 5, "it is flushed at once");
    under_way.files.record_access(file.object, LATER);
    drop(under_way);
    removing.await.unwrap();
    assert!(began.elapsed() < CALLS);
    assert_eq!(
        metadata.getattr(&cx, file.object).await.unwrap().atime,
        LATER,
        "and behind the call"
    );
    assert!(world.vfs.exports().is_empty());
    assert_eq!(
        world.vfs.share_name(1),
        Some(world.share.name.clone()),
        "its figures keep its name"
    );
    stopped.cancel();
    maintained.await.unwrap();
}

/// As where a READ is answered while the file is removed.
#[tokio::test]
async fn state_that_was_made_while_its_file_was_removed_goes_with_the_flush() {
    let world = World::new().await;
    let export = world.export();
    let gone = ObjectId::generate();
    export.files.record_access(gone, crate::types::Timestamp::now());
    export.flush_everything(Instant::now() + Duration::from_secs(60)).await;
    assert_eq!(world.files(), 0);
}

#[tokio::test]
async fn access_times_are_kept_however_many_files_are_read() {
    let world = World::new().await;
    let export = world.export();
    for _ in 0..70_000 {
        export.files.record_access(ObjectId::generate(), crate::types::Timestamp(1));
    }
    assert!(world.files() <= 1 << 16);
    let file = world.file("f").await;
    let read = world.vfs.read(&caller(0), &file, 0, 10).await.unwrap().attributes.atime;
    assert_eq!(world.vfs.getattr(&caller(0), &file).await.unwrap().atime, read);
    // So many are flushed before their time.
    export.flush_old().await;
    assert_eq!(world.files(), 1);
    let committed = export.metadata.getattr(&export.background(), file.object).await.unwrap();
    assert_eq!(committed.atime, read);
}
