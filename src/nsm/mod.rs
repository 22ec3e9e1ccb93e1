//! The network status monitor (X/Open XNFS chapter 11), version 1: clients that have rebooted say so by
//! SM_NOTIFY, and their locks are freed.
//!
//! Nothing else is done for anybody: a client's SM_MON is for its own status monitor, so that this one
//! answers that it fails, records nothing and calls nobody. The server's own state does not change at a
//! restart, which loses no lock.
//!
//! Where the machine's own rpc.statd(8) has the number, that is asked to tell of clients ([`watch`]).
//!
//! A notice counts for the address that it comes from. UDP can be forged by who is in the path, as every call
//! of NFS can be that carries a uid: the networks of the shares are the border.

mod host;

use std::sync::Arc;

pub use self::host::watch;
use crate::metadata::LockBytes;
use crate::nlm::LockService;
use crate::rpc::{CallMessage, Program, Reply};
use crate::types::Caller;
use crate::xdr::{DecodeError, Decoder, Encoder, Message};

/// The program's number.
pub const PROGRAM: u32 = 100_024;
const VERSION: u32 = 1;
/// The longest name, in bytes (SM_MAXSTRLEN).
const MAX_NAME_BYTES: usize = LockBytes::MOST;
/// This server's state number. It is odd: the server is up.
const STATE: u32 = 1;
/// STAT_FAIL: the host is not monitored.
const FAILED: u32 = 1;

/// The procedures by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Procedure {
    Null,
    Stat,
    Monitor,
    Unmonitor,
    UnmonitorAll,
    SimulateCrash,
    Notify,
}

impl Procedure {
    fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Null,
            1 => Self::Stat,
            2 => Self::Monitor,
            3 => Self::Unmonitor,
            4 => Self::UnmonitorAll,
            5 => Self::SimulateCrash,
            6 => Self::Notify,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Stat => "SM_STAT",
            Self::Monitor => "SM_MON",
            Self::Unmonitor => "SM_UNMON",
            Self::UnmonitorAll => "SM_UNMON_ALL",
            Self::SimulateCrash => "SM_SIMU_CRASH",
            Self::Notify => "SM_NOTIFY",
        }
    }
}

/// The status monitor over a server's locks.
#[derive(Debug)]
pub struct Nsm {
    locks: Arc<LockService>,
}

impl Nsm {
    /// Frees locks of `locks`.
    #[must_use]
    pub fn new(locks: Arc<LockService>) -> Self {
        Self { locks }
    }

    async fn answer(
        &self,
        procedure: Procedure,
        caller: &Caller,
        mut arguments: Decoder,
    ) -> Result<Reply, DecodeError> {
        let mut reply = Encoder::new();
        match procedure {
            Procedure::Null | Procedure::SimulateCrash => {}
            Procedure::Stat => {
                arguments.opaque(MAX_NAME_BYTES)?;
                reply.u32(FAILED);
                reply.u32(STATE);
            }
            Procedure::Monitor => {
                arguments.opaque(MAX_NAME_BYTES)?;
                my_id(&mut arguments)?;
                // What would be passed on to the caller at a reboot.
                arguments.fixed::<16>()?;
                reply.u32(FAILED);
                reply.u32(STATE);
            }
            Procedure::Unmonitor => {
                arguments.opaque(MAX_NAME_BYTES)?;
                my_id(&mut arguments)?;
                reply.u32(STATE);
            }
            Procedure::UnmonitorAll => {
                my_id(&mut arguments)?;
                reply.u32(STATE);
            }
            Procedure::Notify => {
                let name = arguments.opaque(MAX_NAME_BYTES)?;
                let name = LockBytes::new(&name).ok_or(DecodeError::TooLong)?;
                let state = i32::from_be_bytes(arguments.fixed()?);
                if !self.locks.rebooted(caller, caller.address.ip(), &name, state).await {
                    // It is sent again.
                    return Ok(Reply::Dropped);
                }
                return Ok(Reply::Success(Message::default()));
            }
        }
        Ok(Reply::Success(reply.finish()))
    }
}

/// Passes over who asks (struct my_id): name, program, version and procedure.
fn my_id(arguments: &mut Decoder) -> Result<(), DecodeError> {
    arguments.opaque(MAX_NAME_BYTES)?;
    arguments.fixed::<12>()?;
    Ok(())
}

#[async_trait::async_trait]
impl Program for Nsm {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn procedure_name(&self, number: u32) -> Option<&'static str> {
        Procedure::from_number(number).map(Procedure::name)
    }

    /// Rows that were taken under a notice's state stay, so that a copy of it frees nothing new.
    fn is_replayed(&self, _number: u32) -> bool {
        false
    }

    async fn call(&self, call: CallMessage) -> Reply {
        // The dispatcher asks for the name first, so that a number without a procedure does not come here.
        let Some(procedure) = Procedure::from_number(call.procedure) else {
            return Reply::SystemError;
        };
        match self.answer(procedure, &call.caller, call.arguments).await {
            Ok(reply) => reply,
            Err(DecodeError::Truncated | DecodeError::TooLong | DecodeError::Value) => {
                Reply::GarbageArguments
            }
        }
    }
}
