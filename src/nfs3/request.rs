//! One call on its way: what a procedure's handler needs, and how its answer is put.

use std::error::Error as StdError;
use std::time::{Duration, Instant};

use nfsserve::nfs::nfsstat3;
use parking_lot::Mutex;

use super::attributes;
use super::status::{self, Error, Notice, Verdict};
use crate::metadata;
use crate::rpc::{Flavor, Reply};
use crate::types::{Attributes, FileHandle, MAX_HANDLE_BYTES};
use crate::vfs::{self, Vfs};
use crate::xdr::{DecodeError, Decoder, Encoder};

/// What an argument comes to. Outside: it cannot be decoded, and neither can what follows
/// (GARBAGE_ARGS). Inside: it was decoded and is refused with the procedure's own status, once all
/// arguments are known to be well formed.
pub(super) type Decoded<T> = Result<Result<T, Error>, DecodeError>;

/// An error, and the present attributes of the objects that the call names, where known: those of a
/// [`vfs::Failure`].
#[derive(Debug)]
pub(super) struct Failure {
    error: Error,
    first: Option<Box<Attributes>>,
    second: Option<Box<Attributes>>,
}

impl Failure {
    /// A failure that knows its object.
    pub(super) fn of(error: impl Into<Error>, first: Attributes) -> Self {
        Self { error: error.into(), first: Some(Box::new(first)), second: None }
    }

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
        Self { error: error.into(), first: None, second: None }
    }
}

impl From<vfs::Failure> for Failure {
    fn from(failure: vfs::Failure) -> Self {
        Self { error: failure.error.into(), first: failure.first, second: failure.second }
    }
}

/// What is said of outages: a line a second, and how many more there were.
static OUTAGES: Throttle = Throttle::new(Duration::from_secs(1));

/// Lets one line through in a while, and counts the others.
#[derive(Debug)]
struct Throttle {
    period: Duration,
    state: Mutex<(Option<Instant>, u64)>,
}

impl Throttle {
    const fn new(period: Duration) -> Self {
        Self { period, state: Mutex::new((None, 0)) }
    }

    /// How many lines were held back before this one, if this one may be said.
    fn admit(&self) -> Option<u64> {
        let mut state = self.state.lock();
        let (said, unsaid) = &mut *state;
        if said.is_some_and(|said| said.elapsed() < self.period) {
            *unsaid += 1;
            return None;
        }
        *said = Some(Instant::now());
        Some(std::mem::take(unsaid))
    }
}

/// One call.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// The file systems.
    pub(super) vfs: &'a Vfs,
    /// Who asks.
    pub(super) caller: vfs::Caller,
    /// For the log: the call's transaction id,
    xid: u32,
    /// its procedure's name,
    procedure: &'static str,
    /// and its arguments, of which the first is a handle.
    arguments: Decoder,
}

impl<'a> Request<'a> {
    /// A call from `caller` of the procedure named `procedure`.
    pub(super) fn new(
        vfs: &'a Vfs,
        caller: crate::rpc::Caller,
        procedure: &'static str,
        arguments: &Decoder,
    ) -> Self {
        let identity = match caller.flavor {
            Flavor::None => None,
            Flavor::Sys(credentials) => Some(credentials),
        };
        Self {
            vfs,
            xid: caller.xid,
            caller: vfs::Caller {
                address: caller.address,
                identity,
                cancel: caller.cancel,
                deadline: caller.deadline,
            },
            procedure,
            arguments: arguments.clone(),
        }
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
                attributes::put(&mut reply, &nfsstat3::NFS3_OK);
                success(&mut reply, done);
                return Reply::Success(reply.finish());
            }
            Err(failed) => failed,
        };
        self.log(&failed.error);
        let status = match status::verdict(&failed.error) {
            Verdict::Status(status) => status,
            Verdict::Credentials(refusal) => return Reply::Refused(refusal),
        };
        attributes::put(&mut reply, &status);
        failure(&failed, &mut reply);
        if matches!(status, nfsstat3::NFS3ERR_JUKEBOX) {
            Reply::Transient(reply.finish())
        } else {
            Reply::Success(reply.finish())
        }
    }

    /// The one place where what goes wrong below is logged.
    fn log(&self, error: &Error) {
        let notice = status::notice(error);
        if notice == Notice::None {
            return;
        }
        let handle = self.arguments.clone().opaque(MAX_HANDLE_BYTES).unwrap_or_default();
        let handle = FileHandle::parse(&handle).ok();
        let share = handle.as_ref().map(|handle| handle.share.to_string());
        let object = handle.as_ref().map(|handle| handle.object.to_string());
        let (xid, procedure, client) = (self.xid, self.procedure, self.caller.address);
        let error = error as &dyn StdError;
        match notice {
            Notice::None => {}
            Notice::Debug => {
                tracing::debug!(xid, %client, procedure, share, object, error, "a call failed");
            }
            Notice::Outage => match OUTAGES.admit() {
                None => {
                    tracing::debug!(xid, %client, procedure, share, object, error, "a call failed");
                }
                Some(unsaid) => {
                    tracing::warn!(xid, %client, procedure, share, object, error, unsaid, "a call failed");
                }
            },
            Notice::Error => {
                tracing::error!(xid, %client, procedure, share, object, error, "a call failed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_and_counted() {
        let throttle = Throttle::new(Duration::from_secs(3600));
        assert_eq!(throttle.admit(), Some(0));
        assert_eq!(throttle.admit(), None);
        let throttle = Throttle::new(Duration::ZERO);
        throttle.state.lock().1 = 7;
        assert_eq!(throttle.admit(), Some(7));
        assert_eq!(throttle.admit(), Some(0));
    }
}
