//! Permits that clients take in turns: a semaphore whose waiting calls stand in a [`FairQueue`].

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::ClientAddress;
use super::fair_queue::{Bounds, FairQueue, QueueFull, Ticket};

/// Who waits: a client, or the server itself.
pub type Claimant = Option<ClientAddress>;

/// A number of permits. What is free goes to the call whose turn it is, and to no call before it: a call that
/// needs many permits is not passed over by calls that need few.
#[derive(Clone)]
pub struct FairPermits {
    state: Arc<Mutex<Permits>>,
}

struct Permits {
    free: usize,
    /// Permits that end where they are given back: there are to be fewer.
    surplus: usize,
    closed: bool,
    waiting: FairQueue<Claimant, Waiting>,
}

struct Waiting {
    count: usize,
    grant: oneshot::Sender<Permit>,
}

/// Some permits, given back when they are dropped.
pub struct Permit {
    count: usize,
    state: Arc<Mutex<Permits>>,
}

/// Why a call has no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPermit {
    /// There are no permits any more.
    #[error("closed")]
    Closed,
    /// As many calls wait as may.
    #[error(transparent)]
    Full(#[from] QueueFull),
}

impl FairPermits {
    /// So many permits.
    #[must_use]
    pub fn new(permits: usize, bounds: Bounds) -> Self {
        let waiting = FairQueue::new(bounds);
        Self {
            state: Arc::new(Mutex::new(Permits {
                free: permits,
                surplus: 0,
                closed: false,
                waiting,
            })),
        }
    }

    /// Waits for permits. A dropped future leaves the queue.
    pub async fn acquire(&self, claimant: Claimant, count: usize) -> Result<Permit, NoPermit> {
        let waiter = {
            let mut state = self.state.lock();
            if state.closed {
                return Err(NoPermit::Closed);
            }
            if let Some(permit) = self.try_take(&mut state, count) {
                return Ok(permit);
            }
            let (grant, granted) = oneshot::channel();
            let ticket = state.waiting.push(claimant, Waiting { count, grant })?;
            Waiter { granted, ticket, state: &self.state }
        };
        waiter.wait().await
    }

    /// The permits, if they are free and no call waits.
    #[must_use]
    pub fn try_acquire(&self, count: usize) -> Option<Permit> {
        self.try_take(&mut self.state.lock(), count)
    }

    fn try_take(&self, state: &mut Permits, count: usize) -> Option<Permit> {
        if state.closed || !state.waiting.is_empty() || state.free < count {
            return None;
        }
        state.free -= count;
        Some(Permit { count, state: Arc::clone(&self.state) })
    }

    /// Makes so many permits more.
    pub fn add(&self, permits: usize) {
        self.state.lock().put_back(permits);
        grant(&self.state);
    }

    /// Makes so many permits fewer: those that are free at once, others when they are given back. No call
    /// may want more than there are then.
    pub fn take_away(&self, permits: usize) {
        let mut state = self.state.lock();
        let free = state.free.min(permits);
        state.free -= free;
        state.surplus += permits - free;
    }

    /// No permit, of this kind.
    #[must_use]
    pub fn nothing(&self) -> Permit {
        Permit { count: 0, state: Arc::clone(&self.state) }
    }

    /// Refuses every call that waits, and every later one.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let refused = state.waiting.take(usize::MAX);
        drop(state);
        drop(refused);
    }

    /// How many permits are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.state.lock().free
    }

    /// How many calls wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }
}

impl Permits {
    /// Frees permits, as far as there are not too many.
    fn put_back(&mut self, permits: usize) {
        let end = self.surplus.min(permits);
        self.surplus -= end;
        self.free += permits - end;
    }
}

