//! Where a connection's calls come from.

use std::borrow::Cow;

use super::call::Call;
use super::fault::Fault;
use super::reply::Reply;
use crate::xdr::DecodeError;

/// A reply's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// An operation is complete.
    Done {
        /// Bytes of data that it read or wrote.
        bytes: u64,
        /// Entries of a directory that it listed.
        entries: u64,
    },
    /// The operation goes on with another call.
    Step,
    /// The call succeeded and is no operation of the workload, as a COMMIT after some WRITEs.
    Aside,
    /// The operation failed.
    Failed(Fault),
}

impl Verdict {
    /// An operation without data.
    pub(super) const DONE: Self = Self::Done { bytes: 0, entries: 0 };
}

/// A connection's calls. A slot is a place for one call in flight; it is asked for its next call when it has
/// none.
pub(super) trait Source: Send {
    /// The slot's next call, if there is one now. Once `ended`, only what completes an operation or makes
    /// data durable.
    fn next(&mut self, slot: usize, ended: bool) -> Option<Cow<'_, Call>>;

    /// The reply to the slot's call.
    fn reply(&mut self, slot: usize, reply: Result<Reply, Fault>) -> Result<Verdict, DecodeError>;
}

/// The verdict on a call that is a whole operation and shall have `status`.
pub(super) fn expect(reply: Result<Reply, Fault>, status: u32) -> Verdict {
    match reply {
        Ok(reply) if reply.status == status => Verdict::DONE,
        Ok(reply) => Verdict::Failed(Fault::status(reply.status)),
        Err(fault) => Verdict::Failed(fault),
    }
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn next(&mut self, slot: usize, ended: bool) -> Option<Cow<'_, Call>> {
        (**self).next(slot, ended)
    }

    fn reply(&mut self, slot: usize, reply: Result<Reply, Fault>) -> Result<Verdict, DecodeError> {
        (**self).reply(slot, reply)
    }
}
