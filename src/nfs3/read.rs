//! READ (RFC 1813 section 3.3.6). A count over rtmax is shortened; a read at or behind the end has no
//! bytes and eof set.

use super::attributes::{self, FATTR3_BYTES};
use super::handle;
use super::request::{Failure, Request};
use crate::rpc::Reply;
use crate::vfs::{Data, ReadDone};
use crate::xdr::{DecodeError, Decoder, Encoder};

/// The most bytes of one READ, whatever rtmax a database has for a share.
const MAX_READ_BYTES: u32 = 1 << 20;
/// The most bytes of READ3res beside the data: status, attributes, count, eof, and the data's length and
/// padding.
const HEAD_BYTES: usize = FATTR3_BYTES + 24;

/// The memory of a call: the data, as much as the client asks for.
pub(super) fn memory(mut arguments: Decoder) -> Result<usize, DecodeError> {
    handle::skip(&mut arguments)?;
    arguments.u64()?;
    let count = arguments.u32()?.min(MAX_READ_BYTES);
    Ok(HEAD_BYTES + usize::try_from(count).unwrap_or(usize::MAX))
}

pub(super) async fn handle(
    request: &Request<'_>,
    mut arguments: Decoder,
) -> Result<Reply, DecodeError> {
    let file = handle::decode(&mut arguments)?;
    let offset = arguments.u64()?;
    let count = arguments.u32()?.min(MAX_READ_BYTES);
    let work = async { Ok(request.vfs.read(&request.caller, &file?, offset, count).await?) };
    let success = |reply: &mut Encoder, done: ReadDone| {
        attributes::post_op(reply, Some(&done.attributes));
        // No more bytes than `count`, which has 32 bits.
        let bytes = u32::try_from(done.data.len()).unwrap_or(u32::MAX);
        request.caller.call.timing.set_read(bytes);
        reply.u32(bytes);
        reply.boolean(done.eof);
        match done.data {
            Data::Bytes(bytes) => reply.shared_opaque(bytes),
            Data::Pages(pages) => reply.file_opaque(pages),
        }
    };
    Ok(request.answer(work, success, Failure::object).await)
}
