//! The network lock manager (X/Open XNFS chapters 10 and 14), versions 1, 3 and 4: locks on ranges of files,
//! as fcntl(2) and flock(2) of clients take them. NFS version 3 has none of its own.
//!
//! - A lock's owner is the client's address and name, the address of ours that it called, and the svid. Two
//!   mounts of one client by two of our addresses are two clients: both count their svids from 0.
//! - Locks are rows of the metadata store, durable before the reply: they outlive the server, and no client
//!   has to reclaim anything.
//! - UNLOCK never fails, and LOCK with block never answers DENIED. What passes is DENIED_GRACE_PERIOD; to a
//!   reclaim, which clients try but once, there is no reply.
//! - UNLOCK, CANCEL and FREE_ALL act on what the caller's own address has. A name alone gives nothing back.
//! - A connection that ends gives nothing back: clients close idle ones.

mod attempts;
mod callbacks;
mod expiry;
mod ports;
mod procedures;
mod responses;
mod sender;
mod service;
mod status;
mod task;
mod totals;
mod waking;
mod wire;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::service::{LockService, LockStores};
pub use self::totals::Overview;
pub use self::wire::Version;
use crate::metadata::LockBytes;
use crate::rpc::{CallMessage, Program, Reply};
use crate::types::FileHandle;
use crate::types::settings::{LongTime, WrongSetting};
use crate::xdr::{DecodeError, Decoder, Message};
use ports::{MAPPER_PORT, NLM};
use procedures::{Operation, Procedure};
use responses::CallKey;
use service::{Outcome, Request};
use status::Status;
use wire::{CancelArguments, LockArguments, ShareArguments, TestArguments, UnlockArguments};

/// The longest name that stands for the server, in bytes.
const MAX_SERVICE_BYTES: usize = 255;
/// The bounds of times after which something is freed, in milliseconds.
const MINUTE: u64 = 60_000;
const YEAR: u64 = 365 * 24 * 60 * MINUTE;
/// The lowest port that a process without privileges may use.
const FIRST_FREE_PORT: u16 = 1024;

/// Locks of clients.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Settings {
    /// Whether the lock manager is served.
    pub enabled: bool,
    /// What stands for the server's address in the owners of locks, where a balancer rewrites that.
    pub service: Option<String>,
    /// For how long a client may be silent until its locks are freed; none: for ever.
    #[serde(with = "LongTime::<MINUTE, YEAR>")]
    pub expire_after: Option<Duration>,
    /// For how long a lock may be unconfirmed until it is freed; none: for ever.
    #[serde(with = "LongTime::<MINUTE, YEAR>")]
    pub unconfirmed_after: Option<Duration>,
    /// The port of clients' port mappers.
    #[serde(skip)]
    pub mapper_port: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            service: None,
            expire_after: None,
            unconfirmed_after: None,
            mapper_port: MAPPER_PORT,
        }
    }
}

