//! What the procedures do, apart from their form on the wire: checks, one operation of a store, and what
//! follows from it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Settings;
use super::callbacks::{Callbacks, Waited};
use super::ports::Destination;
use super::responses::Responses;
use super::sender::Sender;
use super::status::{Error, Notice, Status, verdict};
use super::totals::{FreedRows, Overview, Totals};
use super::wire::{
    Answer, CancelArguments, Lock, LockArguments, ShareArguments, TestArguments, TestFailure,
    UnlockArguments, Version,
};
use crate::counters::{Measured, Readings};
use crate::log_limit::{Excerpt, limited};
use crate::metadata::{
    self, Cancelled, Freed, LockBytes, LockClient, LockKind, LockOutcome, LockOwner, LockRequest,
    Locks, ShareOutcome, ShareRequest, Transport, Unlocked, WaitHow, WhichClients,
};
use crate::rpc::{Arrival, Protocol};
use crate::types::{BoundedChain, Call, Caller, FileHandle, ShareName};
use crate::vfs::Vfs;

/// How long a call waits for a store that is away, before the client is told to come again.
const TAKING_TIME: Duration = Duration::from_secs(2);
/// The same for what gives something back.
const GIVING_TIME: Duration = Duration::from_secs(8);
/// How soon a store is asked again.
const RETRY: Duration = Duration::from_millis(200);

/// The stores that keep the locks of shares.
pub type LockStores = BTreeMap<ShareName, Arc<dyn Locks>>;

/// A call, beside its arguments.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) caller: &'a Caller,
    pub(super) arrival: Arrival,
    pub(super) version: Version,
    /// The procedure's name, for the log.
    pub(super) procedure: &'static str,
}

impl Request<'_> {
    fn address(&self) -> IpAddr {
        self.caller.address.ip().to_canonical()
    }

    /// Where the client is called back.
    pub(super) fn destination(&self) -> Destination {
        Destination {
            client: self.address(),
            local: self.arrival.address.to_canonical(),
            version: self.version,
            protocol: self.arrival.protocol,
        }
    }
}

/// How a procedure ends.
#[derive(Debug)]
pub(super) enum Outcome {
    Done(Answer),
    /// Nothing was done: the same call may do better (DENIED_GRACE_PERIOD).
    Later(Answer),
    /// No reply at all, since the client would give up at any.
    Dropped,
}

