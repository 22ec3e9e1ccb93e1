use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::AtomicUsize;

use futures_util::FutureExt as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::net::memory_budget::MemoryBudget;
use crate::net::orphans::Orphans;
use crate::rpc::{
    Arrival, CallMessage, CallTimes, Dispatcher, Origin, PeerState, Program, Protocol, Reply,
    ReplyStream, Session, Standing, Started, Transport,
};
use crate::types::ClientAddress;
use crate::xdr::Encoder;

const LIMIT: Duration = Duration::from_secs(10);

/// The procedure's number is how many permits the call takes, one after the other.
#[derive(Debug)]
struct Gate(Semaphore);

#[async_trait::async_trait]
impl Program for Gate {
    fn number(&self) -> u32 {
        7
    }

    fn version(&self) -> u32 {
        1
    }

    fn procedure_name(&self, _: u32) -> Option<&'static str> {
        Some("gate")
    }

    fn is_replayed(&self, _: u32) -> bool {
        false
    }

    async fn call(&self, call: CallMessage) -> Reply {
        for _ in 0..call.procedure {
            self.0.acquire().await.unwrap().forget();
        }
        Reply::Success(Encoder::new().finish())
    }
}

#[derive(Debug)]
struct Acknowledged;

impl Transport for Acknowledged {
    fn unacknowledged(&self) -> u64 {
        0
    }

    fn peer(&self) -> PeerState {
        PeerState::Connected
    }
}

/// Counts how often the connection is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Fixture {
    gate: Arc<Gate>,
    session: Session,
    replies: Arc<ReplyQueue>,
    kept: KeptCalls,
    woken: Arc<Woken>,
}

impl Fixture {
    fn new() -> Self {
        let gate = Arc::new(Gate(Semaphore::new(0)));
        let times = CallTimes::new(Duration::from_secs(1), Duration::ZERO);
        let dispatcher = Dispatcher::new(vec![gate.clone()], times).unwrap();
        let peer = ([10, 0, 0, 1], 700).into();
        let cancel = CancellationToken::new();
        let arrival = Arrival { address: [10, 0, 0, 2].into(), protocol: Protocol::Tcp };
        let origin =
            Origin { peer, arrival, standing: Standing::default(), cancel: cancel.clone() };
        let stream = Arc::new(ReplyStream::new(Box::new(Acknowledged)));
        let session = dispatcher.session(origin, stream);
        let client = ClientAddress::of([10, 0, 0, 1].into());
        let memory = MemoryBudget::new(0).connect(client);
        let replies = ReplyQueue::new(1000, memory, cancel, Orphans::new(1, 1).of(client));
        let kept = KeptCalls::new(Arc::clone(&replies));
        Self { gate, session, replies, kept, woken: Arc::default() }
    }

    /// A call that waits for so many permits.
    fn call(&self, permits: u32) {
        let words = [1, 0, 2, 7, 1, permits, 0, 0, 0, 0];
        let record: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
        let mut slot = self.replies.begin(record.len(), None);
        match self.session.start(record.into(), |_| true, &self.kept.waker()).unwrap() {
            Started::Waiting(call) => {
                slot.waits();
                self.kept.keep(call, slot);
            }
            Started::Answered(_) | Started::Task(_) | Started::Lacking(_) | Started::Nothing => {
                panic!("it waits")
            }
        }
    }

    /// A turn of the connection.
    fn turn(&self) {
        let waker = Waker::from(Arc::clone(&self.woken));
        assert!(pin!(self.kept.go_on()).poll(&mut Context::from_waker(&waker)).is_pending());
    }

    fn kept(&self) -> usize {
        self.kept.state.lock().places.iter().filter(|place| place.call.is_some()).count()
    }

    /// Waits for so many replies.
    async fn answered(&self, count: usize) {
        let mut batch = VecDeque::new();
        let mut answered = 0;
        while answered < count {
            assert!(timeout(LIMIT, self.replies.take(&mut batch)).await.unwrap());
            answered += batch.len();
            let all = batch.len();
            self.replies.written(&mut batch, all);
        }
        assert_eq!(answered, count);
    }
}

#[tokio::test]
async fn calls_that_are_woken_together_are_answered_in_one_turn() {
    let fixture = Fixture::new();
    for _ in 0..3 {
        (0..8).for_each(|_| fixture.call(1));
        fixture.turn();
        let before = fixture.woken.0.load(Ordering::Relaxed);
        fixture.gate.0.add_permits(8);
        assert_eq!(fixture.woken.0.load(Ordering::Relaxed), before + 1);
        assert_eq!(fixture.kept(), 8);
        fixture.turn();
        assert_eq!(fixture.kept(), 0);
        let mut batch = VecDeque::new();
        assert_eq!(fixture.replies.take(&mut batch).now_or_never(), Some(true));
        assert_eq!(batch.len(), 8);
        fixture.replies.written(&mut batch, 8);
    }
}

#[tokio::test]
async fn a_call_that_waits_again_becomes_a_task() {
    let fixture = Fixture::new();
    fixture.call(2);
    fixture.call(1);
    fixture.turn();
    fixture.gate.0.add_permits(2);
    fixture.turn();
    assert_eq!(fixture.kept(), 0);
    fixture.answered(1).await;
    fixture.gate.0.add_permits(1);
    fixture.answered(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_long_becomes_a_task_whose_time_ends() {
    let fixture = Fixture::new();
    fixture.call(1);
    fixture.turn();
    tokio::time::sleep(2 * PATIENCE).await;
    assert_eq!(fixture.woken.0.load(Ordering::Relaxed), 1, "for its time");
    fixture.turn();
    assert_eq!((fixture.kept(), fixture.kept.state.lock().places.len()), (0, 0));
    // Its time and its grace are over: it is dropped, and without it nothing holds the connection.
    timeout(Duration::from_secs(60), fixture.replies.idle()).await.unwrap();
    fixture.call(1);
    fixture.gate.0.add_permits(1);
    fixture.turn();
    fixture.answered(1).await;
}

#[tokio::test]
async fn more_calls_than_are_kept_are_answered_too() {
    let fixture = Fixture::new();
    let calls = MOST + 36;
    (0..calls).for_each(|_| fixture.call(1));
    fixture.turn();
    assert_eq!(fixture.kept(), MOST);
    fixture.gate.0.add_permits(calls);
    tokio::task::yield_now().await;
    fixture.turn();
    fixture.answered(calls).await;
}

#[tokio::test]
async fn calls_that_are_kept_at_the_end_of_a_connection_become_tasks() {
    let mut fixture = Fixture::new();
    (0..3).for_each(|_| fixture.call(1));
    fixture.turn();
    fixture.kept = KeptCalls::new(Arc::clone(&fixture.replies));
    fixture.gate.0.add_permits(3);
    fixture.answered(3).await;
}

#[tokio::test]
async fn a_call_that_is_woken_before_it_is_kept_is_answered() {
    let fixture = Fixture::new();
    fixture.turn();
    let waker = fixture.kept.waker();
    fixture.call(1);
    fixture.gate.0.add_permits(1);
    waker.wake();
    fixture.turn();
    fixture.answered(1).await;
}
