//! MOUNT version 3 (RFC 1813 appendix I): from paths to handles, and lists for `showmount(8)`. Version 1
//! (RFC 1094 appendix A) is there for clients that take their mounts back by it: its handles have 32 bytes,
//! which are too few, so it has no MNT.
//!
//! Any client may ask with any flavour, as some mount without credentials; handles are no secrets, and
//! every call that uses one is checked. A path of more than 1,024 bytes is GARBAGE_ARGS.
//!
//! While the metadata store is not available, MNT waits for it, and is dropped without a reply when its time
//! is over: mount.nfs(8) repeats such a call, and takes any error as the end of a mount of fstab(5).

mod table;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, sleep_until};

use crate::log_limit::{Excerpt, limited};
use crate::rpc::{CallMessage, Program, Reply};
use crate::types::{BoundedChain, Caller, FileHandle, Phase};
use crate::vfs::{MountError, Vfs};
use crate::xdr::{DecodeError, Decoder, Encoder};
use table::MountTable;

/// The program's number.
const PROGRAM: u32 = 100_005;
/// Its version for NFS version 3.
const VERSION: u32 = 3;
/// Its version without MNT.
const VERSION_1: u32 = 1;
/// MNT's number.
const MNT: u32 = 1;
/// The longest path in bytes (MNTPATHLEN).
const MAX_PATH_BYTES: usize = 1024;
/// The flavour that calls of NFS take: AUTH_SYS.
const AUTH_SYS: u32 = 1;

/// How often MNT asks a metadata store that is not available. The store itself waits for its connection
/// besides.
const RETRY: Duration = Duration::from_millis(500);

/// The procedures by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Procedure {
    Null,
    Mount,
    Dump,
    Unmount,
    UnmountAll,
    Export,
}

impl Procedure {
    fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Null,
            MNT => Self::Mount,
            2 => Self::Dump,
            3 => Self::Unmount,
            4 => Self::UnmountAll,
            5 => Self::Export,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Mount => "MNT",
            Self::Dump => "DUMP",
            Self::Unmount => "UMNT",
            Self::UnmountAll => "UMNTALL",
            Self::Export => "EXPORT",
        }
    }
}

/// How MNT ends (mountstat3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Status {
    Ok = 0,
    NoEntry = 2,
    AccessDenied = 13,
    NotDirectory = 20,
    NameTooLong = 63,
    ServerFault = 10006,
}

impl From<&MountError> for Status {
    fn from(error: &MountError) -> Self {
        match error {
            MountError::NotFound => Self::NoEntry,
            MountError::AccessDenied => Self::AccessDenied,
            MountError::NotDirectory => Self::NotDirectory,
            MountError::NameTooLong => Self::NameTooLong,
            MountError::Unavailable(_) | MountError::Failed(_) => Self::ServerFault,
        }
    }
}

/// The MOUNT program.
#[derive(Debug)]
pub struct Mount {
    vfs: Arc<Vfs>,
    table: MountTable,
}

impl Mount {
    /// The program over a server's exports.
    #[must_use]
    pub fn new(vfs: Arc<Vfs>) -> Self {
        Self { vfs, table: MountTable::default() }
    }

    async fn answer(
        &self,
        procedure: Procedure,
        caller: Caller,
        mut arguments: Decoder,
    ) -> Result<Reply, DecodeError> {
        let mut reply = Encoder::new();
        match procedure {
            Procedure::Null => {}
            Procedure::Mount => {
                let path = arguments.opaque(MAX_PATH_BYTES)?;
                match self.mount(caller, &path).await {
                    Some(outcome) => mounted(&mut reply, outcome),
                    None => return Ok(Reply::Dropped),
                }
            }
            Procedure::Dump => self.table.dump(&mut reply),
            Procedure::Unmount => {
                let path = arguments.opaque(MAX_PATH_BYTES)?;
                self.table.remove(caller.address.ip(), &path);
            }
            Procedure::UnmountAll => self.table.remove_all(caller.address.ip()),
            Procedure::Export => self.exports(&mut reply),
        }
        Ok(Reply::Success(reply.finish()))
    }

