//! A call as the log names it, and the lines that are about its time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{CallMessage, Program};
use crate::counters::{SlowCall, SlowCalls};
use crate::log_limit::{Excerpt, limited};
use crate::types::{CallTiming, Phase};
use crate::xdr::Decoder;

/// Which calls are slow, and where they are noted beside the log.
#[derive(Debug)]
pub(super) struct Slow {
    /// The least that a slow call takes; zero: none is slow.
    pub(super) limit: Duration,
    pub(super) calls: Arc<SlowCalls>,
}

/// What is known of a call before it runs. It shares the call's bytes.
#[derive(Debug)]
pub(super) struct CallLog {
    program: Arc<dyn Program>,
    number: u32,
    procedure: &'static str,
    arguments: Decoder,
    client: SocketAddr,
    pub(super) timing: Arc<CallTiming>,
    began: Instant,
}

impl CallLog {
    pub(super) fn new(
        program: Arc<dyn Program>,
        procedure: &'static str,
        call: &CallMessage,
    ) -> Self {
        Self {
            program,
            number: call.procedure,
            procedure,
            arguments: call.arguments.clone(),
            client: call.caller.address,
            timing: call.caller.call.timing.clone(),
            began: Instant::now(),
        }
    }

    fn handle(&self) -> Option<String> {
        self.program.subject(self.number, &self.arguments)
    }

    /// The lines of a procedure are limited by client.
    fn limit(&self) -> (SocketAddr, &'static str) {
        (self.client, self.procedure)
    }

    /// The call's time is over, and it still runs.
    pub(super) fn is_late(&self) {
        let Self { timing, client, procedure, .. } = self;
        limited!(warn, self.limit(), "the call's time is over",
            xid = timing.xid, %client, procedure, handle = self.handle());
    }

    /// Its handler panicked.
    pub(super) fn panicked(&self, panic: &str) {
        let Self { timing, client, procedure, .. } = self;
        limited!(error, self.limit(), "a call's handler panicked",
            xid = timing.xid, %client, procedure, handle = self.handle(), panic = %Excerpt(panic.as_bytes()));
    }

    /// It does not end.
    pub(super) fn is_dropped(&self) {
        let Self { timing, client, procedure, .. } = self;
        limited!(error, self.limit(), "the call did not end and is dropped without an answer",
            xid = timing.xid, %client, procedure, handle = self.handle());
    }

    /// How long it has run.
    pub(super) fn took(&self) -> Duration {
        self.began.elapsed()
    }

    /// It ended: says where its time went if it was slow.
    pub(super) fn ended(&self, took: Duration, slow: &Slow) {
        if slow.limit.is_zero() || took < slow.limit {
            return;
        }
        let Self { timing, client, procedure, .. } = self;
        let waits = [Phase::Connection, Phase::Database, Phase::Content, Phase::Away];
        let waits = waits.map(|wait| timing.waited(wait));
        let [connection, database, content, away] = waits;
        let other = took.saturating_sub(waits.iter().sum());
        let handle = self.handle();
        limited!(warn, self.limit(), "a call was slow",
            xid = timing.xid, %client, procedure, handle = handle,
            took_ms = milliseconds(took),
            connection_ms = milliseconds(connection),
            database_ms = milliseconds(database),
            content_ms = milliseconds(content),
            away_ms = milliseconds(away),
            other_ms = milliseconds(other));
        slow.calls.add(SlowCall {
            at: SystemTime::now(),
            client: *client,
            procedure,
            subject: handle,
            took,
            waits,
        });
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
