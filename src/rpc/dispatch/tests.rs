use tokio::sync::Semaphore;

use super::*;
use crate::rpc::{PeerState, Protocol, Transport};
use crate::xdr::Encoder;

const READ: u32 = 1;
const CHANGE: u32 = 2;

/// Procedures that heed no token and end when a permit is there: a store that looks for the outcome of what
/// it has sent.
#[derive(Debug)]
struct Deaf(Semaphore);

#[async_trait::async_trait]
impl Program for Deaf {
    fn number(&self) -> u32 {
        7
    }

    fn version(&self) -> u32 {
        1
    }

    fn procedure_name(&self, _: u32) -> Option<&'static str> {
        Some("deaf")
    }

    fn is_replayed(&self, procedure: u32) -> bool {
        procedure == CHANGE
    }

    async fn call(&self, _: CallMessage) -> Reply {
        let permit = self.0.acquire().await;
        permit.map_or(Reply::SystemError, |permit| {
            permit.forget();
            Reply::Success(Encoder::new().finish())
        })
    }
}

struct Fixture {
    program: Arc<Deaf>,
    dispatcher: Arc<Dispatcher>,
}

/// Replies that the client has as soon as they are written.
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

fn origin(protocol: Protocol) -> Origin {
    Origin {
        peer: ([10, 0, 0, 1], 700).into(),
        arrival: Arrival { address: [10, 0, 0, 2].into(), protocol },
        standing: Standing::default(),
        cancel: CancellationToken::new(),
    }
}

impl Fixture {
    fn new() -> Self {
        let program = Arc::new(Deaf(Semaphore::new(0)));
        let times = CallTimes::new(Duration::from_secs(30), Duration::from_secs(1));
        let dispatcher = Dispatcher::new(vec![program.clone()], times).unwrap();
        Self { program, dispatcher }
    }

    /// A call on a connection of its own.
    fn start(&self, procedure: u32) -> Started {
        let words = [1, 0, 2, 7, 1, procedure, 0, 0, 0, 0];
        let record: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
        let stream = Arc::new(ReplyStream::new(Box::new(Acknowledged)));
        let session = self.dispatcher.session(origin(Protocol::Tcp), stream);
        session.start(record.into(), |_| true, Waker::noop()).unwrap()
    }

    fn waiting(&self, procedure: u32) -> Task {
        match self.start(procedure) {
            Started::Waiting(running) => Box::pin(running.end()),
            Started::Task(task) => task,
            Started::Answered(_) | Started::Nothing | Started::Lacking(_) => panic!("it waits"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_be_repeated_is_dropped_when_its_grace_is_over() {
    let fixture = Fixture::new();
    let began = Instant::now();
    assert!(fixture.waiting(READ).await.is_none());
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_change_is_awaited_as_long_as_its_outcome_is_looked_for() {
    let fixture = Fixture::new();
    let call = tokio::spawn(fixture.waiting(CHANGE));
    tokio::time::sleep(Duration::from_secs(120)).await;
    // A repeat waits its own time for it, and does not run.
    assert!(fixture.waiting(CHANGE).await.is_none());
    assert_eq!(fixture.program.0.available_permits(), 0);
    fixture.program.0.add_permits(1);
    assert!(call.await.unwrap().is_some());
    assert!(matches!(fixture.start(CHANGE), Started::Answered(_)), "the recorded reply");
}
