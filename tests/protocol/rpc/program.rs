//! A program whose procedures do what a case needs.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use trunkfs::rpc::{AuthStatus, CallMessage, Program, Reply};
use trunkfs::xdr::{Decoder, Encoder};

use crate::client::PATIENCE;

pub(crate) const NUMBER: u32 = 0x2000_0001;
pub(crate) const VERSION: u32 = 3;

pub(crate) const NULL: u32 = 0;
/// Gives its arguments back.
pub(crate) const ECHO: u32 = 1;
/// Waits for the gate; ends early where it is cancelled.
pub(crate) const WAIT: u32 = 2;
/// Counts, and says how often it did so. Not to be done twice.
pub(crate) const COUNT: u32 = 3;
/// The same after the gate; where it is cancelled before, nothing is counted.
pub(crate) const WAIT_AND_COUNT: u32 = 4;
/// The same, but past the point of no return from its start.
pub(crate) const COUNT_STUBBORNLY: u32 = 5;
/// Counts, and answers what is not to be recorded.
pub(crate) const COUNT_TRANSIENTLY: u32 = 6;
pub(crate) const PANIC: u32 = 7;
/// Gives as many bytes as its argument says.
pub(crate) const BYTES: u32 = 8;
pub(crate) const GARBAGE: u32 = 9;
pub(crate) const TOO_WEAK: u32 = 10;
/// Panics after the gate. Not to be done twice.
pub(crate) const WAIT_AND_PANIC: u32 = 11;
/// Gives as many bytes as its argument says, after the gate.
pub(crate) const WAIT_FOR_BYTES: u32 = 12;
pub(crate) const PROCEDURES: u32 = 13;

/// The program's state, and the cases' hold on it.
#[derive(Debug)]
pub(crate) struct Scripted {
    count: AtomicU32,
    gate: Semaphore,
    begun: watch::Sender<u32>,
    cancelled: watch::Sender<u32>,
    /// Whether copies are answered from the cache.
    admits: AtomicBool,
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            count: AtomicU32::new(0),
            gate: Semaphore::new(0),
            begun: watch::Sender::new(0),
            cancelled: watch::Sender::new(0),
            admits: AtomicBool::new(true),
        }
    }
}

impl Scripted {
    /// How often something was counted.
    pub(crate) fn count(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }

    /// Sets whether callers are admitted.
    pub(crate) fn admit(&self, admits: bool) {
        self.admits.store(admits, Ordering::SeqCst);
    }

    /// Lets `calls` of those that wait pass.
    pub(crate) fn open_gate(&self, calls: usize) {
        self.gate.add_permits(calls);
    }

    /// Lets no more calls pass.
    pub(crate) fn close_gate(&self) {
        self.gate.forget_permits(usize::MAX);
    }

    /// Waits until so much was counted.
    pub(crate) async fn counted_to(&self, count: u32) {
        let reached = async {
            while self.count() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, reached).await.expect("it is counted in time");
    }

    /// Waits until `calls` calls in all have begun to wait for the gate.
    pub(crate) async fn begun(&self, calls: u32) {
        reached(&self.begun, calls, "calls begin").await;
    }

    /// Waits until `calls` calls in all have seen that they are cancelled.
    pub(crate) async fn cancelled(&self, calls: u32) {
        reached(&self.cancelled, calls, "calls are cancelled").await;
    }

    /// How many calls have begun to wait for the gate.
    pub(crate) fn begun_now(&self) -> u32 {
        *self.begun.borrow()
    }

    fn counted(&self) -> Encoder {
        let mut results = Encoder::new();
        results.u32(self.count.fetch_add(1, Ordering::SeqCst) + 1);
        results
    }

    async fn wait(&self) {
        self.begun.send_modify(|begun| *begun += 1);
        self.gate.acquire().await.unwrap().forget();
    }

    /// Waits for the gate; `false` where the call was cancelled before.
    async fn wait_unless_cancelled(&self, call: &CallMessage) -> bool {
        tokio::select! {
            biased;
            () = self.wait() => true,
            () = call.caller.call.cancel.cancelled() => {
                self.cancelled.send_modify(|cancelled| *cancelled += 1);
                false
            }
        }
    }
}

async fn reached(counter: &watch::Sender<u32>, calls: u32, what: &str) {
    let mut counter = counter.subscribe();
    let wait = counter.wait_for(|now| *now >= calls);
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what} in time")).unwrap();
}

#[async_trait::async_trait]
impl Program for Scripted {
    fn number(&self) -> u32 {
        NUMBER
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn procedure_name(&self, procedure: u32) -> Option<&'static str> {
        (procedure < PROCEDURES).then_some("scripted")
    }

    fn is_replayed(&self, procedure: u32) -> bool {
        matches!(
            procedure,
            COUNT | WAIT_AND_COUNT | COUNT_STUBBORNLY | COUNT_TRANSIENTLY | WAIT_AND_PANIC
        )
    }

    fn is_admitted(&self, _call: &CallMessage) -> bool {
        self.admits.load(Ordering::SeqCst)
    }

    fn memory(&self, procedure: u32, arguments: &Decoder) -> usize {
        match procedure {
            BYTES | WAIT_FOR_BYTES => arguments.clone().u32().map_or(0, |bytes| bytes as usize),
            _ => 0,
        }
    }

    async fn call(&self, call: CallMessage) -> Reply {
        match call.procedure {
            NULL => Reply::Success(Encoder::new().finish()),
            ECHO => {
                let mut results = Encoder::new();
                results.fixed(&call.arguments.rest());
                Reply::Success(results.finish())
            }
            WAIT => match self.wait_unless_cancelled(&call).await {
                true => Reply::Success(Encoder::new().finish()),
                false => Reply::Transient(Encoder::new().finish()),
            },
            COUNT => Reply::Success(self.counted().finish()),
            WAIT_AND_COUNT => match self.wait_unless_cancelled(&call).await {
                true => Reply::Success(self.counted().finish()),
                false => Reply::Transient(Encoder::new().finish()),
            },
            COUNT_STUBBORNLY => {
                self.wait().await;
                Reply::Success(self.counted().finish())
            }
            COUNT_TRANSIENTLY => Reply::Transient(self.counted().finish()),
            PANIC => panic!("as the case wants it"),
            BYTES | WAIT_FOR_BYTES => {
                if call.procedure == WAIT_FOR_BYTES {
                    self.wait().await;
                }
                let mut arguments = call.arguments;
                let Ok(length) = arguments.u32() else { return Reply::GarbageArguments };
                let mut results = Encoder::new();
                results.shared_opaque(vec![0x5a; length as usize].into());
                Reply::Success(results.finish())
            }
            GARBAGE => Reply::GarbageArguments,
            TOO_WEAK => Reply::Refused(AuthStatus::TooWeak),
            WAIT_AND_PANIC => {
                self.wait().await;
                panic!("as the case wants it, later");
            }
            other => panic!("procedure {other} is not in the table"),
        }
    }
}