impl Settings {
    /// What does not fit.
    ///
    /// # Errors
    /// The key, and what is wrong.
    pub fn check(&self) -> Result<(), WrongSetting> {
        match &self.service {
            Some(name) if name.len() > MAX_SERVICE_BYTES => {
                Err(WrongSetting::new("service", "longer than 255 bytes"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// One version of the lock manager.
#[derive(Debug)]
pub struct Nlm {
    service: Arc<LockService>,
    version: Version,
}

impl Nlm {
    /// Every version of a service.
    #[must_use]
    pub fn versions(service: &Arc<LockService>) -> [Self; 3] {
        Version::ALL.map(|version| Self { service: service.clone(), version })
    }

    fn procedure(&self, number: u32) -> Option<Procedure> {
        Procedure::of(self.version, number)
    }

    async fn answer(&self, procedure: Procedure, call: &CallMessage) -> Result<Reply, DecodeError> {
        let request = Request {
            caller: &call.caller,
            arrival: call.arrival,
            version: self.version,
            procedure: procedure.name(),
        };
        let mut arguments = call.arguments.clone();
        let from = &mut arguments;
        match procedure {
            Procedure::Null => Ok(void()),
            Procedure::Synchronous(operation) => {
                let (cookie, outcome) = self.operate(&request, operation, from).await?;
                Ok(self.reply(call, &cookie, outcome))
            }
            Procedure::Message(operation) => {
                let (cookie, outcome) = self.operate(&request, operation, from).await?;
                Ok(self.respond(call, &request, operation, &cookie, outcome))
            }
            Procedure::Response(_) => Ok(void()),
            Procedure::GrantedResponse => {
                let (cookie, status) = wire::decode_result(from)?;
                let client = call.caller.address.ip();
                self.service.callbacks.answered(client, &cookie, status).await;
                Ok(void())
            }
            Procedure::Rebooted => {
                let (name, state, noted) = wire::decode_rebooted(from)?;
                let peer = call.caller.address;
                if !peer.ip().to_canonical().is_loopback() || peer.port() >= FIRST_FREE_PORT {
                    return Ok(Reply::ProcedureUnavailable);
                }
                let client = IpAddr::V6(Ipv6Addr::from(noted));
                Ok(void_if(self.service.told_of_reboot(&call.caller, client, &name, state).await))
            }
            Procedure::Share => {
                let it = ShareArguments::decode(from)?;
                Ok(self.reply(call, &it.cookie, self.service.share(&request, &it).await))
            }
            Procedure::Unshare => {
                let it = ShareArguments::decode(from)?;
                Ok(self.reply(call, &it.cookie, self.service.unshare(&request, &it).await))
            }
            Procedure::NmLock => {
                let it = LockArguments::decode(from, self.version)?;
                Ok(self.reply(call, &it.cookie, self.service.lock(&request, &it, false).await))
            }
            Procedure::FreeAll => {
                let name = wire::decode_free_all(from)?;
                Ok(void_if(self.service.free_all(&request, &name).await))
            }
        }
    }

    /// The cookie of the call, and what it comes to.
    async fn operate(
        &self,
        request: &Request<'_>,
        operation: Operation,
        from: &mut Decoder,
    ) -> Result<(Bytes, Outcome), DecodeError> {
        let (service, version) = (&self.service, self.version);
        Ok(match operation {
            Operation::Test => {
                let it = TestArguments::decode(from, version)?;
                let outcome = service.test(request, &it).await;
                (it.cookie, outcome)
            }
            Operation::Lock => {
                let it = LockArguments::decode(from, version)?;
                let outcome = service.lock(request, &it, true).await;
                (it.cookie, outcome)
            }
            Operation::Cancel => {
                let it = CancelArguments::decode(from, version)?;
                let outcome = service.cancel(request, &it).await;
                (it.cookie, outcome)
            }
            Operation::Unlock => {
                let it = UnlockArguments::decode(from, version)?;
                let outcome = service.unlock(request, &it).await;
                (it.cookie, outcome)
            }
        })
    }

    fn reply(&self, call: &CallMessage, cookie: &Bytes, outcome: Outcome) -> Reply {
        self.note(call, &outcome);
        match outcome {
            Outcome::Done(answer) => Reply::Success(answer.encode(cookie, self.version)),
            Outcome::Later(answer) => Reply::Transient(answer.encode(cookie, self.version)),
            Outcome::Dropped => Reply::Dropped,
        }
    }

    /// Sends the results by a call of their own.
    fn respond(
        &self,
        call: &CallMessage,
        request: &Request<'_>,
        operation: Operation,
        cookie: &Bytes,
        outcome: Outcome,
    ) -> Reply {
        self.note(call, &outcome);
        let (answer, is_final) = match outcome {
            Outcome::Done(answer) => (answer, true),
            Outcome::Later(answer) => (answer, false),
            Outcome::Dropped => return Reply::Dropped,
        };
        let results = answer.encode(cookie, self.version);
        let is_kept = is_final && self.is_replayed(call.procedure);
        self.service.responses.send(key(call, request), operation.response(), results, is_kept);
        if is_final { void() } else { Reply::Transient(Message::default()) }
    }

    /// For the counters, and for the connection: a caller that names a file that is there is a client.
    fn note(&self, call: &CallMessage, outcome: &Outcome) {
        let CallMessage { caller, standing, .. } = call;
        let answer = match outcome {
            Outcome::Done(answer) | Outcome::Later(answer) => answer,
            Outcome::Dropped => return,
        };
        let status = answer.status();
        let looks = self.procedure(call.procedure).is_some_and(Procedure::looks_at_file);
        if looks && status.is_about_a_file() {
            standing.prove();
        }
        if status != Status::Granted {
            caller.call.timing.set_failure(status as u32);
        }
    }
}

fn key(call: &CallMessage, request: &Request<'_>) -> CallKey {
    CallKey {
        peer: call.caller.address,
        xid: call.caller.call.timing.xid,
        procedure: call.procedure,
        to: request.destination(),
    }
}

fn void() -> Reply {
    Reply::Success(Message::default())
}

fn void_if(done: bool) -> Reply {
    if done { void() } else { Reply::Dropped }
}

/// The handle in the arguments of a call about a file.
fn handle(procedure: Procedure, version: Version, arguments: &Decoder) -> Option<LockBytes> {
    let mut from = arguments.clone();
    let from = &mut from;
    let operation = match procedure {
        Procedure::Synchronous(operation) | Procedure::Message(operation) => operation,
        Procedure::NmLock => Operation::Lock,
        Procedure::Share | Procedure::Unshare => {
            return Some(ShareArguments::decode(from).ok()?.handle);
        }
        Procedure::Null
        | Procedure::Response(_)
        | Procedure::GrantedResponse
        | Procedure::Rebooted
        | Procedure::FreeAll => return None,
    };
    let lock = match operation {
        Operation::Test => TestArguments::decode(from, version).ok()?.lock,
        Operation::Lock => LockArguments::decode(from, version).ok()?.lock,
        Operation::Cancel => CancelArguments::decode(from, version).ok()?.lock,
        Operation::Unlock => UnlockArguments::decode(from, version).ok()?.lock,
    };
    Some(lock.handle)
}

#[async_trait::async_trait]
impl Program for Nlm {
    fn number(&self) -> u32 {
        NLM
    }

    fn version(&self) -> u32 {
        self.version.number()
    }

    fn procedure_name(&self, number: u32) -> Option<&'static str> {
        self.procedure(number).map(Procedure::name)
    }

    fn failure_name(&self, failure: u32) -> Option<&'static str> {
        Status::name(failure)
    }

    fn is_replayed(&self, number: u32) -> bool {
        self.procedure(number).is_some_and(Procedure::is_replayed)
    }

    /// What takes something is refused to who is not admitted (any more); giving back is open to all.
    fn is_admitted(&self, call: &CallMessage) -> bool {
        let procedure = self.procedure(call.procedure).filter(|it| it.looks_at_file());
        let Some(procedure) = procedure else { return true };
        let handle = handle(procedure, self.version, &call.arguments);
        handle.is_none_or(|handle| self.service.admits(&call.caller, handle.as_bytes()))
    }

    /// A copy of a message gets its results again.
    fn repeated(&self, call: CallMessage) {
        if let Some(Procedure::Message(operation)) = self.procedure(call.procedure) {
            let request = Request {
                caller: &call.caller,
                arrival: call.arrival,
                version: self.version,
                procedure: "",
            };
            self.service.responses.again(&key(&call, &request), operation.response());
        }
    }

    /// The handle.
    fn subject(&self, number: u32, arguments: &Decoder) -> Option<String> {
        let handle = handle(self.procedure(number)?, self.version, arguments)?;
        Some(match FileHandle::parse(handle.as_bytes()) {
            Ok(handle) => format!("{}:{}", handle.share, handle.object),
            Err(_) => handle.as_bytes().iter().take(64).map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    async fn call(&self, call: CallMessage) -> Reply {
        // The dispatcher asks for the name first, so that a number without a procedure does not come here.
        let Some(procedure) = self.procedure(call.procedure) else { return Reply::SystemError };
        match self.answer(procedure, &call).await {
            Ok(reply) => reply,
            Err(DecodeError::Truncated | DecodeError::TooLong | DecodeError::Value) => {
                Reply::GarbageArguments
            }
        }
    }
}
