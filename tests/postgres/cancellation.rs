//! Every operation is given up at every message between store and database, while it waits for a connection,
//! while it connects and while it waits for a lock. Then the namespace is as before or as after, the
//! connection serves the next call or is gone, and all of the pool is to be had.

use std::pin::pin;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_postgres::Client;
use trunkfs::metadata::postgres::{PostgresStore, Settings};
use trunkfs::metadata::{Error, Invariants, Share, ShareSpec, Usage};
use trunkfs::types::ShareName;

use crate::database::{TestDatabase, connect};
use crate::gate::{Gate, Side};
use crate::operations::{Expected, Operation, Outcome, Scene};
use crate::steps::wait_times;
use crate::support::{share_spec, until};

/// A store that reaches its database through a gate.
struct Stage {
    store: Arc<dyn Invariants>,
    share: Share,
    gate: Gate,
    connections: usize,
    // Dropped last: the store's connections end first.
    database: TestDatabase,
}

impl Stage {
    async fn new(connections: usize) -> Self {
        let database = TestDatabase::create().await;
        let gate = Gate::before(&database.settings()).await;
        let settings =
            Settings { max_connections: connections, ..gate.settings(&database.settings()) };
        let store: Arc<dyn Invariants> = Arc::new(PostgresStore::connect(settings).await.unwrap());
        let share = store.open_share(&share_spec()).await.unwrap();
        Self { store, share, gate, connections, database }
    }

    async fn scene(&self) -> Scene {
        Scene::make(&self.store, &self.share).await
    }

    async fn expected(&self, operation: Operation) -> Expected {
        Expected::of(operation, &self.store, &self.share).await
    }

    /// Every connection of the pool can be in use at once, none is in a transaction, and the store is sound.
    async fn whole(&self) {
        let none = "state LIKE 'idle in transaction%' AND application_name = 'trunkfs'";
        until(&self.database, "no transaction is left open", none, 0).await;
        let in_use = Held::every_connection(self).await;
        in_use.release().await;
        assert_eq!(self.store.inconsistencies().await.unwrap(), [""; 0]);
    }
}

/// Calls that use every connection of a stage: they wait for the lock of a table. They read, since changes
/// leave some connections to reads.
struct Held {
    blocker: Client,
    calls: JoinSet<Result<(), Error>>,
}

impl Held {
    async fn every_connection(stage: &Stage) -> Self {
        let scene = stage.scene().await;
        let blocker = connect(&stage.database.settings()).await;
        blocker.batch_execute("BEGIN; LOCK TABLE files").await.unwrap();
        let mut calls = JoinSet::new();
        for _ in 0..stage.connections {
            let (scene, cx) = (scene.clone(), scene.cx());
            calls.spawn(async move { scene.call(Operation::Getattr, &cx).await });
        }
        let count = i64::try_from(stage.connections).unwrap();
        until(&stage.database, "every connection is in use", WAITS, count).await;
        Self { blocker, calls }
    }

    /// All of the calls are answered.
    async fn release(self) {
        self.blocker.batch_execute("COMMIT").await.unwrap();
        let answers = self.calls.join_all().await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
}

/// Of a session that waits for a lock.
const WAITS: &str = "wait_event_type = 'Lock'";

/// What happens to a call while one of its messages is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// Its token fires.
    Cancelled,
    /// Its future is dropped.
    Dropped,
    /// Its connection breaks.
    Cut,
}

