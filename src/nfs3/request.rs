//! One call on its way: what a procedure's handler needs, and how its answer is put.

use nfsserve::nfs::nfsstat3;

use super::status::{self, Error, Notice, Verdict};
use super::{attributes, handle};
use crate::log_limit::limited;
use crate::metadata;
use crate::rpc::{CallMessage, Reply, Standing};
use crate::types::{BoundedChain, Caller, Failed};
use crate::vfs::{self, Vfs};
use crate::xdr::{DecodeError, Decoder, Encoder};

/// What an argument comes to. Outside: it cannot be decoded, and neither can what follows
/// (GARBAGE_ARGS). Inside: it was decoded and is refused with the procedure's own status, once all
/// arguments are known to be well formed.
pub(super) type Decoded<T> = Result<Result<T, Error>, DecodeError>;

/// An error, and the present attributes of the objects that the call names, where known.
pub(super) type Failure = Failed<Error>;

impl Failure {
    /// A failure of SETATTR, WRITE or COMMIT, whose lists of errors have no ISDIR: a directory is an
    /// invalid argument there.
    pub(super) fn of_file(mut failure: vfs::Failure) -> Self {
        if matches!(failure.error, vfs::Error::Metadata(metadata::Error::IsDirectory)) {
            failure.error = metadata::Error::Invalid.into();
        }
        failure.into()
    }

    /// Why.
    #[cfg(test)]
    pub(super) fn error(&self) -> &Error {
        &self.error
    }

    /// Results of a failure: none.
    pub(super) fn nothing(&self, _reply: &mut Encoder) {}

    /// Results of a failure: post_op_attr of the object.
    pub(super) fn object(&self, reply: &mut Encoder) {
        attributes::post_op(reply, self.first.as_deref());
    }

    /// Results of a failure: wcc_data of the object, which was not changed.
    pub(super) fn unchanged(&self, reply: &mut Encoder) {
        attributes::unchanged(reply, self.first.as_deref());
    }

    /// Results of a failure: wcc_data of RENAME's two directories.
    pub(super) fn both_unchanged(&self, reply: &mut Encoder) {
        attributes::unchanged(reply, self.first.as_deref());
        attributes::unchanged(reply, self.second.as_deref());
    }

    /// Results of a failure: post_op_attr of LINK's object, wcc_data of its directory.
    pub(super) fn object_and_unchanged(&self, reply: &mut Encoder) {
        attributes::post_op(reply, self.first.as_deref());
        attributes::unchanged(reply, self.second.as_deref());
    }
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::alone(error.into())
    }
}

impl From<vfs::Failure> for Failure {
    fn from(failure: vfs::Failure) -> Self {
        failure.map(Error::from)
    }
}

/// One call.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// The file systems.
    pub(super) vfs: &'a Vfs,
    /// Who asks.
    pub(super) caller: Caller,
    /// The connection's: a call that succeeds has a valid handle.
    standing: Standing,
    /// For the log: the procedure's name,
    procedure: &'static str,
    /// and the arguments, of which the first is a handle.
    arguments: Decoder,
}

impl<'a> Request<'a> {
    /// `call` of the procedure named `procedure`.
    pub(super) fn new(vfs: &'a Vfs, call: CallMessage, procedure: &'static str) -> Self {
        let CallMessage { caller, standing, arguments, .. } = call;
        Self { vfs, caller, standing, procedure, arguments }
    }

    /// Does `work` and puts its outcome as a procedure's results: the status, and behind it what
    /// `success` or `failure` writes.
    pub(super) async fn answer<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
        success: impl FnOnce(&mut Encoder, T),
        failure: impl FnOnce(&Failure, &mut Encoder),
    ) -> Reply {
        let mut reply = Encoder::new();
        let failed = match work.await {
            Ok(done) => {
                self.standing.prove();
                attributes::put(&mut reply, &nfsstat3::NFS3_OK);
                success(&mut reply, done);
                return Reply::Success(reply.finish());
            }
            Err(failed) => failed,
        };
        let status = match status::verdict(&failed.error) {
            Verdict::Status(status) => status,
            Verdict::Credentials(refusal) => return Reply::Refused(refusal),
        };
        self.caller.call.timing.set_failure(status as u32);
        self.log(&failed.error, status);
        attributes::put(&mut reply, &status);
        failure(&failed, &mut reply);
        if matches!(status, nfsstat3::NFS3ERR_JUKEBOX) {
            Reply::Transient(reply.finish())
        } else {
            Reply::Success(reply.finish())
        }
    }

    /// The one place where what goes wrong below is logged.
    fn log(&self, error: &Error, status: nfsstat3) {
        let procedure = self.procedure;
        let (xid, client) = (self.caller.call.timing.xid, self.caller.address);
        let handle = || handle::shown(&self.arguments);
        let about = (client, procedure);
        let (notice, error) = (status::notice(error), BoundedChain(error));
        match notice {
            Notice::Outage => limited!(warn, about, "a call failed",
                xid, %client, procedure, handle = handle(), ?status, %error),
            Notice::Fault => limited!(error, about, "a call failed",
                xid, %client, procedure, handle = handle(), ?status, %error),
            Notice::Refusal => {
                tracing::debug!(xid, %client, procedure, handle = handle(), ?status, %error, "a call was refused");
            }
        }
    }
}
