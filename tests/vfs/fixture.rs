//! Two instances over the same stores, and short names for what tests do most.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use trunkfs::metadata::memory::MemoryStore;
use trunkfs::metadata::{
    CreateHow, MetadataStore as _, Namespace as _, RootSpec, SetAttributes, Share, ShareSpec,
};
use trunkfs::types::{Attributes, Caller, Context, Credentials, FileHandle, Name, ShareName};
use trunkfs::vfs::{
    Access, ClientRule, CommitDone, ExportSettings, GroupSource, Result, Squash, Stability, Vfs,
    WriteBehind, WriteDone,
};

use crate::faulty::FaultyContent;

pub(crate) struct Fixture {
    pub(crate) one: Arc<Vfs>,
    pub(crate) two: Arc<Vfs>,
    pub(crate) metadata: Arc<MemoryStore>,
    pub(crate) content: Arc<FaultyContent>,
    pub(crate) share: Share,
}

pub(crate) fn rule() -> ClientRule {
    ClientRule {
        network: "127.0.0.0/8".parse().unwrap(),
        access: Access::ReadWrite,
        squash: Squash::None,
        anonuid: 65_534,
        anongid: 65_534,
        require_reserved_port: false,
    }
}

pub(crate) fn caller(uid: u32) -> Caller {
    Caller::new(
        "127.0.0.1:900".parse().unwrap(),
        Some(Credentials { uid, gid: uid, gids: Vec::new() }),
        Duration::from_secs(60),
    )
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(rule(), WriteBehind::default()).await
    }

    pub(crate) async fn with(rule: ClientRule, write_behind: WriteBehind) -> Self {
        let metadata = Arc::new(MemoryStore::new());
        let content = FaultyContent::new();
        let spec = ShareSpec {
            name: ShareName::parse("/t").unwrap(),
            root: RootSpec { uid: 0, gid: 0, mode: 0o777 },
            chunk_size: 4 << 20,
        };
        let share = metadata.open_share(&spec).await.unwrap();
        let export = || ExportSettings {
            groups: GroupSource::Client,
            share: share.clone(),
            rules: vec![rule],
            metadata: Arc::clone(&metadata) as _,
            content: Arc::clone(&content) as _,
            write_behind,
        };
        let (one, two) = (Vfs::new(vec![export()]).unwrap(), Vfs::new(vec![export()]).unwrap());
        Self { one, two, metadata, content, share }
    }

    pub(crate) fn handle(&self, object: trunkfs::types::ObjectId) -> FileHandle {
        FileHandle { share: self.share.name.clone(), object }
    }

    pub(crate) fn root(&self) -> FileHandle {
        self.handle(self.share.root)
    }

    pub(crate) fn context(&self) -> Context {
        Context::internal(self.share.id, Duration::from_secs(60))
    }

    pub(crate) async fn file(&self, name: &str) -> FileHandle {
        let how =
            CreateHow::Guarded(SetAttributes { mode: Some(0o666), ..SetAttributes::default() });
        let created = self
            .one
            .create(&caller(0), &self.root(), &Name::parse(name.as_bytes()).unwrap(), &how)
            .await;
        self.handle(created.unwrap().object.id)
    }

    /// The attributes as the store has them, without anything unflushed.
    pub(crate) async fn committed(&self, file: &FileHandle) -> Attributes {
        self.metadata.getattr(&self.context(), file.object).await.unwrap()
    }
}

pub(crate) async fn write(
    vfs: &Vfs,
    file: &FileHandle,
    offset: u64,
    data: &[u8],
    stability: Stability,
) -> Result<WriteDone> {
    vfs.write(&caller(0), file, offset, Bytes::copy_from_slice(data), stability).await
}

pub(crate) async fn unstable(vfs: &Vfs, file: &FileHandle, offset: u64, data: &[u8]) -> WriteDone {
    write(vfs, file, offset, data, Stability::Unstable).await.unwrap()
}

pub(crate) async fn commit(vfs: &Vfs, file: &FileHandle) -> Result<CommitDone> {
    vfs.commit(&caller(0), file).await
}

pub(crate) async fn read(vfs: &Vfs, file: &FileHandle) -> Vec<u8> {
    vfs.read(&caller(0), file, 0, 1 << 20).await.unwrap().data.copy().unwrap()
}

pub(crate) async fn set_size(vfs: &Vfs, file: &FileHandle, size: u64) {
    let set = SetAttributes { size: Some(size), ..SetAttributes::default() };
    vfs.setattr(&caller(0), file, &set).await.unwrap();
}
