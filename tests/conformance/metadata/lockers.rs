//! Clients that lock.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use trunkfs::metadata::{
    Cancelled, Error, Freed, Invariants, LockBytes, LockClient, LockFilter, LockHolder, LockKind,
    LockOutcome, LockOwner, LockRange, LockRecord, LockRequest, LockStanding, Reservation, Settled,
    ShareOutcome, ShareRequest, Transport, Unlocked, WaitHow, WhichClients,
};
use trunkfs::types::{Call, ObjectId};

use super::world::World;

pub(crate) const SHARED: LockKind = LockKind::Shared;
pub(crate) const EXCLUSIVE: LockKind = LockKind::Exclusive;
pub(crate) const END: u64 = LockRange::END;

/// Nothing that is waited for takes longer.
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn range(first: u64, last: u64) -> LockRange {
    LockRange::new(first, last).unwrap()
}

pub(crate) fn bytes(text: impl AsRef<[u8]>) -> LockBytes {
    LockBytes::new(text.as_ref()).unwrap()
}

/// An address that no other case has: stores are shared.
pub(crate) fn fresh_address() -> IpAddr {
    Ipv6Addr::from_bits(0x2001_0db8 << 96 | rand::random::<u128>() >> 32).into()
}

/// One client, as one of our addresses knows it.
#[derive(Clone)]
pub(crate) struct Locker {
    pub(crate) store: Arc<dyn Invariants>,
    pub(crate) client: Arc<LockClient>,
    pub(crate) state: i32,
}

impl Locker {
    /// A client of an address of its own.
    pub(crate) fn new(world: &World) -> Self {
        Self::of(world, fresh_address(), "client", "server")
    }

    pub(crate) fn of(world: &World, address: IpAddr, name: &str, server: &str) -> Self {
        let client = Arc::new(LockClient::new(address, bytes(name), server.into()));
        Self { store: world.store.clone(), client, state: 1 }
    }

    pub(crate) fn in_state(&self, state: i32) -> Self {
        Self { state, ..self.clone() }
    }

    pub(crate) fn call() -> Call {
        Call::internal(LIMIT)
    }

    pub(crate) fn owner(&self, svid: i32) -> LockOwner {
        LockOwner { client: self.client.clone(), svid }
    }

    pub(crate) fn request(
        &self,
        file: ObjectId,
        svid: i32,
        range: LockRange,
        kind: LockKind,
    ) -> LockRequest {
        let oh = bytes(format!("{svid}@client"));
        LockRequest { file, owner: self.owner(svid), range, kind, oh, state: self.state }
    }

    pub(crate) async fn lock(
        &self,
        file: ObjectId,
        svid: i32,
        ends: (u64, u64),
        kind: LockKind,
    ) -> LockOutcome {
        self.try_lock(file, svid, ends, kind).await.unwrap()
    }

    pub(crate) async fn try_lock(
        &self,
        file: ObjectId,
        svid: i32,
        (first, last): (u64, u64),
        kind: LockKind,
    ) -> Result<LockOutcome, Error> {
        let request = self.request(file, svid, range(first, last), kind);
        self.store.lock(&Self::call(), &request, None).await
    }

    pub(crate) fn how(&self) -> WaitHow {
        let local = IpAddr::from([192, 0, 2, 7]);
        WaitHow { handle: bytes("handle"), version: 4, transport: Transport::Udp, local }
    }

    /// A lock that waits where it must.
    pub(crate) async fn wait(
        &self,
        file: ObjectId,
        svid: i32,
        (first, last): (u64, u64),
        kind: LockKind,
    ) -> LockOutcome {
        let request = self.request(file, svid, range(first, last), kind);
        self.store.lock(&Self::call(), &request, Some(&self.how())).await.unwrap()
    }