/// The locks of a server's shares.
#[derive(Debug)]
pub struct LockService {
    vfs: Arc<Vfs>,
    /// Replaced as a whole, and held only to look one up.
    stores: RwLock<LockStores>,
    /// Told where they are others.
    pub(super) other_stores: Notify,
    /// What stands for the server's address in the owners of locks, if not that.
    service: Option<Arc<str>>,
    pub(super) callbacks: Arc<Callbacks>,
    pub(super) responses: Responses,
    pub(super) totals: Totals,
    pub(super) freed: FreedRows,
    pub(super) expire_after: Option<Duration>,
    pub(super) unconfirmed_after: Option<Duration>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl LockService {
    /// A service over the exports' rules and the stores of their shares.
    #[must_use]
    pub fn new(vfs: Arc<Vfs>, stores: LockStores, settings: &Settings) -> Arc<Self> {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let sender = Arc::new(Sender::new(settings.mapper_port));
        Arc::new(Self {
            vfs,
            stores: RwLock::new(stores),
            other_stores: Notify::new(),
            service: settings.service.as_deref().map(Arc::from),
            callbacks: Arc::new(Callbacks::new(sender.clone(), tasks.clone(), stop.clone())),
            responses: Responses::new(sender, tasks.clone(), stop.clone()),
            totals: Totals::default(),
            freed: FreedRows::default(),
            expire_after: settings.expire_after,
            unconfirmed_after: settings.unconfirmed_after,
            tasks,
            stop,
        })
    }

    /// Replaces the stores: shares have come or gone.
    pub fn set_stores(&self, stores: LockStores) {
        *self.stores.write() = stores;
        self.other_stores.notify_one();
    }

    /// What there is, as it was counted last.
    #[must_use]
    pub fn overview(&self) -> Overview {
        self.totals.overview()
    }

    /// Each store once.
    pub(super) fn stores(&self) -> Vec<Arc<dyn Locks>> {
        let mut stores: Vec<Arc<dyn Locks>> = Vec::new();
        for store in self.stores.read().values() {
            if !stores.iter().any(|known| Arc::ptr_eq(known, store)) {
                stores.push(store.clone());
            }
        }
        stores
    }

    /// The stores that may have something of a handle: that of its share; of a share that is not served (any
    /// more), any.
    fn stores_of(&self, handle: &FileHandle) -> Vec<Arc<dyn Locks>> {
        let own = self.stores.read().get(&handle.share).cloned();
        match own {
            Some(store) => vec![store],
            None => self.stores(),
        }
    }

    /// Whether the rules of a handle's share admit a caller; bytes that are no handle are refused anyway.
    pub(super) fn admits(&self, caller: &Caller, handle: &[u8]) -> bool {
        FileHandle::parse(handle).map_or(true, |handle| self.vfs.admits(caller, &handle))
    }

    pub(super) async fn test(&self, request: &Request<'_>, it: &TestArguments) -> Outcome {
        let found = async {
            let (handle, store) = self.file(it.lock.handle.as_bytes())?;
            let wanted = self.wanted(request, &handle, &it.lock, it.exclusive, 0)?;
            let caller = limited_to(request.caller, TAKING_TIME);
            patiently(&caller.call, || async {
                self.vfs.may_lock(&caller, &handle).await?;
                Ok(store.test_lock(&caller.call, &wanted).await?)
            })
            .await
        };
        let answer = match found.await {
            Ok(None) => Ok(()),
            Ok(Some(holder)) => Err(TestFailure::Held(holder)),
            Err(error) => {
                return self.failed(request, &error, |status| {
                    Answer::Test(Err(TestFailure::Other(status)))
                });
            }
        };
        Outcome::Done(Answer::Test(answer))
    }

    /// LOCK, and NM_LOCK, which does not wait.
    pub(super) async fn lock(
        &self,
        request: &Request<'_>,
        it: &LockArguments,
        may_wait: bool,
    ) -> Outcome {
        let waits = may_wait && it.block && !it.reclaim;
        let how = waits.then(|| how(request, &it.lock));
        let taken = async {
            let (handle, store) = self.file(it.lock.handle.as_bytes())?;
            let wanted = self.wanted(request, &handle, &it.lock, it.exclusive, it.state)?;
            let caller = limited_to(request.caller, TAKING_TIME);
            let turns = self.callbacks.turns(wanted.file, &wanted.owner, wanted.range);
            let Some(_turns) = caller.call.within(turns).await else {
                return Err(metadata::Error::Cancelled.into());
            };
            let outcome = patiently(&caller.call, || async {
                self.vfs.may_lock(&caller, &handle).await?;
                Ok(store.lock(&caller.call, &wanted, how.as_ref()).await?)
            });
            Ok((outcome.await?, wanted))
        };
        let (outcome, wanted) = match taken.await {
            Ok(done) => done,
            Err(error) => {
                let failed = self.failed(request, &error, Answer::Plain);
                // Linux loses a lock that it reclaims, and that is not granted at once.
                return match failed {
                    Outcome::Later(_) if it.reclaim => Outcome::Dropped,
                    failed => failed,
                };
            }
        };
        let waited = || {
            let LockRequest { file, owner, range, kind, .. } = wanted.clone();
            Waited { file, owner, range, kind }
        };
        Outcome::Done(Answer::Plain(match outcome {
            LockOutcome::Granted => {
                self.callbacks.forget(&waited());
                Status::Granted
            }
            LockOutcome::Denied => Status::Denied,
            LockOutcome::Blocked => {
                self.callbacks.blocked(waited(), request.destination());
                Status::Blocked
            }
            LockOutcome::Deadlock => Status::Deadlock,
            LockOutcome::NoLocks => self.no_locks(request),
        }))
    }

    fn no_locks(&self, request: &Request<'_>) -> Status {
        let (client, procedure) = (request.caller.address, request.procedure);
        limited!(warn, (client, procedure), "a client or the store has as many locks as it may",
            %client, procedure);
        Status::DeniedNoLocks
    }

    /// Whatever the handle is, the caller has nothing of the range afterwards.
    pub(super) async fn unlock(&self, request: &Request<'_>, it: &UnlockArguments) -> Outcome {
        let given = async {
            let Ok(handle) = FileHandle::parse(it.lock.handle.as_bytes()) else { return Ok(()) };
            // Nothing beyond the last byte was ever locked.
            let Ok(range) = it.lock.range() else { return Ok(()) };
            let owner = self.owner(request, &it.lock);
            let call = limited_to(request.caller, GIVING_TIME).call;
            let turns = self.callbacks.turns(handle.object, &owner, range);
            // Where an answer cannot be settled, the store is away.
            let Some(_turns) = call.within(turns).await else {
                return Err(metadata::Error::Cancelled.into());
            };
            for store in self.stores_of(&handle) {
                let unlocked = patiently(&call, || async {
                    Ok(store.unlock(&call, handle.object, &owner, range).await?)
                });
                let Unlocked { overlapping } = unlocked.await?;
                self.callbacks.forget_range(handle.object, &owner, range);
                for reservation in overlapping {
                    self.callbacks.again(&store, reservation, range);
                }
            }
            Ok(())
        };
        self.given_back(request, given.await.map(|()| Status::Granted), Answer::Plain)
    }

    pub(super) async fn cancel(&self, request: &Request<'_>, it: &CancelArguments) -> Outcome {
        let given = async {
            let Ok(handle) = FileHandle::parse(it.lock.handle.as_bytes()) else {
                return Ok(Status::Granted);
            };
            let Ok(range) = it.lock.range() else { return Ok(Status::Granted) };
            let (owner, kind) = (self.owner(request, &it.lock), LockKind::of(it.exclusive));
            let call = limited_to(request.caller, GIVING_TIME).call;
            let mut status = Status::Granted;
            for store in self.stores_of(&handle) {
                let cancelled = patiently(&call, || async {
                    Ok(store.cancel_lock(&call, handle.object, &owner, range, kind).await?)
                });
                match cancelled.await? {
                    Cancelled::Removed => {
                        let (file, owner) = (handle.object, owner.clone());
                        self.callbacks.forget(&Waited { file, owner, range, kind });
                    }
                    Cancelled::Held => {
                        // The client knows of it from now on, or gives it back.
                        self.callbacks.forget_range(handle.object, &owner, range);
                        status = Status::Denied;
                    }
                    Cancelled::Nothing => {}
                }
            }
            Ok(status)
        };
        self.given_back(request, given.await, Answer::Plain)
    }

    pub(super) async fn share(&self, request: &Request<'_>, it: &ShareArguments) -> Outcome {
        let taken = async {
            let (handle, store) = self.file(it.handle.as_bytes())?;
            let caller = limited_to(request.caller, TAKING_TIME);
            let wanted = ShareRequest {
                file: handle.object,
                client: self.client(request, &it.caller_name),
                oh: it.oh.clone(),
                mode: it.mode,
                access: it.access,
            };
            patiently(&caller.call, || async {
                self.vfs.may_lock(&caller, &handle).await?;
                Ok(store.share_file(&caller.call, &wanted).await?)
            })
            .await
        };
        Outcome::Done(Answer::Share(match taken.await {
            Ok(ShareOutcome::Granted) => Status::Granted,
            Ok(ShareOutcome::Denied) => Status::Denied,
            Ok(ShareOutcome::NoLocks) => self.no_locks(request),
            Err(error) => return self.failed(request, &error, Answer::Share),
        }))
    }

    pub(super) async fn unshare(&self, request: &Request<'_>, it: &ShareArguments) -> Outcome {
        let given = async {
            let Ok(handle) = FileHandle::parse(it.handle.as_bytes()) else {
                return Ok(Status::Granted);
            };
            let (client, oh) = (self.client(request, &it.caller_name), it.oh.clone());
            let call = limited_to(request.caller, GIVING_TIME).call;
            for store in self.stores_of(&handle) {
                patiently(&call, || async {
                    Ok(store.unshare_file(&call, handle.object, &client, &oh).await?)
                })
                .await?;
            }
            Ok(Status::Granted)
        };
        self.given_back(request, given.await, Answer::Share)
    }

    /// FREE_ALL; `false` where not all could be freed, and the client is to come again.
    pub(super) async fn free_all(&self, request: &Request<'_>, caller_name: &LockBytes) -> bool {
        let which =
            WhichClients::Named { address: request.address(), caller_name: caller_name.clone() };
        let call = limited_to(request.caller, GIVING_TIME).call;
        let freed = self.free(&call, request.address(), &which).await;
        self.freed.given_up.add(freed.map_or(0, |freed| freed.rows()));
        freed.is_some()
    }

    /// A client has rebooted (SM_NOTIFY); `false` where not all could be freed, and it is to come again.
    pub async fn rebooted(
        &self,
        caller: &Caller,
        client: IpAddr,
        name: &LockBytes,
        state: i32,
    ) -> bool {
        let address = client.to_canonical();
        let which = WhichClients::Rebooted { address, name: name.clone(), state };
        let call = limited_to(caller, GIVING_TIME).call;
        let Some(freed) = self.free(&call, address, &which).await else { return false };
        self.freed.rebooted.add(freed.rows());
        let name = Excerpt(name.as_bytes());
        if freed.clients > 0 {
            let Freed { locks, waiters, reservations, shares, .. } = freed;
            limited!(info, address, "a client has rebooted: its locks are freed",
                client = %address, %name, state, locks, waiters, reservations, shares);
        } else if freed.known_elsewhere {
            limited!(warn, address,
                "a notice of a reboot is ignored: the client that it names has locks from another address; \
                 if it is gone: trunkfs locks break",
                client = %address, %name, state);
        }
        true
    }

    /// The same, as the machine's rpc.statd has it: from whom it does not say. It counts where the client's
    /// own status monitor is in that state.
    pub(super) async fn told_of_reboot(
        &self,
        caller: &Caller,
        client: IpAddr,
        name: &LockBytes,
        state: i32,
    ) -> bool {
        let client = client.to_canonical();
        match self.callbacks.sender.state_of(client).await {
            Some(now) if now == state => self.rebooted(caller, client, name, state).await,
            Some(now) => {
                limited!(warn, client,
                    "a notice of a reboot is ignored: the client's own status monitor is in another state",
                    %client, state, now);
                true
            }
            None => {
                limited!(warn, client,
                    "a notice of a reboot is ignored: the client's own status monitor does not answer; if its \
                     locks stay: trunkfs locks break",
                    %client, state);
                false
            }
        }
    }

    async fn free(&self, call: &Call, client: IpAddr, which: &WhichClients) -> Option<Freed> {
        let mut all = Freed::default();
        for store in self.stores() {
            let freed =
                patiently(call, || async { Ok(store.free_client(call, which).await?) }).await;
            let freed = match freed {
                Ok(freed) => freed,
                Err(error) => {
                    let error = BoundedChain(&error);
                    limited!(warn, client, "the locks of a client cannot be freed now", %client, %error);
                    return None;
                }
            };
            all.clients += freed.clients;
            all.locks += freed.locks;
            all.waiters += freed.waiters;
            all.reservations += freed.reservations;
            all.shares += freed.shares;
            all.known_elsewhere |= freed.known_elsewhere;
        }
        Some(all)
    }

    /// A handle, and the store of its share.
    fn file(&self, handle: &[u8]) -> Result<(FileHandle, Arc<dyn Locks>), Error> {
        let handle = FileHandle::parse(handle).map_err(|_| Error::BadHandle)?;
        let store = self.stores.read().get(&handle.share).cloned();
        Ok((handle, store.ok_or(crate::vfs::Error::UnknownShare)?))
    }

    fn client(&self, request: &Request<'_>, caller_name: &LockBytes) -> Arc<LockClient> {
        let server = self
            .service
            .clone()
            .unwrap_or_else(|| request.arrival.address.to_canonical().to_string().into());
        Arc::new(LockClient::new(request.address(), caller_name.clone(), server))
    }

    fn owner(&self, request: &Request<'_>, lock: &Lock) -> LockOwner {
        LockOwner { client: self.client(request, &lock.caller_name), svid: lock.svid }
    }

    fn wanted(
        &self,
        request: &Request<'_>,
        handle: &FileHandle,
        lock: &Lock,
        exclusive: bool,
        state: i32,
    ) -> Result<LockRequest, Error> {
        Ok(LockRequest {
            file: handle.object,
            owner: self.owner(request, lock),
            range: lock.range()?,
            kind: LockKind::of(exclusive),
            oh: lock.oh.clone(),
            state,
        })
    }

    /// What gives something back never fails: where it cannot be done now, it is to be tried again.
    fn given_back(
        &self,
        request: &Request<'_>,
        given: Result<Status, Error>,
        answer: impl Fn(Status) -> Answer,
    ) -> Outcome {
        match given {
            Ok(status) => Outcome::Done(answer(status)),
            Err(error) => {
                self.failed(request, &error, &answer);
                Outcome::Later(answer(Status::DeniedGracePeriod))
            }
        }
    }

    /// The one place where what goes wrong below is logged.
    fn failed(
        &self,
        request: &Request<'_>,
        error: &Error,
        answer: impl Fn(Status) -> Answer,
    ) -> Outcome {
        let (status, notice) = verdict(error);
        let Request { procedure, caller, .. } = *request;
        let (xid, client) = (caller.call.timing.xid, caller.address);
        let (about, error) = ((client, procedure), BoundedChain(error));
        match notice {
            Notice::Refusal => {
                tracing::debug!(xid, %client, procedure, ?status, %error, "a lock call was refused");
            }
            Notice::Outage => limited!(warn, about, "a lock call failed",
                xid, %client, procedure, ?status, %error),
            Notice::Fault => limited!(error, about, "a lock call failed",
                xid, %client, procedure, ?status, %error),
        }
        match status {
            Status::DeniedGracePeriod => Outcome::Later(answer(status)),
            status => Outcome::Done(answer(status)),
        }
    }
}

impl Measured for LockService {
    fn read(&self, to: &mut Readings) {
        self.totals.read(to);
        self.freed.read(to);
        self.callbacks.read(to);
    }
}

/// How the owner of a lock is called back that waits.
fn how(request: &Request<'_>, lock: &Lock) -> WaitHow {
    WaitHow {
        handle: lock.handle.clone(),
        version: request.version.number(),
        transport: match request.arrival.protocol {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
        },
        local: request.arrival.address.to_canonical(),
    }
}

/// The caller with less time.
fn limited_to(caller: &Caller, time: Duration) -> Caller {
    let mut caller = caller.clone();
    caller.call.deadline = caller.call.deadline.min(Instant::now() + time);
    caller
}

/// Does `work` again while what it needs is away, until the call's time is over.
async fn patiently<T, F>(call: &Call, work: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    loop {
        let error = match work().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let passes = matches!(
            error,
            Error::Vfs(crate::vfs::Error::Metadata(metadata::Error::Unavailable(_)))
        );
        if !passes || call.within(sleep(RETRY)).await.is_none() {
            return Err(error);
        }
    }
}