/// Makes the call, and lets the event happen while the message that follows `pass` others is held back.
/// `None` where there is no such message.
async fn strike(
    stage: &Stage,
    expected: &Expected,
    (operation, event): (Operation, Event),
    (side, pass): (Side, usize),
    scene: &Scene,
) -> Option<Outcome> {
    let gate = &stage.gate;
    let cx = scene.cx();
    let mut call = Box::pin(scene.call(operation, &cx));
    gate.arm(side, pass);
    let untouched = tokio::select! {
        answer = &mut call => Some(answer),
        () = gate.held() => None,
    };
    if let Some(answer) = untouched {
        gate.open();
        expected.check(&answer, &scene.state().await.unwrap());
        return None;
    }
    let answer = match event {
        Event::Cancelled => {
            cx.call.cancel.cancel();
            // Past the point of no return only is anything waited for.
            let at_once = wait_times(call.as_mut(), 1).await;
            assert!(at_once.is_some() || operation.changes(), "{operation:?} ends at once");
            gate.open();
            match at_once {
                Some(answer) => answer,
                None => call.await,
            }
        }
        Event::Dropped => {
            drop(call);
            gate.open();
            return Some(expected.settle(scene).await);
        }
        Event::Cut => {
            gate.cut();
            gate.open();
            let answer = call.await;
            assert!(answer.is_ok(), "{operation:?} is found out or made again: {answer:?}");
            answer
        }
    };
    Some(expected.check(&answer, &scene.state().await.unwrap()))
}

/// Strikes at every message of `sides`, having called `first` before each call; how many messages there were.
async fn at_every_message(
    stage: &Stage,
    (operation, event): (Operation, Event),
    sides: &[Side],
    first: impl Fn(),
) -> usize {
    let expected = stage.expected(operation).await;
    let mut scenes = Vec::new();
    for &side in sides {
        for pass in 0.. {
            let scene = stage.scene().await;
            first();
            let at = (side, pass);
            let struck = strike(stage, &expected, (operation, event), at, &scene).await;
            let Some(outcome) = struck else { break };
            scenes.push((scene, outcome));
        }
    }
    for (scene, outcome) in &scenes {
        expected.recheck(scene, *outcome, event == Event::Dropped).await;
    }
    scenes.len()
}

/// The messages of a statement that is prepared: Bind, Execute, Sync, and a complete answer to each.
const STATEMENT: usize = 6;