/// Gives what is free to the calls whose turn it is. Takes no lock of the caller's.
fn grant(state: &Arc<Mutex<Permits>>) {
    loop {
        let mut locked = state.lock();
        let Some(count) = locked.waiting.peek().map(|waiting| waiting.count) else { return };
        if count > locked.free {
            return;
        }
        let Some(Waiting { count, grant }) = locked.waiting.pop() else { return };
        locked.free -= count;
        drop(locked);
        let permit = Permit { count, state: Arc::clone(state) };
        if let Err(mut unwanted) = grant.send(permit) {
            // The call went away in between. Dropping the permit would begin another loop inside this one.
            state.lock().put_back(std::mem::take(&mut unwanted.count));
        }
    }
}

/// A call that waits.
struct Waiter<'a> {
    granted: oneshot::Receiver<Permit>,
    ticket: Ticket<Claimant>,
    state: &'a Arc<Mutex<Permits>>,
}

impl Waiter<'_> {
    async fn wait(mut self) -> Result<Permit, NoPermit> {
        (&mut self.granted).await.map_err(|_| NoPermit::Closed)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let left = self.state.lock().waiting.remove(&self.ticket);
        if left.is_some() {
            // The next call may need fewer permits than this one.
            grant(self.state);
        }
    }
}

impl Permit {
    /// No permit, of the same kind.
    #[must_use]
    pub fn nothing(&self) -> Self {
        Self { count: 0, state: Arc::clone(&self.state) }
    }

    /// Adds the permits of another.
    pub fn absorb(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.state, &other.state), "permits of one kind");
        self.count += std::mem::take(&mut other.count);
    }

    /// Gives back what is beyond `count`.
    pub fn shrink_to(&mut self, count: usize) {
        if let Some(excess) = self.count.checked_sub(count).filter(|excess| *excess > 0) {
            self.count = count;
            self.state.lock().put_back(excess);
            grant(&self.state);
        }
    }
}