    /// `None` where the metadata store was not available for as long as the call may take.
    async fn mount(&self, caller: Caller, path: &[u8]) -> Option<Result<FileHandle, Status>> {
        let (xid, client) = (caller.call.timing.xid, caller.address);
        let shown = Excerpt(path);
        Some(match self.find(&caller, path).await? {
            Ok(handle) => {
                limited!(info, client, "mounted", xid, %client, path = %shown);
                self.table.add(client.ip(), path);
                Ok(handle)
            }
            Err(error) => {
                let status = Status::from(&error);
                let error = BoundedChain(&error);
                if status == Status::ServerFault {
                    limited!(error, client, "a mount failed", xid, %client, path = %shown, %error);
                } else {
                    limited!(info, client, "a mount was refused", xid, %client, path = %shown, %error);
                }
                Err(status)
            }
        })
    }

    /// Looks for a path until the metadata store answers, or the call's time is over.
    async fn find(&self, caller: &Caller, path: &[u8]) -> Option<Result<FileHandle, MountError>> {
        loop {
            match self.vfs.mount(caller, path).await {
                Err(MountError::Unavailable(_)) => {}
                found => return Some(found),
            }
            tokio::select! {
                biased;
                () = caller.call.cancel.cancelled() => return None,
                () = sleep_until(caller.call.deadline) => return None,
                () = caller.call.timing.timed(Phase::Away, sleep(RETRY)) => {}
            }
        }
    }

    /// Writes EXPORT's results: each share and the networks that it admits.
    fn exports(&self, reply: &mut Encoder) {
        for export in self.vfs.exports() {
            reply.boolean(true);
            reply.opaque(export.name.as_str().as_bytes());
            for network in &export.networks {
                reply.boolean(true);
                reply.opaque(network.as_bytes());
            }
            reply.boolean(false);
        }
        reply.boolean(false);
    }
}

/// Writes MNT's results (mountres3).
fn mounted(reply: &mut Encoder, outcome: Result<FileHandle, Status>) {
    match outcome {
        Ok(handle) => {
            reply.u32(Status::Ok as u32);
            reply.opaque(handle.to_wire().as_bytes());
            let flavors = [AUTH_SYS];
            reply.u32(1);
            flavors.into_iter().for_each(|flavor| reply.u32(flavor));
        }
        Err(status) => reply.u32(status as u32),
    }
}

#[async_trait::async_trait]
impl Program for Mount {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn procedure_name(&self, number: u32) -> Option<&'static str> {
        Procedure::from_number(number).map(Procedure::name)
    }

    /// Every one may be done twice.
    fn is_replayed(&self, _number: u32) -> bool {
        false
    }

    /// The path.
    fn subject(&self, number: u32, arguments: &Decoder) -> Option<String> {
        match Procedure::from_number(number)? {
            Procedure::Mount | Procedure::Unmount => {
                let path = arguments.clone().opaque(MAX_PATH_BYTES).ok()?;
                Some(Excerpt(&path).to_string())
            }
            Procedure::Null | Procedure::Dump | Procedure::UnmountAll | Procedure::Export => None,
        }
    }

    async fn call(&self, call: CallMessage) -> Reply {
        // The dispatcher asks for the name first, so that a number without a procedure does not come here.
        let Some(procedure) = Procedure::from_number(call.procedure) else {
            return Reply::SystemError;
        };
        match self.answer(procedure, call.caller, call.arguments).await {
            Ok(reply) => reply,
            Err(DecodeError::Truncated | DecodeError::TooLong | DecodeError::Value) => {
                Reply::GarbageArguments
            }
        }
    }
}

/// Version 1, over the same table of mounts.
#[derive(Debug)]
pub struct MountVersion1(pub Arc<Mount>);

#[async_trait::async_trait]
impl Program for MountVersion1 {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn version(&self) -> u32 {
        VERSION_1
    }

    fn procedure_name(&self, number: u32) -> Option<&'static str> {
        if number == MNT { None } else { self.0.procedure_name(number) }
    }

    fn is_replayed(&self, number: u32) -> bool {
        self.0.is_replayed(number)
    }

    fn subject(&self, number: u32, arguments: &Decoder) -> Option<String> {
        self.0.subject(number, arguments)
    }

    async fn call(&self, call: CallMessage) -> Reply {
        self.0.call(call).await
    }
}
