//! What a program (NFS, MOUNT) is to the RPC layer.

use std::net::IpAddr;

use super::Standing;
use crate::types::{CallTiming, Caller};
use crate::xdr::{Decoder, Message};

/// How calls come: a record of a stream, or a datagram (RFC 5531 section 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Where a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The server's address that the client used.
    pub address: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
}

/// One call of a procedure that the program has.
#[derive(Debug)]
pub struct CallMessage {
    pub caller: Caller,
    /// Where the call came to.
    pub arrival: Arrival,
    /// The connection's, for a program that knows a valid handle.
    pub standing: Standing,
    /// The procedure's number.
    pub procedure: u32,
    /// Its arguments, not looked at yet.
    pub arguments: Decoder,
}

/// Why credentials are refused (RFC 5531 section 9, auth_stat).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum AuthStatus {
    /// AUTH_BADCRED: the credentials cannot be decoded.
    BadCredentials = 1,
    /// AUTH_REJECTEDCRED: the flavour is not spoken here.
    RejectedCredentials = 2,
    /// AUTH_BADVERF: the verifier cannot be decoded.
    BadVerifier = 3,
    /// AUTH_TOOWEAK: the call needs a stronger flavour.
    TooWeak = 5,
}

/// What a procedure answers.
#[derive(Debug)]
pub enum Reply {
    /// The results.
    Success(Message),
    /// The results, not to be kept for a repeat of the call: nothing was applied, and a repeat
    /// may do better (NFS3ERR_JUKEBOX).
    Transient(Message),
    /// GARBAGE_ARGS: the arguments cannot be decoded.
    GarbageArguments,
    /// PROC_UNAVAIL: the procedure has a name, and is not served this way.
    ProcedureUnavailable,
    /// The caller's flavour does not suffice.
    Refused(AuthStatus),
    /// SYSTEM_ERR.
    SystemError,
    /// No reply: the client is to repeat the call, and any reply would fail it.
    Dropped,
}

/// Replies that are no results, as counters tell them: beyond every status of a program.
const NO_RESULTS: [(u32, &str); 5] = [
    (0xffff_fffb, "PROC_UNAVAIL"),
    (0xffff_fffc, "GARBAGE_ARGS"),
    (0xffff_fffd, "AUTH_ERROR"),
    (0xffff_fffe, "SYSTEM_ERR"),
    (0xffff_ffff, "DROPPED"),
];

impl Reply {
    /// Notes for the counters that it is no result. A program notes its own statuses.
    pub(super) fn note_failure(&self, timing: &CallTiming) {
        let [unavailable, garbage, refused, system, dropped] = NO_RESULTS.map(|(number, _)| number);
        timing.set_failure(match self {
            Self::Success(_) | Self::Transient(_) => return,
            Self::ProcedureUnavailable => unavailable,
            Self::GarbageArguments => garbage,
            Self::Refused(_) => refused,
            Self::SystemError => system,
            Self::Dropped => dropped,
        });
    }

    /// What a failure that [`Reply::note_failure`] notes is called.
    pub(super) fn failure_name(failure: u32) -> Option<&'static str> {
        NO_RESULTS.iter().find(|(number, _)| *number == failure).map(|(_, name)| *name)
    }
}

/// A program of one version.
#[async_trait::async_trait]
pub trait Program: std::fmt::Debug + Send + Sync + 'static {
    /// The program's number.
    fn number(&self) -> u32;

    /// The only version that is spoken.
    fn version(&self) -> u32;

    /// The procedure's name for logs and metrics; `None` where there is no such procedure
    /// (PROC_UNAVAIL).
    fn procedure_name(&self, procedure: u32) -> Option<&'static str>;

    /// What a status that the program noted in a call's timing is called, for figures.
    fn failure_name(&self, _failure: u32) -> Option<&'static str> {
        None
    }

    /// Whether a repeat of the call must get the recorded reply, since doing it twice is not doing it
    /// once.
    fn is_replayed(&self, procedure: u32) -> bool;

    /// Whether the program records a call with what it changes, so that another server may answer a repeat.
    fn is_recorded(&self, _procedure: u32) -> bool {
        false
    }

    /// Whether the rules of what the call names admit its caller. A copy of an earlier call from a caller
    /// that they do not admit is not answered from the cache: it runs, and is refused.
    fn is_admitted(&self, _call: &CallMessage) -> bool {
        true
    }

    /// A copy of an earlier call is answered from the reply cache. A program whose work does not end with its
    /// reply does the rest again.
    fn repeated(&self, _call: CallMessage) {}

    /// How many bytes of memory a call may take beside its arguments: the largest reply, and all that it is
    /// made from. Asked for before the call runs, which waits for so much. Small calls, which give a few
    /// hundred bytes, say 0. Of the arguments of the others no more than [`super::FREE_BYTES`] are decoded.
    fn memory(&self, _procedure: u32, _arguments: &Decoder) -> usize {
        0
    }

    /// What a call is about, as the log shows it: a handle, a path. Asked for calls that get a line.
    fn subject(&self, _procedure: u32, _arguments: &Decoder) -> Option<String> {
        None
    }

    /// Answers a call. Dropping the future must be safe at any await.
    async fn call(&self, call: CallMessage) -> Reply;
}