impl Permit {
    /// Takes the permits away for good.
    pub fn forget(mut self) {
        self.count = 0;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

impl fmt::Debug for FairPermits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("FairPermits")
            .field("free", &state.free)
            .field("waiting", &state.waiting.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("count", &self.count).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use futures_util::FutureExt as _;
    use futures_util::stream::{FuturesOrdered, StreamExt as _};

    use super::*;

    const MANY: Bounds = Bounds { total: 10_000, per_client: 10_000 };

    fn client(number: u8) -> Claimant {
        Some(ClientAddress::of(IpAddr::from(Ipv4Addr::new(10, 0, 0, number))))
    }

    #[test]
    fn a_permit_goes_to_the_client_whose_turn_it_is() {
        let permits = FairPermits::new(1, MANY);
        let first = permits.acquire(client(1), 1).now_or_never().unwrap().unwrap();
        let mut waiting: FuturesOrdered<_> =
            (0..1000).map(|_| permits.acquire(client(1), 1)).collect();
        assert!(waiting.next().now_or_never().is_none());
        let mut other = Box::pin(permits.acquire(client(2), 1));
        assert!((&mut other).now_or_never().is_none());
        drop(first);
        let second = waiting.next().now_or_never().unwrap().unwrap().unwrap();
        assert!((&mut other).now_or_never().is_none());
        drop(second);
        let third = (&mut other).now_or_never().unwrap().unwrap();
        assert!(permits.try_acquire(1).is_none());
        drop(third);
        let mut granted = 1;
        while let Some(Some(permit)) = waiting.next().now_or_never() {
            permit.unwrap();
            granted += 1;
        }
        assert_eq!((granted, permits.free(), permits.waiting()), (1000, 1, 0));
    }

    #[test]
    fn there_may_be_more_or_fewer_while_calls_wait() {
        let permits = FairPermits::new(2, MANY);
        let held = [permits.try_acquire(1).unwrap(), permits.try_acquire(1).unwrap()];
        let mut waits = Box::pin(permits.acquire(client(1), 1));
        assert!((&mut waits).now_or_never().is_none());
        permits.add(1);
        let third = (&mut waits).now_or_never().unwrap().unwrap();
        permits.take_away(2);
        assert_eq!(permits.free(), 0);
        drop((held, third));
        // Two of the three were given back for good.
        assert_eq!(permits.free(), 1);
        permits.take_away(1);
        assert!(permits.try_acquire(1).is_none());
        permits.take_away(1);
        permits.add(2);
        assert_eq!(permits.free(), 1, "one that was owed, and one");
    }

    #[test]
    fn a_dropped_call_leaves_and_lets_the_next_one_go() {
        let permits = FairPermits::new(3, MANY);
        let held = permits.try_acquire(2).unwrap();
        let mut many = Box::pin(permits.acquire(client(1), 3));
        let mut few = Box::pin(permits.acquire(client(2), 1));
        assert!((&mut many).now_or_never().is_none());
        assert!((&mut few).now_or_never().is_none(), "no call is passed over");
        assert!(permits.try_acquire(1).is_none());
        drop(many);
        let few = (&mut few).now_or_never().unwrap().unwrap();
        assert_eq!((permits.free(), permits.waiting()), (0, 0));
        // One that was granted and is dropped before it was seen gives its permit back.
        let mut unseen = Box::pin(permits.acquire(client(1), 1));
        assert!((&mut unseen).now_or_never().is_none());
        drop(few);
        assert_eq!(permits.free(), 0);
        drop(unseen);
        assert_eq!(permits.free(), 1);
        drop(held);
        assert_eq!(permits.free(), 3);
    }

    #[test]
    fn permits_are_merged_and_given_back_in_part() {
        let permits = FairPermits::new(5, MANY);
        let mut one = permits.try_acquire(2).unwrap();
        one.absorb(permits.try_acquire(3).unwrap());
        assert_eq!(permits.free(), 0);
        let mut waiting = Box::pin(permits.acquire(None, 2));
        assert!((&mut waiting).now_or_never().is_none());
        one.shrink_to(4);
        assert!((&mut waiting).now_or_never().is_none());
        one.shrink_to(3);
        let granted = (&mut waiting).now_or_never().unwrap().unwrap();
        one.shrink_to(9);
        drop((one, granted));
        assert_eq!(permits.free(), 5);
    }

    #[test]
    fn bounds_and_the_end_are_told() {
        let permits = FairPermits::new(0, Bounds { total: 2, per_client: 1 });
        let mut waiting = Box::pin(permits.acquire(client(1), 1));
        assert!((&mut waiting).now_or_never().is_none());
        let full = permits.acquire(client(1), 1).now_or_never().unwrap().unwrap_err();
        assert_eq!(full, NoPermit::Full(QueueFull));
        permits.close();
        assert_eq!((&mut waiting).now_or_never().unwrap().unwrap_err(), NoPermit::Closed);
        let late = permits.acquire(client(2), 1).now_or_never().unwrap().unwrap_err();
        assert_eq!(late, NoPermit::Closed);
        assert!(permits.try_acquire(0).is_none());
    }

    /// Calls of many clients on many threads: never more permits than there are, none lost, every call
    /// served.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_permit_is_lost_or_made() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let permits = FairPermits::new(7, MANY);
        let used = Arc::new(AtomicUsize::new(0));
        let calls: Vec<_> = (0..400_usize)
            .map(|number| {
                let (permits, used) = (permits.clone(), Arc::clone(&used));
                tokio::spawn(async move {
                    for round in 0..20 {
                        let count = 1 + (number + round) % 7;
                        let acquiring = permits.acquire(client((number % 5) as u8), count);
                        if (number + round).is_multiple_of(3) {
                            // Given up after a while, granted or not.
                            tokio::select! {
                                biased;
                                () = tokio::task::yield_now() => {}
                                permit = acquiring => drop(permit),
                            }
                            continue;
                        }
                        let permit = acquiring.await.unwrap();
                        assert!(used.fetch_add(count, Ordering::SeqCst) + count <= 7);
                        tokio::task::yield_now().await;
                        used.fetch_sub(count, Ordering::SeqCst);
                        drop(permit);
                    }
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!((permits.free(), permits.waiting()), (7, 0));
    }
}
