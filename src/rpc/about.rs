//! A call as the log names it, and the lines that are about its time.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::time::Instant;

use super::{Bursts, Call, Program};
use crate::types::{Trail, Wait};
use crate::xdr::Decoder;

/// How long lines of one kind are counted before the count is said.
const WINDOW: Duration = Duration::from_secs(10);
/// Lines of one kind and procedure in a window.
const LINES: u64 = 3;

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Slow,
    Late,
}

static BURSTS: LazyLock<Bursts<(Kind, &'static str)>> =
    LazyLock::new(|| Bursts::new(LINES, WINDOW, tell));

fn tell((kind, procedure): (Kind, &'static str), more: u64) {
    match kind {
        Kind::Slow => tracing::warn!(procedure, more, "more calls were slow"),
        Kind::Late => tracing::warn!(procedure, more, "the time of more calls was over"),
    }
}

/// What is known of a call before it runs. It shares the call's bytes.
#[derive(Debug)]
pub(super) struct About {
    program: Arc<dyn Program>,
    number: u32,
    procedure: &'static str,
    arguments: Decoder,
    client: SocketAddr,
    pub(super) trail: Arc<Trail>,
    began: Instant,
}

impl About {
    pub(super) fn new(program: Arc<dyn Program>, procedure: &'static str, call: &Call) -> Self {
        Self {
            program,
            number: call.procedure,
            procedure,
            arguments: call.arguments.clone(),
            client: call.caller.address,
            trail: call.caller.trail.clone(),
            began: Instant::now(),
        }
    }

    fn handle(&self) -> Option<String> {
        self.program.subject(self.number, &self.arguments)
    }

    /// The call's time is over, and it still runs.
    pub(super) fn is_late(&self) {
        let Self { trail, client, procedure, .. } = self;
        if BURSTS.admit((Kind::Late, procedure)) {
            tracing::warn!(xid = trail.xid, %client, procedure, handle = self.handle(),
                "the call's time is over");
        }
    }

    /// Its handler panicked.
    pub(super) fn panicked(&self, panic: &str) {
        let Self { trail, client, procedure, .. } = self;
        tracing::error!(xid = trail.xid, %client, procedure, handle = self.handle(), panic,
            "a call's handler panicked");
    }

    /// It does not end.
    pub(super) fn is_dropped(&self) {
        let Self { trail, client, procedure, .. } = self;
        tracing::error!(xid = trail.xid, %client, procedure, handle = self.handle(),
            "the call did not end and is dropped without an answer");
    }

    /// It ended: says where its time went if it took `slow` or longer, where that is not zero.
    pub(super) fn ended(&self, slow: Duration) {
        let took = self.began.elapsed();
        let Self { trail, client, procedure, .. } = self;
        if slow.is_zero() || took < slow || !BURSTS.admit((Kind::Slow, procedure)) {
            return;
        }
        let (connection, database, content) = (
            trail.waited(Wait::Connection),
            trail.waited(Wait::Database),
            trail.waited(Wait::Content),
        );
        let other = took.saturating_sub(connection + database + content);
        tracing::warn!(
            xid = trail.xid,
            %client,
            procedure,
            handle = self.handle(),
            took_ms = milliseconds(took),
            connection_ms = milliseconds(connection),
            database_ms = milliseconds(database),
            content_ms = milliseconds(content),
            other_ms = milliseconds(other),
            "a call was slow"
        );
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