async fn every_operation(operations: &[Operation], event: Event) {
    let stage = Stage::new(1).await;
    for &operation in operations {
        let sides = [Side::Client, Side::Server];
        let messages = at_every_message(&stage, (operation, event), &sides, || {}).await;
        // What changes something is followed by what makes it durable.
        let statements = if operation.changes() { 2 } else { 1 };
        assert!(messages >= statements * STATEMENT, "{operation:?}: {messages} messages");
        stage.whole().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_at_every_message() {
    every_operation(&[&Operation::READING[..], &Operation::CHANGING].concat(), Event::Cancelled)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_at_every_message() {
    let operations = [&Operation::READING[..], &Operation::CHANGING].concat();
    // What a share uses is remembered for a while, and not asked for again.
    let others = Operation::WITHOUT_CONTEXT.into_iter().filter(|it| *it != Operation::Usage);
    every_operation(&operations.into_iter().chain(others).collect::<Vec<_>>(), Event::Dropped)
        .await;
}

/// Not all of them: each cut costs a new connection, and statements that are prepared anew.
#[tokio::test(flavor = "multi_thread")]
async fn cut_at_every_message() {
    use Operation::{Chmod, Create, Replace};
    every_operation(&[Create, Replace, Chmod], Event::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_up_while_connecting() {
    let stage = Stage::new(1).await;
    for event in [Event::Cancelled, Event::Dropped] {
        let connecting = (Operation::Create, event);
        let messages =
            at_every_message(&stage, connecting, &[Side::Server], || stage.gate.cut()).await;
        assert!(messages > 20, "{messages} messages");
        stage.whole().await;
    }
}

/// Whoever asks first does so for all, and may go away.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_question_for_the_usage_is_asked_again() {
    let stage = Stage::new(1).await;
    for pass in 0..STATEMENT {
        let name = ShareName::parse(&format!("/share-{pass}")).unwrap();
        let share = stage.store.open_share(&ShareSpec { name, ..share_spec() }).await.unwrap();
        stage.gate.arm(Side::Server, pass);
        tokio::select! {
            usage = stage.store.usage(share.id) => panic!("its message is held: {usage:?}"),
            () = stage.gate.held() => {}
        }
        stage.gate.open();
        assert_eq!(stage.store.usage(share.id).await.unwrap(), Usage { objects: 1, bytes: 0 });
    }
    stage.whole().await;
}

/// Calls that find every connection in use end as soon as they are told to, and have taken nothing.
#[tokio::test(flavor = "multi_thread")]
async fn given_up_while_all_connections_are_in_use() {
    let stage = Stage::new(2).await;
    let mut scenes = Vec::new();
    for operation in [&Operation::READING[..], &Operation::CHANGING].concat() {
        scenes.push((operation, stage.expected(operation).await, stage.scene().await));
    }
    let in_use = Held::every_connection(&stage).await;
    for (operation, _, scene) in &scenes {
        let cx = scene.cx();
        let mut dropped = Box::pin(scene.call(*operation, &cx));
        assert!(wait_times(dropped.as_mut(), 1).await.is_none(), "{operation:?} waits");
        drop(dropped);
        let mut cancelled = pin!(scene.call(*operation, &cx));
        assert!(wait_times(cancelled.as_mut(), 1).await.is_none(), "{operation:?} waits");
        cx.call.cancel.cancel();
        let answer = wait_times(cancelled, 1).await;
        assert!(matches!(answer, Some(Err(Error::Cancelled))), "{operation:?}: {answer:?}");
    }
    in_use.release().await;
    for (_, expected, scene) in &scenes {
        expected.check(&Err(Error::Cancelled), &scene.state().await.unwrap());
    }
    stage.whole().await;
}

/// What becomes of calls that wait for a lock, and are over.
async fn waiting_for_a_lock(event: Event, released: bool) {
    let operations = Operation::CHANGING;
    // Changes may hold three quarters of the connections.
    let stage = Stage::new(operations.len() * 2).await;
    let mut scenes = Vec::new();
    for operation in operations {
        scenes.push((operation, stage.expected(operation).await, stage.scene().await));
    }
    let mut blocker = connect(&stage.database.settings()).await;
    let lock = blocker.transaction().await.unwrap();
    // The lock of directory moves comes before the rows.
    lock.batch_execute("SELECT pg_advisory_xact_lock(19792, id) FROM shares").await.unwrap();
    lock.batch_execute("SELECT FROM files FOR UPDATE").await.unwrap();
    let mut calls = Vec::new();
    for (operation, _, scene) in &scenes {
        let (operation, scene, cx) = (*operation, scene.clone(), scene.cx());
        let cancel = cx.call.cancel.clone();
        calls.push((cancel, tokio::spawn(async move { scene.call(operation, &cx).await })));
    }
    let count = i64::try_from(operations.len()).unwrap();
    until(&stage.database, "all wait", WAITS, count).await;
    for (cancel, call) in &calls {
        match event {
            Event::Cancelled => cancel.cancel(),
            Event::Dropped => call.abort(),
            Event::Cut => stage.gate.cut(),
        }
    }
    let release = async {
        if !released {
            until(&stage.database, "none waits any more", WAITS, 0).await;
        }
        lock.commit().await.unwrap();
    };
    let answers = async {
        let mut answers = Vec::new();
        for (_, call) in calls {
            answers.push(call.await);
        }
        answers
    };
    let ((), answers) = tokio::join!(release, answers);
    let busy = "state = 'active' AND application_name = 'trunkfs'";
    until(&stage.database, "what was sent has ended", busy, 0).await;
    for ((_, expected, scene), answer) in scenes.iter().zip(answers) {
        let Ok(answer) = answer else {
            assert_eq!(expected.settle(scene).await, Outcome::After, "what is sent comes through");
            continue;
        };
        let outcome = expected.check(&answer, &scene.state().await.unwrap());
        assert_eq!(outcome == Outcome::After, released);
    }
    stage.whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_while_waiting_for_a_lock_that_comes_free() {
    waiting_for_a_lock(Event::Cancelled, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_while_waiting_for_a_lock_that_does_not() {
    waiting_for_a_lock(Event::Cancelled, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_while_waiting_for_a_lock() {
    waiting_for_a_lock(Event::Dropped, true).await;
}
