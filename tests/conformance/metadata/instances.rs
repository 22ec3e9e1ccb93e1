//! Several instances of one store, which get the calls in turn: what one answers holds on the other.

use std::sync::atomic::{AtomicUsize, Ordering};

use trunkfs::metadata::{
    Answer, Catalog, CreateHow, Created, Error, Flush, FlushOutcome, Invariants, Link, LinkTarget,
    Lookup, MetadataStore, Namespace, Page, Removed, Renamed, SetAttributes, SettingDone, Share,
    ShareSpec, StorePlace, Usage, ZeroingOutcome,
};
use trunkfs::types::{
    Attributes, ContentRef, Context, Cookie, DeviceNumbers, FileType, Name, ObjectId, ShareId,
    SymlinkTarget,
};

/// The instances as one store.
#[derive(Debug)]
pub(crate) struct Instances<S> {
    instances: [S; 2],
    calls: AtomicUsize,
}

impl<S> Instances<S> {
    pub(crate) fn new(instances: [S; 2]) -> Self {
        Self { instances, calls: AtomicUsize::new(0) }
    }

    fn next(&self) -> &S {
        &self.instances[self.calls.fetch_add(1, Ordering::Relaxed) % 2]
    }
}

#[async_trait::async_trait]
impl<S: Namespace> Namespace for Instances<S> {
    async fn getattr(&self, cx: &Context, object: ObjectId) -> Result<Attributes, Error> {
        self.next().getattr(cx, object).await
    }

    async fn lookup(&self, cx: &Context, directory: ObjectId, name: &Name) -> Answer<Lookup> {
        self.next().lookup(cx, directory, name).await
    }

    async fn lookup_parent(&self, cx: &Context, directory: ObjectId) -> Answer<Lookup> {
        self.next().lookup_parent(cx, directory).await
    }

    async fn readlink(&self, cx: &Context, link: ObjectId) -> Answer<Link> {
        self.next().readlink(cx, link).await
    }

    async fn readdir(
        &self,
        cx: &Context,
        directory: ObjectId,
        after: Cookie,
        max_entries: usize,
        with_attributes: bool,
    ) -> Answer<Page> {
        self.next().readdir(cx, directory, after, max_entries, with_attributes).await
    }

    async fn setattr(
        &self,
        cx: &Context,
        object: ObjectId,
        set: &SetAttributes,
    ) -> Answer<SettingDone> {
        self.next().setattr(cx, object, set).await
    }

    async fn create(
        &self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        how: &CreateHow,
    ) -> Answer<Created> {
        self.next().create(cx, directory, name, how).await
    }

    async fn mkdir(
        &self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        set: &SetAttributes,
    ) -> Answer<Created> {
        self.next().mkdir(cx, directory, name, set).await
    }

    async fn symlink(
        &self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        target: &SymlinkTarget,
        set: &SetAttributes,
    ) -> Answer<Created> {
        self.next().symlink(cx, directory, name, target, set).await
    }

    async fn mknod(
        &self,
        cx: &Context,
        directory: ObjectId,
        name: &Name,
        kind: FileType,
        rdev: DeviceNumbers,
        set: &SetAttributes,
    ) -> Answer<Created> {
        self.next().mknod(cx, directory, name, kind, rdev, set).await
    }

    async fn remove(&self, cx: &Context, directory: ObjectId, name: &Name) -> Answer<Removed> {
        self.next().remove(cx, directory, name).await
    }

    async fn rmdir(&self, cx: &Context, directory: ObjectId, name: &Name) -> Answer<Removed> {
        self.next().rmdir(cx, directory, name).await
    }

    async fn rename(
        &self,
        cx: &Context,
        from: ObjectId,
        from_name: &Name,
        to: ObjectId,
        to_name: &Name,
    ) -> Answer<Renamed> {
        self.next().rename(cx, from, from_name, to, to_name).await
    }

    async fn link(
        &self,
        cx: &Context,
        object: ObjectId,
        directory: ObjectId,
        name: &Name,
    ) -> Answer<LinkTarget> {
        self.next().link(cx, object, directory, name).await
    }

    async fn flush(&self, cx: &Context, file: ObjectId, flush: &Flush) -> Answer<FlushOutcome> {
        self.next().flush(cx, file, flush).await
    }

    async fn begin_zeroing(
        &self,
        cx: &Context,
        file: ObjectId,
        content: ContentRef,
    ) -> Answer<ZeroingOutcome> {
        self.next().begin_zeroing(cx, file, content).await
    }

    async fn usage(&self, share: ShareId) -> Result<Usage, Error> {
        self.next().usage(share).await
    }
}

#[async_trait::async_trait]
impl<S: Catalog> Catalog for Instances<S> {
    async fn shares(&self) -> Result<Vec<Share>, Error> {
        self.next().shares().await
    }

    async fn setting(&self, key: &str) -> Result<Option<String>, Error> {
        self.next().setting(key).await
    }

    async fn place(&self) -> Result<Option<StorePlace>, Error> {
        self.next().place().await
    }
}

#[async_trait::async_trait]
impl<S: MetadataStore> MetadataStore for Instances<S> {
    async fn open_share(&self, spec: &ShareSpec) -> Result<Share, Error> {
        self.next().open_share(spec).await
    }

    async fn set_setting(
        &self,
        key: &str,
        seen: Option<&str>,
        value: &str,
    ) -> Result<Option<String>, Error> {
        self.next().set_setting(key, seen, value).await
    }

    async fn succeeds(&self, earlier: &StorePlace) -> Result<bool, Error> {
        self.next().succeeds(earlier).await
    }

    async fn close(&self) {
        for instance in &self.instances {
            instance.close().await;
        }
    }
}

#[async_trait::async_trait]
impl<S: Invariants> Invariants for Instances<S> {
    async fn inconsistencies(&self) -> Result<Vec<String>, Error> {
        self.next().inconsistencies().await
    }
}
