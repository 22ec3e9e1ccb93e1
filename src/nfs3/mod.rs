//! NFS version 3 (RFC 1813) over [`vfs`](crate::vfs): this table, and one file for each procedure,
//! which decodes, calls `vfs` and encodes.
//!
//! Choices that hold for every procedure:
//! - All arguments are decoded before any is judged: what cannot be decoded is GARBAGE_ARGS, whatever
//!   else is wrong. Bytes behind the arguments are ignored.
//! - A failure shows the attributes of the objects that the call names where the failed operation read
//!   them; wcc_data then has them on both sides, since nothing was changed.
//! - NFS3ERR_JUKEBOX is never recorded for a repeat of the call.

mod access;
mod attributes;
mod commit;
mod create;
mod fsinfo;
mod fsstat;
mod getattr;
mod handle;
mod link;
mod listing;
mod lookup;
mod mkdir;
mod mknod;
mod names;
mod null;
mod pathconf;
mod read;
mod readdir;
mod readdirplus;
mod readlink;
mod remove;
mod rename;
mod request;
mod rmdir;
mod setattr;
mod status;
mod symlink;
mod write;

use std::pin::Pin;
use std::sync::Arc;

use crate::rpc::{CallMessage, Program, Reply};
use crate::vfs::Vfs;
use crate::xdr::{DecodeError, Decoder};
use request::Request;

/// What a repeat of a call gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    /// Another execution: it changes nothing, or doing it twice is doing it once.
    Executed,
    /// The recorded reply.
    Replayed,
}
use Repeat::{Executed, Replayed};

type Answering<'a> = Pin<Box<dyn Future<Output = Result<Reply, DecodeError>> + Send + 'a>>;

struct Procedure {
    name: &'static str,
    handler: for<'a> fn(&'a Request<'a>, Decoder) -> Answering<'a>,
    repeat: Repeat,
    /// The memory of a call whose reply may be large, by its arguments.
    memory: Option<fn(Decoder) -> Result<usize, DecodeError>>,
}

macro_rules! procedure {
    ($name:literal, $module:ident, $repeat:ident) => {
        procedure!($name, $module, $repeat, None)
    };
    ($name:literal, $module:ident, $repeat:ident, memory) => {
        procedure!($name, $module, $repeat, Some($module::memory))
    };
    ($name:literal, $module:ident, $repeat:ident, $memory:expr) => {
        Procedure {
            name: $name,
            handler: |request, arguments| Box::pin($module::handle(request, arguments)),
            repeat: $repeat,
            memory: $memory,
        }
    };
}

/// The procedures by number (section 3.3).
static PROCEDURES: [Procedure; 22] = [
    procedure!("NULL", null, Executed),
    procedure!("GETATTR", getattr, Executed),
    procedure!("SETATTR", setattr, Replayed),
    procedure!("LOOKUP", lookup, Executed),
    procedure!("ACCESS", access, Executed),
    procedure!("READLINK", readlink, Executed, memory),
    procedure!("READ", read, Executed, memory),
    procedure!("WRITE", write, Replayed),
    procedure!("CREATE", create, Replayed),
    procedure!("MKDIR", mkdir, Replayed),
    procedure!("SYMLINK", symlink, Replayed),
    procedure!("MKNOD", mknod, Replayed),
    procedure!("REMOVE", remove, Replayed),
    procedure!("RMDIR", rmdir, Replayed),
    procedure!("RENAME", rename, Replayed),
    procedure!("LINK", link, Replayed),
    procedure!("READDIR", readdir, Executed, memory),
    procedure!("READDIRPLUS", readdirplus, Executed, memory),
    procedure!("FSSTAT", fsstat, Executed),
    procedure!("FSINFO", fsinfo, Executed),
    procedure!("PATHCONF", pathconf, Executed),
    procedure!("COMMIT", commit, Executed),
];

fn procedure(number: u32) -> Option<&'static Procedure> {
    PROCEDURES.get(usize::try_from(number).ok()?)
}

/// The NFS program.
#[derive(Debug)]
pub struct Nfs3 {
    vfs: Arc<Vfs>,
}

impl Nfs3 {
    /// The program over a server's exports.
    #[must_use]
    pub fn new(vfs: Arc<Vfs>) -> Self {
        Self { vfs }
    }
}

#[async_trait::async_trait]
impl Program for Nfs3 {
    fn number(&self) -> u32 {
        nfsserve::nfs::PROGRAM
    }

    fn version(&self) -> u32 {
        nfsserve::nfs::VERSION
    }

    fn procedure_name(&self, number: u32) -> Option<&'static str> {
        procedure(number).map(|procedure| procedure.name)
    }

    fn failure_name(&self, failure: u32) -> Option<&'static str> {
        status::name(failure)
    }

    fn is_replayed(&self, number: u32) -> bool {
        procedure(number).is_some_and(|procedure| procedure.repeat == Replayed)
    }

    /// Of WRITE a repeat writes the same bytes.
    fn is_recorded(&self, number: u32) -> bool {
        procedure(number).is_some_and(|it| it.repeat == Replayed && it.name != "WRITE")
    }

    /// Asked of the share of the first handle; RENAME and LINK refuse handles of two shares. A call without a
    /// handle that this server made is refused for that.
    fn is_admitted(&self, call: &CallMessage) -> bool {
        match handle::decode(&mut call.arguments.clone()) {
            Ok(Ok(handle)) => self.vfs.admits(&call.caller, &handle),
            Ok(Err(_)) | Err(_) => true,
        }
    }

    fn memory(&self, number: u32, arguments: &Decoder) -> usize {
        let memory = procedure(number).and_then(|procedure| procedure.memory);
        // Arguments that cannot be decoded are answered with a few bytes.
        memory.and_then(|memory| memory(arguments.clone()).ok()).unwrap_or(0)
    }

    /// The handle.
    fn subject(&self, _number: u32, arguments: &Decoder) -> Option<String> {
        handle::shown(arguments)
    }

    async fn call(&self, call: CallMessage) -> Reply {
        // The dispatcher asks for the name first, so that a number without a procedure does not come here.
        let Some(procedure) = procedure(call.procedure) else { return Reply::SystemError };
        let arguments = call.arguments.clone();
        let request = Request::new(&self.vfs, call, procedure.name);
        match (procedure.handler)(&request, arguments).await {
            Ok(reply) => reply,
            Err(DecodeError::Truncated | DecodeError::TooLong | DecodeError::Value) => {
                Reply::GarbageArguments
            }
        }
    }
}