    pub(crate) async fn test(
        &self,
        file: ObjectId,
        svid: i32,
        (first, last): (u64, u64),
        kind: LockKind,
    ) -> Option<LockHolder> {
        let request = self.request(file, svid, range(first, last), kind);
        self.store.test_lock(&Self::call(), &request).await.unwrap()
    }

    pub(crate) async fn unlock(
        &self,
        file: ObjectId,
        svid: i32,
        (first, last): (u64, u64),
    ) -> Unlocked {
        let owner = self.owner(svid);
        self.store.unlock(&Self::call(), file, &owner, range(first, last)).await.unwrap()
    }

    pub(crate) async fn cancel(
        &self,
        file: ObjectId,
        svid: i32,
        (first, last): (u64, u64),
        kind: LockKind,
    ) -> Cancelled {
        let (owner, range) = (self.owner(svid), range(first, last));
        self.store.cancel_lock(&Self::call(), file, &owner, range, kind).await.unwrap()
    }

    /// The next reservations on a file, so many of them.
    pub(crate) async fn reserved(&self, file: ObjectId, count: usize) -> Vec<Reservation> {
        let mut reserved = Vec::new();
        let waiting = async {
            while reserved.len() < count {
                self.store.woken().await;
                reserved.extend(self.store.reserve(&Self::call(), file, count).await.unwrap());
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.expect("a waiter gets its lock");
        assert_eq!(reserved.len(), count, "{reserved:?}");
        reserved
    }

    /// Nobody who waits may have a lock.
    pub(crate) async fn nothing_reserved(&self, file: ObjectId) {
        let reserved = self.store.reserve(&Self::call(), file, 100).await.unwrap();
        assert_eq!(reserved, [], "somebody got a lock");
    }

    pub(crate) async fn settle(&self, reservation: &Reservation, accepted: bool) -> Settled {
        self.store.settle(&Self::call(), reservation.cookie, accepted).await.unwrap()
    }

    pub(crate) async fn free(&self, which: WhichClients) -> Freed {
        self.store.free_client(&Self::call(), &which).await.unwrap()
    }

    /// SM_NOTIFY of this client's address.
    pub(crate) async fn rebooted(&self, name: &str, state: i32) -> Freed {
        let address = self.client.address();
        self.free(WhichClients::Rebooted { address, name: bytes(name), state }).await
    }

    pub(crate) async fn share(
        &self,
        file: ObjectId,
        oh: &str,
        (mode, access): (u8, u8),
    ) -> Result<ShareOutcome, Error> {
        let (client, oh) = (self.client.clone(), bytes(oh));
        let request = ShareRequest { file, client, oh, mode, access };
        self.store.share_file(&Self::call(), &request).await
    }

    pub(crate) async fn unshare(&self, file: ObjectId, oh: &str) {
        self.store.unshare_file(&Self::call(), file, &self.client, &bytes(oh)).await.unwrap();
    }

    pub(crate) async fn records(&self, filter: LockFilter) -> Vec<LockRecord> {
        self.store.list_locks(&filter, None, 10_000).await.unwrap()
    }

    /// Everything on a file: svid, ends, kind, standing.
    pub(crate) async fn on(
        &self,
        file: ObjectId,
    ) -> Vec<(i32, (u64, u64), LockKind, LockStanding)> {
        let filter = LockFilter { file: Some(file), ..LockFilter::default() };
        let records = self.records(filter).await.into_iter();
        let mut all: Vec<_> = records
            .map(|it| {
                let ends = (it.range.first(), it.range.last());
                (it.owner.svid, ends, it.kind, it.standing)
            })
            .collect();
        all.sort_unstable();
        all
    }

    /// What is held on a file: svid, ends, kind.
    pub(crate) async fn held(&self, file: ObjectId) -> Vec<(i32, (u64, u64), LockKind)> {
        let all = self.on(file).await.into_iter();
        all.filter(|it| it.3 == LockStanding::Held).map(|it| (it.0, it.1, it.2)).collect()
    }
}
