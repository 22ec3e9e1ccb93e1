//! Several instances of one store, which get the calls in turn: what one answers holds on the other.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use trunkfs::metadata::{
    Answer, Cancelled, Catalog, CreateHow, Created, Error, Flush, FlushOutcome, Freed, Invariants,
    Link, LinkTarget, LockBytes, LockClient, LockClientUse, LockFilter, LockHolder, LockKind,
    LockOutcome, LockOwner, LockRange, LockRecord, LockRecords, LockRequest, LockTotals, Locks,
    Lookup, MetadataStore, Namespace, Page, QuietClient, Removed, Renamed, Replayed, Reservation,
    ReservationCookie, SetAttributes, SettingDone, Settled, Share, ShareOutcome, ShareRequest,
    ShareSpec, Sole, StorePlace, Tidied, Unlocked, Usage, WaitHow, WhichClients, ZeroingOutcome,
};
use trunkfs::types::{
    Attributes, Call, ContentRef, Context, Cookie, DeviceNumbers, FileType, Name, ObjectId, Replay,
    ShareId, SymlinkTarget,
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

    async fn replayed(&self, cx: &Context, call: &Replay) -> Result<Option<Replayed>, Error> {
        self.next().replayed(cx, call).await
    }

    fn sole(&self) -> Option<Sole> {
        None
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

/// Files wake in either instance, and each tries its own waiters.
#[async_trait::async_trait]
impl<S: Locks> Locks for Instances<S> {
    async fn test_lock(
        &self,
        call: &Call,
        request: &LockRequest,
    ) -> Result<Option<LockHolder>, Error> {
        self.next().test_lock(call, request).await
    }

    async fn lock(
        &self,
        call: &Call,
        request: &LockRequest,
        wait: Option<&WaitHow>,
    ) -> Result<LockOutcome, Error> {
        self.next().lock(call, request, wait).await
    }

    async fn unlock(
        &self,
        call: &Call,
        file: ObjectId,
        owner: &LockOwner,
        range: LockRange,
    ) -> Result<Unlocked, Error> {
        self.next().unlock(call, file, owner, range).await
    }

    async fn cancel_lock(
        &self,
        call: &Call,
        file: ObjectId,
        owner: &LockOwner,
        range: LockRange,
        kind: LockKind,
    ) -> Result<Cancelled, Error> {
        self.next().cancel_lock(call, file, owner, range, kind).await
    }

    async fn woken(&self) -> Vec<ObjectId> {
        let [one, other] = &self.instances;
        tokio::select! {
            files = one.woken() => files,
            files = other.woken() => files,
        }
    }

    async fn reserve(
        &self,
        call: &Call,
        file: ObjectId,
        limit: usize,
    ) -> Result<Vec<Reservation>, Error> {
        let mut reserved = Vec::new();
        for instance in &self.instances {
            reserved.extend(instance.reserve(call, file, limit - reserved.len()).await?);
        }
        Ok(reserved)
    }

    async fn settle(
        &self,
        call: &Call,
        cookie: ReservationCookie,
        accepted: bool,
    ) -> Result<Settled, Error> {
        self.next().settle(call, cookie, accepted).await
    }

    async fn abandoned(&self, call: &Call) -> Result<Vec<IpAddr>, Error> {
        self.next().abandoned(call).await
    }

    async fn take_over(&self, call: &Call, locals: &[IpAddr]) -> Result<Vec<Reservation>, Error> {
        self.next().take_over(call, locals).await
    }

    async fn hand_over(&self, call: &Call, cookie: ReservationCookie) -> Result<(), Error> {
        self.next().hand_over(call, cookie).await
    }

    async fn quiet_clients(
        &self,
        call: &Call,
        quiet: Duration,
        limit: usize,
    ) -> Result<Vec<QuietClient>, Error> {
        self.next().quiet_clients(call, quiet, limit).await
    }

    async fn clients_seen(&self, call: &Call, address: IpAddr) -> Result<(), Error> {
        self.next().clients_seen(call, address).await
    }

    async fn free_client(&self, call: &Call, which: &WhichClients) -> Result<Freed, Error> {
        self.next().free_client(call, which).await
    }

    async fn share_file(&self, call: &Call, request: &ShareRequest) -> Result<ShareOutcome, Error> {
        self.next().share_file(call, request).await
    }

    async fn unshare_file(
        &self,
        call: &Call,
        file: ObjectId,
        client: &LockClient,
        oh: &LockBytes,
    ) -> Result<(), Error> {
        self.next().unshare_file(call, file, client, oh).await
    }

    async fn tidy_locks(
        &self,
        call: &Call,
        unseen: Duration,
        unconfirmed: Option<Duration>,
    ) -> Result<Tidied, Error> {
        self.next().tidy_locks(call, unseen, unconfirmed).await
    }
}

#[async_trait::async_trait]
impl<S: LockRecords> LockRecords for Instances<S> {
    async fn list_locks(
        &self,
        filter: &LockFilter,
        after: Option<&LockRecord>,
        limit: usize,
    ) -> Result<Vec<LockRecord>, Error> {
        self.next().list_locks(filter, after, limit).await
    }

    async fn break_locks(&self, filter: &LockFilter) -> Result<Freed, Error> {
        self.next().break_locks(filter).await
    }

    async fn lock_clients(&self, limit: usize) -> Result<Vec<LockClientUse>, Error> {
        self.next().lock_clients(limit).await
    }

    async fn lock_totals(&self) -> Result<LockTotals, Error> {
        self.next().lock_totals().await
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
