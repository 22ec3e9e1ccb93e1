//! Calls and replies on the wire (RFC 5531 section 9).

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::auth::Identity;
use super::reply_stream::Delivery;
use super::{AuthStatus, Reply};
use crate::xdr::{DecodeError, Decoder, Message, Part};

/// The version of RPC that is spoken, the only one.
const RPC_VERSION: u32 = 2;
/// Marks a record's last fragment (RFC 5531 section 11).
const LAST_FRAGMENT: u32 = 0x8000_0000;
/// The longest head of a reply: its mark, and PROG_MISMATCH with low and high.
const MAX_HEAD_BYTES: usize = 36;

/// What a record turned out to be.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A call whose arguments are still to be read.
    Call(CallHeader, Decoder),
    /// A call that is refused for its RPC version, its credentials or its verifier.
    Refused(Answer),
    /// A reply, which a server does not expect.
    Reply,
}

/// A call's header.
#[derive(Debug)]
pub(super) struct CallHeader {
    pub(super) xid: u32,
    pub(super) program: u32,
    pub(super) version: u32,
    pub(super) procedure: u32,
    pub(super) identity: Identity,
}

impl Incoming {
    /// Reads a record's header. The RPC version is looked at first, then who calls; program, version
    /// and procedure come after (RFC 5531 section 9 gives each its own answer).
    ///
    /// # Errors
    /// The record ends before a reply could be addressed, or its direction is neither CALL nor REPLY.
    pub(super) fn decode(record: Bytes) -> Result<Self, DecodeError> {
        let mut record = Decoder::new(record);
        let xid = record.u32()?;
        match record.u32()? {
            0 => {}
            1 => return Ok(Self::Reply),
            _ => return Err(DecodeError::Value),
        }
        if record.u32()? != RPC_VERSION {
            return Ok(Self::Refused(Answer::rpc_mismatch(xid)));
        }
        let (program, version, procedure) = (record.u32()?, record.u32()?, record.u32()?);
        match Identity::decode(&mut record) {
            Ok(identity) => {
                Ok(Self::Call(CallHeader { xid, program, version, procedure, identity }, record))
            }
            Err(status) => Ok(Self::Refused(Answer::auth_error(xid, status))),
        }
    }
}

/// A reply as it goes out, its record mark included.
#[derive(Debug)]
pub struct Answer {
    head: [u8; MAX_HEAD_BYTES],
    head_bytes: usize,
    results: Message,
    /// Of a reply that is recorded.
    delivery: Option<Arc<Delivery>>,
}

impl Answer {
    /// The reply to a call that reached its procedure; `None` where the call is dropped.
    pub(super) fn new(xid: u32, reply: Reply) -> Option<Self> {
        Some(match reply {
            Reply::Success(results) | Reply::Transient(results) => Self::success(xid, results),
            Reply::GarbageArguments => Self::accepted(xid, 4, &[]),
            Reply::ProcedureUnavailable => Self::procedure_unavailable(xid),
            Reply::Refused(status) => Self::auth_error(xid, status),
            Reply::SystemError => Self::accepted(xid, 5, &[]),
            Reply::Dropped => return None,
        })
    }

    /// SUCCESS.
    pub(super) fn success(xid: u32, results: Message) -> Self {
        let mut answer = Self::accepted(xid, 0, &[]);
        answer.results = results;
        answer.mark();
        answer
    }

    /// PROG_UNAVAIL.
    pub(super) fn program_unavailable(xid: u32) -> Self {
        Self::accepted(xid, 1, &[])
    }

    /// PROG_MISMATCH.
    pub(super) fn program_mismatch(xid: u32, low: u32, high: u32) -> Self {
        Self::accepted(xid, 2, &[low, high])
    }

    /// PROC_UNAVAIL.
    pub(super) fn procedure_unavailable(xid: u32) -> Self {
        Self::accepted(xid, 3, &[])
    }

    fn rpc_mismatch(xid: u32) -> Self {
        Self::from_words(&[xid, 1, 1, 0, RPC_VERSION, RPC_VERSION])
    }

    fn auth_error(xid: u32, status: AuthStatus) -> Self {
        Self::from_words(&[xid, 1, 1, 1, status as u32])
    }

    /// MSG_ACCEPTED with a verifier of AUTH_NONE.
    fn accepted(xid: u32, status: u32, rest: &[u32]) -> Self {
        let mut words = [xid, 1, 0, 0, 0, status, 0, 0];
        let length = 6 + rest.len();
        words[6..length].copy_from_slice(rest);
        Self::from_words(&words[..length])
    }

    fn from_words(words: &[u32]) -> Self {
        let head_bytes = 4 + 4 * words.len();
        let mut head = [0; MAX_HEAD_BYTES];
        for (place, word) in head[4..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        let mut answer = Self { head, head_bytes, results: Message::default(), delivery: None };
        answer.mark();
        answer
    }

    /// Writes the record mark: one fragment.
    fn mark(&mut self) {
        // Results are bounded by rtmax, far below a fragment's 2 GiB.
        let length = u32::try_from(self.len() - 4).unwrap_or(u32::MAX);
        self.head[..4].copy_from_slice(&(length | LAST_FRAGMENT).to_be_bytes());
    }

    /// The same reply, whose way to the client is followed.
    pub(super) fn followed(self, delivery: Option<Arc<Delivery>>) -> Self {
        Self { delivery, ..self }
    }

    /// The reply is queued to be written, and ends at byte `end` of all that its connection writes.
    pub fn queued(&self, end: u64) {
        if let Some(delivery) = &self.delivery {
            delivery.queued(end);
        }
    }

    /// Bytes in all.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "an answer always has its head")]
    pub fn len(&self) -> usize {
        self.head_bytes + self.results.len()
    }

    /// The reply as a datagram has it, without the mark.
    ///
    /// # Errors
    /// Those of [`crate::types::FilePages::copy`].
    pub fn datagram(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.len());
        for part in self.parts() {
            match part {
                Part::Bytes(part) => bytes.extend_from_slice(part),
                Part::Pages(pages) => bytes.extend(pages.copy()?),
            }
        }
        Ok(bytes.split_off(4))
    }

    /// The parts in order; none is empty.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        std::iter::once(Part::Bytes(&self.head[..self.head_bytes])).chain(self.results.parts())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::types::{Bounds, FairPermits, FilePages};
    use crate::xdr::Encoder;

    #[test]
    fn a_datagram_has_a_copy_of_a_files_pages() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"data").unwrap();
        let permit = FairPermits::new(1, Bounds::CALLS).try_acquire(1).unwrap();
        let pages = FilePages::of(&Arc::new(file.into()), 0, 4, permit).unwrap();
        let mut results = Encoder::new();
        results.file_opaque(pages);
        let datagram = Answer::success(7, results.finish()).datagram().unwrap();
        // Behind xid, REPLY, MSG_ACCEPTED, the verifier and SUCCESS.
        assert_eq!(&datagram[24..], [&[0, 0, 0, 4][..], b"data"].concat());
    }
}
